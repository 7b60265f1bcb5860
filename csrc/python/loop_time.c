/* Holding a loop's time: what a test with a virtual clock needs.
 *
 * A test moves the time by hand, runs turns one by one and sees which deadlines each has armed. The
 * product pays one predictable branch where it reads the clock or arms a timer. */
#include "python/loop.h"
#include "python/loop_calls.h"

#include <math.h>

static struct tc_py_loop *loop_of(PyObject *self)
{
    return (struct tc_py_loop *)self;
}

int tc_py_loop_note_armed(struct tc_py_loop *loop, int64_t when_ns)
{
    PyObject *when = PyFloat_FromDouble((double)when_ns / (double)TC_NS_PER_SEC);
    int result = when == NULL ? -1 : PyList_Append(loop->armed, when);

    Py_XDECREF(when);
    return result;
}

PyObject *tc_py_loop_hold_time(PyObject *self, PyObject *b_now)
{
    struct tc_py_loop *loop = loop_of(self);
    double now = PyFloat_AsDouble(b_now);

    if (now == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    if (isnan(now)) {
        PyErr_SetString(PyExc_ValueError, "the time must not be NaN");
        return NULL;
    }
    if (tc_py_loop_check(loop, "Loop._hold_time()") < 0) {
        return NULL;
    }
    if (loop->armed == NULL) {
        loop->armed = PyList_New(0);
    }
    if (loop->armed == NULL) {
        return NULL;
    }
    loop->held_ns = tc_py_ns_from_seconds(now);
    Py_RETURN_NONE;
}

PyObject *tc_py_loop_ready_count(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tc_py_loop_check(loop_of(self), "Loop._ready_count()") < 0) {
        return NULL;
    }
    return PyLong_FromSize_t(loop_of(self)->ready.count);
}

PyObject *tc_py_loop_take_armed(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_loop *loop = loop_of(self);
    PyObject *fresh;
    PyObject *taken;

    if (tc_py_loop_check(loop, "Loop._take_armed()") < 0) {
        return NULL;
    }
    fresh = PyList_New(0);
    if (fresh == NULL || loop->armed == NULL) {
        return fresh; /* nothing is noted while the time runs */
    }
    taken = loop->armed;
    loop->armed = fresh;
    return taken;
}
