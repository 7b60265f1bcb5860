#include "sched/readiness_core.h"

#include "sched/waiter_core.h"

#include "harness.h"

struct tc_waiter {
    struct tc_waiter_word word;
};

static uint64_t open_wait(struct tc_waiter *waiter)
{
    uint64_t seq = tc_waiter_core_begin(&waiter->word);

    tc_waiter_core_arm(&waiter->word, seq);
    return seq;
}

TC_TEST(test_readiness_core_edge_is_consumed_once)
{
    struct tc_readiness r;
    struct tc_waiter *found;
    uint64_t seq;

    tc_readiness_init(&r, false);
    TC_CHECK(!tc_readiness_consume(&r));
    TC_CHECK(!tc_readiness_notify(&r, &found, &seq));
    TC_CHECK(!tc_readiness_notify(&r, &found, &seq));
    TC_CHECK(tc_readiness_is_ready(&r));
    TC_CHECK(tc_readiness_consume(&r));
    TC_CHECK(!tc_readiness_consume(&r));
}

TC_TEST(test_readiness_core_restore_makes_ready_again)
{
    struct tc_readiness r;

    tc_readiness_init(&r, true);
    TC_CHECK(tc_readiness_consume(&r));
    tc_readiness_restore(&r);
    TC_CHECK(tc_readiness_consume(&r));
}

TC_TEST(test_readiness_core_park_fails_on_an_edge_and_keeps_it)
{
    struct tc_readiness r;
    struct tc_waiter waiter;

    tc_readiness_init(&r, true);
    tc_waiter_core_init(&waiter.word);
    TC_CHECK(!tc_readiness_park(&r, &waiter, open_wait(&waiter)));
    tc_readiness_withdraw(&r, &waiter);
    TC_CHECK(tc_readiness_consume(&r));
}

TC_TEST(test_readiness_core_notify_hands_out_the_waiter_and_leaves_the_edge)
{
    struct tc_readiness r;
    struct tc_waiter waiter;
    struct tc_waiter *found = NULL;
    uint64_t seq, found_seq = 0;

    tc_readiness_init(&r, false);
    tc_waiter_core_init(&waiter.word);
    seq = open_wait(&waiter);
    TC_CHECK(tc_readiness_park(&r, &waiter, seq));
    TC_CHECK(tc_readiness_notify(&r, &found, &found_seq));
    TC_CHECK(found == &waiter);
    TC_CHECK_EQ(found_seq, seq);
    TC_CHECK(tc_waiter_core_claim(&found->word, found_seq));
    tc_readiness_unlock(&r);
    tc_readiness_withdraw(&r, &waiter);
    TC_CHECK(tc_readiness_consume(&r));
}

TC_TEST(test_readiness_core_dead_waiter_does_not_consume_the_edge)
{
    struct tc_readiness r;
    struct tc_waiter waiter;
    struct tc_waiter *found = NULL;
    uint64_t seq, found_seq = 0;

    tc_readiness_init(&r, false);
    tc_waiter_core_init(&waiter.word);
    seq = open_wait(&waiter);
    TC_CHECK(tc_readiness_park(&r, &waiter, seq));
    TC_CHECK(tc_waiter_core_claim(&waiter.word, seq)); /* a timer */
    TC_CHECK(tc_readiness_notify(&r, &found, &found_seq));
    TC_CHECK(!tc_waiter_core_claim(&found->word, found_seq));
    tc_readiness_unlock(&r);
    TC_CHECK(tc_readiness_is_ready(&r));
}

TC_TEST(test_readiness_core_withdraw_waits_for_a_source_that_looks)
{
    struct tc_readiness r;
    struct tc_waiter waiter;
    struct tc_waiter *found = NULL;
    uint64_t found_seq = 0;

    tc_readiness_init(&r, false);
    tc_waiter_core_init(&waiter.word);
    TC_CHECK(tc_readiness_park(&r, &waiter, open_wait(&waiter)));
    TC_CHECK(tc_readiness_notify(&r, &found, &found_seq));
    TC_CHECK(!tc_readiness_try_withdraw(&r, &waiter));
    /* A second source meets LOCKED: it has nothing to claim. */
    TC_CHECK(!tc_readiness_notify(&r, &found, &found_seq));
    tc_readiness_unlock(&r);
    TC_CHECK(tc_readiness_try_withdraw(&r, &waiter));
}

TC_TEST(test_readiness_core_withdrawn_waiter_is_not_handed_out)
{
    struct tc_readiness r;
    struct tc_waiter waiter;
    struct tc_waiter *found = NULL;
    uint64_t found_seq = 0;

    tc_readiness_init(&r, false);
    tc_waiter_core_init(&waiter.word);
    TC_CHECK(tc_readiness_park(&r, &waiter, open_wait(&waiter)));
    tc_readiness_withdraw(&r, &waiter);
    TC_CHECK(!tc_readiness_notify(&r, &found, &found_seq));
    TC_CHECK(tc_readiness_consume(&r));
}
