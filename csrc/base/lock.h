/* base/lock.h — a four-byte lock for short critical sections of threads, ranked for debugging.
 *
 * The word is 0 free, 1 held, 2 held and perhaps somebody sleeps (Drepper, "Futexes Are
 * Tricky", mutex 3). A contender spins briefly, then swaps in 2 and sleeps. Release is one
 * swap: a plain store would be cheaper, but then the releaser must learn of sleepers from a
 * second read, and only a full fence between the two, or a barrier on all processors, keeps
 * that from losing a wake-up.
 *
 * INVARIANTS
 *   K1  Whoever swaps the word away from 0 holds the lock.
 *   K2  A thread sleeps only after it wrote 2, and whoever swaps 2 to 0 wakes one.
 *   K3  A thread acquires locks in increasing rank, and several of one rank, its peers, in
 *       increasing address (TC_DEBUG >= 1 asserts it): no cycle of waiting threads can form.
 *   K4  A fiber never parks, and a thread never runs foreign code, while it holds a lock.
 *
 *   word   meaning                 may become
 *     0    free                    1 acquire, try_acquire · 2 acquire after having slept or spun
 *     1    held, nobody sleeps     0 release · 2 a contender, before it sleeps
 *     2    held, maybe sleepers    0 release, which then wakes one
 */
#ifndef TC_BASE_LOCK_H
#define TC_BASE_LOCK_H

#include "base/assert.h"
#include "base/atomic.h"
#include "base/defs.h"

/* Order of acquisition, outermost first. */
enum tc_rank {
    TC_RANK_HTTP_STREAM = 1,
    TC_RANK_HTTP_DESK,
    TC_RANK_RUNTIME,
    TC_RANK_SERVER,
    TC_RANK_LISTENER,
    TC_RANK_CALL,
    TC_RANK_CHAN,
    TC_RANK_FIBER,
    TC_RANK_BLOCKING,
    TC_RANK_INJECT,
    TC_RANK_STACK,
    TC_RANK_SLAB,
    TC_RANK_UPLOAD,
    TC_RANK_STATIC,
    TC_RANK_EBR,
};

struct tc_lock {
    _Atomic uint32_t word; /* see the table; written by every contender                        */
#if TC_DEBUG >= 1
    uint32_t rank;         /* enum tc_rank; constant after init                                */
    _Atomic int32_t owner; /* thread id of the holder, 0 when free; written by the holder      */
#endif
};

/* Make a free lock. Parks: never   Threads: before the lock is shared. */
void tc_lock_init(struct tc_lock *lock, enum tc_rank rank);

/* Sleep until the word was changed from 0 by this thread. Out-of-line tail of tc_lock_acquire. */
void tc__lock_acquire_slow(struct tc_lock *lock);

/* Wake one sleeper. Out-of-line tail of tc_lock_release. */
void tc__lock_wake_slow(struct tc_lock *lock);

/* How many locks the calling thread holds; always 0 below TC_DEBUG 1.
 * Parks: never   Threads: any. */
int tc_lock_held_count(void);

#if TC_DEBUG >= 1

/* Assert K3 before waiting; keep the thread's list of held locks after success and at release. */
void tc__lock_check_rank(const struct tc_lock *lock);
void tc__lock_check_peer(const struct tc_lock *lock);
void tc__lock_note_acquired(struct tc_lock *lock);
void tc__lock_note_released(struct tc_lock *lock);

#else

static inline void tc__lock_check_rank(const struct tc_lock *lock)
{
    (void)lock;
}

static inline void tc__lock_check_peer(const struct tc_lock *lock)
{
    (void)lock;
}

static inline void tc__lock_note_acquired(struct tc_lock *lock)
{
    (void)lock;
}

static inline void tc__lock_note_released(struct tc_lock *lock)
{
    (void)lock;
}

#endif

/* Take the lock without waiting; the rank is not checked, since this cannot deadlock.
 * Parks: never   Threads: any that does not hold it   Returns whether the caller now holds it. */
TC_NODISCARD static inline bool tc_lock_try_acquire(struct tc_lock *lock)
{
    uint32_t free_word = 0;

    /* acquire [lock-word]: sees everything the last holder wrote before its release. */
    if (!tc_cas_acquire(&lock->word, &free_word, 1)) {
        return false;
    }
    tc__lock_note_acquired(lock);
    return true;
}

/* Take the lock; one CAS if it is free, otherwise the thread spins, then sleeps.
 * Parks: never (blocks the thread)   Threads: any that does not hold it. */
static inline void tc_lock_acquire(struct tc_lock *lock)
{
    uint32_t free_word = 0;

    tc__lock_check_rank(lock);
    /* acquire [lock-word]: sees everything the last holder wrote before its release. */
    if (tc_unlikely(!tc_cas_acquire(&lock->word, &free_word, 1))) {
        tc__lock_acquire_slow(lock);
    }
    tc__lock_note_acquired(lock);
}

/* The same beside other locks of its rank, which all have lower addresses (K3).
 * Parks: never (blocks the thread)   Threads: any that does not hold it. */
static inline void tc_lock_acquire_peer(struct tc_lock *lock)
{
    uint32_t free_word = 0;

    tc__lock_check_peer(lock);
    /* acquire [lock-word]: sees everything the last holder wrote before its release. */
    if (tc_unlikely(!tc_cas_acquire(&lock->word, &free_word, 1))) {
        tc__lock_acquire_slow(lock);
    }
    tc__lock_note_acquired(lock);
}

/* Whether somebody holds it: a hint, for who would rather wait elsewhere.
 * Parks: never   Threads: any */
static inline bool tc_lock_looks_held(struct tc_lock *lock)
{
    return tc_load_relaxed(&lock->word) != 0; /* relaxed: a hint */
}

/* Give the lock back; one swap, and a system call only if somebody may sleep.
 * Parks: never   Threads: the holder. */
static inline void tc_lock_release(struct tc_lock *lock)
{
    tc__lock_note_released(lock);
    /* release [lock-word]: publishes the critical section to the next holder's acquire. */
    if (tc_unlikely(tc_exchange_release(&lock->word, 0) == 2)) {
        tc__lock_wake_slow(lock);
    }
}

#endif
