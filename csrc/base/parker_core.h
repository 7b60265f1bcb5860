/* base/parker_core.h — the protocol by which one thread sleeps and any thread ends that sleep.
 *
 * How the thread sleeps (futex, epoll_wait) and how it is woken (futex, eventfd) are hooks of the
 * includer, given as constant arguments so that they are inlined.
 *
 *            park                           unpark (swap)
 *   RUNNING ──────► PARKED            any state ──────────► NOTIFIED
 *      ▲               │
 *      └───────────────┴── end of park (swap), from NOTIFIED or, on timeout, from PARKED
 *
 *   from       to         by                              order
 *   RUNNING    PARKED     owner, tc_parker_core_begin     relaxed CAS
 *   any        NOTIFIED   any, tc_parker_core_unpark      release swap  [parker-token]
 *   any        RUNNING    owner, begin (token) or end     acquire swap  [parker-token]
 *
 * WHY IT IS RIGHT
 *   1. NOTIFIED is a token: a wake that comes before the park makes the park return at once, so
 *      check-then-park loses nothing. Several wakes before one park leave one token.
 *   2. unpark always swaps. To look first and skip the swap of an already NOTIFIED word would be
 *      store buffering: the waker's data may still sit behind its load while the owner takes the
 *      token, finds no data and parks for good. The swap is also a release on every wake, and as
 *      all writes but the owner's are swaps, the owner's one acquire swap sees what every coalesced
 *      waker published.
 *   3. Only the unpark that finds PARKED calls the wake hook: at most one per park, and the
 *      word is NOTIFIED by then, so a sleeper that looks at the word cannot fall asleep after it.
 *   4. The final swap decides between a token and a timeout that meet: a token wins.
 *
 * INVARIANTS
 *   PK1  Only the owner leaves RUNNING or NOTIFIED for anything else than NOTIFIED.
 *   PK2  The word outlives every unpark: its last use is the wake hook, after the swap.
 *
 *              park   unpark        -  safe together
 *   park         o      -           o  the one owner
 *   unpark       -      -
 */
#ifndef TC_BASE_PARKER_CORE_H
#define TC_BASE_PARKER_CORE_H

#include "base/assert.h"
#include "base/atomic.h"
#include "base/defs.h"

enum {
    TC_PARKER_RUNNING,  /* owner runs, no token                                                */
    TC_PARKER_PARKED,   /* owner sleeps or is about to                                         */
    TC_PARKER_NOTIFIED, /* token: the present or the next park returns                         */
};

struct tc_parker_core {
    _Atomic uint32_t state; /* transitions above; also the futex word of parker.c              */
};

/* Hook: sleep until woken or `deadline_ns`, but not if *state is no longer PARKED. May return early
 * for no reason. Returns 0 to look at the word again; anything else ends the park. */
typedef int tc_parker_block_fn(_Atomic uint32_t *state, int64_t deadline_ns, void *arg);

/* Hook: end the sleep that the owner is in or about to begin. */
typedef void tc_parker_wake_fn(_Atomic uint32_t *state, void *arg);

static inline void tc_parker_core_init(struct tc_parker_core *parker)
{
    tc_atomic_init(&parker->state, TC_PARKER_RUNNING);
}

/* Take the token if there is one, else announce the sleep.
 * Threads: owner   Returns true if the caller must now sleep and then call end. */
TC_NODISCARD static inline bool tc_parker_core_begin(struct tc_parker_core *parker)
{
    uint32_t found = TC_PARKER_RUNNING;

    /* relaxed: tells wakers to call the wake hook, publishes nothing else. */
    if (tc_cas_relaxed(&parker->state, &found, TC_PARKER_PARKED)) {
        return true;
    }
    tc_assert_debug(found == TC_PARKER_NOTIFIED);
    /* acquire [parker-token]: what every waker published before its swap. */
    (void)tc_exchange_acquire(&parker->state, TC_PARKER_RUNNING);
    return false;
}

/* True while no waker came since begin. Threads: owner; others as a hint. */
static inline bool tc_parker_core_is_parked(struct tc_parker_core *parker)
{
    return tc_load_relaxed(&parker->state) == TC_PARKER_PARKED; /* relaxed: end acquires */
}

/* Leave the sleep. Threads: owner   Returns true if there was a token, which is now spent. */
static inline bool tc_parker_core_end(struct tc_parker_core *parker)
{
    /* acquire [parker-token]: as in begin. */
    return tc_exchange_acquire(&parker->state, TC_PARKER_RUNNING) == TC_PARKER_NOTIFIED;
}

/* Sleep until unparked or until the block hook gives up.
 * Threads: owner   Returns 0 if unparked, else what the block hook returned. */
static inline int tc_parker_core_park(struct tc_parker_core *parker, int64_t deadline_ns,
                                      tc_parker_block_fn *block, void *arg)
{
    int result = 0;

    if (!tc_parker_core_begin(parker)) {
        return 0;
    }
    while (result == 0 && tc_parker_core_is_parked(parker)) {
        result = block(&parker->state, deadline_ns, arg);
    }
    return tc_parker_core_end(parker) ? 0 : result;
}

/* Leave a token and end the owner's sleep. Cost: one swap; a system call only if it sleeps.
 * Threads: any. */
static inline void tc_parker_core_unpark(struct tc_parker_core *parker, tc_parker_wake_fn *wake,
                                         void *arg)
{
    /* release [parker-token]: publishes what the caller wrote, also if the token is there. */
    if (tc_exchange_release(&parker->state, TC_PARKER_NOTIFIED) == TC_PARKER_PARKED) {
        wake(&parker->state, arg);
    }
}

#endif
