/* An answer in pieces: what a Response's iterator yields goes into the stream of the call
 * (http/desk_stream.h), as fast as the client takes it.
 *
 * A feed is a coroutine, written out: a task drives it, and it drives what is awaited inside: the
 * next item, room in the stream, and at the end the iterator's aclose().
 *
 *   ITEM ──an item──► ROOM ──there is──► ITEM        ITEM ──exhausted──► ENDED
 *     └──raised──┐     └──cancelled, the client is gone──► CLOSING ──► ENDED, with what ended it
 *                └────────────────────────────────────────────┘
 */
#include "python/errors.h"
#include "python/http_door_internal.h"
#include "python/operation.h"

#include <errno.h>

enum { STRIDE = 64 }; /* items without a pause, after which other tasks have their turn */

enum phase { ITEM, ROOM, CLOSING, ENDED };

struct feed {
    PyObject_HEAD struct tc_py_request *request; /* owned                                        */
    PyObject *iterator; /* owned; NULL once ENDED                                                */
    PyObject *inner; /* owned; the iterator of what is awaited, or NULL                          */
    PyObject *error; /* owned; what is raised after CLOSING, or NULL                             */
    int64_t left; /* bytes to come of a Content-Length, or negative                              */
    uint32_t stride; /* items since it has suspended                                             */
    uint8_t phase; /* enum phase                                                                 */
    bool is_async;
    bool is_running; /* in the user's code, which may reach us again                             */
};

static struct feed *feed_of(PyObject *self)
{
    return (struct feed *)self;
}

/* ---- room in the stream ------------------------------------------------------------------- */

struct room_wait {
    struct tc_py_operation op;
    struct tc_py_request *request; /* owned                                                      */
    bool is_pause; /* let others have a turn first                                               */
};

static struct room_wait *wait_of(struct tc_py_operation *op)
{
    return tc_container_of(op, struct room_wait, op);
}

static enum tc_py_outcome room_finish(struct tc_py_operation *op, PyObject **value)
{
    struct room_wait *self = wait_of(op);

    *value = NULL;
    if (tc_desk_stream_has_room(self->request->call)) {
        return TC_PY_DONE;
    }
    self->request->call->stream->writer = self;
    return TC_PY_SUSPEND;
}

static enum tc_py_outcome room_start(struct tc_py_operation *op, PyObject **value)
{
    return wait_of(op)->is_pause ? TC_PY_YIELD : room_finish(op, value);
}

static bool room_withdraw(struct tc_py_operation *op)
{
    struct tc_desk_stream *stream = wait_of(op)->request->call->stream;

    if (stream->writer == wait_of(op)) {
        stream->writer = NULL;
    }
    return true;
}

static const struct tc_py_operation_ops room_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "Response",
    .start = room_start,
    .finish = room_finish,
    .withdraw = room_withdraw,
};

void tc__py_feed_wake(struct tc_desk_call *call)
{
    struct room_wait *wait = call->stream->writer;

    if (wait != NULL) {
        call->stream->writer = NULL;
        tc_py_operation_wake(&wait->op);
    }
}

static int room_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((struct room_wait *)object)->op.message);
    return 0;
}

static int room_clear(PyObject *object)
{
    struct room_wait *self = (struct room_wait *)object;

    tc_py_operation_clear(&self->op);
    Py_CLEAR(self->request);
    return 0;
}

static PyType_Slot room_slots[] = {
    {Py_tp_dealloc, tc_py_operation_dealloc},
    {Py_tp_finalize, tc_py_operation_finalize},
    {Py_tp_traverse, room_traverse},
    {Py_tp_clear, room_clear},
    {0, NULL},
};

static PyType_Spec room_spec = {
    .name = "tinycoro._RoomWait",
    .basicsize = sizeof(struct room_wait),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = room_slots,
};

static PyObject *room_new(struct tc_py_loop_state *state, struct tc_py_request *b_request,
                          bool is_pause)
{
    PyTypeObject *type = state->room_wait_type;
    struct room_wait *self = (struct room_wait *)type->tp_alloc(type, 0);

    if (self == NULL) {
        return NULL;
    }
    tc_py_operation_init(&self->op, &room_ops);
    self->request = (struct tc_py_request *)Py_NewRef((PyObject *)b_request);
    self->is_pause = is_pause;
    return (PyObject *)self;
}

/* ---- what is awaited ---------------------------------------------------------------------- */

/* The iterator of an awaitable (owned by the callee; NULL: with an exception set, which stays). */
static PyObject *await(PyObject *awaitable)
{
    PyAsyncMethods *b_methods = awaitable == NULL ? NULL : Py_TYPE(awaitable)->tp_as_async;
    PyObject *iterator;

    if (awaitable == NULL || PyCoro_CheckExact(awaitable)) {
        return awaitable;
    }
    if (b_methods == NULL || b_methods->am_await == NULL) {
        PyErr_Format(PyExc_TypeError, "object %.100s can't be used in 'await' expression",
                     Py_TYPE(awaitable)->tp_name);
        Py_DECREF(awaitable);
        return NULL;
    }
    iterator = b_methods->am_await(awaitable);
    Py_DECREF(awaitable);
    return iterator;
}

/* ---- steps -------------------------------------------------------------------------------- */

/* Begin to close the iterator; the pending exception, if there is one, is raised after that.
 * Returns 0 with `inner` or without, or -1: that has failed by itself, with the exception set. */
static int begin_close(struct feed *self)
{
    const char *name = self->is_async ? "aclose" : "close";
    PyObject *result;

    Py_XSETREF(self->error, PyErr_GetRaisedException());
    self->phase = CLOSING;
    tc__py_feed_closes(self->request);
    if (self->iterator == NULL || !PyObject_HasAttrString(self->iterator, name)) {
        return 0;
    }
    result = PyObject_CallMethod(self->iterator, name, NULL);
    if (result != NULL && self->is_async) {
        self->inner = await(result);
        return self->inner == NULL ? -1 : 0;
    }
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* An item as something with bytes: a new reference, or NULL with an exception set. */
static PyObject *to_bytes(PyObject *b_item)
{
    if (PyUnicode_Check(b_item)) {
        return PyUnicode_AsUTF8String(b_item);
    }
    if (PyObject_CheckBuffer(b_item)) {
        return Py_NewRef(b_item);
    }
    return PyErr_Format(PyExc_TypeError,
                        "a Response's iterator must yield bytes-like objects or str, not %.100s",
                        Py_TYPE(b_item)->tp_name);
}

/* Put an item (owned by the callee) into the stream. Returns 1; 0: nobody takes it any more; -1
 * with an exception set. */
static int put_item(struct feed *self, PyObject *item)
{
    PyObject *bytes = to_bytes(item);
    Py_buffer view;
    int rc;

    Py_DECREF(item);
    if (bytes == NULL || tc__py_door_check_fork(self->request) < 0 ||
        PyObject_GetBuffer(bytes, &view, PyBUF_SIMPLE) < 0) {
        Py_XDECREF(bytes);
        return -1;
    }
    if (self->left >= 0 && view.len > self->left) {
        PyErr_SetString(PyExc_ValueError, "the body is longer than its Content-Length");
        rc = -1;
    } else {
        rc = tc_desk_stream_put(self->request->call, view.buf, (size_t)view.len);
        self->left -= self->left >= 0 ? view.len : 0;
        if (rc == -ENOMEM) {
            PyErr_NoMemory();
        }
        rc = rc == 0 ? 1 : rc == -EPIPE ? 0 : -1;
    }
    PyBuffer_Release(&view);
    Py_DECREF(bytes);
    if (rc == 1) {
        tc__py_door_touch(self->request->call);
        tc__py_feed_moved(self->request->call);
    }
    return rc;
}

/* An item has come (owned by the callee). Returns 0, or -1 with an exception set. */
static int item_came(struct feed *self, PyObject *item)
{
    bool is_pause = ++self->stride % STRIDE == 0;
    struct tc_py_loop_state *state = tc_py_loop_state_of_type(Py_TYPE(self));
    int rc = put_item(self, item);

    if (rc <= 0) {
        return begin_close(self);
    }
    if (state != NULL && (is_pause || !tc_desk_stream_has_room(self->request->call))) {
        self->phase = ROOM;
        self->inner = room_new(state, self->request, is_pause);
        return self->inner == NULL ? begin_close(self) : 0;
    }
    return 0;
}

/* The iterator has no more. Returns 0, or -1 with an exception set. */
static int exhausted(struct feed *self)
{
    self->phase = ENDED;
    if (self->left > 0) {
        PyErr_SetString(PyExc_ValueError, "the body is shorter than its Content-Length");
        return -1;
    }
    return 0;
}

/* What is awaited has ended with `value` (owned by the callee), or NULL and an exception.
 * Returns 0: go on, or -1 with the exception that ends the feed. */
static int advance(struct feed *self, PyObject *value)
{
    PyObject *error;

    switch (self->phase) {
    case ITEM:
        if (value != NULL) {
            return item_came(self, value);
        }
        if (PyErr_ExceptionMatches(self->is_async ? PyExc_StopAsyncIteration
                                                  : PyExc_StopIteration)) {
            PyErr_Clear();
            return exhausted(self);
        }
        return begin_close(self);
    case ROOM:
        Py_XDECREF(value);
        self->phase = ITEM;
        return value == NULL ? begin_close(self) : 0;
    default:
        Py_XDECREF(value);
        self->phase = ENDED;
        if (value == NULL) {
            return -1; /* aclose() has failed: that says more */
        }
        error = self->error;
        self->error = NULL;
        if (error != NULL) {
            PyErr_SetRaisedException(error);
        }
        return error == NULL ? 0 : -1;
    }
}

/* Nothing is awaited: find the next thing. Returns 0 with `inner`, or after a synchronous step; -1
 * with the exception that ends the feed. */
static int next_step(struct feed *self)
{
    PyTypeObject *b_type = Py_TYPE(self->iterator);
    PyObject *item;

    if (self->phase == CLOSING) { /* there was nothing to be awaited */
        return advance(self, Py_NewRef(Py_None));
    }
    if (self->is_async) {
        self->inner = await(b_type->tp_as_async->am_anext(self->iterator));
        return self->inner == NULL ? advance(self, NULL) : 0;
    }
    item = b_type->tp_iternext(self->iterator);
    if (item == NULL && !PyErr_Occurred()) {
        return exhausted(self);
    }
    return advance(self, item);
}

/* The feed has ended; the exception, if there is one, stays. */
static void forget(struct feed *self)
{
    PyObject *error = PyErr_GetRaisedException();

    self->phase = ENDED;
    Py_CLEAR(self->inner);
    Py_CLEAR(self->iterator);
    Py_CLEAR(self->error);
    PyErr_SetRaisedException(error);
}

/* Go on until something has to be waited for. `rc`: of the last step. */
static PySendResult drive(struct feed *self, int rc, PyObject **result)
{
    self->is_running = true;
    while (rc == 0 && self->phase != ENDED) {
        PyObject *inner = self->inner;
        PyObject *value = NULL;

        if (inner == NULL) {
            rc = next_step(self);
            continue;
        }
        if (PyIter_Send(inner, Py_None, &value) == PYGEN_NEXT) {
            self->stride = 0;
            self->is_running = false;
            *result = value;
            return PYGEN_NEXT;
        }
        Py_CLEAR(self->inner);
        rc = advance(self, value);
    }
    forget(self);
    self->is_running = false;
    *result = rc == 0 ? Py_NewRef(Py_None) : NULL;
    return rc == 0 ? PYGEN_RETURN : PYGEN_ERROR;
}

/* ---- as a coroutine ----------------------------------------------------------------------- */

/* Returns 0, or -1 with RuntimeError set: it is over, or the caller is called by it. */
static int check(struct feed *self)
{
    if (self->is_running) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
        return -1;
    }
    if (self->phase == ENDED) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return -1;
    }
    return 0;
}

static PySendResult feed_am_send(PyObject *object, PyObject *b_value, PyObject **result)
{
    struct feed *self = feed_of(object);

    (void)b_value; /* as for any operation */
    if (check(self) < 0) {
        *result = NULL;
        return PYGEN_ERROR;
    }
    return drive(self, 0, result);
}

/* What send() and throw() return for the outcome of a step. */
static PyObject *to_result(PySendResult outcome, PyObject *result)
{
    if (outcome == PYGEN_RETURN) {
        Py_DECREF(result); /* None */
        PyErr_SetNone(PyExc_StopIteration);
        return NULL;
    }
    return result;
}

static PyObject *feed_send(PyObject *object, PyObject *b_value)
{
    PyObject *result = NULL;
    PySendResult outcome = feed_am_send(object, b_value, &result);

    return to_result(outcome, result);
}

static PyObject *feed_iternext(PyObject *object)
{
    return feed_send(object, Py_None);
}

/* Throw into what is awaited. Returns what it yields, or NULL: it has ended, with *value or an
 * exception. */
static PyObject *throw_inner(struct feed *self, PyObject *b_exception, PyObject **value)
{
    PyObject *inner = self->inner;
    PyObject *yielded;
    PyObject *stop;

    if (!PyObject_HasAttrString(inner, "throw")) {
        PyErr_SetObject((PyObject *)Py_TYPE(b_exception), b_exception);
        Py_CLEAR(self->inner);
        return NULL;
    }
    yielded = PyObject_CallMethod(inner, "throw", "O", b_exception);
    if (yielded != NULL) {
        return yielded;
    }
    Py_CLEAR(self->inner);
    if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
        stop = PyErr_GetRaisedException();
        *value = PyObject_GetAttrString(stop, "value");
        Py_DECREF(stop);
    }
    return NULL;
}

PyDoc_STRVAR(throw_doc, "throw($self, type, value=None, traceback=None, /)\n--\n\n"
                        "Raise the exception where the feed waits, as a driver.");

static PyObject *feed_throw(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    struct feed *self = feed_of(object);
    PyObject *exception = tc_py_thrown_exception(args, nargs);
    PyObject *result = NULL;
    PyObject *value = NULL;
    PySendResult outcome;

    if (exception == NULL) {
        return NULL;
    }
    if (check(self) < 0) {
        Py_DECREF(exception);
        return NULL;
    }
    if (self->inner == NULL) {
        PyErr_SetRaisedException(exception);
        outcome = drive(self, begin_close(self), &result);
        return to_result(outcome, result);
    }
    self->is_running = true;
    result = throw_inner(self, exception, &value);
    self->is_running = false;
    Py_DECREF(exception);
    if (result != NULL) {
        return result;
    }
    outcome = drive(self, advance(self, value), &result);
    return to_result(outcome, result);
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nGive it up.");

static PyObject *feed_close(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct feed *self = feed_of(object);
    PyObject *inner = self->inner;
    PyObject *result;

    if (self->is_running) {
        return check(self) < 0 ? NULL : Py_NewRef(Py_None);
    }
    self->inner = NULL;
    self->phase = ENDED;
    if (inner != NULL && PyObject_HasAttrString(inner, "close")) {
        result = PyObject_CallMethod(inner, "close", NULL);
        Py_XDECREF(result);
        if (result == NULL) {
            PyErr_WriteUnraisable(inner);
        }
    }
    Py_XDECREF(inner);
    Py_CLEAR(self->iterator);
    Py_RETURN_NONE;
}

/* ---- the type ----------------------------------------------------------------------------- */

static int feed_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(feed_of(object)->iterator);
    Py_VISIT(feed_of(object)->inner);
    Py_VISIT(feed_of(object)->error);
    return 0;
}

static int feed_clear(PyObject *object)
{
    Py_CLEAR(feed_of(object)->inner);
    Py_CLEAR(feed_of(object)->error);
    return 0;
}

static void feed_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    (void)feed_clear(object); /* cannot fail */
    Py_CLEAR(feed_of(object)->iterator);
    Py_CLEAR(feed_of(object)->request);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef feed_methods[] = {
    {"send", feed_send, METH_O, PyDoc_STR("send($self, value, /)\n--\n\nGo on, as a driver.")},
    {"throw", TC_PY_FAST_FUNCTION(feed_throw), METH_FASTCALL, throw_doc},
    {"close", feed_close, METH_NOARGS, close_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot feed_slots[] = {
    {Py_tp_dealloc, feed_dealloc},
    {Py_tp_traverse, feed_traverse},
    {Py_tp_clear, feed_clear},
    {Py_tp_methods, feed_methods},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, feed_iternext},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, feed_am_send},
    {0, NULL},
};

static PyType_Spec feed_spec = {
    .name = "tinycoro._Feed",
    .basicsize = sizeof(struct feed),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = feed_slots,
};

PyObject *tc__py_feed_new(struct tc_py_loop_state *state, struct tc_py_request *b_request,
                          PyObject *b_iterator, int64_t length)
{
    PyTypeObject *type = state->feed_type;
    struct feed *self = feed_of(type->tp_alloc(type, 0));
    PyAsyncMethods *b_methods = Py_TYPE(b_iterator)->tp_as_async;

    if (self == NULL) {
        return NULL;
    }
    self->request = (struct tc_py_request *)Py_NewRef((PyObject *)b_request);
    self->iterator = Py_NewRef(b_iterator);
    self->is_async = b_methods != NULL && b_methods->am_anext != NULL;
    self->left = length;
    if (b_request->call->method == TC_HTTP_HEAD) {
        self->left = -1;
        if (begin_close(self) < 0) {
            Py_DECREF(self);
            return NULL;
        }
    }
    return (PyObject *)self;
}

int tc__py_add_feed(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_type(module, &feed_spec, NULL, &state->feed_type) < 0 ||
        tc_py_add_type(module, &room_spec, state->operation_type, &state->room_wait_type) < 0 ||
        tc_py_register_coroutine(state, state->room_wait_type) < 0) {
        return -1;
    }
    return tc_py_register_coroutine(state, state->feed_type);
}
