/* switch.c — one context switch, without a scheduler: two contexts hand each other the processor.
 * Prints the line that micro.h describes. */
#include "arch/ctx.h"
#include "base/clock.h"
#include "base/defs.h"

#include <stdio.h>
#include <stdlib.h>

enum { RUNS = 9, SWITCHES = 20 * 1000 * 1000, STACK_BYTES = 64 * 1024 };

struct pair {
    struct tc_ctx main;
    struct tc_ctx fiber;
};

static void entry(void *user, void *arg)
{
    struct pair *pair = user;

    while (arg) {
        arg = tc_ctx_switch(&pair->fiber, &pair->main, arg);
    }
    tc_ctx_exit(&pair->fiber, &pair->main, NULL);
}

/* Returns nanoseconds a switch; a round trip is two. */
static double run(struct pair *pair, int switches)
{
    int64_t start = tc_clock_now_ns();

    for (int i = 0; i < switches; i += 2) {
        (void)tc_ctx_switch(&pair->main, &pair->fiber, pair);
    }
    return (double)(tc_clock_now_ns() - start) / switches;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;

    return (left > right) - (left < right);
}

int main(void)
{
    struct pair pair;
    double result[RUNS];
    void *stack = malloc(STACK_BYTES);

    if (!stack) {
        perror("malloc");
        return 1;
    }
    tc_ctx_init_thread(&pair.main);
    tc_ctx_init(&pair.fiber, stack, STACK_BYTES, entry, &pair);
    (void)run(&pair, SWITCHES / 10); /* warm-up */
    for (size_t i = 0; i < RUNS; i++) {
        result[i] = run(&pair, SWITCHES);
    }
    (void)tc_ctx_switch(&pair.main, &pair.fiber, NULL);
    tc_ctx_fini(&pair.fiber);
    tc_ctx_fini_thread(&pair.main);
    free(stack);
    qsort(result, RUNS, sizeof(result[0]), compare);
    printf("name=switch workers=1 median=%.2f min=%.2f max=%.2f runs=%d unit=ns\n",
           result[RUNS / 2], result[0], result[RUNS - 1], RUNS);
    return 0;
}
