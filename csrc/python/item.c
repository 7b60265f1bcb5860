/* Items of channels at the edge between Python and C. */
#include "python/channel.h"

#include <string.h>

const char *tc_py_items_name(uint8_t items)
{
    static const char *const names[] = {"object", "bytes", "int", "float"};

    return names[items];
}

static int refuse(uint8_t items, const char *wanted, PyObject *b_object)
{
    PyErr_Format(PyExc_TypeError, "a Channel(items=%s) takes %s, not %.100s",
                 tc_py_items_name(items), wanted, Py_TYPE(b_object)->tp_name);
    return -1;
}

static int encode_bytes(PyObject *b_object, struct tc_value *out)
{
    Py_buffer view;
    struct tc_buf *buf;

    if (PyBytes_CheckExact(b_object)) {
        buf = tc_buf_new(PyBytes_AS_STRING(b_object), (size_t)PyBytes_GET_SIZE(b_object));
    } else if (!PyObject_CheckBuffer(b_object)) {
        return refuse(TC_PY_ITEMS_BYTES, "bytes-like objects", b_object);
    } else if (PyObject_GetBuffer(b_object, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    } else {
        buf = tc_buf_new(view.buf, (size_t)view.len);
        PyBuffer_Release(&view);
    }
    if (buf == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *out = tc_value_buf(buf);
    return 0;
}

static int encode_int(PyObject *b_object, struct tc_value *out)
{
    int overflow = 0;
    long long number;

    if (!PyIndex_Check(b_object)) {
        return refuse(TC_PY_ITEMS_INT, "integers", b_object);
    }
    number = PyLong_AsLongLongAndOverflow(b_object, &overflow);
    if (number == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (overflow != 0) {
        PyErr_Format(PyExc_OverflowError, "a Channel(items=int) takes integers of 64 bits");
        return -1;
    }
    *out = tc_value_int(number);
    return 0;
}

static int encode_float(PyObject *b_object, struct tc_value *out)
{
    double number = PyFloat_AsDouble(b_object);

    if (number == -1.0 && PyErr_Occurred()) {
        return PyErr_ExceptionMatches(PyExc_TypeError)
                   ? refuse(TC_PY_ITEMS_FLOAT, "numbers", b_object)
                   : -1;
    }
    *out = tc_value_double(number);
    return 0;
}

int tc_py_item_encode(uint8_t items, PyObject *b_object, struct tc_value *out)
{
    if (tc_likely(items == TC_PY_ITEMS_OBJECT)) {
        *out = tc_value_pointer(Py_NewRef(b_object));
        return 0;
    }
    if (items == TC_PY_ITEMS_INT) {
        return encode_int(b_object, out);
    }
    return items == TC_PY_ITEMS_BYTES ? encode_bytes(b_object, out) : encode_float(b_object, out);
}

PyObject *tc_py_item_decode(struct tc_value value)
{
    PyObject *object;

    switch ((enum tc_value_kind)value.kind) {
    case TC_VALUE_POINTER:
        return value.as_pointer;
    case TC_VALUE_INT:
        return PyLong_FromLongLong(value.as_int);
    case TC_VALUE_DOUBLE:
        return PyFloat_FromDouble(value.as_double);
    case TC_VALUE_BUF:
        object = PyBytes_FromStringAndSize((const char *)value.as_buf->bytes,
                                           (Py_ssize_t)value.as_buf->size);
        tc_buf_release(value.as_buf);
        return object;
    default:
        Py_RETURN_NONE; /* a signal without content, from a C fiber */
    }
}

static void release_object(void *pointer)
{
    Py_DECREF((PyObject *)pointer);
}

void tc_py_item_clear(struct tc_value *value)
{
    struct tc_value old = *value;

    value->kind = TC_VALUE_NONE;
    tc_value_release(old, release_object);
}
