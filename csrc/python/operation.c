#include "python/operation.h"

#include "python/debug.h"
#include "python/errors.h"
#include "python/guest.h"
#include "python/loop.h"
#include "python/task.h"

#include "base/assert.h"

static struct tc_py_operation *operation_of(PyObject *self)
{
    return (struct tc_py_operation *)self;
}

/* ---- results ---------------------------------------------------------------------------- */

/* An exception object that can carry a value: one that nobody else holds and that was never more
 * than a return value. Owned by the loop; borrowed, or NULL. */
static PyStopIterationObject *reusable_stop(struct tc_py_loop *loop)
{
    PyStopIterationObject *stop;

    if (loop == NULL) {
        return NULL;
    }
    if (tc_unlikely(loop->stop_iteration == NULL)) {
        loop->stop_iteration = PyObject_CallNoArgs(PyExc_StopIteration);
        if (loop->stop_iteration == NULL) {
            PyErr_Clear(); /* the caller makes a fresh one, or fails then */
            return NULL;
        }
    }
    stop = (PyStopIterationObject *)loop->stop_iteration;
    return Py_REFCNT(stop) == 1 && stop->traceback == NULL && stop->context == NULL ? stop : NULL;
}

/* With `loop` being the one that runs on this thread, or NULL. */
static PyObject *stop_with(struct tc_py_loop *loop, PyObject *value)
{
    PyStopIterationObject *stop = reusable_stop(loop);
    PyObject *old;

    if (tc_likely(stop != NULL)) {
        old = stop->value;
        stop->value = value;
        loop->has_stop_value = true;
        PyErr_SetRaisedException(Py_NewRef((PyObject *)stop));
        Py_XDECREF(old); /* last: it may run code that comes here, and finds the object in use */
        return NULL;
    }
    /* Not by PyErr_SetObject, which would unpack a tuple. */
    stop = (PyStopIterationObject *)PyObject_CallOneArg(PyExc_StopIteration, value);
    Py_DECREF(value);
    if (stop != NULL) {
        PyErr_SetRaisedException((PyObject *)stop);
    }
    return NULL;
}

PyObject *tc_py_stop(struct tc_py_loop *loop, PyObject *value)
{
    if (value == NULL || value == Py_None) {
        Py_XDECREF(value);
        return NULL; /* the interpreter takes it for StopIteration(None) */
    }
    return stop_with(loop == tc_py_loop_running() ? loop : NULL, value);
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

    if (!is_ready && (op->state != TC_PY_OPERATION_SUSPENDED ||
                      (op->ops->unwind == NULL && !op->ops->withdraw(op)))) {
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

/* Returns 0, or -1 with ValueError set if the user's code has come back to the operation. */
static int refuse_running(struct tc_py_operation *op)
{
    if (tc_unlikely(op->is_running)) {
        PyErr_Format(PyExc_ValueError, "'%s' is already executing", op->ops->name);
        return -1;
    }
    return 0;
}

/* The source's part of an await that ends by an exception. Returns 0, or -1 with another one. */
static int unwind(struct tc_py_operation *op)
{
    int result;

    if (op->ops->unwind == NULL || op->state == TC_PY_OPERATION_NEW ||
        op->state == TC_PY_OPERATION_FINISHED) {
        return 0;
    }
    op->is_running = true;
    result = op->ops->unwind(op);
    op->is_running = false;
    return result;
}

/* Give up whatever it waits for: nobody will resume it. A task that waits although its coroutine
 * was closed is made ready (TA1), and finds out. Returns 0, or -1 with an exception set. */
static int operation_abandon(struct tc_py_operation *op)
{
    struct tc_py_task *task = op->task;
    bool is_stranded = op->state == TC_PY_OPERATION_SUSPENDED && task != NULL &&
                       task->waiting == (PyObject *)op &&
                       !(task->future.flags & TC_PY_TASK_RUNNING) && is_in_reach(task);
    int result;

    if (refuse_running(op) < 0) {
        return -1;
    }
    if (op->state == TC_PY_OPERATION_SUSPENDED && op->ops->unwind == NULL) {
        (void)op->ops->withdraw(op); /* too late: what was handed over is given back below */
    }
    if ((op->state == TC_PY_OPERATION_SUSPENDED || op->state == TC_PY_OPERATION_WOKEN) &&
        op->ops->give_back != NULL) {
        op->ops->give_back(op);
    }
    result = unwind(op);
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
    return result;
}

void tc_py_operation_clear(struct tc_py_operation *op)
{
    /* With unwind(), a wait that was woken or cancelled is known to its source still. */
    if (op->state == TC_PY_OPERATION_SUSPENDED ||
        (op->state != TC_PY_OPERATION_NEW && op->ops != NULL && op->ops->unwind != NULL)) {
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

void tc_py_operation_finalize(PyObject *self)
{
    struct tc_py_operation *op = operation_of(self);

    if (tc_unlikely(op->state == TC_PY_OPERATION_NEW) && op->ops != NULL) {
        op->state = TC_PY_OPERATION_FINISHED;
        tc_py_warn_never_awaited(self, op->ops->name);
    }
}

/* The reference is in a private place, so nobody can find the object while we look at the count. */
bool tc_py_operation_reuse(struct tc_py_operation *op)
{
    if (tc_unlikely(Py_REFCNT(op) == 1 && op->state == TC_PY_OPERATION_NEW)) {
        tc_py_operation_finalize((PyObject *)op);
    }
    if (tc_unlikely(Py_REFCNT(op) != 1 || op->state != TC_PY_OPERATION_FINISHED)) {
        return false;
    }
    op->state = TC_PY_OPERATION_NEW;
    Py_CLEAR(op->message);
    return true;
}

void tc_py_operation_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return; /* somebody holds it again */
    }
    PyObject_GC_UnTrack(self);
    (void)type->tp_clear(self); /* cannot fail */
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- await ------------------------------------------------------------------------------ */

/* Make `context` (owned by the callee) that of the pending exception. */
static void set_context(PyObject *context)
{
    PyObject *error = PyErr_GetRaisedException();

    PyException_SetContext(error, context);
    PyErr_SetRaisedException(error);
}

PyObject *tc_py_operation_cancelled_error(struct tc_py_operation *op)
{
    struct tc_py_loop_state *state = tc_py_loop_state_of_type(Py_TYPE(op));
    PyObject *error = state == NULL ? PyObject_CallNoArgs(PyExc_RuntimeError)
                                    : tc_py_new_cancelled_error(state, op->message);

    Py_CLEAR(op->message);
    return error;
}

static enum tc_py_outcome raise_cancelled(struct tc_py_operation *op)
{
    PyObject *error = tc_py_operation_cancelled_error(op);

    if (error != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error); /* with its context */
        Py_DECREF(error);
    }
    if (op->ops->unwind != NULL) {
        error = PyErr_GetRaisedException();
        if (unwind(op) == 0) {
            PyErr_SetRaisedException(error);
        } else {
            set_context(error);
        }
    }
    return TC_PY_ERROR;
}

int tc_py_operation_join(struct tc_py_operation *op)
{
    op->task = tc_py_task_running();
    if (tc_unlikely(op->task == NULL && !op->ops->has_guests)) {
        PyErr_Format(PyExc_RuntimeError, "%s() can be awaited only in a task of a tinycoro loop",
                     op->ops->name);
        return -1;
    }
    return 0;
}

static enum tc_py_outcome begin(struct tc_py_operation *op, PyObject **value)
{
    if (!op->ops->starts_anywhere && tc_py_operation_join(op) < 0) {
        return TC_PY_ERROR;
    }
    return op->ops->start(op, value);
}

void tc_py_operation_abandon(struct tc_py_operation *op)
{
    PyObject *error = PyErr_GetRaisedException();

    if (operation_abandon(op) < 0) {
        PyErr_WriteUnraisable((PyObject *)op);
    }
    PyErr_SetRaisedException(error);
}

/* One send: start, finish, or refuse. On SUSPEND *value is what our driver wants yielded. */
static enum tc_py_outcome advance(struct tc_py_operation *op, PyObject **value)
{
    enum tc_py_outcome outcome;

    if (refuse_running(op) < 0) {
        return TC_PY_ERROR;
    }
    op->is_running = true;
    switch ((enum tc_py_operation_state)op->state) {
    case TC_PY_OPERATION_NEW:
        outcome = begin(op, value);
        break;
    case TC_PY_OPERATION_WOKEN:
    case TC_PY_OPERATION_YIELDED:
        outcome = op->ops->finish(op, value);
        break;
    case TC_PY_OPERATION_CANCELLED:
        outcome = op->ops->cancelled == NULL ? raise_cancelled(op) : op->ops->cancelled(op, value);
        break;
    case TC_PY_OPERATION_SUSPENDED:
        op->is_running = false;
        PyErr_Format(PyExc_RuntimeError, "'%s' is being awaited already", op->ops->name);
        return TC_PY_ERROR;
    default:
        op->is_running = false;
        PyErr_Format(PyExc_RuntimeError, "cannot reuse already awaited '%s'", op->ops->name);
        return TC_PY_ERROR;
    }
    op->is_running = false;
    if (outcome == TC_PY_SUSPEND || outcome == TC_PY_YIELD) {
        op->state = outcome == TC_PY_SUSPEND ? TC_PY_OPERATION_SUSPENDED : TC_PY_OPERATION_YIELDED;
        if (tc_unlikely(op->task == NULL)) {
            return TC_PY_SUSPEND; /* in a task of another library */
        }
        *value = tc_py_task_wait(op->task, (PyObject *)op);
        if (outcome == TC_PY_YIELD) {
            tc_py_task_wake(op->task);
        }
        return TC_PY_SUSPEND;
    }
    op->state = TC_PY_OPERATION_FINISHED;
    op->task = NULL;
    if (tc_unlikely(op->guest != NULL)) {
        tc_py_guest_leave(op);
    }
    return outcome;
}

/* What a suspended operation yields: to our driver what that asks for, a future to another
 * library's. */
static PyObject *yielded(struct tc_py_operation *op, PyObject *value)
{
    if (tc_likely(value != NULL)) {
        return value;
    }
    return Py_NewRef(op->guest == NULL || op->state != TC_PY_OPERATION_SUSPENDED ? Py_None
                                                                                 : op->guest);
}

PyObject *tc_py_operation_iternext(PyObject *self)
{
    PyObject *value = NULL;

    switch (advance(operation_of(self), &value)) {
    case TC_PY_SUSPEND:
        return yielded(operation_of(self), value);
    case TC_PY_DONE:
        if (value == NULL || value == Py_None) {
            Py_XDECREF(value);
            return NULL; /* the interpreter takes it for StopIteration(None) */
        }
        return stop_with(tc_py_loop_running(), value);
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
        *result = yielded(operation_of(self), value);
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
    if (operation_abandon(operation_of(self)) < 0) {
        set_context(exception);
    } else {
        PyErr_SetRaisedException(exception);
    }
    return NULL;
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nGive up the wait; afterwards nothing is awaited.");

static PyObject *operation_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (operation_abandon(operation_of(self)) < 0) {
        return NULL;
    }
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
