#include "python/operation.h"

#include "python/debug.h"
#include "python/guest.h"
#include "python/loop.h"
#include "python/task.h"

#include "base/assert.h"

static struct tc_py_operation *operation_of(PyObject *self)
{
    return (struct tc_py_operation *)self;
}

/* ---- results ---------------------------------------------------------------------------- */

/* An exception object that can carry a value; owned by the loop. Borrowed, or NULL. */
static PyStopIterationObject *reusable_stop(struct tc_py_loop *loop)
{
    if (loop == NULL) {
        return NULL;
    }
    if (loop->stop_iteration == NULL) {
        loop->stop_iteration = PyObject_CallNoArgs(PyExc_StopIteration);
        if (loop->stop_iteration == NULL) {
            PyErr_Clear(); /* the caller makes a fresh one, or fails then */
            return NULL;
        }
    }
    return loop->has_stop_value ? NULL : (PyStopIterationObject *)loop->stop_iteration;
}

PyObject *tc_py_stop(struct tc_py_loop *loop, PyObject *value)
{
    PyStopIterationObject *stop;
    PyObject *fresh;

    if (value == NULL || value == Py_None) {
        Py_XDECREF(value);
        return NULL; /* the interpreter takes it for StopIteration(None) */
    }
    if (loop != tc_py_loop_running()) {
        loop = NULL;
    }
    stop = reusable_stop(loop);
    if (stop != NULL && Py_REFCNT(stop) == 1) {
        Py_XSETREF(stop->value, value);
        loop->has_stop_value = true;
        PyErr_SetRaisedException(Py_NewRef((PyObject *)stop));
        return NULL;
    }
    fresh = PyObject_CallNoArgs(PyExc_StopIteration); /* a tuple as argument would be unpacked */
    if (fresh == NULL) {
        Py_DECREF(value);
        return NULL;
    }
    Py_XSETREF(((PyStopIterationObject *)fresh)->value, value);
    PyErr_SetRaisedException(fresh);
    return NULL;
}

void tc_py_stop_forget(struct tc_py_loop *loop)
{
    PyStopIterationObject *stop = (PyStopIterationObject *)loop->stop_iteration;

    loop->has_stop_value = false;
    if (Py_REFCNT(stop) == 1 && stop->traceback == NULL && stop->context == NULL) {
        Py_SETREF(stop->value, Py_NewRef(Py_None));
    } else {
        Py_CLEAR(loop->stop_iteration);
    }
}

/* ---- states ----------------------------------------------------------------------------- */

void tc_py_operation_init(struct tc_py_operation *op, const struct tc_py_operation_ops *ops)
{
    op->node.ops = &ops->node;
    op->ops = ops;
    if (tc_py_debug_is_possible()) {
        op->is_traced = tc_py_debug_trace_quietly((PyObject *)op);
    }
}

void tc_py_operation_wake(struct tc_py_operation *op)
{
    tc_assert_debug(op->state == TC_PY_OPERATION_SUSPENDED);
    op->state = TC_PY_OPERATION_WOKEN;
    if (tc_likely(op->task != NULL)) {
        tc_py_task_wake(op->task);
    } else {
        tc_py_guest_wake(op);
    }
}

struct tc_py_mailbox *tc_py_operation_mailbox(struct tc_py_operation *op)
{
    if (tc_likely(op->task != NULL)) {
        return op->task->future.loop->mailbox;
    }
    return tc_py_guest_mailbox(op);
}

/* Its turn in the ready queue: the source spent one turn on purpose, as asyncio does. */
int tc_py_operation_run(struct tc_py_node *self, struct tc_py_loop *loop)
{
    struct tc_py_operation *op = (struct tc_py_operation *)self;

    (void)loop;
    if (op->state == TC_PY_OPERATION_SUSPENDED) {
        tc_py_operation_wake(op);
    }
    return 0;
}

int tc_py_operation_cancel_wait(struct tc_py_node *self, struct tc_py_task *b_task,
                                PyObject *b_message)
{
    struct tc_py_operation *op = (struct tc_py_operation *)self;

    bool is_ready = op->state == TC_PY_OPERATION_YIELDED; /* and its task queued */

    if (!is_ready && (op->state != TC_PY_OPERATION_SUSPENDED || !op->ops->withdraw(op))) {
        return 0;
    }
    op->state = TC_PY_OPERATION_CANCELLED;
    Py_XSETREF(op->message, Py_XNewRef(b_message));
    if (!is_ready) {
        tc_py_task_wake(b_task);
    }
    return 1;
}

/* Whether this thread may touch the ready queue of the task's loop. */
static bool is_in_reach(struct tc_py_task *task)
{
    struct tc_py_loop *loop = task->future.loop;

    /* relaxed: another thread's number stays another thread's */
    return tc_py_loop_running() == loop ||
           (!loop->is_closed && tc_load_relaxed(&loop->thread) == 0);
}

/* Give up whatever it waits for: nobody will resume it. A task that waits although its coroutine was
 * closed is made ready (TA1), and finds out. */
static void operation_abandon(struct tc_py_operation *op)
{
    struct tc_py_task *task = op->task;
    bool is_stranded = op->state == TC_PY_OPERATION_SUSPENDED && task != NULL &&
                       task->waiting == (PyObject *)op && is_in_reach(task);

    if (op->state == TC_PY_OPERATION_SUSPENDED) {
        (void)op->ops->withdraw(op); /* too late: what was handed over is given back below */
    }
    if ((op->state == TC_PY_OPERATION_SUSPENDED || op->state == TC_PY_OPERATION_WOKEN) &&
        op->ops->give_back != NULL) {
        op->ops->give_back(op);
    }
    op->state = TC_PY_OPERATION_FINISHED;
    op->task = NULL;
    tc_py_guest_leave(op);
    if (task != NULL && task->waiting == (PyObject *)op) {
        task->waiting = NULL;
        Py_DECREF(op); /* not the last one: the caller holds it */
    }
    if (is_stranded) {
        tc_py_task_wake(task);
    }
}

void tc_py_operation_clear(struct tc_py_operation *op)
{
    if (op->state == TC_PY_OPERATION_SUSPENDED) {
        (void)op->ops->withdraw(op); /* see operation_abandon */
    }
    if (op->state != TC_PY_OPERATION_NEW) {
        op->state = TC_PY_OPERATION_FINISHED;
    }
    op->task = NULL;
    Py_CLEAR(op->message);
    if (tc_unlikely(op->is_traced)) {
        op->is_traced = false;
        tc_py_debug_forget_quietly((PyObject *)op);
    }
}

void tc_py_warn_never_awaited(PyObject *self, const char *name)
{
    struct tc_py_loop_state *state = tc_py_loop_state_of_type(Py_TYPE(self));
    PyObject *pending = PyErr_GetRaisedException();
    PyObject *made = NULL;

    if (state != NULL) {
        made = tc_py_debug_text(state, self, "Operation created at (most recent call last)");
    }
    PyErr_Clear(); /* the warning matters more */
    if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "operation '%s' was never awaited%V", name, made,
                         "") < 0) {
        PyErr_WriteUnraisable(self);
    }
    Py_XDECREF(made);
    PyErr_SetRaisedException(pending);
}

void tc_py_operation_finalize(PyObject *self)
{
    struct tc_py_operation *op = operation_of(self);

    if (tc_unlikely(op->state == TC_PY_OPERATION_NEW) && op->ops != NULL) {
        op->state = TC_PY_OPERATION_FINISHED;
        tc_py_warn_never_awaited(self, op->ops->name);
    }
}

/* ---- await ------------------------------------------------------------------------------ */

static enum tc_py_outcome raise_cancelled(struct tc_py_operation *op, struct tc_py_task *task)
{
    PyObject *type = task->future.loop->state->cancelled_error;
    PyObject *error = op->message == NULL || op->message == Py_None
                          ? PyObject_CallNoArgs(type)
                          : PyObject_CallOneArg(type, op->message);

    Py_CLEAR(op->message);
    if (error != NULL) {
        PyErr_SetObject(type, error); /* with its context */
        Py_DECREF(error);
    }
    return TC_PY_ERROR;
}

static enum tc_py_outcome begin(struct tc_py_operation *op, PyObject **value)
{
    struct tc_py_task *task = tc_py_task_running();

    if (task == NULL && !op->ops->has_guests) {
        PyErr_Format(PyExc_RuntimeError, "%s() can be awaited only in a task of a tinycoro loop",
                     op->ops->name);
        return TC_PY_ERROR;
    }
    op->task = task;
    return op->ops->start(op, value);
}

/* One send: start, finish, or refuse. */
static enum tc_py_outcome advance(struct tc_py_operation *op, PyObject **value)
{
    enum tc_py_outcome outcome;

    switch ((enum tc_py_operation_state)op->state) {
    case TC_PY_OPERATION_NEW:
        outcome = begin(op, value);
        break;
    case TC_PY_OPERATION_WOKEN:
    case TC_PY_OPERATION_YIELDED:
        outcome = op->ops->finish(op, value);
        break;
    case TC_PY_OPERATION_CANCELLED:
        outcome = raise_cancelled(op, op->task);
        break;
    case TC_PY_OPERATION_SUSPENDED:
        PyErr_Format(PyExc_RuntimeError, "'%s' is being awaited already", op->ops->name);
        return TC_PY_ERROR;
    default:
        PyErr_Format(PyExc_RuntimeError, "cannot reuse already awaited '%s'", op->ops->name);
        return TC_PY_ERROR;
    }
    if (outcome == TC_PY_SUSPEND || outcome == TC_PY_YIELD) {
        op->state = outcome == TC_PY_SUSPEND ? TC_PY_OPERATION_SUSPENDED : TC_PY_OPERATION_YIELDED;
        if (tc_unlikely(op->task == NULL)) {
            return TC_PY_SUSPEND; /* in a task of another library */
        }
        if (tc_likely(tc_py_task_wait(op->task, (PyObject *)op) == 0)) {
            if (outcome == TC_PY_YIELD) {
                tc_py_task_wake(op->task);
            }
            return TC_PY_SUSPEND;
        }
        operation_abandon(op); /* just registered */
        return TC_PY_ERROR;
    }
    op->state = TC_PY_OPERATION_FINISHED;
    op->task = NULL;
    if (tc_unlikely(op->guest != NULL)) {
        tc_py_guest_leave(op);
    }
    return outcome;
}

/* What a suspended operation yields: None to our driver, a future to another library's. */
static PyObject *yielded(struct tc_py_operation *op)
{
    if (tc_likely(op->guest == NULL || op->state != TC_PY_OPERATION_SUSPENDED)) {
        Py_RETURN_NONE;
    }
    return Py_NewRef(op->guest);
}

PyObject *tc_py_operation_iternext(PyObject *self)
{
    PyObject *value = NULL;

    switch (advance(operation_of(self), &value)) {
    case TC_PY_SUSPEND:
        return yielded(operation_of(self));
    case TC_PY_DONE:
        return tc_py_stop(tc_py_loop_running(), value);
    default:
        break;
    }
    return NULL;
}

PySendResult tc_py_operation_send(PyObject *self, PyObject *b_value, PyObject **result)
{
    PyObject *value = NULL;

    (void)b_value; /* None from a task; what anybody else sends has no meaning */
    switch (advance(operation_of(self), &value)) {
    case TC_PY_SUSPEND:
        *result = yielded(operation_of(self));
        return PYGEN_NEXT;
    case TC_PY_DONE:
        *result = value == NULL ? Py_NewRef(Py_None) : value;
        return PYGEN_RETURN;
    default:
        break;
    }
    *result = NULL;
    return PYGEN_ERROR;
}

static PyObject *operation_await(PyObject *self)
{
    if (tc_unlikely(operation_of(self)->state != TC_PY_OPERATION_NEW)) {
        return PyErr_Format(PyExc_RuntimeError, "cannot reuse already awaited '%s'",
                            operation_of(self)->ops->name);
    }
    return Py_NewRef(self);
}

/* ---- as a coroutine --------------------------------------------------------------------- */

PyDoc_STRVAR(send_doc, "send($self, value, /)\n--\n\nStart or resume the operation, as a driver.");

static PyObject *operation_send(PyObject *self, PyObject *b_value)
{
    PyObject *result = NULL;
    PySendResult status = tc_py_operation_send(self, b_value, &result);

    if (status != PYGEN_RETURN) {
        return result;
    }
    if (result == Py_None) {
        Py_DECREF(result);
        PyErr_SetNone(PyExc_StopIteration);
        return NULL;
    }
    return tc_py_stop(NULL, result);
}

PyDoc_STRVAR(throw_doc, "throw($self, type, value=None, traceback=None, /)\n--\n\n"
                        "Give up the wait and raise the exception.");

PyObject *tc_py_thrown_exception(PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *exception;

    if (nargs < 1 || nargs > 3) {
        return PyErr_Format(PyExc_TypeError, "throw() takes 1 to 3 arguments, %zd given", nargs);
    }
    if (PyExceptionInstance_Check(args[0])) {
        exception = Py_NewRef(args[0]);
    } else if (!PyExceptionClass_Check(args[0])) {
        return PyErr_Format(PyExc_TypeError,
                            "exceptions must be classes or instances deriving from BaseException, "
                            "not %.100s",
                            Py_TYPE(args[0])->tp_name);
    } else if (nargs > 1 && PyExceptionInstance_Check(args[1])) {
        exception = Py_NewRef(args[1]);
    } else if (nargs > 1 && args[1] != Py_None) {
        exception = PyObject_CallOneArg(args[0], args[1]);
    } else {
        exception = PyObject_CallNoArgs(args[0]);
    }
    if (exception != NULL && !PyExceptionInstance_Check(exception)) {
        Py_DECREF(exception);
        return PyErr_Format(PyExc_TypeError, "calling the class did not give an exception");
    }
    return exception;
}

static PyObject *operation_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *exception = tc_py_thrown_exception(args, nargs);

    if (exception == NULL) {
        return NULL;
    }
    if (tc_unlikely(tc_py_guest_delivery_wins(operation_of(self), exception))) {
        Py_DECREF(exception);
        return operation_send(self, Py_None);
    }
    operation_abandon(operation_of(self));
    PyErr_SetRaisedException(exception);
    return NULL;
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nGive up the wait; afterwards nothing is awaited.");

static PyObject *operation_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    operation_abandon(operation_of(self));
    Py_RETURN_NONE;
}

static PyObject *operation_repr(PyObject *self)
{
    static const char *const names[] = {"new",     "suspended", "woken",
                                        "yielded", "cancelled", "finished"};
    struct tc_py_operation *op = operation_of(self);

    return PyUnicode_FromFormat("<operation %s %s>", op->ops->name, names[op->state]);
}

/* ---- the type --------------------------------------------------------------------------- */

/* asyncio describes a task by the name of its coroutine. */
static PyObject *operation_name(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(operation_of(self)->ops->name);
}

static PyGetSetDef operation_attributes[] = {
    {"__name__", operation_name, NULL, NULL, NULL},
    {"__qualname__", operation_name, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef operation_methods[] = {
    {"send", operation_send, METH_O, send_doc},
    {"throw", (PyCFunction)(void (*)(void))operation_throw, METH_FASTCALL, throw_doc},
    {"close", operation_close, METH_NOARGS, close_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot operation_slots[] = {
    {Py_tp_repr, operation_repr},
    {Py_tp_methods, operation_methods},
    {Py_tp_getset, operation_attributes},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, tc_py_operation_iternext},
    {Py_am_await, operation_await},
    {Py_am_send, tc_py_operation_send},
    {0, NULL},
};

static PyType_Spec operation_spec = {
    .name = "tinycoro._Operation",
    .basicsize = sizeof(struct tc_py_operation),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = operation_slots,
};

int tc_py_add_operation_type(PyObject *module, struct tc_py_loop_state *state)
{
    return tc_py_add_type(module, &operation_spec, NULL, &state->operation_type);
}

int tc_py_register_coroutine(struct tc_py_loop_state *state, PyTypeObject *type)
{
    PyObject *result = PyObject_CallMethod(state->coroutine_abc, "register", "O", (PyObject *)type);

    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}
