/* tests/model/channel.c — two sends, two receives and a close over a channel.
 *
 * Thread 0 sends twice and closes, thread 1 receives twice, thread 2 sends, or receives (odd
 * iterations), once and gives up at once if it has to wait: it then claims its own wait, as a
 * deadline does, and unlinks its node. Capacity 0 and 1 in turn. Whatever a send said was sent is
 * received exactly once, or still in the ring.
 *
 * Shapes: the claim decides between hand-off, close and deadline; message passing of the value
 * through the node.
 * TC_WEAKEN: a hand-off is filled in without a claim. Visible on any hardware: a value is handed to
 * a receiver that has left.
 */
#include "base/atomic.h"
#include "sync/channel_core.h"

#define MODEL_VARIANTS 4
#include "model.h"

static _Atomic uint32_t lock;
static struct tc_channel_core channel;
static struct tc_value ring[1];
static struct tc_waiter_word words[3];
static _Atomic int ready[3];
static int sent[2];     /* what thread 0 and thread 2 sent successfully */
static int received[2]; /* what thread 1 and thread 2 received */
static uint64_t iteration;

static void acquire(void)
{
    unsigned spins = 0;

    while (tc_exchange_acquire(&lock, 1) != 0) { /* acquire: stands for tc_lock */
        model_await(&spins);
    }
}

static void release(void)
{
    tc_store_release(&lock, 0); /* release: stands for tc_lock */
}

static void wake(struct tc_wait_node *node)
{
    if (node != NULL) {
        tc_store_release(&ready[node->word - words], 1); /* release: stands for ready */
    }
}

/* tc_waitq_take without its claim. */
static struct tc_wait_node *take_unclaimed(struct tc_waitq *queue)
{
    struct tc_wait_node *node = queue->head;

    if (node != NULL) {
        tc_waitq_remove(node);
        node->done = true;
    }
    return node;
}

static int push(struct tc_value value, struct tc_wait_node **woken)
{
    if (TC_WEAKEN && (*woken = take_unclaimed(&channel.receivers)) != NULL) {
        (*woken)->value = value;
        (*woken)->result = 0;
        return 0;
    }
    return tc_channel_core_push(&channel, value, woken);
}

/* Wait in the queue. Entered with the lock. Returns the node's result, or -ETIMEDOUT. */
static int wait_in(unsigned thread, struct tc_waitq *queue, struct tc_wait_node *node,
                   bool impatient)
{
    uint64_t seq = tc_waiter_core_begin(&words[thread]);
    unsigned spins = 0;

    tc_waiter_core_arm(&words[thread], seq);
    tc_waitq_push(queue, node, &words[thread], seq);
    release();
    if (impatient && tc_waiter_core_claim(&words[thread], seq)) {
        acquire();
        tc_waitq_remove(node);
        release();
        return -ETIMEDOUT;
    }
    while (tc_load_acquire(&ready[thread]) == 0) { /* acquire: stands for the park */
        model_await(&spins);
    }
    tc_store_relaxed(&ready[thread], 0); /* relaxed: ours until we wait again */
    MODEL_CHECK(node->done);
    return node->result;
}

static int send(unsigned thread, int number, bool impatient)
{
    struct tc_wait_node node = {.value = tc_value_int(number)};
    struct tc_wait_node *woken;

    acquire();
    int rc = push(node.value, &woken);
    if (rc == -EAGAIN) {
        return wait_in(thread, &channel.senders, &node, impatient);
    }
    release();
    wake(woken);
    return rc;
}

static int receive(unsigned thread, int *number, bool impatient)
{
    struct tc_wait_node node = {.value = tc_value_int(0)};
    struct tc_wait_node *woken;

    acquire();
    int rc = tc_channel_core_pop(&channel, &node.value, &woken);
    if (rc == -EAGAIN) {
        rc = wait_in(thread, &channel.receivers, &node, impatient);
    } else {
        release();
        wake(woken);
    }
    *number = (int)node.value.as_int;
    return rc;
}

static void sender(void)
{
    for (int i = 0; i < 2; i++) {
        MODEL_CHECK(send(0, i == 0 ? 1 : 10, false) == 0);
        sent[0] += i == 0 ? 1 : 10;
    }
    acquire();
    struct tc_wait_node *list = tc_channel_core_close(&channel);
    release();
    while (list != NULL) {
        struct tc_wait_node *node = list;
        list = list->next;
        wake(node);
    }
}

static void receiver(void)
{
    for (;;) {
        int number;
        int rc = receive(1, &number, false);
        if (rc != 0) {
            MODEL_CHECK(rc == -EPIPE);
            return;
        }
        received[0] += number;
    }
}

static void visitor(void)
{
    int number = 100;
    int rc;

    if (iteration % 2 == 0) {
        rc = send(2, number, true);
        sent[1] = rc == 0 ? number : 0;
    } else {
        rc = receive(2, &number, true);
        received[1] = rc == 0 ? number : 0;
    }
    MODEL_CHECK(rc == 0 || rc == -EPIPE || rc == -ETIMEDOUT);
}

static void setup(void)
{
    iteration = model_variant();
    tc_atomic_init(&lock, 0);
    tc_channel_core_init(&channel, ring, (uint32_t)(iteration / 2 % 2));
    for (int i = 0; i < 3; i++) {
        tc_waiter_core_init(&words[i]);
        tc_atomic_init(&ready[i], 0);
    }
    sent[0] = sent[1] = received[0] = received[1] = 0;
}

static void check(void)
{
    struct tc_wait_node *nobody;
    struct tc_value value;
    int left = 0;

    while (tc_channel_core_pop(&channel, &value, &nobody) == 0) {
        left += (int)value.as_int;
    }
    MODEL_CHECK(nobody == NULL);
    MODEL_CHECK(sent[0] + sent[1] == received[0] + received[1] + left);
    MODEL_CHECK(left == 0); /* the receiver goes on until it is told to stop */
    MODEL_CHECK(tc_channel_core_is_valid(&channel));
}

int main(int argc, char **argv)
{
    static const struct model model = {"channel", 3, setup, {sender, receiver, visitor}, check};

    return model_main(&model, argc, argv);
}
