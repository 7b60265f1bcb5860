#include "base/parker.h"

#include <errno.h>
#include <pthread.h>

#include "base/clock.h"
#include "harness.h"

TC_TEST(test_parker_unpark_before_park_returns_at_once)
{
    struct tc_parker parker;

    tc_parker_init(&parker);
    tc_parker_unpark(&parker);
    TC_CHECK_EQ(tc_parker_park(&parker, TC_NEVER), 0);
}

TC_TEST(test_parker_several_unparks_leave_one_token)
{
    struct tc_parker parker;

    tc_parker_init(&parker);
    tc_parker_unpark(&parker);
    tc_parker_unpark(&parker);
    TC_CHECK_EQ(tc_parker_park(&parker, TC_NEVER), 0);
    TC_CHECK_EQ(tc_parker_park(&parker, tc_clock_now_ns()), -ETIMEDOUT);
}

TC_TEST(test_parker_park_times_out_not_before_its_deadline)
{
    struct tc_parker parker;
    int64_t deadline = tc_deadline_after_ns(5 * TC_NS_PER_MS);

    tc_parker_init(&parker);
    TC_CHECK_EQ(tc_parker_park(&parker, deadline), -ETIMEDOUT);
    TC_CHECK(tc_clock_now_ns() >= deadline);
    TC_CHECK_EQ(tc_load_relaxed(&parker.core.state), TC_PARKER_RUNNING); /* relaxed: alone */
}

TC_TEST(test_parker_token_wins_over_a_deadline_in_the_past)
{
    struct tc_parker parker;

    tc_parker_init(&parker);
    tc_parker_unpark(&parker);
    TC_CHECK_EQ(tc_parker_park(&parker, 0), 0);
}

/* The split form, as a worker uses it around epoll_wait. */
TC_TEST(test_parker_core_wake_hook_runs_only_for_a_parked_owner)
{
    struct tc_parker parker;

    tc_parker_init(&parker);
    TC_CHECK(tc_parker_core_begin(&parker.core));
    TC_CHECK(tc_parker_core_is_parked(&parker.core));
    tc_parker_unpark(&parker);
    TC_CHECK(!tc_parker_core_is_parked(&parker.core));
    TC_CHECK(tc_parker_core_end(&parker.core));
    tc_parker_unpark(&parker);
    TC_CHECK(!tc_parker_core_begin(&parker.core));
}

enum { ROUNDS = 20000 };

static struct ping_pong {
    struct tc_parker parkers[2];
    int ball; /* plain: ordered by the parkers alone */
} game;

static void *player_main(void *arg)
{
    int side = (int)(intptr_t)arg;

    for (int i = 0; i < ROUNDS; i++) {
        while (tc_parker_park(&game.parkers[side], TC_NEVER) != 0) {
        }
        TC_CHECK_EQ(game.ball, 2 * i + side);
        game.ball++;
        tc_parker_unpark(&game.parkers[1 - side]);
    }
    return NULL;
}

TC_TEST(test_parker_hand_over_between_two_threads_loses_no_wake)
{
    pthread_t other;

    tc_parker_init(&game.parkers[0]);
    tc_parker_init(&game.parkers[1]);
    TC_CHECK_EQ(pthread_create(&other, NULL, player_main, (void *)1), 0);
    tc_parker_unpark(&game.parkers[0]);
    (void)player_main((void *)0);
    TC_CHECK_EQ(pthread_join(other, NULL), 0);
    TC_CHECK_EQ(game.ball, 2 * ROUNDS);
}
