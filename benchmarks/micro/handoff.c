/* handoff.c — two fibers wake each other in turn, in --width pairs (default 1); per wake. */
#include "micro.h"

#include "sched/worker.h"

enum { HANDOFFS = 500000 };

struct side {
    struct tc_readiness mail; /* what this side waits for */
    struct side *other;
    uint32_t rounds;
};

static bool install(struct tc_waiter *waiter, uint64_t seq, void *arg)
{
    return tc_readiness_park(arg, waiter, seq);
}

static void wait_for_mail(struct side *side)
{
    struct tc_park park = {
        .reason = TC_WAIT_TEST,
        .object = side,
        .deadline_ns = TC_NEVER,
        .commit = install,
        .arg = &side->mail,
    };

    while (!tc_readiness_consume(&side->mail)) {
        micro_check(tc_fiber_park(&park), "tc_fiber_park");
        tc_readiness_withdraw(&side->mail, &tc_fiber_current()->waiter);
    }
}

static void send_mail(struct side *side)
{
    struct tc_waiter *waiter;
    uint64_t seq;

    if (tc_readiness_notify(&side->mail, &waiter, &seq)) {
        bool is_ours = tc_waiter_claim(waiter, seq);
        tc_readiness_unlock(&side->mail);
        if (is_ours) {
            tc_ready(waiter, 0);
        }
    }
}

static void play(void *arg)
{
    struct side *side = arg;

    for (uint32_t i = 0; i < side->rounds; i++) {
        wait_for_mail(side);
        send_mail(side->other);
    }
}

static void body(struct micro *micro)
{
    static struct side sides[MICRO_WIDTH_MAX][2];
    struct tc_fiber *fibers[MICRO_WIDTH_MAX][2];

    for (uint32_t i = 0; i < micro->width; i++) {
        for (uint32_t j = 0; j < 2; j++) {
            tc_readiness_init(&sides[i][j].mail, j == 0);
            sides[i][j].other = &sides[i][1 - j];
            sides[i][j].rounds = HANDOFFS / 2 / micro->width;
        }
        for (uint32_t j = 0; j < 2; j++) {
            fibers[i][j] = micro_spawn(micro, play, &sides[i][j]);
        }
    }
    for (uint32_t i = 0; i < 2 * micro->width; i++) {
        micro_join(fibers[i / 2][i % 2]);
    }
}

int main(int argc, char **argv)
{
    struct micro micro = {.name = "handoff", .operations = HANDOFFS, .body = body, .width = 1};

    return micro_main(argc, argv, &micro);
}
