/* base/injectq.h — the shared queue of work without a home: a lock, a FIFO and its length.
 *
 * It is touched when a plain thread submits work and once per turn of a worker, so a short lock is
 * cheaper than anything cleverer; what must be cheap is to find it empty. `length` is written under
 * the lock and read without it: the common "nothing there" costs one load.
 *
 * A worker that goes to sleep reads the length once more after its seq_cst fence; a submitter puts
 * its own fence between the push and its look at the idle workers. Both are in the scheduler.
 *
 * INVARIANTS
 *   IQ1  Outside the lock, length == fifo.count.
 *   IQ2  A link is in the queue from its push until the pop that returns it; order is FIFO.
 *
 *   push, push_batch, pop, pop_batch and len are safe together from any thread.
 */
#ifndef TC_BASE_INJECTQ_H
#define TC_BASE_INJECTQ_H

#include "base/atomic.h"
#include "base/defs.h"
#include "base/list.h"
#include "base/lock.h"

struct tc_injectq {
    struct tc_lock lock;   /* rank TC_RANK_INJECT; guards fifo and the writes of length         */
    struct tc_fifo fifo;   /* under lock                                                        */
    _Atomic size_t length; /* written under lock; read anywhere as a hint                       */
};

/* Start empty. Parks: never   Threads: before the queue is shared */
void tc_injectq_init(struct tc_injectq *queue);

/* Add one link as the newest. Parks: never   Threads: any   Owns: the link moves to the queue. */
void tc_injectq_push(struct tc_injectq *queue, struct tc_link *link);

/* Add all links of `batch`, in order; `batch` is left empty.
 * Parks: never   Threads: any   Owns: the links move to the queue. */
void tc_injectq_push_batch(struct tc_injectq *queue, struct tc_fifo *batch);

/* Out-of-line tails of the two calls below, for a queue that does not look empty. */
struct tc_link *tc__injectq_pop_slow(struct tc_injectq *queue);
size_t tc__injectq_pop_batch_slow(struct tc_injectq *queue, struct tc_fifo *out, size_t max);

/* A hint. Threads: any. */
static inline size_t tc_injectq_len(struct tc_injectq *queue)
{
    return tc_load_relaxed(&queue->length); /* relaxed: hint, re-checked under the lock */
}

/* Remove the oldest link. Cost: one load if empty, else the lock.
 * Parks: never   Threads: any   Owns: the link moves to the caller
 * Returns NULL if the queue is empty. */
static inline struct tc_link *tc_injectq_pop(struct tc_injectq *queue)
{
    return tc_injectq_len(queue) == 0 ? NULL : tc__injectq_pop_slow(queue);
}

/* Move up to `max` of the oldest links to the end of `out`. Cost: as pop.
 * Parks: never   Threads: any   Owns: the links move to `out`
 * Returns how many. */
static inline size_t tc_injectq_pop_batch(struct tc_injectq *queue, struct tc_fifo *out, size_t max)
{
    return tc_injectq_len(queue) == 0 ? 0 : tc__injectq_pop_batch_slow(queue, out, max);
}

#endif
