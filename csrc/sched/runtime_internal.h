/* sched/runtime_internal.h — struct tc_runtime, for the files of sched alone. */
#ifndef TC_SCHED_RUNTIME_INTERNAL_H
#define TC_SCHED_RUNTIME_INTERNAL_H

#include <string.h>

#include "base/injectq.h"
#include "base/lock.h"
#include "base/parker.h"
#include "base/slab.h"
#include "sched/blocking.h"
#include "sched/idle_core.h"
#include "sched/runtime.h"
#include "sched/stack.h"
#include "sched/worker.h"

enum tc_runtime_state {
    TC_RUNTIME_CREATED,
    TC_RUNTIME_RUNNING,
    TC_RUNTIME_STOPPING, /* fibers are being cancelled */
    TC_RUNTIME_LEAVING,  /* workers are leaving their loops */
    TC_RUNTIME_STOPPED,
};

struct tc_runtime {
    const struct tc_driver *driver; /* constant */
    struct tc_worker *workers;      /* owned array; constant between new and free */
    uint32_t worker_count;          /* constant */
    uint32_t max_fibers;            /* constant; 0: no limit */
    _Atomic uint32_t state;         /* enum tc_runtime_state; written by start and stop */

    struct tc_ebr ebr;
    struct tc_slab fibers;
    struct tc_stack_pool stacks;
    struct tc_blocking blocking;

    /* Fibers that found no stack at their first run, by class (DESIGN: they run when one
     * returns). */
    struct tc_lock shortage_lock;    /* TC_RANK_FIBER; guards `shortage` */
    struct tc_fifo shortage[TC_STACK_CLASS_COUNT];
    _Atomic uint32_t shortage_count; /* written under the lock; a hint elsewhere */

    struct tc_parker stop_parker;    /* stop() sleeps here while fibers remain                  */

    TC_ALIGNED(TC_CACHELINE) struct tc_idle_word idle;
    _Atomic uint64_t parked[TC_WORKERS_MAX / 64]; /* bit set: parked and not yet taken by a waker */
    _Atomic uint64_t wakeups; /* statistics */

    TC_ALIGNED(TC_CACHELINE) struct tc_injectq inject;
    _Atomic uint64_t spawned_outside; /* fibers spawned by threads that are no workers */
    _Atomic uint64_t next_id_outside; /* their ids: multiples of worker_count + 1 */
    _Atomic uint64_t live; /* counted only if max_fibers != 0 */
};

/* A fiber ended: let stop() look again, keep the count. */
void tc__runtime_fiber_ended(struct tc_runtime *runtime, struct tc_worker *worker);

/* `fiber` found no stack: queue it, or end it with -ENOMEM if no stack can ever return. */
void tc__runtime_stack_shortage(struct tc_worker *worker, struct tc_fiber *fiber);

/* A stack came back: let a waiting fiber of each class try again. */
void tc__runtime_stack_returned(struct tc_worker *worker);

/* The end of a fiber's life: wake the joiner, or free the struct if it is detached. */
void tc__fiber_finish(struct tc_worker *worker, struct tc_fiber *fiber);

/* Copy a fiber's name, which may be torn if it is being renamed. Async-signal-safe. */
static inline void tc__fiber_read_name(const struct tc_fiber *fiber, char out[TC_FIBER_NAME_BYTES])
{
    for (size_t i = 0; i < TC_ARRAY_LEN(fiber->name); i++) {
        uint64_t word = tc_load_relaxed(&fiber->name[i]); /* relaxed: for reports */
        memcpy(out + i * sizeof word, &word, sizeof word);
    }
    out[TC_FIBER_NAME_BYTES - 1] = '\0';
}

/* For tc_panic: which worker and fiber the calling thread runs. */
void tc__runtime_describe_panic(int fd);

/* The first frame on a new fiber's stack. */
void tc__fiber_main(void *user, void *arg);

static inline bool tc__runtime_is_leaving(struct tc_runtime *runtime)
{
    /* relaxed: the flag carries no data; tc__idle re-checks it after its fence */
    return tc_load_relaxed(&runtime->state) >= TC_RUNTIME_LEAVING;
}

#endif
