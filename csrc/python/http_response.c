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
        fields = b_headers == NULL || b_headers == Py_None ? PyTuple_New(0) : to_fields(b_headers);
    }
    if (fields == NULL) {
        Py_DECREF(body);
        Py_XDECREF(type);
        return NULL;
    }
    return Py_BuildValue("LNNN", (long long)status, type, fields, body);
}
