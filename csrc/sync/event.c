#include "sync/event.h"

#include "sync/wait.h"

void tc_event_init(struct tc_event *event)
{
    tc_lock_init(&event->lock, TC_RANK_CHAN);
    tc_atomic_init(&event->flag, 0);
    tc_waitq_init(&event->waiters);
}

void tc_event_set(struct tc_event *event)
{
    struct tc_wait_node *list = NULL;

    tc_lock_acquire(&event->lock);
    tc_store_release(&event->flag, 1); /* release [event-set]: with who reads it without the lock */
    tc_waitq_take_all(&event->waiters, 0, &list);
    tc_lock_release(&event->lock);
    tc__wait_ready_all(list);
}

void tc_event_clear(struct tc_event *event)
{
    tc_lock_acquire(&event->lock);
    tc_store_relaxed(&event->flag, 0); /* relaxed: nothing is published by it */
    tc_lock_release(&event->lock);
}

int tc_event_wait(struct tc_event *event, int64_t deadline_ns)
{
    struct tc_wait_node node;
    struct tc__wait wait = {
        .lock = &event->lock,
        .queue = &event->waiters,
        .node = &node,
        .object = event,
        .deadline_ns = deadline_ns,
        .reason = TC_WAIT_EVENT,
        .at_front = false,
    };
    int rc = 0;

    /* The lock also when the flag is set: whoever set it has then left it, and the event may be
     * destroyed (E3). */
    tc_lock_acquire(&event->lock);
    if (!tc_event_is_set(event)) {
        rc = tc__wait_in(&wait);
        if (rc == 0) {
            return 0;
        }
    }
    tc_lock_release(&event->lock);
    return rc;
}

/* ---- callback waiters ---------------------------------------------------------------------- */

int tc_event_start(struct tc_event *event, struct tc_wait_node *node, struct tc_waiter *waiter)
{
    tc_lock_acquire(&event->lock);
    if (tc_event_is_set(event)) {
        tc_lock_release(&event->lock);
        return 0;
    }
    tc__wait_start(&event->lock, &event->waiters, node, waiter);
    return -EINPROGRESS;
}

bool tc_event_withdraw(struct tc_event *event, struct tc_wait_node *node)
{
    if (!tc__wait_withdraw(&event->lock, node)) {
        return false;
    }
    tc_lock_release(&event->lock);
    return true;
}
