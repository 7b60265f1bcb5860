/* sync/event.h — a flag that can be waited for.
 *
 * Set lets everybody through who waits, and everybody who comes until it is cleared.
 *
 * INVARIANTS
 *  E1  Nobody waits that could be claimed while the flag is set and the lock is free.
 *  E2  Who was let through sees what the setter wrote before it set the flag [event-set].
 *  E3  Who was let through by wait may destroy the event if nobody else will come to it. (is_set
 *      does not say that: the setter may still be busy with the waiters.)
 *
 *               wait  set  clear  is_set  start  withdraw       -  safe together
 *   any           -    -     -      -       -       -
 */
#ifndef TC_SYNC_EVENT_H
#define TC_SYNC_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/defs.h"
#include "base/lock.h"
#include "sync/wait_core.h"

struct tc_waiter;

struct tc_event {
    struct tc_lock lock;     /* TC_RANK_CHAN; guards `waiters` and every change of `flag`       */
    _Atomic uint32_t flag;   /* 0 or 1; read anywhere                                           */
    struct tc_waitq waiters;
};

/* Make a cleared event. Nothing is to be undone. Parks: never   Threads: before it is shared */
void tc_event_init(struct tc_event *event);

/* Parks: never   Threads: any   Returns whether the flag is set, and if so, E2 holds. */
static inline bool tc_event_is_set(struct tc_event *event)
{
    return tc_load_acquire(&event->flag) != 0; /* acquire [event-set]: what the setter wrote */
}

/* Set the flag and wake all who wait, in one batch. Parks: never   Threads: any */
void tc_event_set(struct tc_event *event);

/* Clear the flag. Parks: never   Threads: any */
void tc_event_clear(struct tc_event *event);

/* Wait until the flag is set; who waits when it is set is let through even if it is cleared at
 * once.
 * Parks: may (blocks a plain thread)   Threads: fibers, plain threads
 * Deadline: absolute ns, TC_NEVER for none
 * Returns 0, -ETIMEDOUT, -ECANCELED, -ENOMEM no timer, -EINTR plain threads only. */
TC_MAY_PARK TC_NODISCARD int tc_event_wait(struct tc_event *event, int64_t deadline_ns);

/* With a callback (sync/wait.h): 0, or -EINPROGRESS.
 * Parks: never   Threads: one at a time for each waiter */
TC_NODISCARD int tc_event_start(struct tc_event *event, struct tc_wait_node *node,
                                struct tc_waiter *waiter);

/* True: over. False: the event was set, the callback has been called or is about to be.
 * Parks: never   Threads: one at a time for each waiter */
TC_NODISCARD bool tc_event_withdraw(struct tc_event *event, struct tc_wait_node *node);

#endif
