/* What Channel.send() and recv() return: operations that try first, and wait in the channel. */
#include "python/channel.h"

#include "python/guest.h"
#include "python/loop.h"
#include "python/task.h"

#include "base/assert.h"

#include <errno.h>

static struct tc_py_channel_operation *self_of(struct tc_py_operation *op)
{
    return tc_container_of(op, struct tc_py_channel_operation, op);
}

static struct tc_py_channel_operation *channel_operation_of(PyObject *object)
{
    return (struct tc_py_channel_operation *)object;
}

/* ---- fairness --------------------------------------------------------------------------- */

uint32_t *tc_py_channel_fast(const struct tc_py_operation *op)
{
    return op->task != NULL ? &op->task->future.loop->fast : &tc_py_this_thread.fast;
}

/* ---- outcomes --------------------------------------------------------------------------- */

/* The operation has ended: let go of the channel. */
static void leave_channel(struct tc_py_channel_operation *self)
{
    Py_CLEAR(self->channel);
}

/* The channel was closed. */
static enum tc_py_outcome closed(struct tc_py_channel_operation *self)
{
    tc_py_item_clear(&self->value);
    if (self->kind == TC_PY_CHANNEL_NEXT) {
        PyErr_SetNone(PyExc_StopAsyncIteration);
    } else {
        tc_py_channel_set_closed(self->channel, -1);
    }
    leave_channel(self);
    return TC_PY_ERROR;
}

/* It has taken place. */
static enum tc_py_outcome delivered(struct tc_py_channel_operation *self, PyObject **value)
{
    struct tc_value item = self->value;

    self->value.kind = TC_VALUE_NONE;
    leave_channel(self);
    if (self->kind == TC_PY_CHANNEL_SEND) {
        *value = NULL;
        return TC_PY_DONE;
    }
    *value = tc_py_item_decode(item);
    return *value == NULL ? TC_PY_ERROR : TC_PY_DONE;
}

/* Try without waiting. Returns 0, -EAGAIN, -EPIPE. */
static inline int try_now(struct tc_py_channel_operation *self)
{
    struct tc_channel *channel = self->channel->channel;
    int result;

    if (tc_py_channel_is_lost(self->channel)) {
        return -EPIPE;
    }
    tc_py_channel_approach(self->channel);
    if (self->kind != TC_PY_CHANNEL_SEND) {
        return tc_channel_try_recv(channel, &self->value);
    }
    result = tc_channel_try_send(channel, self->value);
    if (result == 0) {
        self->value.kind = TC_VALUE_NONE; /* it has moved */
    }
    return result;
}

/* ---- to wait ---------------------------------------------------------------------------- */

/* Read the outcome out of a record that was claimed, and forget it. */
static void take_outcome(struct tc_py_channel_operation *self)
{
    const struct tc_wait_node *node = &self->wakeup->node;

    self->result = node->result;
    if (self->kind != TC_PY_CHANNEL_SEND ? node->result == 0 : node->result != 0) {
        self->value = node->value; /* received, or not sent after all */
    }
    self->wakeup = NULL;
}

/* The wait is over (python/wakeup.h); no Python here. */
static void channel_arrived(struct tc_py_operation *op, struct tc_py_wakeup *wakeup)
{
    tc_assert_debug(self_of(op)->wakeup == wakeup);
    (void)wakeup;
    take_outcome(self_of(op));
    if (op->state == TC_PY_OPERATION_SUSPENDED) {
        tc_py_operation_wake(op);
    }
}

/* Enter the channel's queue, or find at the last moment that there is no need. Returns 0, -EPIPE,
 * -EINPROGRESS, or -ECANCELED with an exception set. */
static int enter(struct tc_py_channel_operation *self)
{
    struct tc_channel *channel = self->channel->channel;
    struct tc_py_mailbox *mailbox = tc_py_operation_mailbox(&self->op);
    struct tc_py_wakeup *wakeup =
        mailbox == NULL ? NULL : tc_py_wakeup_new(mailbox, &self->op, channel_arrived);
    struct tc_value value = self->value;
    int result;

    if (wakeup == NULL) {
        return -ECANCELED;
    }
    self->wakeup = wakeup;
    if (self->kind == TC_PY_CHANNEL_SEND) {
        self->value.kind = TC_VALUE_NONE; /* the channel visits it from here on (CH1) */
        result = tc_channel_send_start(channel, value, &wakeup->node, &wakeup->waiter);
        if (result == -EPIPE) {
            self->value = value;
        }
    } else {
        result = tc_channel_recv_start(channel, &self->value, &wakeup->node, &wakeup->waiter);
    }
    if (result != -EINPROGRESS) {
        self->wakeup = NULL;
        tc_py_wakeup_free(wakeup);
    }
    return result;
}

/* Try, then wait. */
static enum tc_py_outcome attempt(struct tc_py_channel_operation *self, PyObject **value)
{
    int result = try_now(self);

    if (result == -EAGAIN) {
        result = enter(self);
    }
    switch (result) {
    case 0:
        return delivered(self, value);
    case -EINPROGRESS:
        *tc_py_channel_fast(&self->op) = 0;
        return TC_PY_SUSPEND;
    case -ECANCELED:
        return TC_PY_ERROR;
    default:
        return closed(self);
    }
}

static enum tc_py_outcome channel_start(struct tc_py_operation *op, PyObject **value)
{
    uint32_t *fast = tc_py_channel_fast(op);

    if (tc_unlikely(*fast >= TC_PY_FAST_MAX)) {
        *fast = 0;
        return TC_PY_YIELD; /* before it tries: a cancel is raised here, and nothing is lost */
    }
    ++*fast;
    return attempt(self_of(op), value);
}

static enum tc_py_outcome channel_finish(struct tc_py_operation *op, PyObject **value)
{
    struct tc_py_channel_operation *self = self_of(op);

    if (op->state == TC_PY_OPERATION_YIELDED) {
        return attempt(self, value);
    }
    return self->result == 0 ? delivered(self, value) : closed(self);
}

static bool channel_withdraw(struct tc_py_operation *op)
{
    struct tc_py_channel_operation *self = self_of(op);
    struct tc_py_wakeup *wakeup = self->wakeup;

    if (wakeup == NULL) {
        return false; /* it has arrived */
    }
    if (tc_py_channel_is_lost(self->channel)) {
        self->wakeup = NULL; /* a lost channel is never touched: the record is leaked with it */
        return true;
    }
    if (!tc_channel_withdraw(self->channel->channel, &wakeup->node)) {
        return false; /* delivery has won: it is under way */
    }
    self->wakeup = NULL;
    if (self->kind == TC_PY_CHANNEL_SEND) {
        self->value = wakeup->node.value;
    }
    tc_py_wakeup_free(wakeup);
    return true;
}

/* The await was closed although something had been handed over. */
static void channel_drop(struct tc_py_operation *op)
{
    struct tc_py_channel_operation *self = self_of(op);
    struct tc_py_wakeup *wakeup = self->wakeup;

    if (wakeup != NULL) { /* still under way; see WU3 */
        take_outcome(self);
        tc_py_wakeup_abandon(wakeup);
    }
    tc_py_item_clear(&self->value);
}

static const struct tc_py_operation_ops channel_ops[] = {
#define OPS(kind, name_) \
    [kind] = { \
        .node = TC_PY_OPERATION_NODE, \
        .name = name_, \
        .delivery_wins = true, \
        .has_guests = true, \
        .start = channel_start, \
        .finish = channel_finish, \
        .withdraw = channel_withdraw, \
        .give_back = channel_drop, \
    }
    OPS(TC_PY_CHANNEL_SEND, "Channel.send"),
    OPS(TC_PY_CHANNEL_RECV, "Channel.recv"),
    OPS(TC_PY_CHANNEL_NEXT, "Channel.__anext__"),
#undef OPS
};

/* ---- the short way ---------------------------------------------------------------------- */

/* Keep a finished operation for the next call of send or recv on this loop. */
static inline void keep_spare(struct tc_py_channel_operation *self, struct tc_py_loop *loop)
{
    if (loop->spare_operation == NULL) {
        loop->spare_operation = Py_NewRef((PyObject *)self);
    }
}

/* After a step by the long way: one that is over lets go of everything. */
static void settle(struct tc_py_channel_operation *self, struct tc_py_loop *loop)
{
    if (self->op.state != TC_PY_OPERATION_FINISHED) {
        return;
    }
    tc_py_item_clear(&self->value);
    leave_channel(self);
    if (loop != NULL) {
        keep_spare(self, loop);
    }
}

/* A first await, in a task, of something that can be had at once. Returns 1 with *value as from
 * delivered(), -1 with MemoryError, 0: take the long way. */
static inline int try_short(struct tc_py_channel_operation *self, struct tc_py_loop *loop,
                            PyObject **value)
{
    if (self->op.state != TC_PY_OPERATION_NEW || tc_unlikely(loop == NULL) ||
        tc_unlikely(loop->current == NULL) || tc_unlikely(loop->fast >= TC_PY_FAST_MAX) ||
        try_now(self) != 0) {
        return 0;
    }
    loop->fast++;
    self->op.state = TC_PY_OPERATION_FINISHED;
    keep_spare(self, loop);
    return delivered(self, value) == TC_PY_DONE ? 1 : -1;
}

static PyObject *channel_iternext(PyObject *object)
{
    struct tc_py_channel_operation *self = channel_operation_of(object);
    struct tc_py_loop *loop = tc_py_loop_running();
    PyObject *value = NULL;
    int result = try_short(self, loop, &value);

    if (tc_likely(result > 0)) {
        return tc_py_stop(loop, value);
    }
    if (result < 0) {
        return NULL;
    }
    value = tc_py_operation_iternext(object);
    settle(self, loop);
    return value;
}

static PySendResult channel_am_send(PyObject *object, PyObject *b_value, PyObject **result)
{
    struct tc_py_channel_operation *self = channel_operation_of(object);
    struct tc_py_loop *loop = tc_py_loop_running();
    PySendResult status;
    int short_result;

    *result = NULL;
    short_result = try_short(self, loop, result);
    if (tc_likely(short_result > 0)) {
        *result = *result == NULL ? Py_NewRef(Py_None) : *result;
        return PYGEN_RETURN;
    }
    if (short_result < 0) {
        return PYGEN_ERROR;
    }
    status = tc_py_operation_send(object, b_value, result);
    settle(self, loop);
    return status;
}

/* ---- the object ------------------------------------------------------------------------- */

/* The loop's spare object, if it has one that nobody else holds; now the caller's. */
static inline struct tc_py_channel_operation *take_spare(void)
{
    struct tc_py_loop *loop = tc_py_loop_running();
    PyObject *spare = loop == NULL ? NULL : loop->spare_operation;

    if (spare == NULL) {
        return NULL;
    }
    loop->spare_operation = NULL;
    if (tc_unlikely(Py_REFCNT(spare) != 1)) {
        Py_DECREF(spare); /* somebody keeps it; the next to finish takes its place */
        return NULL;
    }
    return channel_operation_of(spare);
}

PyObject *tc_py_channel_operation_new(struct tc_py_channel *channel, enum tc_py_channel_kind kind,
                                      struct tc_value value)
{
    struct tc_py_channel_operation *self = take_spare();

    if (self == NULL) {
        PyTypeObject *type = channel->state->channel_operation_type;

        self = channel_operation_of(type->tp_alloc(type, 0));
        if (self == NULL) {
            tc_py_item_clear(&value);
            return NULL;
        }
    }
    tc_py_operation_init(&self->op, &channel_ops[kind]);
    self->op.state = TC_PY_OPERATION_NEW;
    self->channel = (struct tc_py_channel *)Py_NewRef((PyObject *)channel);
    self->value = value;
    self->kind = (uint8_t)kind;
    return (PyObject *)self;
}

static int channel_operation_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct tc_py_channel_operation *self = channel_operation_of(object);

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->channel);
    Py_VISIT(self->op.message);
    Py_VISIT(self->op.guest);
    return tc_py_item_traverse(&self->value, visit, arg);
}

static int channel_operation_clear(PyObject *object)
{
    struct tc_py_channel_operation *self = channel_operation_of(object);

    tc_py_operation_clear(&self->op);
    channel_drop(&self->op);
    tc_py_guest_leave(&self->op);
    leave_channel(self);
    return 0;
}

/* An operation that sends one that sends one… dies by way of the trashcan, which comes here
 * twice. */
static void channel_operation_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    if (channel_operation_of(object)->op.state == TC_PY_OPERATION_NEW &&
        PyObject_CallFinalizerFromDealloc(object) < 0) {
        return; /* somebody holds it again */
    }
    PyObject_GC_UnTrack(object);
    Py_TRASHCAN_BEGIN(object, channel_operation_dealloc);
    (void)channel_operation_clear(object); /* cannot fail */
    type->tp_free(object);
    Py_DECREF(type);
    Py_TRASHCAN_END;
}

static PyType_Slot channel_operation_slots[] = {
    {Py_tp_dealloc, channel_operation_dealloc},
    {Py_tp_finalize, tc_py_operation_finalize},
    {Py_tp_traverse, channel_operation_traverse},
    {Py_tp_clear, channel_operation_clear},
    {Py_tp_iternext, channel_iternext},
    {Py_am_send, channel_am_send},
    {0, NULL},
};

static PyType_Spec channel_operation_spec = {
    .name = "tinycoro._ChannelOperation",
    .basicsize = sizeof(struct tc_py_channel_operation),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = channel_operation_slots,
};

int tc_py_add_channel_operation(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_type(module, &channel_operation_spec, state->operation_type,
                       &state->channel_operation_type) < 0) {
        return -1;
    }
    return tc_py_register_coroutine(state, state->channel_operation_type);
}
