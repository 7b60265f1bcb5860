#include "python/http_response.h"

#include "python/args.h"

#include "http/response.h"

#include <string.h>

/* ---- the body --------------------------------------------------------------------------- */

static PyObject *to_json(PyObject *b_body)
{
    PyObject *json = PyImport_ImportModule("json"); /* in sys.modules but for the first time */
    PyObject *text = NULL;
    PyObject *bytes = NULL;

    if (json != NULL) {
        text = PyObject_CallMethod(json, "dumps", "O", b_body);
        Py_DECREF(json);
    }
    if (text != NULL) {
        bytes = PyUnicode_AsUTF8String(text);
        Py_DECREF(text);
    }
    return bytes;
}

PyObject *tc_py_http_body(PyObject *b_body, const char **type)
{
    *type = TC_PY_TYPE_BYTES;
    if (PyBytes_CheckExact(b_body)) {
        return Py_NewRef(b_body);
    }
    if (PyUnicode_Check(b_body)) {
        *type = TC_PY_TYPE_TEXT;
        return PyUnicode_AsUTF8String(b_body);
    }
    if (PyDict_Check(b_body) || PyList_Check(b_body)) {
        *type = TC_PY_TYPE_JSON;
        return to_json(b_body);
    }
    if (b_body == Py_None) {
        *type = NULL;
        return PyBytes_FromStringAndSize(NULL, 0);
    }
    if (PyObject_CheckBuffer(b_body)) {
        return PyBytes_FromObject(b_body);
    }
    return PyErr_Format(PyExc_TypeError,
                        "body must be bytes-like, str, dict, list or None, not %.100s",
                        Py_TYPE(b_body)->tp_name);
}

/* ---- fields ----------------------------------------------------------------------------- */

/* Text of a head as bytes without NUL; `what` names it. */
static PyObject *to_octets(PyObject *b_text, const char *what)
{
    PyObject *octets;

    if (PyBytes_CheckExact(b_text)) {
        octets = Py_NewRef(b_text);
    } else if (PyUnicode_Check(b_text)) {
        octets = PyUnicode_AsASCIIString(b_text);
    } else {
        return PyErr_Format(PyExc_TypeError, "%s must be str or bytes, not %.100s", what,
                            Py_TYPE(b_text)->tp_name);
    }
    if (octets != NULL && strlen(PyBytes_AS_STRING(octets)) != (size_t)PyBytes_GET_SIZE(octets)) {
        PyErr_Format(PyExc_ValueError, "%s=%R: there is a NUL in it", what, b_text);
        Py_CLEAR(octets);
    }
    return octets;
}

/* One field as (name, value). */
static PyObject *to_field(PyObject *b_pair)
{
    PyObject *pair = PySequence_Tuple(b_pair);
    PyObject *name = NULL;
    PyObject *value = NULL;
    PyObject *field = NULL;

    if (pair == NULL) {
        return NULL;
    }
    if (PyTuple_GET_SIZE(pair) != 2) {
        PyErr_Format(PyExc_ValueError, "headers: %R is not a name and a value", b_pair);
    } else {
        name = to_octets(PyTuple_GET_ITEM(pair, 0), "the name of a header");
        value = name == NULL ? NULL : to_octets(PyTuple_GET_ITEM(pair, 1), "the value of a header");
    }
    if (value != NULL &&
        !tc_http_answer_may_have(PyBytes_AS_STRING(name), PyBytes_AS_STRING(value))) {
        PyErr_Format(PyExc_ValueError,
                     "headers: %R is not a field of RFC 9110 5, or one that the server writes",
                     b_pair);
    } else if (value != NULL) {
        field = PyTuple_Pack(2, name, value);
    }
    Py_XDECREF(name);
    Py_XDECREF(value);
    Py_DECREF(pair);
    return field;
}

/* A mapping or an iterable of pairs as a tuple of fields. */
static PyObject *to_fields(PyObject *b_headers)
{
    PyObject *pairs = PyMapping_Check(b_headers) && PyObject_HasAttrString(b_headers, "items")
                          ? PyMapping_Items(b_headers)
                          : PySequence_List(b_headers);
    PyObject *fields = pairs == NULL ? NULL : PyTuple_New(PyList_GET_SIZE(pairs));

    for (Py_ssize_t i = 0; fields != NULL && i < PyTuple_GET_SIZE(fields); i++) {
        PyObject *b_pair = i < PyList_GET_SIZE(pairs) ? PyList_GET_ITEM(pairs, i) : NULL;
        PyObject *field = b_pair == NULL ? NULL : to_field(b_pair);

        if (field == NULL) {
            Py_CLEAR(fields);
            break;
        }
        PyTuple_SET_ITEM(fields, i, field);
    }
    Py_XDECREF(pairs);
    return fields;
}

PyObject *tc_py_http_fields(PyObject *b_headers)
{
    return b_headers == NULL || b_headers == Py_None ? PyTuple_New(0) : to_fields(b_headers);
}

/* ---- all of it -------------------------------------------------------------------------- */

/* The content type: bytes or None. */
static PyObject *to_type(PyObject *b_content_type, const char *fallback)
{
    PyObject *type;

    if (b_content_type == Py_None || (b_content_type == NULL && fallback == NULL)) {
        return Py_NewRef(Py_None);
    }
    if (b_content_type == NULL) {
        return PyBytes_FromString(fallback);
    }
    type = to_octets(b_content_type, "content_type");
    if (type != NULL && !tc_http_answer_may_have_type(PyBytes_AS_STRING(type))) {
        PyErr_Format(PyExc_ValueError, "content_type=%R is not a field value of RFC 9110 5.5",
                     b_content_type);
        Py_CLEAR(type);
    }
    return type;
}

PyObject *tc_py_http_answer(PyObject *b_body, PyObject *b_status, PyObject *b_content_type,
                            PyObject *b_headers)
{
    const char *fallback = NULL;
    int64_t status = 200;
    PyObject *body;
    PyObject *type;
    PyObject *fields = NULL;

    if (tc_py_integer(b_status, "status", false, 200, 599, &status) < 0) {
        return NULL;
    }
    body = tc_py_http_body(b_body, &fallback);
    if (body == NULL) {
        return NULL;
    }
    if ((status == 204 || status == 304) && PyBytes_GET_SIZE(body) != 0) {
        PyErr_Format(PyExc_ValueError, "status=%lld has no body, and %zd bytes were given",
                     (long long)status, PyBytes_GET_SIZE(body));
        Py_DECREF(body);
        return NULL;
    }
    type = to_type(b_content_type, status == 204 || status == 304 ? NULL : fallback);
    if (type != NULL) {
        fields = tc_py_http_fields(b_headers);
    }
    if (fields == NULL) {
        Py_DECREF(body);
        Py_XDECREF(type);
        return NULL;
    }
    return Py_BuildValue("LNNN", (long long)status, type, fields, body);
}

/* ---- Response ----------------------------------------------------------------------------- */

static struct tc_py_response *response_of(PyObject *self)
{
    return (struct tc_py_response *)self;
}

struct tc_py_response *tc__py_response_new(PyTypeObject *type, PyObject *b_answer, PyObject *stream)
{
    struct tc_py_response *self = response_of(type->tp_alloc(type, 0));

    if (self == NULL) {
        Py_XDECREF(stream);
        return NULL;
    }
    if (stream == NULL) {
        PyObject_GC_UnTrack(self); /* nothing in it leads back to it */
    }
    self->stream = stream;
    self->length = -1;
    self->status = (int)PyLong_AsLong(PyTuple_GET_ITEM(b_answer, 0));
    self->type = Py_NewRef(PyTuple_GET_ITEM(b_answer, 1));
    self->fields = Py_NewRef(PyTuple_GET_ITEM(b_answer, 2));
    self->body = Py_NewRef(PyTuple_GET_ITEM(b_answer, 3));
    return self;
}

static PyObject *response_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"body", "status", "content_type", "headers", NULL};
    PyObject *b_body = Py_None, *b_status = NULL, *b_type = NULL, *b_headers = NULL;
    struct tc_py_response *self = NULL;
    PyObject *answer;
    PyObject *stream;
    int64_t length = -1;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$OOO:Response", names, &b_body, &b_status,
                                     &b_type, &b_headers)) {
        return NULL;
    }
    stream = tc__py_http_stream(b_body);
    if (stream == NULL && PyErr_Occurred()) {
        return NULL;
    }
    answer = stream == NULL ? tc_py_http_answer(b_body, b_status, b_type, b_headers)
                            : tc__py_http_stream_answer(b_status, b_type, b_headers, &length);
    if (answer == NULL) {
        Py_XDECREF(stream);
    } else {
        self = tc__py_response_new(type, answer, stream);
        Py_DECREF(answer);
    }
    if (self != NULL) {
        self->length = length;
    }
    return (PyObject *)self;
}

static int response_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(response_of(object)->stream);
    return 0;
}

static int response_clear(PyObject *object)
{
    Py_CLEAR(response_of(object)->stream);
    return 0;
}

static void response_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    (void)response_clear(object); /* cannot fail */
    Py_XDECREF(response_of(object)->type);
    Py_XDECREF(response_of(object)->fields);
    Py_XDECREF(response_of(object)->body);
    Py_XDECREF(response_of(object)->path);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *response_get_status(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(response_of(self)->status);
}

static PyObject *response_get_body(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(response_of(self)->body);
}

static PyObject *octets_text(PyObject *b_octets)
{
    return PyUnicode_DecodeLatin1(PyBytes_AS_STRING(b_octets), PyBytes_GET_SIZE(b_octets), NULL);
}

static PyObject *response_get_type(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *b_type = response_of(self)->type;

    return b_type == Py_None ? Py_NewRef(Py_None) : octets_text(b_type);
}

static PyObject *response_get_headers(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *b_fields = response_of(self)->fields;
    PyObject *pairs = PyTuple_New(PyTuple_GET_SIZE(b_fields));

    for (Py_ssize_t i = 0; pairs != NULL && i < PyTuple_GET_SIZE(b_fields); i++) {
        PyObject *b_field = PyTuple_GET_ITEM(b_fields, i);
        PyObject *pair = Py_BuildValue("NN", octets_text(PyTuple_GET_ITEM(b_field, 0)),
                                       octets_text(PyTuple_GET_ITEM(b_field, 1)));
        if (pair == NULL) {
            Py_CLEAR(pairs);
            break;
        }
        PyTuple_SET_ITEM(pairs, i, pair);
    }
    return pairs;
}

static PyObject *response_get_path(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *b_path = response_of(self)->path;

    if (b_path == NULL) {
        return Py_NewRef(Py_None);
    }
    return PyUnicode_DecodeFSDefaultAndSize(PyBytes_AS_STRING(b_path), PyBytes_GET_SIZE(b_path));
}

static PyObject *response_repr(PyObject *self)
{
    PyObject *path;
    PyObject *text;

    if (response_of(self)->stream != NULL) {
        return PyUnicode_FromFormat("<Response %d, streamed>", response_of(self)->status);
    }
    if (response_of(self)->path != NULL) {
        path = response_get_path(self, NULL);
        text = path == NULL ? NULL
                            : PyUnicode_FromFormat("<Response %d, file %R>",
                                                   response_of(self)->status, path);
        Py_XDECREF(path);
        return text;
    }
    return PyUnicode_FromFormat("<Response %d, %zd bytes>", response_of(self)->status,
                                PyBytes_GET_SIZE(response_of(self)->body));
}

static PyGetSetDef response_getset[] = {
    {"status", response_get_status, NULL, PyDoc_STR("200 to 599."), NULL},
    {"body", response_get_body, NULL,
     PyDoc_STR("The body, encoded; empty if it is streamed or a file."), NULL},
    {"content_type", response_get_type, NULL, PyDoc_STR("The content type, or None."), NULL},
    {"headers", response_get_headers, NULL, PyDoc_STR("The further fields, as pairs."), NULL},
    {"path", response_get_path, NULL, PyDoc_STR("The file that is the body, or None."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef response_methods[] = {
    {"file", TC_PY_KEYWORD_FUNCTION(tc__py_http_file), METH_CLASS | METH_FASTCALL | METH_KEYWORDS,
     tc__py_http_file_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(
    response_doc,
    "Response(body=None, *, status=200, content_type=<by body>, headers=None)\n--\n\n"
    "What a handler answers, if there is more to say than a body.\n\n"
    "body is bytes-like, a str (sent as UTF-8, text/plain), a dict or list (sent as JSON),\n"
    "None, or an iterator, asynchronous or not, that yields bytes-like objects or str:\n"
    "each is sent when it comes, and the next one asked for while less than 256 KiB wait\n"
    "for the client. It is closed at the end, also if the client goes away. If it raises,\n"
    "the connection is broken, so that the client knows. content_type replaces the type\n"
    "that goes with it, None leaves the field out. headers, a mapping or pairs, are further\n"
    "fields; for an iterator, Content-Length may be one, and is kept to. Nothing of it can\n"
    "be changed.\n"
    "Thread-safety: any thread.\n"
    "Raises: TypeError and ValueError, naming the parameter.");

static PyType_Slot response_slots[] = {
    {Py_tp_doc, (void *)response_doc},
    {Py_tp_new, response_new},
    {Py_tp_dealloc, response_dealloc},
    {Py_tp_repr, response_repr},
    {Py_tp_getset, response_getset},
    {Py_tp_traverse, response_traverse},
    {Py_tp_clear, response_clear},
    {Py_tp_methods, response_methods},
    {0, NULL},
};

static PyType_Spec response_spec = {
    .name = "tinycoro.Response",
    .basicsize = sizeof(struct tc_py_response),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = response_slots,
};

int tc_py_add_response(PyObject *module, struct tc_py_loop_state *state)
{
    return tc_py_add_type(module, &response_spec, NULL, &state->response_type);
}

/* ---- replies ------------------------------------------------------------------------------ */

/* Text that grows towards its end, or is only measured if `at` is NULL. */
struct writer {
    char *at;
    size_t len;
};

static void put(struct writer *writer, const char *text, size_t len)
{
    if (writer->at != NULL) {
        memcpy(writer->at + writer->len, text, len);
    }
    writer->len += len;
}

#define PUT(writer, literal) put(writer, literal, sizeof(literal) - 1)

static void put_number(struct writer *writer, size_t number)
{
    char digits[20];
    size_t from = sizeof(digits);

    do {
        digits[--from] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    put(writer, digits + from, sizeof(digits) - from);
}

/* The head of an answer, as in struct tc_http_answer. A length below 0 is not told. */
static void put_head(struct writer *writer, int status, const char *type, size_t type_len,
                     PyObject *b_fields, int64_t length)
{
    const char *reason = tc_http_reason(status);

    if (status == 200) {
        PUT(writer, "HTTP/1.1 200 OK\r\n");
    } else {
        PUT(writer, "HTTP/1.1 ");
        put_number(writer, (size_t)status);
        PUT(writer, " ");
        put(writer, reason, strlen(reason));
        PUT(writer, "\r\n");
    }
    if (type != NULL) {
        PUT(writer, "Content-Type: ");
        put(writer, type, type_len);
        PUT(writer, "\r\n");
    }
    for (Py_ssize_t i = 0; b_fields != NULL && i < PyTuple_GET_SIZE(b_fields); i++) {
        PyObject *b_name = PyTuple_GET_ITEM(PyTuple_GET_ITEM(b_fields, i), 0);
        PyObject *b_value = PyTuple_GET_ITEM(PyTuple_GET_ITEM(b_fields, i), 1);

        put(writer, PyBytes_AS_STRING(b_name), (size_t)PyBytes_GET_SIZE(b_name));
        PUT(writer, ": ");
        put(writer, PyBytes_AS_STRING(b_value), (size_t)PyBytes_GET_SIZE(b_value));
        PUT(writer, "\r\n");
    }
    if (status != 204 && status != 304 && length >= 0) { /* RFC 9110 8.6 */
        PUT(writer, "Content-Length: ");
        put_number(writer, (size_t)length);
        PUT(writer, "\r\n");
    }
}

/* Returns NULL without memory. `length`: what the head says of the body. */
static struct tc_desk_reply *make_reply(int status, const char *type, size_t type_len,
                                        PyObject *b_fields, const char *body, size_t body_len,
                                        int64_t length)
{
    struct writer writer = {NULL, 0};
    struct tc_desk_reply *reply;

    put_head(&writer, status, type, type_len, b_fields, length);
    reply = tc_desk_reply_new(writer.len, body_len);
    if (reply == NULL) {
        return NULL;
    }
    writer = (struct writer){reply->answer.head, 0};
    put_head(&writer, status, type, type_len, b_fields, length);
    if (body_len != 0) {
        memcpy(reply->answer.body, body, body_len);
    }
    reply->answer.status = status;
    return reply;
}

struct tc_desk_reply *tc_py_http_status_reply(int status)
{
    char body[64];
    int len = PyOS_snprintf(body, sizeof(body), "%d %s\n", status, tc_http_reason(status));

    return make_reply(status, "text/plain", 10, NULL, body, (size_t)len, len);
}

/* Returns NULL without memory. */
static struct tc_desk_reply *response_reply(struct tc_py_response *b_response)
{
    bool has_type = b_response->type != Py_None;
    Py_ssize_t size = PyBytes_GET_SIZE(b_response->body);
    bool is_stream = b_response->stream != NULL;
    struct tc_desk_reply *reply =
        make_reply(b_response->status, has_type ? PyBytes_AS_STRING(b_response->type) : NULL,
                   has_type ? (size_t)PyBytes_GET_SIZE(b_response->type) : 0, b_response->fields,
                   PyBytes_AS_STRING(b_response->body), (size_t)size,
                   is_stream ? b_response->length : size);

    if (reply != NULL && is_stream) {
        reply->kind = TC_DESK_REPLY_STREAM;
        reply->length = b_response->length;
    }
    return reply;
}

struct tc_desk_reply *tc_py_http_reply(struct tc_py_loop_state *state, PyObject *b_value)
{
    struct tc_desk_reply *reply = NULL;
    const char *type = NULL;
    PyObject *body;

    if (Py_IS_TYPE(b_value, state->response_type)) {
        reply = response_of(b_value)->path == NULL ? response_reply(response_of(b_value))
                                                   : tc__py_http_file_reply(response_of(b_value));
    } else if (PyUnicode_CheckExact(b_value) && PyUnicode_IS_COMPACT_ASCII(b_value)) {
        reply = make_reply(200, TC_PY_TYPE_TEXT, sizeof(TC_PY_TYPE_TEXT) - 1, NULL,
                           (const char *)PyUnicode_1BYTE_DATA(b_value),
                           (size_t)PyUnicode_GET_LENGTH(b_value), PyUnicode_GET_LENGTH(b_value));
    } else if (b_value == Py_None) {
        PyErr_SetString(PyExc_TypeError, "the handler returned None; return a body or a Response");
        return NULL;
    } else {
        body = tc_py_http_body(b_value, &type);
        if (body == NULL) {
            return NULL;
        }
        reply = make_reply(200, type, strlen(type), NULL, PyBytes_AS_STRING(body),
                           (size_t)PyBytes_GET_SIZE(body), PyBytes_GET_SIZE(body));
        Py_DECREF(body);
    }
    if (reply == NULL) {
        PyErr_NoMemory();
    }
    return reply;
}
