/* The buffer of a reader, and how it is filled from a stream. */
#include "python/loop.h"
#include "python/reader.h"
#include "python/stream.h"

#include "base/mem.h"
#include "base/sys.h"

#include <errno.h>
#include <string.h>

enum {
    CAPACITY_MIN = 512,
    HEAP_KEPT = 4 * 1024 * 1024, /* bytes at the end of the heap that glibc keeps, see keep_heap */
};

/* ---- bytes in and out --------------------------------------------------------------------- */

static void buffer_free(struct tc_py_reader *self)
{
    tc_mem_free(self->data, self->capacity);
    self->data = NULL;
    self->start = self->end = self->capacity = 0;
}

/* Make room for `count` more bytes. Returns 0 or -ENOMEM. */
static int buffer_grow(struct tc_py_reader *self, size_t count)
{
    size_t used = tc_py_reader_buffered(self);
    size_t capacity = self->capacity == 0 ? CAPACITY_MIN : self->capacity;
    char *data;

    if (self->capacity - self->end >= count) {
        return 0;
    }
    if (self->start > 0 && self->capacity - used >= count && self->start >= used) {
        memmove(self->data, self->data + self->start, used);
        self->start = 0;
        self->end = used;
        return 0;
    }
    if (count > SIZE_MAX / 4 - used) {
        return -ENOMEM;
    }
    while (capacity < used + count) {
        capacity *= 2;
    }
    data = tc_mem_alloc(capacity);
    if (data == NULL) {
        return -ENOMEM;
    }
    if (used > 0) {
        memcpy(data, self->data + self->start, used);
    }
    tc_mem_free(self->data, self->capacity);
    self->data = data;
    self->capacity = capacity;
    self->start = 0;
    self->end = used;
    return 0;
}

int tc_py_reader_append(struct tc_py_reader *self, const char *bytes, size_t count)
{
    if (buffer_grow(self, count) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(self->data + self->end, bytes, count);
    self->end += count;
    return 0;
}

void tc_py_reader_skip(struct tc_py_reader *self, size_t count)
{
    self->start += count;
    if (self->start == self->end) {
        buffer_free(self);
    }
}

PyObject *tc_py_reader_take(struct tc_py_reader *self, size_t count)
{
    PyObject *result =
        PyBytes_FromStringAndSize(count == 0 ? NULL : self->data + self->start, (Py_ssize_t)count);

    if (result != NULL && count > 0) {
        tc_py_reader_skip(self, count);
    }
    return result;
}

/* ---- from the stream ---------------------------------------------------------------------- */

/* The buffer that all streams of the loop receive into, or NULL. */
static char *scratch_of(struct tc_py_loop *loop)
{
    if (loop->scratch == NULL) {
        loop->scratch = tc_mem_alloc(TC_PY_READER_SCRATCH);
    }
    return loop->scratch;
}

/* Whether a system call may be tried. */
static bool may_receive(const struct tc_py_reader *self)
{
    return self->stream != NULL && self->stream->flags & TC_PY_STREAM_READABLE &&
           !(self->stream->flags & (TC_PY_STREAM_CLOSING | TC_PY_STREAM_HELD)) && !self->is_eof;
}

/* A message may come in a large piece and a small one: the second small one in a row ends it. */
static void note_size(struct tc_py_stream *stream, size_t size)
{
    const uint32_t both = TC_PY_STREAM_LARGE | TC_PY_STREAM_WAS_LARGE;

    if (size >= TC_PY_READER_SMALL) {
        stream->flags |= both;
    } else if (tc_unlikely(stream->flags & both)) {
        stream->flags &=
            stream->flags & TC_PY_STREAM_WAS_LARGE ? ~(uint32_t)TC_PY_STREAM_WAS_LARGE : ~both;
    }
}

/* One system call for at most `size` bytes. Returns how many came, 0 if there is nothing, or the
 * end (then is_eof is set), or an error (then the stream is lost). */
static size_t receive(struct tc_py_reader *self, void *buffer, size_t size)
{
    struct tc_py_stream *stream = self->stream;

    if (!tc_py_stream_has_number(stream)) {
        return 0;
    }
    ssize_t count = tc_sys_recv(stream->descriptor.fd, buffer, size, MSG_DONTWAIT);
    if (tc_likely(count > 0)) {
        if ((size_t)count < size && tc_likely(!(stream->flags & TC_PY_STREAM_HUNG_UP))) {
            stream->flags &= ~(uint32_t)TC_PY_STREAM_READABLE;
        }
        note_size(stream, (size_t)count);
        return (size_t)count;
    }
    stream->flags &= ~(uint32_t)(TC_PY_STREAM_READABLE | TC_PY_STREAM_HUNG_UP);
    if (count == 0) {
        self->is_eof = true;
    } else if (count != -EAGAIN) {
        tc_py_stream_lose(stream, (int)count); /* told in the next turn, and raised there */
    }
    return 0;
}

bool tc_py_reader_fill(struct tc_py_reader *self)
{
    size_t count;
    char *scratch;

    if (!may_receive(self)) {
        return false;
    }
    scratch = scratch_of(self->loop);
    if (scratch == NULL) {
        tc_py_stream_lose(self->stream, -ENOMEM);
        return false;
    }
    count = receive(self, scratch, TC_PY_READER_SCRATCH);
    if (count > 0 && tc_py_reader_append(self, scratch, count) < 0) {
        PyErr_Clear();
        tc_py_stream_lose(self->stream, -ENOMEM); /* bytes are lost */
        return false;
    }
    return count > 0 || self->is_eof;
}

/* Straight into a bytes object: spares the copy of a large message. */
static PyObject *receive_large(struct tc_py_reader *self, size_t most)
{
    size_t size = most < TC_PY_READER_MOST ? most : TC_PY_READER_MOST;
    PyObject *result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    size_t count;

    if (result == NULL) {
        return NULL;
    }
    count = receive(self, PyBytes_AS_STRING(result), size);
    if (count == 0) {
        Py_CLEAR(result);
    } else if (count < size) {
        (void)_PyBytes_Resize(&result, (Py_ssize_t)count); /* NULL with MemoryError if it fails */
    }
    return result;
}

/* glibc gives the end of the heap back to the system as soon as 128 KiB are free there, and takes
 * it again, page fault by page fault, for the next message: one fault a message of 64 KiB was seen,
 * and a tenth of the time and more. It raises that limit, for good, to twice the size of a block
 * that was mapped by itself and is freed (mallopt(3), M_MMAP_THRESHOLD), so it is shown one, once.
 * Blocks up to that one's size then come from the heap, too, in the whole process. Other allocators
 * neither win nor lose by it. */
static void keep_heap(void)
{
    static _Atomic bool is_done;

    if (!tc_load_relaxed(&is_done)) { /* relaxed: twice does no harm */
        tc_store_relaxed(&is_done, true); /* relaxed: see above */
        PyMem_RawFree(PyMem_RawMalloc(HEAP_KEPT / 2));
    }
}

void tc_py_reader_receive(struct tc_py_reader *self, size_t most, PyObject **out)
{
    size_t size = most < TC_PY_READER_SMALL ? TC_PY_READER_SMALL : TC_PY_READER_SCRATCH;
    size_t count;
    char *scratch;

    *out = NULL;
    if (!may_receive(self)) {
        return;
    }
    if (tc_unlikely(self->stream->flags & TC_PY_STREAM_LARGE) && most >= TC_PY_READER_SMALL) {
        keep_heap();
        *out = receive_large(self, most);
        return;
    }
    scratch = scratch_of(self->loop);
    if (scratch == NULL) {
        PyErr_NoMemory();
        return;
    }
    count = receive(self, scratch, size);
    if (count > most) {
        if (tc_py_reader_append(self, scratch + most, count - most) < 0) {
            tc_py_stream_lose(self->stream, -ENOMEM); /* bytes are lost */
            return;
        }
        count = most;
    }
    if (count > 0) {
        *out = PyBytes_FromStringAndSize(scratch, (Py_ssize_t)count);
        if (*out == NULL) {
            tc_py_stream_lose(self->stream, -ENOMEM); /* bytes are lost */
        }
    }
}

bool tc_py_reader_is_at_end(struct tc_py_reader *self)
{
    char byte;

    if (self->is_eof || !may_receive(self) || !(self->stream->flags & TC_PY_STREAM_HUNG_UP)) {
        return self->is_eof;
    }
    if (!tc_py_stream_has_number(self->stream)) {
        return self->is_eof;
    }
    if (tc_sys_recv(self->stream->descriptor.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
        self->is_eof = true;
        self->stream->flags &= ~(uint32_t)(TC_PY_STREAM_READABLE | TC_PY_STREAM_HUNG_UP);
    }
    return self->is_eof;
}
