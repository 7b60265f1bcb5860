/* spawn_join.c — the life of a fiber: spawn one, wait for it, spawn the next. */
#include "micro.h"

enum { SPAWNS = 500000 };

static void nothing(void *arg)
{
    (void)arg;
}

static void body(struct micro *micro)
{
    for (uint32_t i = 0; i < SPAWNS; i++) {
        micro_join(micro_spawn(micro, nothing, NULL));
    }
}

int main(int argc, char **argv)
{
    struct micro micro = {.name = "spawn_join", .operations = SPAWNS, .body = body};

    return micro_main(argc, argv, &micro);
}
