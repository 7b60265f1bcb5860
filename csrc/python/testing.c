/* Private functions for tests, in the installed build: what is tested is what is shipped. */
#include "python/args.h"
#include "python/gil.h"
#include "python/module.h"
#include "python/process.h"

#include "base/fault.h"
#include "sched/thread.h"

#include <limits.h>

/* The injection point called `b_name`, or -1 with an exception set. */
static int fault_point(PyObject *b_name)
{
    const char *name = PyUnicode_AsUTF8(b_name);
    int point;

    if (name == NULL) {
        return -1;
    }
    point = tc_fault_lookup(name);
    if (point < 0) {
        PyErr_Format(PyExc_ValueError, "name=%R: no such injection point; see _fault_names()",
                     b_name);
        return -1;
    }
    return point;
}

PyDoc_STRVAR(fault_arm_doc,
             "_fault_arm($module, /, name, nth, errno, times=1)\n"
             "--\n\n"
             "Let the nth call of `name` from now on fail with errno, `times` times\n"
             "in a row; times=None means from then on.");

static PyObject *fault_arm(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames)
{
    static const char *const names[] = {"name", "nth", "errno", "times", NULL};
    static const struct tc_py_params params = {"_fault_arm", names, 4};
    PyObject *b_values[4];
    int64_t nth = 0;
    int64_t error = 0;
    int64_t times = 1;
    int point;

    if (tc_py_bind(&params, args, nargs, kwnames, b_values) < 0) {
        return NULL;
    }
    if (b_values[0] == NULL || b_values[1] == NULL || b_values[2] == NULL) {
        PyErr_SetString(PyExc_TypeError, "_fault_arm() needs name, nth and errno");
        return NULL;
    }
    point = fault_point(b_values[0]);
    if (point < 0 || tc_py_integer(b_values[1], "nth", false, 1, INT64_MAX, &nth) < 0 ||
        tc_py_integer(b_values[2], "errno", false, 1, 4095, &error) < 0 ||
        tc_py_integer(b_values[3], "times", true, 1, INT64_MAX, &times) < 0) {
        return NULL;
    }
    tc_fault_arm((enum tc_sys_call)point, (uint64_t)nth, (int)error,
                 b_values[3] == Py_None ? UINT64_MAX : (uint64_t)times);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(fault_disarm_doc, "_fault_disarm($module, /)\n"
                               "--\n\n"
                               "Disarm every injection point.");

static PyObject *fault_disarm(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    tc_fault_disarm_all();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(fault_hits_doc, "_fault_hits($module, name, /)\n"
                             "--\n\n"
                             "Return how often `name` failed by injection since it was armed.");

static PyObject *fault_hits(PyObject *Py_UNUSED(module), PyObject *b_name)
{
    int point = fault_point(b_name);

    if (point < 0) {
        return NULL;
    }
    return PyLong_FromUnsignedLongLong(tc_fault_hits((enum tc_sys_call)point));
}

PyDoc_STRVAR(fault_names_doc, "_fault_names($module, /)\n"
                              "--\n\n"
                              "Return the names of all injection points.");

static PyObject *fault_names(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *names = PyTuple_New(TC_SYS_CALL_COUNT);

    if (names == NULL) {
        return NULL;
    }
    for (int i = 0; i < TC_SYS_CALL_COUNT; i++) {
        PyObject *name = PyUnicode_FromString(tc_fault_name(i));

        if (name == NULL) {
            Py_DECREF(names);
            return NULL;
        }
        PyTuple_SET_ITEM(names, i, name);
    }
    return names;
}

PyDoc_STRVAR(seed_doc,
             "_seed($module, seed, /)\n"
             "--\n\n"
             "Let the random choices of this thread begin at `seed`, as those of select().");

static PyObject *seed_thread(PyObject *Py_UNUSED(module), PyObject *b_seed)
{
    int64_t seed = 0;

    if (tc_py_integer(b_seed, "seed", false, 0, INT64_MAX, &seed) < 0) {
        return NULL;
    }
    tc_thread_seed((uint64_t)seed);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(dump_doc, "_dump($module, fd, /)\n"
                       "--\n\n"
                       "Write one line for every fiber to a file descriptor.");

static PyObject *dump(PyObject *Py_UNUSED(module), PyObject *b_fd)
{
    PyThreadState *thread;
    int64_t fd = -1;

    if (tc_py_integer(b_fd, "fd", false, 0, INT_MAX, &fd) < 0) {
        return NULL;
    }
    thread = tc_gil_release();
    tc_py_process_dump((int)fd);
    tc_gil_acquire(thread);
    Py_RETURN_NONE;
}

static PyMethodDef testing_functions[] = {
    {"_fault_arm", TC_PY_KEYWORD_FUNCTION(fault_arm), METH_FASTCALL | METH_KEYWORDS, fault_arm_doc},
    {"_fault_disarm", fault_disarm, METH_NOARGS, fault_disarm_doc},
    {"_fault_hits", fault_hits, METH_O, fault_hits_doc},
    {"_fault_names", fault_names, METH_NOARGS, fault_names_doc},
    {"_seed", seed_thread, METH_O, seed_doc},
    {"_dump", dump, METH_O, dump_doc},
    {NULL, NULL, 0, NULL},
};

int tc_py_add_testing(PyObject *module)
{
    if (tc_py_add_testing_http(module) < 0 || tc_py_add_testing_memory(module) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, testing_functions);
}
