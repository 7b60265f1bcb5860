/* io/timer.h — deadlines: a 4-ary heap per worker that only its owner touches.
 *
 * A timer node is type-stable and belongs to the heap from arm to pop. Whoever armed it keeps a
 * handle {node, sequence}. On the owner's thread cancel removes the node; on another thread it only
 * moves the node's sequence on and counts one more stale node: nothing is sent, nobody is woken.
 * The owner drops stale nodes as they surface, and rebuilds the heap when more than a quarter of it
 * is stale. Firing claims the waiter with the sequence number of the wait it was armed for, so a
 * node that outlived its wait fires into nothing.
 *
 * INVARIANTS
 *  T1  A node is in a heap from arm until the owner takes it out; only the owner changes that.
 *  T2  A deadline never fires early: the clock is sampled, then compared.
 *  T3  An arm is ended once, by one CAS on the node's sequence: +2 by the owner, who fires or
 *      removes it; +1 by a canceller elsewhere, which leaves the node odd, that is stale, until the
 *      owner drops it with another +1.
 *
 *               arm   fire   cancel     -  safe together    o  owner only
 *   arm         o     o      -
 *   fire        o     o      -
 *   cancel      -     -      -          (of different handles; one handle has one holder)
 */
#ifndef TC_IO_TIMER_H
#define TC_IO_TIMER_H

#include <stdint.h>

#include "base/atomic.h"
#include "base/defs.h"
#include "base/heap.h"
#include "base/slab.h"
#include "sched/driver.h"
#include "sched/waiter.h"

struct tc_timer {
    struct tc_heap_node node;      /* owner only (T1)                                           */
    struct tc_waiter *waiter;      /* whose wait ends; owner only while queued                  */
    uint64_t wait_seq;             /* which wait of it; as above                                */
    _Atomic uint64_t sequence;     /* T3; type-stable, never reset                              */
    _Atomic(struct tc_timers *) queued_in; /* NULL when free; owner writes                      */
};

struct tc_timers {
    struct tc_heap heap;           /* owner only                                                */
    struct tc_slab_cache cache;    /* owner only: nodes                                         */
    _Atomic int32_t stale;         /* cancelled by other threads, still in the heap; see below  */
    _Atomic uint32_t length;       /* of the heap; owner writes, the census reads               */
    _Atomic uint64_t fired;        /* statistics, owner writes                                  */
};

/* Timers that wait: what the census shows. Exact while nothing moves.
 * Parks: never   Threads: any */
static inline uint64_t tc_timers_count(struct tc_timers *timers)
{
    int32_t stale = tc_load_acquire(&timers->stale); /* acquire [timer-count]: see drop_stale */
    int64_t count = (int64_t)tc_load_relaxed(&timers->length) - stale; /* relaxed: statistics */
    return count > 0 ? (uint64_t)count : 0;
}

/* Start empty; nodes come from a slab that outlives every handle.
 * Parks: never   Threads: before the worker runs   Owns: borrows `nodes` */
void tc_timers_init(struct tc_timers *timers, struct tc_slab *nodes);

/* Drop whatever is armed, without firing it. Parks: never   Threads: after the worker ran */
void tc_timers_fini(struct tc_timers *timers);

/* Claim wait `seq` of `waiter` with -ETIMEDOUT once `when_ns` has passed.
 * Parks: never   Threads: owner   Returns 0, -ENOMEM (nothing armed). */
TC_NODISCARD int tc_timers_arm(struct tc_timers *timers, struct tc_waiter *waiter, uint64_t seq,
                               int64_t when_ns, struct tc_deadline *out);

/* Forget a deadline, fired or not; `mine` is the calling worker's heap, NULL on other threads.
 * Parks: never   Threads: any, one holder per handle   Owns: the handle is spent */
void tc_timers_cancel(struct tc_timers *mine, struct tc_deadline *deadline);

/* Fire what is due.
 * Parks: never   Threads: owner   Returns the number of waiters claimed and readied. */
int tc_timers_expire(struct tc_timers *timers, struct tc_worker *worker, int64_t now_ns);

/* Earliest live deadline, TC_NEVER if none. Parks: never   Threads: owner */
int64_t tc_timers_next(struct tc_timers *timers);

#endif
