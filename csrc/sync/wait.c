#include "sync/wait.h"

#include "base/assert.h"
#include "sched/runtime_internal.h"
#include "sched/thread.h"
#include "sched/worker.h"

int tc__park(const struct tc_park *park)
{
    struct tc_worker *worker = tc_worker_current();

    if (tc_unlikely(worker == NULL)) {
        return tc_thread_park(park);
    }
    tc_assert_debug(worker->current != NULL); /* a message or a callback must not wait */
    return tc_fiber_park(park);
}

static bool commit_wait(struct tc_waiter *waiter, uint64_t seq, void *arg)
{
    struct tc__wait *wait = arg;

    if (tc_unlikely(wait->at_front)) {
        tc_waitq_push_front(wait->queue, wait->node, &waiter->word, seq);
    } else {
        tc_waitq_push(wait->queue, wait->node, &waiter->word, seq);
    }
    wait->published = true;
    tc_lock_release(wait->lock);
    return true;
}

int tc__wait_in(struct tc__wait *wait)
{
    struct tc_park park = {
        .reason = wait->reason,
        .object = wait->object,
        .deadline_ns = wait->deadline_ns,
        .commit = commit_wait,
        .arg = wait,
        .locks = 1,
    };

    wait->published = false;
    int rc = tc__park(&park);
    if (tc_likely(rc == 0)) {
        return 0;
    }
    if (wait->published) {
        tc_lock_acquire(wait->lock);
        tc_waitq_remove(wait->node);
    }
    return rc;
}

void tc__wait_start(struct tc_lock *lock, struct tc_waitq *queue, struct tc_wait_node *node,
                    struct tc_waiter *waiter)
{
    uint64_t seq = tc_waiter_core_begin(&waiter->word);

    tc_assert_debug(waiter->kind == TC_WAITER_CALLBACK);
    tc_waiter_core_arm(&waiter->word, seq);
    tc_waitq_push(queue, node, &waiter->word, seq);
    tc_lock_release(lock);
}

bool tc__wait_withdraw(struct tc_lock *lock, struct tc_wait_node *node)
{
    /* Whoever claims under the lock says so in `done`: if the claim fails and the node is not done,
     * a source of the caller's own has ended the wait. */
    bool is_ours = tc_waiter_core_claim(node->word, node->seq);

    tc_lock_acquire(lock);
    if (node->done) {
        tc_assert(!is_ours);
        tc_lock_release(lock);
        return false;
    }
    tc_waitq_remove(node);
    return true;
}

void tc__wait_ready(struct tc_wait_node *node)
{
    tc_ready(tc__wait_waiter(node), 0);
}

void tc__wait_ready_all(struct tc_wait_node *list)
{
    if (list == NULL) {
        return;
    }
    if (list->next == NULL) {
        tc__wait_ready(list);
        return;
    }
    struct tc_worker *worker = tc_worker_current();
    while (list != NULL) {
        struct tc_wait_node *node = list;
        list = list->next; /* the node is gone once its owner is readied */
        tc_ready_behind(worker, tc__wait_waiter(node), 0);
    }
    if (worker != NULL) {
        tc_worker_delivered(worker);
    }
}
