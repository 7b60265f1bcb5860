#include "base/parker.h"

#include <errno.h>

#include "base/sys.h"

static int block_on_futex(_Atomic uint32_t *state, int64_t deadline_ns, void *arg)
{
    int result = tc_sys_futex_wait(state, TC_PARKER_PARKED, deadline_ns);

    (void)arg;
    /* -EAGAIN: the word had changed before the kernel looked. The core looks again. */
    return result == -EAGAIN ? 0 : result;
}

static void wake_by_futex(_Atomic uint32_t *state, void *arg)
{
    (void)arg;
    /* Nobody to wake is normal: the owner may be between its swap and the sleep. */
    (void)tc_sys_futex_wake(state, 1);
}

int tc_parker_park(struct tc_parker *parker, int64_t deadline_ns)
{
    return tc_parker_core_park(&parker->core, deadline_ns, block_on_futex, NULL);
}

void tc_parker_unpark(struct tc_parker *parker)
{
    tc_parker_core_unpark(&parker->core, wake_by_futex, NULL);
}
