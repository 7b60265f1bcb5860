/* The driver: one step of a task, and what its outcome means. */
#include "python/handle.h"
#include "python/task.h"

/* ---- waiting ---------------------------------------------------------------------------- */

/* The operation `b_waiting` is one of ours with a state of its own; NULL for anything else. */
static struct tc_py_operation *operation_of(struct tc_py_loop_state *state, PyObject *b_waiting)
{
    if (b_waiting == NULL || Py_TYPE(b_waiting)->tp_base != state->operation_type) {
        return NULL;
    }
    return (struct tc_py_operation *)b_waiting;
}

/* Leave what the task has entered without suspending in it. */
static void forget_wait(struct tc_py_task *task)
{
    struct tc_py_loop_state *state = task->future.loop->state;
    PyObject *waiting = task->waiting;
    struct tc_py_operation *op = operation_of(state, waiting);

    task->waiting = NULL;
    if (op != NULL) {
        tc_py_operation_abandon(op);
    } else if (tc_py_is_future(state, waiting)) {
        tc_py_future_remove_node((struct tc_py_future *)waiting, &task->future.node);
    }
    Py_DECREF(waiting);
    if (task->future.flags & TC_PY_TASK_QUEUED) {
        task->future.flags |= TC_PY_TASK_SPURIOUS;
    }
}

PyObject *tc_py_task_wait(struct tc_py_task *task, PyObject *b_awaitable)
{
    if (tc_unlikely(task->waiting != NULL)) {
        forget_wait(task);
    }
    task->waiting = Py_NewRef(b_awaitable);
    return Py_NewRef((PyObject *)task);
}

/* Cancel what the task waits for. Returns 1, 0 if it is too late for that, -1 with an exception. */
static int cancel_waiting(struct tc_py_task *task, PyObject *b_message)
{
    struct tc_py_loop_state *state = task->future.loop->state;
    PyObject *waiting = Py_NewRef(task->waiting);
    int result;

    if (operation_of(state, waiting) != NULL || tc_py_is_future(state, waiting)) {
        struct tc_py_node *node = (struct tc_py_node *)waiting;

        result = node->ops->cancel_wait(node, task, b_message);
    } else {
        result = tc_py_cancel_object(state, waiting, b_message);
    }
    Py_DECREF(waiting);
    return result;
}

int tc_py_task_cancel(struct tc_py_task *task, PyObject *b_message)
{
    struct tc_py_operation *op;

    task->future.flags &= ~(uint32_t)TC_PY_FUTURE_LOG;
    if (tc_py_future_is_done(&task->future)) {
        return 0;
    }
    task->future.cancels++;
    if (task->waiting != NULL) {
        int result = cancel_waiting(task, b_message);

        if (result != 0) {
            return result;
        }
        op = operation_of(task->future.loop->state, task->waiting);
        if (op != NULL && op->ops->delivery_wins) {
            task->future.flags |= TC_PY_TASK_DEFERRED;
        }
    }
    task->future.flags |= TC_PY_TASK_MUST_CANCEL;
    Py_XSETREF(task->interrupt, Py_XNewRef(b_message));
    return 1;
}

/* ---- the step --------------------------------------------------------------------------- */

PyObject *tc_py_new_cancelled_error(struct tc_py_loop_state *state, PyObject *b_message)
{
    if (b_message == NULL || b_message == Py_None) {
        return PyObject_CallNoArgs(state->cancelled_error);
    }
    return PyObject_CallOneArg(state->cancelled_error, b_message);
}

/* True if what the task waits for raises CancelledError by itself. As in asyncio, what it raises
 * instead counts as seen. */
static bool is_cancelled(struct tc_py_loop_state *state, PyObject *b_waiting)
{
    struct tc_py_operation *op = operation_of(state, b_waiting);
    struct tc_py_future *future = (struct tc_py_future *)b_waiting;

    if (op != NULL) {
        return op->state == TC_PY_OPERATION_CANCELLED;
    }
    if (b_waiting == NULL || !tc_py_is_future(state, b_waiting)) {
        return false;
    }
    if (future->flags & TC_PY_FUTURE_FAILED) {
        return PyErr_GivenExceptionMatches(tc_py_future_seen_exception(future),
                                           state->cancelled_error);
    }
    return (future->flags & TC_PY_FUTURE_CANCELLED) != 0;
}

/* What must be thrown into the coroutine now: a new reference, or NULL. Nothing if an operation of
 * ours raises it by itself when it is resumed. */
static PyObject *take_interrupt(struct tc_py_task *task)
{
    struct tc_py_loop_state *state = task->future.loop->state;
    struct tc_py_operation *op = operation_of(state, task->waiting);
    PyObject *interrupt;

    if (!(task->future.flags & TC_PY_TASK_MUST_CANCEL)) {
        interrupt = task->interrupt;
        task->interrupt = NULL;
        return interrupt;
    }
    if (op != NULL && op->ops->delivery_wins && op->state == TC_PY_OPERATION_WOKEN) {
        task->future.flags |= TC_PY_TASK_DEFERRED;
        return NULL; /* stays pending */
    }
    task->future.flags &= ~(uint32_t)(TC_PY_TASK_MUST_CANCEL | TC_PY_TASK_DEFERRED);
    if (is_cancelled(state, task->waiting)) {
        Py_CLEAR(task->interrupt); /* an earlier cancel, which is raised when we resume */
        return NULL;
    }
    if (op != NULL &&
        (op->state == TC_PY_OPERATION_WOKEN || op->state == TC_PY_OPERATION_YIELDED)) {
        if (op->state == TC_PY_OPERATION_WOKEN && op->ops->give_back != NULL) {
            op->ops->give_back(op);
        }
        op->state = TC_PY_OPERATION_CANCELLED;
        op->message = task->interrupt;
        task->interrupt = NULL;
        return NULL;
    }
    interrupt = tc_py_new_cancelled_error(state, task->interrupt);
    Py_CLEAR(task->interrupt);
    if (interrupt == NULL) {
        interrupt = PyErr_GetRaisedException(); /* MemoryError does as well */
    }
    return interrupt;
}

/* Throw into the coroutine; takes the reference to `error`. */
static PySendResult throw_into(struct tc_py_task *task, PyObject *error, PyObject **value)
{
    *value = PyObject_CallMethodOneArg(task->coro, task->future.loop->state->str_throw, error);
    Py_DECREF(error);
    if (*value != NULL) {
        return PYGEN_NEXT;
    }
    if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
        PyObject *stop = PyErr_GetRaisedException();

        *value = Py_NewRef(((PyStopIterationObject *)stop)->value);
        Py_DECREF(stop);
        return PYGEN_RETURN;
    }
    return PYGEN_ERROR;
}

/* ---- the end ---------------------------------------------------------------------------- */

/* Take a task that is done out of its loop's list; the caller holds a reference of its own. */
static void unlist(struct tc_py_task *task)
{
    if (task->future.flags & TC_PY_TASK_LISTED) {
        task->future.flags &= ~(uint32_t)TC_PY_TASK_LISTED;
        tc_list_remove(&task->all);
        Py_DECREF(task); /* L2 */
    }
}

static void task_end(struct tc_py_task *task, uint32_t kind, PyObject *result)
{
    if (tc_unlikely(task->waiting != NULL)) {
        forget_wait(task);
    }
    task->future.flags &= ~(uint32_t)TC_PY_TASK_MUST_CANCEL;
    Py_CLEAR(task->interrupt);
    tc_py_future_end(&task->future, kind, result);
    unlist(task);
}

static void task_returned(struct tc_py_task *task, PyObject *value)
{
    uint32_t cancel = task->future.flags & (TC_PY_TASK_MUST_CANCEL | TC_PY_TASK_DEFERRED);

    if (tc_unlikely(cancel == TC_PY_TASK_MUST_CANCEL)) {
        Py_DECREF(value);
        task_end(task, TC_PY_FUTURE_CANCELLED, Py_XNewRef(task->interrupt));
        return;
    }
    task_end(task, TC_PY_FUTURE_FINISHED, value);
}

/* The coroutine raised. Returns 0, or -1 with what ends the loop's run set again. */
static int task_raised(struct tc_py_task *task)
{
    PyObject *error = PyErr_GetRaisedException();

    if (PyErr_GivenExceptionMatches(error, task->future.loop->state->cancelled_error)) {
        task_end(task, TC_PY_FUTURE_CANCELLED, error);
        return 0;
    }
    if (PyErr_GivenExceptionMatches(error, PyExc_KeyboardInterrupt) ||
        PyErr_GivenExceptionMatches(error, PyExc_SystemExit)) {
        task_end(task, TC_PY_FUTURE_FAILED | TC_PY_FUTURE_LOG, Py_NewRef(error));
        PyErr_SetRaisedException(error);
        return -1;
    }
    task_end(task, TC_PY_FUTURE_FAILED | TC_PY_FUTURE_LOG, error);
    return 0;
}

/* ---- what was yielded ------------------------------------------------------------------- */

/* Have the pending exception thrown into the coroutine at its next step. */
static void interrupt_with_pending(struct tc_py_task *task)
{
    if (!(task->future.flags & TC_PY_TASK_MUST_CANCEL)) {
        Py_XSETREF(task->interrupt, PyErr_GetRaisedException());
    } else {
        PyErr_Clear(); /* the cancel is raised there instead */
    }
    tc_py_task_wake(task);
}

static int refuse_yielded(struct tc_py_task *task, PyObject *b_object)
{
    const char *hint = PyGen_CheckExact(b_object) ? "yield was used instead of yield from in task"
                                                  : "Task got bad yield";

    PyErr_Format(PyExc_RuntimeError, "%s: %R in %R", hint, b_object, task);
    return -1;
}

static PyObject *task_wakeup(PyObject *self, PyObject *Py_UNUSED(b_future))
{
    struct tc_py_task *task = (struct tc_py_task *)self;

    /* It runs by way of a handle, so the turn that asyncio spends here has been spent. */
    if (tc_py_future_is_done(&task->future)) {
        Py_RETURN_NONE;
    }
    if (tc_py_task_step(task) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef task_wakeup_def = {"_wakeup", task_wakeup, METH_O, NULL};

/* future.add_done_callback(task's wakeup). Not in the task's context, which the step enters. */
static int subscribe(struct tc_py_task *task, PyObject *b_future)
{
    struct tc_py_loop_state *state = task->future.loop->state;
    PyObject *wakeup = PyCFunction_New(&task_wakeup_def, (PyObject *)task);
    PyObject *result;

    if (wakeup == NULL) {
        return -1;
    }
    result = PyObject_CallMethodOneArg(b_future, state->str_add_done_callback, wakeup);
    Py_DECREF(wakeup);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Wait for an object that follows asyncio's future protocol. Returns 0, or -1 with an exception. */
static int wait_foreign(struct tc_py_task *task, PyObject *b_object)
{
    struct tc_py_loop_state *state = task->future.loop->state;
    PyObject *blocking = PyObject_GetAttr(b_object, state->str__asyncio_future_blocking);
    PyObject *loop;
    int is_blocking = blocking == NULL ? -1 : PyObject_IsTrue(blocking);

    Py_XDECREF(blocking);
    if (is_blocking < 0) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        return refuse_yielded(task, b_object);
    }
    loop = tc_py_loop_of_any(state, b_object);
    Py_XDECREF(loop);
    if (loop == NULL) {
        return -1;
    }
    if (loop != (PyObject *)task->future.loop) {
        PyErr_Format(PyExc_RuntimeError, "Task %R got Future %R attached to a different loop", task,
                     b_object);
        return -1;
    }
    if (!is_blocking) {
        PyErr_Format(PyExc_RuntimeError, "yield was used instead of yield from in task %R with %R",
                     task, b_object);
        return -1;
    }
    if (b_object == (PyObject *)task) {
        PyErr_Format(PyExc_RuntimeError, "Task cannot await on itself: %R", task);
        return -1;
    }
    if (PyObject_SetAttr(b_object, state->str__asyncio_future_blocking, Py_False) < 0 ||
        subscribe(task, b_object) < 0) {
        return -1;
    }
    task->waiting = Py_NewRef(b_object); /* none: it has suspended in this object */
    return 0;
}

/* A cancel was pending when the coroutine suspended: it is raised at this suspension. */
static void cancel_at_suspension(struct tc_py_task *task)
{
    PyObject *message = Py_XNewRef(task->interrupt);
    int result = cancel_waiting(task, message);

    Py_XDECREF(message);
    if (result > 0) {
        task->future.flags &= ~(uint32_t)(TC_PY_TASK_MUST_CANCEL | TC_PY_TASK_DEFERRED);
        Py_CLEAR(task->interrupt);
    } else if (result < 0) {
        PyErr_WriteUnraisable((PyObject *)task);
    }
}

/* The coroutine has yielded `yielded` (owned by the callee). */
static void task_suspended(struct tc_py_task *task, PyObject *yielded)
{
    int result = 0;

    if (tc_likely(yielded == (PyObject *)task && task->waiting != NULL)) {
        Py_DECREF(yielded);
    } else {
        if (tc_unlikely(task->waiting != NULL)) {
            forget_wait(task);
        }
        if (tc_likely(yielded == Py_None)) {
            tc_py_task_wake(task);
            return;
        }
        result = wait_foreign(task, yielded);
        Py_DECREF(yielded);
    }
    if (tc_unlikely(result < 0)) {
        interrupt_with_pending(task);
        return;
    }
    if (tc_unlikely(task->future.flags & TC_PY_TASK_MUST_CANCEL)) {
        cancel_at_suspension(task);
    }
}

/* ---- one step --------------------------------------------------------------------------- */

/* Send None, or throw, with the task as the running one of its loop. */
static PySendResult resume(struct tc_py_task *task, PyObject **value)
{
    struct tc_py_loop *loop = task->future.loop;
    struct tc_py_task *outer = loop->current;
    PyObject *error = NULL;
    PySendResult status = PYGEN_ERROR;

    if (tc_unlikely(task->interrupt != NULL || task->future.flags & TC_PY_TASK_MUST_CANCEL)) {
        error = take_interrupt(task);
    }
    Py_CLEAR(task->waiting);
    if (tc_unlikely(PyContext_Enter(task->context) < 0)) {
        Py_XDECREF(error);
        return PYGEN_ERROR;
    }
    loop->current = task;
    task->future.flags |= TC_PY_TASK_RUNNING;
    loop->fast = 0;
    if (tc_likely(error == NULL)) {
        status = PyIter_Send(task->coro, Py_None, value);
    } else {
        status = throw_into(task, error, value);
    }
    task->future.flags &= ~(uint32_t)TC_PY_TASK_RUNNING;
    loop->current = outer;
    (void)PyContext_Exit(task->context); /* we are in it: it cannot fail */
    if (loop->has_stop_value) {
        tc_py_stop_forget(loop);
    }
    return status;
}

/* Somebody has ended the task by Future.set_result() while its coroutine had steps to run. It runs
 * no more, and that is told. Returns 0, or -1 with what ends the loop's run set. */
static int report_done(struct tc_py_task *task)
{
    struct tc_py_loop *loop = task->future.loop;
    PyObject *message = PyUnicode_FromFormat("Exception in a step of %R", task);
    int result;

    unlist(task);
    if (message == NULL) {
        PyErr_WriteUnraisable((PyObject *)task);
        return 0;
    }
    PyErr_Format(loop->state->invalid_state_error, "__step(): already done: %R", task);
    result = tc_py_loop_report(loop, message, loop->state->str_task, (PyObject *)task);
    Py_DECREF(message);
    return result;
}

int tc_py_task_step(struct tc_py_task *task)
{
    PyObject *value = NULL;
    int result = 0;

    if (tc_unlikely(tc_py_future_is_done(&task->future))) {
        return report_done(task);
    }
    Py_INCREF(task);
    switch (resume(task, &value)) {
    case PYGEN_RETURN:
        task_returned(task, value);
        break;
    case PYGEN_NEXT:
        task_suspended(task, value);
        break;
    case PYGEN_ERROR:
        result = task_raised(task);
        break;
    }
    Py_DECREF(task);
    return result;
}

/* ---- a task that may not be needed -------------------------------------------------------- */

/* The coroutine has ended. Whether nothing of that is left in the task, which only the caller and
 * the list know: then it is idle again. */
static bool can_idle(struct tc_py_task *task)
{
    return task->waiting == NULL && task->interrupt == NULL && task->future.callbacks == NULL &&
           task->future.cancels == 0 && task->future.weakrefs == NULL &&
           (task->future.flags & ~(uint32_t)TC_PY_TASK_NAMED) == TC_PY_TASK_LISTED &&
           Py_REFCNT(task) == 2 + 1; /* the caller, the list, tc_py_task_try */
}

enum tc_py_try tc_py_task_try(struct tc_py_task *task, PyObject *coro, PyObject *context,
                              PyObject **value)
{
    enum tc_py_try outcome = TC_PY_TRY_SUSPENDED;
    PySendResult status;

    task->coro = coro;
    task->context = context;
    Py_INCREF(task);
    tc_list_push_back(&task->future.loop->tasks, &task->all);
    task->future.flags |= TC_PY_TASK_LISTED;
    Py_INCREF(task);
    status = resume(task, value);
    if (status == PYGEN_NEXT) {
        task_suspended(task, *value);
    } else {
        PyObject *error = status == PYGEN_ERROR ? PyErr_GetRaisedException() : NULL;

        outcome = status == PYGEN_ERROR ? TC_PY_TRY_FAILED : TC_PY_TRY_DONE;
        if (can_idle(task)) {
            unlist(task);
            Py_CLEAR(task->coro);
            Py_CLEAR(task->context);
        } else if (error != NULL) {
            task_end(task, TC_PY_FUTURE_FAILED, Py_NewRef(error));
        } else {
            task_returned(task, Py_NewRef(*value));
        }
        PyErr_SetRaisedException(error);
    }
    Py_DECREF(task);
    return outcome;
}
