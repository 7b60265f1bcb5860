/* sched/idle_core.h — who is parked, who searches, who is the sentinel: one word.
 *
 * Every decision about waking a worker is taken on one 64-bit word, by read-modify-writes, so that
 * there is a single order of all of them and no two workers can each leave the job to the other.
 *
 *   bits    field      changed by
 *   0-15    parked     +1 a worker that goes to sleep; -1 whoever takes it out of the set
 *   16-31   searching  +1 who starts to search, or a waker on behalf of the worker it wakes;
 *                      -1 who stops searching
 *   32-47   sentinel   index + 1 of the parked worker that looks after the running ones, 0: none
 *
 * INVARIANTS
 *  I1  At most one worker searches at a time; a waker passes the token on, it is never copied.
 *  I2  While a worker runs fibers and another is parked, there is a sentinel, or somebody has seen
 *      that there is none and is waking one, or holds the token and will look before he runs.
 *  I3  A worker that parks re-checks what other threads may have submitted after its increment of
 *      `parked`; a thread that submits looks at `parked` after its submission; both with a full
 *      fence between (store buffering: one of them sees the other).
 *
 * Why I2 holds: to park is a CAS that makes the parker the sentinel if it sees parked + 1 < workers
 * and no sentinel. Who has left, or has held the token, looks at the word afterwards and before he
 * runs a fiber: is somebody parked, and no sentinel? Then he wakes one, who finds nothing, parks
 * and becomes it. Both act on one word: who parked before the leaver left is seen by the leaver's
 * look, who parks after it sees that somebody runs. If the token is taken at that moment, its
 * holder will look in turn: to run, to park, or because he found nobody to give it to.
 */
#ifndef TC_SCHED_IDLE_CORE_H
#define TC_SCHED_IDLE_CORE_H

#include "base/assert.h"
#include "base/atomic.h"
#include "base/defs.h"

#include <stdbool.h>
#include <stdint.h>

struct tc_idle_word {
    _Atomic uint64_t bits;
};

#define TC_IDLE_PARKED_ONE ((uint64_t)1)
#define TC_IDLE_SEARCHING_ONE ((uint64_t)1 << 16)
#define TC_IDLE_SENTINEL_SHIFT 32

/* Fields of a value of the word. Parks: never   Threads: any */
static inline uint32_t tc_idle_parked(uint64_t bits)
{
    return (uint32_t)(bits & 0xffff);
}

/* Parks: never   Threads: any */
static inline uint32_t tc_idle_searching(uint64_t bits)
{
    return (uint32_t)((bits >> 16) & 0xffff);
}

/* Index + 1, or 0. Parks: never   Threads: any */
static inline uint32_t tc_idle_sentinel(uint64_t bits)
{
    return (uint32_t)((bits >> TC_IDLE_SENTINEL_SHIFT) & 0xffff);
}

/* Parks: never   Threads: any */
static inline uint64_t tc_idle_without_sentinel(uint64_t bits)
{
    return bits & ~((uint64_t)0xffff << TC_IDLE_SENTINEL_SHIFT);
}

/* Does somebody run and somebody sleep, and nobody look after those who run? (I2)
 * Parks: never   Threads: any */
static inline bool tc_idle_is_unguarded(uint64_t bits, uint32_t workers)
{
    uint32_t parked = tc_idle_parked(bits);
    return parked != 0 && parked < workers && tc_idle_sentinel(bits) == 0;
}

/* A look that decides nothing by itself. Parks: never   Threads: any */
static inline uint64_t tc_idle_peek(struct tc_idle_word *word)
{
    return tc_load_relaxed(&word->bits); /* relaxed: a hint; every decision is a CAS on the word */
}

/* Take the searching token if nobody has it. Parks: never   Threads: any */
static inline bool tc_idle_start_search(struct tc_idle_word *word)
{
    uint64_t bits = tc_idle_peek(word);
    while (tc_idle_searching(bits) == 0) {
        if (tc_cas_seq_cst(&word->bits, &bits, bits + TC_IDLE_SEARCHING_ONE)) {
            return true;
        }
    }
    return false;
}

/* Give the token back. Parks: never   Threads: its holder */
static inline void tc_idle_stop_search(struct tc_idle_word *word)
{
    uint64_t old = tc_fetch_sub_seq_cst(&word->bits, TC_IDLE_SEARCHING_ONE);
    tc_assert_debug(tc_idle_searching(old) == 1); /* I1 */
    (void)old;
}

/* Count worker `index` as parked, and make it the sentinel if none is there and somebody runs, or
 * if it asks for that.
 * Parks: never   Threads: the worker   Returns true if it is the sentinel now. */
static inline bool tc_idle_park(struct tc_idle_word *word, uint32_t index, uint32_t workers,
                                bool stay_sentinel)
{
    uint64_t bits = tc_idle_peek(word);
    for (;;) {
        uint64_t want = bits + TC_IDLE_PARKED_ONE;
        bool others_run = tc_idle_parked(want) < workers;
        bool sentinel = tc_idle_sentinel(bits) == 0 && (others_run || stay_sentinel);
        if (sentinel) {
            want |= (uint64_t)(index + 1) << TC_IDLE_SENTINEL_SHIFT;
        }
        if (tc_cas_seq_cst(&word->bits, &bits, want)) {
            return sentinel;
        }
    }
}

/* Worker `index` is awake again. `counted` says whether it is still counted as parked (a waker that
 * took it out has uncounted it).
 * Parks: never   Threads: the worker   Returns the word after the step. */
static inline uint64_t tc_idle_leave(struct tc_idle_word *word, uint32_t index, bool counted)
{
    uint64_t bits = tc_idle_peek(word);
    for (;;) {
        uint64_t want = counted ? bits - TC_IDLE_PARKED_ONE : bits;
        if (tc_idle_sentinel(bits) == index + 1) {
            want = tc_idle_without_sentinel(want);
        }
        if (want == bits || tc_cas_seq_cst(&word->bits, &bits, want)) {
            return want;
        }
    }
}

/* A waker asks for the right to wake one parked worker as a searcher. On true the token is taken
 * and the caller must find a parked worker, uncount it, and wake it, or give the token back.
 * Parks: never   Threads: any */
static inline bool tc_idle_claim_wake(struct tc_idle_word *word)
{
    uint64_t bits = tc_idle_peek(word);
    while (tc_idle_parked(bits) != 0 && tc_idle_searching(bits) == 0) {
        if (tc_cas_seq_cst(&word->bits, &bits, bits + TC_IDLE_SEARCHING_ONE)) {
            return true;
        }
    }
    return false;
}

/* A waker took a worker out of the set of parked ones. Parks: never   Threads: any */
static inline void tc_idle_uncount(struct tc_idle_word *word)
{
    uint64_t old = tc_fetch_sub_seq_cst(&word->bits, TC_IDLE_PARKED_ONE);
    tc_assert_debug(tc_idle_parked(old) > 0);
    (void)old;
}

#endif
