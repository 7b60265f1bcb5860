/* Spawn, join, detach, names, storage; with plain threads where they take part. */
#include "fake_driver.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static void do_nothing(void *arg)
{
    (void)arg;
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static void wait_word(void *arg)
{
    (void)fake_wait(arg, TC_NEVER);
}

/* ---- spawn --------------------------------------------------------------------------------- */

TC_TEST(test_fiber_spawn_before_start_runs_after_it)
{
    struct tc_runtime_options options = {.workers = 1, .driver = &fake_driver};
    struct tc_runtime *runtime;
    bool flag = false;

    fake_threaded = true;
    TC_CHECK_EQ(tc_runtime_new(&options, &runtime), 0);
    struct tc_fiber *fiber = fake_spawn(runtime, set_flag, &flag);
    TC_CHECK_EQ(tc_runtime_start(runtime), 0);
    TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), 0);
    TC_CHECK(flag);
    fake_stop(runtime);
}

TC_TEST(test_fiber_spawn_above_max_fibers_is_refused)
{
    struct tc_runtime *runtime = fake_start(1, 3);
    struct tc_readiness words[3];
    struct tc_fiber *fibers[3];
    struct tc_fiber *more;

    for (int i = 0; i < 3; i++) {
        tc_readiness_init(&words[i], false);
        fibers[i] = fake_spawn(runtime, wait_word, &words[i]);
    }
    TC_CHECK_EQ(tc_fiber_spawn(runtime, do_nothing, NULL, NULL, &more), -EAGAIN);
    fake_notify(&words[1]);
    TC_CHECK_EQ(tc_fiber_join(fibers[1], TC_NEVER), 0);
    TC_CHECK_EQ(tc_fiber_spawn(runtime, do_nothing, NULL, NULL, &more), 0);
    TC_CHECK_EQ(tc_fiber_join(more, TC_NEVER), 0);
    fake_notify(&words[0]);
    fake_notify(&words[2]);
    TC_CHECK_EQ(tc_fiber_join(fibers[0], TC_NEVER), 0);
    TC_CHECK_EQ(tc_fiber_join(fibers[2], TC_NEVER), 0);
    fake_stop(runtime);
}

TC_TEST(test_fiber_spawn_without_memory_counts_nothing)
{
    struct tc_runtime *runtime = fake_start(1, 100);
    struct tc_fiber *fiber;

    tc_fault_arm(TC_FAULT_ALLOC, 1, ENOMEM, UINT64_MAX);
    for (int i = 0; i < 200; i++) {
        TC_CHECK_EQ(tc_fiber_spawn(runtime, do_nothing, NULL, NULL, &fiber), -ENOMEM);
    }
    tc_fault_disarm_all();
    TC_CHECK_EQ(tc_fiber_spawn(runtime, do_nothing, NULL, NULL, &fiber), 0);
    TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), 0);
    fake_stop(runtime);
}

TC_TEST(test_fiber_spawn_after_stop_is_refused)
{
    struct tc_runtime *runtime = fake_start(2, 0);
    struct tc_fiber *fiber;

    TC_CHECK_EQ(tc_runtime_stop(runtime, TC_NEVER), 0);
    TC_CHECK_EQ(tc_fiber_spawn(runtime, do_nothing, NULL, NULL, &fiber), -ESHUTDOWN);
    tc_runtime_free(runtime);
}

/* ---- join ---------------------------------------------------------------------------------- */

struct join_case {
    struct tc_runtime *runtime;
    struct tc_readiness word;
    int early, late;
};

static void join_twice(void *arg)
{
    struct join_case *join = arg;
    struct tc_fiber *child = fake_spawn(join->runtime, wait_word, &join->word);

    join->early = tc_fiber_join(child, tc_worker_now(tc_worker_current()) + 1000);
    fake_notify(&join->word);
    join->late = tc_fiber_join(child, TC_NEVER);
}

TC_TEST(test_fiber_join_with_a_deadline_keeps_the_handle)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_worker *worker = tc_runtime_worker(runtime, 0);
    struct join_case join = {.runtime = runtime, .early = 99, .late = 99};

    tc_readiness_init(&join.word, false);
    struct tc_fiber *fiber = fake_spawn(runtime, join_twice, &join);
    fake_settle(worker);
    TC_CHECK_EQ(join.early, 99);
    tc_store_relaxed(&fake_now_ns, 5000);
    fake_settle(worker);
    TC_CHECK_EQ(join.early, -ETIMEDOUT);
    TC_CHECK_EQ(join.late, 0);
    fake_join_dead(fiber);
    tc_runtime_free(runtime);
}

TC_TEST(test_fiber_join_by_a_thread_times_out_and_may_try_again)
{
    struct tc_runtime *runtime = fake_start(2, 0);
    struct tc_readiness word;

    tc_readiness_init(&word, false);
    struct tc_fiber *fiber = fake_spawn(runtime, wait_word, &word);
    for (int i = 0; i < 3; i++) {
        int64_t deadline = tc_deadline_after_ns(2 * TC_NS_PER_MS);
        TC_CHECK_EQ(tc_fiber_join(fiber, deadline), -ETIMEDOUT);
        TC_CHECK(tc_clock_now_ns() >= deadline);
    }
    fake_notify(&word);
    TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), 0);
    fake_stop(runtime);
}

static void on_signal(int number)
{
    (void)number;
}

static _Atomic bool stop_signals;

static void *send_signals(void *arg)
{
    while (!tc_load_relaxed(&stop_signals)) {
        pthread_kill(*(pthread_t *)arg, SIGUSR1);
        tc_sys_sched_yield();
    }
    return NULL;
}

TC_TEST(test_fiber_join_by_a_thread_returns_on_a_signal)
{
    struct tc_runtime *runtime = fake_start(1, 0);
    struct sigaction action = {.sa_handler = on_signal};
    struct tc_readiness word;
    pthread_t self = pthread_self();
    pthread_t sender;

    sigaction(SIGUSR1, &action, NULL);
    tc_readiness_init(&word, false);
    struct tc_fiber *fiber = fake_spawn(runtime, wait_word, &word);
    TC_CHECK_EQ(pthread_create(&sender, NULL, send_signals, &self), 0);
    TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), -EINTR);
    tc_store_relaxed(&stop_signals, true);
    pthread_join(sender, NULL);
    fake_notify(&word);
    int rc;
    do {
        rc = tc_fiber_join(fiber, TC_NEVER);
    } while (rc == -EINTR);
    TC_CHECK_EQ(rc, 0);
    fake_stop(runtime);
}

TC_TEST(test_fiber_join_by_a_thread_races_with_the_end)
{
    struct tc_runtime *runtime = fake_start(2, 0);

    for (int i = 0; i < (TC_TSAN || TC_ASAN ? 2000 : 20000) && tc_test_has_time(5); i++) {
        struct tc_fiber *fiber = fake_spawn(runtime, do_nothing, NULL);
        int rc = tc_fiber_join(fiber, i % 3 == 0 ? tc_deadline_after_ns(i % 7000) : TC_NEVER);
        if (rc == -ETIMEDOUT) {
            rc = tc_fiber_join(fiber, TC_NEVER);
        }
        TC_CHECK_EQ(rc, 0);
    }
    fake_stop(runtime);
}

/* F3: the word decides between exit and detach, whoever comes first. */
TC_TEST(test_fiber_detach_races_with_the_end)
{
    struct tc_runtime *runtime = fake_start(2, 64);
    int refused = 0;

    for (int i = 0; i < (TC_TSAN || TC_ASAN ? 2000 : 20000) && tc_test_has_time(5); i++) {
        struct tc_fiber *fiber;
        if (tc_fiber_spawn(runtime, do_nothing, NULL, NULL, &fiber) != 0) {
            refused++; /* the limit: so a leaked fiber would end in refusals only */
            tc_sys_sched_yield();
            continue;
        }
        if (i % 2 == 0) {
            tc_fiber_cancel(fiber);
        }
        tc_fiber_detach(fiber);
    }
    fake_stop(runtime);
    TC_CHECK(refused < 20000);
}

/* ---- names, stack, storage ----------------------------------------------------------------- */

static void look_for_name(const struct tc_fiber_info *info, void *arg)
{
    char *out = arg;

    strcpy(out, info->name);
}

struct named {
    struct tc_runtime *runtime;
    char first[TC_FIBER_NAME_BYTES];
    char second[TC_FIBER_NAME_BYTES];
};

static void rename_self(void *arg)
{
    struct named *named = arg;

    tc_runtime_census(named->runtime, look_for_name, named->first);
    tc_fiber_set_name("short");
    tc_runtime_census(named->runtime, look_for_name, named->second);
}

TC_TEST(test_fiber_name_is_cut_and_can_be_changed)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_spawn_options options = {.name = "0123456789abcdefghijklmnopq",
                                       .stack_class = TC_STACK_DEFAULT};
    struct named named = {.runtime = runtime};
    struct tc_fiber *fiber;

    TC_CHECK_EQ(tc_fiber_spawn(runtime, rename_self, &named, &options, &fiber), 0);
    fake_settle(tc_runtime_worker(runtime, 0));
    TC_CHECK(strcmp(named.first, "0123456789abcdefghijklm") == 0);
    TC_CHECK(strcmp(named.second, "short") == 0);
    fake_join_dead(fiber);
    tc_runtime_free(runtime);
}

static void measure_stack(void *arg)
{
    *(size_t *)arg = tc_fiber_stack_remaining();
}

TC_TEST(test_fiber_stack_remaining_is_within_the_class)
{
    struct tc_runtime *runtime = fake_runtime(1);
    size_t remaining[TC_STACK_CLASS_COUNT];
    struct tc_fiber *fibers[TC_STACK_CLASS_COUNT];

    for (int class = 0; class < TC_STACK_CLASS_COUNT; class++) {
        struct tc_spawn_options options = {.stack_class = (enum tc_stack_class)class};
        TC_CHECK_EQ(tc_fiber_spawn(runtime, measure_stack, &remaining[class], &options,
                                   &fibers[class]),
                    0);
    }
    fake_settle(tc_runtime_worker(runtime, 0));
    TC_CHECK(remaining[0] > 4096 && remaining[0] < 16 * 1024);
    TC_CHECK(remaining[1] > 16 * 1024 && remaining[1] < 64 * 1024);
    TC_CHECK(remaining[2] > 64 * 1024 && remaining[2] < 256 * 1024);
    TC_CHECK_EQ(tc_fiber_stack_remaining(), 0);
    TC_CHECK(tc_fiber_current() == NULL);
    for (int class = 0; class < TC_STACK_CLASS_COUNT; class++) {
        fake_join_dead(fibers[class]);
    }
    tc_runtime_free(runtime);
}

static int storage_key;
static int destroyed;

static void destroy_value(void *value)
{
    destroyed += *(int *)value;
}

static void use_storage(void *arg)
{
    TC_CHECK(tc_fiber_get(storage_key) == NULL); /* not the former fiber's */
    tc_fiber_set(storage_key, arg);
    tc_fiber_yield();
    TC_CHECK(tc_fiber_get(storage_key) == arg);
}

TC_TEST(test_fiber_storage_is_each_fiber_s_own_and_destroyed_at_exit)
{
    struct tc_runtime *runtime = fake_runtime(1);
    int values[3] = {1, 10, 100};
    struct tc_fiber *fibers[3];

    storage_key = tc_fiber_key_new(destroy_value);
    TC_CHECK(storage_key >= 0);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3; i++) {
            fibers[i] = fake_spawn(runtime, use_storage, &values[i]);
        }
        fake_settle(tc_runtime_worker(runtime, 0));
        TC_CHECK_EQ(destroyed, 111 * (round + 1));
        for (int i = 0; i < 3; i++) {
            fake_join_dead(fibers[i]);
        }
    }
    tc_runtime_free(runtime);
}

TC_TEST(test_fiber_storage_keys_run_out)
{
    for (int i = 0; i < TC_FIBER_STORAGE_SLOTS; i++) {
        TC_CHECK_EQ(tc_fiber_key_new(NULL), i);
    }
    TC_CHECK_EQ(tc_fiber_key_new(NULL), -ENOSPC);
}
