/* mutex_contended.c — --width fibers (default 4) share a mutex, and the holder gives way inside;
 * per section. */
#include "micro.h"

#include <stdlib.h>

#include "sync/mutex.h"

enum { SECTIONS = 500000 };

struct shared {
    struct tc_mutex mutex;
    uint32_t each;
    uint64_t entered;
};

static void enter(void *arg)
{
    struct shared *shared = arg;

    for (uint32_t i = 0; i < shared->each; i++) {
        micro_check(tc_mutex_acquire(&shared->mutex, TC_NEVER), "tc_mutex_acquire");
        shared->entered++;
        tc_fiber_yield();
        tc_mutex_release(&shared->mutex);
    }
}

static void body(struct micro *micro)
{
    struct shared shared = {.each = SECTIONS / micro->width};
    struct tc_fiber *fibers[MICRO_WIDTH_MAX];

    tc_mutex_init(&shared.mutex);
    for (uint32_t i = 0; i < micro->width; i++) {
        fibers[i] = micro_spawn(micro, enter, &shared);
    }
    for (uint32_t i = 0; i < micro->width; i++) {
        micro_join(fibers[i]);
    }
    if (shared.entered != (uint64_t)shared.each * micro->width) {
        abort();
    }
}

int main(int argc, char **argv)
{
    struct micro micro = {
        .name = "mutex_contended", .operations = SECTIONS, .body = body, .width = 4};

    return micro_main(argc, argv, &micro);
}
