/* sync/mutex_core.h — the word of a mutex that barges, and hands over to who has waited too long.
 *
 *   bit  name      meaning                                          set by        cleared by
 *   0    LOCKED    somebody holds the mutex                         who gets it   the holder
 *   1    WOKEN     a waiter was taken out of the queue to try       the holder    that waiter
 *                  again, and has not tried yet
 *   2    QUEUED    somebody is in the queue                         who queues    the holder, or
 *                                                                                 the last to leave
 *   3    STARVING  somebody in the queue has waited too long        that waiter   the holder
 *
 *   from                to                  by                             order
 *   LOCKED = 0          LOCKED              try_acquire, announce          acquire CAS [mutex-word]
 *   LOCKED              QUEUED, STARVING;   announce, under the queue's    relaxed CAS
 *                       WOKEN spent         lock
 *   LOCKED              LOCKED = 0          release, if nobody is to be    release CAS [mutex-word]
 *                                           woken
 *   LOCKED, QUEUED      LOCKED = 0, WOKEN   pass_on, under the queue's     release store
 *                                           lock                           [mutex-word]
 *   LOCKED, QUEUED      LOCKED still        pass_on: handed over           relaxed store
 *   QUEUED, STARVING    neither             leave, under the queue's lock  relaxed RMW
 *
 * WHY IT IS RIGHT
 *   1. Only try_acquire and announce set LOCKED, each by a CAS that found it clear, and pass_on
 *      keeps it for one waiter: there is one holder.
 *   2. Nobody sleeps through a release. Who queues sets QUEUED by a CAS that finds LOCKED set,
 *      while it holds the queue's lock until its node is in. The release after that finds QUEUED
 *      and takes the queue's lock, unless WOKEN is set: then a waiter is on its way, which either
 *      gets the mutex, and releases it later, or spends WOKEN in the same CAS that finds LOCKED
 *      set, so that the release of that holder finds QUEUED without WOKEN.
 *   3. While LOCKED is set and the caller is the holder and has the queue's lock, nobody else
 *      changes the word: pass_on may store.
 *   4. STARVING is met by the next release, which hands over: the mutex never becomes free in
 *      between, so nobody can barge in.
 *   5. A word that was released is not touched again, but by pass_on's caller, who has a waiter to
 *      ready, which therefore still uses the mutex.
 *
 * WHO MAY CALL: try_acquire anybody; release the holder; the others under the queue's lock.
 */
#ifndef TC_SYNC_MUTEX_CORE_H
#define TC_SYNC_MUTEX_CORE_H

#include "base/assert.h"
#include "base/atomic.h"
#include "base/defs.h"

enum {
    TC_MUTEX_LOCKED = 1,
    TC_MUTEX_WOKEN = 2,
    TC_MUTEX_QUEUED = 4,
    TC_MUTEX_STARVING = 8,
};

struct tc_mutex_word {
    _Atomic uint32_t value; /* bit table above                                                 */
};

/* What becomes of the mutex when it is passed on. */
enum tc_mutex_pass {
    TC_MUTEX_FREE, /* the waiter is woken to try again; whoever comes first has it              */
    TC_MUTEX_OVER, /* the waiter has it                                                         */
};

static inline void tc_mutex_core_init(struct tc_mutex_word *word)
{
    tc_atomic_init(&word->value, 0);
}

/* Take the mutex if it is free. One CAS. Threads: any   Returns true if the caller holds it now. */
TC_NODISCARD static inline bool tc_mutex_core_try_acquire(struct tc_mutex_word *word)
{
    /* relaxed: a guess, the CAS decides. To guess 0 instead would cost a second CAS whenever
     * somebody is queued, which is when it matters. */
    uint32_t found = tc_load_relaxed(&word->value);

    while ((found & TC_MUTEX_LOCKED) == 0) {
        /* acquire [mutex-word]: sees what the last holder wrote. */
        if (tc_likely(tc_cas_acquire(&word->value, &found, found | TC_MUTEX_LOCKED))) {
            return true;
        }
    }
    return false;
}

/* Take the mutex if it is free, or say that the caller queues. `set` is 0 or STARVING, `spent` is
 * WOKEN if the caller had been woken, else 0.
 * Threads: under the queue's lock   Returns true if the caller holds the mutex now. */
TC_NODISCARD static inline bool tc_mutex_core_announce(struct tc_mutex_word *word, uint32_t set,
                                                       uint32_t spent)
{
    uint32_t found = tc_load_relaxed(&word->value); /* relaxed: a guess, the CAS decides */

    for (;;) {
        if ((found & TC_MUTEX_LOCKED) == 0) {
            uint32_t mine = (found & ~spent) | TC_MUTEX_LOCKED;
            /* acquire [mutex-word]: sees what the last holder wrote. */
            if (tc_cas_acquire(&word->value, &found, mine)) {
                return true;
            }
        } else {
            uint32_t queued = (found & ~spent) | TC_MUTEX_QUEUED | set;
            /* relaxed: the node is published by the queue's lock */
            if (tc_cas_relaxed(&word->value, &found, queued)) {
                return false;
            }
        }
    }
}

/* Free the mutex, if nobody has to be woken for it. One CAS.
 * Threads: the holder   Returns false if the queue must be looked at first: still the holder. */
TC_NODISCARD static inline bool tc_mutex_core_release(struct tc_mutex_word *word)
{
    uint32_t found = tc_load_relaxed(&word->value); /* relaxed: a guess, the CAS decides */

    tc_assert_debug((found & TC_MUTEX_LOCKED) != 0);
    while ((found & TC_MUTEX_STARVING) == 0 &&
           (found & (TC_MUTEX_QUEUED | TC_MUTEX_WOKEN)) != TC_MUTEX_QUEUED) {
        /* release [mutex-word]: publishes the critical section. */
        if (tc_likely(tc_cas_release(&word->value, &found, found & ~(uint32_t)TC_MUTEX_LOCKED))) {
            return true;
        }
    }
    return false;
}

/* True if somebody in the queue has waited too long. Threads: the holder, under the queue's lock */
static inline bool tc_mutex_core_is_starving(struct tc_mutex_word *word)
{
    return (tc_load_relaxed(&word->value) & TC_MUTEX_STARVING) != 0; /* relaxed: see 3 */
}

/* A waiter was taken out of the queue and claimed: give it the mutex, or free the mutex for whoever
 * comes first, maybe that waiter. `is_empty`: nobody else is in the queue.
 * Threads: the holder, under the queue's lock */
static inline void tc_mutex_core_pass_on(struct tc_mutex_word *word, enum tc_mutex_pass how,
                                         bool is_empty)
{
    uint32_t queued = is_empty ? 0 : TC_MUTEX_QUEUED;

    if (how == TC_MUTEX_OVER) {
        /* relaxed: the new holder learns of it from its ready(), which orders. See 3. */
        uint32_t woken = tc_load_relaxed(&word->value) & TC_MUTEX_WOKEN;
        tc_store_relaxed(&word->value, TC_MUTEX_LOCKED | queued | woken); /* relaxed: as above */
    } else {
        /* release [mutex-word]: publishes the critical section. See 3. */
        tc_store_release(&word->value, TC_MUTEX_WOKEN | queued);
    }
}

/* Nobody is in the queue any more. Threads: any, under the queue's lock */
static inline void tc_mutex_core_leave(struct tc_mutex_word *word)
{
    /* relaxed: says only that the queue need not be looked at */
    tc_fetch_and_relaxed(&word->value, ~(uint32_t)(TC_MUTEX_QUEUED | TC_MUTEX_STARVING));
}

#endif
