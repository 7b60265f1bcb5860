/* io/pollfd.h — one descriptor's readiness, shared by whoever waits for it and whoever polls it.
 *
 * A descriptor is registered once, for both directions, edge-triggered, with the poller of its home
 * worker. Its slot holds one readiness word per direction (sched/readiness_core.h): a system call
 * is tried only while the word is READY, and the word is taken to IDLE before the call, so an edge
 * that arrives during the call is kept. After a transfer of full length the user tries again (and
 * remembers so himself, or puts READY back); after a short one or EAGAIN he does not, because the
 * next edge will come. Hang-ups and errors latch READY until a read
 * has returned 0 or an error. So a request costs one recv and one send.
 *
 * Slots are type-stable and carry a generation that travels in the poller's event, so an event of
 * a descriptor that was closed meanwhile is recognised and dropped (the idea is Go's, fdseq).
 *
 * INVARIANTS
 *  P1  An edge is kept in the word until somebody consumes it; it is never spent on a waiter that
 *      another source has claimed.
 *  P2  close claims every waiter of the slot before the descriptor number is released.
 *  P3  The generation is bumped before the slot returns to the slab.
 *  P4  At most one waiter per direction.
 *
 *                 read side   write side   close   event     -  safe together
 *   read side     1           -            p       -         1  one at a time
 *   write side    -           1            p       -         p  only while the side is parked in
 *   close         p           p            1       -            tc_pollfd_wait, which close ends
 */
#ifndef TC_IO_POLLFD_H
#define TC_IO_POLLFD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/defs.h"
#include "sched/fiber.h"
#include "sched/readiness_core.h"

struct tc_io;
struct tc_worker;

enum tc_direction { TC_READ = 0, TC_WRITE = 1 };

enum tc_pollfd_flags {
    TC_POLLFD_LEVEL = 1, /* level-triggered, readable only: listeners                          */
    TC_POLLFD_REST = 2,  /* words start IDLE (an accepted connection at rest), not READY       */
};

/* One cache line: everything that an event and a request touch. */
struct tc_pollfd {
    TC_ALIGNED(64) struct tc_readiness word[2]; /* by enum tc_direction                         */
    struct tc_worker *home;        /* whose poller has it; set by open                          */
    _Atomic int fd;                /* -1 while free; written by open and close                  */
    _Atomic uint16_t generation;   /* bumped by close (P3)                                      */
    _Atomic uint8_t latched;       /* 1 after a hang-up: set by pollers, see tc_pollfd_unlatch  */
    _Atomic uint8_t users;         /* who is parked here, and whether it is closed: pollfd.c    */
};

_Static_assert(sizeof(struct tc_pollfd) == 64, "one cache line");

/* Register `fd` with `home`'s poller. The first event may be delivered, on another thread, before
 * this returns; `before` (may be NULL) runs with the finished slot just before registration, to
 * install waiters.
 * Parks: never   Threads: any   Owns: fd belongs to the slot on 0 only
 * Returns 0, -ENOMEM, -ENOSPC (epoll's watch limit), -EPERM (not pollable). */
TC_NODISCARD int tc_pollfd_open(struct tc_worker *home, int fd, uint32_t flags,
                                void (*before)(struct tc_pollfd *slot, void *arg), void *arg,
                                struct tc_pollfd **out);

/* Wake both sides with -ECANCELED, deregister and close the descriptor, free the slot.
 * Parks: never   Threads: any, see the table */
void tc_pollfd_close(struct tc_pollfd *slot);

/* Take READY: true means the system call may be tried. */
static inline bool tc_pollfd_consume(struct tc_pollfd *slot, enum tc_direction direction)
{
    return tc_readiness_consume(&slot->word[direction]);
}

/* Put READY back after a transfer that may not have been the last one. */
static inline void tc_pollfd_restore(struct tc_pollfd *slot, enum tc_direction direction)
{
    tc_readiness_restore(&slot->word[direction]);
}

/* True while a hang-up or an error is latched: the read side then keeps its word READY. */
static inline bool tc_pollfd_is_latched(struct tc_pollfd *slot)
{
    return tc_load_relaxed(&slot->latched) != 0; /* relaxed: set before the word's READY, which
                                                    orders it; a late sight costs one more park */
}

/* The read side has seen the end: a read returned 0, an error, or EAGAIN (then the hang-up was
 * another descriptor's, or its error went to a writer). */
static inline void tc_pollfd_unlatch(struct tc_pollfd *slot)
{
    tc_store_relaxed(&slot->latched, 0); /* relaxed: a hang-up that comes now brings its own edge */
}

/* Park the running fiber until `direction` is READY.
 * Returns 0; -ETIMEDOUT; -ECANCELED: cancelled, or the slot was closed and must not be touched any
 * more; -ENOMEM: no timer. */
TC_MAY_PARK TC_NODISCARD int tc_pollfd_wait(struct tc_pollfd *slot, enum tc_direction direction,
                                            int64_t deadline_ns, enum tc_wait_reason reason);

/* Leave a callback waiter in the word instead of a fiber. The caller has begun and armed it with
 * `seq`. False: READY was found, nothing is installed, the caller claims its own waiter and goes
 * on; it may be found even before the first event, since a poller that is late with an event of
 * the slot's last descriptor may leave one edge behind. True: from now on only the claimer may
 * touch what the waiter stands for.
 * Parks: never   Threads: the direction's only user */
TC_NODISCARD static inline bool tc_pollfd_rest(struct tc_pollfd *slot, enum tc_direction direction,
                                               struct tc_waiter *waiter, uint64_t seq)
{
    return tc_readiness_park(&slot->word[direction], waiter, seq);
}

/* Set the read side READY as an edge would, so that whoever waits there looks.
 * Parks: never   Threads: a worker, between fibers */
void tc_pollfd_poke(struct tc_worker *worker, struct tc_pollfd *slot);

/* Take a resting waiter out of the word again, after another source claimed it. */
static inline void tc_pollfd_withdraw(struct tc_pollfd *slot, enum tc_direction direction,
                                      struct tc_waiter *waiter)
{
    tc_readiness_withdraw(&slot->word[direction], waiter);
}

/* Switch the reporting of a level-triggered slot off or on again. Returns 0 or -errno. */
TC_NODISCARD int tc_pollfd_set_enabled(struct tc_pollfd *slot, bool enabled);

#endif
