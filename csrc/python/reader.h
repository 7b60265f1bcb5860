/* python/reader.h — StreamReader: the bytes that have come, and the one task that waits for more.
 *
 * A reader stands alone, fed by feed_data(), or belongs to a stream, and then receives by itself
 * what a read lacks. The buffer holds what was received and not asked for; it is NULL while that is
 * nothing, so an idle connection has none. What a read has not returned stays in the buffer: a
 * cancelled read loses nothing.
 *
 * INVARIANTS
 *  SR1  At most one read waits; while it is SUSPENDED by us, `waiter` is it.
 *  SR2  `data` is NULL, or holds the bytes [start, end) of which there is at least one.
 *
 * who may call what: the thread of the reader's loop, attached.
 */
#ifndef TC_PYTHON_READER_H
#define TC_PYTHON_READER_H

#include "python/compat.h"
#include "python/operation.h"

#include <stdbool.h>

struct tc_py_loop;
struct tc_py_read;
struct tc_py_stream;

enum {
    TC_PY_READER_LIMIT = 64 * 1024, /* the default of `limit`, in bytes                       */
    TC_PY_READER_SCRATCH = 64 * 1024, /* bytes of the buffer all streams of a loop receive into */
    TC_PY_READER_SMALL = 16 * 1024, /* reads below go by way of that, and into an exact bytes */
    TC_PY_READER_MOST = 256 * 1024, /* bytes that one read(n) returns at most, without a copy */
};

struct tc_py_reader {
    PyObject_HEAD PyObject *weakrefs;
    struct tc_py_loop *loop; /* owned; NULL before __init__                                    */
    struct tc_py_stream *stream; /* owned, or NULL                                                */
    PyObject *exception; /* owned; what reads raise from now on, or NULL                  */
    struct tc_py_read *waiter; /* borrowed (SR1)                                                */
    PyObject *spare; /* owned; a read to be used again, or NULL                       */
    char *data; /* owned (SR2)                                                   */
    size_t start;
    size_t end;
    size_t capacity; /* of `data`                                                     */
    size_t limit; /* bytes                                                         */
    bool is_eof;
};

enum tc_py_read_kind {
    TC_PY_READ_SOME, /* read(n)                                                              */
    TC_PY_READ_ALL, /* read(-1)                                                             */
    TC_PY_READ_EXACTLY, /* readexactly(n)                                                       */
    TC_PY_READ_UNTIL, /* readuntil(separators)                                                */
    TC_PY_READ_LINE, /* readline()                                                           */
    TC_PY_READ_NEXT, /* async for                                                            */
};

struct tc_py_read {
    struct tc_py_operation op;
    struct tc_py_reader *reader; /* owned until the read has ended                              */
    PyObject *separators; /* owned; of UNTIL: a tuple, shortest first; NULL: a newline   */
    size_t size; /* of SOME and EXACTLY                                         */
    size_t searched; /* bytes of the buffer without a separator                     */
    uint8_t kind; /* enum tc_py_read_kind                                        */
    bool is_failed; /* woken by an exception                                       */
};

static inline size_t tc_py_reader_buffered(const struct tc_py_reader *self)
{
    return self->end - self->start;
}

/* A reader of `limit` bytes for the stream; NULL with an exception set. */
struct tc_py_reader *tc_py_reader_new(struct tc_py_stream *stream, size_t limit);

/* A new read, or the spare one again. `separators` is taken. A new reference, or NULL. */
PyObject *tc_py_read_new(struct tc_py_reader *self, enum tc_py_read_kind kind, size_t size,
                         PyObject *separators);

/* Let the task that reads look again; `is_failed`: to raise the exception. */
void tc_py_reader_wake(struct tc_py_reader *self, bool is_failed);

/* The connection has ended, well or with `b_exception`. */
void tc_py_reader_end(struct tc_py_reader *self, PyObject *b_exception);

/* Raise `exception`. */
void tc_py_reader_raise(struct tc_py_reader *self);

/* ---- the buffer (reader_buffer.c) ---------------------------------------------------------- */

/* Append bytes. Returns 0, or -1 with MemoryError set. */
int tc_py_reader_append(struct tc_py_reader *self, const char *bytes, size_t count);

/* Take the first `count` bytes out of the buffer: a new bytes object or NULL. */
PyObject *tc_py_reader_take(struct tc_py_reader *self, size_t count);

/* The same without an object. */
void tc_py_reader_skip(struct tc_py_reader *self, size_t count);

/* Receive into the buffer what there is. Returns false if there is nothing: wait. */
bool tc_py_reader_fill(struct tc_py_reader *self);

/* read(n) of an empty buffer: receive at most `most` bytes into a new bytes object. *out is NULL
 * with an exception set; or NULL: there is nothing, or the end. */
void tc_py_reader_receive(struct tc_py_reader *self, size_t most, PyObject **out);

/* Whether the peer has ended, if nothing has been read ahead: looks without reading. */
bool tc_py_reader_is_at_end(struct tc_py_reader *self);

#endif
