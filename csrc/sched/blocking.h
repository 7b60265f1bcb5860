/* sched/blocking.h — threads for calls that cannot be polled.
 *
 * A fiber hands a function to the pool and parks until a pool thread has run it. Threads are
 * created on demand, up to a limit, linger for a while and end by themselves. A call that has been
 * taken cannot be interrupted, so the wait is shielded: cancel takes effect at the fiber's next
 * park.
 *
 * INVARIANTS
 *  B1  A job is in `jobs` or with one thread, until its waiter is readied; it lies on the parked
 *      fiber's stack.
 *  B2  A thread's record is in `all` until it leaves, then in `left` until somebody joins it; in
 *      `idle` besides while it waits for a job.
 */
#ifndef TC_SCHED_BLOCKING_H
#define TC_SCHED_BLOCKING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/parker.h"

enum { TC_BLOCKING_THREADS_MAX = TC_TEST_SMALL ? 4 : 512 };

#define TC_BLOCKING_LINGER_NS (TC_TEST_SMALL ? 20 * TC_NS_PER_MS : 10 * TC_NS_PER_SEC)

struct tc_blocking {
    struct tc_lock lock;          /* TC_RANK_BLOCKING; guards everything below unless noted     */
    struct tc_fifo jobs;          /* waiting for a thread                                       */
    struct tc_list idle;          /* threads waiting for a job, the latest first                */
    struct tc_list all;           /* threads that have not left                                 */
    struct tc_list left;          /* threads that have, still to be joined                      */
    _Atomic uint32_t threads;     /* length of `all`; written under the lock, read anywhere     */
    uint32_t wanted;              /* jobs queued or announced                                   */
    uint32_t available;           /* threads without a job, starting ones included              */
    bool stopping;                /* threads leave as soon as they see it                       */
};

/* Start without threads. Parks: never   Threads: before the pool is shared */
void tc_blocking_init(struct tc_blocking *pool);

/* Wait for every thread to leave. No fiber may be waiting in the pool.
 * Parks: never, but blocks the thread   Threads: one, no worker */
void tc_blocking_fini(struct tc_blocking *pool);

/* Run fn(arg) on a pool thread, where it may block; its return value is this function's.
 * Parks: always   Threads: a fiber
 * Returns what fn returned, or -EAGAIN / -ENOMEM if there is no thread and none can be created. */
TC_MAY_PARK TC_NODISCARD int64_t tc_blocking_run(int64_t (*fn)(void *arg), void *arg);

#endif
