/* A Response of an iterator: what it must be, and the Content-Length that it may be given. */
#include "python/http_response.h"

PyObject *tc__py_http_stream(PyObject *b_body)
{
    PyAsyncMethods *b_methods = Py_TYPE(b_body)->tp_as_async;
    PyObject *iterator;

    if (b_methods != NULL && b_methods->am_aiter != NULL) {
        iterator = b_methods->am_aiter(b_body);
        b_methods = iterator == NULL ? NULL : Py_TYPE(iterator)->tp_as_async;
        if (iterator != NULL && (b_methods == NULL || b_methods->am_anext == NULL)) {
            PyErr_Format(PyExc_TypeError,
                         "body: __aiter__() returned a %.100s, which has no "
                         "__anext__()",
                         Py_TYPE(iterator)->tp_name);
            Py_CLEAR(iterator);
        }
        return iterator;
    }
    return PyIter_Check(b_body) ? Py_NewRef(b_body) : NULL;
}

/* True if a field's name is Content-Length. */
static bool is_length(PyObject *b_name)
{
    const char *name = PyBytes_Check(b_name)     ? PyBytes_AS_STRING(b_name)
                       : PyUnicode_Check(b_name) ? PyUnicode_AsUTF8(b_name)
                                                 : "";

    if (name == NULL) {
        PyErr_Clear();
        return false;
    }
    return PyOS_stricmp(name, "content-length") == 0;
}

/* The value of Content-Length: an int, or digits. Returns 0, or -1 with an exception set. */
static int to_length(PyObject *b_value, int64_t *length)
{
    PyObject *number = PyLong_Check(b_value) ? Py_NewRef(b_value) : PyNumber_Long(b_value);
    long long value = number == NULL ? -1 : PyLong_AsLongLong(number);

    Py_XDECREF(number);
    if (value < 0 || *length >= 0) {
        PyErr_Format(PyExc_ValueError,
                     "headers: Content-Length %R is not a number of bytes, or is "
                     "not the only one",
                     b_value);
        return -1;
    }
    *length = value;
    return 0;
}

/* The fields as a list, without a Content-Length, which is read into *length. Returns a new
 * reference, or NULL with an exception set. */
static PyObject *without_length(PyObject *b_headers, int64_t *length)
{
    PyObject *pairs = PyMapping_Check(b_headers) && PyObject_HasAttrString(b_headers, "items")
                          ? PyMapping_Items(b_headers)
                          : PySequence_List(b_headers);

    for (Py_ssize_t i = pairs == NULL ? 0 : PyList_GET_SIZE(pairs); i-- > 0;) {
        PyObject *pair = PySequence_Tuple(PyList_GET_ITEM(pairs, i));
        int result = pair == NULL ? -1 : 0;

        if (pair != NULL && PyTuple_GET_SIZE(pair) == 2 && is_length(PyTuple_GET_ITEM(pair, 0))) {
            result = to_length(PyTuple_GET_ITEM(pair, 1), length);
            if (result == 0) {
                result = PySequence_DelItem(pairs, i);
            }
        }
        Py_XDECREF(pair);
        if (result < 0) {
            Py_CLEAR(pairs);
            break;
        }
    }
    return pairs;
}

PyObject *tc__py_http_stream_answer(PyObject *b_status, PyObject *b_content_type,
                                    PyObject *b_headers, int64_t *length)
{
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    PyObject *headers = b_headers == NULL || b_headers == Py_None
                            ? Py_NewRef(Py_None)
                            : without_length(b_headers, length);
    PyObject *answer = NULL;
    long status;

    if (empty != NULL && headers != NULL) {
        answer = tc_py_http_answer(empty, b_status, b_content_type, headers);
    }
    Py_XDECREF(empty);
    Py_XDECREF(headers);
    status = answer == NULL ? 0 : PyLong_AsLong(PyTuple_GET_ITEM(answer, 0));
    if (status == 204 || status == 304) {
        PyErr_Format(PyExc_ValueError, "status=%ld has no body, and an iterator was given", status);
        Py_CLEAR(answer);
    }
    return answer;
}
