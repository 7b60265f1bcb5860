/* spawn_tree.c — work that spreads: every fiber but a leaf spawns two and waits for both. */
#include "micro.h"

enum { DEPTH = 16, FIBERS = (1 << (DEPTH + 1)) - 2 };

struct node {
    struct micro *micro;
    uint32_t depth;
};

static void grow(void *arg)
{
    struct node *node = arg;

    if (node->depth == 0) {
        return;
    }
    struct node child = {.micro = node->micro, .depth = node->depth - 1};
    struct tc_fiber *left = micro_spawn(node->micro, grow, &child);
    struct tc_fiber *right = micro_spawn(node->micro, grow, &child);
    micro_join(left);
    micro_join(right);
}

static void body(struct micro *micro)
{
    struct node root = {.micro = micro, .depth = DEPTH};

    grow(&root);
}

int main(int argc, char **argv)
{
    struct micro micro = {.name = "spawn_tree", .operations = FIBERS, .body = body};

    return micro_main(argc, argv, &micro);
}
