/* sync/waitgroup.h — wait until a number of pieces of work are done.
 *
 *   bits   field     meaning                                   written by
 *   0      WAITING   somebody is, or was, in the queue         wait, under the lock; cleared by the
 *                                                              done that brought the count to 0
 *   1–31   count     pieces of work not yet done               add, done
 *
 * One word holds both, so the done that brings the count to 0 learns from its own subtraction
 * whether anybody is to be woken, and needs no lock otherwise.
 *
 * INVARIANTS
 *  G1  A waiter sets WAITING under the lock by a read-modify-write that finds the count above 0,
 *      and is in the queue when the lock is released: the done that comes to 0 later finds the bit.
 *  G2  WAITING is cleared under the lock by that done alone, or by the first of several. Until then
 *      a wait does not return 0: the group may lie on the waiter's stack.
 *  G3  Who was let through sees what was written before each done [waitgroup-count].
 *
 * An add that comes when the count is 0 while somebody waits begins the next round; who still waits
 * then may be let through at its end only, and may not destroy the group.
 *
 *               add  done  wait  start  withdraw       -  safe together
 *   any          -     -     -     -        -
 */
#ifndef TC_SYNC_WAITGROUP_H
#define TC_SYNC_WAITGROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/defs.h"
#include "base/lock.h"
#include "sync/wait_core.h"

struct tc_waiter;

enum {
    TC_WAITGROUP_WAITING = 1,
    TC_WAITGROUP_ONE = 2, /* one piece of work                                                  */
};

struct tc_waitgroup {
    _Atomic uint32_t word;   /* bit table above                                                 */
    struct tc_lock lock;     /* TC_RANK_CHAN; guards `waiters`                                  */
    struct tc_waitq waiters;
};

/* Make a group without work. Nothing is to be undone.
 * Parks: never   Threads: before it is shared */
void tc_waitgroup_init(struct tc_waitgroup *group);

/* Tail of tc_waitgroup_done. */
void tc__waitgroup_done_slow(struct tc_waitgroup *group);

/* `count` more pieces of work, before they are begun. At most 2^30 in all.
 * Parks: never   Threads: any */
static inline void tc_waitgroup_add(struct tc_waitgroup *group, uint32_t count)
{
    /* relaxed: whoever begins the work is told by other means */
    uint32_t before = tc_fetch_add_relaxed(&group->word, count * TC_WAITGROUP_ONE);

    tc_assert_debug(before / TC_WAITGROUP_ONE + count <= (UINT32_C(1) << 30));
    (void)before;
}

/* One piece is done; the last one wakes all who wait, in one batch. One read-modify-write.
 * Parks: never   Threads: any */
static inline void tc_waitgroup_done(struct tc_waitgroup *group)
{
    /* acq_rel [waitgroup-count]: publishes the work; the last one hands on what all published. */
    uint32_t before = tc_fetch_sub_acq_rel(&group->word, TC_WAITGROUP_ONE);

    tc_assert_debug(before >= TC_WAITGROUP_ONE);
    if (tc_unlikely(before == (TC_WAITGROUP_ONE | TC_WAITGROUP_WAITING))) {
        tc__waitgroup_done_slow(group);
    }
}

/* Parks: never   Threads: any   Returns a snapshot of the count. */
static inline uint32_t tc_waitgroup_count(struct tc_waitgroup *group)
{
    return tc_load_relaxed(&group->word) / TC_WAITGROUP_ONE; /* relaxed: snapshot */
}

/* Wait until the count is 0.
 * Parks: may (blocks a plain thread)   Threads: fibers, plain threads
 * Deadline: absolute ns, TC_NEVER for none
 * Returns 0, -ETIMEDOUT, -ECANCELED, -ENOMEM no timer, -EINTR plain threads only. */
TC_MAY_PARK TC_NODISCARD int tc_waitgroup_wait(struct tc_waitgroup *group, int64_t deadline_ns);

/* With a callback (sync/wait.h): 0, or -EINPROGRESS.
 * Parks: never   Threads: one at a time for each waiter */
TC_NODISCARD int tc_waitgroup_start(struct tc_waitgroup *group, struct tc_wait_node *node,
                                    struct tc_waiter *waiter);

/* True: over. False: the work is done, the callback has been called or is about to be.
 * Parks: never   Threads: one at a time for each waiter */
TC_NODISCARD bool tc_waitgroup_withdraw(struct tc_waitgroup *group, struct tc_wait_node *node);

#endif
