/* tests/model/select.c — a select over two queues, with a giver at each and a deadline.
 *
 * Thread 0 locks both queues, puts a node of one wait into each, and after a moment claims its own
 * wait, as a deadline does; if it comes too late, it waits to be readied. Then it unlinks what is
 * left, one lock at a time.
 * Threads 1 and 2 each take a waiter from their queue under its lock, if one can be claimed there.
 * At most one of them succeeds, and exactly that node is done and carries the value.
 *
 * Shapes: the one claim over several locks; message passing through the node.
 * TC_WEAKEN: a giver looks whether the wait is open and then closes it by a store. Visible on any
 * hardware: both givers succeed.
 */
#include "base/atomic.h"
#include "sync/wait_core.h"

#include "model.h"

static _Atomic uint32_t locks[2];
static struct tc_waitq queues[2];
static struct tc_waiter_word word;
static _Atomic int ready;
static int given[2]; /* what each giver gave, by its own account */
static int got[2];   /* what each node held, and 0 if it was not done */
static int claimed;  /* 1: the deadline won */
static uint64_t iteration;

static void acquire(int i)
{
    unsigned spins = 0;

    while (tc_exchange_acquire(&locks[i], 1) != 0) { /* acquire: stands for tc_lock */
        model_await(&spins);
    }
}

static void release(int i)
{
    tc_store_release(&locks[i], 0); /* release: stands for tc_lock */
}

static void selector(void)
{
    struct tc_wait_node nodes[2] = {{.value = tc_value_int(0)}, {.value = tc_value_int(0)}};
    unsigned spins = 0;

    acquire(0);
    acquire(1);
    uint64_t seq = tc_waiter_core_begin(&word);
    tc_waiter_core_arm(&word, seq);
    tc_waitq_push(&queues[0], &nodes[0], &word, seq);
    tc_waitq_push(&queues[1], &nodes[1], &word, seq);
    release(1);
    release(0);
    if (!TC_MODEL_CHECKER) {
        model_stagger(iteration, 2);
    }
    if (tc_waiter_core_claim(&word, seq)) {
        claimed = 1;
    } else {
        while (tc_load_acquire(&ready) == 0) { /* acquire: stands for the park */
            model_await(&spins);
        }
    }
    for (int i = 0; i < 2; i++) {
        acquire(i);
        tc_waitq_remove(&nodes[i]);
        release(i);
        got[i] = nodes[i].done ? (int)nodes[i].value.as_int : 0;
    }
}

static struct tc_wait_node *take(int i)
{
    if (!TC_WEAKEN) {
        return tc_waitq_take(&queues[i]);
    }
    struct tc_wait_node *node = queues[i].head;
    if (node == NULL || !tc_waiter_core_is_open(tc_load_relaxed(&word.value), node->seq)) {
        return NULL;
    }
    tc_waitq_remove(node);
    tc_store_release(&word.value, tc_waiter_core_pack(node->seq, TC_WAITER_CLAIMED));
    node->done = true;
    return node;
}

static void give(int i)
{
    acquire(i);
    struct tc_wait_node *node = take(i);
    if (node != NULL) {
        node->value = tc_value_int(1 + i);
        given[i] = 1 + i;
    }
    release(i);
    if (node != NULL) {
        tc_store_release(&ready, 1); /* release: stands for ready */
    }
}

static void giver_0(void)
{
    give(0);
}

static void giver_1(void)
{
    give(1);
}

static void setup(void)
{
    iteration++;
    tc_waiter_core_init(&word);
    for (int i = 0; i < 2; i++) {
        tc_atomic_init(&locks[i], 0);
        tc_waitq_init(&queues[i]);
        given[i] = got[i] = 0;
    }
    tc_atomic_init(&ready, 0);
    claimed = 0;
}

static void check(void)
{
    MODEL_CHECK((given[0] != 0) + (given[1] != 0) + claimed == 1);
    MODEL_CHECK(got[0] == given[0] && got[1] == given[1]);
    MODEL_CHECK(tc_waitq_is_empty(&queues[0]) && tc_waitq_is_empty(&queues[1]));
}

int main(int argc, char **argv)
{
    static const struct model model = {"select", 3, setup, {selector, giver_0, giver_1}, check};

    return model_main(&model, argc, argv);
}
