#include "sync/channel.h"

#include "base/assert.h"
#include "base/mem.h"
#include "sync/wait.h"

/* ---- life ---------------------------------------------------------------------------------- */

int tc_channel_init(struct tc_channel *channel, uint32_t capacity, void (*release)(void *pointer))
{
    struct tc_value *ring = NULL;

    if (capacity > TC_CHANNEL_CAPACITY_MAX) {
        return -EINVAL;
    }
    if (capacity != 0) {
        ring = tc_mem_alloc(capacity * sizeof *ring);
        if (ring == NULL) {
            return -ENOMEM;
        }
    }
    tc_lock_init(&channel->lock, TC_RANK_CHAN);
    tc_atomic_init(&channel->references, 0);
    tc_channel_core_init(&channel->core, ring, capacity);
    channel->release = release;
    channel->sent = 0;
    channel->received = 0;
    return 0;
}

void tc_channel_fini(struct tc_channel *channel)
{
    struct tc_channel_core *core = &channel->core;
    struct tc_wait_node *nobody;
    struct tc_value value;

    tc_assert(tc_waitq_is_empty(&core->senders) && tc_waitq_is_empty(&core->receivers));
    while (tc_channel_core_pop(core, &value, &nobody) == 0) {
        tc_value_release(value, channel->release);
    }
    tc_mem_free(core->ring, core->capacity * sizeof *core->ring);
}

int tc_channel_new(uint32_t capacity, void (*release)(void *pointer), struct tc_channel **out)
{
    struct tc_channel *channel = tc_mem_alloc(sizeof *channel);

    if (channel == NULL) {
        return -ENOMEM;
    }
    int rc = tc_channel_init(channel, capacity, release);
    if (rc != 0) {
        tc_mem_free(channel, sizeof *channel);
        return rc;
    }
    tc_atomic_init(&channel->references, 1);
    *out = channel;
    return 0;
}

struct tc_channel *tc_channel_acquire(struct tc_channel *channel)
{
    /* relaxed: the caller's own reference keeps the channel alive */
    uint32_t before = tc_fetch_add_relaxed(&channel->references, 1);

    tc_assert_debug(before != 0);
    (void)before;
    return channel;
}

void tc_channel_release(struct tc_channel *channel)
{
    /* acq_rel [chan-references]: publishes our use, and sees everybody's if we are the last. */
    if (channel != NULL && tc_fetch_sub_acq_rel(&channel->references, 1) == 1) {
        tc_channel_fini(channel);
        tc_mem_free(channel, sizeof *channel);
    }
}

/* ---- one step under the lock --------------------------------------------------------------- */

/* Push; on -EAGAIN the lock is kept, otherwise released and whoever got the value is awake. */
static inline int push(struct tc_channel *channel, struct tc_value value)
{
    struct tc_wait_node *receiver;

    tc_lock_acquire(&channel->lock);
    tc_assert_slow(tc_channel_core_is_valid(&channel->core));
    int rc = tc_channel_core_push(&channel->core, value, &receiver);
    if (rc == -EAGAIN) {
        return rc;
    }
    if (rc == 0) {
        channel->sent++;
        if (receiver != NULL) {
            channel->received++;
        }
    }
    tc_lock_release(&channel->lock);
    if (receiver != NULL) {
        tc__wait_ready(receiver);
    }
    return rc;
}

/* Pop; on -EAGAIN the lock is kept, otherwise released and the sender that is done is awake. */
static inline int pop(struct tc_channel *channel, struct tc_value *value)
{
    struct tc_wait_node *sender;

    tc_lock_acquire(&channel->lock);
    tc_assert_slow(tc_channel_core_is_valid(&channel->core));
    int rc = tc_channel_core_pop(&channel->core, value, &sender);
    if (rc == -EAGAIN) {
        return rc;
    }
    if (rc == 0) {
        channel->received++;
        if (sender != NULL) {
            channel->sent++;
        }
    }
    tc_lock_release(&channel->lock);
    if (sender != NULL) {
        tc__wait_ready(sender);
    }
    return rc;
}

/* ---- to send and receive ------------------------------------------------------------------- */

/* Enters locked, returns unlocked. */
static TC_NOINLINE int send_slow(struct tc_channel *channel, struct tc_value value,
                                 int64_t deadline_ns)
{
    struct tc_wait_node node;
    struct tc__wait wait = {
        .lock = &channel->lock,
        .queue = &channel->core.senders,
        .node = &node,
        .object = channel,
        .deadline_ns = deadline_ns,
        .reason = TC_WAIT_SEND,
        .at_front = false,
    };

    node.value = value;
    int rc = tc__wait_in(&wait);
    if (tc_likely(rc == 0)) {
        return node.result;
    }
    tc_lock_release(&channel->lock);
    return rc;
}

int tc_channel_send(struct tc_channel *channel, struct tc_value value, int64_t deadline_ns)
{
    int rc = push(channel, value);

    return rc == -EAGAIN ? send_slow(channel, value, deadline_ns) : rc;
}

/* Enters locked, returns unlocked. */
static TC_NOINLINE int recv_slow(struct tc_channel *channel, struct tc_value *value,
                                 int64_t deadline_ns)
{
    struct tc_wait_node node;
    struct tc__wait wait = {
        .lock = &channel->lock,
        .queue = &channel->core.receivers,
        .node = &node,
        .object = channel,
        .deadline_ns = deadline_ns,
        .reason = TC_WAIT_RECV,
        .at_front = false,
    };

    int rc = tc__wait_in(&wait);
    if (tc_likely(rc == 0)) {
        if (tc_likely(node.result == 0)) {
            *value = node.value;
        }
        return node.result;
    }
    tc_lock_release(&channel->lock);
    return rc;
}

int tc_channel_recv(struct tc_channel *channel, struct tc_value *value, int64_t deadline_ns)
{
    int rc = pop(channel, value);

    return rc == -EAGAIN ? recv_slow(channel, value, deadline_ns) : rc;
}

int tc_channel_try_send(struct tc_channel *channel, struct tc_value value)
{
    if (tc_channel_core_looks_full(&channel->core)) {
        return -EAGAIN;
    }
    int rc = push(channel, value);
    if (rc == -EAGAIN) {
        tc_lock_release(&channel->lock);
    }
    return rc;
}

int tc_channel_try_recv(struct tc_channel *channel, struct tc_value *value)
{
    if (tc_channel_core_looks_empty(&channel->core)) {
        return -EAGAIN;
    }
    int rc = pop(channel, value);
    if (rc == -EAGAIN) {
        tc_lock_release(&channel->lock);
    }
    return rc;
}

bool tc_channel_close(struct tc_channel *channel)
{
    tc_lock_acquire(&channel->lock);
    bool was_open = !tc_channel_core_is_closed(&channel->core);
    struct tc_wait_node *list = tc_channel_core_close(&channel->core);
    tc_lock_release(&channel->lock);
    tc__wait_ready_all(list);
    return was_open;
}

int tc_channel_visit(struct tc_channel *channel,
                     int (*visit)(const struct tc_value *value, void *arg), void *arg)
{
    struct tc_channel_core *core = &channel->core;
    int rc = 0;

    tc_lock_acquire(&channel->lock);
    uint32_t count = tc_load_relaxed(&core->count); /* relaxed: under the lock */
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        rc = visit(tc__channel_core_place(core, i), arg);
    }
    for (struct tc_wait_node *node = core->senders.head; node != NULL && rc == 0;
         node = node->next) {
        rc = visit(&node->value, arg);
    }
    tc_lock_release(&channel->lock);
    return rc;
}

static uint32_t count_nodes(const struct tc_waitq *queue)
{
    uint32_t count = 0;

    for (const struct tc_wait_node *node = queue->head; node != NULL; node = node->next) {
        count++;
    }
    return count;
}

void tc_channel_get_statistics(struct tc_channel *channel, struct tc_channel_statistics *out)
{
    struct tc_channel_core *core = &channel->core;

    tc_lock_acquire(&channel->lock);
    out->capacity = core->capacity;
    out->count = tc_load_relaxed(&core->count); /* relaxed: under the lock */
    out->sent = channel->sent;
    out->received = channel->received;
    out->senders = count_nodes(&core->senders);
    out->receivers = count_nodes(&core->receivers);
    out->closed = tc_channel_core_is_closed(core);
    tc_lock_release(&channel->lock);
}

/* ---- callback waiters ---------------------------------------------------------------------- */

int tc_channel_send_start(struct tc_channel *channel, struct tc_value value,
                          struct tc_wait_node *node, struct tc_waiter *waiter)
{
    int rc = push(channel, value);

    if (rc != -EAGAIN) {
        return rc;
    }
    node->value = value;
    tc__wait_start(&channel->lock, &channel->core.senders, node, waiter);
    return -EINPROGRESS;
}

int tc_channel_recv_start(struct tc_channel *channel, struct tc_value *value,
                          struct tc_wait_node *node, struct tc_waiter *waiter)
{
    int rc = pop(channel, value);

    if (rc != -EAGAIN) {
        return rc;
    }
    tc__wait_start(&channel->lock, &channel->core.receivers, node, waiter);
    return -EINPROGRESS;
}

bool tc_channel_withdraw(struct tc_channel *channel, struct tc_wait_node *node)
{
    if (!tc__wait_withdraw(&channel->lock, node)) {
        return false;
    }
    tc_lock_release(&channel->lock);
    return true;
}
