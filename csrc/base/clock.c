#include "base/clock.h"

#include <time.h>

int64_t tc_clock_now_ns(void)
{
    struct timespec now;

    /* Cannot fail: the clock exists on every Linux and the pointer is good. */
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * TC_NS_PER_SEC + now.tv_nsec;
}

int64_t tc_clock_wall_seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME_COARSE, &now); /* cannot fail either */
    return (int64_t)now.tv_sec;
}

int64_t tc_clock_wall_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now); /* nor can this */
    return (int64_t)now.tv_sec * TC_NS_PER_SEC + now.tv_nsec;
}

int64_t tc_deadline_add_ns(int64_t base_ns, int64_t delay_ns)
{
    int64_t sum;

    if (__builtin_add_overflow(base_ns, delay_ns, &sum)) {
        return delay_ns > 0 ? TC_NEVER : INT64_MIN;
    }
    return sum;
}

int64_t tc_deadline_after_ns(int64_t delay_ns)
{
    /* Nobody can tell 292 years from never, and never needs no reading of the clock. */
    if (delay_ns == TC_NEVER) {
        return TC_NEVER;
    }
    return tc_deadline_add_ns(tc_clock_now_ns(), delay_ns);
}
