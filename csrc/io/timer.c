#include "io/timer.h"

#include <errno.h>

#include "base/assert.h"
#include "sched/worker.h"

/* Rebuild when more than a quarter of the heap, and more than these many nodes, are stale. */
enum { STALE_MIN = TC_TEST_SMALL ? 4 : 64 };

void tc_timers_init(struct tc_timers *timers, struct tc_slab *nodes)
{
    tc_heap_init(&timers->heap);
    tc_slab_cache_init(&timers->cache, nodes);
    tc_atomic_init(&timers->stale, 0);
    tc_atomic_init(&timers->fired, 0);
    tc_atomic_init(&timers->length, 0);
}

static struct tc_timer *timer_of(struct tc_heap_node *node)
{
    return tc_container_of(node, struct tc_timer, node);
}

static void note_length(struct tc_timers *timers)
{
    tc_store_relaxed(&timers->length, timers->heap.len); /* relaxed: for the census */
}

/* Take a node that is out of the heap out of its wait and give it back. */
static void retire(struct tc_timers *timers, struct tc_timer *timer)
{
    timer->waiter = NULL;
    tc_store_relaxed(&timer->queued_in, NULL); /* relaxed: cancel compares the sequence */
    tc_slab_cache_free(&timers->cache, timer);
}

void tc_timers_fini(struct tc_timers *timers)
{
    struct tc_heap_node *node;

    while ((node = tc_heap_min(&timers->heap)) != NULL) {
        struct tc_timer *timer = timer_of(node);
        tc_heap_remove(&timers->heap, node);
        /* The next even number: the node outlives this heap, and so may handles of this arm.
         * relaxed: nobody else is left */
        tc_store_relaxed(&timer->sequence, (tc_load_relaxed(&timer->sequence) | 1) + 1);
        retire(timers, timer);
    }
    tc_heap_fini(&timers->heap);
    tc_slab_cache_fini(&timers->cache);
}

int tc_timers_arm(struct tc_timers *timers, struct tc_waiter *waiter, uint64_t seq, int64_t when_ns,
                  struct tc_deadline *out)
{
    struct tc_timer *timer = tc_slab_cache_alloc(&timers->cache);

    if (timer == NULL) {
        return -ENOMEM;
    }
    timer->waiter = waiter;
    timer->wait_seq = seq;
    if (tc_heap_push(&timers->heap, when_ns, &timer->node) != 0) {
        tc_slab_cache_free(&timers->cache, timer);
        return -ENOMEM;
    }
    /* relaxed, both: the handle reaches other threads through the waiter's own publication */
    tc_store_relaxed(&timer->queued_in, timers);
    out->seq = tc_load_relaxed(&timer->sequence);
    out->timer = timer;
    note_length(timers);
    return 0;
}

/* The one step that ends an arm: by the owner, to an even sequence, or by a canceller on another
 * thread, to an odd one, which marks the node stale. True to exactly one of them (T3). */
static bool end_arm(struct tc_timer *timer, uint64_t seq, uint64_t step)
{
    /* release [timer-stale]: a canceller has read the node before the owner may use it again */
    return tc_cas_release(&timer->sequence, &seq, seq + step);
}

void tc_timers_cancel(struct tc_timers *mine, struct tc_deadline *deadline)
{
    struct tc_timer *timer = deadline->timer;
    /* relaxed: should the node have been popped and armed again, its sequence has moved on */
    struct tc_timers *home = tc_load_relaxed(&timer->queued_in);

    deadline->timer = NULL;
    if (home == mine && mine != NULL) {
        if (end_arm(timer, deadline->seq, 2)) {
            tc_heap_remove(&mine->heap, &timer->node);
            retire(mine, timer);
            note_length(mine);
        }
    } else if (end_arm(timer, deadline->seq, 1)) {
        tc_fetch_add_relaxed(&home->stale, 1); /* relaxed: a count that prompts a clean-up */
    }
}

/* A node of the heap that a canceller has left behind. Owner only. */
static bool is_stale(struct tc_timer *timer)
{
    return (tc_load_acquire(&timer->sequence) & 1) != 0; /* acquire [timer-stale]: see end_arm */
}

/* Take a stale node off the heap. */
static void drop_stale(struct tc_timers *timers, struct tc_timer *timer)
{
    tc_heap_remove(&timers->heap, &timer->node);
    /* relaxed: the canceller is done with the node; arms use even numbers */
    tc_store_relaxed(&timer->sequence, tc_load_relaxed(&timer->sequence) + 1);
    note_length(timers);
    /* release [timer-count]: who counts one stale node less counts one node less. May precede its
     * own increment. */
    tc_fetch_sub_release(&timers->stale, 1);
    retire(timers, timer);
}

/* Drop stale nodes wherever they are. A removal may move an unvisited node behind the walk; such a
 * one waits for the next time. */
static void sweep(struct tc_timers *timers)
{
    for (uint32_t i = timers->heap.len; i-- > 0;) {
        if (i < timers->heap.len) {
            struct tc_timer *timer = timer_of(timers->heap.entries[i].node);
            if (is_stale(timer)) {
                drop_stale(timers, timer);
            }
        }
    }
}

int64_t tc_timers_next(struct tc_timers *timers)
{
    struct tc_heap_node *node = tc_heap_min(&timers->heap);

    if (node == NULL) {
        return TC_NEVER;
    }
    int32_t stale = tc_load_relaxed(&timers->stale); /* relaxed: a count */
    if (tc_likely(stale <= 0)) {
        return tc_heap_min_key(&timers->heap);
    }
    if (stale > STALE_MIN && (uint32_t)stale > timers->heap.len / 4) {
        sweep(timers);
    }
    while ((node = tc_heap_min(&timers->heap)) != NULL && is_stale(timer_of(node))) {
        drop_stale(timers, timer_of(node));
    }
    note_length(timers);
    return tc_heap_min_key(&timers->heap);
}

int tc_timers_expire(struct tc_timers *timers, struct tc_worker *worker, int64_t now_ns)
{
    int fired = 0;

    while (tc_timers_next(timers) <= now_ns) {
        struct tc_timer *timer = timer_of(tc_heap_min(&timers->heap));
        struct tc_waiter *waiter = timer->waiter;
        uint64_t wait_seq = timer->wait_seq;
        /* relaxed: only a canceller's step can come between, and end_arm sees it */
        if (!end_arm(timer, tc_load_relaxed(&timer->sequence) & ~(uint64_t)1, 2)) {
            /* Cancelled this moment. Dropped here, since the canceller may not have counted it yet,
             * and tc_timers_next() goes by the count. */
            tc_assert_debug(is_stale(timer));
            drop_stale(timers, timer);
            continue;
        }
        tc_heap_remove(&timers->heap, &timer->node);
        retire(timers, timer);
        if (tc_waiter_claim(waiter, wait_seq)) {
            tc_ready_from(worker, waiter, -ETIMEDOUT);
            fired++;
        }
    }
    note_length(timers);
    /* relaxed: single writer */
    tc_store_relaxed(&timers->fired, tc_load_relaxed(&timers->fired) + (uint64_t)fired);
    return fired;
}
