#include "base/clock.h"

#include "harness.h"

#include <time.h>

TC_TEST(test_clock_now_never_goes_back)
{
    int64_t last = tc_clock_now_ns();

    for (int i = 0; i < 100000; i++) {
        int64_t now = tc_clock_now_ns();

        TC_CHECK(now >= last);
        last = now;
    }
}

TC_TEST(test_clock_now_is_the_monotonic_clock)
{
    struct timespec ts;
    int64_t before = tc_clock_now_ns();
    int64_t between;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    between = (int64_t)ts.tv_sec * TC_NS_PER_SEC + ts.tv_nsec;
    TC_CHECK(before <= between && between <= tc_clock_now_ns());
}

TC_TEST(test_clock_wall_is_the_systems_clock)
{
    struct timespec ts;
    int64_t before = tc_clock_wall_ns();
    int64_t between;

    clock_gettime(CLOCK_REALTIME, &ts);
    between = (int64_t)ts.tv_sec * TC_NS_PER_SEC + ts.tv_nsec;
    TC_CHECK(before <= between && between <= tc_clock_wall_ns());
    TC_CHECK(tc_clock_wall_seconds() <= tc_clock_wall_ns() / TC_NS_PER_SEC);
}

TC_TEST(test_clock_deadline_saturates_instead_of_wrapping)
{
    TC_CHECK_EQ(tc_deadline_after_ns(TC_NEVER), TC_NEVER);
    TC_CHECK_EQ(tc_deadline_after_ns(TC_NEVER - 1), TC_NEVER);
    TC_CHECK_EQ(tc_deadline_add_ns(1, TC_NEVER - 1), TC_NEVER);
    TC_CHECK_EQ(tc_deadline_add_ns(2, TC_NEVER - 1), TC_NEVER);
    TC_CHECK_EQ(tc_deadline_add_ns(INT64_MIN, -1), INT64_MIN);
    TC_CHECK_EQ(tc_deadline_add_ns(40, 2), 42);
}

TC_TEST(test_clock_deadline_after_is_now_plus_delay)
{
    int64_t before = tc_clock_now_ns();
    int64_t deadline = tc_deadline_after_ns(TC_NS_PER_SEC);

    TC_CHECK(deadline >= before + TC_NS_PER_SEC);
    TC_CHECK(deadline <= tc_clock_now_ns() + TC_NS_PER_SEC);
    TC_CHECK(tc_deadline_after_ns(-1) < tc_clock_now_ns());
}
