#include "base/injectq.h"

/* Copy the count to where it can be read without the lock (IQ1). */
static void publish_length_locked(struct tc_injectq *queue)
{
    tc_store_relaxed(&queue->length, queue->fifo.count); /* relaxed: hint, lock orders the rest */
}

void tc_injectq_init(struct tc_injectq *queue)
{
    tc_lock_init(&queue->lock, TC_RANK_INJECT);
    tc_fifo_init(&queue->fifo);
    tc_atomic_init(&queue->length, 0);
}

void tc_injectq_push(struct tc_injectq *queue, struct tc_link *link)
{
    tc_lock_acquire(&queue->lock);
    tc_fifo_push(&queue->fifo, link);
    publish_length_locked(queue);
    tc_lock_release(&queue->lock);
}

void tc_injectq_push_batch(struct tc_injectq *queue, struct tc_fifo *batch)
{
    tc_lock_acquire(&queue->lock);
    tc_fifo_append(&queue->fifo, batch);
    publish_length_locked(queue);
    tc_lock_release(&queue->lock);
}

struct tc_link *tc__injectq_pop_slow(struct tc_injectq *queue)
{
    struct tc_link *link;

    tc_lock_acquire(&queue->lock);
    link = tc_fifo_pop(&queue->fifo);
    publish_length_locked(queue);
    tc_lock_release(&queue->lock);
    return link;
}

size_t tc__injectq_pop_batch_slow(struct tc_injectq *queue, struct tc_fifo *out, size_t max)
{
    size_t count = 0;

    tc_lock_acquire(&queue->lock);
    while (count < max && !tc_fifo_is_empty(&queue->fifo)) {
        tc_fifo_push(out, tc_fifo_pop(&queue->fifo));
        count++;
    }
    publish_length_locked(queue);
    tc_lock_release(&queue->lock);
    return count;
}
