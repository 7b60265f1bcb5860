/* sched/waiter_core.h — one 64-bit word decides which of many sources ends a wait.
 *
 *   bits   field      written by
 *   0–1    state      owner: IDLE, ARMED, CANCELLABLE; a source or the canceller: CLAIMED
 *   2–63   sequence   owner, at begin: grows by one with every wait, never reset
 *
 *        begin          arm           allow_cancel
 *   CLAIMED ───► IDLE ───────► ARMED ─────────────► CANCELLABLE
 *      ▲                         │ claim                 │ claim, cancel
 *      └─────────────────────────┴───────────────────────┘
 *
 *   from           to            by                                 order
 *   not ARMED/     IDLE          owner, tc_waiter_core_begin        relaxed store
 *    CANCELLABLE
 *   IDLE           ARMED         owner, tc_waiter_core_arm          release store [waiter-arm]
 *   ARMED          CANCELLABLE   owner, ..._allow_cancel            seq_cst CAS   [waiter-cancel]
 *   ARMED,         CLAIMED       a source, tc_waiter_core_claim     acq_rel CAS   [waiter-arm]
 *    CANCELLABLE
 *   CANCELLABLE    CLAIMED       tc_waiter_core_cancel              seq_cst CAS   [waiter-cancel]
 *
 * A source is handed {waiter, sequence}, by the owner, after arm: through a readiness word, a timer
 * node, a queue under its lock. The canceller is different. It has the waiter's address all the
 * time, so it could claim before the owner has finished handing the wait out, and the owner,
 * running again elsewhere, would meet registrations of a wait that is over. Hence the second step.
 *
 *   parker, in its commit callback             canceller
 *     arm: ARMED                                 set the cancel flag
 *     hand {waiter, seq} to the sources          (full order)
 *     allow_cancel: ARMED → CANCELLABLE          CANCELLABLE → CLAIMED ?
 *     (full order)
 *     flag set? → claim our own wait
 *
 * WHY IT IS RIGHT
 *   1. Each CLAIMED value is stored by one successful CAS whose expected value holds the sequence:
 *      at most one source ends a wait, and one with an old sequence fails, whatever the state. A
 *      62-bit sequence does not come round.
 *   2. The claimer acquires what the owner released at arm [waiter-arm]: the saved registers, the
 *      wait record. A CAS of the owner in between continues that release.
 *   3. A source cannot find IDLE: it was handed the wait after arm, through an ordered access.
 *   4. Cancel is store buffering [waiter-cancel]: both sides write, then read the other's word, all
 *      seq_cst. So the canceller finds CANCELLABLE or the parker finds the flag, or both, and then
 *      one CAS wins. A canceller that finds IDLE or ARMED does nothing: allow_cancel is yet to
 *      come, and will see the flag. seq_cst operations rather than fences: the parker's CAS is the
 *      full barrier on x86-64, and TSan understands it.
 *   5. A shielded wait skips allow_cancel: nothing but its sources can end it.
 *   6. The word is type-stable memory, so a late source or canceller reads a word of this kind, and
 *      the sequence tells it that it is late. A late canceller claims nothing else than a wait of
 *      an owner whose flag is set.
 *
 *              begin, arm, allow_cancel   claim   cancel        -  safe together
 *   owner's                o                -       -           o  owner only
 *   claim                  -                -       -
 */
#ifndef TC_SCHED_WAITER_CORE_H
#define TC_SCHED_WAITER_CORE_H

#include "base/assert.h"
#include "base/atomic.h"
#include "base/defs.h"

enum tc_waiter_state {
    TC_WAITER_IDLE,        /* between begin and arm: no source knows this wait                 */
    TC_WAITER_ARMED,       /* sources may claim                                                */
    TC_WAITER_CANCELLABLE, /* sources and the canceller may claim                              */
    TC_WAITER_CLAIMED,     /* over; the claimer resumes the owner                              */
};

enum { TC_WAITER_STATE_BITS = 2 };

struct tc_waiter_word {
    _Atomic uint64_t value; /* bit table above */
};

/* ---- the fields -------------------------------------------------------------------------- */

static inline uint64_t tc_waiter_core_pack(uint64_t seq, enum tc_waiter_state state)
{
    return (seq << TC_WAITER_STATE_BITS) | (uint64_t)state;
}

static inline uint64_t tc_waiter_core_seq_of(uint64_t value)
{
    return value >> TC_WAITER_STATE_BITS;
}

static inline enum tc_waiter_state tc_waiter_core_state_of(uint64_t value)
{
    return (enum tc_waiter_state)(value & ((1u << TC_WAITER_STATE_BITS) - 1));
}

/* Sequence and state at some moment: for dumps and assertions. Threads: any. */
static inline uint64_t tc_waiter_core_seq(struct tc_waiter_word *word)
{
    return tc_waiter_core_seq_of(tc_load_relaxed(&word->value)); /* relaxed: snapshot */
}

static inline enum tc_waiter_state tc_waiter_core_state(struct tc_waiter_word *word)
{
    return tc_waiter_core_state_of(tc_load_relaxed(&word->value)); /* relaxed: snapshot */
}

/* True if `value` is wait `seq` in a state in which a source may claim it. */
static inline bool tc_waiter_core_is_open(uint64_t value, uint64_t seq)
{
    return value == tc_waiter_core_pack(seq, TC_WAITER_ARMED) ||
           value == tc_waiter_core_pack(seq, TC_WAITER_CANCELLABLE);
}

/* ---- owner ------------------------------------------------------------------------------- */

/* Once, when the memory is carved: as if wait 0 were over. */
static inline void tc_waiter_core_init(struct tc_waiter_word *word)
{
    tc_atomic_init(&word->value, tc_waiter_core_pack(0, TC_WAITER_CLAIMED));
}

/* Open the next wait. Parks: never   Threads: owner, not waiting   Returns its sequence. */
static inline uint64_t tc_waiter_core_begin(struct tc_waiter_word *word)
{
    /* relaxed: our own store, or our claimer's, which ready() ordered before us. */
    uint64_t value = tc_load_relaxed(&word->value);
    uint64_t seq = tc_waiter_core_seq_of(value) + 1;

    tc_assert_debug(!tc_waiter_core_is_open(value, seq - 1));
    /* relaxed: no source knows this wait yet; late claims compare the sequence only. */
    tc_store_relaxed(&word->value, tc_waiter_core_pack(seq, TC_WAITER_IDLE));
    return seq;
}

/* Let sources claim wait `seq`; then hand {waiter, seq} to them.
 * Parks: never   Threads: owner, or who runs its commit callback. */
static inline void tc_waiter_core_arm(struct tc_waiter_word *word, uint64_t seq)
{
    /* relaxed: owner-only while IDLE */
    tc_assert_debug(tc_load_relaxed(&word->value) == tc_waiter_core_pack(seq, TC_WAITER_IDLE));
    /* release [waiter-arm]: publishes the owner's state to whoever claims. */
    tc_store_release(&word->value, tc_waiter_core_pack(seq, TC_WAITER_ARMED));
}

/* ---- sources ----------------------------------------------------------------------------- */

/* End wait `seq`. Cost: one CAS, and a load for a wait that is over.
 * Parks: never   Threads: any   Returns true to exactly one caller per wait. */
TC_NODISCARD static inline bool tc_waiter_core_claim(struct tc_waiter_word *word, uint64_t seq)
{
    uint64_t found = tc_load_relaxed(&word->value); /* relaxed: a guess, the CAS decides */

    /* A second round only if the owner allows cancel at this moment. */
    while (tc_waiter_core_is_open(found, seq)) {
        /* acq_rel [waiter-arm]: we may now touch what the owner wrote before arm. */
        if (tc_cas_acq_rel(&word->value, &found, tc_waiter_core_pack(seq, TC_WAITER_CLAIMED))) {
            return true;
        }
    }
    return false;
}

/* ---- cancel ------------------------------------------------------------------------------ */

/* Last step of a commit: the wait is handed out, let the canceller end it too.
 * Parks: never   Threads: who runs the commit callback; the owner may run elsewhere already
 * Returns true if the flag was set and we have claimed the wait: the caller resumes the owner. */
TC_NODISCARD static inline bool tc_waiter_core_allow_cancel(struct tc_waiter_word *word,
                                                            uint64_t seq,
                                                            const _Atomic uint32_t *flag)
{
    uint64_t found = tc_waiter_core_pack(seq, TC_WAITER_ARMED);

    /* seq_cst [waiter-cancel]: our write, before our read of the flag. */
    if (!tc_cas_seq_cst(&word->value, &found, tc_waiter_core_pack(seq, TC_WAITER_CANCELLABLE))) {
        return false; /* a source was faster */
    }
    /* seq_cst [waiter-cancel]: our read; the canceller's order is the reverse. */
    if (tc_likely(tc_load_seq_cst(flag) == 0)) {
        return false;
    }
    return tc_waiter_core_claim(word, seq);
}

/* Set the flag for good and end the present wait, if it can be ended.
 * Parks: never   Threads: any
 * Returns true if the caller has claimed the wait and resumes the owner. */
TC_NODISCARD static inline bool tc_waiter_core_cancel(struct tc_waiter_word *word,
                                                      _Atomic uint32_t *flag)
{
    uint64_t found;

    /* seq_cst [waiter-cancel]: our write, before our read of the word. */
    tc_store_seq_cst(flag, 1);
    /* seq_cst [waiter-cancel]: our read. */
    found = tc_load_seq_cst(&word->value);
    while (tc_waiter_core_state_of(found) == TC_WAITER_CANCELLABLE) {
        uint64_t claimed = tc_waiter_core_pack(tc_waiter_core_seq_of(found), TC_WAITER_CLAIMED);

        /* seq_cst [waiter-cancel]: a failed CAS is our read once more; also acquires arm. */
        if (tc_cas_seq_cst(&word->value, &found, claimed)) {
            return true;
        }
    }
    return false;
}

#endif
