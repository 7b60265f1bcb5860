/* Select, one situation at a time, and how even its choice is. */
#include "support.h"

#include "sync/select.h"

enum { CHANNELS = 4 };

static struct tc_channel channels[CHANNELS];

struct choice {
    struct act act;
    struct tc_select_case cases[CHANNELS];
    uint32_t count;
};

static int act_select(struct act *act)
{
    struct choice *choice = act->object;

    return tc_select(choice->cases, choice->count, act_deadline(act));
}

static void choice_init(struct choice *choice, uint32_t count)
{
    memset(choice, 0, sizeof *choice);
    choice->act = (struct act){.run = act_select, .object = choice};
    choice->count = count;
}

static struct tc_select_case recv_from(struct tc_channel *channel)
{
    return (struct tc_select_case){.channel = channel, .kind = TC_SELECT_RECV};
}

static struct tc_select_case send_to(struct tc_channel *channel, int64_t number)
{
    return (struct tc_select_case){
        .channel = channel, .kind = TC_SELECT_SEND, .value = tc_value_int(number)};
}

static void begin(uint32_t capacity)
{
    script_begin();
    for (int i = 0; i < CHANNELS; i++) {
        TC_CHECK_EQ(tc_channel_init(&channels[i], capacity, NULL), 0);
    }
}

static void end(void)
{
    for (int i = 0; i < CHANNELS; i++) {
        TC_CHECK(tc_waitq_is_empty(&channels[i].core.senders)); /* S4 */
        TC_CHECK(tc_waitq_is_empty(&channels[i].core.receivers));
        tc_channel_fini(&channels[i]);
    }
    script_end();
}

/* ---- what it chooses ----------------------------------------------------------------------- */

TC_TEST(test_select_takes_the_case_that_can_proceed)
{
    struct choice choice;

    begin(1);
    choice_init(&choice, 3);
    choice.cases[0] = recv_from(&channels[0]);
    choice.cases[1] = recv_from(&channels[1]);
    choice.cases[2] = send_to(&channels[2], 7);
    TC_CHECK_EQ(tc_channel_try_send(&channels[2], tc_value_int(1)), 0); /* full */
    TC_CHECK_EQ(tc_select_try(choice.cases, 3), -EAGAIN);
    TC_CHECK_EQ(tc_channel_try_send(&channels[1], tc_value_int(5)), 0);
    TC_CHECK_EQ(tc_select_try(choice.cases, 3), 1);
    TC_CHECK_EQ(choice.cases[1].result, 0);
    TC_CHECK_EQ(choice.cases[1].value.as_int, 5);
    TC_CHECK_EQ(tc_select_try(choice.cases, 3), -EAGAIN);
    TC_CHECK_EQ(tc_channel_try_recv(&channels[2], &choice.cases[0].value), 0);
    TC_CHECK_EQ(tc_select(choice.cases, 3, TC_NEVER), 2);
    TC_CHECK_EQ(tc_channel_try_recv(&channels[2], &choice.cases[0].value), 0);
    TC_CHECK_EQ(choice.cases[0].value.as_int, 7);
    end();
}

TC_TEST(test_select_waits_and_is_woken_by_each_kind_of_case)
{
    struct tc_value value;

    begin(0);
    for (uint32_t winner = 0; winner < 4; winner++) {
        struct choice choice;
        choice_init(&choice, 4);
        choice.cases[0] = recv_from(&channels[3]);
        choice.cases[1] = send_to(&channels[0], 11);
        choice.cases[2] = recv_from(&channels[1]);
        choice.cases[3] = send_to(&channels[2], 13);
        act_begin(&choice.act);
        TC_CHECK(act_is_parked(&choice.act));
        struct tc_channel *channel = choice.cases[winner].channel;
        if (winner % 2 == 0) {
            TC_CHECK_EQ(tc_channel_try_send(channel, tc_value_int(20 + winner)), 0);
            TC_CHECK_EQ(act_end(&choice.act), (int)winner);
            TC_CHECK_EQ(choice.cases[winner].value.as_int, 20 + winner);
        } else {
            TC_CHECK_EQ(tc_channel_try_recv(channel, &value), 0);
            TC_CHECK_EQ(value.as_int, 10 + winner);
            TC_CHECK_EQ(act_end(&choice.act), (int)winner);
        }
        TC_CHECK_EQ(choice.cases[winner].result, 0);
    }
    end();
}

/* S1: the wait is won by the first channel, the second finds nobody. */
TC_TEST(test_select_offered_two_values_takes_one)
{
    struct choice choice;

    begin(0);
    choice_init(&choice, 2);
    choice.cases[0] = recv_from(&channels[0]);
    choice.cases[1] = recv_from(&channels[1]);
    act_begin(&choice.act);
    TC_CHECK_EQ(tc_channel_try_send(&channels[1], tc_value_int(1)), 0);
    TC_CHECK_EQ(tc_channel_try_send(&channels[0], tc_value_int(2)), -EAGAIN);
    TC_CHECK_EQ(act_end(&choice.act), 1);
    end();
}

TC_TEST(test_select_closed_channel_can_proceed)
{
    struct choice choice;

    begin(1);
    choice_init(&choice, 2);
    choice.cases[0] = recv_from(&channels[0]);
    choice.cases[1] = send_to(&channels[1], 1);
    TC_CHECK_EQ(tc_channel_try_send(&channels[1], tc_value_int(0)), 0);
    act_begin(&choice.act);
    TC_CHECK(act_is_parked(&choice.act));
    tc_channel_close(&channels[0]);
    TC_CHECK_EQ(act_end(&choice.act), 0);
    TC_CHECK_EQ(choice.cases[0].result, -EPIPE);
    choice.cases[0].kind = TC_SELECT_SKIP;
    act_begin(&choice.act);
    tc_channel_close(&channels[1]);
    TC_CHECK_EQ(act_end(&choice.act), 1);
    TC_CHECK_EQ(choice.cases[1].result, -EPIPE);
    TC_CHECK_EQ(tc_select_try(choice.cases, 2), 1);
    end();
}

TC_TEST(test_select_without_cases_waits_for_its_deadline)
{
    struct choice choice;
    struct choice cancelled;

    begin(0);
    choice_init(&choice, 2);
    choice.cases[0] = recv_from(NULL);
    choice.act.deadline_ns = script_after(10);
    choice_init(&cancelled, 0);
    act_begin(&choice.act);
    act_begin(&cancelled.act);
    TC_CHECK_EQ(tc_select_try(choice.cases, 2), -EAGAIN);
    TC_CHECK_EQ(tc_select(choice.cases, TC_SELECT_CASES_MAX + 1, TC_NEVER), -EINVAL);
    script_pass(10);
    TC_CHECK_EQ(act_end(&choice.act), -ETIMEDOUT);
    TC_CHECK(act_is_parked(&cancelled.act));
    act_cancel(&cancelled.act);
    TC_CHECK_EQ(act_end(&cancelled.act), -ECANCELED);
    end();
}

TC_TEST(test_select_deadline_and_cancel_unlink_every_case)
{
    struct choice late;
    struct choice cancelled;

    begin(0);
    choice_init(&late, CHANNELS);
    choice_init(&cancelled, CHANNELS);
    for (int i = 0; i < CHANNELS; i++) {
        late.cases[i] = recv_from(&channels[i]);
        cancelled.cases[i] = recv_from(&channels[CHANNELS - 1 - i]);
    }
    late.act.deadline_ns = script_after(10);
    cancelled.act.twice = true;
    act_begin(&late.act);
    act_begin(&cancelled.act);
    script_pass(10);
    TC_CHECK_EQ(act_end(&late.act), -ETIMEDOUT);
    act_cancel(&cancelled.act);
    TC_CHECK_EQ(act_end(&cancelled.act), -ECANCELED);
    TC_CHECK_EQ(cancelled.act.second, -ECANCELED);
    end();
}

TC_TEST(test_select_won_before_cancel_keeps_its_value)
{
    struct choice choice;

    begin(0);
    choice_init(&choice, 2);
    choice.cases[0] = recv_from(&channels[0]);
    choice.cases[1] = recv_from(&channels[1]);
    act_begin(&choice.act);
    TC_CHECK_EQ(tc_channel_try_send(&channels[0], tc_value_int(9)), 0);
    act_cancel(&choice.act);
    TC_CHECK_EQ(act_end(&choice.act), 0);
    TC_CHECK_EQ(choice.cases[0].value.as_int, 9);
    end();
}

TC_TEST(test_select_without_memory_for_a_timer_unlocks)
{
    struct choice choice;

    begin(0);
    choice_init(&choice, 2);
    choice.cases[0] = recv_from(&channels[0]);
    choice.cases[1] = recv_from(&channels[1]);
    choice.act.deadline_ns = script_after(10);
    act_begin(&choice.act); /* so that a stack is cached */
    script_pass(10);
    TC_CHECK_EQ(act_end(&choice.act), -ETIMEDOUT);
    act_queue(&choice.act);
    tc_fault_arm(TC_FAULT_ALLOC, 1, ENOMEM, 1);
    TC_CHECK_EQ(act_end(&choice.act), -ENOMEM);
    TC_CHECK_EQ(tc_select_try(choice.cases, 2), -EAGAIN);
    end();
}

TC_TEST(test_select_same_channel_in_several_cases_is_locked_once)
{
    struct choice choice;
    struct tc_value value;

    begin(0);
    choice_init(&choice, 4);
    choice.cases[0] = recv_from(&channels[0]);
    choice.cases[1] = send_to(&channels[0], 1); /* never meets its own receive */
    choice.cases[2] = recv_from(&channels[0]);
    choice.cases[3] = recv_from(&channels[1]);
    act_begin(&choice.act);
    TC_CHECK(act_is_parked(&choice.act));
    TC_CHECK_EQ(tc_channel_try_recv(&channels[0], &value), 0);
    TC_CHECK_EQ(act_end(&choice.act), 1);
    act_begin(&choice.act);
    TC_CHECK_EQ(tc_channel_try_send(&channels[0], value), 0);
    int index = act_end(&choice.act);
    TC_CHECK(index == 0 || index == 2);
    end();
}

TC_TEST(test_select_two_of_them_meet)
{
    struct choice gives;
    struct choice takes;

    begin(0);
    choice_init(&gives, 2);
    gives.cases[0] = send_to(&channels[0], 3);
    gives.cases[1] = send_to(&channels[1], 3);
    choice_init(&takes, 2);
    takes.cases[0] = recv_from(&channels[1]);
    takes.cases[1] = recv_from(&channels[0]);
    act_begin(&gives.act);
    act_begin(&takes.act);
    int given = act_end(&gives.act);
    int taken = act_end(&takes.act);
    TC_CHECK_EQ(given, 1 - taken);
    TC_CHECK_EQ(takes.cases[taken].value.as_int, 3);
    end();
}

TC_TEST(test_select_of_very_many_channels_works)
{
    enum { MANY = TC_SELECT_CASES_MAX };
    static struct tc_channel many[MANY];
    static struct tc_select_case cases[MANY];
    struct tc_value value;

    for (int i = 0; i < MANY; i++) {
        TC_CHECK_EQ(tc_channel_init(&many[i], 0, NULL), 0);
        cases[(i * 89) % MANY] = recv_from(&many[i]);
    }
    TC_CHECK_EQ(tc_select_try(cases, MANY), -EAGAIN);
    TC_CHECK_EQ(tc_select(cases, MANY, tc_deadline_after_ns(1000)), -ETIMEDOUT);
    TC_CHECK_EQ(tc_channel_try_recv(&many[0], &value), -EAGAIN);
}

/* ---- callbacks ----------------------------------------------------------------------------- */

TC_TEST(test_select_callback_finishes_or_withdraws)
{
    struct tc_select_case cases[3];
    struct op op;

    begin(0);
    op_init(&op);
    cases[0] = recv_from(&channels[0]);
    cases[1] = recv_from(NULL);
    cases[2] = send_to(&channels[1], 4);
    TC_CHECK_EQ(tc_select_start(cases, 3, &op.waiter), -EINPROGRESS);
    TC_CHECK_EQ(tc_channel_try_send(&channels[0], tc_value_int(2)), 0);
    TC_CHECK_EQ(op.calls, 1);
    TC_CHECK(!tc_select_withdraw(cases, 3));
    TC_CHECK_EQ(tc_select_finish(cases, 3), 0);
    TC_CHECK_EQ(cases[0].value.as_int, 2);
    TC_CHECK_EQ(tc_select_start(cases, 3, &op.waiter), -EINPROGRESS);
    TC_CHECK(tc_select_withdraw(cases, 3));
    TC_CHECK_EQ(tc_channel_try_send(&channels[0], tc_value_int(2)), -EAGAIN);
    TC_CHECK_EQ(op.calls, 1);
    tc_channel_close(&channels[1]);
    TC_CHECK_EQ(tc_select_start(cases, 3, &op.waiter), 2);
    TC_CHECK_EQ(cases[2].result, -EPIPE);
    TC_CHECK_EQ(tc_select_start(&cases[1], 1, &op.waiter), -EINVAL);
    end();
}

/* ---- evenness ------------------------------------------------------------------------------ */

enum { PICKS = 100000 };

static uint64_t picked[CHANNELS];

/* All four cases can always proceed: two receives from closed channels, two sends to them. */
static void pick_many(void *arg)
{
    struct choice choice;

    (void)arg;
    choice_init(&choice, CHANNELS);
    for (int i = 0; i < CHANNELS; i++) {
        choice.cases[i] = i % 2 == 0 ? recv_from(&channels[i]) : send_to(&channels[i], 0);
    }
    for (int i = 0; i < PICKS; i++) {
        picked[tc_select(choice.cases, CHANNELS, TC_NEVER)]++;
    }
}

static void check_even(void)
{
    double expected = (double)PICKS / CHANNELS;
    double chi_square = 0;

    for (int i = 0; i < CHANNELS; i++) {
        chi_square += ((double)picked[i] - expected) * ((double)picked[i] - expected) / expected;
        picked[i] = 0;
    }
    TC_CHECK(chi_square < 30.66); /* three degrees of freedom, p > 1e-6 */
}

/* S2 */
TC_TEST(test_select_among_ready_cases_is_even)
{
    struct tc_runtime_options options = {.workers = 1, .driver = &fake_driver, .seed = 20260};

    fake_threaded = false;
    TC_CHECK_EQ(tc_runtime_new(&options, &rt), 0);
    worker0 = tc_runtime_worker(rt, 0);
    for (int i = 0; i < CHANNELS; i++) {
        TC_CHECK_EQ(tc_channel_init(&channels[i], 0, NULL), 0);
        tc_channel_close(&channels[i]);
    }
    struct tc_fiber *fiber = fake_spawn(rt, pick_many, NULL);
    fake_settle(worker0);
    fake_join_dead(fiber);
    check_even();
    pick_many(NULL); /* a plain thread has random numbers of its own */
    check_even();
    end();
}
