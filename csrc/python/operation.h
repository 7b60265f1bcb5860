/* python/operation.h — what a task can wait for, and how such waits begin, end and are given up.
 *
 * NODES. Every object that a loop handles itself (handle, future, task, gather, operation) starts
 * with a struct tc_py_node: a place in the ready queue and a table of what to do when its turn
 * comes, when a future it waits for is done, when a task that waits for it is cancelled.
 *
 * OPERATIONS. A native awaitable derives from the type _core._Operation, which supplies `await`,
 * send, throw, close, the repr and the warning when it is dropped unused. An implementation fills a
 * struct tc_py_operation_ops. The task's driver never sees what is awaited: the innermost awaitable
 * finds the running task by itself, enters itself in task->waiting and yields None.
 *
 *            start: TC_PY_DONE                                               finish
 *   NEW ──────────────────────────────────────────────────────────► FINISHED ◄─────── WOKEN
 *    │ start: TC_PY_SUSPEND          tc_py_operation_wake                             ▲   │
 *    └────────────────────► SUSPENDED ────────────────────────────────────────────────┘   │
 *                              │  cancel: withdraw() says true                            │
 *                              └───────────────► CANCELLED ◄──────────────────────────────┘
 *                                                    │      cancel before the task ran, first rule
 *                                                    └─► FINISHED: CancelledError at the await
 *    NEW ─ start: TC_PY_YIELD ─► YIELDED, then like WOKEN, but nothing was handed over
 *
 *   state       the operation is known to        leaves it
 *   NEW         nobody                           the await (send, iternext), close
 *   SUSPENDED   its source; task->waiting owns   the source, through wake; the task's cancel; close
 *   WOKEN       the ready queue (its task)       the task's next step
 *   YIELDED     the ready queue (its task)       the task's next step; the task's cancel; close
 *   CANCELLED   the ready queue (its task)       the task's next step
 *   FINISHED    nobody                           nothing: a second await is RuntimeError
 *
 * What start, finish and unwind call may be the user's code, and that may reach the operation
 * again: `is_running` has it refused there.
 *
 * CANCELLATION. Task.cancel() asks withdraw(), which ends the wait if nothing was handed over yet.
 * Otherwise the two rules differ, by ops->delivery_wins:
 *   false  (asyncio's names) the await raises CancelledError all the same; give_back() has returned
 *          what was handed over before the task is resumed;
 *   true   (Channel, select) the await returns its value; the cancel stays pending and is raised at
 *          the next suspension, or is dropped when the coroutine returns first.
 *
 * A source that lives on other threads is joined through python/wakeup.h. Where no loop of ours
 * runs, an operation with ops->has_guests can be awaited in a task of another library:
 * python/guest.h.
 *
 * INVARIANTS
 *  O1  While an operation is SUSPENDED, `task` is alive, unfinished and waits for it.
 *  O2  A task is made ready once per suspension.
 *
 * who may call what: the thread of the operation's loop, attached, unless it says otherwise.
 */
#ifndef TC_PYTHON_OPERATION_H
#define TC_PYTHON_OPERATION_H

#include "python/compat.h"

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct tc_py_future;
struct tc_py_loop;
struct tc_py_loop_state;
struct tc_py_mailbox;
struct tc_py_node;
struct tc_py_operation;
struct tc_py_task;

/* ---- nodes ------------------------------------------------------------------------------- */

struct tc_py_node_ops {
    /* Its turn has come. Returns 0, or -1 with an exception that ends the loop's run. */
    int (*run)(struct tc_py_node *self, struct tc_py_loop *loop);
    /* A future in whose callbacks the node stands is done. NULL: never stands there. */
    void (*future_done)(struct tc_py_node *self, struct tc_py_future *b_future);
    /* A task that waits for this is cancelled. Returns 1: it will be resumed and meet the cancel
     * then, 0: too late, -1 with an exception. NULL: nothing waits for such a node. */
    int (*cancel_wait)(struct tc_py_node *self, struct tc_py_task *b_task, PyObject *b_message);
};

struct tc_py_node {
    PyObject_HEAD const struct tc_py_node_ops
        *ops; /* constant                                              */
    struct tc_link link;              /* in the loop's ready queue                             */
};

/* ---- operations -------------------------------------------------------------------------- */

enum tc_py_outcome {
    TC_PY_DONE,    /* *value holds a new reference, or NULL for None                            */
    TC_PY_SUSPEND, /* the source will call tc_py_operation_wake                                 */
    TC_PY_YIELD, /* nothing to wait for: resume at the end of the ready queue, as YIELDED      */
    TC_PY_ERROR, /* with an exception set                                                     */
};

struct tc_py_operation_ops {
    struct tc_py_node_ops node; /* TC_PY_OPERATION_NODE, with `run` replaced if it is used      */
    const char *name; /* "sleep", "Channel.send": for messages                        */
    bool delivery_wins; /* which rule of cancellation                                   */
    bool has_guests; /* op->task may be NULL: see guest.h                            */
    bool starts_anywhere; /* start() runs without a task, and joins one before it suspends */
    /* Try at once; otherwise register with the source. op->task is set, unless starts_anywhere. */
    enum tc_py_outcome (*start)(struct tc_py_operation *self, PyObject **value);
    /* The task runs again after a wake: produce the result, or suspend once more. */
    enum tc_py_outcome (*finish)(struct tc_py_operation *self, PyObject **value);
    /* Leave the source. Returns true if nothing was handed over and nothing will be. */
    bool (*withdraw)(struct tc_py_operation *self);
    /* Return what was handed over; with delivery_wins, drop it: the await was closed, or something
     * else thrown into it. NULL: nothing ever is. */
    void (*give_back)(struct tc_py_operation *self);
    /* The await ends by an exception, in the turn in which it is raised: leave the source, return
     * what was handed over. Takes the place of the two above where the source must see a cancelled
     * wait until its task runs, or where that calls the user's code; withdraw() remains for waits
     * whose task is gone. Returns 0, or -1 with an exception that is raised instead. May be
     * NULL. */
    int (*unwind)(struct tc_py_operation *self);
    /* The task runs again after a cancel, op->message being its argument: raise CancelledError, or
     * go on as after finish(). NULL: raise it. */
    enum tc_py_outcome (*cancelled)(struct tc_py_operation *self, PyObject **value);
};

enum tc_py_operation_state {
    TC_PY_OPERATION_NEW,
    TC_PY_OPERATION_SUSPENDED,
    TC_PY_OPERATION_WOKEN,
    TC_PY_OPERATION_YIELDED,
    TC_PY_OPERATION_CANCELLED,
    TC_PY_OPERATION_FINISHED,
};

struct tc_py_operation {
    struct tc_py_node node;
    const struct tc_py_operation_ops *ops; /* constant                                         */
    struct tc_py_task *task; /* borrowed (O1); NULL unless SUSPENDED to CANCELLED */
    PyObject *message; /* owned; the cancel's argument while CANCELLED      */
    PyObject *guest; /* owned; a struct tc_py_guest, or NULL              */
    uint8_t state; /* enum tc_py_operation_state                        */
    bool is_running; /* in start, finish or unwind                        */
    bool is_traced; /* in the table of python/debug.h                    */
};

/* The node functions every operation shares. */
int tc_py_operation_run(struct tc_py_node *self, struct tc_py_loop *loop);
int tc_py_operation_cancel_wait(struct tc_py_node *self, struct tc_py_task *b_task,
                                PyObject *b_message);

#define TC_PY_OPERATION_NODE \
    {.run = tc_py_operation_run, .future_done = NULL, .cancel_wait = tc_py_operation_cancel_wait}

/* The CancelledError that a cancelled operation is to raise: a new reference, or NULL with an
 * exception set. Once per cancel. */
PyObject *tc_py_operation_cancelled_error(struct tc_py_operation *op);

/* Fill the common part of a new object. */
void tc_py_operation_init(struct tc_py_operation *op, const struct tc_py_operation_ops *ops);

/* For a start() that runs anywhere and has to suspend: set op->task to the task that runs. Returns
 * 0, or -1 with RuntimeError set: only a task of a loop can wait. */
int tc_py_operation_join(struct tc_py_operation *op);

/* Make an operation NEW again whose last await has ended, if the caller's is the only reference to
 * it; first warn if it never was awaited. Returns whether it is, with `message` dropped and without
 * a task; the caller fills the rest. */
bool tc_py_operation_reuse(struct tc_py_operation *op);

/* Resume the task that is SUSPENDED in `op`: it will call finish(). */
void tc_py_operation_wake(struct tc_py_operation *op);

/* Where the wake-up of a wait is to be posted: borrowed, or NULL with RuntimeError or
 * MemoryError. */
struct tc_py_mailbox *tc_py_operation_mailbox(struct tc_py_operation *op);

/* The slots of the base type, for types that try a shorter way first. */
PyObject *tc_py_operation_iternext(PyObject *self);
PySendResult tc_py_operation_send(PyObject *self, PyObject *b_value, PyObject **result);

/* For tp_dealloc and tp_clear of an implementation, and for a task that dies while it waits: leave
 * the source if SUSPENDED, forget the task. Threads: attached, any (nobody else reaches it). */
void tc_py_operation_clear(struct tc_py_operation *op);

/* Give up whatever it waits for: nobody will resume it. The caller holds a reference. */
void tc_py_operation_abandon(struct tc_py_operation *op);

/* Warn that the operation was never awaited, if that is so. For tp_finalize. */
void tc_py_operation_finalize(PyObject *self);

/* tp_dealloc of a type that keeps no spare objects: finalizer, the type's tp_clear, memory. */
void tc_py_operation_dealloc(PyObject *self);

/* Let collections.abc.Coroutine know the type. Returns 0, or -1 with an exception set. */
int tc_py_register_coroutine(struct tc_py_loop_state *state, PyTypeObject *type);

/* ---- results ----------------------------------------------------------------------------- */

/* End a tp_iternext with `value` (owned by the callee; NULL or None: without an exception object).
 * Always returns NULL. `loop` may be NULL: then the exception object is a fresh one. */
PyObject *tc_py_stop(struct tc_py_loop *loop, PyObject *value);

/* Drop the value that tc_py_stop left in the loop's exception object, after the step that used it,
 * and the object too if somebody else holds it or it has grown a traceback or a context. */
void tc_py_stop_forget(struct tc_py_loop *loop);

#endif
