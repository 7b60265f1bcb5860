/* The reads of a StreamReader as operations. */
#include "python/loop.h"
#include "python/reader.h"
#include "python/stream.h"
#include "python/task.h"

#include <string.h>

static struct tc_py_read *read_of(struct tc_py_operation *op)
{
    return tc_container_of(op, struct tc_py_read, op);
}

static const char *name_of(const struct tc_py_read *self)
{
    static const char *const names[] = {"read",      "read",     "readexactly",
                                        "readuntil", "readline", "__anext__"};

    return names[self->kind];
}

/* ---- ending ----------------------------------------------------------------------------- */

/* The read is over: let the reader go. */
static void forget(struct tc_py_read *self)
{
    if (self->reader != NULL && self->reader->waiter == self) {
        self->reader->waiter = NULL;
    }
    Py_CLEAR(self->reader);
    Py_CLEAR(self->separators);
}

static enum tc_py_outcome failed(struct tc_py_read *self)
{
    forget(self);
    return TC_PY_ERROR;
}

/* `value` (taken) is the result; NULL with an exception set. */
static enum tc_py_outcome done(struct tc_py_read *self, PyObject *result, PyObject **value)
{
    *value = result;
    forget(self);
    return result == NULL ? TC_PY_ERROR : TC_PY_DONE;
}

static enum tc_py_outcome raise_reader(struct tc_py_read *self)
{
    tc_py_reader_raise(self->reader);
    return failed(self);
}

/* Raise IncompleteReadError with everything that is buffered; `expected` may be Py_None. */
static enum tc_py_outcome raise_incomplete(struct tc_py_read *self, PyObject *expected)
{
    PyObject *type = self->reader->loop->state->incomplete_read_error;
    PyObject *partial = expected == NULL
                            ? NULL
                            : tc_py_reader_take(self->reader, tc_py_reader_buffered(self->reader));
    PyObject *error =
        partial == NULL ? NULL : PyObject_CallFunctionObjArgs(type, partial, expected, NULL);

    Py_XDECREF(partial);
    Py_XDECREF(expected);
    if (error != NULL) {
        PyErr_SetRaisedException(error);
    }
    return failed(self);
}

/* Nothing more can be had at once: wait for the source. */
static enum tc_py_outcome wait_for_data(struct tc_py_read *self)
{
    struct tc_py_reader *reader = self->reader;

    if (reader->exception != NULL) {
        return raise_reader(self);
    }
    if (tc_unlikely(reader->waiter != NULL)) {
        PyErr_Format(PyExc_RuntimeError,
                     "%s() called while another coroutine is already waiting for incoming data",
                     self->kind >= TC_PY_READ_LINE ? "readuntil" : name_of(self));
        return failed(self);
    }
    reader->waiter = self;
    return TC_PY_SUSPEND;
}

/* ---- read and readexactly --------------------------------------------------------------- */

static enum tc_py_outcome go_on_some(struct tc_py_read *self, PyObject **value)
{
    struct tc_py_reader *reader = self->reader;
    size_t buffered = tc_py_reader_buffered(reader);
    PyObject *result;

    if (tc_likely(buffered == 0)) {
        tc_py_reader_receive(reader, self->size, &result);
        if (tc_likely(result != NULL) || PyErr_Occurred()) {
            return done(self, result, value);
        }
        if (!reader->is_eof) {
            return wait_for_data(self);
        }
    }
    return done(self, tc_py_reader_take(reader, buffered < self->size ? buffered : self->size),
                value);
}

static enum tc_py_outcome go_on_all(struct tc_py_read *self, PyObject **value)
{
    struct tc_py_reader *reader = self->reader;

    while (!reader->is_eof) {
        if (!tc_py_reader_fill(reader)) {
            return wait_for_data(self);
        }
    }
    return done(self, tc_py_reader_take(reader, tc_py_reader_buffered(reader)), value);
}

static enum tc_py_outcome go_on_exactly(struct tc_py_read *self, PyObject **value)
{
    struct tc_py_reader *reader = self->reader;

    while (tc_py_reader_buffered(reader) < self->size) {
        if (reader->is_eof) {
            return raise_incomplete(self, PyLong_FromSize_t(self->size));
        }
        if (!tc_py_reader_fill(reader)) {
            return wait_for_data(self);
        }
    }
    return done(self, tc_py_reader_take(reader, self->size), value);
}

/* ---- readuntil and readline --------------------------------------------------------------- */

/* Where a separator ends, and how long it is; end 0: nowhere. */
struct match {
    size_t end;
    size_t length;
};

static void search(const char *data, size_t from, size_t size, const char *separator, size_t length,
                   struct match *best)
{
    const char *found = size - from < length ? NULL
                        : length == 1        ? memchr(data + from, separator[0], size - from)
                                             : memmem(data + from, size - from, separator, length);
    size_t end = found == NULL ? 0 : (size_t)(found - data) + length;

    if (end != 0 && (best->end == 0 || end < best->end)) {
        best->end = end;
        best->length = length;
    }
}

/* Look for the separator that ends first; of those the shortest. *longest is the longest's
 * length. */
static struct match find_separator(struct tc_py_read *self, size_t *longest)
{
    struct tc_py_reader *reader = self->reader;
    const char *data = reader->data + reader->start;
    size_t size = tc_py_reader_buffered(reader);
    struct match best = {0, 0};

    *longest = 1;
    if (size == 0) {
        return best;
    }
    if (self->separators == NULL) {
        search(data, self->searched, size, "\n", 1, &best);
        return best;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(self->separators); i++) {
        PyObject *b_separator = PyTuple_GET_ITEM(self->separators, i);

        *longest = (size_t)PyBytes_GET_SIZE(b_separator);
        search(data, self->searched, size, PyBytes_AS_STRING(b_separator), *longest, &best);
    }
    return best;
}

/* The separator is beyond the limit, or not to be found within it. */
static enum tc_py_outcome overrun(struct tc_py_read *self, const char *text, size_t consumed,
                                  size_t separator)
{
    struct tc_py_reader *reader = self->reader;
    PyObject *type = reader->loop->state->limit_overrun_error;
    PyObject *error;

    if (self->kind == TC_PY_READ_UNTIL) {
        error = PyObject_CallFunction(type, "sn", text, (Py_ssize_t)consumed);
        if (error != NULL) {
            PyErr_SetRaisedException(error);
        }
        return failed(self);
    }
    /* readline() drops the line, or as much of it as there is, and says ValueError. */
    tc_py_reader_skip(reader, separator > 0 ? consumed + separator : tc_py_reader_buffered(reader));
    PyErr_SetString(PyExc_ValueError, text);
    return failed(self);
}

/* The end of the stream came before a separator. */
static enum tc_py_outcome incomplete_line(struct tc_py_read *self, PyObject **value)
{
    struct tc_py_reader *reader = self->reader;
    size_t buffered = tc_py_reader_buffered(reader);

    if (self->kind == TC_PY_READ_UNTIL) {
        return raise_incomplete(self, Py_NewRef(Py_None));
    }
    if (self->kind == TC_PY_READ_NEXT && buffered == 0) {
        PyErr_SetNone(PyExc_StopAsyncIteration);
        return failed(self);
    }
    return done(self, tc_py_reader_take(reader, buffered), value);
}

static enum tc_py_outcome go_on_until(struct tc_py_read *self, PyObject **value)
{
    struct tc_py_reader *reader = self->reader;

    for (;;) {
        size_t longest;
        size_t buffered = tc_py_reader_buffered(reader);
        struct match match = {0, 0};

        if (self->searched > buffered) {
            self->searched = 0; /* somebody else has read meanwhile */
        }
        match = find_separator(self, &longest);
        if (match.end > 0) {
            size_t start = match.end - match.length;

            if (tc_likely(start <= reader->limit)) {
                return done(self, tc_py_reader_take(reader, match.end), value);
            }
            return overrun(self, "Separator is found, but chunk is longer than limit", start,
                           match.length);
        }
        self->searched = buffered + 1 > longest ? buffered + 1 - longest : 0;
        if (self->searched > reader->limit) {
            return overrun(self, "Separator is not found, and chunk exceed the limit",
                           self->searched, 0);
        }
        if (reader->is_eof) {
            return incomplete_line(self, value);
        }
        if (!tc_py_reader_fill(reader)) {
            return wait_for_data(self);
        }
    }
}

/* ---- the operation ------------------------------------------------------------------------ */

static enum tc_py_outcome go_on(struct tc_py_read *self, PyObject **value)
{
    switch ((enum tc_py_read_kind)self->kind) {
    case TC_PY_READ_SOME:
        return go_on_some(self, value);
    case TC_PY_READ_ALL:
        return go_on_all(self, value);
    case TC_PY_READ_EXACTLY:
        return go_on_exactly(self, value);
    default:
        return go_on_until(self, value);
    }
}

static enum tc_py_outcome read_start(struct tc_py_operation *op, PyObject **value)
{
    struct tc_py_read *self = read_of(op);
    struct tc_py_reader *reader = self->reader;

    if (tc_unlikely(op->task->future.loop != reader->loop)) {
        PyErr_Format(PyExc_RuntimeError, "%R is bound to a different event loop", reader);
        return failed(self);
    }
    if (tc_unlikely(self->kind == TC_PY_READ_EXACTLY && self->size > PY_SSIZE_T_MAX)) {
        PyErr_SetString(PyExc_ValueError, "readexactly size can not be less than zero");
        return failed(self);
    }
    if (tc_unlikely(reader->exception != NULL)) {
        return raise_reader(self);
    }
    if (tc_unlikely(self->size == 0) &&
        (self->kind == TC_PY_READ_SOME || self->kind == TC_PY_READ_EXACTLY)) {
        return done(self, PyBytes_FromStringAndSize(NULL, 0), value);
    }
    if (tc_unlikely(tc_py_loop_must_yield(reader->loop))) {
        return TC_PY_YIELD;
    }
    return go_on(self, value);
}

static enum tc_py_outcome read_finish(struct tc_py_operation *op, PyObject **value)
{
    struct tc_py_read *self = read_of(op);

    if (tc_unlikely(self->is_failed) && self->reader->exception != NULL) {
        return raise_reader(self);
    }
    return go_on(self, value);
}

static bool read_withdraw(struct tc_py_operation *op)
{
    forget(read_of(op));
    return true;
}

static void read_give_back(struct tc_py_operation *op)
{
    forget(read_of(op)); /* nothing was taken out of the buffer */
}

#define READ_OPS(name_) \
    {.node = TC_PY_OPERATION_NODE, \
     .name = (name_), \
     .delivery_wins = false, \
     .start = read_start, \
     .finish = read_finish, \
     .withdraw = read_withdraw, \
     .give_back = read_give_back}

static const struct tc_py_operation_ops read_ops[] = {
    [TC_PY_READ_SOME] = READ_OPS("StreamReader.read"),
    [TC_PY_READ_ALL] = READ_OPS("StreamReader.read"),
    [TC_PY_READ_EXACTLY] = READ_OPS("StreamReader.readexactly"),
    [TC_PY_READ_UNTIL] = READ_OPS("StreamReader.readuntil"),
    [TC_PY_READ_LINE] = READ_OPS("StreamReader.readline"),
    [TC_PY_READ_NEXT] = READ_OPS("StreamReader.__anext__"),
};

PyObject *tc_py_read_new(struct tc_py_reader *self, enum tc_py_read_kind kind, size_t size,
                         PyObject *separators)
{
    PyTypeObject *type = self->loop->state->read_type;
    struct tc_py_read *read = (struct tc_py_read *)self->spare;

    if (tc_likely(read != NULL && tc_py_operation_reuse(&read->op))) {
        Py_INCREF(read);
    } else {
        read = (struct tc_py_read *)type->tp_alloc(type, 0);
        if (read == NULL) {
            Py_XDECREF(separators);
            return NULL;
        }
        Py_XSETREF(self->spare, Py_NewRef((PyObject *)read));
    }
    tc_py_operation_init(&read->op, &read_ops[kind]);
    Py_XSETREF(read->reader, (struct tc_py_reader *)Py_NewRef((PyObject *)self));
    Py_XSETREF(read->separators, separators);
    read->kind = (uint8_t)kind;
    read->size = size;
    read->searched = 0;
    read->is_failed = false;
    return (PyObject *)read;
}

void tc_py_reader_wake(struct tc_py_reader *self, bool is_failed)
{
    struct tc_py_read *read = self->waiter;

    if (read != NULL) {
        self->waiter = NULL;
        read->is_failed = is_failed;
        tc_py_operation_wake(&read->op);
    }
}

/* ---- the type --------------------------------------------------------------------------- */

static int read_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct tc_py_read *self = (struct tc_py_read *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->reader);
    Py_VISIT(self->separators);
    Py_VISIT(self->op.message);
    return 0;
}

static int read_clear(PyObject *object)
{
    struct tc_py_read *self = (struct tc_py_read *)object;

    tc_py_operation_clear(&self->op);
    forget(self);
    return 0;
}

static PyType_Slot read_slots[] = {
    {Py_tp_dealloc, tc_py_operation_dealloc},
    {Py_tp_finalize, tc_py_operation_finalize},
    {Py_tp_traverse, read_traverse},
    {Py_tp_clear, read_clear},
    {0, NULL},
};

static PyType_Spec read_spec = {
    .name = "tinycoro._Read",
    .basicsize = sizeof(struct tc_py_read),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = read_slots,
};

int tc_py_add_read(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_type(module, &read_spec, state->operation_type, &state->read_type) < 0) {
        return -1;
    }
    return tc_py_register_coroutine(state, state->read_type);
}
