/* A runtime's life: failures of new and start, stop, restart, census, dump. */
#include "fake_driver.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    TC_CHECK(dir != NULL);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

static void do_nothing(void *arg)
{
    (void)arg;
}

static void sleep_until_cancelled(void *arg)
{
    int64_t *result = arg;
    int rc = tc_fiber_sleep_until(TC_NEVER);

    if (result != NULL) {
        *result = rc;
    }
}

/* ---- new, start: every failure --------------------------------------------------------------- */

TC_TEST(test_runtime_new_refuses_bad_options)
{
    struct tc_runtime_options options = {.workers = TC_WORKERS_MAX + 1, .driver = &fake_driver};
    struct tc_runtime *runtime;

    TC_CHECK_EQ(tc_runtime_new(&options, &runtime), -EINVAL);
    options = (struct tc_runtime_options){.workers = 1};
    TC_CHECK_EQ(tc_runtime_new(&options, &runtime), -EINVAL);
}

static int live_once(void)
{
    struct tc_runtime_options options = {.workers = 3, .driver = &fake_driver};
    struct tc_runtime *runtime;

    fake_threaded = true;
    int rc = tc_runtime_new(&options, &runtime);
    if (rc != 0) {
        return rc;
    }
    rc = tc_runtime_start(runtime);
    if (rc == 0) {
        rc = tc_runtime_run(runtime, do_nothing, NULL);
        TC_CHECK_EQ(tc_runtime_stop(runtime, TC_NEVER), 0);
    }
    tc_runtime_free(runtime);
    return rc;
}

/* Fail the first, second, … use of `call` until a whole life passes without meeting the fault. */
static void fail_each(enum tc_sys_call call, int error, bool is_fatal)
{
    TC_CHECK_EQ(live_once(), 0);
    size_t bytes = tc_mem_bytes_in_use();
    int descriptors = open_descriptors();
    int failures = 0;

    for (uint64_t nth = 1;; nth++) {
        tc_fault_arm(call, nth, error, 1);
        int rc = live_once();
        bool hit = tc_fault_hits(call) != 0;
        tc_fault_disarm_all();
        TC_CHECK_EQ(tc_mem_bytes_in_use(), bytes);
        TC_CHECK_EQ(open_descriptors(), descriptors);
        if (!hit) {
            TC_CHECK_EQ(rc, 0);
            break;
        }
        TC_CHECK(rc == 0 || rc == -error || rc == -ENOMEM);
        failures += rc != 0;
    }
    TC_CHECK_EQ(failures > 0, is_fatal);
}

TC_TEST(test_runtime_every_failing_allocation_leaves_nothing_behind)
{
    fail_each(TC_FAULT_ALLOC, ENOMEM, true);
}

TC_TEST(test_runtime_every_failing_thread_leaves_nothing_behind)
{
    fail_each(TC_FAULT_THREAD, EAGAIN, true);
}

TC_TEST(test_runtime_every_failing_mapping_leaves_nothing_behind)
{
    fail_each(TC_SYS_MMAP, ENOMEM, true);
}

TC_TEST(test_runtime_failing_advice_is_no_failure)
{
    fail_each(TC_SYS_MADVISE, EINVAL, false);
}

TC_TEST(test_runtime_failing_signal_set_up_is_no_failure)
{
    fail_each(TC_SYS_SIGACTION, EINVAL, false);
    fail_each(TC_SYS_SIGALTSTACK, ENOMEM, false);
}

TC_TEST(test_runtime_interrupted_and_failing_futexes_are_no_failure)
{
    for (int i = 0; i < 20; i++) {
        tc_fault_arm(TC_SYS_FUTEX_WAIT, 1, EINTR, 3);
        TC_CHECK_EQ(live_once(), 0);
        tc_fault_disarm_all();
    }
}

TC_TEST(test_runtime_failing_driver_fails_new)
{
    size_t bytes = tc_mem_bytes_in_use();

    for (uint32_t at = 0; at < 3; at++) {
        tc_store_relaxed(&fake_init_error_at, at);
        tc_store_relaxed(&fake_init_error, -EMFILE);
        TC_CHECK_EQ(live_once(), -EMFILE);
        TC_CHECK_EQ(tc_mem_bytes_in_use(), bytes);
    }
}

/* The searching token or a park of the first attempt must not be left in the idle word. */
TC_TEST(test_runtime_start_can_be_tried_again)
{
    for (int i = 0; i < (TC_TSAN || TC_ASAN ? 50 : 200) && tc_test_has_time(5); i++) {
        struct tc_runtime_options options = {.workers = 4, .driver = &fake_driver};
        struct tc_runtime *runtime;

        fake_threaded = true;
        TC_CHECK_EQ(tc_runtime_new(&options, &runtime), 0);
        tc_fault_arm(TC_FAULT_THREAD, 2 + (uint64_t)i % 3, EAGAIN, 1);
        TC_CHECK_EQ(tc_runtime_start(runtime), -EAGAIN);
        tc_fault_disarm_all();
        TC_CHECK_EQ(tc_runtime_start(runtime), 0);
        for (int k = 0; k < 20; k++) {
            TC_CHECK_EQ(tc_runtime_run(runtime, do_nothing, NULL), 0);
        }
        fake_stop(runtime);
    }
}

/* ---- stop ---------------------------------------------------------------------------------- */

TC_TEST(test_runtime_stop_cancels_what_lives)
{
    struct tc_runtime *runtime = fake_start(2, 0);
    int64_t results[50];
    struct tc_fiber *fibers[50];

    for (int i = 0; i < 50; i++) {
        results[i] = 99;
        fibers[i] = fake_spawn(runtime, sleep_until_cancelled, &results[i]);
    }
    TC_CHECK_EQ(tc_runtime_stop(runtime, TC_NEVER), 0);
    for (int i = 0; i < 50; i++) {
        TC_CHECK_EQ(results[i], -ECANCELED);
        fake_join_dead(fibers[i]);
    }
    tc_runtime_free(runtime);
}

static void spawn_more(void *arg)
{
    struct tc_runtime *runtime = arg;
    struct tc_spawn_options options = {.stack_class = TC_STACK_SMALL, .detached = true};

    for (int i = 0; i < 100; i++) {
        if (tc_fiber_spawn(runtime, sleep_until_cancelled, NULL, &options, NULL) != 0) {
            return;
        }
        tc_fiber_yield();
    }
}

TC_TEST(test_runtime_stop_cancels_what_is_spawned_meanwhile)
{
    for (int i = 0; i < 50; i++) {
        struct tc_runtime *runtime = fake_start(2, 0);
        struct tc_fiber *fiber = fake_spawn(runtime, spawn_more, runtime);

        TC_CHECK_EQ(tc_runtime_stop(runtime, TC_NEVER), 0);
        fake_join_dead(fiber);
        tc_runtime_free(runtime);
    }
}

static void refuse_to_end(void *arg)
{
    tc_fiber_shield();
    (void)fake_wait(arg, TC_NEVER);
}

static void yield_for_ever(void *arg)
{
    (void)arg;
    for (;;) {
        tc_fiber_yield();
    }
}

TC_TEST(test_runtime_stop_abandons_who_does_not_end)
{
    size_t bytes = tc_mem_bytes_in_use();
    struct tc_runtime *runtime = fake_start(2, 0);
    struct tc_spawn_options options = {.stack_class = TC_STACK_DEFAULT, .detached = true};
    struct tc_readiness word;

    tc_readiness_init(&word, false);
    TC_CHECK_EQ(tc_fiber_spawn(runtime, refuse_to_end, &word, &options, NULL), 0);
    TC_CHECK_EQ(tc_fiber_spawn(runtime, yield_for_ever, NULL, &options, NULL), 0);
    (void)fake_spawn(runtime, sleep_until_cancelled, NULL); /* ends, and is never joined */
    TC_CHECK_EQ(tc_runtime_stop(runtime, tc_deadline_after_ns(30 * TC_NS_PER_MS)), -ETIMEDOUT);
    fake_dumped = NULL;
    tc_runtime_free(runtime);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), bytes);
}

struct spawner {
    struct tc_runtime *runtime;
    _Atomic uint64_t ran;
    uint64_t spawned;
};

static void count_run(void *arg)
{
    tc_fetch_add_relaxed(&((struct spawner *)arg)->ran, 1);
}

static void *spawn_until_refused(void *arg)
{
    struct spawner *spawner = arg;
    struct tc_spawn_options options = {.stack_class = TC_STACK_SMALL, .detached = true};

    while (tc_fiber_spawn(spawner->runtime, count_run, spawner, &options, NULL) == 0) {
        spawner->spawned++;
    }
    return NULL;
}

/* Whatever a thread was told is spawned does run, however close stop() comes. */
TC_TEST(test_runtime_stop_races_with_spawns_from_outside)
{
    for (int i = 0; i < (TC_TSAN || TC_ASAN ? 50 : 300) && tc_test_has_time(5); i++) {
        struct tc_runtime *runtime = fake_start(2, 0);
        struct spawner spawner = {.runtime = runtime};
        pthread_t thread;

        TC_CHECK_EQ(pthread_create(&thread, NULL, spawn_until_refused, &spawner), 0);
        while (tc_load_relaxed(&spawner.ran) == 0) {
            tc_sys_sched_yield();
        }
        TC_CHECK_EQ(tc_runtime_stop(runtime, TC_NEVER), 0);
        pthread_join(thread, NULL);
        TC_CHECK_EQ(tc_load_relaxed(&spawner.ran), spawner.spawned);
        tc_runtime_free(runtime);
    }
}

TC_TEST(test_runtime_two_hundred_lives_leave_nothing_behind)
{
    TC_CHECK_EQ(live_once(), 0);
    size_t bytes = tc_mem_bytes_in_use();
    int descriptors = open_descriptors();

    for (int i = 0; i < 200; i++) {
        struct tc_runtime *runtime = fake_start(1 + (uint32_t)i % 4, 0);
        struct tc_fiber *fibers[8];
        for (int k = 0; k < 8; k++) {
            fibers[k] = fake_spawn(runtime, k % 2 != 0 ? do_nothing : sleep_until_cancelled, NULL);
        }
        TC_CHECK_EQ(tc_runtime_stop(runtime, TC_NEVER), 0);
        for (int k = 0; k < 8; k++) {
            fake_join_dead(fibers[k]);
        }
        tc_runtime_free(runtime);
    }
    TC_CHECK_EQ(tc_mem_bytes_in_use(), bytes);
    TC_CHECK_EQ(open_descriptors(), descriptors);
}

TC_TEST(test_runtime_never_started_frees_what_was_spawned)
{
    size_t bytes = tc_mem_bytes_in_use();
    struct tc_runtime *runtime = fake_runtime(2);

    (void)fake_spawn(runtime, do_nothing, NULL);
    TC_CHECK_EQ(tc_runtime_stop(runtime, TC_NEVER), 0);
    tc_runtime_free(runtime);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), bytes);
}

/* ---- how many workers ---------------------------------------------------------------------- */

TC_TEST(test_runtime_workers_follow_the_affinity)
{
    cpu_set_t set, one;

    TC_CHECK_EQ(sched_getaffinity(0, sizeof set, &set), 0);
    TC_CHECK(tc_workers_available() >= 1);
    TC_CHECK(tc_workers_available() <= (uint32_t)CPU_COUNT(&set));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &set)) {
            CPU_SET(i, &one);
            break;
        }
    }
    TC_CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    TC_CHECK_EQ(tc_workers_available(), 1);
    struct tc_runtime *runtime = fake_runtime(0);
    TC_CHECK_EQ(tc_runtime_workers(runtime), 1);
    TC_CHECK(tc_runtime_worker(runtime, 1) == NULL);
    tc_runtime_free(runtime);
}

TC_TEST(test_runtime_workers_without_affinity_are_one)
{
    tc_fault_arm(TC_SYS_GETAFFINITY, 1, EINVAL, UINT64_MAX);
    TC_CHECK_EQ(tc_workers_available(), 1);
}

/* ---- census, statistics, dump -------------------------------------------------------------- */

struct tally {
    int total, parked, sleeping;
    uint64_t ids[16];
};

static void tally_up(const struct tc_fiber_info *info, void *arg)
{
    struct tally *tally = arg;

    TC_CHECK(tally->total < 16);
    for (int i = 0; i < tally->total; i++) {
        TC_CHECK(tally->ids[i] != info->id);
    }
    tally->ids[tally->total++] = info->id;
    tally->parked += info->state == TC_FIBER_PARKED;
    tally->sleeping += info->reason == TC_WAIT_SLEEP;
    TC_CHECK(strcmp(info->site, "here:1") == 0);
}

TC_TEST(test_runtime_census_lists_each_fiber_once)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_worker *worker = tc_runtime_worker(runtime, 0);
    struct tc_spawn_options options = {.site = "here:1", .stack_class = TC_STACK_DEFAULT};
    struct tc_fiber *fibers[5];
    struct tally tally = {0};
    struct tc_runtime_statistics statistics;

    for (int i = 0; i < 5; i++) {
        TC_CHECK_EQ(tc_fiber_spawn(runtime, sleep_until_cancelled, NULL, &options, &fibers[i]), 0);
    }
    fake_settle(worker);
    tc_runtime_census(runtime, tally_up, &tally);
    TC_CHECK_EQ(tally.total, 5);
    TC_CHECK_EQ(tally.parked, 5);
    TC_CHECK_EQ(tally.sleeping, 5);
    tc_runtime_statistics(runtime, &statistics);
    TC_CHECK_EQ(statistics.fibers, 5);
    TC_CHECK_EQ(statistics.stacks_in_use, 5);
    TC_CHECK_EQ(statistics.parks, 5);
    for (int i = 0; i < 5; i++) {
        tc_fiber_cancel(fibers[i]);
    }
    fake_settle(worker);
    for (int i = 0; i < 5; i++) {
        fake_join_dead(fibers[i]);
    }
    tally = (struct tally){0};
    tc_runtime_census(runtime, tally_up, &tally);
    TC_CHECK_EQ(tally.total, 0);
    tc_runtime_free(runtime);
}

TC_TEST(test_runtime_dump_names_the_fiber_and_its_wait)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_spawn_options options = {
        .name = "Dornröschen", .site = "castle.c:100", .stack_class = TC_STACK_DEFAULT};
    struct tc_fiber *fiber;
    char text[2048];
    int fds[2];

    TC_CHECK_EQ(tc_fiber_spawn(runtime, sleep_until_cancelled, NULL, &options, &fiber), 0);
    fake_settle(tc_runtime_worker(runtime, 0));
    TC_CHECK_EQ(tc_sys_pipe2(fds, 0), 0);
    tc_runtime_dump(runtime, fds[1]);
    close(fds[1]);
    ssize_t length = 0, n;
    while ((n = read(fds[0], text + length, sizeof text - 1 - (size_t)length)) > 0) {
        length += n;
    }
    text[length] = '\0';
    close(fds[0]);
    TC_CHECK(strstr(text, "runtime: 1 workers") != NULL);
    TC_CHECK(strstr(text, "\"Dornröschen\" parked sleep") != NULL);
    TC_CHECK(strstr(text, "castle.c:100") != NULL);
    tc_runtime_free(runtime);
}

static _Atomic bool stop_looking;

static void touch_info(const struct tc_fiber_info *info, void *arg)
{
    *(size_t *)arg += strlen(info->name) + info->id;
}

static void *look_all_the_time(void *arg)
{
    struct tc_runtime_statistics statistics;
    uint64_t finished = 0;
    size_t sum = 0;

    while (!tc_load_relaxed(&stop_looking)) {
        tc_runtime_census(arg, touch_info, &sum);
        tc_runtime_statistics(arg, &statistics);
        TC_CHECK(statistics.finished >= finished);
        TC_CHECK(statistics.spawned >= statistics.finished);
        finished = statistics.finished;
    }
    return NULL;
}

static void rename_self(void *arg)
{
    (void)arg;
    tc_fiber_set_name("another");
}

TC_TEST(test_runtime_census_and_statistics_beside_traffic)
{
    struct tc_runtime *runtime = fake_start(2, 0);
    pthread_t looker;

    TC_CHECK_EQ(pthread_create(&looker, NULL, look_all_the_time, runtime), 0);
    for (int i = 0; i < (TC_TSAN || TC_ASAN ? 1000 : 5000) && tc_test_has_time(5); i++) {
        TC_CHECK_EQ(tc_runtime_run(runtime, rename_self, NULL), 0);
    }
    tc_store_relaxed(&stop_looking, true);
    pthread_join(looker, NULL);
    fake_stop(runtime);
}
