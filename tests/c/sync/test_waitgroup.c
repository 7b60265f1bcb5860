/* The wait group: the last done lets everybody through. */
#include "support.h"

#include "sync/waitgroup.h"

static struct tc_waitgroup group;

static int act_wait(struct act *act)
{
    return tc_waitgroup_wait(act->object, act_deadline(act));
}

static void begin(uint32_t count)
{
    script_begin();
    tc_waitgroup_init(&group);
    tc_waitgroup_add(&group, count);
}

TC_TEST(test_waitgroup_without_work_does_not_wait)
{
    tc_waitgroup_init(&group);
    TC_CHECK_EQ(tc_waitgroup_wait(&group, TC_NEVER), 0);
    tc_waitgroup_add(&group, 1);
    TC_CHECK_EQ(tc_waitgroup_count(&group), 1);
    TC_CHECK_EQ(tc_waitgroup_wait(&group, tc_deadline_after_ns(1000)), -ETIMEDOUT);
    tc_waitgroup_done(&group);
    TC_CHECK_EQ(tc_waitgroup_wait(&group, TC_NEVER), 0);
}

TC_TEST(test_waitgroup_last_done_lets_all_waiters_through)
{
    struct act acts[3];

    begin(2);
    for (int i = 0; i < 3; i++) {
        acts[i] = (struct act){.run = act_wait, .object = &group};
        act_begin(&acts[i]);
    }
    tc_waitgroup_done(&group);
    fake_settle(worker0);
    TC_CHECK(act_is_parked(&acts[0]));
    tc_waitgroup_done(&group);
    for (int i = 0; i < 3; i++) {
        TC_CHECK_EQ(act_end(&acts[i]), 0);
    }
    script_end();
}

/* G2 */
TC_TEST(test_waitgroup_after_cancelled_wait_still_works)
{
    struct act cancelled = {.run = act_wait, .object = &group, .twice = true};
    struct act late = {.run = act_wait, .object = &group};
    struct act waits = {.run = act_wait, .object = &group};

    begin(1);
    late.deadline_ns = script_after(10);
    act_begin(&cancelled);
    act_begin(&late);
    act_cancel(&cancelled);
    TC_CHECK_EQ(act_end(&cancelled), -ECANCELED);
    script_pass(10);
    TC_CHECK_EQ(act_end(&late), -ETIMEDOUT);
    tc_waitgroup_done(&group);
    TC_CHECK_EQ(tc_waitgroup_wait(&group, TC_NEVER), 0);
    tc_waitgroup_add(&group, 1);
    act_begin(&waits);
    TC_CHECK(act_is_parked(&waits));
    tc_waitgroup_done(&group);
    TC_CHECK_EQ(act_end(&waits), 0);
    script_end();
}

TC_TEST(test_waitgroup_callback_is_called_or_withdraws)
{
    struct op op;

    tc_waitgroup_init(&group);
    op_init(&op);
    TC_CHECK_EQ(tc_waitgroup_start(&group, &op.node, &op.waiter), 0);
    tc_waitgroup_add(&group, 1);
    TC_CHECK_EQ(tc_waitgroup_start(&group, &op.node, &op.waiter), -EINPROGRESS);
    TC_CHECK(tc_waitgroup_withdraw(&group, &op.node));
    TC_CHECK_EQ(tc_waitgroup_start(&group, &op.node, &op.waiter), -EINPROGRESS);
    tc_waitgroup_done(&group);
    TC_CHECK_EQ(op.calls, 1);
    TC_CHECK(!tc_waitgroup_withdraw(&group, &op.node));
}

/* ---- storm --------------------------------------------------------------------------------- */

struct job {
    struct tc_waitgroup *group;
    int payload;
};

static void work(void *arg)
{
    struct job *job = arg;

    job->payload++;
    tc_waitgroup_done(job->group);
}

static void fan_out(void *arg)
{
    struct tc_spawn_options options = {.name = "job", .detached = true};

    for (int round = 0; round < SCALE(3000) && tc_test_has_time(5); round++) {
        struct tc_waitgroup *here = tc_mem_alloc(sizeof *here);
        struct job jobs[8];
        tc_waitgroup_init(here);
        tc_waitgroup_add(here, 8);
        for (int i = 0; i < 8; i++) {
            jobs[i] = (struct job){here, i};
            TC_CHECK_EQ(tc_fiber_spawn(arg, work, &jobs[i], &options, NULL), 0);
        }
        if (round % 4 == 0) {
            int rc = tc_waitgroup_wait(here, tc_deadline_after_ns(TC_NS_PER_US));
            TC_CHECK(rc == 0 || rc == -ETIMEDOUT);
        }
        TC_CHECK_EQ(tc_waitgroup_wait(here, TC_NEVER), 0);
        tc_mem_free(here, sizeof *here);
        for (int i = 0; i < 8; i++) {
            TC_CHECK_EQ(jobs[i].payload, i + 1); /* G3 */
        }
    }
}

static void *fan_out_on_thread(void *arg)
{
    fan_out(arg);
    return NULL;
}

TC_TEST(test_waitgroup_destroyed_by_its_waiter_is_not_touched_again)
{
    rt = fake_start(2, 0);
    struct tc_fiber *fibers[2] = {fake_spawn(rt, fan_out, rt), fake_spawn(rt, fan_out, rt)};
    pthread_t thread = thread_start(fan_out_on_thread, rt);

    for (int i = 0; i < 2; i++) {
        TC_CHECK_EQ(tc_fiber_join(fibers[i], TC_NEVER), 0);
    }
    pthread_join(thread, NULL);
    fake_stop(rt);
}
