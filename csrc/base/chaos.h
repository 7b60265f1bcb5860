/* base/chaos.h — in a build with TC_CHAOS != 0, take rare paths at random.
 *
 * A place that has a rare but correct outcome (a short transfer, a lost steal, a wake-up for
 * nothing) asks here whether to have it now; a place where only an unlucky preemption shows a
 * mistake asks to give the processor away. The answers are a function of the seed TC_CHAOS
 * and of how many were asked for before in this process: one thread repeats its run exactly,
 * several repeat it as far as they interleave alike.
 *
 * In any other build the questions are constants, and nothing of this is compiled.
 *
 * RULES
 *   H1  A hook provokes only what its callers must expect anyway, never a failure: those are
 *       for base/fault.h, where a test asks for them.
 *   H2  What a caller may conclude from an outcome stays true. So recv(2) and accept(2) are
 *       not touched by base/sys.h: a short read and EAGAIN tell users of an edge-triggered
 *       poller that nothing is left, and no further edge would come. Their callers, who know
 *       what they conclude, have the hooks.
 *   H3  A hook is one line, with a comment that says what it provokes.
 *
 * WHO MAY CALL: any thread, also with locks held; no function parks.
 */
#ifndef TC_BASE_CHAOS_H
#define TC_BASE_CHAOS_H

#include "base/defs.h"

#include <stdbool.h>

/* Out-of-line tails, for builds with chaos only. */
void tc__chaos_suspend(void);
bool tc__chaos_strike(uint32_t one_in);
void tc__chaos_yield(void);
size_t tc__chaos_prefix(size_t len);

/* No more chaos in this process: for a test that counts turns, calls or switches exactly.
 * No effect on what was provoked before, and none at all without chaos. */
static inline void tc_chaos_suspend(void)
{
    if (TC_CHAOS != 0) {
        tc__chaos_suspend();
    }
}

/* Returns true once in `one_in` calls on average; constant false without chaos. */
static inline bool tc_chaos(uint32_t one_in)
{
    return TC_CHAOS != 0 && tc__chaos_strike(one_in);
}

/* Once in `one_in` calls, let another thread run first. Not the library's own way to wait: nothing
 * may depend on it. */
static inline void tc_chaos_yield(uint32_t one_in)
{
    if (tc_chaos(one_in)) {
        tc__chaos_yield();
    }
}

/* Returns `len`, or once in `one_in` calls a random length from 1 to len - 1, small ones as likely
 * as large ones: a prefix of 7 bytes splits a message, one of 7000 seldom does. */
static inline size_t tc_chaos_prefix(size_t len, uint32_t one_in)
{
    return tc_chaos(one_in) && len > 1 ? tc__chaos_prefix(len) : len;
}

#endif
