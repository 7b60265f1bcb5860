/* overflow_module.c — for overflow.py: the runtime in a Python process, and a fiber that
 * overflows. */
#include "parked.h"
#include "support.h"

TC_API int overflow_start(void);
TC_API void overflow_run(int stack_class, unsigned fibers);

static struct tc_runtime *runtime;

int overflow_start(void)
{
    runtime = start_runtime(2);
    return 0;
}

/* Does not return: the process dies. */
void overflow_run(int stack_class, unsigned fibers)
{
    uint64_t id = parked_start(runtime, fibers, (enum tc_stack_class)stack_class);

    fprintf(stderr, "id %llu\n", (unsigned long long)id);
    parked_overflow_last(fibers);
}
