/* python/guest.h — our operations awaited in a task of another library, by asyncio's protocol.
 *
 * Where no loop of ours runs on the thread but one of asyncio's does, an operation that must wait
 * yields a struct tc_py_guest: an object that such a task takes for a future, because it has
 * _asyncio_future_blocking, get_loop, add_done_callback, cancel and result. What can be had at once
 * is returned without one.
 *
 * Each such loop has one hidden inbox, made at the first wait: a mailbox whose descriptor that loop
 * watches through add_reader. Only the loop owns it, as the reader's callback: so it goes when the
 * loop is closed, and ends the waits that are left. Their tasks never run again and must not take
 * from a channel.
 *
 *   wait begins     tc_py_guest_mailbox: the guest, and the inbox of its loop
 *   outcome         tc_py_guest_wake: schedules the callbacks by loop.call_soon, the task runs, and
 *                   resumes the operation through its coroutine
 *   cancel          the task calls guest.cancel(): the wait is withdrawn; or delivery was faster,
 *                   and cancel() returns False: the task will throw CancelledError at its next
 *                   step. There tc_py_guest_delivery_wins lets the operation return what was
 *                   delivered, and has the task cancelled in the next turn. So the rule of Channel
 *                   holds here too: the cancel is raised at the next wait, or is dropped if the
 *                   coroutine returns first.
 *
 * who may call what: the thread of the other loop, attached.
 */
#ifndef TC_PYTHON_GUEST_H
#define TC_PYTHON_GUEST_H

#include "python/compat.h"
#include "python/loop_state.h"
#include "python/operation.h"

#include <stdbool.h>

/* The mailbox for a wait of `op`; op->guest is set. Borrowed, or NULL with RuntimeError (no loop
 * runs here), or another exception. */
struct tc_py_mailbox *tc_py_guest_mailbox(struct tc_py_operation *op);

/* The wait is over: let the other loop resume its task. Reports what fails as unraisable. */
void tc_py_guest_wake(struct tc_py_operation *op);

/* The operation has ended or was given up: forget the guest. */
void tc_py_guest_leave(struct tc_py_operation *op);

/* True if `b_exception`, which is being thrown into the operation, is a cancel that came too late.
 * Then it will come again, and the operation is to be resumed. */
bool tc_py_guest_delivery_wins(struct tc_py_operation *op, PyObject *b_exception);

/* loop.call_later(delay, callback) of the other loop, for an operation that has a guest: the
 * handle, a new reference, or NULL with an exception set. */
PyObject *tc_py_guest_call_later(struct tc_py_operation *op, double delay, PyObject *b_callback);

#endif
