/* sched/driver.h — what the scheduler asks of whatever can wake fibers from outside.
 *
 * The scheduler knows no descriptor and no clock. A driver supplies, per worker, a place to sleep
 * that other threads can end, a set of deadlines, and the time. io/io_driver.c is the real one
 * (epoll, eventfd, 4-ary heap); tests supply a scripted one, which makes time virtual. This struct
 * is the only way by which sched calls a higher layer.
 *
 *               poll        wake   arm/disarm   next_deadline, expire     -  safe together
 *   poll        -(other     -      -            -                         o  owner worker only
 *                worker)
 *   wake        -           -      -            -
 *   arm         -           -      o            o
 */
#ifndef TC_SCHED_DRIVER_H
#define TC_SCHED_DRIVER_H

#include <stdint.h>

#include "base/defs.h"
#include "sched/waiter.h"

struct tc_worker;
struct tc_runtime;
struct tc_runtime_statistics;
struct tc_timer;

/* Names one armed deadline. A handle outlives its deadline harmlessly: `seq` then differs. */
struct tc_deadline {
    struct tc_timer *timer; /* NULL: none armed                                               */
    uint64_t seq;           /* the timer's sequence when it was armed                         */
};

struct tc_driver {
    /* Create `worker`'s sleeping place and deadline set in worker->io. 0 or -errno. Called before
     * the worker's thread exists. */
    int (*worker_init)(struct tc_worker *worker);
    /* Undo worker_init. Called after the worker's thread was joined. */
    void (*worker_fini)(struct tc_worker *worker);
    /* Sleep until something happens in `source`'s sleeping place or timeout_ns passed (0: look and
     * return, TC_NEVER: no limit), and deliver what happened on `worker`, the calling worker.
     * `source` differs from `worker` only when the sentinel looks for a stalled worker. Returns the
     * number of events delivered. */
    int (*poll)(struct tc_worker *worker, struct tc_worker *source, int64_t timeout_ns);
    /* End `worker`'s sleep, present or next. Any thread. */
    void (*wake)(struct tc_worker *worker);
    /* Unless one is due already: have a tick end `worker`'s sleep, present or next, delay_ns from
     * now. A limit of each poll would do the same, but to set a timer for every short sleep costs
     * as much as a small request. 0 or -errno; may be NULL: the caller limits its polls. Owner
     * only. */
    int (*tick)(struct tc_worker *worker, int64_t delay_ns);
    /* Monotonic nanoseconds. */
    int64_t (*now)(struct tc_worker *worker);
    /* Earliest deadline of `worker`, TC_NEVER if none. Owner only. */
    int64_t (*next_deadline)(struct tc_worker *worker);
    /* Fire every deadline ≤ now. Owner only. Returns how many claimed their waiter. */
    int (*expire)(struct tc_worker *worker, int64_t now);
    /* At `when`, claim wait `seq` of `waiter` with -ETIMEDOUT. 0 or -ENOMEM. Owner only. */
    int (*arm)(struct tc_worker *worker, struct tc_waiter *waiter, uint64_t seq, int64_t when,
               struct tc_deadline *out);
    /* Forget a deadline, fired or not. `worker` is the calling worker, which need not be the one
     * that armed it. */
    void (*disarm)(struct tc_worker *worker, struct tc_deadline *deadline);
    /* In the child of a fork: give up what the kernel shares with the parent, free nothing. Called
     * for each worker, then once with NULL: forget what the workers shared. */
    void (*after_fork_child)(struct tc_worker *worker);
    /* Add this worker's timers and descriptors to the sums; may be NULL. Any thread. */
    void (*statistics)(struct tc_worker *worker, struct tc_runtime_statistics *out);
    /* True while `worker` has descriptors whose readiness only poll() can find. Owner only. */
    bool (*has_sources)(struct tc_worker *worker);
};

#endif
