/* micro.h — what the programs beside it share: a runtime, a warm-up, timed runs, one line printed.
 *
 * A program fills in a struct micro and calls micro_main(). Its body runs on a fiber, once as
 * warm-up and then --runs times against the clock. The output is one line,
 *
 *   name=yield workers=1 median=41.20 min=40.90 max=43.00 cpu=41.10 runs=7 unit=ns
 *
 * in nanoseconds per operation; cpu is processor time of the whole process, median of the runs,
 * which other programs on the machine disturb less. Pinning is the caller's business (taskset).
 */
#ifndef BENCHMARKS_MICRO_H
#define BENCHMARKS_MICRO_H

#include <stdint.h>

#include "sched/runtime.h"

enum { MICRO_WIDTH_MAX = 1024 };

struct micro {
    const char *name;
    uint64_t operations; /* what body does; results are divided by it              */
    void (*body)(struct micro *micro);
    uint32_t workers; /* --workers, default 1                                   */
    uint32_t runs; /* --runs, default 7                                      */
    uint32_t width; /* --width: how many fibers or pairs take part; optional  */
    struct tc_runtime *runtime; /* set before body runs                                   */
    enum tc_stack_class stack_class; /* --class small|default|large, default `default`         */
};

/* Returns the exit status for main(). */
int micro_main(int argc, char **argv, struct micro *micro);

/* The same without runs: parse the arguments, start the runtime, run body once, print nothing. */
int micro_once(int argc, char **argv, struct micro *micro);

/* Stop the program unless a call of the library returned 0. */
void micro_check(int result, const char *call);

/* Spawn a joinable fiber, in the chosen stack class. */
struct tc_fiber *micro_spawn(struct micro *micro, void (*entry)(void *), void *arg);

/* Wait for it. */
void micro_join(struct tc_fiber *fiber);

/* One field of /proc/self/status, in bytes; the format is that of its line, "VmRSS: %lu kB". */
double micro_status_bytes(const char *format);

#endif
