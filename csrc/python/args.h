/* python/args.h — parameters of C functions: binding, and values with a range.
 *
 * The calling convention is METH_FASTCALL | METH_KEYWORDS. A function describes its parameters in a
 * static struct tc_py_params, which is also where its error messages take the names from.
 *
 * who may call what: attached threads. Each function returns 0, or -1 with TypeError or ValueError
 * set; the message names the parameter, the value and the limit.
 */
#ifndef TC_PYTHON_ARGS_H
#define TC_PYTHON_ARGS_H

#include "python/compat.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"

struct tc_py_params {
    const char *function;     /* "wait", for messages                                           */
    const char *const *names; /* parameters in order, NULL at the end                           */
    Py_ssize_t positional;    /* how many of them may be given by position                      */
};

/* Bind arguments to parameters: b_values[i] receives the borrowed argument of names[i], NULL if it
 * was not given. */
TC_NODISCARD int tc_py_bind(const struct tc_py_params *params, PyObject *const *args,
                            Py_ssize_t nargs, PyObject *kwnames, PyObject **b_values);

/* Convert an integer between `low` and `high`. NULL, and None if `none` is allowed, leave *out as
 * it is. */
TC_NODISCARD int tc_py_integer(PyObject *b_value, const char *name, bool none, int64_t low,
                               int64_t high, int64_t *out);

/* Convert seconds to nanoseconds, rounding up; what does not fit is TC_NEVER. NULL leaves *out as
 * it is, None gives TC_NEVER. NaN is refused; so are numbers below 0, and 0 too if `positive`. */
TC_NODISCARD int tc_py_seconds(PyObject *b_value, const char *name, bool positive, int64_t *out);

/* The same for how long to wait: below 0 counts as 0. */
TC_NODISCARD int tc_py_timeout(PyObject *b_value, const char *name, int64_t *out);

#endif
