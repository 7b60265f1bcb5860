#include "sched/worker.h"

#include "base/assert.h"
#include "base/chaos.h"
#include "base/clock.h"
#include "base/sys.h"
#include "sched/idle.h"
#include "sched/overflow.h"
#include "sched/runtime_internal.h"

/* The only thread-local word that is read on fibers. */
static _Thread_local struct tc_worker *current_worker;

TC_NOINLINE struct tc_worker *tc_worker_current(void)
{
    struct tc_worker *worker = current_worker;
    /* Keeps the compiler from treating this function as pure and merging two calls of it around a
     * park, after which the thread may be another. */
    __asm__ volatile("" : "+r"(worker));
    return worker;
}

static TC_NOINLINE void set_current_worker(struct tc_worker *worker)
{
    current_worker = worker;
}

/* ---- run queues --------------------------------------------------------------------------- */

void tc__worker_push(struct tc_worker *worker, struct tc_fiber *fiber)
{
    if (tc_unlikely(tc_deque_push(&worker->deque, fiber) != 0)) {
        tc_injectq_push(&worker->runtime->inject, &fiber->link);
        tc__worker_unpark(worker); /* a lone worker does not look there before it sleeps */
    }
}

void tc__make_runnable(struct tc_worker *worker, struct tc_fiber *fiber)
{
    tc_store_relaxed(&fiber->state, TC_FIBER_QUEUED); /* relaxed: for the census */
    if (worker == NULL || worker->runtime != fiber->runtime) {
        struct tc_runtime *runtime = fiber->runtime; /* once pushed, the fiber may be another's */
        tc_injectq_push(&runtime->inject, &fiber->link);
        tc_chaos_yield(8); /* chaos: the fiber runs, and ends, before its submission is announced */
        tc__idle_submitted(runtime);
        return;
    }
    if (worker->current == NULL) {
        tc__worker_push(worker, fiber);
        return;
    }
    /* relaxed: this thread alone fills the slot; others can only empty it meanwhile */
    if (tc_likely(tc_load_relaxed(&worker->next) == NULL)) {
        /* release [next-slot]: hands the fiber to whoever takes the slot, maybe the sentinel. */
        tc_store_release(&worker->next, fiber);
        return;
    }
    /* acq_rel [next-slot]: the same, and takes over the one that was there. */
    struct tc_fiber *displaced = tc_exchange_acq_rel(&worker->next, fiber);
    if (displaced != NULL) {
        tc__worker_push(worker, displaced);
        tc__idle_wake_one(worker->runtime);
    }
}

void tc_ready_from(struct tc_worker *worker, struct tc_waiter *waiter, int result)
{
    waiter->result = result;
    if (tc_likely(waiter->kind == TC_WAITER_FIBER)) {
        tc__make_runnable(worker, tc_container_of(waiter, struct tc_fiber, waiter));
    } else if (waiter->kind == TC_WAITER_CALLBACK) {
        waiter->callback(waiter, worker);
    } else {
        tc_parker_unpark(&tc_container_of(waiter, struct tc_thread_waiter, waiter)->parker);
    }
}

void tc_ready(struct tc_waiter *waiter, int result)
{
    struct tc_worker *worker = tc_worker_current();
    if (worker != NULL && waiter->kind == TC_WAITER_FIBER &&
        worker->runtime != tc_container_of(waiter, struct tc_fiber, waiter)->runtime) {
        worker = NULL;
    }
    tc_ready_from(worker, waiter, result);
}

void tc_ready_behind(struct tc_worker *worker, struct tc_waiter *waiter, int result)
{
    struct tc_fiber *fiber = tc_container_of(waiter, struct tc_fiber, waiter);

    if (worker == NULL || waiter->kind != TC_WAITER_FIBER || worker->runtime != fiber->runtime) {
        tc_ready(waiter, result);
        return;
    }
    waiter->result = result;
    tc_store_relaxed(&fiber->state, TC_FIBER_QUEUED); /* relaxed: for the census */
    tc__worker_push(worker, fiber);
}

/* The fiber in the `next` slot, unless it has had its streak while others queue. */
static struct tc_fiber *take_next_slot(struct tc_worker *worker)
{
    if (tc_load_relaxed(&worker->next) == NULL) { /* relaxed: only the owner fills the slot */
        worker->streak = 0;
        return NULL;
    }
    /* acquire [next-slot]: the sentinel may have emptied it meanwhile. */
    struct tc_fiber *fiber = tc_exchange_acquire(&worker->next, NULL);
    if (fiber == NULL) {
        return NULL;
    }
    if (worker->streak >= TC_NEXT_STREAK && tc_deque_len(&worker->deque) != 0) {
        worker->streak = 0;
        tc__worker_push(worker, fiber);
        return NULL;
    }
    worker->streak++;
    return fiber;
}

/* Look at the clock, and decide after how many fibers to look again: reading it costs as much as a
 * whole switch, so quick fibers are watched by the dozen and slow ones singly. */
static bool turn_is_over(struct tc_worker *worker)
{
    int64_t now = tc_worker_clock(worker);
    int64_t elapsed = now - worker->clock_ns;

    worker->clock_ns = now;
    if (elapsed < TC_TURN_NS / 4) {
        /* Below the budget of a turn: otherwise no turn would come to look at the clock again. */
        worker->clock_stride *= worker->clock_stride * 2 < TC_TURN_FIBERS ? 2 : 1;
    } else if (elapsed >= TC_TURN_NS) {
        worker->clock_stride = 1;
    } else if (elapsed > TC_TURN_NS / 2 && worker->clock_stride > 1) {
        worker->clock_stride /= 2;
    }
    worker->clock_credit = worker->clock_stride;
    return now >= worker->turn_end_ns;
}

/* Give a fiber its stack before its first run. False: it was dealt with otherwise. */
static bool attach_stack(struct tc_worker *worker, struct tc_fiber *fiber)
{
    if (tc_unlikely(tc_stack_cache_get(&worker->stacks, fiber->stack_class, &fiber->stack) != 0)) {
        fiber->stack.lo = NULL;
        tc__runtime_stack_shortage(worker, fiber);
        return false;
    }
    tc_stack_set_owner(&worker->runtime->stacks, &fiber->stack, fiber);
    tc_store_relaxed(&fiber->reason,
                     TC_WAIT_NONE); /* relaxed: for the census; it may have waited */
    tc_ctx_init(&fiber->ctx, fiber->stack.lo, fiber->stack.size, tc__fiber_main, fiber);
    return true;
}

struct tc_fiber *tc__worker_take(struct tc_worker *worker)
{
    if (tc_chaos(16)) {
        worker->budget = 0; /* chaos: the turn has had its time */
    }
    while (worker->budget != 0) {
        if (--worker->clock_credit == 0 && turn_is_over(worker)) {
            worker->budget = 0;
            break;
        }
        worker->budget--;
        struct tc_fiber *fiber = take_next_slot(worker);
        if (fiber == NULL) {
            fiber = tc_deque_take(&worker->deque);
            if (fiber == NULL) {
                return NULL;
            }
        }
        if (tc_likely(fiber->stack.lo != NULL) || attach_stack(worker, fiber)) {
            return fiber;
        }
    }
    return NULL;
}

/* ---- switching ------------------------------------------------------------------------------ */

/* `fiber` is what the worker runs next; returns where to switch to. */
static struct tc_ctx *step_to(struct tc_worker *worker, struct tc_fiber *fiber)
{
    worker->current = fiber;
    if (fiber == NULL) {
        return &worker->ctx;
    }
    fiber->worker = worker;
    tc_store_relaxed(&fiber->state, TC_FIBER_RUNNING); /* relaxed: for the census */
    tc_counter_add(&worker->counters.switches, 1);
    return &fiber->ctx;
}

struct tc_worker *tc__switch_away(struct tc_worker *worker, struct tc_fiber *self,
                                  tc_commit_fn *commit, void *arg)
{
    worker->commit_fiber = self;
    worker->commit_arg = arg;
    struct tc_ctx *to = step_to(worker, tc__worker_take(worker));
    worker->commit = commit;
    worker = tc_ctx_switch(&self->ctx, to, worker);
    tc__after_switch(worker);
    return worker;
}

/* Runs on the next stack: the exited fiber's own is free now. */
static void commit_exit(struct tc_worker *worker, struct tc_fiber *fiber, void *arg)
{
    (void)fiber;
    (void)arg;
    tc_ctx_fini(&worker->dead_ctx);
    tc_stack_cache_put(&worker->stacks, &worker->dead_stack);
    tc__runtime_fiber_ended(worker->runtime, worker);
    /* relaxed: who counted itself waits for a stack that is put back after it did, this one or a
     * later one */
    if (tc_unlikely(tc_load_relaxed(&worker->runtime->shortage_count) != 0)) {
        tc__runtime_stack_returned(worker);
    }
}

void tc__switch_exit(struct tc_worker *worker, struct tc_fiber *self)
{
    /* `self` may be joined and freed as soon as it is finished, but its stack, on which we still
     * stand, and what the sanitizers know of it, must live until the commit. */
    worker->dead_stack = self->stack;
    worker->dead_ctx = self->ctx;
    self->stack.lo = NULL;
    tc__fiber_finish(worker, self);
    struct tc_ctx *to = step_to(worker, tc__worker_take(worker));
    worker->commit = commit_exit;
    worker->commit_fiber = NULL;
    worker->commit_arg = NULL;
    tc_ctx_exit(&worker->dead_ctx, to, worker);
}

static void commit_yield(struct tc_worker *worker, struct tc_fiber *fiber, void *arg)
{
    (void)arg;
    tc_store_relaxed(&fiber->state, TC_FIBER_QUEUED); /* relaxed: for the census */
    tc__worker_push(worker, fiber);
}

void tc_fiber_yield(void)
{
    struct tc_worker *worker = tc_worker_current();
    struct tc_fiber *self = worker->current;
    tc_assert_debug(self != NULL);
    struct tc_fiber *next = tc__worker_take(worker);
    if (next == NULL && worker->budget != 0) {
        return;
    }
    worker->commit = commit_yield;
    worker->commit_fiber = self;
    worker = tc_ctx_switch(&self->ctx, step_to(worker, next), worker);
    tc__after_switch(worker);
}

/* ---- a turn --------------------------------------------------------------------------------- */

static void run_messages(struct tc_worker *worker)
{
    struct tc_link *link = tc_inbox_drain(&worker->inbox);
    while (link != NULL) {
        struct tc_message *message = tc_container_of(link, struct tc_message, link);
        link = link->next; /* the message may be posted again, or freed, from here on */
        message->fn(worker, message);
    }
}

/* This worker's share of the inject queue. */
static void take_injected(struct tc_worker *worker)
{
    struct tc_runtime *runtime = worker->runtime;
    size_t share = tc_injectq_len(&runtime->inject) / runtime->worker_count + 1;
    struct tc_fifo batch;

    tc_fifo_init(&batch);
    tc_injectq_pop_batch(&runtime->inject, &batch, share < TC_TURN_FIBERS ? share : TC_TURN_FIBERS);
    struct tc_link *link;
    while ((link = tc_fifo_pop(&batch)) != NULL) {
        tc__worker_push(worker, tc_container_of(link, struct tc_fiber, link));
    }
    tc_worker_delivered(worker);
}

/* Look after everything that is not a fiber, once, and open the next turn. */
static void begin_turn(struct tc_worker *worker)
{
    const struct tc_driver *driver = worker->driver;

    tc_counter_add(&worker->turn, 1);
    if (!tc_inbox_is_empty(&worker->inbox)) {
        run_messages(worker);
    }
    if (tc_injectq_len(&worker->runtime->inject) != 0) {
        take_injected(worker);
    }
    worker->now_ns = driver->now(worker);
    if (driver->next_deadline(worker) <= worker->now_ns) {
        driver->expire(worker, worker->now_ns);
    }
    if (worker->polled) {
        worker->polled = false;
        worker->polled_ns = worker->now_ns;
    } else if (worker->now_ns - worker->polled_ns >= TC_POLL_NS && driver->has_sources(worker)) {
        worker->polled_ns = worker->now_ns;
        driver->poll(worker, worker, 0);
    }
    if (worker->now_ns >= worker->trim_ns) {
        int64_t next = tc_stack_cache_trim(&worker->stacks, worker->now_ns);
        worker->trim_ns = next != TC_NEVER ? next : worker->now_ns + TC_NS_PER_SEC;
    }
    tc_ebr_quiescent(worker->ebr);
    worker->budget = TC_TURN_FIBERS;
    worker->clock_ns = worker->now_ns;
    worker->clock_credit = worker->clock_stride;
    worker->turn_end_ns = worker->now_ns + TC_TURN_NS;
}

bool tc__worker_turn(struct tc_worker *worker)
{
    begin_turn(worker);
    struct tc_fiber *fiber = tc__worker_take(worker);
    if (fiber == NULL) {
        return worker->budget == 0;
    }
    if (worker->searching || worker->unguarded) {
        tc__idle_found_work(worker);
    }
    do {
        tc_ctx_switch(&worker->ctx, step_to(worker, fiber), worker);
        tc__after_switch(worker);
        fiber = tc__worker_take(worker);
    } while (fiber != NULL);
    return true;
}

void tc__worker_attach(struct tc_worker *worker)
{
    set_current_worker(worker);
    tc_ctx_init_thread(&worker->ctx);
    /* Without an alternate stack an overflow kills the process without a report; nothing else. */
    TC_IGNORE(tc_overflow_thread_init(&worker->overflow));
    tc_ebr_online(worker->ebr);
}

void tc__worker_detach(struct tc_worker *worker)
{
    tc_ebr_offline(worker->ebr);
    tc_overflow_thread_fini(&worker->overflow);
    tc_ctx_fini_thread(&worker->ctx);
    set_current_worker(NULL);
}

void *tc__worker_main(void *arg)
{
    struct tc_worker *worker = arg;

    tc__worker_attach(worker);
    tc_sys_thread_set_name("tinycoro");
    /* The doze lasts 50 us; with the usual slack of as much again it would be twice that. */
    TC_IGNORE(tc_sys_set_timer_slack(TC_NS_PER_US));
    while (!tc__runtime_is_leaving(worker->runtime)) {
        /* A turn that ended before its time has run dry: idling looks at everything that another
         * turn would look at, and asks the poller with the same call that sleeps in it. */
        if (!tc__worker_turn(worker) || worker->budget != 0) {
            tc__idle(worker);
        }
    }
    tc__worker_detach(worker);
    return NULL;
}

/* ---- messages and life ---------------------------------------------------------------------- */

void tc_worker_post(struct tc_worker *worker, struct tc_message *message)
{
    if (tc_inbox_push(&worker->inbox, &message->link)) {
        tc_chaos_yield(8); /* chaos: the message has run before the wake-up that is for it */
        tc__worker_unpark(worker);
    }
}

static void wake_sleeper(_Atomic uint32_t *state, void *arg)
{
    struct tc_worker *worker = arg;

    (void)state;
    worker->driver->wake(worker);
}

void tc__worker_unpark(struct tc_worker *worker)
{
    tc_parker_core_unpark(&worker->parker, wake_sleeper, worker);
}

int tc__worker_init(struct tc_worker *worker, struct tc_runtime *runtime, uint32_t index,
                    uint64_t seed)
{
    worker->runtime = runtime;
    worker->driver = runtime->driver;
    worker->index = index;
    worker->next_id = index + 1;
    worker->clock_stride = 1;
    worker->recent_ns = TC_RECENT_NONE;
    worker->ebr = tc_ebr_slot_at(&runtime->ebr, index);
    tc_rand_init(&worker->rand, seed);
    tc_inbox_init(&worker->inbox);
    tc_parker_core_init(&worker->parker);
    int rc = tc_deque_init(&worker->deque, tc_deque_retire_ebr, worker->ebr);
    if (rc != 0) {
        return rc;
    }
    tc_slab_cache_init(&worker->fibers, &runtime->fibers);
    tc_stack_cache_init(&worker->stacks, &runtime->stacks);
    rc = worker->driver->worker_init(worker);
    if (rc != 0) {
        goto fini_caches;
    }
    return 0;

fini_caches:
    tc_stack_cache_fini(&worker->stacks);
    tc_slab_cache_fini(&worker->fibers);
    tc_deque_fini(&worker->deque);
    return rc;
}

void tc__worker_fini(struct tc_worker *worker)
{
    worker->driver->worker_fini(worker);
    tc_stack_cache_fini(&worker->stacks);
    tc_slab_cache_fini(&worker->fibers);
    tc_deque_fini(&worker->deque);
}
