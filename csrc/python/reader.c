/* The Python type StreamReader. Its reads are in reader_ops.c, its buffer in reader_buffer.c. */
#include "python/reader.h"

#include "python/args.h"
#include "python/future.h"
#include "python/loop.h"
#include "python/stream.h"

#include "base/mem.h"

#include <stddef.h>

static struct tc_py_reader *reader_of(PyObject *self)
{
    return (struct tc_py_reader *)self;
}

/* Refuse a foreign thread, and an object whose class has not called __init__. */
static int check(struct tc_py_reader *self, const char *what)
{
    if (tc_unlikely(self->loop == NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "StreamReader.__init__() was not called");
        return -1;
    }
    return tc_py_loop_check(self->loop, what);
}

/* ---- life ------------------------------------------------------------------------------- */

struct tc_py_reader *tc_py_reader_new(struct tc_py_stream *stream, size_t limit)
{
    PyTypeObject *type = stream->loop->state->reader_type;
    struct tc_py_reader *self = (struct tc_py_reader *)type->tp_alloc(type, 0);

    if (self != NULL) {
        self->loop = (struct tc_py_loop *)Py_NewRef((PyObject *)stream->loop);
        self->stream = (struct tc_py_stream *)Py_NewRef((PyObject *)stream);
        self->limit = limit;
        stream->reader = (struct tc_py_reader *)Py_NewRef((PyObject *)self);
    }
    return self;
}

static int reader_init(PyObject *object, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"limit", "loop", NULL};
    struct tc_py_reader *self = reader_of(object);
    Py_ssize_t limit = TC_PY_READER_LIMIT;
    PyObject *b_loop = NULL;
    struct tc_py_loop *loop;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|nO:StreamReader", names, &limit, &b_loop)) {
        return -1;
    }
    if (limit <= 0) {
        PyErr_SetString(PyExc_ValueError, "Limit cannot be <= 0");
        return -1;
    }
    loop = tc_py_future_loop_argument(b_loop);
    if (loop == NULL) {
        return -1;
    }
    if (self->loop != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "StreamReader.__init__() was called before");
        return -1;
    }
    self->loop = (struct tc_py_loop *)Py_NewRef((PyObject *)loop);
    self->limit = (size_t)limit;
    return 0;
}

static int reader_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct tc_py_reader *self = reader_of(object);

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->loop);
    Py_VISIT(self->stream);
    Py_VISIT(self->exception);
    Py_VISIT(self->spare);
    return 0;
}

static int reader_clear(PyObject *object)
{
    struct tc_py_reader *self = reader_of(object);

    Py_CLEAR(self->stream);
    Py_CLEAR(self->exception);
    Py_CLEAR(self->spare);
    return 0;
}

static void reader_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    struct tc_py_reader *self = reader_of(object);

    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    (void)reader_clear(object); /* cannot fail */
    tc_mem_free(self->data, self->capacity);
    Py_CLEAR(self->loop);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- ends and errors ------------------------------------------------------------------------ */

void tc_py_reader_raise(struct tc_py_reader *self)
{
    if (PyExceptionInstance_Check(self->exception)) {
        PyErr_SetRaisedException(Py_NewRef(self->exception));
    } else if (PyExceptionClass_Check(self->exception)) {
        PyErr_SetNone(self->exception);
    } else {
        PyErr_SetString(PyExc_TypeError, "exceptions must derive from BaseException");
    }
}

void tc_py_reader_end(struct tc_py_reader *self, PyObject *b_exception)
{
    if (b_exception == NULL) {
        self->is_eof = true;
    } else {
        Py_XSETREF(self->exception, Py_NewRef(b_exception));
    }
    tc_py_reader_wake(self, b_exception != NULL);
}

PyDoc_STRVAR(exception_doc, "exception($self, /)\n--\n\n"
                            "Return the exception that reads raise from now on, or None.");

static PyObject *reader_exception(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    PyObject *b_exception = reader_of(object)->exception;

    return Py_NewRef(b_exception == NULL ? Py_None : b_exception);
}

PyDoc_STRVAR(set_exception_doc, "set_exception($self, exc, /)\n--\n\n"
                                "Have the present and all later reads raise `exc`.");

static PyObject *reader_set_exception(PyObject *object, PyObject *b_exception)
{
    struct tc_py_reader *self = reader_of(object);

    if (check(self, "StreamReader.set_exception()") < 0) {
        return NULL;
    }
    Py_XSETREF(self->exception, b_exception == Py_None ? NULL : Py_NewRef(b_exception));
    tc_py_reader_wake(self, true);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(feed_data_doc, "feed_data($self, data, /)\n--\n\n"
                            "Append bytes, as if they had been received.");

static PyObject *reader_feed_data(PyObject *object, PyObject *b_data)
{
    struct tc_py_reader *self = reader_of(object);
    Py_buffer bytes;
    int result = 0;

    if (check(self, "StreamReader.feed_data()") < 0) {
        return NULL;
    }
    if (self->is_eof) {
        PyErr_SetString(PyExc_AssertionError, "feed_data after feed_eof");
        return NULL;
    }
    if (PyObject_GetBuffer(b_data, &bytes, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (bytes.len > 0) {
        result = tc_py_reader_append(self, bytes.buf, (size_t)bytes.len);
    }
    if (result == 0 && bytes.len > 0) {
        tc_py_reader_wake(self, false);
    }
    PyBuffer_Release(&bytes);
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(feed_eof_doc, "feed_eof($self, /)\n--\n\nSay that no more bytes will come.");

static PyObject *reader_feed_eof(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_reader *self = reader_of(object);

    if (check(self, "StreamReader.feed_eof()") < 0) {
        return NULL;
    }
    self->is_eof = true;
    tc_py_reader_wake(self, false);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(at_eof_doc, "at_eof($self, /)\n--\n\n"
                         "Return True if all bytes have been read and no more will come.");

static PyObject *reader_at_eof(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_reader *self = reader_of(object);

    if (check(self, "StreamReader.at_eof()") < 0) {
        return NULL;
    }
    return PyBool_FromLong(tc_py_reader_buffered(self) == 0 && tc_py_reader_is_at_end(self));
}

/* ---- reads ------------------------------------------------------------------------------ */

/* The optional size of read(n) and readexactly(n). Returns 0, or -1 with an exception set. */
static int bind_size(const struct tc_py_params *params, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *names, Py_ssize_t *out)
{
    PyObject *b_value = nargs == 1 ? args[0] : NULL;

    if (tc_unlikely(nargs != 1 || names != NULL) &&
        tc_py_bind(params, args, nargs, names, &b_value) < 0) {
        return -1;
    }
    if (b_value != NULL) {
        *out = PyNumber_AsSsize_t(b_value, PyExc_OverflowError);
        if (*out == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    return 0;
}

PyDoc_STRVAR(
    read_doc,
    "read($self, /, n=-1)\n--\n\n"
    "Wait for bytes and return at most `n` of them; b'' at the end. -1: all there will be.\n\n"
    "Raises: what broke the connection; RuntimeError if another task is reading.");

static PyObject *reader_read(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *names)
{
    static const char *const parameters[] = {"n", NULL};
    static const struct tc_py_params params = {"read", parameters, 1};
    struct tc_py_reader *self = reader_of(object);
    Py_ssize_t size = -1;

    if (check(self, "StreamReader.read()") < 0 ||
        bind_size(&params, args, nargs, names, &size) < 0) {
        return NULL;
    }
    return tc_py_read_new(self, size < 0 ? TC_PY_READ_ALL : TC_PY_READ_SOME, (size_t)size, NULL);
}

PyDoc_STRVAR(readexactly_doc,
             "readexactly($self, /, n)\n--\n\n"
             "Wait for `n` bytes and return them.\n\n"
             "Raises: IncompleteReadError, whose `partial` is what came, at the end\n"
             "of the stream; and as read().");

static PyObject *reader_readexactly(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                    PyObject *names)
{
    static const char *const parameters[] = {"n", NULL};
    static const struct tc_py_params params = {"readexactly", parameters, 1};
    struct tc_py_reader *self = reader_of(object);
    Py_ssize_t size = -1;

    if (check(self, "StreamReader.readexactly()") < 0) {
        return NULL;
    }
    if (nargs == 0 && names == NULL) {
        return PyErr_Format(PyExc_TypeError, "readexactly() needs a number of bytes");
    }
    if (bind_size(&params, args, nargs, names, &size) < 0) {
        return NULL;
    }
    return tc_py_read_new(self, TC_PY_READ_EXACTLY, (size_t)size, NULL);
}

PyDoc_STRVAR(readline_doc,
             "readline($self, /)\n--\n\n"
             "Wait for a line and return it with its newline; what is left at the end; b''.\n\n"
             "Raises: ValueError for a line longer than the limit; and as read().");

static PyObject *reader_readline(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_reader *self = reader_of(object);

    if (check(self, "StreamReader.readline()") < 0) {
        return NULL;
    }
    return tc_py_read_new(self, TC_PY_READ_LINE, 0, NULL);
}

static PyObject *reader_anext(PyObject *object)
{
    struct tc_py_reader *self = reader_of(object);

    if (check(self, "StreamReader.__anext__()") < 0) {
        return NULL;
    }
    return tc_py_read_new(self, TC_PY_READ_NEXT, 0, NULL);
}

/* One separator as bytes: a new reference, or NULL with an exception set. */
static PyObject *separator_bytes(PyObject *b_separator)
{
    if (PyBytes_CheckExact(b_separator)) {
        return Py_NewRef(b_separator);
    }
    if (!PyObject_CheckBuffer(b_separator)) {
        return PyErr_Format(PyExc_TypeError, "a separator must be bytes, not %.100s",
                            Py_TYPE(b_separator)->tp_name);
    }
    return PyBytes_FromObject(b_separator);
}

/* Put `item` (taken) where it belongs among the first `count` of the tuple, shortest first. */
static void insert_by_length(PyObject *tuple, Py_ssize_t count, PyObject *item)
{
    Py_ssize_t i = count;

    while (i > 0 && PyBytes_GET_SIZE(PyTuple_GET_ITEM(tuple, i - 1)) > PyBytes_GET_SIZE(item)) {
        PyTuple_SET_ITEM(tuple, i, PyTuple_GET_ITEM(tuple, i - 1));
        i--;
    }
    PyTuple_SET_ITEM(tuple, i, item);
}

/* The separators as a tuple of bytes, shortest first: a new reference, or NULL with an
 * exception. */
static PyObject *separator_tuple(PyObject *b_separator)
{
    bool is_tuple = PyTuple_Check(b_separator);
    Py_ssize_t count = is_tuple ? PyTuple_GET_SIZE(b_separator) : 1;
    PyObject *tuple = count == 0 ? NULL : PyTuple_New(count);

    if (count == 0) {
        PyErr_SetString(PyExc_ValueError, "Separator should contain at least one element");
    }
    for (Py_ssize_t i = 0; tuple != NULL && i < count; i++) {
        PyObject *item = separator_bytes(is_tuple ? PyTuple_GET_ITEM(b_separator, i) : b_separator);

        if (item == NULL) {
            Py_CLEAR(tuple);
        } else {
            insert_by_length(tuple, i, item);
        }
    }
    if (tuple != NULL && PyBytes_GET_SIZE(PyTuple_GET_ITEM(tuple, 0)) == 0) {
        PyErr_SetString(PyExc_ValueError, "Separator should be at least one-byte string");
        Py_CLEAR(tuple);
    }
    return tuple;
}

PyDoc_STRVAR(
    readuntil_doc,
    "readuntil($self, /, separator=b'\\n')\n--\n\n"
    "Wait for the separator, or the first of a tuple of them, and return all up to its end.\n\n"
    "Raises: LimitOverrunError if it is not within the limit, everything stays in the\n"
    "buffer; IncompleteReadError at the end of the stream; and as read().");

static PyObject *reader_readuntil(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *names)
{
    static const char *const parameters[] = {"separator", NULL};
    static const struct tc_py_params params = {"readuntil", parameters, 1};
    struct tc_py_reader *self = reader_of(object);
    PyObject *b_separator = NULL;
    PyObject *separators = NULL;

    if (check(self, "StreamReader.readuntil()") < 0 ||
        tc_py_bind(&params, args, nargs, names, &b_separator) < 0) {
        return NULL;
    }
    if (b_separator != NULL) {
        separators = separator_tuple(b_separator);
        if (separators == NULL) {
            return NULL;
        }
    }
    return tc_py_read_new(self, TC_PY_READ_UNTIL, 0, separators);
}

/* ---- the type --------------------------------------------------------------------------- */

static PyObject *get_buffer(PyObject *object, void *Py_UNUSED(closure))
{
    struct tc_py_reader *self = reader_of(object);

    return PyBytes_FromStringAndSize(self->data == NULL ? NULL : self->data + self->start,
                                     (Py_ssize_t)tc_py_reader_buffered(self));
}

static PyObject *get_limit(PyObject *object, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(reader_of(object)->limit);
}

static PyObject *get_loop(PyObject *object, void *Py_UNUSED(closure))
{
    PyObject *b_loop = (PyObject *)reader_of(object)->loop;

    return Py_NewRef(b_loop == NULL ? Py_None : b_loop);
}

/* Append one "key=value" or word to the repr's words; takes `word`. Returns 0, or -1. */
static int add_word(PyObject *words, PyObject *word)
{
    int result = word == NULL ? -1 : PyList_Append(words, word);

    Py_XDECREF(word);
    return result;
}

static PyObject *reader_repr(PyObject *object)
{
    struct tc_py_reader *self = reader_of(object);
    size_t buffered = tc_py_reader_buffered(self);
    PyObject *words = PyList_New(0);
    PyObject *space = NULL;
    PyObject *text = NULL;
    PyObject *result = NULL;

    if (words == NULL || add_word(words, PyUnicode_FromString("StreamReader")) < 0 ||
        (buffered > 0 && add_word(words, PyUnicode_FromFormat("%zu bytes", buffered)) < 0) ||
        (self->is_eof && add_word(words, PyUnicode_FromString("eof")) < 0) ||
        (self->limit != TC_PY_READER_LIMIT &&
         add_word(words, PyUnicode_FromFormat("limit=%zu", self->limit)) < 0) ||
        (self->exception != NULL &&
         add_word(words, PyUnicode_FromFormat("exception=%R", self->exception)) < 0) ||
        (self->stream != NULL &&
         add_word(words, PyUnicode_FromFormat("transport=%R", self->stream)) < 0)) {
        goto release;
    }
    space = PyUnicode_FromString(" ");
    text = space == NULL ? NULL : PyUnicode_Join(space, words);
    if (text != NULL) {
        result = PyUnicode_FromFormat("<%U>", text);
    }

release:
    Py_XDECREF(words);
    Py_XDECREF(space);
    Py_XDECREF(text);
    return result;
}

#define KEYWORDS(function) TC_PY_KEYWORD_FUNCTION(function), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef reader_methods[] = {
    {"read", KEYWORDS(reader_read), read_doc},
    {"readexactly", KEYWORDS(reader_readexactly), readexactly_doc},
    {"readline", reader_readline, METH_NOARGS, readline_doc},
    {"readuntil", KEYWORDS(reader_readuntil), readuntil_doc},
    {"at_eof", reader_at_eof, METH_NOARGS, at_eof_doc},
    {"feed_data", reader_feed_data, METH_O, feed_data_doc},
    {"feed_eof", reader_feed_eof, METH_NOARGS, feed_eof_doc},
    {"exception", reader_exception, METH_NOARGS, exception_doc},
    {"set_exception", reader_set_exception, METH_O, set_exception_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef reader_attributes[] = {
    {"_buffer", get_buffer, NULL, NULL, NULL},
    {"_limit", get_limit, NULL, NULL, NULL},
    {"_loop", get_loop, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef reader_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(struct tc_py_reader, weakrefs), Py_READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(reader_doc, "StreamReader(limit=65536, loop=None)\n--\n\n"
                         "The receiving side of a connection; asyncio.StreamReader's interface.\n\n"
                         "`limit` bounds lines and what readuntil() looks through, in bytes.\n"
                         "Thread-safety: the loop's thread.");

static PyType_Slot reader_slots[] = {
    {Py_tp_doc, (void *)reader_doc},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, reader_init},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_traverse, reader_traverse},
    {Py_tp_clear, reader_clear},
    {Py_tp_repr, reader_repr},
    {Py_tp_methods, reader_methods},
    {Py_tp_getset, reader_attributes},
    {Py_tp_members, reader_members},
    {Py_am_aiter, PyObject_SelfIter},
    {Py_am_anext, reader_anext},
    {0, NULL},
};

static PyType_Spec reader_spec = {
    .name = "tinycoro.StreamReader",
    .basicsize = sizeof(struct tc_py_reader),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = reader_slots,
};

int tc_py_add_reader_type(PyObject *module, struct tc_py_loop_state *state)
{
    return tc_py_add_type(module, &reader_spec, NULL, &state->reader_type);
}
