/* base/parker.h — a plain thread sleeps on a futex until another thread unparks it.
 *
 * Protocol, argument, invariants (PK1, PK2) and state diagram are in parker_core.h. Workers and
 * loops, which sleep in their poller, use the same core with an eventfd as the wake.
 */
#ifndef TC_BASE_PARKER_H
#define TC_BASE_PARKER_H

#include "base/defs.h"
#include "base/parker_core.h"

struct tc_parker {
    struct tc_parker_core core; /* the word is the futex                                       */
};

/* Parks: never   Threads: any, before others know of the parker */
static inline void tc_parker_init(struct tc_parker *parker)
{
    tc_parker_core_init(&parker->core);
}

/* Sleep until unparked; at once if a token is there. A token that meets the deadline wins.
 * Parks: may (the thread)   Threads: the owner
 * Deadline: absolute monotonic ns, TC_NEVER to wait for ever
 * Returns 0, -ETIMEDOUT, -EINTR (a signal handler ran). */
TC_NODISCARD int tc_parker_park(struct tc_parker *parker, int64_t deadline_ns);

/* Leave a token and wake the owner if it sleeps.
 * Parks: never   Threads: any that knows that the parker outlives the call (PK2). */
void tc_parker_unpark(struct tc_parker *parker);

#endif
