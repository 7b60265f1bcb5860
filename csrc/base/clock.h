/* base/clock.h — monotonic time in nanoseconds, and the date.
 *
 * All deadlines of the library are absolute values of this clock (CLOCK_MONOTONIC: it does
 * not jump when the date is set and stands still while the machine is suspended).
 */
#ifndef TC_BASE_CLOCK_H
#define TC_BASE_CLOCK_H

#include "base/defs.h"

/* Returns the current time; some 20 ns, no system call where the vDSO serves it.
 * Parks: never   Threads: any. */
int64_t tc_clock_now_ns(void);

/* Returns the deadline `delay_ns` from now; a sum that does not fit is TC_NEVER, a delay of
 * 0 or less is a deadline that has passed.   Parks: never   Threads: any. */
int64_t tc_deadline_after_ns(int64_t delay_ns);

/* Returns base_ns + delay_ns, kept between INT64_MIN and TC_NEVER.
 * Parks: never   Threads: any. */
int64_t tc_deadline_add_ns(int64_t base_ns, int64_t delay_ns);

/* Seconds since 1970 by the system's clock, which may jump; at most a few milliseconds late.
 * Parks: never   Threads: any */
int64_t tc_clock_wall_seconds(void);

/* Nanoseconds since 1970 by the same clock, not late. Parks: never   Threads: any */
int64_t tc_clock_wall_ns(void);

#endif
