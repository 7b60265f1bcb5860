/* sync/channel.h — channels: values handed from senders to receivers, in order, with a limit.
 *
 * Fibers of any runtime, plain threads and callback waiters meet in one channel and do not know of
 * each other's kind. The shape is that of Go's channels: one short lock; a sender that finds a
 * receiver waiting writes into its node, so a value that somebody waits for never passes through
 * the ring; wake-ups after the unlock. Capacity 0 makes every send wait for its receiver.
 *
 * A receiver woken by a fiber runs next on that fiber's worker (sched/worker.h), with the value in
 * a cache that is warm. A ring without a lock was not chosen: close and select need a moment that
 * is the same for all, and an uncontended lock costs two atomic operations.
 *
 * INVARIANTS: C1–C4 in channel_core.h, N1–N3 in wait_core.h, and
 *  C5  Values are received in the order in which they were sent, by each sender and, as the lock
 *      orders them, by all; who waits is served in order of arrival.
 *  C6  A send took effect if and only if it returned 0, a receive likewise: a deadline or a cancel
 *      that meets a delivery loses.
 *
 * The operations beside each other:
 *
 *             returns     closed: send     closed: receive          full / empty
 *   send, recv            -EPIPE           the rest, then -EPIPE    waits
 *   try_send, try_recv    -EPIPE           the rest, then -EPIPE    -EAGAIN
 *   ..._start             -EPIPE           the rest, then -EPIPE    -EINPROGRESS
 *
 *                send recv try start withdraw  close   statistics   fini, last release
 *   any            -   -    -    -      -        -         -              X
 *   X: nobody waits in the channel or comes to it any more          -  safe together
 */
#ifndef TC_SYNC_CHANNEL_H
#define TC_SYNC_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/lock.h"
#include "sync/channel_core.h"
#include "sync/value.h"
#include "sync/wait_core.h"

struct tc_waiter;

#define TC_CHANNEL_CAPACITY_MAX (UINT32_C(1) << 30)

struct tc_channel {
    struct tc_lock lock; /* TC_RANK_CHAN; guards what channel_core.h says, and the sums  */
    _Atomic uint32_t references; /* of a channel from tc_channel_new, else 0; [chan-references]  */
    struct tc_channel_core core;
    void (*release)(void *pointer); /* V3; constant                                              */
    uint64_t sent; /* values that entered, under the lock                          */
    uint64_t received; /* values that left, under the lock                             */
};

struct tc_channel_statistics {
    uint32_t capacity;
    uint32_t count; /* values in the ring now                                               */
    uint64_t sent;
    uint64_t received;
    uint32_t senders; /* waiting now                                                          */
    uint32_t receivers; /* waiting now                                                          */
    bool closed;
};

/* ---- life -------------------------------------------------------------------------------- */

/* Make an open channel in the caller's memory. `release` may be NULL; it is called, without a lock,
 * for TC_VALUE_POINTER values that are still in the ring at the end.
 * Parks: never   Threads: before the channel is shared
 * Returns 0, -ENOMEM (never for capacity 0), -EINVAL for too large a capacity. */
TC_NODISCARD int tc_channel_init(struct tc_channel *channel, uint32_t capacity,
                                 void (*release)(void *pointer));

/* Release what is left in the ring, and its memory. Parks: never   Threads: exclusive */
void tc_channel_fini(struct tc_channel *channel);

/* The same for a channel that is shared by counted references.
 * Parks: never   Threads: any   Owns: the caller has its one reference
 * Returns 0, -ENOMEM, -EINVAL. */
TC_NODISCARD int tc_channel_new(uint32_t capacity, void (*release)(void *pointer),
                                struct tc_channel **out);

/* One more reference to a channel from tc_channel_new. Parks: never   Threads: any holder */
struct tc_channel *tc_channel_acquire(struct tc_channel *channel);

/* Give a reference back; the last one frees. NULL is ignored. Parks: never   Threads: any holder */
void tc_channel_release(struct tc_channel *channel);

/* ---- to send and receive ----------------------------------------------------------------- */

/* Deliver one value; wait while there is no room and no receiver.
 * Parks: may (blocks a plain thread)   Threads: fibers, plain threads
 * Owns: the value moves on 0 only   Deadline: absolute ns, TC_NEVER for none
 * Returns 0, -EPIPE closed, -ETIMEDOUT, -ECANCELED, -ENOMEM no timer, -EINTR plain threads only. */
TC_MAY_PARK TC_NODISCARD int tc_channel_send(struct tc_channel *channel, struct tc_value value,
                                             int64_t deadline_ns);

/* Take the oldest value; wait while there is none and no sender.
 * Parks: may (blocks a plain thread)   Threads: fibers, plain threads
 * Owns: *value is the caller's on 0   Deadline: absolute ns, TC_NEVER for none
 * Returns 0, -EPIPE closed and empty, -ETIMEDOUT, -ECANCELED, -ENOMEM, -EINTR plain threads
 * only. */
TC_MAY_PARK TC_NODISCARD int tc_channel_recv(struct tc_channel *channel, struct tc_value *value,
                                             int64_t deadline_ns);

/* The same without waiting; "full" and "empty" cost no atomic read-modify-write.
 * Parks: never   Threads: any   Owns: as above   Returns 0, -EPIPE, -EAGAIN. */
TC_NODISCARD int tc_channel_try_send(struct tc_channel *channel, struct tc_value value);
TC_NODISCARD int tc_channel_try_recv(struct tc_channel *channel, struct tc_value *value);

/* No value can be sent from now on. Receivers drain the ring; then, and if they wait already, they
 * get -EPIPE, as do the senders that wait. All are woken in one batch.
 * Parks: never   Threads: any   Returns whether the channel was open. */
bool tc_channel_close(struct tc_channel *channel);

/* Parks: never   Threads: any   Returns a snapshot. */
static inline bool tc_channel_is_closed(struct tc_channel *channel)
{
    return tc_channel_core_is_closed(&channel->core);
}

/* Call visit(value, arg) for every value that the channel can still give out: in the ring, and with
 * the senders that wait. Stops at the first result that is not 0. The lock is held: `visit` must
 * not call back, allocate or release anything. (A value in the node of a started receive that is
 * done is its owner's to visit.)
 * Parks: never   Threads: any   Returns the last result of visit, 0 if there was nothing. */
int tc_channel_visit(struct tc_channel *channel,
                     int (*visit)(const struct tc_value *value, void *arg), void *arg);

/* Parks: never   Threads: any */
void tc_channel_get_statistics(struct tc_channel *channel, struct tc_channel_statistics *out);

/* ---- callback waiters: see sync/wait.h ----------------------------------------------------- */

/* Send or receive with a callback. 0 and -EPIPE: over at once, no callback. -EINPROGRESS: `waiter`,
 * which must not be waiting, will be claimed; its callback then finds node->result 0 or -EPIPE and,
 * for a receive, node->value. node and waiter belong to the channel until then.
 * Parks: never   Threads: one at a time for each waiter
 * Owns: the value moves when the result is 0. */
TC_NODISCARD int tc_channel_send_start(struct tc_channel *channel, struct tc_value value,
                                       struct tc_wait_node *node, struct tc_waiter *waiter);
TC_NODISCARD int tc_channel_recv_start(struct tc_channel *channel, struct tc_value *value,
                                       struct tc_wait_node *node, struct tc_waiter *waiter);

/* End a wait that was started, also one that a source of the caller's own has claimed.
 * Parks: never   Threads: one at a time for each waiter
 * Returns true: it is over, a value to be sent is the caller's again in node->value. False:
 * delivery won, the callback has been called or is about to be. */
TC_NODISCARD bool tc_channel_withdraw(struct tc_channel *channel, struct tc_wait_node *node);

#endif
