/* timers_sleep.c — 100,000 fibers asleep at once, for 0 to 9 ms each; per fiber, spawn included. */
#include "micro.h"

#include "base/clock.h"

enum { SLEEPERS = 100000, LONGEST_MS = 10 };

static struct tc_fiber *sleepers[SLEEPERS];

static void doze(void *arg)
{
    int64_t delay_ns = (int64_t)(uintptr_t)arg * TC_NS_PER_MS;

    micro_check(tc_fiber_sleep_until(tc_deadline_after_ns(delay_ns)), "tc_fiber_sleep_until");
}

static void body(struct micro *micro)
{
    for (uint32_t i = 0; i < SLEEPERS; i++) {
        sleepers[i] = micro_spawn(micro, doze, (void *)(uintptr_t)(i % LONGEST_MS));
    }
    for (uint32_t i = 0; i < SLEEPERS; i++) {
        micro_join(sleepers[i]);
    }
}

int main(int argc, char **argv)
{
    struct micro micro = {.name = "timers_sleep", .operations = SLEEPERS, .body = body};

    return micro_main(argc, argv, &micro);
}
