/* sync/channel_core.h — what a channel does under its lock, and the two words that are read
 * without.
 *
 * A ring of values between a queue of senders and a queue of receivers, after the hchan of Go's
 * runtime. The caller holds the lock, calls one step, releases the lock, and then readies whom the
 * step has claimed. A step that finds nothing to do says -EAGAIN and has changed nothing; the
 * caller gives up or queues itself before it releases the lock.
 *
 *   push                                       pop
 *     closed: -EPIPE                             ring not empty: its oldest; a waiting sender's
 *     a receiver waits: into its node              value takes the free place
 *     room in the ring: in there                 a sender waits: its node's value
 *     else -EAGAIN                               closed: -EPIPE, else -EAGAIN
 *
 * INVARIANTS
 *   C1  0 <= count <= capacity; the ring holds the values in order of arrival from `head`.
 *   C2  A receiver that can be claimed waits only while the ring is empty and no claimable sender
 *       waits; a claimable sender only while the ring is full.
 *   C3  Once closed, a channel stays so; no push succeeds, nobody waits that could be claimed, and
 *       what the ring holds can still be popped. Then pop says -EPIPE.
 *   C4  A value is in one place: with who sends, in the ring, in the node of a claimed receiver.
 *
 * LOOKING WITHOUT THE LOCK
 *   A try_ form that would find nothing need not take the lock. It reads `count` first, then
 *   `closed`: a change of `count` is a release, so that who sees a state of the ring also sees a
 *   close that came before it, and "empty" (or "full") together with "open" was true at the moment
 *   when `count` was read [chan-count]. Only channels with a ring can be seen through like this.
 *
 * WHO MAY CALL: under the channel's lock, but for tc_channel_core_looks_empty and _looks_full.
 */
#ifndef TC_SYNC_CHANNEL_CORE_H
#define TC_SYNC_CHANNEL_CORE_H

#include <errno.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/defs.h"
#include "sync/value.h"
#include "sync/wait_core.h"

struct tc_channel_core {
    _Atomic uint32_t closed; /* 0, then 1 (C3); written under the lock, read anywhere          */
    _Atomic uint32_t count; /* values in the ring; written under the lock, read anywhere      */
    uint32_t capacity; /* constant                                                       */
    uint32_t head; /* place of the oldest value; under the lock                      */
    struct tc_value *ring; /* `capacity` places, owned by the channel; under the lock        */
    struct tc_waitq senders; /* nodes hold the value to send; under the lock                 */
    struct tc_waitq receivers; /* nodes take the value received; under the lock                */
};

static inline void tc_channel_core_init(struct tc_channel_core *core, struct tc_value *ring,
                                        uint32_t capacity)
{
    tc_atomic_init(&core->closed, 0);
    tc_atomic_init(&core->count, 0);
    core->capacity = capacity;
    core->head = 0;
    core->ring = ring;
    tc_waitq_init(&core->senders);
    tc_waitq_init(&core->receivers);
}

static inline uint32_t tc__channel_core_count(struct tc_channel_core *core)
{
    return tc_load_relaxed(&core->count); /* relaxed: under the lock */
}

static inline void tc__channel_core_set_count(struct tc_channel_core *core, uint32_t count)
{
    tc_store_release(&core->count, count); /* release [chan-count]: with who looks without lock */
}

static inline bool tc_channel_core_is_closed(struct tc_channel_core *core)
{
    return tc_load_relaxed(&core->closed) != 0; /* relaxed: under the lock, or a snapshot */
}

/* The place `offset` behind the oldest value. */
static inline struct tc_value *tc__channel_core_place(struct tc_channel_core *core, uint32_t offset)
{
    uint32_t place = core->head + offset; /* no overflow: capacity is below 2^31 */

    return &core->ring[place < core->capacity ? place : place - core->capacity];
}

static inline void tc__channel_core_advance(struct tc_channel_core *core)
{
    core->head = core->head + 1 < core->capacity ? core->head + 1 : 0;
}

/* Move `value` into the channel. *woken is the receiver that got it, or NULL: claimed, to be
 * readied after the lock.   Returns 0, -EPIPE, -EAGAIN. */
TC_NODISCARD static inline int tc_channel_core_push(struct tc_channel_core *core,
                                                    struct tc_value value,
                                                    struct tc_wait_node **woken)
{
    uint32_t count = tc__channel_core_count(core);

    *woken = NULL;
    if (tc_unlikely(tc_channel_core_is_closed(core))) {
        return -EPIPE;
    }
    if (!tc_waitq_is_empty(&core->receivers)) {
        struct tc_wait_node *receiver = tc_waitq_take(&core->receivers);
        if (receiver != NULL) {
            receiver->value = value;
            receiver->result = 0;
            *woken = receiver;
            return 0;
        }
    }
    if (count < core->capacity) {
        *tc__channel_core_place(core, count) = value;
        tc__channel_core_set_count(core, count + 1);
        return 0;
    }
    return -EAGAIN;
}

/* Move the oldest value out of the channel. *woken is the sender that is done now, or NULL:
 * claimed, to be readied after the lock.   Returns 0, -EPIPE, -EAGAIN. */
TC_NODISCARD static inline int tc_channel_core_pop(struct tc_channel_core *core,
                                                   struct tc_value *value,
                                                   struct tc_wait_node **woken)
{
    uint32_t count = tc__channel_core_count(core);
    struct tc_wait_node *sender = NULL;

    if (!tc_waitq_is_empty(&core->senders)) {
        sender = tc_waitq_take(&core->senders);
        if (sender != NULL) {
            sender->result = 0;
        }
    }
    *woken = sender;
    if (count != 0) {
        struct tc_value *place = tc__channel_core_place(core, 0);
        *value = *place;
        tc__channel_core_advance(core);
        if (sender != NULL) {
            *tc__channel_core_place(core, count - 1) = sender->value; /* C2: it was full */
        } else {
            tc__channel_core_set_count(core, count - 1);
        }
        return 0;
    }
    if (sender != NULL) {
        *value = sender->value;
        return 0;
    }
    return tc_channel_core_is_closed(core) ? -EPIPE : -EAGAIN;
}

/* Close the channel. Returns the nodes of all who waited, linked by `next`, claimed, with result
 * -EPIPE: receivers, then senders, whose values stay theirs. */
TC_NODISCARD static inline struct tc_wait_node *tc_channel_core_close(struct tc_channel_core *core)
{
    struct tc_wait_node *list = NULL;

    if (tc_channel_core_is_closed(core)) {
        return NULL;
    }
    tc_store_relaxed(&core->closed, 1); /* relaxed: the next change of `count` publishes it */
    struct tc_wait_node **last = tc_waitq_take_all(&core->receivers, -EPIPE, &list);
    tc_waitq_take_all(&core->senders, -EPIPE, last);
    return list;
}

/* True if, at some moment during the call, pop would have said -EAGAIN. */
static inline bool tc_channel_core_looks_empty(struct tc_channel_core *core)
{
    /* acquire [chan-count]: a close before this state of the ring is seen below. */
    return core->capacity != 0 && tc_load_acquire(&core->count) == 0 &&
           !tc_channel_core_is_closed(core);
}

/* True if, at some moment during the call, push would have said -EAGAIN. */
static inline bool tc_channel_core_looks_full(struct tc_channel_core *core)
{
    /* acquire [chan-count]: as above. */
    return core->capacity != 0 && tc_load_acquire(&core->count) == core->capacity &&
           !tc_channel_core_is_closed(core);
}

/* Check C1 and the queues. */
static inline bool tc_channel_core_is_valid(struct tc_channel_core *core)
{
    uint32_t count = tc__channel_core_count(core);

    return count <= core->capacity && (core->capacity == 0 || core->head < core->capacity) &&
           tc_waitq_is_valid(&core->senders) && tc_waitq_is_valid(&core->receivers);
}

#endif
