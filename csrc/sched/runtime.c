#include "sched/runtime.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"
#include "sched/idle.h"
#include "sched/overflow.h"
#include "sched/runtime_internal.h"

enum { WORKER_STACK_BYTES = 256 * 1024 };

/* ---- how many workers ---------------------------------------------------------------------- */

uint32_t tc_workers_available(void)
{
    int cpus = tc_sys_affinity_count();
    double quota;

    if (cpus < 1) {
        cpus = 1;
    }
    if (tc_sys_cgroup_cpu_quota(&quota) == 0 && quota > 0 && quota < cpus) {
        cpus = (int)quota + (quota > (int)quota);
    }
    return (uint32_t)(cpus < TC_WORKERS_MAX ? cpus : TC_WORKERS_MAX);
}

/* ---- new, free ----------------------------------------------------------------------------- */

static void construct_fiber(void *object)
{
    struct tc_fiber *fiber = object;

    memset(fiber, 0, sizeof *fiber);
    tc_waiter_core_init(&fiber->waiter.word);
    fiber->waiter.kind = TC_WAITER_FIBER;
    tc_atomic_init(&fiber->state, TC_FIBER_FREE);
}

static void fini_workers(struct tc_runtime *runtime, uint32_t count)
{
    while (count > 0) {
        tc__worker_fini(&runtime->workers[--count]);
    }
}

static int init_workers(struct tc_runtime *runtime, uint64_t seed)
{
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        int rc = tc__worker_init(&runtime->workers[i], runtime, i, seed + i);
        if (rc != 0) {
            fini_workers(runtime, i);
            return rc;
        }
    }
    return 0;
}

static void init_queues(struct tc_runtime *runtime)
{
    tc_slab_init(&runtime->fibers, "fibers", sizeof(struct tc_fiber), _Alignof(struct tc_fiber),
                 construct_fiber);
    tc_blocking_init(&runtime->blocking);
    tc_lock_init(&runtime->shortage_lock, TC_RANK_FIBER);
    for (int class = 0; class < TC_STACK_CLASS_COUNT; class++) {
        tc_fifo_init(&runtime->shortage[class]);
    }
    tc_parker_init(&runtime->stop_parker);
    tc_injectq_init(&runtime->inject);
}

int tc_runtime_new(const struct tc_runtime_options *options, struct tc_runtime **out)
{
    uint32_t count = options->workers != 0 ? options->workers : tc_workers_available();
    int rc = -ENOMEM;

    if (count > TC_WORKERS_MAX || options->driver == NULL) {
        return -EINVAL;
    }
    struct tc_runtime *runtime = tc_mem_alloc_aligned(TC_CACHELINE, sizeof *runtime);
    if (runtime == NULL) {
        return -ENOMEM;
    }
    memset(runtime, 0, sizeof *runtime);
    runtime->driver = options->driver;
    runtime->max_fibers = options->max_fibers;
    runtime->worker_count = count;
    runtime->workers = tc_mem_alloc_aligned(TC_CACHELINE, count * sizeof(struct tc_worker));
    if (runtime->workers == NULL) {
        goto free_runtime;
    }
    memset(runtime->workers, 0, count * sizeof(struct tc_worker));
    init_queues(runtime);
    rc = tc_ebr_init(&runtime->ebr, count);
    if (rc != 0) {
        goto free_workers;
    }
    rc = tc_stack_pool_init(&runtime->stacks);
    if (rc != 0) {
        goto fini_ebr;
    }
    uint64_t seed = options->seed != 0 ? options->seed : (uint64_t)tc_clock_now_ns();
    rc = init_workers(runtime, seed);
    if (rc != 0) {
        goto fini_stacks;
    }
    *out = runtime;
    return 0;

fini_stacks:
    tc_stack_pool_fini(&runtime->stacks);
fini_ebr:
    tc_ebr_fini(&runtime->ebr);
free_workers:
    tc_slab_fini(&runtime->fibers);
    tc_mem_free(runtime->workers, count * sizeof(struct tc_worker));
free_runtime:
    tc_mem_free(runtime, sizeof *runtime);
    return rc;
}

/* A fiber that never ran to its end, or that nobody joined, goes with the runtime. */
static void reclaim_visit(void *object, void *arg)
{
    struct tc_fiber *fiber = object;
    struct tc_runtime *runtime = arg;

    if (tc_load_relaxed(&fiber->state) == TC_FIBER_FREE) { /* relaxed: alone */
        return;
    }
    if (fiber->stack.lo != NULL) {
        tc_ctx_fini(&fiber->ctx);
    }
    tc_slab_free(&runtime->fibers, fiber);
}

void tc_runtime_free(struct tc_runtime *runtime)
{
    /* relaxed: the caller excludes everybody else */
    uint32_t state = tc_load_relaxed(&runtime->state);
    tc_assert(state == TC_RUNTIME_CREATED || state == TC_RUNTIME_STOPPED);
    fini_workers(runtime, runtime->worker_count);
    tc_slab_for_each(&runtime->fibers, reclaim_visit, runtime);
    tc_ebr_fini(&runtime->ebr);
    tc_stack_pool_fini(&runtime->stacks);
    tc_slab_fini(&runtime->fibers);
    tc_mem_free(runtime->workers, runtime->worker_count * sizeof(struct tc_worker));
    tc_mem_free(runtime, sizeof *runtime);
}

/* ---- start, stop --------------------------------------------------------------------------- */

/* For the overflow report: runs in a signal handler. */
static bool describe_fiber(const void *owner, struct tc_overflow_info *info)
{
    const struct tc_fiber *fiber = owner;

    info->id = tc_load_relaxed(&fiber->id); /* relaxed: the fiber is the one that faulted */
    tc__fiber_read_name(fiber, info->name);
    return true;
}

/* Tell workers [0, count) to leave and join them. */
static void join_workers(struct tc_runtime *runtime, uint32_t count)
{
    /* seq_cst: before the wake-ups; a parking worker reads it after its own fence. */
    tc_store_seq_cst(&runtime->state, TC_RUNTIME_LEAVING);
    tc__idle_wake_all(runtime);
    for (uint32_t i = 0; i < count; i++) {
        (void)tc_sys_thread_join(runtime->workers[i].thread, NULL);
    }
}

int tc_runtime_start(struct tc_runtime *runtime)
{
    tc_assert(tc_load_relaxed(&runtime->state) == TC_RUNTIME_CREATED); /* relaxed: caller's own */
    /* Without the handler an overflow is an ordinary segmentation fault. */
    tc_overflow_set_describe(describe_fiber);
    TC_IGNORE(tc_overflow_install());
    tc_store_relaxed(&tc_panic_hook, tc__runtime_describe_panic); /* relaxed: a function, no data */
    tc_store_relaxed(&runtime->state, TC_RUNTIME_RUNNING); /* relaxed: thread creation orders it */
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        struct tc_worker *worker = &runtime->workers[i];
        int rc = tc_sys_thread_create(&worker->thread, WORKER_STACK_BYTES, tc__worker_main, worker);
        if (rc != 0) {
            join_workers(runtime, i);
            tc_overflow_uninstall();
            tc_store_relaxed(&runtime->state, TC_RUNTIME_CREATED); /* relaxed: alone again */
            return rc;
        }
    }
    return 0;
}

/* Fibers alive. The finished ones are summed first, so a fiber that ends meanwhile is still counted
 * and one that is born meanwhile may be: the result is never too small. */
static uint64_t live_fibers(struct tc_runtime *runtime)
{
    uint64_t finished = 0;
    uint64_t spawned = 0;

    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        /* acquire [fiber-count]: what was spawned before these ends is visible below */
        finished += tc_load_acquire(&runtime->workers[i].counters.finished);
    }
    /* seq_cst [stop-spawn]: after the store of STOPPING; a spawn that we miss sees that */
    spawned += tc_load_seq_cst(&runtime->spawned_outside);
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        spawned += tc_load_relaxed(&runtime->workers[i].counters.spawned); /* relaxed: see above */
    }
    return spawned - finished;
}

void tc__runtime_fiber_ended(struct tc_runtime *runtime, struct tc_worker *worker)
{
    /* release [fiber-count]: see live_fibers */
    tc_store_release(&worker->counters.finished,
                     tc_load_relaxed(&worker->counters.finished) + 1); /* relaxed: own counter */
    /* relaxed: stop() also looks by itself, at intervals */
    if (tc_unlikely(tc_load_relaxed(&runtime->state) == TC_RUNTIME_STOPPING)) {
        tc_parker_unpark(&runtime->stop_parker);
    }
}

static void cancel_visit(void *object, void *arg)
{
    struct tc_fiber *fiber = object;

    (void)arg;
    if (tc_load_relaxed(&fiber->state) !=
        TC_FIBER_FREE) { /* relaxed: repeated until none is left */
        tc_fiber_cancel(fiber);
    }
}

int tc_runtime_stop(struct tc_runtime *runtime, int64_t deadline_ns)
{
    /* relaxed: the caller excludes start and another stop */
    if (tc_load_relaxed(&runtime->state) == TC_RUNTIME_CREATED) {
        return 0;
    }
    int rc = 0;
    /* seq_cst [stop-spawn]: before the look at what was spawned */
    tc_store_seq_cst(&runtime->state, TC_RUNTIME_STOPPING);
    while (live_fibers(runtime) != 0) {
        /* A fiber may be spawned beside the walk; hence again, at short intervals. */
        tc_slab_for_each(&runtime->fibers, cancel_visit, NULL);
        int64_t now = tc_clock_now_ns();
        if (now >= deadline_ns) {
            rc = -ETIMEDOUT;
            break;
        }
        int64_t next = now + 10 * TC_NS_PER_MS;
        /* Woken, timed out or interrupted: look again in any case. */
        TC_IGNORE(tc_parker_park(&runtime->stop_parker, next < deadline_ns ? next : deadline_ns));
    }
    join_workers(runtime, runtime->worker_count);
    tc_blocking_fini(&runtime->blocking);
    tc_overflow_uninstall();
    tc_store_relaxed(&runtime->state, TC_RUNTIME_STOPPED); /* relaxed: alone again */
    return rc;
}

void tc_runtime_after_fork_child(struct tc_runtime *runtime)
{
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        runtime->driver->after_fork_child(&runtime->workers[i]);
    }
    runtime->driver->after_fork_child(NULL);
}

uint32_t tc_runtime_workers(const struct tc_runtime *runtime)
{
    return runtime->worker_count;
}

struct tc_worker *tc_runtime_worker(struct tc_runtime *runtime, uint32_t index)
{
    return index < runtime->worker_count ? &runtime->workers[index] : NULL;
}

int tc_runtime_run(struct tc_runtime *runtime, void (*entry)(void *), void *arg)
{
    struct tc_spawn_options options = {.name = "main", .stack_class = TC_STACK_DEFAULT};
    struct tc_fiber *fiber;
    int rc = tc_fiber_spawn(runtime, entry, arg, &options, &fiber);

    if (rc != 0) {
        return rc;
    }
    do {
        rc = tc_fiber_join(fiber, TC_NEVER);
    } while (rc == -EINTR);
    return rc;
}

/* ---- want of stacks ------------------------------------------------------------------------ */

static void fail_fiber(struct tc_worker *worker, struct tc_fiber *fiber)
{
    fiber->failure = -ENOMEM;
    tc_store_relaxed(&fiber->state, TC_FIBER_DEAD); /* relaxed: for the census */
    tc__fiber_finish(worker, fiber);
    tc__runtime_fiber_ended(worker->runtime, worker);
}

void tc__runtime_stack_shortage(struct tc_worker *worker, struct tc_fiber *fiber)
{
    struct tc_runtime *runtime = worker->runtime;
    struct tc_stack_stats stats;

    tc_lock_acquire(&runtime->shortage_lock);
    tc_fetch_add_seq_cst(&runtime->shortage_count, 1); /* before the look at who has a stack */
    tc_stack_pool_stats(&runtime->stacks, &stats);
    bool queue = stats.stacks_in_use != 0;
    if (queue) {
        tc_store_relaxed(&fiber->reason, TC_WAIT_STACK); /* relaxed: for the census */
        tc_fifo_push(&runtime->shortage[fiber->stack_class], &fiber->link);
    } else {
        tc_fetch_sub_seq_cst(&runtime->shortage_count, 1);
    }
    tc_lock_release(&runtime->shortage_lock);
    if (!queue) {
        fail_fiber(worker, fiber);
        return;
    }
    /* The stack that comes back may lie in the cache of a worker that sleeps without a time-out
     * since before there was a shortage: from its next sleep on it looks every TC_SHORTAGE_NS. */
    if (runtime->worker_count > 1) {
        tc__idle_wake_all(runtime);
    }
}

/* One fiber of each class tries again: a class whose stacks do not come back must not keep another,
 * whose stack this may be, from its turn. */
void tc__runtime_stack_returned(struct tc_worker *worker)
{
    struct tc_runtime *runtime = worker->runtime;
    struct tc_link *link;
    struct tc_fifo retries;

    tc_fifo_init(&retries);
    tc_lock_acquire(&runtime->shortage_lock);
    for (int class = 0; class < TC_STACK_CLASS_COUNT; class++) {
        link = tc_fifo_pop(&runtime->shortage[class]);
        if (link != NULL) {
            tc_fifo_push(&retries, link);
            tc_fetch_sub_seq_cst(&runtime->shortage_count, 1);
        }
    }
    tc_lock_release(&runtime->shortage_lock);
    while ((link = tc_fifo_pop(&retries)) != NULL) {
        tc__worker_push(worker, tc_container_of(link, struct tc_fiber, link));
    }
}
