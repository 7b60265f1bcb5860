/* parked_million.c — memory of a parked fiber, a million of them: resident pages and page tables;
 * then all of them are resumed and joined. With --class, of another stack class. */
#include "micro.h"

#include <stdio.h>

#include "base/atomic.h"

enum { FIBERS = 1000000 };

static struct slot {
    struct tc_fiber *fiber;
    struct tc_waiter *waiter;
    uint64_t seq;
} slots[FIBERS];

static _Atomic uint64_t parked;
static uint64_t resumed;

static bool publish(struct tc_waiter *waiter, uint64_t seq, void *arg)
{
    struct slot *slot = arg;

    slot->waiter = waiter;
    slot->seq = seq;
    tc_fetch_add_release(&parked, 1);
    return true;
}

static void stay(void *arg)
{
    struct tc_park park = {
        .reason = TC_WAIT_TEST,
        .object = arg,
        .deadline_ns = TC_NEVER,
        .commit = publish,
        .arg = arg,
    };

    micro_check(tc_fiber_park(&park), "tc_fiber_park");
}

static void body(struct micro *micro)
{
    for (uint32_t i = 0; i < FIBERS; i++) {
        slots[i] = (struct slot){.seq = 1}; /* our own pages are touched before we measure */
    }
    double rss = micro_status_bytes("VmRSS: %lu kB");
    double tables = micro_status_bytes("VmPTE: %lu kB");
    for (uint32_t i = 0; i < FIBERS; i++) {
        slots[i].fiber = micro_spawn(micro, stay, &slots[i]);
    }
    while (tc_load_acquire(&parked) < FIBERS) {
        tc_fiber_yield();
    }
    rss = (micro_status_bytes("VmRSS: %lu kB") - rss) / FIBERS;
    tables = (micro_status_bytes("VmPTE: %lu kB") - tables) / FIBERS;
    for (uint32_t i = 0; i < FIBERS; i++) {
        if (tc_waiter_claim(slots[i].waiter, slots[i].seq)) {
            tc_ready(slots[i].waiter, 0);
            resumed++;
        }
    }
    for (uint32_t i = 0; i < FIBERS; i++) {
        micro_join(slots[i].fiber);
    }
    printf("name=%s workers=%u rss_bytes=%.0f pte_bytes=%.0f resumed=%llu\n", micro->name,
           micro->workers, rss, tables, (unsigned long long)resumed);
}

int main(int argc, char **argv)
{
    struct micro micro = {.name = "parked_million", .operations = FIBERS, .body = body};
    int status = micro_once(argc, argv, &micro);

    return status != 0 ? status : resumed != FIBERS;
}
