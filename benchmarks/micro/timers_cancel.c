/* timers_cancel.c — a deadline that is not reached, as almost all are: arm one, take it back. */
#include "micro.h"

#include "base/clock.h"
#include "io/io.h"
#include "sched/worker.h"

enum { TIMERS = 1000000, LIVE = 1000 };

static void ignore(struct tc_waiter *waiter, struct tc_worker *worker)
{
    (void)waiter;
    (void)worker;
}

/* LIVE deadlines are armed at any time, so that the heap has a depth. */
static void body(struct micro *micro)
{
    static struct tc_waiter waiter = {.kind = TC_WAITER_CALLBACK, .callback = ignore};
    static struct tc_deadline deadlines[LIVE];
    struct tc_worker *worker = tc_worker_current();
    int64_t start_ns = tc_deadline_after_ns(3600 * TC_NS_PER_SEC);

    for (uint32_t i = 0; i < micro->operations; i++) {
        struct tc_deadline *deadline = &deadlines[i % LIVE];
        if (deadline->timer != NULL) {
            tc_io_driver.disarm(worker, deadline);
        }
        int64_t when_ns = start_ns + (int64_t)(i % 997) * TC_NS_PER_MS;
        micro_check(tc_io_driver.arm(worker, &waiter, 1, when_ns, deadline), "arm");
    }
    for (uint32_t i = 0; i < LIVE; i++) {
        tc_io_driver.disarm(worker, &deadlines[i]);
        deadlines[i].timer = NULL;
    }
}

int main(int argc, char **argv)
{
    struct micro micro = {.name = "timers_cancel", .operations = TIMERS, .body = body};

    return micro_main(argc, argv, &micro);
}
