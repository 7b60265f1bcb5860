#include "sync/waitgroup.h"

#include "sync/wait.h"

void tc_waitgroup_init(struct tc_waitgroup *group)
{
    tc_atomic_init(&group->word, 0);
    tc_lock_init(&group->lock, TC_RANK_CHAN);
    tc_waitq_init(&group->waiters);
}

void tc__waitgroup_done_slow(struct tc_waitgroup *group)
{
    struct tc_wait_node *list = NULL;
    uint32_t zero = TC_WAITGROUP_WAITING;

    tc_lock_acquire(&group->lock);
    /* Fails if work was added meanwhile: then its last done finds the bit. release
     * [waitgroup-count]: a continuation of what our subtraction published. */
    if (tc_cas_release(&group->word, &zero, 0)) {
        tc_waitq_take_all(&group->waiters, 0, &list);
    }
    tc_lock_release(&group->lock);
    tc__wait_ready_all(list);
}

/* True if there is nothing to wait for. The lock is held: no done is between its last two steps. */
static bool is_done_locked(struct tc_waitgroup *group)
{
    /* acquire [waitgroup-count]: sees the work. */
    uint32_t found = tc_load_acquire(&group->word);

    while (found >= TC_WAITGROUP_ONE) {
        /* acquire [waitgroup-count]: for the CAS that fails and finds 0. The bit itself goes to who
         * subtracts from the same word (G1). */
        if (tc_cas_acquire(&group->word, &found, found | TC_WAITGROUP_WAITING)) {
            return false;
        }
    }
    /* The bit without a count: its done is on its way to the lock and will wake us (G2). */
    return found == 0;
}

int tc_waitgroup_wait(struct tc_waitgroup *group, int64_t deadline_ns)
{
    struct tc_wait_node node;
    struct tc__wait wait = {
        .lock = &group->lock,
        .queue = &group->waiters,
        .node = &node,
        .object = group,
        .deadline_ns = deadline_ns,
        .reason = TC_WAIT_WAITGROUP,
        .at_front = false,
    };
    int rc = 0;

    tc_lock_acquire(&group->lock);
    if (!is_done_locked(group)) {
        rc = tc__wait_in(&wait);
        if (rc == 0) {
            return 0;
        }
    }
    tc_lock_release(&group->lock);
    return rc;
}

/* ---- callback waiters ---------------------------------------------------------------------- */

int tc_waitgroup_start(struct tc_waitgroup *group, struct tc_wait_node *node,
                       struct tc_waiter *waiter)
{
    tc_lock_acquire(&group->lock);
    if (is_done_locked(group)) {
        tc_lock_release(&group->lock);
        return 0;
    }
    tc__wait_start(&group->lock, &group->waiters, node, waiter);
    return -EINPROGRESS;
}

bool tc_waitgroup_withdraw(struct tc_waitgroup *group, struct tc_wait_node *node)
{
    if (!tc__wait_withdraw(&group->lock, node)) {
        return false;
    }
    tc_lock_release(&group->lock);
    return true;
}
