/* The body of a request: body(), json() and stream(). One that the worker has collected is there;
 * one that comes in pieces (http/desk_stream.h) is waited for, and whoever waits is the stream's
 * reader. */
#include "python/deferred.h"
#include "python/http_door_internal.h"
#include "python/operation.h"

#include <errno.h>

enum { PIECE_BYTES = 64 * 1024 }; /* of a body that is there, that stream() gives at a time */

enum wait_kind { WAIT_PIECE, WAIT_BODY, WAIT_JSON };

struct pieces {
    PyObject_HEAD struct tc_py_request *request; /* owned                                        */
    size_t at; /* bytes given out, of a body that is there                                       */
    bool is_owner; /* it is this one that has begun to give it out                               */
};

struct body_wait {
    struct tc_py_operation op;
    struct tc_py_request *request; /* owned                                                      */
    struct pieces *pieces; /* owned; for WAIT_PIECE                                              */
    uint8_t kind; /* enum wait_kind                                                              */
};

static struct tc_py_request *request_of(PyObject *self)
{
    return (struct tc_py_request *)self;
}

static struct body_wait *wait_of(struct tc_py_operation *op)
{
    return tc_container_of(op, struct body_wait, op);
}

/* True if the body still has to be waited for. */
static bool comes_in_pieces(const struct tc_py_request *request)
{
    return request->call->is_streamed && request->body == NULL;
}

/* ---- errors ------------------------------------------------------------------------------- */

/* Set OSError, of the class that goes with it, for what tc_desk_stream_take returned. */
static void set_error(int error)
{
    static const struct {
        int error;
        int code;
        const char *text;
    } known[] = {
        {-EPIPE, ECONNRESET, "the client ended the connection in the middle of its body"},
        {-ECONNRESET, ECONNRESET, "the client ended the connection in the middle of its body"},
        {-ETIME, ETIMEDOUT, "the client was too slow with its body"},
        {-EMSGSIZE, EMSGSIZE, "the body is larger than max_body"},
        {-EPROTO, EPROTO, "the chunks of the body are malformed"},
        {-ECONNABORTED, ECONNABORTED, "the request is over"},
    };
    int code = -error;
    const char *text = "cannot read the body";
    PyObject *exception;

    if (error == -ENOMEM) {
        PyErr_NoMemory();
        return;
    }
    for (size_t i = 0; i < TC_ARRAY_LEN(known); i++) {
        if (known[i].error == error) {
            code = known[i].code;
            text = known[i].text;
        }
    }
    exception = PyObject_CallFunction(PyExc_OSError, "is", code, text);
    if (exception != NULL) {
        PyErr_SetRaisedException(exception);
    }
}

/* ---- who reads ---------------------------------------------------------------------------- */

/* body() and json(): not behind stream(). Returns 0, or -1 with RuntimeError set. */
static int claim_whole(struct tc_py_request *request)
{
    if (request->is_streamed) {
        PyErr_SetString(PyExc_RuntimeError, "the body is being read, or has been, by stream()");
        return -1;
    }
    return 0;
}

/* stream(): one iterator gives out a body, once. Returns 0, or -1 with RuntimeError set. */
static int claim_pieces(struct pieces *pieces)
{
    struct tc_py_request *request = pieces->request;

    if (pieces->is_owner) {
        return 0;
    }
    if (request->is_streamed || request->parts != NULL) {
        PyErr_SetString(PyExc_RuntimeError, request->is_streamed
                                                ? "the body is being read, or has been, by stream()"
                                                : "the body is being read by body()");
        return -1;
    }
    request->is_streamed = true;
    pieces->is_owner = true;
    return 0;
}

/* ---- of a body that is there -------------------------------------------------------------- */

static PyObject *whole_body(PyObject *self, PyObject *b_first, PyObject *b_second)
{
    const struct tc_py_request *request = request_of(self);

    (void)b_first;
    (void)b_second;
    if (claim_whole(request_of(self)) < 0) {
        return NULL;
    }
    return request->body != NULL ? Py_NewRef(request->body)
                                 : PyBytes_FromStringAndSize(request->call->body,
                                                             (Py_ssize_t)request->call->body_len);
}

static PyObject *parse(PyObject *b_body)
{
    PyObject *json = PyImport_ImportModule("json");
    PyObject *value = json == NULL ? NULL : PyObject_CallMethod(json, "loads", "O", b_body);

    Py_XDECREF(json);
    return value;
}

static PyObject *parsed_body(PyObject *self, PyObject *b_first, PyObject *b_second)
{
    PyObject *body = whole_body(self, b_first, b_second);
    PyObject *value = body == NULL ? NULL : parse(body);

    Py_XDECREF(body);
    return value;
}

static PyObject *next_piece(PyObject *self, PyObject *b_first, PyObject *b_second)
{
    struct pieces *pieces = (struct pieces *)self;
    const struct tc_py_request *request = pieces->request;
    const char *bytes =
        request->body != NULL ? PyBytes_AS_STRING(request->body) : request->call->body;
    size_t len =
        request->body != NULL ? (size_t)PyBytes_GET_SIZE(request->body) : request->call->body_len;
    size_t left = len - pieces->at;
    size_t size = left < PIECE_BYTES ? left : PIECE_BYTES;

    (void)b_first;
    (void)b_second;
    if (claim_pieces(pieces) < 0) {
        return NULL;
    }
    if (left == 0) {
        PyErr_SetNone(PyExc_StopAsyncIteration);
        return NULL;
    }
    pieces->at += size;
    return PyBytes_FromStringAndSize(bytes + pieces->at - size, (Py_ssize_t)size);
}

/* ---- of a body that comes ----------------------------------------------------------------- */

/* Take a piece. Returns 1 with *piece a new reference, 0 at the end, -1 with an exception set, or
 * -EAGAIN: the operation has to wait. */
static int take(struct tc_py_request *request, PyObject **piece)
{
    struct tc_desk_piece *taken = NULL;
    int rc = tc_desk_stream_take(request->call, &taken);

    tc__py_door_touch(request->call);
    if (rc == 1) {
        *piece = PyBytes_FromStringAndSize(taken->bytes, (Py_ssize_t)taken->len);
        tc_desk_piece_free(taken);
        return *piece == NULL ? -1 : 1;
    }
    if (rc != 0 && rc != -EAGAIN) {
        set_error(rc);
        return -1;
    }
    return rc;
}

static enum tc_py_outcome suspend(struct body_wait *self)
{
    self->request->call->stream->reader = self;
    return TC_PY_SUSPEND;
}

static enum tc_py_outcome go_on_with_piece(struct body_wait *self, PyObject **value)
{
    switch (take(self->request, value)) {
    case 1:
        return TC_PY_DONE;
    case 0:
        PyErr_SetNone(PyExc_StopAsyncIteration);
        return TC_PY_ERROR;
    case -EAGAIN:
        return suspend(self);
    default:
        return TC_PY_ERROR;
    }
}

/* All parts are there: make them one. */
static enum tc_py_outcome finish_body(struct body_wait *self, PyObject **value)
{
    struct tc_py_request *request = self->request;
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    PyObject *body = empty == NULL ? NULL : PyObject_CallMethod(empty, "join", "O", request->parts);

    Py_XDECREF(empty);
    if (body == NULL) {
        return TC_PY_ERROR;
    }
    Py_CLEAR(request->parts);
    Py_XSETREF(request->body, body);
    *value = self->kind == WAIT_JSON ? parse(body) : Py_NewRef(body);
    return *value == NULL ? TC_PY_ERROR : TC_PY_DONE;
}

static enum tc_py_outcome go_on_with_body(struct body_wait *self, PyObject **value)
{
    struct tc_py_request *request = self->request;
    PyObject *piece = NULL;
    int rc;

    if (request->parts == NULL) {
        request->parts = PyList_New(0);
    }
    while (request->parts != NULL && (rc = take(request, &piece)) == 1) {
        rc = PyList_Append(request->parts, piece);
        Py_CLEAR(piece);
        if (rc < 0) {
            return TC_PY_ERROR;
        }
    }
    if (request->parts == NULL || rc == -1) {
        return TC_PY_ERROR;
    }
    return rc == 0 ? finish_body(self, value) : suspend(self);
}

static enum tc_py_outcome wait_go_on(struct tc_py_operation *op, PyObject **value)
{
    struct body_wait *self = wait_of(op);

    return self->kind == WAIT_PIECE ? go_on_with_piece(self, value) : go_on_with_body(self, value);
}

static enum tc_py_outcome wait_start(struct tc_py_operation *op, PyObject **value)
{
    struct body_wait *self = wait_of(op);

    if (tc__py_door_check(self->request, op->task->future.loop) < 0 ||
        (self->kind == WAIT_PIECE ? claim_pieces(self->pieces) : claim_whole(self->request)) < 0) {
        return TC_PY_ERROR;
    }
    if (self->request->body != NULL) { /* read since this was called */
        *value = self->kind == WAIT_PIECE  ? next_piece((PyObject *)self->pieces, NULL, NULL)
                 : self->kind == WAIT_JSON ? parse(self->request->body)
                                           : Py_NewRef(self->request->body);
        return *value == NULL ? TC_PY_ERROR : TC_PY_DONE;
    }
    if (self->request->call->stream->reader != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "another task waits for the body already");
        return TC_PY_ERROR;
    }
    return wait_go_on(op, value);
}

static bool wait_withdraw(struct tc_py_operation *op)
{
    struct tc_desk_stream *stream = wait_of(op)->request->call->stream;

    if (stream->reader == wait_of(op)) {
        stream->reader = NULL;
    }
    return true; /* what has come lies in the stream */
}

static const struct tc_py_operation_ops wait_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "Request.body",
    .start = wait_start,
    .finish = wait_go_on,
    .withdraw = wait_withdraw,
};

bool tc__py_body_wake(struct tc_desk_call *call)
{
    struct body_wait *wait = call->stream->reader;

    if (wait != NULL) {
        call->stream->reader = NULL;
        tc_py_operation_wake(&wait->op);
    }
    return wait != NULL;
}

static int wait_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct body_wait *self = (struct body_wait *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->op.message);
    return 0;
}

static int wait_clear(PyObject *object)
{
    struct body_wait *self = (struct body_wait *)object;

    tc_py_operation_clear(&self->op);
    Py_CLEAR(self->pieces);
    Py_CLEAR(self->request);
    return 0;
}

static PyType_Slot wait_slots[] = {
    {Py_tp_dealloc, tc_py_operation_dealloc},
    {Py_tp_finalize, tc_py_operation_finalize},
    {Py_tp_traverse, wait_traverse},
    {Py_tp_clear, wait_clear},
    {0, NULL},
};

static PyType_Spec wait_spec = {
    .name = "tinycoro._BodyWait",
    .basicsize = sizeof(struct body_wait),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = wait_slots,
};

static PyObject *wait_new(struct tc_py_loop_state *state, struct tc_py_request *b_request,
                          struct pieces *b_pieces, enum wait_kind kind)
{
    PyTypeObject *type = state->body_wait_type;
    struct body_wait *self = (struct body_wait *)type->tp_alloc(type, 0);

    if (self == NULL) {
        return NULL;
    }
    tc_py_operation_init(&self->op, &wait_ops);
    self->request = request_of(Py_NewRef((PyObject *)b_request));
    self->pieces = (struct pieces *)Py_XNewRef((PyObject *)b_pieces);
    self->kind = (uint8_t)kind;
    return (PyObject *)self;
}

/* ---- methods ------------------------------------------------------------------------------ */

static PyObject *whole(PyObject *self, tc_py_deferred_fn *function, enum wait_kind kind)
{
    struct tc_py_loop_state *state = tc_py_loop_state_of_type(Py_TYPE(self));

    if (state == NULL) {
        return NULL;
    }
    return comes_in_pieces(request_of(self)) ? wait_new(state, request_of(self), NULL, kind)
                                             : tc_py_deferred(state, function, self, NULL, NULL);
}

const char tc__py_request_body_doc[] =
    "body($self, /)\n--\n\n"
    "Return the body, in a task: await it. Empty if there is none.\n\n"
    "Raises: OSError if it does not come whole: ConnectionResetError, TimeoutError, or\n"
    "with EMSGSIZE a body above max_body; RuntimeError behind stream().";

PyObject *tc__py_request_body(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return whole(self, whole_body, WAIT_BODY);
}

const char tc__py_request_json_doc[] = "json($self, /)\n--\n\n"
                                       "Return the body, read as JSON, in a task: await it.\n\n"
                                       "Raises: ValueError if it is none; as body().";

PyObject *tc__py_request_json(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return whole(self, parsed_body, WAIT_JSON);
}

static PyObject *pieces_anext(PyObject *self)
{
    struct tc_py_loop_state *state = tc_py_loop_state_of_type(Py_TYPE(self));
    struct pieces *pieces = (struct pieces *)self;

    if (state == NULL) {
        return NULL;
    }
    return comes_in_pieces(pieces->request) ? wait_new(state, pieces->request, pieces, WAIT_PIECE)
                                            : tc_py_deferred(state, next_piece, self, NULL, NULL);
}

static void pieces_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    Py_DECREF(((struct pieces *)object)->request);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyType_Slot pieces_slots[] = {
    {Py_tp_dealloc, pieces_dealloc},
    {Py_am_aiter, PyObject_SelfIter},
    {Py_am_anext, pieces_anext},
    {0, NULL},
};

static PyType_Spec pieces_spec = {
    .name = "tinycoro._Pieces",
    .basicsize = sizeof(struct pieces),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = pieces_slots,
};

const char tc__py_request_stream_doc[] =
    "stream($self, /)\n--\n\n"
    "Return the body in pieces, as they come, as an asynchronous iterator.\n\n"
    "In a handler that is a coroutine function the client sends on meanwhile, and waits\n"
    "while 256 KiB of it lie unread. A body of up to 64 KiB that has a Content-Length is\n"
    "there, and so is any body for other handlers.\n"
    "Raises: as body(); RuntimeError if another iterator, or body(), reads it.";

PyObject *tc__py_request_stream(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_loop_state *state = tc_py_loop_state_of_type(Py_TYPE(self));
    struct pieces *pieces;

    if (state == NULL) {
        return NULL;
    }
    pieces = (struct pieces *)state->pieces_type->tp_alloc(state->pieces_type, 0);
    if (pieces != NULL) {
        pieces->request = request_of(Py_NewRef(self));
    }
    return (PyObject *)pieces;
}

int tc__py_add_body(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_type(module, &pieces_spec, NULL, &state->pieces_type) < 0 ||
        tc_py_add_type(module, &wait_spec, state->operation_type, &state->body_wait_type) < 0) {
        return -1;
    }
    return tc_py_register_coroutine(state, state->body_wait_type);
}
