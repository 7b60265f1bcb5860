/* sched/thread.h — a plain thread waits as a fiber does.
 *
 * tc_thread_park() takes the same struct tc_park as tc_fiber_park(), so that what publishes a wait
 * need not know who waits. Each thread has one record, a struct tc_thread_waiter in thread-local
 * memory, which it uses for one wait after the other: a wait costs no allocation and cannot fail
 * for want of memory, and the child of a fork finds nothing locked.
 *
 * INVARIANTS
 *  H1  The record is the thread's own from one wait to the next, and its sequence goes on (W4).
 *  H2  It ends with the thread. Therefore a wait is published only where tc_thread_park()'s caller
 *      takes it back before it returns, under a lock or out of a readiness word: no source is left
 *      that could come later. (A timer may come later; a thread's deadline is its parker's.)
 *
 *            tc_thread_park        -  never parks a fiber: a worker's thread must not call it
 */
#ifndef TC_SCHED_THREAD_H
#define TC_SCHED_THREAD_H

#include "base/defs.h"
#include "base/rand.h"
#include "sched/fiber.h"
#include "sched/waiter.h"

/* Block the calling thread until a source claims its waiter.
 * Parks: never (blocks the thread)   Threads: plain ones
 * Returns the result that the claimer gave to tc_ready(), -ETIMEDOUT at the deadline, -EINTR after
 * a signal handler ran. The caller then withdraws whatever the commit published. */
TC_NODISCARD int tc_thread_park(const struct tc_park *park);

/* Random numbers for the calling thread, seeded when it first asks. Keep no address across a park.
 * Parks: never   Threads: plain ones */
uint64_t tc_thread_random(void);

/* Begin the calling thread's numbers anew, for tests that want the same each time.
 * Parks: never   Threads: plain ones */
void tc_thread_seed(uint64_t seed);

#endif
