/* io/poller.h — the kernel's readiness queue, one per worker: what every back end supplies.
 *
 * An event says only "look at this slot": reads may have become possible, writes may have, the peer
 * may have hung up. A back end that must be told again after each event (poll(2), a completion
 * queue) does so in tc_poller_arm(), which is empty for epoll, whose registrations stand until the
 * descriptor goes.
 *
 *          wait, arm   add, modify, remove   wake   -  safe together
 *   wait   o(1)        -                     -      o  any one thread at a time per event buffer:
 *   wake   -           -                     -         the owner, or the sentinel with its own
 */
#ifndef TC_IO_POLLER_H
#define TC_IO_POLLER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"

struct tc_poller {
    int queue_fd; /* epoll instance                                                            */
    int wake_fd; /* eventfd, edge-triggered, never read: each write is one more edge            */
};

enum tc_poller_event_bits {
    TC_POLLER_READ = 1,
    TC_POLLER_WRITE = 2,
    TC_POLLER_HANGUP = 4, /* the peer closed its writing side, or the connection is broken      */
};

/* What is reported: the tag that was registered, and bits. The tag of a wake-up is 0. */
struct tc_poller_event {
    uint64_t tag;
    uint32_t bits;
};

enum { TC_POLLER_BATCH = 128 }; /* events per wait                                              */

/* Returns 0 or -errno; on failure nothing is left open. */
TC_NODISCARD int tc_poller_open(struct tc_poller *poller);
void tc_poller_close(struct tc_poller *poller);

/* Register `fd` with a tag that is not 0: both directions edge-triggered, or reading only and
 * level-triggered. An event may be reported before this returns.
 * Parks: never   Threads: any   Returns 0, -ENOMEM, -ENOSPC, -EPERM. */
TC_NODISCARD int tc_poller_add(struct tc_poller *poller, int fd, uint64_t tag, bool level);

/* Switch a level-triggered registration off or on. */
TC_NODISCARD int tc_poller_enable(struct tc_poller *poller, int fd, uint64_t tag, bool enabled);

/* Register `fd` level-triggered for the directions in `bits` (READ, WRITE, both), or change that of
 * one that is registered so; `is_new` is the caller's guess which of the two is needed, a wrong one
 * costs a second call.
 * Parks: never   Threads: any   Returns 0, -ENOMEM, -ENOSPC, -EPERM, -EBADF. */
TC_NODISCARD int tc_poller_watch(struct tc_poller *poller, int fd, uint64_t tag, uint32_t bits,
                                 bool is_new);

/* Deregister before the descriptor is closed. Cannot usefully fail. */
void tc_poller_remove(struct tc_poller *poller, int fd);

/* Wait for events, at most timeout_ns (0: look, TC_NEVER: no limit; rounded up, never early).
 * Returns the number of events, 0 also for EINTR and for errors, which the next call meets
 * again. */
int tc_poller_wait(struct tc_poller *poller, struct tc_poller_event *events, int64_t timeout_ns);

/* End the present or next wait. Threads: any */
void tc_poller_wake(struct tc_poller *poller);

#endif
