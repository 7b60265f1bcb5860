/* python/deferred.h — an awaitable that does its work when it is awaited, at once: what __aenter__
 * and __aexit__ of ours return.
 *
 * asyncio's are coroutines that never suspend: nothing happens before they are awaited, and the
 * task that counts is the one that awaits. So is this, without a coroutine's frame.
 *
 * who may call what: attached threads.
 */
#ifndef TC_PYTHON_DEFERRED_H
#define TC_PYTHON_DEFERRED_H

#include "python/loop_state.h"

/* What is to be done with `self` and up to two arguments, which may be NULL. Returns a new
 * reference, or NULL with an exception set. */
typedef PyObject *tc_py_deferred_fn(PyObject *self, PyObject *b_first, PyObject *b_second);

/* Make one. Returns a new reference, or NULL with an exception set. */
PyObject *tc_py_deferred(struct tc_py_loop_state *state, tc_py_deferred_fn *function,
                         PyObject *self, PyObject *b_first, PyObject *b_second);

#endif
