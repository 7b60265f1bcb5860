/* sync/semaphore.h — a number of permits, given out in order of arrival.
 *
 * A permit that is released while somebody waits is handed to who has waited longest and is never
 * free in between, so nobody overtakes.
 *
 * INVARIANTS
 *  P1  permits > 0 only while nobody waits that could be claimed.
 *  P2  Permits are neither made nor lost: those given at init and by release are free, or with
 *      who acquired one and has not released it.
 *
 *               acquire  try_acquire  release  start  withdraw       -  safe together
 *   any            -          -          -       -        -
 */
#ifndef TC_SYNC_SEMAPHORE_H
#define TC_SYNC_SEMAPHORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/lock.h"
#include "sync/wait_core.h"

struct tc_waiter;

struct tc_semaphore {
    struct tc_lock lock;     /* TC_RANK_CHAN; guards everything below                          */
    uint64_t permits;        /* free now (P1)                                                  */
    struct tc_waitq waiters;
};

/* Make a semaphore with so many free permits. Nothing is to be undone.
 * Parks: never   Threads: before it is shared */
void tc_semaphore_init(struct tc_semaphore *semaphore, uint64_t permits);

/* Take one permit; wait while there is none.
 * Parks: may (blocks a plain thread)   Threads: fibers, plain threads
 * Deadline: absolute ns, TC_NEVER for none
 * Returns 0, -ETIMEDOUT, -ECANCELED, -ENOMEM no timer, -EINTR plain threads only. */
TC_MAY_PARK TC_NODISCARD int tc_semaphore_acquire(struct tc_semaphore *semaphore,
                                                  int64_t deadline_ns);

/* Take one if it is free. Parks: never   Threads: any   Returns true if the caller has it. */
TC_NODISCARD bool tc_semaphore_try_acquire(struct tc_semaphore *semaphore);

/* Give `count` permits; those who get them are woken in one batch. Parks: never   Threads: any */
void tc_semaphore_release(struct tc_semaphore *semaphore, uint64_t count);

/* Parks: never   Threads: any   Returns how many permits are free. */
uint64_t tc_semaphore_permits(struct tc_semaphore *semaphore);

/* With a callback (sync/wait.h): 0, or -EINPROGRESS; the callback has the permit.
 * Parks: never   Threads: one at a time for each waiter */
TC_NODISCARD int tc_semaphore_start(struct tc_semaphore *semaphore, struct tc_wait_node *node,
                                    struct tc_waiter *waiter);

/* True: over. False: the callback has the permit, or is about to.
 * Parks: never   Threads: one at a time for each waiter */
TC_NODISCARD bool tc_semaphore_withdraw(struct tc_semaphore *semaphore, struct tc_wait_node *node);

#endif
