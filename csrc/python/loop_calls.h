/* python/loop_calls.h — the methods of a loop that schedule callbacks; loop_type.c lists them.
 *
 * who may call what: attached threads, by way of Python. All but call_soon_threadsafe refuse a
 * foreign thread themselves. Each returns a new reference, or NULL with an exception set.
 */
#ifndef TC_PYTHON_LOOP_CALLS_H
#define TC_PYTHON_LOOP_CALLS_H

#include "python/compat.h"

/* LoopBase.call_soon, .call_soon_threadsafe, .call_later, .call_at and .time. */
PyObject *tc_py_loop_call_soon(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *names);
PyObject *tc_py_loop_call_soon_threadsafe(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                          PyObject *names);
PyObject *tc_py_loop_call_later(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *names);
PyObject *tc_py_loop_call_at(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *names);
PyObject *tc_py_loop_time(PyObject *self, PyObject *ignored);

/* LoopBase._hold_time, ._take_armed and ._ready_count (loop_time.c). */
PyObject *tc_py_loop_hold_time(PyObject *self, PyObject *b_now);
PyObject *tc_py_loop_take_armed(PyObject *self, PyObject *ignored);
PyObject *tc_py_loop_ready_count(PyObject *self, PyObject *ignored);

#endif
