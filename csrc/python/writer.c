/* The Python type StreamWriter. */
#include "python/writer.h"

#include "python/args.h"
#include "python/loop.h"
#include "python/process.h"
#include "python/reader.h"
#include "python/stream.h"

#include <stddef.h>

static struct tc_py_writer *writer_of(PyObject *self)
{
    return (struct tc_py_writer *)self;
}

/* ---- life ------------------------------------------------------------------------------- */

struct tc_py_writer *tc_py_writer_new(struct tc_py_stream *stream, struct tc_py_reader *reader)
{
    PyTypeObject *type = stream->loop->state->writer_type;
    struct tc_py_writer *self = (struct tc_py_writer *)type->tp_alloc(type, 0);

    if (self != NULL) {
        self->stream = (struct tc_py_stream *)Py_NewRef((PyObject *)stream);
        self->reader = Py_XNewRef((PyObject *)reader);
    }
    return self;
}

static int writer_init(PyObject *object, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"transport", "protocol", "reader", "loop", NULL};
    struct tc_py_writer *self = writer_of(object);
    PyObject *b_transport;
    PyObject *b_protocol;
    PyObject *b_reader;
    PyObject *b_loop;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OOOO:StreamWriter", names, &b_transport,
                                     &b_protocol, &b_reader, &b_loop)) {
        return -1;
    }
    if (Py_TYPE(b_transport)->tp_dealloc != tc_py_stream_dealloc) {
        PyErr_Format(PyExc_TypeError,
                     "transport must be the transport of a tinycoro stream, not %.100s",
                     Py_TYPE(b_transport)->tp_name);
        return -1;
    }
    if (self->stream != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "StreamWriter.__init__() was called before");
        return -1;
    }
    self->stream = (struct tc_py_stream *)Py_NewRef(b_transport);
    self->reader = b_reader == Py_None ? NULL : Py_NewRef(b_reader);
    return 0;
}

static int writer_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(writer_of(object)->stream);
    Py_VISIT(writer_of(object)->reader);
    Py_VISIT(writer_of(object)->spare);
    return 0;
}

static int writer_clear(PyObject *object)
{
    Py_CLEAR(writer_of(object)->stream);
    Py_CLEAR(writer_of(object)->reader);
    Py_CLEAR(writer_of(object)->spare);
    return 0;
}

/* A writer that was not closed closes its connection, and says so. */
static void writer_finalize(PyObject *object)
{
    struct tc_py_stream *stream = writer_of(object)->stream;
    PyObject *pending;

    if (stream == NULL || stream->flags & TC_PY_STREAM_CLOSING ||
        stream->loop->generation != tc_py_process_generation()) {
        return;
    }
    pending = PyErr_GetRaisedException();
    if (PyErr_ResourceWarning(object, 1,
                              stream->loop->is_closed ? "%R: its loop is closed" : "unclosed %R",
                              object) < 0) {
        PyErr_WriteUnraisable(object);
    }
    tc_py_stream_abandon(stream);
    PyErr_SetRaisedException(pending);
}

static void writer_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    if (PyObject_CallFinalizerFromDealloc(object) < 0) {
        return; /* somebody holds it again */
    }
    PyObject_GC_UnTrack(object);
    if (writer_of(object)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    (void)writer_clear(object); /* cannot fail */
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- methods ---------------------------------------------------------------------------- */

PyDoc_STRVAR(drain_doc,
             "drain($self, /)\n--\n\n"
             "Wait while more than the high water mark is unsent.\n\n"
             "What was written is sent first, behind what other streams have unsent; if it is\n"
             "less than 16 KiB and other tasks are ready, by the end of the loop's turn.\n\n"
             "Raises: what broke the connection; ConnectionResetError after the end.");

static PyObject *writer_drain(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_stream *stream = tc_py_stream_for(object, "StreamWriter.drain()");

    return stream == NULL ? NULL : tc_py_stream_wait_new(stream, &writer_of(object)->spare, true);
}

PyDoc_STRVAR(wait_closed_doc,
             "wait_closed($self, /)\n--\n\n"
             "Wait until the connection is closed.\n\nRaises: what broke the connection.");

static PyObject *writer_wait_closed(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_stream *stream = tc_py_stream_for(object, "StreamWriter.wait_closed()");

    return stream == NULL ? NULL : tc_py_stream_wait_new(stream, &writer_of(object)->spare, false);
}

PyDoc_STRVAR(
    start_tls_doc,
    "start_tls($self, sslcontext, /, *, server_hostname=None, ssl_handshake_timeout=None,\n"
    "          ssl_shutdown_timeout=None)\n--\n\n"
    "Raise NotImplementedError: a proxy can end TLS in front of the program.");

static PyObject *writer_start_tls(PyObject *Py_UNUSED(object), PyObject *const *Py_UNUSED(args),
                                  Py_ssize_t Py_UNUSED(nargs), PyObject *Py_UNUSED(names))
{
    PyErr_SetString(PyExc_NotImplementedError,
                    "start_tls() is not supported yet: let a proxy end TLS in front of this "
                    "program, or use ssl.SSLContext.wrap_bio() over the plain connection");
    return NULL;
}

static PyObject *get_transport(PyObject *object, void *Py_UNUSED(closure))
{
    PyObject *b_stream = (PyObject *)writer_of(object)->stream;

    return Py_NewRef(b_stream == NULL ? Py_None : b_stream);
}

static PyObject *writer_repr(PyObject *object)
{
    struct tc_py_writer *self = writer_of(object);

    if (self->stream == NULL) {
        return PyUnicode_FromString("<StreamWriter>");
    }
    if (self->reader == NULL) {
        return PyUnicode_FromFormat("<StreamWriter transport=%R>", self->stream);
    }
    return PyUnicode_FromFormat("<StreamWriter transport=%R reader=%R>", self->stream,
                                self->reader);
}

/* ---- the type --------------------------------------------------------------------------- */

PyDoc_STRVAR(write_doc,
             "write($self, data, /)\n--\n\n"
             "Send bytes, a bytearray or a memoryview, by the end of the turn or with drain().\n\n"
             "What is not bytes is copied. Never blocks. Raises: RuntimeError after write_eof().");
PyDoc_STRVAR(writelines_doc,
             "writelines($self, lines, /)\n--\n\nwrite() each item of an iterable.");
PyDoc_STRVAR(write_eof_doc, "write_eof($self, /)\n--\n\n"
                            "End our side once everything is sent; reading goes on.");
PyDoc_STRVAR(can_write_eof_doc, "can_write_eof($self, /)\n--\n\nReturn True.");
PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
                        "Send what was written, then close; wait_closed() waits for that.");
PyDoc_STRVAR(is_closing_doc, "is_closing($self, /)\n--\n\n"
                             "Return True once close() was called or the connection is broken.");
PyDoc_STRVAR(info_doc, "get_extra_info($self, /, name, default=None)\n--\n\n"
                       "Return 'peername', 'sockname' or 'socket' of the connection.");

static PyMethodDef writer_methods[] = {
    {"write", tc_py_stream_method_write, METH_O, write_doc},
    {"writelines", tc_py_stream_method_writelines, METH_O, writelines_doc},
    {"drain", writer_drain, METH_NOARGS, drain_doc},
    {"write_eof", tc_py_stream_method_write_eof, METH_NOARGS, write_eof_doc},
    {"can_write_eof", tc_py_stream_method_can_write_eof, METH_NOARGS, can_write_eof_doc},
    {"close", tc_py_stream_method_close, METH_NOARGS, close_doc},
    {"wait_closed", writer_wait_closed, METH_NOARGS, wait_closed_doc},
    {"is_closing", tc_py_stream_method_is_closing, METH_NOARGS, is_closing_doc},
    {"get_extra_info", TC_PY_KEYWORD_FUNCTION(tc_py_stream_method_get_extra_info),
     METH_FASTCALL | METH_KEYWORDS, info_doc},
    {"start_tls", TC_PY_KEYWORD_FUNCTION(writer_start_tls), METH_FASTCALL | METH_KEYWORDS,
     start_tls_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef writer_attributes[] = {
    {"transport", get_transport, NULL, "The connection itself.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef writer_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(struct tc_py_writer, weakrefs), Py_READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(writer_doc, "StreamWriter(transport, protocol, reader, loop)\n--\n\n"
                         "The sending side of a connection; asyncio.StreamWriter's interface.\n\n"
                         "Thread-safety: the loop's thread.");

static PyType_Slot writer_slots[] = {
    {Py_tp_doc, (void *)writer_doc},   {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, writer_init},         {Py_tp_dealloc, writer_dealloc},
    {Py_tp_finalize, writer_finalize}, {Py_tp_traverse, writer_traverse},
    {Py_tp_clear, writer_clear},       {Py_tp_repr, writer_repr},
    {Py_tp_methods, writer_methods},   {Py_tp_getset, writer_attributes},
    {Py_tp_members, writer_members},   {0, NULL},
};

static PyType_Spec writer_spec = {
    .name = "tinycoro.StreamWriter",
    .basicsize = sizeof(struct tc_py_writer),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = writer_slots,
};

int tc_py_add_writer_type(PyObject *module, struct tc_py_loop_state *state)
{
    return tc_py_add_type(module, &writer_spec, NULL, &state->writer_type);
}
