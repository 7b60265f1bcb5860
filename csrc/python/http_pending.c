/* Answers of handlers: at once, or of those that have suspended. */
#include "python/http_door_internal.h"
#include "python/process.h"

#define ENDED_SECONDS 1.0 /* that a handler has once the client has ended its side */

static struct tc_py_pending *pending_of(struct tc_py_node *node)
{
    return tc_container_of(node, struct tc_py_pending, node);
}

/* ---- answers ------------------------------------------------------------------------------ */

void tc__py_door_answer_status(struct tc_desk_call *call, int status)
{
    tc_desk_call_answer(call, tc_py_http_status_reply(status));
}

/* Log the pending exception. Returns 0, or -1 with what ends the loop's run set. */
static int report_error(struct tc_py_door *door, struct tc_py_request *b_request)
{
    struct tc_py_loop_state *state = door->loop->state;
    PyObject *error;
    PyObject *message;
    int result;

    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
        PyErr_ExceptionMatches(PyExc_SystemExit)) {
        return -1;
    }
    if (PyErr_ExceptionMatches(state->cancelled_error)) {
        PyErr_Clear(); /* whoever cancelled it knows */
        return 0;
    }
    error = PyErr_GetRaisedException();
    message = PyUnicode_FromFormat("Exception in the handler of %R", b_request);
    if (message == NULL) {
        PyErr_Clear(); /* the exception says the rest */
    }
    PyErr_SetRaisedException(error);
    result = tc_py_loop_report(door->loop, message, NULL, NULL);
    Py_XDECREF(message);
    return result;
}

int tc__py_door_answer_error(struct tc_py_door *door, struct tc_py_request *b_request)
{
    tc__py_door_answer_status(b_request->call, 500);
    return report_error(door, b_request);
}

int tc__py_door_answer(struct tc_py_door *door, struct tc_py_request *b_request, PyObject *value)
{
    struct tc_desk_reply *reply = value == NULL ? NULL : tc_py_http_reply(door->loop->state, value);

    Py_XDECREF(value);
    if (reply == NULL) {
        return tc__py_door_answer_error(door, b_request);
    }
    tc_desk_call_answer(b_request->call, reply);
    return 0;
}

/* ---- handlers that suspend ---------------------------------------------------------------- */

void tc__py_door_flush(struct tc_py_door *door)
{
    if (door->box != NULL && door->loop->generation == tc_py_process_generation()) {
        tc_http_desk_flush(&door->box->desk);
    }
}

void tc__py_pending_cancel(struct tc_py_pending *pending)
{
    if (tc_py_task_cancel(pending->task, NULL) < 0) {
        PyErr_WriteUnraisable((PyObject *)pending->task);
    }
}

void tc__py_pending_cancel_later(struct tc_py_pending *pending)
{
    PyObject *cancel;

    if (pending->timer != NULL) {
        return;
    }
    cancel = PyObject_GetAttrString((PyObject *)pending->task, "cancel");
    if (cancel != NULL) {
        pending->timer = PyObject_CallMethod((PyObject *)pending->door->loop, "call_later", "dO",
                                             ENDED_SECONDS, cancel);
        Py_DECREF(cancel);
    }
    if (pending->timer == NULL) {
        PyErr_WriteUnraisable((PyObject *)pending->task);
    }
}

static void drop_timer(struct tc_py_pending *self)
{
    PyObject *timer = self->timer;
    PyObject *result;

    self->timer = NULL;
    if (timer != NULL) {
        result = PyObject_CallMethod(timer, "cancel", NULL);
        if (result == NULL) {
            PyErr_WriteUnraisable(timer);
        }
        Py_XDECREF(result);
        Py_DECREF(timer);
    }
}

bool tc__py_pending_let_go(struct tc_py_pending *self)
{
    if (self->request == NULL || self->request->call->user != self) {
        return false;
    }
    self->request->call->user = NULL;
    tc_list_remove(&self->in_door);
    return true;
}

/* The task is done, and a turn has passed. */
static int pending_run(struct tc_py_node *node, struct tc_py_loop *loop)
{
    struct tc_py_pending *self = pending_of(node);
    struct tc_py_door *door = self->door;
    bool is_ours = tc__py_pending_let_go(self); /* else the door has answered, in its end */
    PyObject *value;

    (void)loop;
    drop_timer(self);
    value = tc_py_future_result(&self->task->future);
    if (!is_ours) {
        Py_XDECREF(value);
        return value != NULL ? 0 : report_error(door, self->request);
    }
    tc__py_door_queue(door); /* it flushes, once for all that end in this turn */
    return tc__py_door_answer(door, self->request, value);
}

static void pending_done(struct tc_py_node *node, struct tc_py_future *b_future)
{
    tc_py_loop_ready(b_future->loop, node);
}

static const struct tc_py_node_ops pending_ops = {
    .run = pending_run,
    .future_done = pending_done,
    .cancel_wait = NULL,
};

static int pending_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct tc_py_pending *self = (struct tc_py_pending *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->door);
    Py_VISIT(self->task);
    Py_VISIT(self->timer);
    return 0;
}

static int pending_clear(PyObject *object)
{
    struct tc_py_pending *self = (struct tc_py_pending *)object;

    Py_CLEAR(self->task);
    Py_CLEAR(self->timer);
    return 0;
}

/* With its task, or after it was answered. */
static void pending_dealloc(PyObject *object)
{
    struct tc_py_pending *self = (struct tc_py_pending *)object;
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    if (tc__py_pending_let_go(self)) {
        tc__py_door_answer_status(self->request->call, 503); /* nobody will */
        tc__py_door_flush(self->door);
    }
    (void)pending_clear(object); /* cannot fail */
    Py_CLEAR(self->request);
    Py_CLEAR(self->door);
    type->tp_free(object);
    Py_DECREF(type);
}

int tc__py_door_wait(struct tc_py_door *door, struct tc_py_request *b_request,
                     struct tc_py_task *b_task)
{
    PyTypeObject *type = door->loop->state->pending_type;
    struct tc_py_pending *self = (struct tc_py_pending *)type->tp_alloc(type, 0);
    int result;

    if (self == NULL) {
        return -1;
    }
    self->node.ops = &pending_ops;
    self->door = (struct tc_py_door *)Py_NewRef((PyObject *)door);
    self->task = (struct tc_py_task *)Py_NewRef((PyObject *)b_task);
    self->request = (struct tc_py_request *)Py_NewRef((PyObject *)b_request);
    result = tc_py_future_add_node(&b_task->future, &self->node);
    if (result == 0) {
        b_request->call->user = self;
        tc_list_push_back(&door->pending, &self->in_door);
        if (tc_desk_call_is_ended(b_request->call)) { /* noticed before it was there */
            tc__py_pending_cancel_later(self);
        }
    }
    Py_DECREF(self);
    return result;
}

/* ---- the type ----------------------------------------------------------------------------- */

static PyType_Slot pending_slots[] = {
    {Py_tp_dealloc, pending_dealloc},
    {Py_tp_traverse, pending_traverse},
    {Py_tp_clear, pending_clear},
    {0, NULL},
};

static PyType_Spec pending_spec = {
    .name = "tinycoro._PendingRequest",
    .basicsize = sizeof(struct tc_py_pending),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = pending_slots,
};

int tc__py_add_pending(PyObject *module, struct tc_py_loop_state *state)
{
    return tc_py_add_type(module, &pending_spec, NULL, &state->pending_type);
}
