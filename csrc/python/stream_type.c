/* The Python type of a connection, writer.transport, and the methods it shares with the writer. */
#include "python/args.h"
#include "python/loop.h"
#include "python/reader.h"
#include "python/stream.h"
#include "python/writer.h"

/* ---- shared methods ----------------------------------------------------------------------- */

struct tc_py_stream *tc_py_stream_for(PyObject *self, const char *what)
{
    struct tc_py_stream *stream = Py_TYPE(self)->tp_dealloc == tc_py_stream_dealloc
                                      ? (struct tc_py_stream *)self
                                      : ((struct tc_py_writer *)self)->stream;

    if (tc_unlikely(stream == NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "StreamWriter.__init__() was not called");
        return NULL;
    }
    return tc_py_stream_check(stream, what) < 0 ? NULL : stream;
}

PyObject *tc_py_stream_method_write(PyObject *self, PyObject *b_data)
{
    struct tc_py_stream *stream = tc_py_stream_for(self, "StreamWriter.write()");

    if (stream == NULL || tc_py_stream_write(stream, b_data) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *tc_py_stream_method_writelines(PyObject *self, PyObject *b_lines)
{
    struct tc_py_stream *stream = tc_py_stream_for(self, "StreamWriter.writelines()");

    if (stream == NULL || tc_py_stream_writelines(stream, b_lines) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *tc_py_stream_method_write_eof(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_stream *stream = tc_py_stream_for(self, "StreamWriter.write_eof()");

    if (stream == NULL) {
        return NULL;
    }
    tc_py_stream_check_socket(stream);
    tc_py_stream_write_eof(stream);
    Py_RETURN_NONE;
}

PyObject *tc_py_stream_method_can_write_eof(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_TRUE;
}

PyObject *tc_py_stream_method_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_stream *stream = tc_py_stream_for(self, "StreamWriter.close()");

    if (stream == NULL) {
        return NULL;
    }
    if (!(stream->flags & TC_PY_STREAM_CLOSING)) {
        if (tc_py_loop_check_open(stream->loop) < 0) {
            return NULL;
        }
        tc_py_stream_close(stream);
    }
    Py_RETURN_NONE;
}

PyObject *tc_py_stream_method_is_closing(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_stream *stream = tc_py_stream_for(self, "StreamWriter.is_closing()");

    return stream == NULL ? NULL : PyBool_FromLong((stream->flags & TC_PY_STREAM_CLOSING) != 0);
}

PyObject *tc_py_stream_method_get_extra_info(PyObject *self, PyObject *const *args,
                                             Py_ssize_t nargs, PyObject *names)
{
    static const char *const parameters[] = {"name", "default", NULL};
    static const struct tc_py_params params = {"get_extra_info", parameters, 2};
    struct tc_py_stream *stream = tc_py_stream_for(self, "StreamWriter.get_extra_info()");
    PyObject *b_values[2];

    if (stream == NULL || tc_py_bind(&params, args, nargs, names, b_values) < 0) {
        return NULL;
    }
    if (b_values[0] == NULL) {
        return PyErr_Format(PyExc_TypeError, "get_extra_info() needs a name");
    }
    return tc_py_stream_info(stream, b_values[0], b_values[1] == NULL ? Py_None : b_values[1]);
}

/* ---- methods of the transport alone ------------------------------------------------------- */

PyDoc_STRVAR(abort_doc, "abort($self, /)\n--\n\n"
                        "Close at once; what the socket does not take now is lost.");

static PyObject *stream_abort(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_stream *stream = tc_py_stream_for(self, "StreamTransport.abort()");

    if (stream == NULL) {
        return NULL;
    }
    if (!(stream->flags & TC_PY_STREAM_CLOSED)) {
        if (tc_py_loop_check_open(stream->loop) < 0) {
            return NULL;
        }
        tc_py_stream_abort(stream);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(set_limits_doc, "set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n"
                             "Set from how many unsent bytes drain() waits, and down to how many.");

static PyObject *stream_set_limits(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                   PyObject *names)
{
    static const char *const parameters[] = {"high", "low", NULL};
    static const struct tc_py_params params = {"set_write_buffer_limits", parameters, 2};
    struct tc_py_stream *stream =
        tc_py_stream_for(self, "StreamTransport.set_write_buffer_limits()");
    PyObject *b_values[2];

    if (stream == NULL || tc_py_bind(&params, args, nargs, names, b_values) < 0 ||
        tc_py_stream_set_limits(stream, b_values[0], b_values[1]) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(get_limits_doc, "get_write_buffer_limits($self, /)\n--\n\n"
                             "Return (low, high) in bytes.");

static PyObject *stream_get_limits(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_stream *stream = (struct tc_py_stream *)self;

    return Py_BuildValue("(nn)", (Py_ssize_t)stream->low, (Py_ssize_t)stream->high);
}

PyDoc_STRVAR(get_size_doc, "get_write_buffer_size($self, /)\n--\n\n"
                           "Return how many bytes were written and not sent, or not sent yet.");

static PyObject *stream_get_size(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSize_t(((struct tc_py_stream *)self)->output.bytes);
}

PyDoc_STRVAR(pause_doc, "pause_reading($self, /)\n--\n\n"
                        "Receive nothing until resume_reading(); reads get what has come before.");

static PyObject *stream_pause_reading(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_stream *stream = tc_py_stream_for(self, "StreamTransport.pause_reading()");

    if (stream == NULL) {
        return NULL;
    }
    tc_py_stream_hold(stream, true);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(resume_doc, "resume_reading($self, /)\n--\n\nReceive again.");

static PyObject *stream_resume_reading(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_stream *stream = tc_py_stream_for(self, "StreamTransport.resume_reading()");

    if (stream == NULL) {
        return NULL;
    }
    tc_py_stream_hold(stream, false);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(is_reading_doc,
             "is_reading($self, /)\n--\n\n"
             "Return True while a read waits for bytes and reading is not paused.\n\n"
             "Nothing is received ahead of a read.");

static PyObject *stream_is_reading(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_stream *stream = tc_py_stream_for(self, "StreamTransport.is_reading()");

    return stream == NULL ? NULL : PyBool_FromLong(tc_py_stream_is_receiving(stream));
}

static PyObject *stream_repr(PyObject *object)
{
    struct tc_py_stream *self = (struct tc_py_stream *)object;
    const char *state = self->flags & TC_PY_STREAM_CLOSED    ? "closed"
                        : self->flags & TC_PY_STREAM_CLOSING ? "closing"
                                                             : "open";

    return PyUnicode_FromFormat("<StreamTransport %s fd=%d unsent=%zu>", state, self->descriptor.fd,
                                self->output.bytes);
}

/* ---- the type --------------------------------------------------------------------------- */

PyDoc_STRVAR(write_doc, "write($self, data, /)\n--\n\nSend bytes, as StreamWriter.write() does.");
PyDoc_STRVAR(writelines_doc, "writelines($self, lines, /)\n--\n\nSend each item of an iterable.");
PyDoc_STRVAR(write_eof_doc, "write_eof($self, /)\n--\n\nEnd our side once everything is sent.");
PyDoc_STRVAR(can_write_eof_doc, "can_write_eof($self, /)\n--\n\nReturn True.");
PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nSend what was written, then close.");
PyDoc_STRVAR(is_closing_doc,
             "is_closing($self, /)\n--\n\nReturn True once it closes or is broken.");
PyDoc_STRVAR(info_doc, "get_extra_info($self, /, name, default=None)\n--\n\n"
                       "Return 'peername', 'sockname' or 'socket' of the connection.");

#define KEYWORDS(function) TC_PY_KEYWORD_FUNCTION(function), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef stream_methods[] = {
    {"write", tc_py_stream_method_write, METH_O, write_doc},
    {"writelines", tc_py_stream_method_writelines, METH_O, writelines_doc},
    {"write_eof", tc_py_stream_method_write_eof, METH_NOARGS, write_eof_doc},
    {"can_write_eof", tc_py_stream_method_can_write_eof, METH_NOARGS, can_write_eof_doc},
    {"close", tc_py_stream_method_close, METH_NOARGS, close_doc},
    {"is_closing", tc_py_stream_method_is_closing, METH_NOARGS, is_closing_doc},
    {"get_extra_info", KEYWORDS(tc_py_stream_method_get_extra_info), info_doc},
    {"abort", stream_abort, METH_NOARGS, abort_doc},
    {"pause_reading", stream_pause_reading, METH_NOARGS, pause_doc},
    {"resume_reading", stream_resume_reading, METH_NOARGS, resume_doc},
    {"is_reading", stream_is_reading, METH_NOARGS, is_reading_doc},
    {"set_write_buffer_limits", KEYWORDS(stream_set_limits), set_limits_doc},
    {"get_write_buffer_limits", stream_get_limits, METH_NOARGS, get_limits_doc},
    {"get_write_buffer_size", stream_get_size, METH_NOARGS, get_size_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(stream_doc, "The connection behind a StreamWriter: its `transport`.\n\n"
                         "Thread-safety: the loop's thread.");

static PyType_Slot stream_slots[] = {
    {Py_tp_doc, (void *)stream_doc},
    {Py_tp_dealloc, tc_py_stream_dealloc},
    {Py_tp_traverse, tc_py_stream_traverse},
    {Py_tp_clear, tc_py_stream_clear},
    {Py_tp_repr, stream_repr},
    {Py_tp_methods, stream_methods},
    {0, NULL},
};

static PyType_Spec stream_spec = {
    .name = "tinycoro.StreamTransport",
    .basicsize = sizeof(struct tc_py_stream),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = stream_slots,
};

/* ---- a client's connection ------------------------------------------------------------------ */

PyDoc_STRVAR(
    open_doc,
    "_open_stream($module, loop, sock, limit, shared, /)\n--\n\n"
    "Return a reader and a writer for a connected socket that does not block, and own it; `shared`\n"
    "says that others know it, who may close it behind our back.");

static PyObject *open_stream(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *b_loop;
    PyObject *b_socket;
    Py_ssize_t limit;
    int is_shared;
    struct tc_py_loop *loop;
    struct tc_py_stream *stream;
    struct tc_py_reader *reader;
    struct tc_py_writer *writer;
    PyObject *result;
    int fd;

    if (!PyArg_ParseTuple(args, "OOnp:_open_stream", &b_loop, &b_socket, &limit, &is_shared)) {
        return NULL;
    }
    if (limit <= 0) {
        PyErr_SetString(PyExc_ValueError, "Limit cannot be <= 0");
        return NULL;
    }
    loop = tc_py_loop_cast(b_loop);
    fd = loop == NULL ? -1 : PyObject_AsFileDescriptor(b_socket);
    if (fd < 0 || tc_py_loop_check(loop, "open_connection()") < 0 ||
        tc_py_loop_check_open(loop) < 0) {
        return NULL;
    }
    stream = tc_py_stream_new(loop, fd, b_socket, NULL, 0);
    reader = stream == NULL ? NULL : tc_py_reader_new(stream, (size_t)limit);
    writer = reader == NULL ? NULL : tc_py_writer_new(stream, reader);
    if (writer != NULL && is_shared) {
        stream->flags |= TC_PY_STREAM_SHARED;
    }
    result = writer == NULL ? NULL : PyTuple_Pack(2, reader, writer);
    if (result == NULL && stream != NULL) {
        tc_py_stream_disown(stream);
    }
    Py_XDECREF(stream);
    Py_XDECREF(reader);
    Py_XDECREF(writer);
    return result;
}

static PyMethodDef stream_functions[] = {
    {"_open_stream", open_stream, METH_VARARGS, open_doc},
    {NULL, NULL, 0, NULL},
};

int tc_py_add_stream_type(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_type(module, &stream_spec, NULL, &state->stream_type) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, stream_functions);
}
