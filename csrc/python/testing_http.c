/* What the HTTP parser makes of bytes, for the tests that compare it with other parsers. */
#include "python/module.h"

#include "http/chunked.h"
#include "http/parser.h"

/* A stream of requests, read as it arrives. */
struct reading {
    PyObject
        *messages; /* owned list of [method, target, minor, fields, keep_alive, body, is_whole] */
    PyObject *message; /* borrowed: the last of them, while its body is being read               */
    PyObject *body; /* owned list of bytes                                                     */
    int error; /* 0, or what ended the stream                                             */
    bool is_chunked;
    int64_t
        left; /* of a body with a length                                                       */
    struct tc_http_hint hint;
    struct tc_chunked chunked;
    struct tc_http_request request;
};

static PyObject *fields_of(const struct tc_http_request *request, const char *buf)
{
    PyObject *fields = PyList_New(request->field_count);

    for (uint32_t i = 0; fields != NULL && i < request->field_count; i++) {
        const struct tc_http_field_line *line = &request->fields[i];
        PyObject *pair = Py_BuildValue("y#y#", buf + line->name_at, (Py_ssize_t)line->name_len,
                                       buf + line->value.at, (Py_ssize_t)line->value.len);
        if (pair == NULL) {
            Py_CLEAR(fields);
            break;
        }
        PyList_SET_ITEM(fields, i, pair);
    }
    return fields;
}

/* A head is complete. Returns 0, or -1 with an exception set. */
static int begin_message(struct reading *reading, const char *buf)
{
    const struct tc_http_request *request = &reading->request;
    PyObject *fields = fields_of(request, buf);

    if (fields == NULL) {
        return -1;
    }
    PyObject *message =
        Py_BuildValue("[sy#iNOOO]", tc_http_method_name((enum tc_http_method)request->method),
                      buf + request->target.at, (Py_ssize_t)request->target.len, request->minor,
                      fields, request->keep_alive ? Py_True : Py_False, Py_None, Py_False);
    if (message == NULL) {
        return -1;
    }
    int rc = PyList_Append(reading->messages, message);
    Py_DECREF(message); /* the list holds it */
    if (rc < 0) {
        return -1;
    }
    reading->message = message;
    reading->body = PyList_New(0);
    reading->is_chunked = request->framing == TC_HTTP_BODY_CHUNKED;
    reading->left = request->framing == TC_HTTP_BODY_LENGTH ? request->content_length : 0;
    reading->chunked = (struct tc_chunked){0};
    reading->hint = (struct tc_http_hint){0};
    return reading->body == NULL ? -1 : 0;
}

/* Hand the body over to the message, as far as it has come. */
static int end_message(struct reading *reading, bool is_whole)
{
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    PyObject *joined = NULL;

    if (empty != NULL) {
        joined = PyObject_CallMethod(empty, "join", "O", reading->body);
        Py_DECREF(empty);
    }
    Py_CLEAR(reading->body);
    if (joined == NULL) {
        return -1;
    }
    TC_IGNORE(PyList_SetItem(reading->message, 5, joined)); /* the list has 7 items */
    TC_IGNORE(PyList_SetItem(reading->message, 6, Py_NewRef(is_whole ? Py_True : Py_False)));
    return 0;
}

static int add_data(struct reading *reading, const char *data, size_t len)
{
    PyObject *piece = PyBytes_FromStringAndSize(data, (Py_ssize_t)len);

    if (piece == NULL) {
        return -1;
    }
    int rc = PyList_Append(reading->body, piece);
    Py_DECREF(piece);
    return rc;
}

/* Take a part of the body. Returns 1 at its end, 0 if it goes on, -1 with an exception set. */
static int read_body(struct reading *reading, const char *buf, size_t len, size_t *used)
{
    struct tc_chunked_data data;

    if (!reading->is_chunked) {
        *used = (uint64_t)reading->left < len ? (size_t)reading->left : len;
        reading->left -= (int64_t)*used;
        return add_data(reading, buf, *used) < 0 ? -1 : reading->left == 0;
    }
    int event = tc_chunked_next(&reading->chunked, buf, len, used, &data);
    if (event == TC_CHUNKED_DATA) {
        return add_data(reading, data.at, data.len);
    }
    reading->error = event < 0 ? event : 0;
    return event == TC_CHUNKED_END;
}

/* Take what can be taken of `len` bytes. Returns how many, or -1 with an exception set. */
static Py_ssize_t take(struct reading *reading, const char *buf, size_t len)
{
    size_t at = 0;

    for (;;) {
        size_t used = 0;
        if (reading->body == NULL) {
            ssize_t n = tc_http_parse(&reading->request, buf + at, len - at,
                                      &tc_http_default_limits, &reading->hint);
            if (n <= 0) {
                reading->error = (int)n;
                return (Py_ssize_t)at;
            }
            if (begin_message(reading, buf + at) < 0) {
                return -1;
            }
            at += (size_t)n;
        }
        int rc = read_body(reading, buf + at, len - at, &used);
        at += used;
        if (rc < 0 || (rc == 1 && end_message(reading, true) < 0)) {
            return -1;
        }
        if (reading->error != 0 || (rc == 0 && at == len)) {
            return (Py_ssize_t)at;
        }
    }
}

static int read_all(struct reading *reading, const char *data, Py_ssize_t len, PyObject *b_cuts,
                    Py_ssize_t *done)
{
    for (Py_ssize_t i = 0; i <= PyTuple_GET_SIZE(b_cuts) && reading->error == 0; i++) {
        Py_ssize_t arrived = len;
        if (i < PyTuple_GET_SIZE(b_cuts)) {
            arrived = PyLong_AsSsize_t(PyTuple_GET_ITEM(b_cuts, i));
            if (arrived < *done || arrived > len) {
                if (!PyErr_Occurred()) {
                    PyErr_SetString(PyExc_ValueError, "cuts must ascend within the data");
                }
                return -1;
            }
        }
        Py_ssize_t n = take(reading, data + *done, (size_t)(arrived - *done));
        if (n < 0) {
            return -1;
        }
        *done += n;
    }
    return reading->body == NULL ? 0 : end_message(reading, false);
}

PyDoc_STRVAR(http_read_doc,
             "_http_read($module, data, cuts=(), /)\n"
             "--\n\n"
             "Read a stream of requests that arrives in pieces, cut at these offsets.\n"
             "Return (messages, error or None, bytes taken); a message is [method, target,\n"
             "minor version, fields, keep_alive, body, is_whole].");

static PyObject *http_read(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct reading reading = {.error = 0};
    PyObject *b_cuts = NULL;
    PyObject *result = NULL;
    Py_ssize_t done = 0;
    Py_buffer data;

    if (!PyArg_ParseTuple(args, "y*|O!:_http_read", &data, &PyTuple_Type, &b_cuts)) {
        return NULL;
    }
    PyObject *no_cuts = b_cuts == NULL ? PyTuple_New(0) : Py_NewRef(b_cuts);
    reading.messages = PyList_New(0);
    if (no_cuts != NULL && reading.messages != NULL &&
        read_all(&reading, data.buf, data.len, no_cuts, &done) == 0) {
        result = Py_BuildValue("Ozn", reading.messages,
                               reading.error == 0 ? NULL : tc_http_error_name(reading.error), done);
    }
    Py_XDECREF(no_cuts);
    Py_XDECREF(reading.messages);
    Py_XDECREF(reading.body);
    PyBuffer_Release(&data);
    return result;
}

static PyMethodDef http_functions[] = {
    {"_http_read", http_read, METH_VARARGS, http_read_doc},
    {NULL, NULL, 0, NULL},
};

int tc_py_add_testing_http(PyObject *module)
{
    return PyModule_AddFunctions(module, http_functions);
}
