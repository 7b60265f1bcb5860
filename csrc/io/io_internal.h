/* io/io_internal.h — a worker's struct tc_io, for the files of io alone. */
#ifndef TC_IO_IO_INTERNAL_H
#define TC_IO_IO_INTERNAL_H

#include "base/slab.h"
#include "io/io.h"
#include "io/poller.h"
#include "io/pollfd.h"
#include "io/timer.h"
#include "sched/worker.h"

enum {
    TC_IO_KEPT_BYTES = 64 * 1024, /* of the scratch, for what is put off */
    TC_IO_LATER_MAX = 64, /* events of a batch of which something is put off */
    TC_IO_LATER_BYTES = 4096, /* at most, of one that is put off */
};

/* One call of tc_io_put_off. */
struct tc_io_later {
    tc_io_later_fn *run;
    void *arg;
    unsigned char *kept;
    size_t bytes;
};

struct tc_io {
    struct tc_poller poller;
    struct tc_timers timers;
    unsigned char *scratch;          /* owner's thread; mapped at first use                     */
    size_t kept;                     /* bytes of it that belong to `later`; owner's thread      */
    uint32_t undelivered;            /* events that what is put off would wait for              */
    uint32_t later_count;
    struct tc_io_later later[TC_IO_LATER_MAX]; /* owner's thread                                 */
    struct tc_poller_event events[TC_POLLER_BATCH]; /* owner's thread                           */
    _Atomic uint32_t descriptors; /* registered here; any thread                             */
    int tick_fd; /* a timer, registered as TC_IO_TAG_TICK; -1: none         */
    _Atomic bool is_ticking; /* it is armed; owner, or who has polled in his place      */
};

#define TC_IO_TAG_TICK 1 /* no slot's: those hold an address, and are above; a wake-up's is 0 */

static inline struct tc_io *tc__io_of(struct tc_worker *worker)
{
    return worker->io;
}

/* The process's descriptor slots and timer nodes: type-stable, shared by all runtimes. */
struct tc_slab *tc__io_slots(void);
struct tc_slab *tc__io_timer_nodes(void);

/* Begin to load the slot that `tag` names: a thousand connections do not fit the nearest cache. */
void tc__pollfd_prefetch(uint64_t tag);

/* Deliver one event to the slot that `tag` names, on `worker`. Returns 1 if it was delivered, 0 if
 * the slot has been closed since. */
int tc__pollfd_deliver(struct tc_worker *worker, uint64_t tag, uint32_t bits);

#endif
