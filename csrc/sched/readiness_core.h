/* sched/readiness_core.h — one direction of one thing that becomes ready: an edge is remembered
 * until somebody uses it, and at most one waiter waits for it.
 *
 * After the per-direction word of Go's netpoll, with one more state. There the word is the waiting
 * goroutine's address; here it is a small state beside two plain fields, because a waiter is only
 * known by {address, sequence}, which no word holds.
 *
 *               notify                         consume
 *      IDLE ───────────► READY         READY ───────────► IDLE
 *       │ ▲                ▲
 *  park │ │ withdraw       │ unlock
 *       ▼ │    notify      │
 *      WAIT ──────────► LOCKED
 *
 *   from          to       by                               order
 *   READY         IDLE     owner, consume                   acquire swap   [readiness-ready]
 *   IDLE, READY   READY    owner, restore                   relaxed swap
 *   IDLE          WAIT     owner's commit, park             release CAS    [readiness-wait]
 *   WAIT          IDLE     owner, withdraw                  relaxed CAS
 *   IDLE, READY   READY    source, notify                   release CAS    [readiness-ready]
 *   LOCKED        LOCKED   source, notify                   release CAS    [readiness-ready]
 *   WAIT          LOCKED   source, notify                   acq_rel CAS    [readiness-wait]
 *   LOCKED        READY    that source, unlock              release swap   [readiness-unlock]
 *
 *   state    the fields belong to      meaning
 *   IDLE     the owner                 nothing is known; park before the next attempt
 *   READY    the owner                 an edge came since the last consume: try
 *   WAIT     nobody, read-only         a waiter is installed
 *   LOCKED   the source that made it   a source is about to claim the waiter
 *
 * How it is used:
 *
 *   owner                                       source
 *     loop: if consume, try; done unless          if notify(&waiter, &seq):
 *           it would block (short: no edge left)      won := claim(waiter, seq)
 *           begin; suspend; in the commit:            unlock
 *             arm; if not park: claim own wait,       if won: ready(waiter)
 *             resume; else allow_cancel
 *           on resumption: withdraw, whoever woke us
 *
 * WHY IT IS RIGHT
 *   1. No edge is lost. The owner consumes before it tries, so an edge during the try leaves READY,
 *      and park fails on READY. A source that met a waiter leaves READY behind, whether its claim
 *      succeeded or the waiter was dead (timed out, cancelled, claimed by another source).
 *   2. A waiter never moves on while a source looks at it. After any wake the owner withdraws: it
 *      takes a WAIT back itself, and waits out LOCKED, which lasts for a few instructions: no
 *      source parks, makes a system call or calls ready between notify and unlock. So the fields
 *      are never rewritten under a reader [readiness-unlock], and no wait begins while an old
 *      registration stands.
 *   3. A stale wake resumes nothing: the claim compares the sequence that was installed.
 *   4. notify is a release read-modify-write also where the state stays the same. What a source
 *      wrote before (a latched hang-up, a closing flag) is visible to the consume that takes it,
 *      though several edges were folded into one [readiness-ready]. That is why restore and unlock
 *      are swaps: a plain store would cut the chain of releases.
 *
 * INVARIANTS
 *   RD1  consume, restore, park and withdraw are the owner's: one fiber, or the connection at rest.
 *   RD2  The owner consumes, restores and parks only while no waiter is installed.
 *   RD3  The struct is type-stable: a source may hold it longer than the owner.
 *
 *              owner's   notify … unlock       -  safe together
 *   owner's       o            -               o  the one owner
 *   notify        -            -
 */
#ifndef TC_SCHED_READINESS_CORE_H
#define TC_SCHED_READINESS_CORE_H

#include "base/assert.h"
#include "base/atomic.h"
#include "base/defs.h"

/* Only its address is used here. */
struct tc_waiter;

enum {
    TC_READINESS_IDLE,
    TC_READINESS_READY,
    TC_READINESS_WAIT,
    TC_READINESS_LOCKED,
};

struct tc_readiness {
    _Atomic uint32_t state;   /* transitions above                                             */
    struct tc_waiter *waiter; /* borrowed; written in park, read in LOCKED                     */
    uint64_t seq;             /* the wait of `waiter`; as above                                */
};

/* Threads: before it is shared. */
static inline void tc_readiness_init(struct tc_readiness *r, bool is_ready)
{
    tc_atomic_init(&r->state, is_ready ? TC_READINESS_READY : TC_READINESS_IDLE);
    r->waiter = NULL;
    r->seq = 0;
}

/* A snapshot for dumps and for those who only want to know. Threads: any. */
static inline bool tc_readiness_is_ready(struct tc_readiness *r)
{
    /* acquire [readiness-ready]: what the source wrote before the edge. */
    return tc_load_acquire(&r->state) == TC_READINESS_READY;
}

/* ---- owner ------------------------------------------------------------------------------- */

/* Use up an edge, before the attempt that it promises. Cost: one load, and a swap if ready.
 * Parks: never   Threads: owner   Returns whether there was one. */
TC_NODISCARD static inline bool tc_readiness_consume(struct tc_readiness *r)
{
    /* relaxed: a late look finds IDLE; park then meets the edge. */
    uint32_t state = tc_load_relaxed(&r->state);

    if (state != TC_READINESS_READY) {
        tc_assert_debug(state == TC_READINESS_IDLE); /* RD2 */
        return false;
    }
    /* acquire [readiness-ready]: what the sources of all folded edges wrote before. */
    (void)tc_exchange_acquire(&r->state, TC_READINESS_IDLE);
    return true;
}

/* Promise that another attempt is worth while: after a full-length transfer, or while a hang-up is
 * latched. Parks: never   Threads: owner. */
static inline void tc_readiness_restore(struct tc_readiness *r)
{
    /* relaxed: tells only ourselves; a swap, so that earlier releases stay in the chain. */
    uint32_t old = tc_exchange_relaxed(&r->state, TC_READINESS_READY);

    tc_assert_debug(old == TC_READINESS_IDLE || old == TC_READINESS_READY); /* RD2 */
    (void)old;
}

/* Install an armed waiter. After success nothing of the owner's may be touched but by claim.
 * Parks: never   Threads: owner's commit callback   Owns: borrows `waiter` until withdraw
 * Returns false if an edge is there: the caller claims its own wait and resumes. */
TC_NODISCARD static inline bool tc_readiness_park(struct tc_readiness *r, struct tc_waiter *waiter,
                                                  uint64_t seq)
{
    uint32_t found = TC_READINESS_IDLE;

    /* relaxed: a hint; do not touch the fields under a source (RD2 makes them ours). */
    if (tc_load_relaxed(&r->state) != TC_READINESS_IDLE) {
        return false;
    }
    r->waiter = waiter;
    r->seq = seq;
    /* release [readiness-wait]: publishes the fields, and that the waiter is armed. */
    return tc_cas_release(&r->state, &found, TC_READINESS_WAIT);
}

/* One attempt to take the waiter back. Threads: owner
 * Returns false while a source looks at the waiter: try again. */
TC_NODISCARD static inline bool tc_readiness_try_withdraw(struct tc_readiness *r,
                                                          const struct tc_waiter *waiter)
{
    /* acquire [readiness-unlock]: the source's reads of our fields are over. */
    uint32_t state = tc_load_acquire(&r->state);

    if (state == TC_READINESS_WAIT) {
        tc_assert_debug(r->waiter == waiter); /* RD1 */
        (void)waiter;
        /* relaxed: we take back what we wrote. A failure means that a source came by. */
        return tc_cas_relaxed(&r->state, &state, TC_READINESS_IDLE);
    }
    return state != TC_READINESS_LOCKED;
}

/* Take the waiter back after a wake of any kind; harmless if it was not installed. Waits while a
 * source is between notify and unlock.
 * Parks: never   Threads: owner, before its next begin or park. */
static inline void tc_readiness_withdraw(struct tc_readiness *r, const struct tc_waiter *waiter)
{
    while (!tc_readiness_try_withdraw(r, waiter)) {
        tc_compiler_barrier(); /* short: see 2 */
    }
}

/* ---- source ------------------------------------------------------------------------------ */

/* Record an edge. If a waiter is installed it is handed out: the caller claims {*waiter, *seq},
 * then unlocks, then resumes it if the claim succeeded. Cost: one CAS.
 * Parks: never   Threads: any   Returns true if there is a waiter and unlock must follow. */
TC_NODISCARD static inline bool tc_readiness_notify(struct tc_readiness *r,
                                                    struct tc_waiter **waiter, uint64_t *seq)
{
    uint32_t state = tc_load_relaxed(&r->state); /* relaxed: a guess, the CAS decides */

    for (;;) {
        if (state == TC_READINESS_WAIT) {
            /* acq_rel [readiness-wait]: the fields; also our release as below. */
            if (tc_cas_acq_rel(&r->state, &state, TC_READINESS_LOCKED)) {
                *waiter = r->waiter;
                *seq = r->seq;
                return true;
            }
        } else {
            uint32_t next = state == TC_READINESS_LOCKED ? TC_READINESS_LOCKED : TC_READINESS_READY;

            /* release [readiness-ready]: what we wrote before; LOCKED becomes READY soon. */
            if (tc_cas_release(&r->state, &state, next)) {
                return false;
            }
        }
    }
}

/* Leave the edge behind and give the waiter free. Between notify and this there is only the claim.
 * Parks: never   Threads: the source that notify returned true to. */
static inline void tc_readiness_unlock(struct tc_readiness *r)
{
    /* release [readiness-unlock]: our reads of the fields are over; a swap, see 4. */
    uint32_t old = tc_exchange_release(&r->state, TC_READINESS_READY);

    tc_assert_debug(old == TC_READINESS_LOCKED);
    (void)old;
}

#endif
