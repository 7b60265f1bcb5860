/* skynet.c — a tree of fibers, ten children each, sums the numbers of a million leaves over
 * channels; per leaf. */
#include "micro.h"

#include <stdlib.h>

#include "sync/channel.h"

enum { LEAVES = 1000000, CHILDREN = 10 };

struct node {
    struct micro *micro;
    struct tc_channel *out;
    int64_t number;
    int64_t size;
};

static void sum_up(void *arg)
{
    struct node node = *(struct node *)arg; /* the parent's array lives until we have sent */
    int64_t sum = node.number;

    if (node.size > 1) {
        struct tc_spawn_options options = {
            .name = "skynet", .stack_class = node.micro->stack_class, .detached = true};
        struct node children[CHILDREN];
        struct tc_channel results;
        micro_check(tc_channel_init(&results, 0, NULL), "tc_channel_init");
        for (int i = 0; i < CHILDREN; i++) {
            int64_t size = node.size / CHILDREN;
            children[i] = (struct node){node.micro, &results, node.number + i * size, size};
            micro_check(tc_fiber_spawn(node.micro->runtime, sum_up, &children[i], &options, NULL),
                        "tc_fiber_spawn");
        }
        sum = 0;
        for (int i = 0; i < CHILDREN; i++) {
            struct tc_value value;
            micro_check(tc_channel_recv(&results, &value, TC_NEVER), "tc_channel_recv");
            sum += value.as_int;
        }
        tc_channel_fini(&results);
    }
    micro_check(tc_channel_send(node.out, tc_value_int(sum), TC_NEVER), "tc_channel_send");
}

static void body(struct micro *micro)
{
    struct tc_channel result;
    struct tc_value value;

    micro_check(tc_channel_init(&result, 0, NULL), "tc_channel_init");
    struct node root = {micro, &result, 0, LEAVES};
    struct tc_fiber *fiber = micro_spawn(micro, sum_up, &root);
    micro_check(tc_channel_recv(&result, &value, TC_NEVER), "tc_channel_recv");
    micro_join(fiber);
    if (value.as_int != (int64_t)LEAVES * (LEAVES - 1) / 2) {
        abort();
    }
    tc_channel_fini(&result);
}

int main(int argc, char **argv)
{
    struct micro micro = {.name = "skynet", .operations = LEAVES, .body = body};

    return micro_main(argc, argv, &micro);
}
