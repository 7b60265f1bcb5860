/* Gathered output: a queue of bytes objects that leaves by writev. */
#include "python/loop.h"
#include "python/stream.h"

#include "base/mem.h"
#include "base/sys.h"

#include <errno.h>
#include <string.h>

enum {
    IOV_COUNT = 64,    /* pieces of one system call                                             */
    KEEP_CAPACITY = 64, /* a queue that grew larger is freed when it is empty                   */
};

/* ---- the queue -------------------------------------------------------------------------- */

static void output_shrink(struct tc_py_output *output)
{
    output->head = 0;
    if (output->capacity > KEEP_CAPACITY) {
        tc_mem_free(output->items, output->capacity * sizeof(*output->items));
        output->items = output->inline_items;
        output->capacity = TC_PY_OUTPUT_INLINE;
    }
}

/* Make room for `more` items, for which there is none at the end. Returns 0, or -1 with MemoryError
 * set, the queue being as it was. */
static int output_grow(struct tc_py_output *output, size_t more)
{
    size_t needed = output->count + more;
    size_t capacity = output->capacity;
    bool is_inline = output->items == output->inline_items;
    PyObject **items;

    if (output->head > 0) {
        memmove(output->items, output->items + output->head, output->count * sizeof(*items));
        output->head = 0;
        if (needed <= capacity) {
            return 0;
        }
    }
    while (capacity < needed) {
        capacity *= 2;
    }
    items = NULL;
    if (capacity <= UINT32_MAX) {
        items = tc_mem_realloc(is_inline ? NULL : output->items,
                               is_inline ? 0 : output->capacity * sizeof(*items),
                               capacity * sizeof(*items));
    }
    if (items == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (is_inline) {
        memcpy(items, output->inline_items, sizeof(output->inline_items));
    }
    output->items = items;
    output->capacity = (uint32_t)capacity;
    return 0;
}

/* Append `item` (taken), for which there is room. */
static void output_append(struct tc_py_output *output, PyObject *item)
{
    output->items[output->head + output->count++] = item;
    output->bytes += (size_t)PyBytes_GET_SIZE(item);
}

/* Append `item` (taken). Returns 0, or -1 with MemoryError set. */
static int output_push(struct tc_py_output *output, PyObject *item)
{
    if (output->head + output->count == output->capacity && output_grow(output, 1) < 0) {
        Py_DECREF(item);
        return -1;
    }
    output_append(output, item);
    return 0;
}

/* `sent` bytes have left. */
static void output_consume(struct tc_py_output *output, size_t sent)
{
    output->bytes -= sent;
    while (output->count > 0) {
        PyObject *item = output->items[output->head];
        size_t left = (size_t)PyBytes_GET_SIZE(item) - output->offset;

        if (sent < left) {
            output->offset += sent;
            return;
        }
        sent -= left;
        output->offset = 0;
        output->head++;
        output->count--;
        Py_DECREF(item); /* SM4 */
    }
    output_shrink(output);
}

void tc_py_output_clear(struct tc_py_output *output)
{
    while (output->count > 0) {
        output->count--;
        Py_DECREF(output->items[output->head++]); /* SM4 */
    }
    output->offset = 0;
    output->bytes = 0;
    output->head = 0;
    if (output->items != output->inline_items) {
        tc_mem_free(output->items, output->capacity * sizeof(*output->items));
        output->items = output->inline_items;
        output->capacity = TC_PY_OUTPUT_INLINE;
    }
}

/* One system call. Returns the bytes that left, or -errno; *wanted is how many were offered. */
static ssize_t output_send(struct tc_py_output *output, int fd, size_t *wanted)
{
    struct iovec pieces[IOV_COUNT];
    struct msghdr message = {.msg_iov = pieces};
    size_t offset = output->offset;
    size_t total = 0;
    uint32_t count = output->count < IOV_COUNT ? output->count : IOV_COUNT;

    for (uint32_t i = 0; i < count; i++) {
        PyObject *item = output->items[output->head + i];

        pieces[i].iov_base = PyBytes_AS_STRING(item) + offset;
        pieces[i].iov_len = (size_t)PyBytes_GET_SIZE(item) - offset;
        total += pieces[i].iov_len;
        offset = 0;
    }
    *wanted = total;
    if (count == 1) {
        return tc_sys_send(fd, pieces[0].iov_base, total, MSG_DONTWAIT);
    }
    message.msg_iovlen = count;
    return tc_sys_sendmsg(fd, &message, MSG_DONTWAIT);
}

/* ---- sending ---------------------------------------------------------------------------- */

static void send_eof(struct tc_py_stream *self)
{
    if ((self->flags & (TC_PY_STREAM_EOF | TC_PY_STREAM_EOF_SENT | TC_PY_STREAM_CLOSED)) ==
        TC_PY_STREAM_EOF) {
        self->flags |= TC_PY_STREAM_EOF_SENT;
        /* Fails only if the peer has reset; reading and draining tell that. */
        TC_IGNORE(tc_sys_shutdown(self->descriptor.fd, SHUT_WR));
    }
}

/* Take the stream out of the loop's lists, when nothing is unsent (SM1). */
static void release(struct tc_py_stream *self)
{
    if (!tc_list_is_empty(&self->in_loop)) {
        tc_list_remove(&self->in_loop);
        Py_DECREF(self); /* not the last: see the header */
    }
}

/* Put it into the list for streams in its state (SM1). */
static void enlist(struct tc_py_stream *self)
{
    struct tc_py_loop *loop = self->loop;

    if (tc_list_is_empty(&self->in_loop)) {
        Py_INCREF(self);
        loop->unsent_count++;
    } else {
        tc_list_remove(&self->in_loop);
    }
    tc_list_push_back(self->flags & TC_PY_STREAM_WRITABLE ? &loop->unsent : &loop->blocked,
                      &self->in_loop);
}

void tc_py_stream_flush(struct tc_py_stream *self)
{
    struct tc_py_output *output = &self->output;

    if (output->count > 0 && !tc_py_stream_has_number(self)) {
        tc_py_output_clear(output); /* nowhere to send it */
    }
    while (output->count > 0 && self->flags & TC_PY_STREAM_WRITABLE) {
        size_t wanted;
        ssize_t sent = output_send(output, self->descriptor.fd, &wanted);

        if (sent < 0 && sent != -EAGAIN) {
            tc_py_stream_lose(self, (int)sent);
            return;
        }
        if (sent > 0) {
            output_consume(output, (size_t)sent);
        }
        if (sent < (ssize_t)wanted) {
            self->flags &= ~(uint32_t)TC_PY_STREAM_WRITABLE; /* an edge will come */
        }
    }
    if (tc_unlikely(self->flags & TC_PY_STREAM_PAUSED) && output->bytes <= self->low) {
        self->flags &= ~(uint32_t)TC_PY_STREAM_PAUSED;
        tc_py_stream_wake(self, false);
    }
    if (output->count > 0) {
        enlist(self);
        return;
    }
    send_eof(self);
    if (self->flags & TC_PY_STREAM_CLOSING) {
        tc_py_stream_end_soon(self);
    }
    release(self);
}

void tc_py_streams_flush(struct tc_py_loop *loop)
{
    while (!tc_list_is_empty(&loop->unsent)) {
        struct tc_py_stream *self =
            tc_container_of(loop->unsent.next, struct tc_py_stream, in_loop);

        Py_INCREF(self);
        tc_py_stream_flush(self); /* leaves `unsent`: sent, lost or blocked */
        Py_DECREF(self);
    }
    loop->unsent_count = 0;
}

static void drop_list(struct tc_list *list)
{
    struct tc_list *at;

    while ((at = tc_list_pop_front(list)) != NULL) {
        struct tc_py_stream *self = tc_container_of(at, struct tc_py_stream, in_loop);

        tc_py_output_clear(&self->output);
        Py_DECREF(self);
    }
}

void tc_py_streams_drop(struct tc_py_loop *loop)
{
    drop_list(&loop->unsent);
    drop_list(&loop->blocked);
}

int tc_py_streams_traverse(struct tc_py_loop *loop, visitproc visit, void *arg)
{
    struct tc_list *at;

    TC_LIST_FOR_EACH (at, &loop->unsent) {
        Py_VISIT(tc_container_of(at, struct tc_py_stream, in_loop));
    }
    TC_LIST_FOR_EACH (at, &loop->blocked) {
        Py_VISIT(tc_container_of(at, struct tc_py_stream, in_loop));
    }
    return 0;
}

/* ---- gathering -------------------------------------------------------------------------- */

/* `b_data` as exact bytes: a new reference, or NULL with an exception set. */
static PyObject *as_bytes(PyObject *b_data)
{
    if (tc_likely(PyBytes_CheckExact(b_data))) {
        return Py_NewRef(b_data);
    }
    if (PyBytes_Check(b_data)) {
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(b_data), PyBytes_GET_SIZE(b_data));
    }
    if (PyByteArray_Check(b_data) || PyMemoryView_Check(b_data)) {
        return PyBytes_FromObject(b_data);
    }
    return PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not '%.100s'",
                        Py_TYPE(b_data)->tp_name);
}

/* Whether what is written is lost, as in asyncio: the stream is closed, and all is sent. */
static bool is_lost(const struct tc_py_stream *self)
{
    return self->flags & TC_PY_STREAM_CLOSING && self->output.count == 0;
}

/* Refuse `what` after write_eof(). Returns 0, or -1 with RuntimeError set. */
static int check_eof(struct tc_py_stream *self, const char *what)
{
    if (tc_unlikely(self->flags & TC_PY_STREAM_EOF)) {
        PyErr_Format(PyExc_RuntimeError, "Cannot call %s() after write_eof()", what);
        return -1;
    }
    return 0;
}

/* Gather one piece. Returns 0, or -1 with an exception set. */
static int gather(struct tc_py_stream *self, PyObject *b_data)
{
    PyObject *data = as_bytes(b_data);

    if (data == NULL) {
        return -1;
    }
    if (check_eof(self, "write") < 0) {
        Py_DECREF(data);
        return -1;
    }
    if (PyBytes_GET_SIZE(data) == 0 || is_lost(self)) {
        Py_DECREF(data);
        return 0;
    }
    return output_push(&self->output, data);
}

/* The items of an iterable, each as exact bytes: a new tuple, or NULL with an exception set. Runs
 * what Python code the iterable has; what comes of it nobody else can change. */
static PyObject *lines_as_bytes(PyObject *b_lines)
{
    PyObject *items = PySequence_Tuple(b_lines);
    PyObject *lines;
    Py_ssize_t count;
    Py_ssize_t i = 0;

    if (items == NULL) {
        return NULL;
    }
    count = PyTuple_GET_SIZE(items);
    while (i < count && PyBytes_CheckExact(PyTuple_GET_ITEM(items, i))) {
        i++;
    }
    if (tc_likely(i == count)) {
        return items;
    }
    lines = PyTuple_New(count);
    for (i = 0; lines != NULL && i < count; i++) {
        PyObject *line = as_bytes(PyTuple_GET_ITEM(items, i));

        if (line == NULL) {
            Py_CLEAR(lines);
            break;
        }
        PyTuple_SET_ITEM(lines, i, line);
    }
    Py_DECREF(items);
    return lines;
}

/* Gather a tuple of exact bytes, all or nothing. Returns 0, or -1 with an exception set. */
static int gather_lines(struct tc_py_stream *self, PyObject *b_lines)
{
    struct tc_py_output *output = &self->output;
    Py_ssize_t count = PyTuple_GET_SIZE(b_lines);
    size_t more = 0;

    if (check_eof(self, "writelines") < 0) {
        return -1;
    }
    if (is_lost(self)) {
        return 0;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        more += PyBytes_GET_SIZE(PyTuple_GET_ITEM(b_lines, i)) > 0;
    }
    if (output->head + output->count + more > output->capacity && output_grow(output, more) < 0) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *b_line = PyTuple_GET_ITEM(b_lines, i);

        if (PyBytes_GET_SIZE(b_line) > 0) {
            output_append(output, Py_NewRef(b_line));
        }
    }
    return 0;
}

/* Before more is gathered: do enough streams wait already? The turn may have received a buffer from
 * each of them, and what the kernel freed then goes back to the processor it was sent from, which
 * is interrupted at 32 buffers (half of net.core.skb_defer_max) if it has sent nothing since;
 * between virtual processors that takes us microseconds. An answer has it send again. 28 leaves
 * room for reads without an answer; 20, 24 and 31 measured the same, 128 worse. */
static void end_group(struct tc_py_stream *self)
{
    if (self->loop->unsent_count >= TC_PY_STREAM_GROUP && tc_list_is_empty(&self->in_loop)) {
        tc_py_streams_flush(self->loop);
    }
}

/* Something was gathered: see that it leaves. */
static void gathered(struct tc_py_stream *self)
{
    if (self->output.count == 0) {
        return;
    }
    if (tc_list_is_empty(&self->in_loop)) {
        enlist(self);
    }
    if (self->output.bytes >= TC_PY_STREAM_AT_ONCE && self->flags & TC_PY_STREAM_WRITABLE) {
        tc_py_stream_flush(self);
    }
    if (self->output.bytes > self->high) {
        self->flags |= TC_PY_STREAM_PAUSED;
    }
}

int tc_py_stream_write(struct tc_py_stream *self, PyObject *b_data)
{
    int result;

    end_group(self);
    result = gather(self, b_data);
    gathered(self);
    return result;
}

int tc_py_stream_writelines(struct tc_py_stream *self, PyObject *b_lines)
{
    PyObject *lines;
    int result;

    if (check_eof(self, "writelines") < 0) {
        return -1;
    }
    lines = lines_as_bytes(b_lines);
    if (lines == NULL) {
        return -1;
    }
    /* The iterable may have forked, and written to the stream or ended it. */
    result = tc_py_stream_check(self, "StreamWriter.writelines()");
    if (result == 0) {
        end_group(self);
        result = gather_lines(self, lines);
        gathered(self);
    }
    Py_DECREF(lines);
    return result;
}

void tc_py_stream_write_eof(struct tc_py_stream *self)
{
    if (!(self->flags & (TC_PY_STREAM_EOF | TC_PY_STREAM_CLOSING))) {
        self->flags |= TC_PY_STREAM_EOF;
        tc_py_stream_flush(self);
    }
}

/* ---- water marks ------------------------------------------------------------------------ */

/* `b_value` as an exact int in *out, owned; NULL or None: not given, *out stays NULL. Returns 0, or
 * -1 with an exception set. */
static int bind_mark(PyObject *b_value, PyObject **out)
{
    if (b_value == NULL || b_value == Py_None) {
        return 0;
    }
    *out = PyNumber_Index(b_value);
    return *out == NULL ? -1 : 0;
}

/* Give a value to each mark that has none, as asyncio does. Returns 0, or -1 with an exception
 * set. */
static int complete_marks(PyObject **high, PyObject **low)
{
    PyObject *four = PyLong_FromLong(4);

    if (four == NULL) {
        return -1;
    }
    if (*high == NULL) {
        *high = *low == NULL ? PyLong_FromLong(TC_PY_STREAM_HIGH) : PyNumber_Multiply(four, *low);
    }
    if (*low == NULL && *high != NULL) {
        *low = PyNumber_FloorDivide(*high, four);
    }
    Py_DECREF(four);
    return *high == NULL || *low == NULL ? -1 : 0;
}

/* Refuse marks in the wrong order. Returns 0, or -1 with an exception set. */
static int check_marks(PyObject *b_high, PyObject *b_low)
{
    int is_ordered = PyObject_RichCompareBool(b_high, b_low, Py_GE);

    if (is_ordered < 0) {
        return -1;
    }
    if (!is_ordered || PyNumber_AsSsize_t(b_low, NULL) < 0) {
        PyErr_Format(PyExc_ValueError, "high (%R) must be >= low (%R) must be >= 0", b_high, b_low);
        return -1;
    }
    return 0;
}

/* The marks are compared as Python's integers, which do not overflow; those that no output reaches
 * are kept as PY_SSIZE_T_MAX. */
int tc_py_stream_set_limits(struct tc_py_stream *self, PyObject *b_high, PyObject *b_low)
{
    PyObject *high = NULL;
    PyObject *low = NULL;
    int result = -1;

    if (bind_mark(b_high, &high) == 0 && bind_mark(b_low, &low) == 0 &&
        complete_marks(&high, &low) == 0 && check_marks(high, low) == 0) {
        self->high = (size_t)PyNumber_AsSsize_t(high, NULL);
        self->low = (size_t)PyNumber_AsSsize_t(low, NULL);
        if (self->output.bytes > self->high) {
            self->flags |= TC_PY_STREAM_PAUSED;
        }
        result = 0;
    }
    Py_XDECREF(high);
    Py_XDECREF(low);
    return result;
}
