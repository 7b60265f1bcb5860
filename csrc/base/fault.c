#include "base/fault.h"

#include "base/assert.h"

#include <errno.h>
#include <string.h>

/* What one point has been told, and what it has counted. */
struct fault_point {
    _Atomic uint64_t nth;   /* first call that fails, 0 = disarmed; written by arm, disarm     */
    _Atomic uint64_t times; /* how many fail in a row; written by arm while nth is 0           */
    _Atomic int err;        /* positive error number; written by arm while nth is 0            */
    _Atomic uint64_t calls; /* calls since armed; counted by every check                       */
    _Atomic uint64_t hits;  /* calls that failed since armed; counted by every check           */
};

struct tc_fault_switch tc__fault_switch;

static struct fault_point points[TC_SYS_CALL_COUNT];

#define FAULT_NAME(constant, name) [constant] = name,
static const char *const names[TC_SYS_CALL_COUNT] = {TC_SYS_CALL_LIST(FAULT_NAME)};
#undef FAULT_NAME

int tc__fault_check_slow(enum tc_sys_call call)
{
    struct fault_point *point = &points[call];
    /* acquire [fault-armed]: sees times, err and the zeroed counts that belong to this nth. */
    uint64_t nth = tc_load_acquire(&point->nth);
    uint64_t calls;

    if (nth == 0) {
        return 0;
    }
    /* relaxed: the counter only has to give every call a number of its own (F1). */
    calls = tc_fetch_add_relaxed(&point->calls, 1) + 1;
    /* relaxed: constant since the acquire above. */
    if (calls < nth || calls - nth >= tc_load_relaxed(&point->times)) {
        return 0;
    }
    /* relaxed: a statistic. */
    (void)tc_fetch_add_relaxed(&point->hits, 1);
    /* relaxed: constant since the acquire above. */
    return -tc_load_relaxed(&point->err);
}

void tc_fault_arm(enum tc_sys_call call, uint64_t nth, int err, uint64_t times)
{
    struct fault_point *point = &points[call];

    tc_assert(nth > 0 && err > 0 && times > 0);
    if (err == EINTR && times > TC_FAULT_MAX_EINTR) {
        times = TC_FAULT_MAX_EINTR;
    }
    /* relaxed, all: nobody looks at these before the release below; a check that is still
     * under way for an older arming may be counted to this one, which a test cannot tell
     * apart. */
    tc_store_relaxed(&point->nth, 0);
    tc_store_relaxed(&point->times, times);
    tc_store_relaxed(&point->err, err);
    tc_store_relaxed(&point->calls, 0);
    tc_store_relaxed(&point->hits, 0);
    /* release [fault-armed]: publishes the four fields above to a check that sees this nth. */
    tc_store_release(&point->nth, nth);
    /* relaxed: a hint; a check that misses it comes before the arming. */
    tc_store_relaxed(&tc__fault_switch.is_armed, true);
}

void tc_fault_disarm_all(void)
{
    /* relaxed, all: a check that misses this comes before the disarming. */
    tc_store_relaxed(&tc__fault_switch.is_armed, false);
    for (size_t i = 0; i < TC_ARRAY_LEN(points); i++) {
        tc_store_relaxed(&points[i].nth, 0);
    }
}

uint64_t tc_fault_hits(enum tc_sys_call call)
{
    /* relaxed: a statistic. */
    return tc_load_relaxed(&points[call].hits);
}

int tc_fault_lookup(const char *name)
{
    for (size_t i = 0; i < TC_ARRAY_LEN(names); i++) {
        if (strcmp(names[i], name) == 0) {
            return (int)i;
        }
    }
    return -ENOENT;
}

const char *tc_fault_name(int call)
{
    return call >= 0 && call < TC_SYS_CALL_COUNT ? names[call] : NULL;
}
