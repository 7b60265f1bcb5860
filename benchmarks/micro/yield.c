/* yield.c — one trip through the scheduler: --width fibers (default 2) take turns. */
#include "micro.h"

enum { YIELDS = 1000000 };

static void take_turns(void *arg)
{
    struct micro *micro = arg;

    for (uint32_t i = 0; i < YIELDS / micro->width; i++) {
        tc_fiber_yield();
    }
}

static void body(struct micro *micro)
{
    struct tc_fiber *fibers[MICRO_WIDTH_MAX];

    for (uint32_t i = 0; i < micro->width; i++) {
        fibers[i] = micro_spawn(micro, take_turns, micro);
    }
    for (uint32_t i = 0; i < micro->width; i++) {
        micro_join(fibers[i]);
    }
}

int main(int argc, char **argv)
{
    struct micro micro = {.name = "yield", .operations = YIELDS, .body = body, .width = 2};

    return micro_main(argc, argv, &micro);
}
