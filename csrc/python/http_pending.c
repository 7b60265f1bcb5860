/* Answers of handlers: at once, or of those that have suspended. */
#include "python/errors.h"
#include "python/http_door_internal.h"
#include "python/process.h"

#include "http/desk_file.h"

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

void tc__py_door_report_file(struct tc_py_door *door, struct tc_desk_call *call, int error)
{
    PyObject *b_route = PyTuple_GET_ITEM(door->routes, call->id);
    struct tc_py_request *request;
    PyObject *message = NULL;
    PyObject *exception;

    tc_desk_call_acquire(call);
    request = tc_py_request_new(door->loop->state, call, PyTuple_GET_ITEM(b_route, 1));
    if (request == NULL) {
        tc_desk_call_release(call);
    } else {
        message = PyUnicode_FromFormat("The file that answers %R was not sent", request);
        Py_DECREF(request);
    }
    PyErr_Clear(); /* the exception says the rest */
    (void)tc_py_error_os(error, "cannot send a file", call->reply->file->path);
    exception = PyErr_GetRaisedException();
    tc_py_loop_report_later(door->loop, message, NULL, NULL, exception);
    Py_XDECREF(message);
    Py_XDECREF(exception);
}

/* The status for an exception that only passes on what is wrong with the body, or 500. */
static int error_status(struct tc_desk_call *call)
{
    bool is_bodys = call->is_streamed && PyErr_ExceptionMatches(PyExc_OSError);

    return is_bodys ? tc_desk_stream_body_status(call) : 500;
}

/* Whether this is a child of a fork and the call has a stream, whose lock may be held for ever by a
 * worker that is not here. */
static bool is_out_of_reach(const struct tc_py_request *b_request)
{
    return b_request->call->stream != NULL && b_request->generation != tc_py_process_generation();
}

int tc__py_door_answer_error(struct tc_py_door *door, struct tc_py_request *b_request)
{
    int status;

    if (is_out_of_reach(b_request)) {
        return report_error(door, b_request); /* the parent answers */
    }
    status = error_status(b_request->call);
    tc__py_door_answer_status(b_request->call, status);
    if (status != 500) {
        PyErr_Clear(); /* the client's doing, which is no news for the log */
        return 0;
    }
    return report_error(door, b_request);
}

/* The feed has ended. Returns 0, or -1 with what ends the loop's run set. */
static int feed_done(struct tc_py_door *door, struct tc_py_request *b_request,
                     struct tc_py_task *b_task)
{
    PyObject *value = tc_py_future_result(&b_task->future);

    if (b_request->generation != tc_py_process_generation()) {
        Py_XDECREF(value); /* the child; the parent's goes on */
        return value != NULL ? 0 : -1; /* as the loop's run does anyway */
    }
    tc_desk_stream_end(b_request->call, value != NULL);
    tc__py_door_queue(door); /* it flushes */
    Py_XDECREF(value);
    if (value == NULL && error_status(b_request->call) != 500) {
        PyErr_Clear(); /* the client's doing: it ended the body that the iterator reads */
        return 0;
    }
    return value != NULL ? 0 : report_error(door, b_request);
}

/* Answer in pieces. Returns 0, or -1 with what ends the loop's run set. */
static int answer_stream(struct tc_py_door *door, struct tc_py_request *b_request,
                         struct tc_py_response *b_response, struct tc_desk_reply *reply,
                         PyObject *b_context)
{
    struct tc_py_loop_state *state = door->loop->state;
    struct tc_desk_call *call = b_request->call;
    PyObject *feed;
    struct tc_py_task *task;
    int result = 0;

    if (tc__py_door_check_fork(b_request) < 0) {
        tc_desk_reply_free(reply);
        return -1;
    }
    feed = tc__py_feed_new(state, b_request, b_response->stream, b_response->length);
    if (feed == NULL || tc_desk_stream_open(call) < 0) {
        tc_desk_reply_free(reply);
        if (feed != NULL) {
            Py_DECREF(feed);
            PyErr_NoMemory();
        }
        return tc__py_door_answer_error(door, b_request);
    }
    tc_desk_call_answer(call, reply);
    task = tc_py_task_new(door->loop, state->task_type, feed, NULL, b_context, true);
    Py_DECREF(feed);
    if (task == NULL) {
        tc_desk_stream_end(call, false);
        return report_error(door, b_request);
    }
    if (tc_py_future_is_done(&task->future)) {
        result = feed_done(door, b_request, task);
    } else if (tc__py_door_wait(door, b_request, task, true) < 0) {
        tc_desk_stream_end(call, false);
        result = report_error(door, b_request);
    }
    Py_DECREF(task);
    return result;
}

int tc__py_door_answer(struct tc_py_door *door, struct tc_py_request *b_request, PyObject *value,
                       PyObject *b_context)
{
    struct tc_desk_reply *reply;
    int result = 0;

    if (value != NULL && is_out_of_reach(b_request)) {
        Py_DECREF(value);
        return tc__py_door_check_fork(b_request);
    }
    reply = value == NULL ? NULL : tc_py_http_reply(door->loop->state, value);
    if (reply == NULL) {
        result = tc__py_door_answer_error(door, b_request);
    } else if (reply->kind == TC_DESK_REPLY_STREAM) {
        result = answer_stream(door, b_request, (struct tc_py_response *)value, reply, b_context);
    } else {
        tc_desk_call_answer(b_request->call, reply);
    }
    Py_XDECREF(value);
    return result;
}

/* ---- handlers that suspend ---------------------------------------------------------------- */

void tc__py_door_flush(struct tc_py_door *door)
{
    if (door->box != NULL && door->loop->generation == tc_py_process_generation()) {
        tc_http_desk_flush(&door->box->desk);
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

void tc__py_pending_cancel(struct tc_py_pending *pending)
{
    drop_timer(pending);
    if (pending->is_cancelled || pending->request->is_closing) {
        return;
    }
    pending->is_cancelled = true;
    if (tc_py_task_cancel(pending->task, NULL) < 0) {
        PyErr_WriteUnraisable((PyObject *)pending->task);
    }
}

void tc__py_pending_cancel_later(struct tc_py_pending *pending)
{
    PyObject *cancel;

    if (pending->timer != NULL || pending->is_cancelled || pending->request->is_closing) {
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

void tc__py_feed_moved(struct tc_desk_call *call)
{
    struct tc_py_pending *pending = call->user;

    if (pending != NULL && pending->timer != NULL) {
        drop_timer(pending);
        tc__py_pending_cancel_later(pending);
    }
}

void tc__py_feed_closes(struct tc_py_request *b_request)
{
    struct tc_py_pending *pending = b_request->call->user;

    b_request->is_closing = true;
    if (pending != NULL) {
        drop_timer(pending);
    }
}

void tc__py_pending_refuse(struct tc_py_pending *pending)
{
    struct tc_desk_call *call = pending->request->call;

    if (pending->door->loop->generation != tc_py_process_generation()) {
        return; /* the parent's, whose locks may be held for ever */
    }
    if (pending->is_feed) {
        tc_desk_stream_end(call, false);
    } else {
        tc__py_door_answer_status(call, 503);
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
    if (self->is_feed && is_ours) {
        return feed_done(door, self->request, self->task);
    }
    value = tc_py_future_result(&self->task->future);
    if (!is_ours) {
        Py_XDECREF(value);
        return value != NULL ? 0 : report_error(door, self->request);
    }
    tc__py_door_queue(door); /* it flushes, once for all that end in this turn */
    return tc__py_door_answer(door, self->request, value, self->task->context);
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
        tc__py_pending_refuse(self); /* nobody will answer */
        tc__py_door_flush(self->door);
    }
    (void)pending_clear(object); /* cannot fail */
    Py_CLEAR(self->request);
    Py_CLEAR(self->door);
    type->tp_free(object);
    Py_DECREF(type);
}

int tc__py_door_wait(struct tc_py_door *door, struct tc_py_request *b_request,
                     struct tc_py_task *b_task, bool is_feed)
{
    PyTypeObject *type = door->loop->state->pending_type;
    struct tc_py_pending *self = (struct tc_py_pending *)type->tp_alloc(type, 0);
    int result;

    if (self == NULL) {
        return -1;
    }
    self->node.ops = &pending_ops;
    self->is_feed = is_feed;
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
