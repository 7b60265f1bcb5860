#include "sync/select.h"

#include "base/assert.h"
#include "sched/runtime_internal.h"
#include "sched/thread.h"
#include "sched/worker.h"
#include "sync/wait.h"

/* What a select needs to know of its cases. */
struct select {
    struct tc_select_case *cases;
    uint32_t count;    /* of cases                                                              */
    uint32_t active;   /* of those that are not skipped: entries of `polled` and `locked`       */
    uint32_t locks;    /* how many channels these are; set by lock_all                          */
    bool published;
};

/* ---- orders ---------------------------------------------------------------------------------- */

static uint32_t random_below(struct tc_worker *worker, uint32_t n)
{
    if (worker != NULL) {
        return tc_rand_below(&worker->rand, n);
    }
    return (uint32_t)(((tc_thread_random() >> 32) * n) >> 32);
}

static bool is_active(const struct tc_select_case *c)
{
    return c->kind != TC_SELECT_SKIP && c->channel != NULL;
}

/* Write the active cases into `polled`, shuffled while they come (S2). */
static void make_poll_order(struct select *select)
{
    struct tc_select_case *cases = select->cases;
    struct tc_worker *worker = tc_worker_current();
    uint32_t active = 0;

    for (uint32_t i = 0; i < select->count; i++) {
        if (is_active(&cases[i])) {
            uint32_t place = active == 0 ? 0 : random_below(worker, active + 1);
            cases[active].polled = cases[place].polled;
            cases[place].polled = (uint16_t)i;
            active++;
        }
    }
    select->active = active;
}

/* Write them into `locked`, by address. Insertion: a handful of cases is the rule. */
static void make_lock_order(struct select *select)
{
    struct tc_select_case *cases = select->cases;

    for (uint32_t i = 0; i < select->active; i++) {
        uint16_t index = cases[i].polled;
        uintptr_t address = (uintptr_t)cases[index].channel;
        uint32_t place = i;
        while (place > 0 && (uintptr_t)cases[cases[place - 1].locked].channel > address) {
            cases[place].locked = cases[place - 1].locked;
            place--;
        }
        cases[place].locked = index;
    }
}

/* The channel at `place` of the lock order, NULL if it is the same as the one before. */
static struct tc_channel *channel_to_lock(const struct select *select, uint32_t place)
{
    struct tc_select_case *cases = select->cases;
    struct tc_channel *channel = cases[cases[place].locked].channel;

    if (place > 0 && cases[cases[place - 1].locked].channel == channel) {
        return NULL;
    }
    return channel;
}

static void lock_all(struct select *select)
{
    select->locks = 0;
    for (uint32_t i = 0; i < select->active; i++) {
        struct tc_channel *channel = channel_to_lock(select, i);
        if (channel != NULL) {
            tc_lock_acquire_peer(&channel->lock);
            select->locks++;
        }
    }
}

static void unlock_all(const struct select *select)
{
    for (uint32_t i = select->active; i-- > 0;) {
        struct tc_channel *channel = channel_to_lock(select, i);
        if (channel != NULL) {
            tc_lock_release(&channel->lock);
        }
    }
}

/* ---- to try -------------------------------------------------------------------------------- */

/* Let the case proceed if it can, under the lock. *woken as in channel_core.h. */
static bool try_locked(struct tc_select_case *c, struct tc_wait_node **woken)
{
    struct tc_channel *channel = c->channel;
    int rc;

    if (c->kind == TC_SELECT_SEND) {
        rc = tc_channel_core_push(&channel->core, c->value, woken);
    } else {
        rc = tc_channel_core_pop(&channel->core, &c->value, woken);
    }
    if (rc == -EAGAIN) {
        return false;
    }
    if (rc == 0) {
        channel->sent += c->kind == TC_SELECT_SEND || *woken != NULL;
        channel->received += c->kind == TC_SELECT_RECV || *woken != NULL;
    }
    c->result = (int16_t)rc;
    return true;
}

static bool looks_stuck(struct tc_select_case *c)
{
    return c->kind == TC_SELECT_SEND ? tc_channel_core_looks_full(&c->channel->core)
                                     : tc_channel_core_looks_empty(&c->channel->core);
}

/* Try the cases one by one. Returns the index or -EAGAIN. */
static int try_each(struct select *select)
{
    for (uint32_t i = 0; i < select->active; i++) {
        uint32_t index = select->cases[i].polled;
        struct tc_select_case *c = &select->cases[index];
        if (looks_stuck(c)) {
            continue;
        }
        struct tc_wait_node *woken = NULL;
        tc_lock_acquire(&c->channel->lock);
        bool proceeded = try_locked(c, &woken);
        tc_lock_release(&c->channel->lock);
        if (woken != NULL) {
            tc__wait_ready(woken);
        }
        if (proceeded) {
            return (int)index;
        }
    }
    return -EAGAIN;
}

/* Try them at one moment. Returns the index without locks, or -EAGAIN with all of them. */
static int try_together(struct select *select)
{
    make_lock_order(select);
    lock_all(select);
    for (uint32_t i = 0; i < select->active; i++) {
        uint32_t index = select->cases[i].polled;
        struct tc_wait_node *woken = NULL;
        if (try_locked(&select->cases[index], &woken)) {
            unlock_all(select);
            if (woken != NULL) {
                tc__wait_ready(woken);
            }
            return (int)index;
        }
    }
    return -EAGAIN;
}

/* Both. One case is one moment by itself, but the lock is wanted. */
static int try_cases(struct select *select)
{
    make_poll_order(select);
    int rc = try_each(select);
    return rc == -EAGAIN ? try_together(select) : rc;
}

/* ---- to wait ------------------------------------------------------------------------------- */

/* Put every case into its queue. All locks are held. */
static void enqueue_all(struct select *select, struct tc_waiter *waiter, uint64_t seq)
{
    for (uint32_t i = 0; i < select->active; i++) {
        struct tc_select_case *c = &select->cases[select->cases[i].polled];
        struct tc_channel_core *core = &c->channel->core;
        if (c->kind == TC_SELECT_SEND) {
            c->node.value = c->value;
            tc_waitq_push(&core->senders, &c->node, &waiter->word, seq);
        } else {
            tc_waitq_push(&core->receivers, &c->node, &waiter->word, seq);
        }
    }
}

/* Unlink every case. Nobody can claim the waiter any more. Returns the case that won, or
 * -EAGAIN. */
static int dequeue_all(struct select *select)
{
    int winner = -EAGAIN;

    for (uint32_t i = 0; i < select->active; i++) {
        uint32_t index = select->cases[i].polled;
        struct tc_select_case *c = &select->cases[index];
        tc_lock_acquire(&c->channel->lock);
        tc_waitq_remove(&c->node);
        bool is_done = c->node.done;
        tc_lock_release(&c->channel->lock);
        if (is_done) {
            tc_assert_debug(winner == -EAGAIN); /* N2 */
            winner = (int)index;
            c->result = (int16_t)c->node.result;
            if (c->kind == TC_SELECT_RECV && c->result == 0) {
                c->value = c->node.value;
            }
        }
    }
    return winner;
}

/* The locks keep claimers out until the last case is in its queue, and the owner, who needs each of
 * them, in dequeue_all until the last is released: after that nothing of his stack is read. */
static bool commit_select(struct tc_waiter *waiter, uint64_t seq, void *arg)
{
    struct select *select = arg;

    enqueue_all(select, waiter, seq);
    select->published = true;
    unlock_all(select);
    return true;
}

int tc_select(struct tc_select_case *cases, uint32_t count, int64_t deadline_ns)
{
    struct select select = {.cases = cases, .count = count};
    struct tc_park park = {
        .reason = TC_WAIT_SELECT,
        .object = cases,
        .deadline_ns = deadline_ns,
        .commit = commit_select,
        .arg = &select,
    };

    if (count > TC_SELECT_CASES_MAX) {
        return -EINVAL;
    }
    int index = try_cases(&select);
    if (index != -EAGAIN) {
        return index;
    }
    park.locks = select.locks;
    int rc = tc__park(&park);
    if (!select.published) {
        unlock_all(&select);
        return rc;
    }
    index = dequeue_all(&select);
    tc_assert((index >= 0) == (rc == 0));
    return rc == 0 ? index : rc;
}

int tc_select_try(struct tc_select_case *cases, uint32_t count)
{
    struct select select = {.cases = cases, .count = count};

    if (count > TC_SELECT_CASES_MAX) {
        return -EINVAL;
    }
    int index = try_cases(&select);
    if (index == -EAGAIN) {
        unlock_all(&select);
    }
    return index;
}

/* ---- callback waiters ---------------------------------------------------------------------- */

int tc_select_start(struct tc_select_case *cases, uint32_t count, struct tc_waiter *waiter)
{
    struct select select = {.cases = cases, .count = count};

    if (count > TC_SELECT_CASES_MAX) {
        return -EINVAL;
    }
    int index = try_cases(&select);
    if (index != -EAGAIN) {
        return index;
    }
    if (select.active == 0) {
        return -EINVAL;
    }
    uint64_t seq = tc_waiter_core_begin(&waiter->word);
    tc_waiter_core_arm(&waiter->word, seq);
    enqueue_all(&select, waiter, seq);
    unlock_all(&select);
    return -EINPROGRESS;
}

/* What tc_select_start left in the cases. */
static struct select started_select(struct tc_select_case *cases, uint32_t count)
{
    struct select select = {.cases = cases, .count = count};

    for (uint32_t i = 0; i < count; i++) {
        select.active += is_active(&cases[i]);
    }
    return select;
}

int tc_select_finish(struct tc_select_case *cases, uint32_t count)
{
    struct select select = started_select(cases, count);
    int index = dequeue_all(&select);

    tc_assert(index >= 0);
    return index;
}

bool tc_select_withdraw(struct tc_select_case *cases, uint32_t count)
{
    struct select select = started_select(cases, count);
    struct tc_wait_node *node = &cases[cases[0].polled].node;
    bool is_ours = tc_waiter_core_claim(node->word, node->seq);
    bool was_won = dequeue_all(&select) >= 0;

    tc_assert(!(is_ours && was_won));
    return !was_won;
}
