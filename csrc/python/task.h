/* python/task.h — a coroutine that a loop drives.
 *
 * A task is a future whose result its coroutine produces. One step sends None into the coroutine
 * and looks at how it came back:
 *
 *   returned, raised        the task is done
 *   yielded the task        an awaitable of ours has entered itself in `waiting`
 *   yielded None            a bare yield: the task goes to the end of the ready queue
 *   yielded an object with  somebody else's future: add_done_callback; `waiting` is that object
 *     _asyncio_future_blocking
 *   yielded anything else   RuntimeError is thrown into the coroutine at the next step
 *
 * INVARIANTS
 *  TA1  A pending task is either running, or in the ready queue, or `waiting` is set and will make
 *       it ready.
 *  TA3  An awaitable that enters itself may be one that the step does not suspend in: a coroutine
 *       that is run by hand, or one that the collector closes and that awaits on its way out. So
 *       the yielded value tells, `waiting` is left when the step ends otherwise, and a place in the
 *       ready queue that the task got by such a one is passed over (SPURIOUS).
 *  TA2  sizeof(struct tc_py_task) ≤ 136, on free-threaded builds ≤ 152.
 *
 * who may call what: the thread of the task's loop, attached.
 */
#ifndef TC_PYTHON_TASK_H
#define TC_PYTHON_TASK_H

#include "python/future.h"

struct tc_py_task {
    struct tc_py_future future;
    struct tc_list all;      /* in loop->tasks while LISTED                                     */
    PyObject *coro;          /* owned                                                           */
    PyObject *context;       /* owned; a contextvars.Context                                    */
    PyObject *waiting;       /* owned; what the coroutine waits for, or NULL                    */
    PyObject *interrupt;     /* owned; with MUST_CANCEL the message of cancel(), or NULL; else an
                              * exception to be thrown at the next step, or NULL                */
    union {
        PyObject *object;    /* owned, if NAMED                                                 */
        uint64_t number;     /* of "Task-N", made into a string when somebody asks              */
    } name;
};

_Static_assert(sizeof(struct tc_py_task) <= (TC_PY_FREE_THREADED ? 152 : 136), "TA2");

/* Make a task and schedule its first step, or run that at once if `eager`. Name and context may be
 * NULL. The caller has checked that `b_coro` is a coroutine. Returns a new reference, or NULL with
 * an exception set. */
struct tc_py_task *tc_py_task_new(struct tc_py_loop *loop, PyTypeObject *type, PyObject *b_coro,
                                  PyObject *b_name, PyObject *b_context, bool eager);

/* The second half of that, for a task object whose common part is made. */
int tc_py_task_begin(struct tc_py_task *task, PyObject *b_coro, PyObject *b_name,
                     PyObject *b_context, bool eager);

/* True for what create_task accepts. Returns 1, 0, or -1 with an exception set. */
int tc_py_is_coroutine(struct tc_py_loop_state *state, PyObject *object);

/* Run one step (step.c). Returns 0, or -1 with KeyboardInterrupt or SystemExit set. */
int tc_py_task_step(struct tc_py_task *task);

/* ---- a task that may not be needed ---- */

/* A task without a coroutine. Returns a new reference, or NULL with an exception set. */
struct tc_py_task *tc_py_task_new_idle(struct tc_py_loop *loop);

enum tc_py_try {
    TC_PY_TRY_DONE,      /* *value is what the coroutine returned, a new reference              */
    TC_PY_TRY_FAILED,    /* with the exception set                                              */
    TC_PY_TRY_SUSPENDED, /* the task is one like any other now                                  */
};

/* Run a coroutine up to its first suspension, in an idle task. If it ends before and nobody has got
 * hold of the task, that is idle again (step.c). Owns: takes `coro` and `context`. */
enum tc_py_try tc_py_task_try(struct tc_py_task *task, PyObject *coro, PyObject *context,
                              PyObject **value);

static inline bool tc_py_task_is_idle(const struct tc_py_task *task)
{
    return task->coro == NULL && !tc_py_future_is_done(&task->future);
}

/* Task.cancel(). Returns 1, 0, or -1 with an exception set. */
int tc_py_task_cancel(struct tc_py_task *task, PyObject *b_message);

/* CancelledError(message), or without an argument for NULL and None: a new reference, or NULL with
 * an exception set. */
PyObject *tc_py_new_cancelled_error(struct tc_py_loop_state *state, PyObject *b_message);

/* Task.uncancel() and Task.cancelling(), by the methods of a class that is derived from Task.
 * Returns the count, or -1 with an exception set. */
long tc_py_task_uncancel(struct tc_py_task *task);
long tc_py_task_cancelling(struct tc_py_task *task);

/* Enter `b_awaitable` (a future, or an operation of ours) as what the running task waits for.
 * Returns what has to be yielded then, a new reference (TA3). */
PyObject *tc_py_task_wait(struct tc_py_task *task, PyObject *b_awaitable);

/* Make a waiting task ready (O2). */
static inline void tc_py_task_wake(struct tc_py_task *task)
{
    if (tc_unlikely(task->future.flags & TC_PY_TASK_QUEUED)) {
        task->future.flags &= ~(uint32_t)TC_PY_TASK_SPURIOUS; /* that place counts now */
        return;
    }
    task->future.flags |= TC_PY_TASK_QUEUED;
    tc_py_loop_ready(task->future.loop, &task->future.node);
}

/* The coroutine of an argument of create_task, gather or run as a future: futures as they are,
 * coroutines as new tasks. Returns a new reference, or NULL with an exception set. */
PyObject *tc_py_ensure_future(struct tc_py_loop *loop, PyObject *b_object);

/* The same without a loop: futures of whatever loop; the running loop, or that of
 * set_event_loop(). */
PyObject *tc_py_ensure_any_future(struct tc_py_loop_state *state, PyObject *b_object);

/* create_task() with its Python arguments (coro, *, name, context, eager_start), through the task
 * factory if there is one. A new reference or NULL. */
PyObject *tc_py_create_task(struct tc_py_loop *loop, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *names);

extern const struct tc_py_node_ops tc_py_task_ops;

#endif
