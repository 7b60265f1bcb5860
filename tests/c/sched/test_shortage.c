/* No stack to be had: a fiber waits for one, or ends with -ENOMEM if none is outstanding. */
#include "fake_driver.h"

enum { FIBERS = 300 }; /* more LARGE stacks than one region holds */

static struct tc_spawn_options large = {.stack_class = TC_STACK_LARGE};
static int unrun_calls;

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static void note_unrun(void *arg)
{
    TC_CHECK(arg == &unrun_calls);
    unrun_calls++;
}

TC_TEST(test_shortage_with_no_stack_outstanding_fails_the_join)
{
    struct tc_runtime *runtime = fake_runtime(1);
    bool flag = false;
    struct tc_fiber *fiber;

    tc_fault_arm(TC_SYS_MMAP, 1, ENOMEM, UINT64_MAX);
    TC_CHECK_EQ(tc_fiber_spawn(runtime, set_flag, &flag, &large, &fiber), 0);
    fake_settle(tc_runtime_worker(runtime, 0));
    TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), -ENOMEM);
    TC_CHECK(!flag);
    tc_fault_disarm_all();
    TC_CHECK_EQ(tc_fiber_spawn(runtime, set_flag, &flag, &large, &fiber), 0);
    fake_settle(tc_runtime_worker(runtime, 0));
    TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), 0);
    TC_CHECK(flag);
    tc_runtime_free(runtime);
}

TC_TEST(test_shortage_counts_a_detached_fiber_as_an_error)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_spawn_options options = {
        .stack_class = TC_STACK_LARGE, .detached = true, .unrun = note_unrun};
    struct tc_runtime_statistics statistics;

    tc_fault_arm(TC_SYS_MMAP, 1, ENOMEM, UINT64_MAX);
    TC_CHECK_EQ(tc_fiber_spawn(runtime, set_flag, &unrun_calls, &options, NULL), 0);
    fake_settle(tc_runtime_worker(runtime, 0));
    tc_fault_disarm_all();
    tc_runtime_statistics(runtime, &statistics);
    TC_CHECK_EQ(statistics.errors, 1);
    TC_CHECK_EQ(statistics.fibers, 0);
    TC_CHECK_EQ(unrun_calls, 1);
    tc_runtime_free(runtime);
}

struct holder {
    struct tc_readiness word;
    bool ran;
};

static void hold_stack(void *arg)
{
    struct holder *holder = arg;

    holder->ran = true;
    TC_CHECK_EQ(fake_wait(&holder->word, TC_NEVER), 0);
}

static void count_waiting(const struct tc_fiber_info *info, void *arg)
{
    *(int *)arg += info->reason == TC_WAIT_STACK;
}

TC_TEST(test_shortage_with_stacks_outstanding_waits_for_one)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_worker *worker = tc_runtime_worker(runtime, 0);
    static struct holder holders[FIBERS];
    struct tc_fiber *fibers[FIBERS];
    int waiting = 0;
    int running = 0;

    for (int i = 0; i < FIBERS; i++) {
        tc_readiness_init(&holders[i].word, false);
        TC_CHECK_EQ(tc_fiber_spawn(runtime, hold_stack, &holders[i], &large, &fibers[i]), 0);
        if (i == 0) {
            fake_settle(worker); /* one region is mapped */
            tc_fault_arm(TC_SYS_MMAP, 1, ENOMEM, UINT64_MAX);
        }
    }
    fake_settle(worker);
    for (int i = 0; i < FIBERS; i++) {
        running += holders[i].ran;
    }
    tc_runtime_census(runtime, count_waiting, &waiting);
    TC_CHECK(waiting > 0);
    TC_CHECK_EQ(running + waiting, FIBERS);
    /* Each that ends lets one more run. */
    for (int i = 0; i < FIBERS; i++) {
        TC_CHECK(holders[i].ran);
        fake_notify(&holders[i].word);
        fake_settle(worker);
        fake_join_dead(fibers[i]);
    }
    tc_fault_disarm_all();
    waiting = 0;
    tc_runtime_census(runtime, count_waiting, &waiting);
    TC_CHECK_EQ(waiting, 0);
    tc_runtime_free(runtime);
}

/* No stack of the SMALL class ever comes back; that must not keep the LARGE ones from being
 * used. */
TC_TEST(test_shortage_of_one_class_does_not_starve_another)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_worker *worker = tc_runtime_worker(runtime, 0);
    struct tc_spawn_options small = {.stack_class = TC_STACK_SMALL};
    static struct holder holders[FIBERS];
    struct tc_fiber *fibers[FIBERS];
    struct tc_fiber *fiber;
    bool flag = false;

    for (int i = 0; i < FIBERS; i++) {
        tc_readiness_init(&holders[i].word, false);
        TC_CHECK_EQ(tc_fiber_spawn(runtime, hold_stack, &holders[i], &large, &fibers[i]), 0);
        if (i == 0) {
            fake_settle(worker); /* one region is mapped */
            tc_fault_arm(TC_SYS_MMAP, 1, ENOMEM, UINT64_MAX);
        }
    }
    TC_CHECK_EQ(tc_fiber_spawn(runtime, set_flag, &flag, &small, &fiber), 0);
    fake_settle(worker);
    for (int i = 0; i < FIBERS; i++) {
        TC_CHECK(holders[i].ran);
        fake_notify(&holders[i].word);
        fake_settle(worker);
        fake_join_dead(fibers[i]);
    }
    /* With the last stack the hope for another is gone. */
    TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), -ENOMEM);
    TC_CHECK(!flag);
    tc_fault_disarm_all();
    tc_runtime_free(runtime);
}

/* The stacks come back on one worker while fibers wait that another has queued, which sleeps. */
TC_TEST(test_shortage_ends_when_other_workers_give_back)
{
    struct tc_runtime *runtime = fake_start(3, 0);
    static struct holder holders[FIBERS];
    struct tc_fiber *fibers[FIBERS];

    for (int i = 0; i < FIBERS; i++) {
        tc_readiness_init(&holders[i].word, false);
        TC_CHECK_EQ(tc_fiber_spawn(runtime, hold_stack, &holders[i], &large, &fibers[i]), 0);
        if (i == 0) {
            while (tc_load_relaxed(&fibers[0]->state) != TC_FIBER_PARKED) {
                tc_sys_sched_yield();
            }
            tc_fault_arm(TC_SYS_MMAP, 1, ENOMEM, UINT64_MAX);
        }
    }
    /* The first keeps its stack to the end, so that one is always outstanding and nobody fails. */
    for (int i = 1; i < FIBERS; i++) {
        fake_notify(&holders[i].word); /* READY even before it runs: then it does not wait */
    }
    for (int i = FIBERS - 1; i >= 0; i--) {
        if (i == 0) {
            fake_notify(&holders[0].word);
        }
        TC_CHECK_EQ(tc_fiber_join(fibers[i], TC_NEVER), 0);
        TC_CHECK(holders[i].ran);
    }
    tc_fault_disarm_all();
    TC_CHECK_EQ(tc_load_relaxed(&runtime->shortage_count), 0);
    fake_stop(runtime);
}
