/* The Channel type: everything about it that does not wait. */
#include "python/channel.h"

#include "python/args.h"
#include "python/blocking.h"
#include "python/counters.h"
#include "python/gil.h"
#include "python/module.h"

#include "arch/cpu.h"

#include <errno.h>
#include <string.h>

enum { LOCK_SPINS = 100 }; /* a critical section is some ten nanoseconds                        */

static struct tc_py_channel *channel_of(PyObject *self)
{
    return (struct tc_py_channel *)self;
}

struct tc_py_channel *tc_py_channel_cast(struct tc_py_loop_state *state, PyObject *b_object)
{
    if (!Py_IS_TYPE(b_object, state->channel_type)) {
        PyErr_Format(PyExc_TypeError, "a Channel was expected, not %.100s",
                     Py_TYPE(b_object)->tp_name);
        return NULL;
    }
    return channel_of(b_object);
}

/* ---- errors ----------------------------------------------------------------------------- */

void tc_py_channel_set_closed(struct tc_py_channel *channel, Py_ssize_t index)
{
    PyObject *error =
        PyObject_CallFunction(channel->state->channel_closed, "s", "the channel is closed");
    PyObject *number = NULL;

    if (error != NULL && PyObject_SetAttrString(error, "channel", (PyObject *)channel) < 0) {
        Py_CLEAR(error);
    }
    if (error != NULL && index >= 0) {
        number = PyLong_FromSsize_t(index);
        if (number == NULL || PyObject_SetAttrString(error, "index", number) < 0) {
            Py_CLEAR(error);
        }
        Py_XDECREF(number);
    }
    if (error != NULL) {
        PyErr_SetRaisedException(error);
    }
}

static PyObject *would_block(struct tc_py_channel *self, const char *why)
{
    PyErr_SetString(self->state->would_block, why);
    return NULL;
}

/* ---- the lock --------------------------------------------------------------------------- */

void tc_py_channel_await_lock(struct tc_py_channel *channel)
{
    struct tc_lock *lock = &channel->channel->lock;
    PyThreadState *thread;

    for (int i = 0; i < LOCK_SPINS; i++) {
        if (!tc_lock_looks_held(lock)) {
            return;
        }
        tc_cpu_relax();
    }
    thread = tc_gil_release();
    tc_lock_acquire(lock);
    tc_lock_release(lock);
    tc_gil_acquire(thread);
}

/* ---- send and recv ---------------------------------------------------------------------- */

PyDoc_STRVAR(
    send_doc,
    "send($self, item, /)\n--\n\n"
    "Hand an item to a receiver; wait while there is none and the channel is full.\n\n"
    "Returns an awaitable, for a task of tinycoro or asyncio, or a case of select().\n"
    "If the task is cancelled and the item was delivered already, delivery wins: the cancel\n"
    "is raised at the next wait. Senders that wait are served in order.\n"
    "Raises: ChannelClosed; TypeError and OverflowError for an item that does not fit.");

static PyObject *channel_send(PyObject *self, PyObject *b_item)
{
    struct tc_value value;

    if (tc_py_item_encode(channel_of(self)->items, b_item, &value) < 0) {
        return NULL;
    }
    return tc_py_channel_operation_new(channel_of(self), TC_PY_CHANNEL_SEND, value);
}

PyDoc_STRVAR(
    recv_doc,
    "recv($self, /)\n--\n\n"
    "Take the oldest item; wait while there is none.\n\n"
    "Returns an awaitable, for a task of tinycoro or asyncio, or a case of select().\n"
    "If the task is cancelled and an item was delivered already, delivery wins: the item is\n"
    "returned and the cancel raised at the next wait. Receivers are served in order.\n"
    "Raises: ChannelClosed once the channel is closed and drained.");

static PyObject *channel_recv(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return tc_py_channel_operation_new(channel_of(self), TC_PY_CHANNEL_RECV, tc_value_none());
}

static PyObject *channel_anext(PyObject *self)
{
    return tc_py_channel_operation_new(channel_of(self), TC_PY_CHANNEL_NEXT, tc_value_none());
}

PyDoc_STRVAR(send_nowait_doc,
             "send_nowait($self, item, /)\n--\n\n"
             "Send without waiting.\n\n"
             "Blocks: never. Thread-safety: any thread.\n"
             "Raises: WouldBlock if nobody waits for an item and the channel is full;\n"
             "ChannelClosed; TypeError, OverflowError.");

static PyObject *channel_send_nowait(PyObject *object, PyObject *b_item)
{
    struct tc_py_channel *self = channel_of(object);
    struct tc_value value;
    int result;

    if (tc_py_item_encode(self->items, b_item, &value) < 0) {
        return NULL;
    }
    if (tc_py_channel_is_lost(self)) {
        result = -EPIPE;
    } else {
        tc_py_channel_approach(self);
        result = tc_channel_try_send(self->channel, value);
    }
    if (tc_likely(result == 0)) {
        Py_RETURN_NONE;
    }
    tc_py_item_clear(&value);
    if (result == -EAGAIN) {
        return would_block(self, "nobody receives and the channel is full");
    }
    tc_py_channel_set_closed(self, -1);
    return NULL;
}

PyDoc_STRVAR(recv_nowait_doc,
             "recv_nowait($self, /)\n--\n\n"
             "Take the oldest item without waiting.\n\n"
             "Blocks: never. Thread-safety: any thread.\n"
             "Raises: WouldBlock if there is none; ChannelClosed once closed and drained.");

static PyObject *channel_recv_nowait(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_channel *self = channel_of(object);
    struct tc_value value = tc_value_none();
    int result = -EPIPE;

    if (!tc_py_channel_is_lost(self)) {
        tc_py_channel_approach(self);
        result = tc_channel_try_recv(self->channel, &value);
    }
    if (tc_likely(result == 0)) {
        return tc_py_item_decode(value);
    }
    if (result == -EAGAIN) {
        return would_block(self, "nobody sends and the channel is empty");
    }
    tc_py_channel_set_closed(self, -1);
    return NULL;
}

PyDoc_STRVAR(
    send_blocking_doc,
    "send_blocking($self, item, /, timeout=None)\n--\n\n"
    "Send from a thread that runs no loop; it blocks while nobody receives and the\n"
    "channel is full.\n\n"
    "timeout is in seconds; None waits for ever, 0 or less only tries. Signal handlers run\n"
    "meanwhile.\n"
    "Blocks: yes. Thread-safety: any thread without a running loop.\n"
    "Raises: TimeoutError; ChannelClosed; RuntimeError in a thread with a running loop;\n"
    "TypeError, OverflowError.");

static PyObject *channel_send_blocking(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                       PyObject *names)
{
    static const char *const parameters[] = {"item", "timeout", NULL};
    static const struct tc_py_params params = {"send_blocking", parameters, 2};
    struct tc_py_channel *self = channel_of(object);
    PyObject *b_values[2];
    int64_t timeout_ns = TC_NEVER;
    struct tc_value value;

    if (tc_py_bind(&params, args, nargs, names, b_values) < 0 ||
        tc_py_timeout(b_values[1], "timeout", &timeout_ns) < 0) {
        return NULL;
    }
    if (b_values[0] == NULL || nargs == 0) {
        return PyErr_Format(PyExc_TypeError, "send_blocking() needs an item");
    }
    if (tc_py_blocking_check(self->state, "Channel.send_blocking") < 0 ||
        tc_py_item_encode(self->items, b_values[0], &value) < 0) {
        return NULL;
    }
    return tc_py_blocking_send(self, value, timeout_ns);
}

PyDoc_STRVAR(
    recv_blocking_doc,
    "recv_blocking($self, /, timeout=None)\n--\n\n"
    "Receive in a thread that runs no loop; it blocks while there is no item.\n\n"
    "timeout is in seconds; None waits for ever, 0 or less only tries. Signal handlers run\n"
    "meanwhile.\n"
    "Blocks: yes. Thread-safety: any thread without a running loop.\n"
    "Raises: TimeoutError; ChannelClosed once closed and drained; RuntimeError in a thread\n"
    "with a running loop.");

static PyObject *channel_recv_blocking(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                       PyObject *names)
{
    static const char *const parameters[] = {"timeout", NULL};
    static const struct tc_py_params params = {"recv_blocking", parameters, 1};
    struct tc_py_channel *self = channel_of(object);
    PyObject *b_timeout = NULL;
    int64_t timeout_ns = TC_NEVER;

    if (tc_py_bind(&params, args, nargs, names, &b_timeout) < 0 ||
        tc_py_timeout(b_timeout, "timeout", &timeout_ns) < 0 ||
        tc_py_blocking_check(self->state, "Channel.recv_blocking") < 0) {
        return NULL;
    }
    return tc_py_blocking_recv(self, timeout_ns);
}

/* ---- the rest --------------------------------------------------------------------------- */

PyDoc_STRVAR(close_doc,
             "close($self, /)\n--\n\n"
             "Let no more items in; those inside can still be received. Whoever waits for longer\n"
             "than that gets ChannelClosed.\n\n"
             "Blocks: never. Thread-safety: any thread; again is harmless.");

static PyObject *channel_close(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    if (!tc_py_channel_is_lost(channel_of(object))) {
        (void)tc_channel_close(channel_of(object)->channel); /* again is harmless */
    }
    Py_RETURN_NONE;
}

static void look(struct tc_py_channel *self, struct tc_channel_statistics *out)
{
    if (tc_py_channel_is_lost(self)) {
        *out = (struct tc_channel_statistics){.capacity = self->channel->core.capacity,
                                              .closed = true};
    } else {
        tc_channel_get_statistics(self->channel, out);
    }
}

#define COUNTER(field, kind_, doc_) \
    {.name = #field, \
     .doc = doc_, \
     .offset = offsetof(struct tc_channel_statistics, field), \
     .kind = TC_PY_COUNTER_##kind_}

static const struct tc_py_counter channel_fields[] = {
    COUNTER(capacity, U32, "places for items that nobody waits for"),
    {.name = "length", /* not "count": that is a method of tuples */
     .doc = "items in these now",
     .offset = offsetof(struct tc_channel_statistics, count),
     .kind = TC_PY_COUNTER_U32},
    COUNTER(sent, U64, "items that have come in"),
    COUNTER(received, U64, "items that have gone out"),
    COUNTER(senders, U32, "senders that wait now"),
    COUNTER(receivers, U32, "receivers that wait now"),
    COUNTER(closed, BOOL, "whether it is closed"),
};

static const struct tc_py_counters channel_counters = {
    .type_name = "tinycoro.ChannelStatistics",
    .doc = "The state of a channel at one moment.",
    .fields = channel_fields,
    .count = (int)TC_ARRAY_LEN(channel_fields),
};

PyDoc_STRVAR(statistics_doc,
             "statistics($self, /)\n--\n\n"
             "Return the state of the channel now, as a frozen ChannelStatistics.\n\n"
             "Blocks: never. Thread-safety: any thread.");

static PyObject *channel_statistics(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_channel *self = channel_of(object);
    struct tc_channel_statistics statistics;

    look(self, &statistics);
    return tc_py_counters_record(&channel_counters, self->state->channel_statistics_type,
                                 &statistics);
}

static PyObject *channel_get_closed(PyObject *object, void *Py_UNUSED(closure))
{
    struct tc_py_channel *self = channel_of(object);

    return PyBool_FromLong(tc_py_channel_is_lost(self) || tc_channel_is_closed(self->channel));
}

static PyObject *channel_get_capacity(PyObject *object, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(channel_of(object)->channel->core.capacity);
}

static Py_ssize_t channel_length(PyObject *object)
{
    struct tc_py_channel *self = channel_of(object);

    /* relaxed: a snapshot */
    return tc_py_channel_is_lost(self) ? 0 : tc_load_relaxed(&self->channel->core.count);
}

static int channel_bool(PyObject *Py_UNUSED(object))
{
    return 1; /* an empty channel is a channel */
}

static PyObject *channel_repr(PyObject *object)
{
    struct tc_py_channel *self = channel_of(object);
    struct tc_channel_statistics now;

    look(self, &now);
    return PyUnicode_FromFormat("<Channel items=%s %u/%u %s senders=%u receivers=%u>",
                                tc_py_items_name(self->items), now.count, now.capacity,
                                now.closed ? "closed" : "open", now.senders, now.receivers);
}

/* ---- life ------------------------------------------------------------------------------- */

/* The item type that `b_items` names, or -1 with ValueError set. */
static int parse_items(PyObject *b_items)
{
    PyTypeObject *const types[] = {&PyBaseObject_Type, &PyBytes_Type, &PyLong_Type, &PyFloat_Type};

    for (int i = 0; i < (int)TC_ARRAY_LEN(types); i++) {
        if (b_items == (PyObject *)types[i]) {
            return i;
        }
    }
    PyErr_Format(PyExc_ValueError, "items=%R: it must be object, bytes, int or float", b_items);
    return -1;
}

static void release_object(void *pointer)
{
    Py_DECREF((PyObject *)pointer);
}

static PyObject *channel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"capacity", "items", NULL};
    PyObject *b_capacity = NULL;
    PyObject *b_items = (PyObject *)&PyBaseObject_Type;
    struct tc_py_channel *self;
    int64_t capacity = 0;
    int items;
    int error;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$O:Channel", names, &b_capacity, &b_items) ||
        tc_py_integer(b_capacity, "capacity", false, 0, TC_CHANNEL_CAPACITY_MAX, &capacity) < 0) {
        return NULL;
    }
    items = parse_items(b_items);
    self = items < 0 ? NULL : channel_of(type->tp_alloc(type, 0));
    if (self == NULL) {
        return NULL;
    }
    self->state = tc_py_loop_state_of_type(type);
    self->generation = tc_py_process_generation();
    self->items = (uint8_t)items;
    error = tc_channel_new((uint32_t)capacity, items == TC_PY_ITEMS_OBJECT ? release_object : NULL,
                           &self->channel);
    if (error < 0) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

struct visit {
    visitproc visit;
    void *arg;
};

static int visit_value(const struct tc_value *value, void *arg)
{
    const struct visit *how = arg;

    return how->visit(value->as_pointer, how->arg);
}

static int channel_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct tc_py_channel *self = channel_of(object);
    struct visit how = {visit, arg};

    Py_VISIT(Py_TYPE(object));
    if (self->items != TC_PY_ITEMS_OBJECT || self->channel == NULL || tc_py_channel_is_lost(self)) {
        return 0;
    }
    return tc_channel_visit(self->channel, visit_value, &how);
}

/* Nobody reaches the channel any more: whoever waits in it is garbage too, and is given up. */
static int channel_clear(PyObject *object)
{
    struct tc_py_channel *self = channel_of(object);
    struct tc_value value;

    if (self->channel == NULL || tc_py_channel_is_lost(self)) {
        return 0;
    }
    (void)tc_channel_close(self->channel); /* so that no item comes while these go */
    while (tc_channel_try_recv(self->channel, &value) == 0) {
        tc_py_item_clear(&value);
    }
    return 0;
}

/* A channel that holds a channel that holds… dies by way of the trashcan. */
static void channel_dealloc(PyObject *object)
{
    struct tc_py_channel *self = channel_of(object);
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    Py_TRASHCAN_BEGIN(object, channel_dealloc);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    /* After a fork the memory is leaked: another thread may have held the lock. */
    if (self->channel != NULL && !tc_py_channel_is_lost(self)) {
        if (self->items == TC_PY_ITEMS_OBJECT) {
            (void)channel_clear(object); /* cannot fail */
        }
        tc_channel_release(self->channel);
    }
    type->tp_free(object);
    Py_DECREF(type);
    Py_TRASHCAN_END;
}

/* ---- the type --------------------------------------------------------------------------- */

PyDoc_STRVAR(
    channel_doc,
    "Channel(capacity=0, *, items=object)\n--\n\n"
    "Hands items from senders to receivers, in order: tasks of any loop, and threads.\n\n"
    "capacity is how many items it holds that nobody waits for; with 0 every send waits for its\n"
    "receiver (an asyncio.Queue(0) is unbounded instead). items=object carries Python objects;\n"
    "items=bytes (copied from bytes-like objects), items=int (64 bits) and items=float carry\n"
    "values that C fibers can share. `async for item in channel` receives until it is closed.\n"
    "bool(channel) is True, also when it is empty.\n\n"
    "Thread-safety: every method from any thread. After fork() it is closed and empty in the\n"
    "child. Raises: ValueError, TypeError, MemoryError.");

PyDoc_STRVAR(class_getitem_doc, "__class_getitem__($type, item, /)\n--\n\nChannel[T], for typing.");

static PyMethodDef channel_methods[] = {
    {"send", channel_send, METH_O, send_doc},
    {"recv", channel_recv, METH_NOARGS, recv_doc},
    {"send_nowait", channel_send_nowait, METH_O, send_nowait_doc},
    {"recv_nowait", channel_recv_nowait, METH_NOARGS, recv_nowait_doc},
    {"send_blocking", TC_PY_KEYWORD_FUNCTION(channel_send_blocking), METH_FASTCALL | METH_KEYWORDS,
     send_blocking_doc},
    {"recv_blocking", TC_PY_KEYWORD_FUNCTION(channel_recv_blocking), METH_FASTCALL | METH_KEYWORDS,
     recv_blocking_doc},
    {"close", channel_close, METH_NOARGS, close_doc},
    {"statistics", channel_statistics, METH_NOARGS, statistics_doc},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, class_getitem_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef channel_attributes[] = {
    {"closed", channel_get_closed, NULL, PyDoc_STR("Whether close() was called."), NULL},
    {"capacity", channel_get_capacity, NULL,
     PyDoc_STR("How many items it holds that nobody waits for."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef channel_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(struct tc_py_channel, weakrefs), Py_READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot channel_slots[] = {
    {Py_tp_doc, (void *)channel_doc}, {Py_tp_new, channel_new},
    {Py_tp_dealloc, channel_dealloc}, {Py_tp_traverse, channel_traverse},
    {Py_tp_clear, channel_clear},     {Py_tp_repr, channel_repr},
    {Py_tp_methods, channel_methods}, {Py_tp_getset, channel_attributes},
    {Py_tp_members, channel_members}, {Py_sq_length, channel_length},
    {Py_nb_bool, channel_bool},       {Py_am_aiter, PyObject_SelfIter},
    {Py_am_anext, channel_anext},     {0, NULL},
};

static PyType_Spec channel_spec = {
    .name = "tinycoro.Channel",
    .basicsize = sizeof(struct tc_py_channel),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = channel_slots,
};

PyDoc_STRVAR(closed_doc, "Nothing can be sent to, or is left in, a channel that is closed.\n\n"
                         "channel is that channel; index is the number of the case in a select(),\n"
                         "None elsewhere.");
PyDoc_STRVAR(would_block_doc, "What was asked for without waiting cannot be had without.");

/* A subclass of TinycoroError; its class attributes are `attributes` (owned by the callee). */
static int add_error(PyObject *module, const char *name, const char *doc, PyObject *attributes,
                     PyObject **out)
{
    *out = PyErr_NewExceptionWithDoc(name, doc, tc_py_state_of(module)->tinycoro_error, attributes);
    Py_XDECREF(attributes);
    return *out == NULL ? -1 : PyModule_AddObjectRef(module, strrchr(name, '.') + 1, *out);
}

int tc_py_add_channel(PyObject *module, struct tc_py_loop_state *state)
{
    if (add_error(module, "tinycoro.ChannelClosed", closed_doc,
                  Py_BuildValue("{sOsO}", "channel", Py_None, "index", Py_None),
                  &state->channel_closed) < 0 ||
        add_error(module, "tinycoro.WouldBlock", would_block_doc, NULL, &state->would_block) < 0) {
        return -1;
    }
    state->channel_statistics_type = tc_py_counters_type(&channel_counters);
    if (state->channel_statistics_type == NULL ||
        PyModule_AddObjectRef(module, "ChannelStatistics",
                              (PyObject *)state->channel_statistics_type) < 0) {
        return -1;
    }
    return tc_py_add_type(module, &channel_spec, NULL, &state->channel_type);
}
