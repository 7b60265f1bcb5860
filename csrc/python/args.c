#include "python/args.h"

#include <math.h>

/* ---- binding ---------------------------------------------------------------------------- */

/* The index of the parameter called `b_name`, or -1. */
static Py_ssize_t param_index(const struct tc_py_params *params, PyObject *b_name)
{
    for (Py_ssize_t i = 0; params->names[i] != NULL; i++) {
        if (PyUnicode_CompareWithASCIIString(b_name, params->names[i]) == 0) {
            return i;
        }
    }
    return -1;
}

int tc_py_bind(const struct tc_py_params *params, PyObject *const *args, Py_ssize_t nargs,
               PyObject *kwnames, PyObject **b_values)
{
    Py_ssize_t keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);

    for (Py_ssize_t i = 0; params->names[i] != NULL; i++) {
        b_values[i] = i < nargs ? args[i] : NULL;
    }
    if (nargs > params->positional) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd positional argument%s, %zd given",
                     params->function, params->positional, params->positional == 1 ? "" : "s",
                     nargs);
        return -1;
    }
    for (Py_ssize_t k = 0; k < keywords; k++) {
        PyObject *b_name = PyTuple_GET_ITEM(kwnames, k);
        Py_ssize_t i = param_index(params, b_name);

        if (i < 0) {
            PyErr_Format(PyExc_TypeError, "%s() has no parameter %R", params->function, b_name);
            return -1;
        }
        if (b_values[i] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got %R twice", params->function, b_name);
            return -1;
        }
        b_values[i] = args[nargs + k];
    }
    return 0;
}

/* ---- values ----------------------------------------------------------------------------- */

int tc_py_integer(PyObject *b_value, const char *name, bool none, int64_t low, int64_t high,
                  int64_t *out)
{
    PyObject *index;
    long long number;
    int overflow = 0;

    if (b_value == NULL || (none && b_value == Py_None)) {
        return 0;
    }
    if (!PyIndex_Check(b_value)) {
        PyErr_Format(PyExc_TypeError, "%s must be an integer%s, not %.100s", name,
                     none ? " or None" : "", Py_TYPE(b_value)->tp_name);
        return -1;
    }
    index = PyNumber_Index(b_value);
    if (index == NULL) {
        return -1;
    }
    number = PyLong_AsLongLongAndOverflow(index, &overflow);
    Py_DECREF(index);
    if (number == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (overflow != 0 || number < low || number > high) {
        PyErr_Format(PyExc_ValueError, "%s=%R: it must be between %lld and %lld%s", name, b_value,
                     (long long)low, (long long)high, none ? ", or None" : "");
        return -1;
    }
    *out = number;
    return 0;
}

/* Read a number of seconds that is not NaN. */
static int seconds_as_double(PyObject *b_value, const char *name, double *out)
{
    double seconds = PyFloat_AsDouble(b_value);

    if (seconds == -1.0 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Format(PyExc_TypeError, "%s must be a number of seconds or None, not %.100s",
                         name, Py_TYPE(b_value)->tp_name);
        }
        return -1;
    }
    if (isnan(seconds)) {
        PyErr_Format(PyExc_ValueError, "%s=nan: it must be a number of seconds or None", name);
        return -1;
    }
    *out = seconds;
    return 0;
}

static int64_t seconds_to_ns(double seconds)
{
    double ns = ceil(seconds * (double)TC_NS_PER_SEC);

    /* INT64_MAX is not a double; its neighbour above, 2^63, is the first that does not fit. */
    return ns >= 9223372036854775808.0 ? TC_NEVER : (int64_t)ns;
}

int tc_py_seconds(PyObject *b_value, const char *name, bool positive, int64_t *out)
{
    double seconds = 0;

    if (b_value == NULL) {
        return 0;
    }
    if (b_value == Py_None) {
        *out = TC_NEVER;
        return 0;
    }
    if (seconds_as_double(b_value, name, &seconds) < 0) {
        return -1;
    }
    if (seconds < 0 || (positive && seconds <= 0)) {
        PyErr_Format(PyExc_ValueError, "%s=%R: it must be %s 0 seconds, or None for no limit", name,
                     b_value, positive ? "more than" : "at least");
        return -1;
    }
    *out = seconds_to_ns(seconds);
    return 0;
}

int tc_py_timeout(PyObject *b_value, const char *name, int64_t *out)
{
    double seconds = 0;

    if (b_value == NULL) {
        return 0;
    }
    if (b_value == Py_None) {
        *out = TC_NEVER;
        return 0;
    }
    if (seconds_as_double(b_value, name, &seconds) < 0) {
        return -1;
    }
    *out = seconds <= 0 ? 0 : seconds_to_ns(seconds);
    return 0;
}
