#include "sync/semaphore.h"

#include "base/assert.h"
#include "sync/wait.h"

void tc_semaphore_init(struct tc_semaphore *semaphore, uint64_t permits)
{
    tc_lock_init(&semaphore->lock, TC_RANK_CHAN);
    semaphore->permits = permits;
    tc_waitq_init(&semaphore->waiters);
}

/* Take a free permit; false keeps the lock. */
static bool take_permit(struct tc_semaphore *semaphore)
{
    tc_lock_acquire(&semaphore->lock);
    if (semaphore->permits == 0) {
        return false;
    }
    semaphore->permits--;
    tc_lock_release(&semaphore->lock);
    return true;
}

int tc_semaphore_acquire(struct tc_semaphore *semaphore, int64_t deadline_ns)
{
    struct tc_wait_node node;
    struct tc__wait wait = {
        .lock = &semaphore->lock,
        .queue = &semaphore->waiters,
        .node = &node,
        .object = semaphore,
        .deadline_ns = deadline_ns,
        .reason = TC_WAIT_SEMAPHORE,
        .at_front = false,
    };

    if (take_permit(semaphore)) {
        return 0;
    }
    int rc = tc__wait_in(&wait);
    if (rc != 0) {
        tc_lock_release(&semaphore->lock);
    }
    return rc;
}

bool tc_semaphore_try_acquire(struct tc_semaphore *semaphore)
{
    if (take_permit(semaphore)) {
        return true;
    }
    tc_lock_release(&semaphore->lock);
    return false;
}

void tc_semaphore_release(struct tc_semaphore *semaphore, uint64_t count)
{
    struct tc_wait_node *list = NULL;
    struct tc_wait_node **last = &list;
    struct tc_wait_node *node;

    tc_lock_acquire(&semaphore->lock);
    while (count > 0 && (node = tc_waitq_take(&semaphore->waiters)) != NULL) {
        node->result = 0;
        node->next = NULL;
        *last = node;
        last = &node->next;
        count--;
    }
    tc_assert(semaphore->permits <= UINT64_MAX - count);
    semaphore->permits += count;
    tc_lock_release(&semaphore->lock);
    tc__wait_ready_all(list);
}

uint64_t tc_semaphore_permits(struct tc_semaphore *semaphore)
{
    tc_lock_acquire(&semaphore->lock);
    uint64_t permits = semaphore->permits;
    tc_lock_release(&semaphore->lock);
    return permits;
}

/* ---- callback waiters ---------------------------------------------------------------------- */

int tc_semaphore_start(struct tc_semaphore *semaphore, struct tc_wait_node *node,
                       struct tc_waiter *waiter)
{
    if (take_permit(semaphore)) {
        return 0;
    }
    tc__wait_start(&semaphore->lock, &semaphore->waiters, node, waiter);
    return -EINPROGRESS;
}

bool tc_semaphore_withdraw(struct tc_semaphore *semaphore, struct tc_wait_node *node)
{
    if (!tc__wait_withdraw(&semaphore->lock, node)) {
        return false;
    }
    tc_lock_release(&semaphore->lock);
    return true;
}
