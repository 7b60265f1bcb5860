/* docs/howto/threads.rst shows this program; the C tests run it. */
#include <stdio.h>

#include "tinycoro.h"

static void square(void *arg)
{
    struct tc_channel *channels = arg;
    struct tc_value value;
    while (tc_channel_recv(&channels[0], &value, TC_NEVER) == 0) {
        int64_t number = value.as_int;
        if (tc_channel_send(&channels[1], tc_value_int(number * number), TC_NEVER) != 0) {
            return;
        }
    }
    tc_channel_close(&channels[1]);
}

int main(void)
{
    struct tc_channel channels[2]; /* to the fiber, and back */
    struct tc_runtime_options options = {.workers = 2, .driver = &tc_io_driver};
    struct tc_runtime *runtime;
    struct tc_fiber *fiber;
    if (tc_channel_init(&channels[0], 4, NULL) != 0 ||
        tc_channel_init(&channels[1], 4, NULL) != 0 || tc_runtime_new(&options, &runtime) != 0 ||
        tc_runtime_start(runtime) != 0 ||
        tc_fiber_spawn(runtime, square, channels, NULL, &fiber) != 0) {
        return 1;
    }
    for (int64_t number = 0; number < 3; number++) {
        struct tc_value value = tc_value_int(number);
        if (tc_channel_send(&channels[0], value, TC_NEVER) != 0 ||
            tc_channel_recv(&channels[1], &value, TC_NEVER) != 0) {
            return 1;
        }
        printf("%lld\n", (long long)value.as_int);
    }
    tc_channel_close(&channels[0]); /* ends the fiber */
    if (tc_fiber_join(fiber, TC_NEVER) != 0 || tc_runtime_stop(runtime, TC_NEVER) != 0) {
        return 1;
    }
    tc_runtime_free(runtime);
    tc_channel_fini(&channels[0]);
    tc_channel_fini(&channels[1]);
    return 0;
}
