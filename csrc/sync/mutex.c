#include "sync/mutex.h"

#include "base/assert.h"
#include "base/clock.h"
#include "sched/worker.h"
#include "sync/wait.h"

void tc_mutex_init(struct tc_mutex *mutex)
{
    tc_mutex_core_init(&mutex->word);
    tc_lock_init(&mutex->lock, TC_RANK_CHAN);
    tc_waitq_init(&mutex->waiters);
}

/* Patience is not measured closely: the turn's clock does for fibers. */
static int64_t now_roughly(void)
{
    struct tc_worker *worker = tc_worker_current();

    return worker != NULL ? tc_worker_now(worker) : tc_clock_now_ns();
}

/* The queue has lost a waiter that nobody woke. Enters locked, returns unlocked. */
static void leave_queue(struct tc_mutex *mutex)
{
    if (tc_waitq_is_empty(&mutex->waiters)) {
        tc_mutex_core_leave(&mutex->word);
    }
    tc_lock_release(&mutex->lock);
}

int tc__mutex_acquire_slow(struct tc_mutex *mutex, int64_t deadline_ns)
{
    struct tc_wait_node node;
    struct tc__wait wait = {
        .lock = &mutex->lock,
        .queue = &mutex->waiters,
        .node = &node,
        .object = mutex,
        .deadline_ns = deadline_ns,
        .reason = TC_WAIT_MUTEX,
        .at_front = false,
    };

    node.since_ns = now_roughly();
    for (;;) {
        uint32_t starving = 0;
        if (wait.at_front && now_roughly() - node.since_ns >= TC_MUTEX_PATIENCE_NS) {
            starving = TC_MUTEX_STARVING;
        }
        tc_lock_acquire(&mutex->lock);
        if (tc_mutex_core_announce(&mutex->word, starving, wait.at_front ? TC_MUTEX_WOKEN : 0)) {
            tc_lock_release(&mutex->lock);
            return 0;
        }
        int rc = tc__wait_in(&wait);
        if (rc != 0) {
            leave_queue(mutex);
            return rc;
        }
        if (node.result == TC_MUTEX_OVER) {
            return 0;
        }
        wait.at_front = true; /* woken, not yet beaten */
    }
}

void tc__mutex_release_slow(struct tc_mutex *mutex)
{
    do {
        tc_lock_acquire(&mutex->lock);
        struct tc_wait_node *node = tc_waitq_take(&mutex->waiters);
        if (node != NULL) {
            bool cannot_try = tc__wait_waiter(node)->kind == TC_WAITER_CALLBACK;
            enum tc_mutex_pass how = cannot_try || tc_mutex_core_is_starving(&mutex->word)
                                         ? TC_MUTEX_OVER
                                         : TC_MUTEX_FREE;
            node->result = how;
            tc_mutex_core_pass_on(&mutex->word, how, tc_waitq_is_empty(&mutex->waiters));
            tc_lock_release(&mutex->lock);
            tc__wait_ready(node);
            return;
        }
        /* All have left. To free the mutex here would let somebody destroy it under our feet
         * (M2). */
        leave_queue(mutex);
    } while (!tc_mutex_core_release(&mutex->word));
}

/* ---- callback waiters ---------------------------------------------------------------------- */

int tc_mutex_start(struct tc_mutex *mutex, struct tc_wait_node *node, struct tc_waiter *waiter)
{
    tc_lock_acquire(&mutex->lock);
    if (tc_mutex_core_announce(&mutex->word, 0, 0)) {
        tc_lock_release(&mutex->lock);
        return 0;
    }
    tc__wait_start(&mutex->lock, &mutex->waiters, node, waiter);
    return -EINPROGRESS;
}

bool tc_mutex_withdraw(struct tc_mutex *mutex, struct tc_wait_node *node)
{
    if (!tc__wait_withdraw(&mutex->lock, node)) {
        return false;
    }
    leave_queue(mutex);
    return true;
}
