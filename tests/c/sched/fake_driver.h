/* tests/c/sched/fake_driver.h — a driver without descriptors, so that sched is tested alone.
 *
 * Scripted: no thread runs; the test turns a worker itself, the clock stands still until the test
 * moves it, and readiness is what the test posts. Nothing sleeps, nothing depends on the machine.
 *
 *   struct tc_runtime *rt = fake_runtime(1);     fake_now_ns = 1000;
 *   fake_turn(worker);                           one turn of that worker, on this thread
 *
 * Threaded: the same driver under tc_runtime_start(): real clock, sleeps on a futex.
 *
 * Deadlines are an array under a lock: the plainest thing that keeps the contract of
 * sched/driver.h. A test file includes this once; everything is static.
 */
#ifndef TC_TESTS_C_SCHED_FAKE_DRIVER_H
#define TC_TESTS_C_SCHED_FAKE_DRIVER_H

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/assert.h"
#include "base/chaos.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"
#include "sched/idle.h"
#include "sched/runtime_internal.h"

#include "harness.h"

enum { FAKE_TIMERS = 512, FAKE_EVENTS = 256 };

/* One deadline. Type-stable: lives as long as its worker. */
struct tc_timer {
    struct tc_waiter *waiter;
    uint64_t wait_seq;
    int64_t when_ns;
    uint64_t seq; /* moves with every arm, fire and disarm */
    bool armed;
    struct fake_io *home; /* constant */
};

struct fake_io {
    pthread_mutex_t lock; /* guards everything but `wakes` */
    struct tc_timer timers[FAKE_TIMERS];
    uint32_t timers_used; /* timers[0..used) have ever been armed */
    _Atomic uint32_t armed;
    struct tc_readiness *events[FAKE_EVENTS];
    _Atomic uint32_t event_count;
    _Atomic uint32_t wakes;      /* futex word: counts wake() */
    _Atomic int64_t woken_ns;    /* when it was last counted up */
    uint32_t wakes_seen;         /* owner's thread */
    int worker_fini_calls;
};

/* What the test script says. Atomic because the threaded form reads them on many threads. */
static _Atomic int64_t fake_now_ns = 1;
static _Atomic int64_t fake_step_ns; /* the clock moves by this at every look */
static bool fake_threaded;
static _Atomic int64_t fake_late_ns; /* threaded: how late the machine ended all sleeps, together */
static _Atomic int fake_init_error; /* worker_init of worker `fake_init_error_at` returns this */
static _Atomic uint32_t fake_init_error_at;

static struct fake_io *fake_io_of(struct tc_worker *worker)
{
    return worker->io;
}

static int fake_worker_init(struct tc_worker *worker)
{
    if (tc_load_relaxed(&fake_init_error) != 0 &&
        worker->index == tc_load_relaxed(&fake_init_error_at)) {
        return tc_load_relaxed(&fake_init_error);
    }
    struct fake_io *io = tc_mem_zalloc(sizeof *io);
    if (io == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_init(&io->lock, NULL);
    for (int i = 0; i < FAKE_TIMERS; i++) {
        io->timers[i].home = io;
    }
    worker->io = io;
    return 0;
}

static void fake_worker_fini(struct tc_worker *worker)
{
    struct fake_io *io = fake_io_of(worker);
    pthread_mutex_destroy(&io->lock);
    tc_mem_free(io, sizeof *io);
}

static void fake_deliver(struct tc_worker *worker, struct tc_readiness *word)
{
    struct tc_waiter *waiter;
    uint64_t seq;

    if (tc_readiness_notify(word, &waiter, &seq)) {
        bool claimed = tc_waiter_claim(waiter, seq);
        tc_readiness_unlock(word);
        if (claimed) {
            tc_ready_from(worker, waiter, 0);
        }
    }
}

static void fake_end_sleep(struct fake_io *io)
{
    tc_store_relaxed(&io->woken_ns, tc_clock_now_ns());
    tc_fetch_add_release(&io->wakes, 1);
    (void)tc_sys_futex_wake(&io->wakes, 1);
}

/* Let the next poll of `worker`'s place find `word` ready. Threads: any */
__attribute__((unused)) static void fake_post_event(struct tc_worker *worker,
                                                    struct tc_readiness *word)
{
    struct fake_io *io = fake_io_of(worker);

    pthread_mutex_lock(&io->lock);
    uint32_t count = tc_load_relaxed(&io->event_count);
    TC_CHECK(count < FAKE_EVENTS);
    io->events[count] = word;
    tc_store_relaxed(&io->event_count, count + 1);
    pthread_mutex_unlock(&io->lock);
    if (fake_threaded) {
        fake_end_sleep(io);
    }
}

static void fake_sleep(struct fake_io *io, int64_t timeout_ns)
{
    int64_t start = tc_clock_now_ns();
    int64_t deadline = timeout_ns == TC_NEVER ? TC_NEVER : tc_deadline_after_ns(timeout_ns);
    int64_t due = start;

    while (tc_load_acquire(&io->wakes) == io->wakes_seen) {
        int rc = tc_sys_futex_wait(&io->wakes, io->wakes_seen, deadline);
        if (rc == -ETIMEDOUT) {
            due = deadline;
            break;
        }
        due = tc_load_relaxed(&io->woken_ns);
    }
    io->wakes_seen = tc_load_acquire(&io->wakes);
    int64_t late = tc_clock_now_ns() - (due > start ? due : start);
    tc_fetch_add_relaxed(&fake_late_ns, late > 0 ? late : 0);
}

static int fake_poll(struct tc_worker *worker, struct tc_worker *source, int64_t timeout_ns)
{
    struct fake_io *io = fake_io_of(source);
    struct tc_readiness *events[FAKE_EVENTS];

    if (fake_threaded && timeout_ns > 0) {
        fake_sleep(io, timeout_ns);
    }
    tc_worker_awake(worker);
    pthread_mutex_lock(&io->lock);
    uint32_t count = tc_load_relaxed(&io->event_count);
    memcpy(events, io->events, count * sizeof events[0]);
    tc_store_relaxed(&io->event_count, 0);
    pthread_mutex_unlock(&io->lock);
    for (uint32_t i = 0; i < count; i++) {
        fake_deliver(worker, events[i]);
    }
    tc_counter_add(&worker->counters.polls, 1);
    if (count != 0) {
        tc_counter_add(&worker->counters.events, count);
        tc_worker_delivered(worker);
    }
    return (int)count;
}

static void fake_wake(struct tc_worker *worker)
{
    fake_end_sleep(fake_io_of(worker));
}

static int64_t fake_now(struct tc_worker *worker)
{
    (void)worker;
    if (fake_threaded) {
        return tc_clock_now_ns();
    }
    return tc_fetch_add_relaxed(&fake_now_ns, tc_load_relaxed(&fake_step_ns));
}

static int64_t fake_next_deadline(struct tc_worker *worker)
{
    struct fake_io *io = fake_io_of(worker);
    int64_t least = TC_NEVER;

    if (tc_load_relaxed(&io->armed) == 0) {
        return TC_NEVER;
    }
    pthread_mutex_lock(&io->lock);
    for (uint32_t i = 0; i < io->timers_used; i++) {
        if (io->timers[i].armed && io->timers[i].when_ns < least) {
            least = io->timers[i].when_ns;
        }
    }
    pthread_mutex_unlock(&io->lock);
    return least;
}

static int fake_expire(struct tc_worker *worker, int64_t now)
{
    struct fake_io *io = fake_io_of(worker);
    int fired = 0;

    pthread_mutex_lock(&io->lock);
    for (uint32_t i = 0; i < io->timers_used; i++) {
        struct tc_timer *timer = &io->timers[i];
        if (timer->armed && timer->when_ns <= now) {
            struct tc_waiter *waiter = timer->waiter;
            uint64_t seq = timer->wait_seq;
            timer->armed = false;
            timer->seq++;
            tc_fetch_sub_relaxed(&io->armed, 1);
            if (tc_waiter_claim(waiter, seq)) {
                pthread_mutex_unlock(&io->lock);
                tc_ready_from(worker, waiter, -ETIMEDOUT);
                pthread_mutex_lock(&io->lock);
                fired++;
            }
        }
    }
    pthread_mutex_unlock(&io->lock);
    return fired;
}

static int fake_arm(struct tc_worker *worker, struct tc_waiter *waiter, uint64_t seq, int64_t when,
                    struct tc_deadline *out)
{
    struct fake_io *io = fake_io_of(worker);
    struct tc_timer *timer = NULL;

    if (tc_fault_check(TC_FAULT_ALLOC) != 0) {
        return -ENOMEM;
    }
    pthread_mutex_lock(&io->lock);
    for (uint32_t i = 0; i < FAKE_TIMERS && timer == NULL; i++) {
        if (!io->timers[i].armed) {
            timer = &io->timers[i];
            io->timers_used = i >= io->timers_used ? i + 1 : io->timers_used;
        }
    }
    TC_CHECK(timer != NULL);
    timer->armed = true;
    timer->waiter = waiter;
    timer->wait_seq = seq;
    timer->when_ns = when;
    tc_fetch_add_relaxed(&io->armed, 1);
    *out = (struct tc_deadline){.timer = timer, .seq = timer->seq};
    pthread_mutex_unlock(&io->lock);
    return 0;
}

static void fake_disarm(struct tc_worker *worker, struct tc_deadline *deadline)
{
    struct tc_timer *timer = deadline->timer;
    struct fake_io *io = timer->home;

    (void)worker;
    pthread_mutex_lock(&io->lock);
    if (timer->armed && timer->seq == deadline->seq) {
        timer->armed = false;
        timer->seq++;
        tc_fetch_sub_relaxed(&io->armed, 1);
    }
    pthread_mutex_unlock(&io->lock);
    deadline->timer = NULL;
}

static void fake_after_fork_child(struct tc_worker *worker)
{
    (void)worker;
}

static bool fake_has_sources(struct tc_worker *worker)
{
    return tc_load_relaxed(&fake_io_of(worker)->event_count) != 0;
}

static const struct tc_driver fake_driver = {
    .worker_init = fake_worker_init,
    .worker_fini = fake_worker_fini,
    .poll = fake_poll,
    .wake = fake_wake,
    .tick = NULL,
    .now = fake_now,
    .next_deadline = fake_next_deadline,
    .expire = fake_expire,
    .arm = fake_arm,
    .disarm = fake_disarm,
    .after_fork_child = fake_after_fork_child,
    .statistics = NULL,
    .has_sources = fake_has_sources,
};

/* ---- runtimes ------------------------------------------------------------------------------- */

static struct tc_runtime *fake_dumped;

__attribute__((unused)) static void fake_dump(int fd)
{
    if (fake_dumped != NULL) {
        tc_runtime_dump(fake_dumped, fd);
    }
}

/* A scripted runtime: never started, turned by fake_turn. */
__attribute__((unused)) static struct tc_runtime *fake_runtime(uint32_t workers)
{
    struct tc_runtime_options options = {
        .workers = workers, .driver = &fake_driver, .seed = tc_test_seed()};
    struct tc_runtime *runtime;

    fake_threaded = false;
    TC_CHECK_EQ(tc_runtime_new(&options, &runtime), 0);
    return runtime;
}

/* A started runtime with real threads; fake_stop ends it and expects that nothing is left. */
__attribute__((unused)) static struct tc_runtime *fake_start(uint32_t workers, uint32_t max_fibers)
{
    struct tc_runtime_options options = {.workers = workers,
                                         .max_fibers = max_fibers,
                                         .driver = &fake_driver,
                                         .seed = tc_test_seed()};
    struct tc_runtime *runtime;

    fake_threaded = true;
    TC_CHECK_EQ(tc_runtime_new(&options, &runtime), 0);
    TC_CHECK_EQ(tc_runtime_start(runtime), 0);
    fake_dumped = runtime;
    tc_test_dump_hook = fake_dump;
    return runtime;
}

__attribute__((unused)) static void fake_stop(struct tc_runtime *runtime)
{
    struct tc_runtime_statistics statistics;

    TC_CHECK_EQ(tc_runtime_stop(runtime, tc_deadline_after_ns(20 * TC_NS_PER_SEC)), 0);
    tc_runtime_statistics(runtime, &statistics);
    TC_CHECK_EQ(statistics.fibers, 0);
    TC_CHECK_EQ(statistics.stacks_in_use, 0);
    fake_dumped = NULL;
    tc_runtime_free(runtime);
}

/* One turn of `worker` on this thread. Returns whether it ran any fiber or used up its budget. */
__attribute__((unused)) static bool fake_turn(struct tc_worker *worker)
{
    uint64_t before = tc_load_relaxed(&worker->counters.switches);

    tc__worker_attach(worker);
    bool more = tc__worker_turn(worker);
    tc__worker_detach(worker);
    return more || tc_load_relaxed(&worker->counters.switches) != before;
}

/* What an idle worker does, without the sleep: ask for events. Returns how many there were. */
static int fake_look(struct tc_worker *worker)
{
    tc__worker_attach(worker);
    int events = fake_poll(worker, worker, 0);
    tc__worker_detach(worker);
    return events;
}

/* Turn until nothing is runnable and no event is left. */
__attribute__((unused)) static void fake_settle(struct tc_worker *worker)
{
    for (int i = 0; fake_turn(worker) || fake_look(worker) != 0; i++) {
        TC_CHECK(i < 100000);
    }
}

/* Join a dead fiber from the test's thread without waiting. */
__attribute__((unused)) static void fake_join_dead(struct tc_fiber *fiber)
{
    TC_CHECK(tc_readiness_is_ready(&fiber->done));
    TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), 0);
}

__attribute__((unused)) static struct tc_fiber *fake_spawn(struct tc_runtime *runtime,
                                                           void (*entry)(void *), void *arg)
{
    struct tc_fiber *fiber;

    TC_CHECK_EQ(tc_fiber_spawn(runtime, entry, arg, NULL, &fiber), 0);
    return fiber;
}

/* Park the running fiber in `word` until somebody notifies it. */
__attribute__((unused)) static int fake_wait(struct tc_readiness *word, int64_t deadline_ns)
{
    return tc__fiber_wait_readiness(word, TC_WAIT_TEST, word, deadline_ns);
}

/* Notify `word` from wherever we are. */
__attribute__((unused)) static void fake_notify(struct tc_readiness *word)
{
    fake_deliver(tc_worker_current(), word);
}

#endif
