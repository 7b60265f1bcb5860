/* wake_across.c — waking a worker from another one: a fiber hops to and fro, each time parking
 * until a message on the other worker has readied it there. With --workers 1 it hops on the spot:
 * the message alone, without a sleeping thread. */
#include "micro.h"

#include "sched/worker.h"

enum { HOPS = 50000 };

struct hop {
    struct tc_message message;
    struct tc_worker *target;
    struct tc_waiter *waiter;
    uint64_t seq;
};

static void arrive(struct tc_worker *worker, struct tc_message *message)
{
    struct hop *hop = tc_container_of(message, struct hop, message);

    if (tc_waiter_claim(hop->waiter, hop->seq)) {
        tc_ready_from(worker, hop->waiter, 0);
    }
}

static bool leave(struct tc_waiter *waiter, uint64_t seq, void *arg)
{
    struct hop *hop = arg;

    hop->waiter = waiter;
    hop->seq = seq;
    tc_worker_post(hop->target, &hop->message);
    return true;
}

static void body(struct micro *micro)
{
    static struct hop hop = {.message.fn = arrive};
    struct tc_park park = {
        .reason = TC_WAIT_TEST,
        .deadline_ns = TC_NEVER,
        .commit = leave,
        .arg = &hop,
    };

    for (uint32_t i = 0; i < HOPS; i++) {
        uint32_t next = (tc_worker_current()->index + 1) % micro->workers;
        hop.target = tc_runtime_worker(micro->runtime, next);
        micro_check(tc_fiber_park(&park), "tc_fiber_park");
    }
}

int main(int argc, char **argv)
{
    struct micro micro = {.name = "wake_across", .operations = HOPS, .body = body};

    return micro_main(argc, argv, &micro);
}
