/* python/writer.h — StreamWriter, and the methods that it shares with the transport behind it.
 *
 * who may call what: the thread of the stream's loop, attached; tc_py_writer_new returns a new
 * reference, or NULL with an exception set.
 */
#ifndef TC_PYTHON_WRITER_H
#define TC_PYTHON_WRITER_H

#include "python/compat.h"

struct tc_py_loop_state;
struct tc_py_reader;
struct tc_py_stream;

struct tc_py_writer {
    PyObject_HEAD PyObject *weakrefs;
    struct tc_py_stream *stream; /* owned; NULL before __init__                                 */
    PyObject *reader;            /* owned; the reader of the same connection, or NULL           */
    PyObject *spare;             /* owned; an operation to be used again, or NULL               */
};

/* A writer for the stream; it keeps the reader alive. */
struct tc_py_writer *tc_py_writer_new(struct tc_py_stream *stream, struct tc_py_reader *reader);

/* The stream of a writer or a transport, borrowed, for a call of a method; NULL with RuntimeError
 * set on a foreign thread, after a fork, or if __init__ was not called. */
struct tc_py_stream *tc_py_stream_for(PyObject *self, const char *what);

/* Collector hooks and end of a transport (stream.c), whose type is made in stream_type.c. */
int tc_py_stream_traverse(PyObject *object, visitproc visit, void *arg);
int tc_py_stream_clear(PyObject *object);
void tc_py_stream_dealloc(PyObject *object);

/* What writer and transport have in common (stream_type.c). */
PyObject *tc_py_stream_method_write(PyObject *self, PyObject *b_data);
PyObject *tc_py_stream_method_writelines(PyObject *self, PyObject *b_lines);
PyObject *tc_py_stream_method_write_eof(PyObject *self, PyObject *ignored);
PyObject *tc_py_stream_method_can_write_eof(PyObject *self, PyObject *ignored);
PyObject *tc_py_stream_method_close(PyObject *self, PyObject *ignored);
PyObject *tc_py_stream_method_is_closing(PyObject *self, PyObject *ignored);
PyObject *tc_py_stream_method_get_extra_info(PyObject *self, PyObject *const *args,
                                             Py_ssize_t nargs, PyObject *names);

#endif
