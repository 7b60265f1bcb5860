#include "python/timeout.h"

#include "python/handle.h"
#include "python/task.h"

#include <math.h>

static struct tc_py_timeout *timeout_of(void *self)
{
    return self;
}

/* ---- the deadline ----------------------------------------------------------------------- */

static void make_due(struct tc_py_timeout *self, struct tc_py_loop *loop)
{
    self->is_queued = true;
    self->is_due = true;
    tc_py_loop_ready(loop, &self->node);
}

/* A timer fires after every place of the turn before has had its turn, so the node is free. */
void tc_py_timeout_fire(struct tc_py_timer *timer, struct tc_py_loop *loop)
{
    struct tc_py_timeout *self = tc_container_of(timer, struct tc_py_timeout, timer);

    make_due(self, loop);
    Py_DECREF(self); /* the heap's reference (TI1) */
}

PyObject *tc_py_timeout_of_timer(struct tc_py_timer *timer)
{
    return (PyObject *)tc_container_of(timer, struct tc_py_timeout, timer);
}

/* Neither the timer nor a place in the queue counts any more. The caller holds a reference. */
void tc_py_timeout_disarm(struct tc_py_timeout *self, struct tc_py_loop *loop)
{
    self->is_due = false;
    self->epoch++;
    if (tc_heap_node_is_queued(&self->timer.node)) {
        tc_py_loop_disarm(loop, &self->timer);
        Py_DECREF(self); /* TI1 */
    }
}

/* Cancel the task. Returns 0, or -1 with an exception set. */
int tc_py_timeout_expire(struct tc_py_timeout *self)
{
    struct tc_py_task *task = self->task;
    int result;

    self->phase = TC_PY_TIMEOUT_EXPIRING;
    Py_INCREF(task);
    result = tc_py_cancel_object(task->future.loop->state, (PyObject *)task, NULL);
    Py_DECREF(task);
    return result < 0 ? -1 : 0;
}

/* The deadline's turn. Returns 0, or -1 with an exception that ends the run. */
static int timeout_run(struct tc_py_node *node, struct tc_py_loop *loop)
{
    struct tc_py_timeout *self = timeout_of(node);

    self->is_queued = false;
    if (!self->is_due) {
        return 0;
    }
    self->is_due = false;
    if (self->phase != TC_PY_TIMEOUT_ENTERED || self->task == NULL ||
        tc_py_timeout_expire(self) == 0) {
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
        PyErr_ExceptionMatches(PyExc_SystemExit)) {
        return -1;
    }
    return tc_py_loop_report(loop, loop->state->timeout_message, NULL, NULL);
}

const struct tc_py_node_ops tc_py_timeout_ops = {
    .run = timeout_run,
    .future_done = NULL,
    .cancel_wait = NULL,
};

/* Seconds of loop.time() as a double. Returns 0, or -1 with an exception set. */
int tc_py_timeout_seconds(PyObject *b_when, double *out)
{
    *out = PyFloat_CheckExact(b_when) ? PyFloat_AS_DOUBLE(b_when) : PyFloat_AsDouble(b_when);
    if (tc_unlikely(*out == -1.0 && PyErr_Occurred())) {
        return -1;
    }
    if (tc_unlikely(isnan(*out))) {
        PyErr_SetString(PyExc_ValueError, "the deadline must not be NaN");
        return -1;
    }
    return 0;
}

static double time_now(const struct tc_py_loop *loop)
{
    return (double)tc_py_loop_now_ns(loop) / (double)TC_NS_PER_SEC;
}

static PyObject *due_again(PyObject *object, PyObject *b_epoch)
{
    struct tc_py_timeout *self = timeout_of(object);

    if (self->epoch == PyLong_AsUnsignedLong(b_epoch) && self->phase == TC_PY_TIMEOUT_ENTERED &&
        self->task != NULL && tc_py_timeout_expire(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef due_again_def = {"_on_timeout", due_again, METH_O, NULL};

/* Due at once, while a place that does not count any more is still in the ready queue: through a
 * handle. Returns 0, or -1 with an exception set. */
static int make_due_again(struct tc_py_timeout *self, struct tc_py_loop *loop)
{
    PyObject *callback = PyCFunction_New(&due_again_def, (PyObject *)self);
    PyObject *epoch = PyLong_FromUnsignedLong(self->epoch);
    int result = -1;

    if (callback != NULL && epoch != NULL) {
        result = tc_py_loop_call(loop, callback, epoch, NULL);
    }
    Py_XDECREF(callback);
    Py_XDECREF(epoch);
    return result;
}

/* Start the timer for self->when. Returns 0, or -1 with an exception set. */
int tc_py_timeout_arm(struct tc_py_timeout *self)
{
    struct tc_py_loop *loop = self->task->future.loop;
    double when;

    if (self->when == NULL) {
        return 0;
    }
    if (tc_py_timeout_seconds(self->when, &when) < 0) {
        return -1;
    }
    if (when <= time_now(loop)) {
        if (tc_unlikely(self->is_queued)) {
            return make_due_again(self, loop);
        }
        make_due(self, loop);
        return 0;
    }
    if (tc_py_loop_arm(loop, &self->timer, tc_py_ns_from_seconds(when)) < 0) {
        return -1;
    }
    Py_INCREF(self); /* TI1 */
    return 0;
}

/* ---- entering and leaving ------------------------------------------------------------------- */

/* Returns 0, or -1 with an exception set. */
int tc_py_timeout_enter(struct tc_py_timeout *self)
{
    struct tc_py_task *task = tc_py_task_running();

    if (self->phase != TC_PY_TIMEOUT_CREATED) {
        PyErr_SetString(PyExc_RuntimeError, "Timeout has already been entered");
        return -1;
    }
    if (task == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Timeout should be used inside a task");
        return -1;
    }
    self->task = (struct tc_py_task *)Py_NewRef(task);
    self->cancelling = tc_py_task_cancelling(task);
    self->phase = TC_PY_TIMEOUT_ENTERED;
    return self->cancelling < 0 ? -1 : tc_py_timeout_arm(self);
}

/* TimeoutError where a CancelledError is the context, so that the cause is told (as asyncio does).
 * Returns 0, or -1 with an exception set. */
static int insert_timeout_error(struct tc_py_loop_state *state, PyObject *b_exception)
{
    PyObject *outer = Py_NewRef(b_exception);
    PyObject *inner;

    while ((inner = PyException_GetContext(outer)) != NULL &&
           !PyErr_GivenExceptionMatches(inner, state->cancelled_error)) {
        Py_SETREF(outer, inner);
    }
    if (inner != NULL) {
        PyObject *error = PyObject_CallNoArgs(PyExc_TimeoutError);

        if (error == NULL) {
            Py_DECREF(outer);
            Py_DECREF(inner);
            return -1;
        }
        PyException_SetCause(error, Py_NewRef(inner));
        PyException_SetContext(error, inner);
        PyException_SetContext(outer, error);
    }
    Py_DECREF(outer);
    return 0;
}

/* The same for it and for the members of a group. Returns 0, or -1 with an exception set. */
static int insert_timeout_errors(struct tc_py_loop_state *state, PyObject *b_exception)
{
    PyObject *members;
    int result = insert_timeout_error(state, b_exception);
    int is_group = result < 0 ? -1 : PyObject_IsInstance(b_exception, state->exception_group);

    if (is_group <= 0) {
        return is_group;
    }
    members = PyObject_GetAttr(b_exception, state->str_exceptions);
    if (members == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; result == 0 && i < PyTuple_GET_SIZE(members); i++) {
        result = insert_timeout_error(state, PyTuple_GET_ITEM(members, i));
    }
    Py_DECREF(members);
    return result;
}

/* raise TimeoutError from b_cause. Returns -1. */
static int raise_timeout(PyObject *b_cause)
{
    PyObject *error = PyObject_CallNoArgs(PyExc_TimeoutError);

    if (error != NULL) {
        if (b_cause != Py_None) {
            PyException_SetCause(error, Py_NewRef(b_cause));
            PyException_SetContext(error, Py_NewRef(b_cause));
        }
        PyErr_SetRaisedException(error);
    }
    return -1;
}

/* It had expired: answer the cancel, and tell by TimeoutError if it ended the block. Returns 0, or
 * -1 with an exception set. */
static int leave_expired(struct tc_py_task *task, long cancelling, PyObject *b_type,
                         PyObject *b_exception)
{
    struct tc_py_loop_state *state = task->future.loop->state;
    long left = tc_py_task_uncancel(task);

    if (left < 0) {
        return -1;
    }
    if (left > cancelling || b_type == Py_None) {
        return 0;
    }
    if (PyErr_GivenExceptionMatches(b_type, state->cancelled_error)) {
        return raise_timeout(b_exception);
    }
    return b_exception == Py_None ? 0 : insert_timeout_errors(state, b_exception);
}

/* Returns 0, or -1 with an exception set. */
int tc_py_timeout_leave(struct tc_py_timeout *self, PyObject *b_type, PyObject *b_exception)
{
    struct tc_py_task *task = self->task;
    int result = 0;

    if (task == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Timeout is not entered");
        return -1;
    }
    if (tc_py_loop_check(task->future.loop, "Timeout.__aexit__()") < 0) {
        return -1;
    }
    tc_py_timeout_disarm(self, task->future.loop);
    self->task = NULL;
    if (tc_unlikely(self->phase == TC_PY_TIMEOUT_EXPIRING)) {
        self->phase = TC_PY_TIMEOUT_EXPIRED;
        result = leave_expired(task, self->cancelling, b_type, b_exception);
    } else {
        self->phase = TC_PY_TIMEOUT_EXITED;
    }
    Py_DECREF(task);
    return result;
}
