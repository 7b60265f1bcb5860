#include "base/injectq.h"

#include <pthread.h>

#include "base/sys.h"
#include "harness.h"

TC_TEST(test_injectq_pop_from_empty_returns_null)
{
    struct tc_injectq queue;
    struct tc_fifo out;

    tc_injectq_init(&queue);
    tc_fifo_init(&out);
    TC_CHECK(tc_injectq_pop(&queue) == NULL);
    TC_CHECK_EQ(tc_injectq_pop_batch(&queue, &out, 8), 0u);
    TC_CHECK(tc_fifo_is_empty(&out));
}

/* IQ1, IQ2 */
TC_TEST(test_injectq_singles_and_batches_leave_in_order)
{
    struct tc_injectq queue;
    struct tc_fifo batch, out;
    struct tc_link links[5];

    tc_injectq_init(&queue);
    tc_fifo_init(&batch);
    tc_fifo_init(&out);
    tc_injectq_push(&queue, &links[0]);
    for (int i = 1; i < 4; i++) {
        tc_fifo_push(&batch, &links[i]);
    }
    tc_injectq_push_batch(&queue, &batch);
    TC_CHECK(tc_fifo_is_empty(&batch));
    tc_injectq_push(&queue, &links[4]);
    TC_CHECK_EQ(tc_injectq_len(&queue), 5u);
    TC_CHECK(tc_injectq_pop(&queue) == &links[0]);
    TC_CHECK_EQ(tc_injectq_pop_batch(&queue, &out, 2), 2u);
    TC_CHECK_EQ(tc_injectq_len(&queue), 2u);
    TC_CHECK_EQ(tc_injectq_pop_batch(&queue, &out, 100), 2u);
    TC_CHECK_EQ(tc_injectq_len(&queue), 0u);
    for (int i = 1; i < 5; i++) {
        TC_CHECK(tc_fifo_pop(&out) == &links[i]);
    }
}

enum { THREADS = 3, PER_THREAD = 20000 };

struct numbered {
    struct tc_link link;
    unsigned owner;
    unsigned number;
};

static struct tc_injectq shared;
static struct numbered sent[THREADS][PER_THREAD];

static void *sender_main(void *arg)
{
    unsigned owner = (unsigned)(uintptr_t)arg;

    for (unsigned i = 0; i < PER_THREAD; i++) {
        sent[owner][i].owner = owner;
        sent[owner][i].number = i;
        tc_injectq_push(&shared, &sent[owner][i].link);
    }
    return NULL;
}

TC_TEST(test_injectq_links_of_one_sender_arrive_once_and_in_order)
{
    pthread_t threads[THREADS];
    unsigned expected[THREADS] = {0};
    size_t received = 0;

    tc_injectq_init(&shared);
    for (uintptr_t i = 0; i < THREADS; i++) {
        TC_CHECK_EQ(pthread_create(&threads[i], NULL, sender_main, (void *)i), 0);
    }
    while (received < (size_t)THREADS * PER_THREAD) {
        struct tc_fifo out;
        struct tc_link *link;

        tc_fifo_init(&out);
        if (tc_injectq_pop_batch(&shared, &out, 16) == 0) {
            tc_sys_sched_yield();
        }
        while ((link = tc_fifo_pop(&out)) != NULL) {
            struct numbered *message = tc_container_of(link, struct numbered, link);

            TC_CHECK_EQ(message->number, expected[message->owner]);
            expected[message->owner]++;
            received++;
        }
    }
    for (int i = 0; i < THREADS; i++) {
        TC_CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    TC_CHECK_EQ(tc_injectq_len(&shared), 0u);
}
