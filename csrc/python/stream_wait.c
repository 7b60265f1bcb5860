/* drain() and wait_closed(): waits of a stream's users, of whom there may be several. */
#include "python/loop.h"
#include "python/reader.h"
#include "python/stream.h"
#include "python/task.h"

static struct tc_py_stream_wait *wait_of(struct tc_py_operation *op)
{
    return tc_container_of(op, struct tc_py_stream_wait, op);
}

/* ---- waking ----------------------------------------------------------------------------- */

void tc_py_stream_wake(struct tc_py_stream *self, bool everybody)
{
    struct tc_list *at;
    struct tc_list *next;

    TC_LIST_FOR_EACH_SAFE (at, next, &self->waiters) {
        struct tc_py_stream_wait *wait = tc_container_of(at, struct tc_py_stream_wait, link);

        if (everybody || wait->is_drain) {
            tc_list_remove(at);
            tc_py_operation_wake(&wait->op);
        }
    }
}

/* The operation has ended: let the stream go. */
static void forget(struct tc_py_stream_wait *self)
{
    tc_list_remove(&self->link);
    Py_CLEAR(self->stream);
}

static enum tc_py_outcome ended(struct tc_py_stream_wait *self, enum tc_py_outcome outcome)
{
    forget(self);
    return outcome;
}

static enum tc_py_outcome suspend(struct tc_py_stream_wait *self)
{
    tc_list_push_back(&self->stream->waiters, &self->link);
    return TC_PY_SUSPEND;
}

/* Raise what broke the connection. */
static enum tc_py_outcome raise_exception(struct tc_py_stream_wait *self)
{
    PyObject *exception = tc_py_stream_exception(self->stream);

    if (exception == NULL) {
        PyErr_SetString(PyExc_ConnectionResetError, "Connection lost");
    } else {
        PyErr_SetRaisedException(exception);
    }
    return ended(self, TC_PY_ERROR);
}

/* ---- drain ------------------------------------------------------------------------------ */

/* Little output of one task among many leaves at the end of the turn, with the others': peers find
 * several answers when they wake, where answers that come one by one wake them for each, and to
 * wake somebody costs the sender a third of a small send. */
static bool may_leave_later(const struct tc_py_stream *stream)
{
    return stream->output.bytes < TC_PY_STREAM_LITTLE && !tc_fifo_is_empty(&stream->loop->ready);
}

static enum tc_py_outcome drain_start(struct tc_py_operation *op, PyObject **value)
{
    struct tc_py_stream_wait *self = wait_of(op);
    struct tc_py_stream *stream = self->stream;

    (void)value;
    if (stream->reader != NULL && stream->reader->exception != NULL) {
        tc_py_reader_raise(stream->reader);
        return ended(self, TC_PY_ERROR);
    }
    if (tc_unlikely(stream->flags & TC_PY_STREAM_CLOSING)) {
        return TC_PY_YIELD; /* asyncio's way to let a loss be noticed */
    }
    if (tc_unlikely(tc_py_loop_must_yield(stream->loop))) {
        return TC_PY_YIELD;
    }
    if (!may_leave_later(stream)) {
        tc_py_streams_flush(stream->loop); /* in the order written: io/io.h says why */
        tc_py_stream_flush(stream);
    }
    if (tc_unlikely(stream->flags & TC_PY_STREAM_CLOSING)) {
        return TC_PY_YIELD;
    }
    if (tc_unlikely(stream->flags & TC_PY_STREAM_PAUSED)) {
        return suspend(self);
    }
    return ended(self, TC_PY_DONE);
}

/* After a yield, or when woken because the output is down to the low mark, or the connection
 * lost. */
static enum tc_py_outcome drain_finish(struct tc_py_operation *op, PyObject **value)
{
    struct tc_py_stream_wait *self = wait_of(op);
    struct tc_py_stream *stream = self->stream;

    (void)value;
    if (stream->flags & TC_PY_STREAM_CLOSED || stream->error != 0) {
        return raise_exception(self);
    }
    tc_py_stream_flush(stream);
    if (stream->flags & TC_PY_STREAM_PAUSED && !(stream->flags & TC_PY_STREAM_CLOSED)) {
        return suspend(self);
    }
    return ended(self, TC_PY_DONE);
}

/* ---- wait_closed ------------------------------------------------------------------------ */

static enum tc_py_outcome closed_finish(struct tc_py_operation *op, PyObject **value)
{
    struct tc_py_stream_wait *self = wait_of(op);

    (void)value;
    if (!(self->stream->flags & TC_PY_STREAM_CLOSED)) {
        return suspend(self);
    }
    if (self->stream->error != 0) {
        return raise_exception(self);
    }
    return ended(self, TC_PY_DONE);
}

/* ---- both ------------------------------------------------------------------------------- */

static bool wait_withdraw(struct tc_py_operation *op)
{
    forget(wait_of(op));
    return true;
}

static void wait_give_back(struct tc_py_operation *op)
{
    forget(wait_of(op));
}

static const struct tc_py_operation_ops drain_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "StreamWriter.drain",
    .delivery_wins = false,
    .start = drain_start,
    .finish = drain_finish,
    .withdraw = wait_withdraw,
    .give_back = wait_give_back,
};

static const struct tc_py_operation_ops closed_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "StreamWriter.wait_closed",
    .delivery_wins = false,
    .start = closed_finish,
    .finish = closed_finish,
    .withdraw = wait_withdraw,
    .give_back = wait_give_back,
};

/* ---- the type --------------------------------------------------------------------------- */

static int wait_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct tc_py_stream_wait *self = (struct tc_py_stream_wait *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->stream);
    Py_VISIT(self->op.message);
    return 0;
}

static int wait_clear(PyObject *object)
{
    struct tc_py_stream_wait *self = (struct tc_py_stream_wait *)object;

    tc_py_operation_clear(&self->op);
    forget(self);
    return 0;
}

static PyType_Slot wait_slots[] = {
    {Py_tp_dealloc, tc_py_operation_dealloc},
    {Py_tp_finalize, tc_py_operation_finalize},
    {Py_tp_traverse, wait_traverse},
    {Py_tp_clear, wait_clear},
    {0, NULL},
};

static PyType_Spec wait_spec = {
    .name = "tinycoro._StreamWait",
    .basicsize = sizeof(struct tc_py_stream_wait),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = wait_slots,
};

PyObject *tc_py_stream_wait_new(struct tc_py_stream *self, PyObject **spare, bool is_drain)
{
    PyTypeObject *type = self->loop->state->stream_wait_type;
    struct tc_py_stream_wait *wait = (struct tc_py_stream_wait *)*spare;

    if (wait == NULL || !tc_py_operation_reuse(&wait->op)) {
        wait = (struct tc_py_stream_wait *)type->tp_alloc(type, 0);
        if (wait == NULL) {
            return NULL;
        }
        tc_list_init(&wait->link);
        Py_XSETREF(*spare, Py_NewRef((PyObject *)wait));
    } else {
        Py_INCREF(wait);
    }
    tc_py_operation_init(&wait->op, is_drain ? &drain_ops : &closed_ops);
    wait->is_drain = is_drain;
    Py_XSETREF(wait->stream, (struct tc_py_stream *)Py_NewRef((PyObject *)self));
    return (PyObject *)wait;
}

int tc_py_add_stream_wait(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_type(module, &wait_spec, state->operation_type, &state->stream_wait_type) < 0) {
        return -1;
    }
    return tc_py_register_coroutine(state, state->stream_wait_type);
}
