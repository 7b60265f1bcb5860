/* The event: set, clear, wait. */
#include "support.h"

#include "sync/event.h"

static struct tc_event event;

static int act_wait(struct act *act)
{
    return tc_event_wait(act->object, act_deadline(act));
}

TC_TEST(test_event_set_lets_everybody_through_until_cleared)
{
    struct act acts[5];

    script_begin();
    tc_event_init(&event);
    for (int i = 0; i < 5; i++) {
        acts[i] = (struct act){.run = act_wait, .object = &event};
        act_begin(&acts[i]);
        TC_CHECK(act_is_parked(&acts[i]));
    }
    tc_event_set(&event);
    tc_event_clear(&event); /* at once: they pass all the same */
    for (int i = 0; i < 5; i++) {
        TC_CHECK_EQ(act_end(&acts[i]), 0);
    }
    tc_event_set(&event);
    TC_CHECK(tc_event_is_set(&event));
    TC_CHECK_EQ(tc_event_wait(&event, TC_NEVER), 0);
    tc_event_clear(&event);
    TC_CHECK(!tc_event_is_set(&event));
    TC_CHECK_EQ(tc_event_wait(&event, tc_deadline_after_ns(1000)), -ETIMEDOUT);
    script_end();
}

TC_TEST(test_event_waiters_are_let_through_in_order)
{
    struct act acts[3];

    script_begin();
    tc_event_init(&event);
    for (int i = 0; i < 3; i++) {
        acts[i] = (struct act){.run = act_wait, .object = &event};
        act_begin(&acts[i]);
    }
    tc_event_set(&event);
    for (int i = 0; i < 3; i++) {
        TC_CHECK_EQ(act_end(&acts[i]), 0);
    }
    TC_CHECK(acts[0].order < acts[1].order && acts[1].order < acts[2].order);
    script_end();
}

TC_TEST(test_event_deadline_and_cancel_end_the_wait)
{
    struct act late = {.run = act_wait, .object = &event};
    struct act cancelled = {.run = act_wait, .object = &event, .twice = true};

    script_begin();
    tc_event_init(&event);
    late.deadline_ns = script_after(10);
    act_begin(&late);
    act_begin(&cancelled);
    script_pass(10);
    TC_CHECK_EQ(act_end(&late), -ETIMEDOUT);
    act_cancel(&cancelled);
    TC_CHECK_EQ(act_end(&cancelled), -ECANCELED);
    TC_CHECK(tc_waitq_is_empty(&event.waiters));
    script_end();
}

TC_TEST(test_event_callback_is_called_once_or_withdraws)
{
    struct op op;

    tc_event_init(&event);
    op_init(&op);
    TC_CHECK_EQ(tc_event_start(&event, &op.node, &op.waiter), -EINPROGRESS);
    TC_CHECK(tc_event_withdraw(&event, &op.node));
    TC_CHECK_EQ(tc_event_start(&event, &op.node, &op.waiter), -EINPROGRESS);
    tc_event_set(&event);
    tc_event_set(&event);
    TC_CHECK_EQ(op.calls, 1);
    TC_CHECK(!tc_event_withdraw(&event, &op.node));
    TC_CHECK_EQ(tc_event_start(&event, &op.node, &op.waiter), 0);
}

struct message {
    struct tc_event ready;
    int payload;
};

static void answer(void *arg)
{
    struct message *message = *(struct message **)arg;

    message->payload = 42;
    tc_event_set(&message->ready);
}

static void ask(void *arg)
{
    for (int i = 0; i < SCALE(5000) && tc_test_has_time(5); i++) {
        struct message *message = tc_mem_alloc(sizeof *message);
        struct message *copy = message;
        struct tc_fiber *fiber;
        tc_event_init(&message->ready);
        TC_CHECK_EQ(tc_fiber_spawn(arg, answer, &copy, NULL, &fiber), 0);
        if (i % 2 == 0) {
            tc_fiber_yield(); /* often set before we come */
        }
        TC_CHECK_EQ(tc_event_wait(&message->ready, TC_NEVER), 0);
        TC_CHECK_EQ(message->payload, 42); /* E2 */
        tc_mem_free(message, sizeof *message); /* E3 */
        TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), 0);
    }
}

TC_TEST(test_event_destroyed_by_its_waiter_is_not_touched_again)
{
    rt = fake_start(2, 0);
    struct tc_fiber *fibers[2] = {fake_spawn(rt, ask, rt), fake_spawn(rt, ask, rt)};

    for (int i = 0; i < 2; i++) {
        TC_CHECK_EQ(tc_fiber_join(fibers[i], TC_NEVER), 0);
    }
    fake_stop(rt);
}
