/* python/timeout.h — a deadline for a block of code: the current task is cancelled when it passes.
 *
 *            enter                 the deadline's turn            exit
 *   CREATED ───────► ENTERED ──────────────────────► EXPIRING ─────────► EXPIRED
 *                       └───────────────────────────────────────────────► EXITED
 *
 *   state      the timer                              leaves it
 *   CREATED    not armed                              enter
 *   ENTERED    armed, or fired and in the ready       the timer's turn, exit
 *              queue, or none (deadline None)
 *   EXPIRING   none; the task was cancelled once      exit, which answers that cancel by uncancel()
 *   EXPIRED    none                                   nothing
 *   EXITED     none                                   nothing
 *
 * The expiry has a place in the ready queue, where asyncio runs the timer's callback.
 *
 * INVARIANTS
 *  TI1  The heap, while the timer is in it, and the ready queue, while the node is in it, own a
 *       reference each; so the timeout never dies armed.
 *  TI2  In the ready queue, `is_due` tells whether the place still counts.
 *
 * who may call what: the thread of the loop, attached.
 */
#ifndef TC_PYTHON_TIMEOUT_H
#define TC_PYTHON_TIMEOUT_H

#include "python/loop.h"

enum tc_py_timeout_phase {
    TC_PY_TIMEOUT_CREATED,
    TC_PY_TIMEOUT_ENTERED,
    TC_PY_TIMEOUT_EXPIRING,
    TC_PY_TIMEOUT_EXPIRED,
    TC_PY_TIMEOUT_EXITED,
};

struct tc_py_timeout {
    struct tc_py_node node;
    struct tc_py_timer timer;
    struct tc_py_loop_state *state; /* constant                                                 */
    struct tc_py_task *task; /* owned, from enter to exit: who is cancelled                     */
    PyObject *when; /* owned; the deadline as it was given, NULL: None                 */
    long cancelling; /* cancels of the task that no uncancel() had answered at enter    */
    uint8_t phase; /* enum tc_py_timeout_phase                                              */
    bool is_queued; /* the node is in the ready queue                                  */
    bool is_due; /* TI2                                                             */
    uint32_t epoch; /* of rescheduling; a handle of an older one does not count        */
};

extern const struct tc_py_node_ops tc_py_timeout_ops;

/* A deadline as a double. Returns 0, or -1 with TypeError or ValueError (NaN) set. */
int tc_py_timeout_seconds(PyObject *b_when, double *out);

/* Start the clock for the running task. Returns 0, or -1 with an exception set. */
int tc_py_timeout_enter(struct tc_py_timeout *self);

/* Start the timer for self->when. Returns 0, or -1 with an exception set. */
int tc_py_timeout_arm(struct tc_py_timeout *self);

/* Neither the timer nor a place in the queue counts any more. The caller holds a reference. */
void tc_py_timeout_disarm(struct tc_py_timeout *self, struct tc_py_loop *loop);

/* ENTERED to EXPIRING: cancel the task. Returns 0, or -1 with an exception set. */
int tc_py_timeout_expire(struct tc_py_timeout *self);

/* The block has ended, by an exception or with None: stop the clock and answer the cancel. Returns
 * 0, or -1 with TimeoutError or another exception set. */
int tc_py_timeout_leave(struct tc_py_timeout *self, PyObject *b_type, PyObject *b_exception);

/* What the timer of a timeout does. The loop tells timeouts in its heap by it. */
void tc_py_timeout_fire(struct tc_py_timer *timer, struct tc_py_loop *loop);

/* The timeout that `timer` belongs to, which is one. */
PyObject *tc_py_timeout_of_timer(struct tc_py_timer *timer);

#endif
