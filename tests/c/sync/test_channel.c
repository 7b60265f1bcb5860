/* The channel, one situation at a time. Programs of many fibers are in test_channel_programs.c. */
#include "support.h"

#include "sync/channel.h"

static struct tc_channel channel;

static int act_send(struct act *act)
{
    return tc_channel_send(act->object, act->value, act_deadline(act));
}

static int act_recv(struct act *act)
{
    return tc_channel_recv(act->object, &act->value, act_deadline(act));
}

static struct act sender(int64_t number)
{
    return (struct act){.run = act_send, .object = &channel, .value = tc_value_int(number)};
}

static struct act receiver(void)
{
    return (struct act){.run = act_recv, .object = &channel};
}

static void begin(uint32_t capacity)
{
    script_begin();
    TC_CHECK_EQ(tc_channel_init(&channel, capacity, NULL), 0);
}

static void end(void)
{
    tc_channel_fini(&channel);
    script_end();
}

static void check_next(int64_t number)
{
    struct tc_value value;

    TC_CHECK_EQ(tc_channel_try_recv(&channel, &value), 0);
    TC_CHECK_EQ(value.as_int, number);
}

static void check_end(int expected)
{
    struct tc_value value;

    TC_CHECK_EQ(tc_channel_try_recv(&channel, &value), expected);
}

/* ---- hand-off and ring --------------------------------------------------------------------- */

TC_TEST(test_channel_without_buffer_try_forms_need_a_partner)
{
    struct act receives = receiver();
    struct act sends = sender(2);

    begin(0);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(1)), -EAGAIN);
    check_end(-EAGAIN);
    act_begin(&receives);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(1)), 0);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(1)), -EAGAIN);
    TC_CHECK_EQ(act_end(&receives), 0);
    TC_CHECK_EQ(receives.value.as_int, 1);
    act_begin(&sends);
    check_next(2);
    check_end(-EAGAIN);
    TC_CHECK_EQ(act_end(&sends), 0);
    end();
}

TC_TEST(test_channel_with_buffer_keeps_order_over_the_wrap)
{
    begin(3);
    for (int64_t i = 0; i < 20; i++) {
        TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(2 * i)), 0);
        TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(2 * i + 1)), 0);
        check_next(2 * i);
        check_next(2 * i + 1);
    }
    for (int64_t i = 0; i < 3; i++) {
        TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(i)), 0);
    }
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(3)), -EAGAIN);
    end();
}

/* C2, C5 */
TC_TEST(test_channel_full_recv_lets_the_first_sender_in)
{
    struct act sends[3] = {sender(10), sender(11), sender(12)};

    begin(2);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(8)), 0);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(9)), 0);
    for (int i = 0; i < 3; i++) {
        act_begin(&sends[i]);
        TC_CHECK(act_is_parked(&sends[i]));
    }
    check_next(8);
    TC_CHECK_EQ(act_end(&sends[0]), 0);
    TC_CHECK(act_is_parked(&sends[1]));
    for (int64_t i = 9; i <= 12; i++) {
        check_next(i);
    }
    check_end(-EAGAIN);
    TC_CHECK_EQ(act_end(&sends[1]), 0);
    TC_CHECK_EQ(act_end(&sends[2]), 0);
    end();
}

TC_TEST(test_channel_receivers_are_served_in_order_of_arrival)
{
    struct act receives[3];

    begin(2);
    for (int i = 0; i < 3; i++) {
        receives[i] = receiver();
        act_begin(&receives[i]);
    }
    for (int i = 0; i < 4; i++) {
        TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(i)), 0);
    }
    for (int i = 0; i < 3; i++) {
        TC_CHECK_EQ(act_end(&receives[i]), 0);
        TC_CHECK_EQ(receives[i].value.as_int, i);
    }
    check_next(3);
    end();
}

TC_TEST(test_channel_thread_meets_fiber_in_both_directions)
{
    struct act sends = sender(5);
    struct act receives = receiver();
    struct tc_value value;

    begin(0);
    act_begin(&sends);
    TC_CHECK_EQ(tc_channel_recv(&channel, &value, TC_NEVER), 0);
    TC_CHECK_EQ(value.as_int, 5);
    TC_CHECK_EQ(act_end(&sends), 0);
    act_begin(&receives);
    TC_CHECK_EQ(tc_channel_send(&channel, tc_value_int(6), TC_NEVER), 0);
    TC_CHECK_EQ(act_end(&receives), 0);
    TC_CHECK_EQ(receives.value.as_int, 6);
    end();
}

/* ---- close --------------------------------------------------------------------------------- */

/* C3 */
TC_TEST(test_channel_recv_after_close_drains_then_epipe)
{
    struct tc_value value;

    begin(2);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(1)), 0);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(2)), 0);
    TC_CHECK(tc_channel_close(&channel));
    TC_CHECK(!tc_channel_close(&channel));
    TC_CHECK(tc_channel_is_closed(&channel));
    TC_CHECK_EQ(tc_channel_send(&channel, tc_value_int(3), TC_NEVER), -EPIPE);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(3)), -EPIPE);
    check_next(1);
    TC_CHECK_EQ(tc_channel_recv(&channel, &value, TC_NEVER), 0);
    TC_CHECK_EQ(value.as_int, 2);
    TC_CHECK_EQ(tc_channel_recv(&channel, &value, TC_NEVER), -EPIPE);
    check_end(-EPIPE);
    end();
}

TC_TEST(test_channel_close_wakes_all_who_wait)
{
    struct act receives[4];
    struct act sends[4];

    begin(0);
    for (int i = 0; i < 4; i++) {
        receives[i] = receiver();
        act_begin(&receives[i]);
    }
    tc_channel_close(&channel);
    for (int i = 0; i < 4; i++) {
        TC_CHECK_EQ(act_end(&receives[i]), -EPIPE);
        TC_CHECK(i == 0 || receives[i - 1].order < receives[i].order);
    }
    tc_channel_fini(&channel);
    TC_CHECK_EQ(tc_channel_init(&channel, 1, NULL), 0);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(0)), 0);
    for (int i = 0; i < 4; i++) {
        sends[i] = sender(i + 1);
        act_begin(&sends[i]);
    }
    tc_channel_close(&channel);
    for (int i = 0; i < 4; i++) {
        TC_CHECK_EQ(act_end(&sends[i]), -EPIPE);
    }
    check_next(0);
    check_end(-EPIPE);
    end();
}

static int freed;

static void count_free(void *pointer)
{
    TC_CHECK(pointer == &freed);
    freed++;
}

TC_TEST(test_channel_fini_releases_what_is_left)
{
    size_t before = tc_mem_bytes_in_use();

    TC_CHECK_EQ(tc_channel_init(&channel, 4, count_free), 0);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_pointer(&freed)), 0);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_buf(tc_buf_new("x", 1))), 0);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_pointer(&freed)), 0);
    tc_channel_fini(&channel);
    TC_CHECK_EQ(freed, 2);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), before);
}

TC_TEST(test_channel_new_is_freed_with_its_last_reference)
{
    size_t before = tc_mem_bytes_in_use();
    struct tc_channel *shared;

    TC_CHECK_EQ(tc_channel_new(TC_CHANNEL_CAPACITY_MAX + 1, NULL, &shared), -EINVAL);
    for (uint64_t nth = 1; nth <= 2; nth++) {
        tc_fault_arm(TC_FAULT_ALLOC, nth, ENOMEM, 1);
        TC_CHECK_EQ(tc_channel_new(2, NULL, &shared), -ENOMEM);
        tc_fault_disarm_all();
        TC_CHECK_EQ(tc_mem_bytes_in_use(), before);
    }
    TC_CHECK_EQ(tc_channel_new(2, NULL, &shared), 0);
    TC_CHECK(tc_channel_acquire(shared) == shared);
    tc_channel_release(shared);
    TC_CHECK_EQ(tc_channel_try_send(shared, tc_value_none()), 0);
    tc_channel_release(shared);
    tc_channel_release(NULL);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), before);
}

/* ---- deadline and cancel ------------------------------------------------------------------- */

TC_TEST(test_channel_deadline_ends_send_and_recv_without_effect)
{
    struct act receives = receiver();
    struct act sends = sender(1);

    begin(0);
    receives.deadline_ns = script_after(10);
    act_begin(&receives);
    script_pass(10);
    TC_CHECK_EQ(act_end(&receives), -ETIMEDOUT);
    sends.deadline_ns = script_after(10);
    act_begin(&sends);
    script_pass(9);
    TC_CHECK(act_is_parked(&sends));
    script_pass(1);
    TC_CHECK_EQ(act_end(&sends), -ETIMEDOUT);
    check_end(-EAGAIN);
    TC_CHECK_EQ(tc_channel_send(&channel, tc_value_int(1), tc_deadline_after_ns(1000)), -ETIMEDOUT);
    check_end(-EAGAIN);
    end();
}

/* Cancel reaches every park of a channel operation, takes nothing with it, and stays. */
TC_TEST(test_channel_cancel_at_each_park_ends_it_without_effect)
{
    struct act receives = receiver();
    struct act sends = sender(1);
    struct act full = sender(2);

    begin(0);
    receives.twice = sends.twice = true;
    act_begin(&receives);
    act_cancel(&receives);
    TC_CHECK_EQ(act_end(&receives), -ECANCELED);
    TC_CHECK_EQ(receives.second, -ECANCELED);
    act_begin(&sends);
    act_cancel(&sends);
    TC_CHECK_EQ(act_end(&sends), -ECANCELED);
    TC_CHECK_EQ(sends.second, -ECANCELED);
    check_end(-EAGAIN);
    tc_channel_fini(&channel);
    TC_CHECK_EQ(tc_channel_init(&channel, 1, NULL), 0);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(9)), 0);
    act_begin(&full);
    act_cancel(&full);
    TC_CHECK_EQ(act_end(&full), -ECANCELED);
    check_next(9);
    check_end(-EAGAIN);
    end();
}

/* C6: the receiver has the value although it is cancelled before it runs; and the sender is
 * done. */
TC_TEST(test_channel_delivered_value_wins_against_cancel_and_deadline)
{
    struct act receives = receiver();
    struct act sends = sender(4);
    struct act late = receiver();

    begin(0);
    receives.twice = sends.twice = true;
    act_begin(&receives);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(3)), 0);
    act_cancel(&receives);
    TC_CHECK_EQ(act_end(&receives), 0);
    TC_CHECK_EQ(receives.value.as_int, 3);
    TC_CHECK_EQ(receives.second, -ECANCELED);
    act_begin(&sends);
    check_next(4);
    act_cancel(&sends);
    TC_CHECK_EQ(act_end(&sends), 0);
    TC_CHECK_EQ(sends.second, -ECANCELED);
    late.deadline_ns = script_after(10);
    act_begin(&late);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(5)), 0);
    script_pass(10);
    TC_CHECK_EQ(act_end(&late), 0);
    TC_CHECK_EQ(late.value.as_int, 5);
    end();
}

/* N1: who has left the queue, though not yet run, is passed over. */
TC_TEST(test_channel_cancelled_receiver_is_passed_over)
{
    struct act first = receiver();
    struct act second = receiver();

    begin(0);
    act_begin(&first);
    act_begin(&second);
    tc_fiber_cancel(first.fiber); /* claimed, has not run: its node is still in the queue */
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(1)), 0);
    TC_CHECK_EQ(act_end(&first), -ECANCELED);
    TC_CHECK_EQ(act_end(&second), 0);
    TC_CHECK_EQ(second.value.as_int, 1);
    end();
}

TC_TEST(test_channel_without_memory_for_a_timer_says_so)
{
    struct act receives = receiver();
    struct act sends = sender(1);

    begin(0);
    act_begin(&receives); /* so that a stack is cached */
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(1)), 0);
    TC_CHECK_EQ(act_end(&receives), 0);
    receives.deadline_ns = sends.deadline_ns = script_after(1000);
    act_queue(&receives);
    tc_fault_arm(TC_FAULT_ALLOC, 1, ENOMEM, 1);
    TC_CHECK_EQ(act_end(&receives), -ENOMEM);
    act_queue(&sends);
    tc_fault_arm(TC_FAULT_ALLOC, 1, ENOMEM, 1);
    TC_CHECK_EQ(act_end(&sends), -ENOMEM);
    check_end(-EAGAIN);
    end();
}

/* ---- callbacks ----------------------------------------------------------------------------- */

TC_TEST(test_channel_callback_gets_the_value_or_withdraws)
{
    struct tc_value value;
    struct op op;

    begin(0);
    op_init(&op);
    TC_CHECK_EQ(tc_channel_recv_start(&channel, &value, &op.node, &op.waiter), -EINPROGRESS);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(1)), 0);
    TC_CHECK_EQ(op.calls, 1);
    TC_CHECK_EQ(op.node.result, 0);
    TC_CHECK_EQ(op.node.value.as_int, 1);
    TC_CHECK(!tc_channel_withdraw(&channel, &op.node));
    TC_CHECK_EQ(tc_channel_recv_start(&channel, &value, &op.node, &op.waiter), -EINPROGRESS);
    TC_CHECK(tc_channel_withdraw(&channel, &op.node));
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(2)), -EAGAIN);
    TC_CHECK_EQ(op.calls, 1);
    end();
}

TC_TEST(test_channel_callback_send_gives_the_value_back_when_withdrawn)
{
    struct op op;

    begin(1);
    op_init(&op);
    TC_CHECK_EQ(tc_channel_send_start(&channel, tc_value_int(1), &op.node, &op.waiter), 0);
    TC_CHECK_EQ(tc_channel_send_start(&channel, tc_value_int(2), &op.node, &op.waiter),
                -EINPROGRESS);
    TC_CHECK(tc_channel_withdraw(&channel, &op.node));
    TC_CHECK_EQ(op.node.value.as_int, 2);
    TC_CHECK_EQ(tc_channel_send_start(&channel, tc_value_int(3), &op.node, &op.waiter),
                -EINPROGRESS);
    check_next(1);
    TC_CHECK_EQ(op.calls, 1);
    TC_CHECK_EQ(op.node.result, 0);
    check_next(3);
    TC_CHECK_EQ(tc_channel_send_start(&channel, tc_value_int(4), &op.node, &op.waiter), 0);
    TC_CHECK_EQ(tc_channel_send_start(&channel, tc_value_int(5), &op.node, &op.waiter),
                -EINPROGRESS);
    tc_channel_close(&channel);
    TC_CHECK_EQ(op.calls, 2);
    TC_CHECK_EQ(op.node.result, -EPIPE);
    TC_CHECK_EQ(op.node.value.as_int, 5);
    end();
}

/* A deadline of the caller's own claims the waiter; the wait is then withdrawn. */
TC_TEST(test_channel_callback_claimed_by_another_source_withdraws)
{
    struct tc_value value;
    struct op op;

    begin(0);
    op_init(&op);
    TC_CHECK_EQ(tc_channel_recv_start(&channel, &value, &op.node, &op.waiter), -EINPROGRESS);
    TC_CHECK(tc_waiter_claim(&op.waiter, op.node.seq));
    tc_ready(&op.waiter, -ETIMEDOUT);
    TC_CHECK_EQ(op.calls, 1);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(1)), -EAGAIN);
    TC_CHECK(tc_channel_withdraw(&channel, &op.node));
    end();
}

static struct tc_channel answers;

static void call_back_and_answer(struct tc_waiter *waiter, struct tc_worker *worker)
{
    struct op *op = tc_container_of(waiter, struct op, waiter);
    struct tc_value value;

    (void)worker;
    op->calls++;
    TC_CHECK_EQ(tc_channel_try_send(&answers, op->node.value), 0);
    if (op->calls < 3) {
        TC_CHECK_EQ(tc_channel_recv_start(&channel, &value, &op->node, &op->waiter), -EINPROGRESS);
    }
}

/* Q2 */
TC_TEST(test_channel_callback_may_enter_the_channel_again)
{
    struct tc_value value;
    struct op op;

    begin(0);
    TC_CHECK_EQ(tc_channel_init(&answers, 8, NULL), 0);
    op_init(&op);
    op.waiter.callback = call_back_and_answer;
    TC_CHECK_EQ(tc_channel_recv_start(&channel, &value, &op.node, &op.waiter), -EINPROGRESS);
    for (int i = 0; i < 3; i++) {
        TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(i)), 0);
        TC_CHECK_EQ(tc_channel_try_recv(&answers, &value), 0);
        TC_CHECK_EQ(value.as_int, i);
    }
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(3)), -EAGAIN);
    tc_channel_fini(&answers);
    end();
}

/* ---- looking ------------------------------------------------------------------------------- */

TC_TEST(test_channel_statistics_count_values_and_waiters)
{
    struct tc_channel_statistics statistics;
    struct act sends[2] = {sender(1), sender(2)};

    begin(1);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(0)), 0);
    act_begin(&sends[0]);
    act_begin(&sends[1]);
    check_next(0);
    tc_channel_get_statistics(&channel, &statistics);
    TC_CHECK_EQ(statistics.capacity, 1);
    TC_CHECK_EQ(statistics.count, 1);
    TC_CHECK_EQ(statistics.sent, 2);
    TC_CHECK_EQ(statistics.received, 1);
    TC_CHECK_EQ(statistics.senders, 1);
    TC_CHECK_EQ(statistics.receivers, 0);
    TC_CHECK(!statistics.closed);
    check_next(1);
    TC_CHECK_EQ(act_end(&sends[0]), 0);
    TC_CHECK_EQ(act_end(&sends[1]), 0);
    end();
}

static int add_up(const struct tc_value *value, void *arg)
{
    *(int64_t *)arg += value->as_int;
    return value->as_int == 4 ? -1 : 0;
}

TC_TEST(test_channel_visit_sees_ring_and_waiting_senders)
{
    struct act sends[2] = {sender(3), sender(4)};
    struct act more = sender(5);
    int64_t sum = 0;

    begin(2);
    TC_CHECK_EQ(tc_channel_visit(&channel, add_up, &sum), 0);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(9)), 0);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(1)), 0);
    check_next(9);
    TC_CHECK_EQ(tc_channel_try_send(&channel, tc_value_int(2)), 0);
    act_begin(&sends[0]);
    TC_CHECK_EQ(tc_channel_visit(&channel, add_up, &sum), 0);
    TC_CHECK_EQ(sum, 6);
    act_begin(&sends[1]);
    act_begin(&more);
    sum = 0;
    TC_CHECK_EQ(tc_channel_visit(&channel, add_up, &sum), -1);
    TC_CHECK_EQ(sum, 10);
    tc_channel_close(&channel);
    TC_CHECK_EQ(act_end(&sends[0]), -EPIPE);
    TC_CHECK_EQ(act_end(&sends[1]), -EPIPE);
    TC_CHECK_EQ(act_end(&more), -EPIPE);
    end();
}

static void find_recv(const struct tc_fiber_info *info, void *arg)
{
    if (info->reason == TC_WAIT_RECV && info->object == &channel) {
        ++*(int *)arg;
    }
}

TC_TEST(test_channel_waiting_fiber_shows_in_the_census)
{
    struct act receives = receiver();
    int found = 0;

    begin(0);
    act_begin(&receives);
    tc_runtime_census(rt, find_recv, &found);
    TC_CHECK_EQ(found, 1);
    tc_channel_close(&channel);
    TC_CHECK_EQ(act_end(&receives), -EPIPE);
    end();
}
