/* python/future.h — a result that is not there yet, and those who wait for it.
 *
 * `callbacks` holds who waits, in order: NULL, one entry, or a list of entries. An entry is a node,
 * told through node->ops->future_done: a task that awaits, a gather, or the handle of an
 * add_done_callback, which is made then, so that the end of a future needs no memory. The common
 * future has one waiter, and costs no list.
 *
 * INVARIANTS
 *  FU1  PENDING is left once; from then on `callbacks` is NULL or, of a failed future, the
 *       traceback that its exception had then: whoever awaits it gets the exception with that one.
 *  FU2  `result`: NULL while PENDING; the result; the exception; or, CANCELLED, the CancelledError
 *       that ended the task, else the message of cancel() or NULL.
 *
 * who may call what: the thread of the future's loop, attached, unless it says otherwise.
 */
#ifndef TC_PYTHON_FUTURE_H
#define TC_PYTHON_FUTURE_H

#include "python/loop.h"
#include "python/operation.h"

enum tc_py_future_flags {
    TC_PY_FUTURE_FINISHED = 1 << 0,  /* one of these three, or none while pending              */
    TC_PY_FUTURE_FAILED = 1 << 1,
    TC_PY_FUTURE_CANCELLED = 1 << 2,
    TC_PY_FUTURE_DONE = 7,           /* any of them                                             */
    TC_PY_FUTURE_LOG = 1 << 3,       /* nobody has looked at the exception yet                  */
    TC_PY_FUTURE_BLOCKING = 1 << 4,  /* _asyncio_future_blocking                                */
    TC_PY_TASK_MUST_CANCEL = 1 << 5, /* raise CancelledError at the next step                   */
    TC_PY_TASK_DEFERRED = 1 << 6,    /* that cancel came after a delivery that won              */
    TC_PY_TASK_NAMED = 1 << 7,       /* the name is an object, not a number                     */
    TC_PY_TASK_LISTED = 1 << 8,      /* in loop->tasks                                          */
    TC_PY_TASK_RUNNING = 1 << 9,     /* in a step                                               */
    TC_PY_TASK_QUIET = 1 << 10,      /* not: "was destroyed but it is pending"                  */
    TC_PY_TASK_QUEUED = 1 << 11,     /* in the ready queue                                      */
    TC_PY_TASK_SPURIOUS = 1 << 12,   /* that place does not count (task.h, TA3)                 */
    TC_PY_FUTURE_TRACED = 1 << 30,   /* in the table of python/debug.h                          */
};

struct tc_py_future {
    struct tc_py_node node;
    PyObject *weakrefs;
    struct tc_py_loop *loop; /* owned                                                           */
    PyObject *callbacks;     /* owned; see above                                                */
    PyObject *result;        /* owned; FU2                                                      */
    uint32_t flags;          /* enum tc_py_future_flags                                         */
    uint32_t cancels;        /* of a task: cancel() calls less uncancel() calls                 */
};

static inline bool tc_py_future_is_done(const struct tc_py_future *future)
{
    return (future->flags & TC_PY_FUTURE_DONE) != 0;
}

/* A new pending future of exactly `type`, not yet tracked by the collector beyond its common part;
 * NULL with an exception set. */
struct tc_py_future *tc_py_future_new(struct tc_py_loop *loop, PyTypeObject *type,
                                      const struct tc_py_node_ops *ops);

/* Common part of __init__: bind an object that tp_new has made to a loop. `what` is for messages.
 * Returns 0, or -1 with an exception set. */
int tc_py_future_init(struct tc_py_future *future, PyObject *b_loop, const char *what);

/* The slow part of tc_py_future_check: a derived class has not called __init__(). */
int tc_py_future_refuse(struct tc_py_future *future);

/* Refuse a method of an object that is not initialised, of another thread's, or of before a fork.
 * Returns 0, or -1 with RuntimeError set. */
static inline int tc_py_future_check(struct tc_py_future *future, const char *what)
{
    if (tc_unlikely(future->loop == NULL)) {
        return tc_py_future_refuse(future);
    }
    return tc_py_loop_check(future->loop, what);
}

/* Common part of the constructors: the loop argument, else the running loop, else that of
 * set_event_loop(). Borrowed, or NULL with
 * an exception set. */
struct tc_py_loop *tc_py_future_loop_argument(PyObject *b_loop);

/* The node functions of plain futures. */
extern const struct tc_py_node_ops tc_py_future_ops;

/* True for instances of our Future and of classes derived from it. Threads: attached, any */
bool tc_py_is_future(const struct tc_py_loop_state *state, PyObject *object);

/* True for those whose type is exactly one of ours: what they do is not overridden. Not for one
 * that was never initialised: its methods refuse. Threads: attached, any */
static inline bool tc_py_is_native(const struct tc_py_loop_state *state, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    return (type == state->task_type || type == state->future_type || type == state->gather_type) &&
           tc_likely(((struct tc_py_future *)object)->loop != NULL);
}

/* True for those, and for whatever says that it is a future, as asyncio asks. Threads: attached,
 * any */
bool tc_py_is_any_future(struct tc_py_loop_state *state, PyObject *object);

/* The loop of any future: a new reference, or NULL with an exception set. Threads: attached, any */
PyObject *tc_py_loop_of_any(struct tc_py_loop_state *state, PyObject *b_future);

/* Leave PENDING. `kind` is one of the three done flags; takes the reference to `result`. */
void tc_py_future_end(struct tc_py_future *future, uint32_t kind, PyObject *result);

/* Let `node` know when the pending `future` is done. Returns 0, or -1 with MemoryError set. */
int tc_py_future_add_node(struct tc_py_future *future, struct tc_py_node *node);

/* The same for add_done_callback. Returns 0, or -1 with MemoryError set. */
int tc_py_future_add_callback(struct tc_py_future *future, PyObject *b_callable,
                              PyObject *b_context);

/* The same for remove_done_callback. Returns how many there were, or -1 with an exception set. */
Py_ssize_t tc_py_future_remove_callback(struct tc_py_future *future, PyObject *b_callable);

/* A list of (callable, context), as asyncio's repr wants them; a new reference, or NULL. */
PyObject *tc_py_future_list_callbacks(struct tc_py_future *future);

/* Take `node` out of the callbacks. */
void tc_py_future_remove_node(struct tc_py_future *future, struct tc_py_node *node);

/* What await and result() give: a new reference, or NULL with the exception set. The future is
 * done. */
PyObject *tc_py_future_result(struct tc_py_future *future);

/* The CancelledError of a cancelled future: a new reference, or NULL with an exception set. */
PyObject *tc_py_future_cancelled_error(struct tc_py_future *future);

/* The exception of a failed future, borrowed, marked as seen; NULL if it has none. */
PyObject *tc_py_future_seen_exception(struct tc_py_future *future);

/* The attribute _cancel_message: that of a cancel() which has not been raised yet, or of a
 * cancelled future. */
PyObject *tc_py_future_get_message(PyObject *self, void *closure);
int tc_py_future_set_message(PyObject *self, PyObject *b_value, void *closure);

/* Future.cancel() of a plain future. Returns 1, or 0 if it was done. */
int tc_py_future_cancel(struct tc_py_future *future, PyObject *b_message);

/* cancel() of any awaitable object: natively where the type is ours and does not override it.
 * Returns 1, 0, or -1 with an exception set. */
int tc_py_cancel_object(struct tc_py_loop_state *state, PyObject *b_object, PyObject *b_message);

/* A repr by one of asyncio's functions, or a short one of our own on a foreign thread or in the
 * child of a fork. Threads: attached, any   Returns a new reference or NULL. */
PyObject *tc_py_future_repr_by(PyObject *self, PyObject *b_function);

/* Parts of the types that derive from Future: collector hooks, finalizer, await. */
int tc_py_future_traverse(PyObject *self, visitproc visit, void *arg);
int tc_py_future_clear(PyObject *self);
void tc_py_future_finalize(PyObject *self);
PyObject *tc_py_future_iterate(PyObject *self);
PyObject *tc_py_future_iternext(PyObject *self);
PySendResult tc_py_future_send(PyObject *self, PyObject *b_value, PyObject **result);

#endif
