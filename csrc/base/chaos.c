#include "base/chaos.h"

#if TC_CHAOS

#include "base/atomic.h"
#include "base/rand.h"
#include "base/sys.h"

/* Answers given so far. One counter for all threads: a fiber may ask, move and ask again, and must
 * not keep the address of anything of its thread's. */
static _Atomic uint64_t answers;

static _Atomic bool is_suspended;

/* The next 64 random bits: a hash of the seed and of the answer's number. */
static uint64_t draw(void)
{
    uint64_t state = TC_CHAOS;

    state = tc__rand_expand(&state);
    /* relaxed: each number is used once, and nothing is ordered: chaos must not hide a race. */
    state += tc_fetch_add_relaxed(&answers, 1u);
    return tc__rand_expand(&state);
}

void tc__chaos_suspend(void)
{
    tc_store_relaxed(&is_suspended, true); /* relaxed: the flag is the whole message */
}

TC_NOINLINE bool tc__chaos_strike(uint32_t one_in)
{
    /* relaxed: as the store */
    return !tc_load_relaxed(&is_suspended) && ((draw() >> 32) * one_in) >> 32 == 0;
}

TC_NOINLINE void tc__chaos_yield(void)
{
    tc_sys_sched_yield();
}

TC_NOINLINE size_t tc__chaos_prefix(size_t len)
{
    uint64_t bits = draw();
    unsigned width = 64 - (unsigned)__builtin_clzll(len - 1); /* of the longest prefix          */
    size_t most = (len - 1) >> ((bits >> 32) % width);        /* at least 1                     */

    return 1 + (size_t)(((bits & UINT32_MAX) * (uint64_t)most) >> 32);
}

#endif
