/* sched/waiter.h — the one arbiter through which every wait ends.
 *
 * Whatever waits (a fiber, a plain thread, a connection at rest, later a Python operation) is
 * represented by one small struct; whoever ends the wait (readiness, timer, cancel, close, a
 * hand-off) is a *source*. Several sources may hold the same waiter at once. The first one whose
 * compare-and-swap moves the waiter's word from ARMED to CLAIMED, for exactly the sequence number
 * that it was given, owns the wake-up and calls tc_ready() once. All others find the word changed
 * and do nothing. The word's protocol is in waiter_core.h.
 *
 * INVARIANTS
 *  W1  A waiter is type-stable memory: it is embedded in a fiber, a connection or a slab object,
 *      never on a stack, so a late source may always read its word. (A thread's lives as long as
 *      the thread: H2 in sched/thread.h.)
 *  W2  tc_ready() is called exactly once per claim, by the claimer.
 *  W3  `result` is written by the claimer between claim and tc_ready(), read by the waiter's owner
 *      after it was resumed; tc_ready() orders the two.
 *  W4  The sequence grows by one with every wait and is never reset.
 *
 *                    claim   ready              -  safe together
 *   claim              -       -
 *   ready              -       X  (W2)          X  cannot happen by W2
 */
#ifndef TC_SCHED_WAITER_H
#define TC_SCHED_WAITER_H

#include <stdint.h>

#include "base/defs.h"
#include "base/parker.h"
#include "sched/waiter_core.h"

struct tc_worker;

enum tc_waiter_kind {
    TC_WAITER_FIBER,    /* embedded in a struct tc_fiber; made runnable                        */
    TC_WAITER_THREAD,   /* embedded in a struct tc_thread_waiter; its parker is unparked        */
    TC_WAITER_CALLBACK, /* calls `callback` in the claiming thread, which must not be a fiber
                         * in the middle of a park; the callback never parks                    */
};

struct tc_waiter {
    struct tc_waiter_word word; /* sources: claim; owner: begin and arm                        */
    int32_t result;             /* claimer writes (W3)                                         */
    uint8_t kind;               /* enum tc_waiter_kind; set once, at construction              */
    void (*callback)(struct tc_waiter *waiter, struct tc_worker *worker); /* CALLBACK kind only;
                                 * worker is the calling worker, NULL on other threads         */
};

/* A plain thread's waiter: one per thread, see sched/thread.h. */
struct tc_thread_waiter {
    struct tc_waiter waiter;
    struct tc_parker parker;
};

/* Try to become the one source that ends wait number `seq` of `waiter`.
 * Parks: never   Threads: any   Returns true to exactly one caller per wait. */
TC_NODISCARD static inline bool tc_waiter_claim(struct tc_waiter *waiter, uint64_t seq)
{
    return tc_waiter_core_claim(&waiter->word, seq);
}

/* Deliver a claimed wake-up: a fiber becomes runnable, a thread is unparked, a callback is called.
 * A fiber woken by a worker lands in that worker's `next` slot (sched/worker.h); woken by another
 * thread it goes to the inject queue.
 * Parks: never   Threads: any   Owns: the claim is spent. */
void tc_ready(struct tc_waiter *waiter, int result);

/* The same for a caller that already knows its worker (NULL: not a worker thread). */
void tc_ready_from(struct tc_worker *worker, struct tc_waiter *waiter, int result);

/* The same for one of many: a fiber of this worker's runtime queues behind the others, and no
 * worker is woken for it. After the last of them the caller calls tc_worker_delivered(). */
void tc_ready_behind(struct tc_worker *worker, struct tc_waiter *waiter, int result);

#endif
