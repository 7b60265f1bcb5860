/* spawn_wg100.c — the life of a fiber in company: spawn a hundred, then wait for all of them. */
#include "micro.h"

enum { SPAWNS = 500000, GROUP = 100 };

static void nothing(void *arg)
{
    (void)arg;
}

static void body(struct micro *micro)
{
    struct tc_fiber *group[GROUP];

    for (uint32_t done = 0; done < SPAWNS; done += GROUP) {
        for (uint32_t i = 0; i < GROUP; i++) {
            group[i] = micro_spawn(micro, nothing, NULL);
        }
        /* The youngest first: it ends last, and the others are dead by then. Joined in the order
         * of their spawning, each would wake this fiber for itself, which no WaitGroup does. */
        for (uint32_t i = GROUP; i-- > 0;) {
            micro_join(group[i]);
        }
    }
}

int main(int argc, char **argv)
{
    struct micro micro = {.name = "spawn_wg100", .operations = SPAWNS, .body = body};

    return micro_main(argc, argv, &micro);
}
