/* chan_buffered.c — one fiber sends to another through a buffer; per value. */
#include "micro.h"

#include <stdlib.h>

#include "sync/channel.h"

enum { MESSAGES = 2000000, CAPACITY = 128 };

static void produce(void *arg)
{
    for (int64_t i = 0; i < MESSAGES; i++) {
        micro_check(tc_channel_send(arg, tc_value_int(i), TC_NEVER), "tc_channel_send");
    }
    tc_channel_close(arg);
}

static void consume(void *arg)
{
    struct tc_value value;
    int64_t next = 0;

    while (tc_channel_recv(arg, &value, TC_NEVER) == 0) {
        if (value.as_int != next++) {
            abort();
        }
    }
}

static void body(struct micro *micro)
{
    struct tc_channel channel;

    micro_check(tc_channel_init(&channel, CAPACITY, NULL), "tc_channel_init");
    struct tc_fiber *producer = micro_spawn(micro, produce, &channel);
    struct tc_fiber *consumer = micro_spawn(micro, consume, &channel);
    micro_join(producer);
    micro_join(consumer);
    tc_channel_fini(&channel);
}

int main(int argc, char **argv)
{
    struct micro micro = {.name = "chan_buffered", .operations = MESSAGES, .body = body};

    return micro_main(argc, argv, &micro);
}
