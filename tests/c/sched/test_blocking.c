/* The pool for calls that cannot be polled. With TC_TEST_SMALL its limit is 4 threads and they
 * linger for 20 ms, so that both ends are reached. */
#include "fake_driver.h"

#include "sched/blocking.h"

struct call {
    int64_t argument;
    int64_t result;
    _Atomic bool *gate; /* the call returns once it is open; NULL: at once */
    _Atomic int *inside;
    pthread_t thread;
};

static int64_t block(void *arg)
{
    struct call *call = arg;

    call->thread = pthread_self();
    if (call->inside != NULL) {
        tc_fetch_add_relaxed(call->inside, 1);
    }
    while (call->gate != NULL && !tc_load_acquire(call->gate)) {
        tc_sys_sched_yield();
    }
    return call->argument * 2;
}

static void make_call(void *arg)
{
    struct call *call = arg;

    call->result = tc_blocking_run(block, call);
}

TC_TEST(test_blocking_call_runs_elsewhere_and_returns_its_value)
{
    struct tc_runtime *runtime = fake_start(1, 0);
    struct call call = {.argument = -21};

    TC_CHECK_EQ(tc_runtime_run(runtime, make_call, &call), 0);
    TC_CHECK_EQ(call.result, -42);
    TC_CHECK(!pthread_equal(call.thread, tc_runtime_worker(runtime, 0)->thread));
    fake_stop(runtime);
}

static void open_gate(void *arg)
{
    tc_store_release((_Atomic bool *)arg, true);
}

TC_TEST(test_blocking_call_leaves_the_worker_free)
{
    struct tc_runtime *runtime = fake_start(1, 0);
    _Atomic bool gate = false;
    struct call call = {.argument = 1, .gate = &gate};
    struct tc_fiber *caller = fake_spawn(runtime, make_call, &call);

    TC_CHECK_EQ(tc_runtime_run(runtime, open_gate, (void *)&gate), 0); /* on the only worker */
    TC_CHECK_EQ(tc_fiber_join(caller, TC_NEVER), 0);
    TC_CHECK_EQ(call.result, 2);
    fake_stop(runtime);
}

static void call_then_sleep(void *arg)
{
    struct call *call = arg;

    make_call(call);
    call->argument = tc_fiber_sleep_until(TC_NEVER);
}

TC_TEST(test_blocking_call_is_shielded_from_cancel)
{
    struct tc_runtime *runtime = fake_start(2, 0);
    _Atomic bool gate = false;
    _Atomic int inside = 0;
    struct call call = {.argument = 4, .gate = &gate, .inside = &inside};
    struct tc_fiber *caller = fake_spawn(runtime, call_then_sleep, &call);

    while (tc_load_relaxed(&inside) == 0) {
        tc_sys_sched_yield();
    }
    tc_fiber_cancel(caller);
    TC_CHECK_EQ(tc_fiber_join(caller, tc_deadline_after_ns(5 * TC_NS_PER_MS)), -ETIMEDOUT);
    tc_store_release(&gate, true);
    TC_CHECK_EQ(tc_fiber_join(caller, TC_NEVER), 0);
    TC_CHECK_EQ(call.result, 8);
    TC_CHECK_EQ(call.argument, -ECANCELED);
    fake_stop(runtime);
}

TC_TEST(test_blocking_more_calls_than_threads_all_run)
{
    enum { CALLS = 32 };
    struct tc_runtime *runtime = fake_start(2, 0);
    _Atomic bool gate = false;
    _Atomic int inside = 0;
    struct call calls[CALLS];
    struct tc_fiber *callers[CALLS];
    struct tc_runtime_statistics statistics;

    for (int i = 0; i < CALLS; i++) {
        calls[i] = (struct call){.argument = i, .gate = &gate, .inside = &inside};
        callers[i] = fake_spawn(runtime, make_call, &calls[i]);
    }
    int limit = TC_BLOCKING_THREADS_MAX;
    int expected = limit < CALLS ? limit : CALLS;
    while (tc_load_relaxed(&inside) != expected) {
        tc_sys_sched_yield();
    }
    tc_runtime_statistics(runtime, &statistics);
    TC_CHECK_EQ(statistics.blocking_threads, expected);
    tc_store_release(&gate, true);
    for (int i = 0; i < CALLS; i++) {
        TC_CHECK_EQ(tc_fiber_join(callers[i], TC_NEVER), 0);
        TC_CHECK_EQ(calls[i].result, 2 * i);
    }
    fake_stop(runtime);
}

TC_TEST(test_blocking_call_without_any_thread_fails)
{
    struct tc_runtime *runtime = fake_start(1, 0);
    struct call call = {.argument = 1};

    tc_fault_arm(TC_FAULT_THREAD, 1, EAGAIN, UINT64_MAX);
    TC_CHECK_EQ(tc_runtime_run(runtime, make_call, &call), 0);
    TC_CHECK_EQ(call.result, -EAGAIN);
    tc_fault_disarm_all();
    TC_CHECK_EQ(tc_runtime_run(runtime, make_call, &call), 0);
    TC_CHECK_EQ(call.result, 2);
    fake_stop(runtime);
}

TC_TEST(test_blocking_call_without_a_second_thread_waits_for_the_first)
{
    struct tc_runtime *runtime = fake_start(1, 0);
    _Atomic bool gate = false;
    _Atomic int inside = 0;
    struct call calls[2] = {{.argument = 1, .gate = &gate, .inside = &inside},
                            {.argument = 2, .gate = &gate, .inside = &inside}};
    struct tc_fiber *callers[2];

    callers[0] = fake_spawn(runtime, make_call, &calls[0]);
    while (tc_load_relaxed(&inside) != 1) {
        tc_sys_sched_yield();
    }
    tc_fault_arm(TC_FAULT_THREAD, 1, EAGAIN, UINT64_MAX);
    callers[1] = fake_spawn(runtime, make_call, &calls[1]);
    while (tc_fault_hits(TC_FAULT_THREAD) == 0) {
        tc_sys_sched_yield();
    }
    tc_fault_disarm_all();
    tc_store_release(&gate, true);
    for (int i = 0; i < 2; i++) {
        TC_CHECK_EQ(tc_fiber_join(callers[i], TC_NEVER), 0);
        TC_CHECK_EQ(calls[i].result, 2 * (i + 1));
    }
    fake_stop(runtime);
}

TC_TEST(test_blocking_threads_leave_after_their_linger)
{
    struct tc_runtime_statistics statistics;

    if (!TC_TEST_SMALL) {
        tc_test_skipf("threads linger for 10 s in this build");
    }
    struct tc_runtime *runtime = fake_start(2, 0);
    for (int round = 0; round < 3; round++) {
        struct call call = {.argument = 1};
        TC_CHECK_EQ(tc_runtime_run(runtime, make_call, &call), 0);
        do {
            tc_sys_sched_yield();
            tc_runtime_statistics(runtime, &statistics);
        } while (statistics.blocking_threads != 0);
    }
    fake_stop(runtime);
}

static void *open_gate_later(void *arg)
{
    struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};

    nanosleep(&pause, NULL); /* so that stop() meets the queue; nothing depends on it */
    tc_store_release((_Atomic bool *)arg, true);
    return NULL;
}

TC_TEST(test_blocking_stop_waits_for_queued_calls)
{
    enum { CALLS = 12 };
    size_t bytes = tc_mem_bytes_in_use();
    struct tc_runtime *runtime = fake_start(2, 0);
    _Atomic bool gate = false;
    struct call calls[CALLS];
    struct tc_fiber *callers[CALLS];
    pthread_t opener;

    for (int i = 0; i < CALLS; i++) {
        calls[i] = (struct call){.argument = i, .gate = &gate};
        callers[i] = fake_spawn(runtime, make_call, &calls[i]);
    }
    TC_CHECK_EQ(pthread_create(&opener, NULL, open_gate_later, (void *)&gate), 0);
    TC_CHECK_EQ(tc_runtime_stop(runtime, TC_NEVER), 0);
    for (int i = 0; i < CALLS; i++) {
        TC_CHECK_EQ(calls[i].result, 2 * i);
        fake_join_dead(callers[i]);
    }
    pthread_join(opener, NULL);
    tc_runtime_free(runtime);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), bytes);
}

static void call_often(void *arg)
{
    for (int i = 0; i < (TC_TSAN || TC_ASAN ? 200 : 2000); i++) {
        struct call call = {.argument = i};
        TC_CHECK_EQ(tc_blocking_run(block, &call), 2 * i);
    }
    (void)arg;
}

TC_TEST(test_blocking_storm_of_short_calls_loses_none)
{
    struct tc_runtime *runtime = fake_start(2, 0);
    struct tc_fiber *callers[8];

    for (int i = 0; i < 8; i++) {
        callers[i] = fake_spawn(runtime, call_often, NULL);
    }
    for (int i = 0; i < 8; i++) {
        TC_CHECK_EQ(tc_fiber_join(callers[i], TC_NEVER), 0);
    }
    fake_stop(runtime);
}
