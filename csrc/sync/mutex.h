/* sync/mutex.h — mutual exclusion for fibers, plain threads and callback waiters.
 *
 * The mutex barges: a release frees it and wakes the longest waiter, which then competes with
 * whoever comes by. A holder that soon wants it again goes on without a switch, where a mutex that
 * is handed from one to the next would make every section wait for a wake-up. So that nobody waits
 * for ever, a waiter that finds itself beaten after TC_MUTEX_PATIENCE_NS has the mutex handed over
 * by the next release. (sync.Mutex of Go is the model.) A callback waiter cannot try again: it is
 * handed the mutex in its turn.
 *
 * A mutex belongs to nobody in particular: who releases it need not be who acquired it.
 *
 * INVARIANTS: those of mutex_core.h, and
 *  M1  A waiter is woken in order of arrival; one that was beaten goes back to the front.
 *  M2  A mutex may be destroyed once acquired by somebody who knows that nobody else will come.
 *
 *               acquire  try_acquire  release  start  withdraw       -  safe together
 *   any            -          -          -       -        -          release: by the holder only
 */
#ifndef TC_SYNC_MUTEX_H
#define TC_SYNC_MUTEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/lock.h"
#include "sync/mutex_core.h"
#include "sync/wait_core.h"

struct tc_waiter;

#define TC_MUTEX_PATIENCE_NS (1 * TC_NS_PER_MS) /* after which a beaten waiter is given the mutex */

struct tc_mutex {
    struct tc_mutex_word word; /* mutex_core.h                                                 */
    struct tc_lock lock; /* TC_RANK_CHAN; guards `waiters`                               */
    struct tc_waitq waiters;
};

/* Make a free mutex. Nothing is to be undone. Parks: never   Threads: before it is shared */
void tc_mutex_init(struct tc_mutex *mutex);

/* Tails of the inline functions. */
TC_MAY_PARK TC_NODISCARD int tc__mutex_acquire_slow(struct tc_mutex *mutex, int64_t deadline_ns);
void tc__mutex_release_slow(struct tc_mutex *mutex);

/* Take the mutex; one CAS if it is free.
 * Parks: may (blocks a plain thread)   Threads: fibers, plain threads
 * Deadline: absolute ns, TC_NEVER for none
 * Returns 0, -ETIMEDOUT, -ECANCELED, -ENOMEM no timer, -EINTR plain threads only. */
TC_MAY_PARK TC_NODISCARD static inline int tc_mutex_acquire(struct tc_mutex *mutex,
                                                            int64_t deadline_ns)
{
    if (tc_likely(tc_mutex_core_try_acquire(&mutex->word))) {
        return 0;
    }
    return tc__mutex_acquire_slow(mutex, deadline_ns);
}

/* Take it if it is free. Parks: never   Threads: any   Returns true if the caller holds it now. */
TC_NODISCARD static inline bool tc_mutex_try_acquire(struct tc_mutex *mutex)
{
    return tc_mutex_core_try_acquire(&mutex->word);
}

/* Give it back; one CAS if nobody waits, or if a waiter is on its way already.
 * Parks: never   Threads: any, by or for the holder */
static inline void tc_mutex_release(struct tc_mutex *mutex)
{
    if (tc_unlikely(!tc_mutex_core_release(&mutex->word))) {
        tc__mutex_release_slow(mutex);
    }
}

/* Parks: never   Threads: any   Returns a snapshot. */
static inline bool tc_mutex_is_locked(struct tc_mutex *mutex)
{
    return (tc_load_relaxed(&mutex->word.value) & TC_MUTEX_LOCKED) != 0; /* relaxed: snapshot */
}

/* With a callback (sync/wait.h): 0, or -EINPROGRESS; the callback has the mutex.
 * Parks: never   Threads: one at a time for each waiter */
TC_NODISCARD int tc_mutex_start(struct tc_mutex *mutex, struct tc_wait_node *node,
                                struct tc_waiter *waiter);

/* True: over. False: the callback has the mutex, or is about to.
 * Parks: never   Threads: one at a time for each waiter */
TC_NODISCARD bool tc_mutex_withdraw(struct tc_mutex *mutex, struct tc_wait_node *node);

#endif
