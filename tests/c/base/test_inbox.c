#include "base/inbox.h"

#include <pthread.h>

#include "base/parker.h"
#include "harness.h"

TC_TEST(test_inbox_only_the_first_push_reports_empty)
{
    struct tc_inbox inbox;
    struct tc_link links[3];

    tc_inbox_init(&inbox);
    TC_CHECK(tc_inbox_is_empty(&inbox));
    TC_CHECK(tc_inbox_push(&inbox, &links[0]));
    TC_CHECK(!tc_inbox_push(&inbox, &links[1]));
    TC_CHECK(!tc_inbox_is_empty(&inbox));
    TC_CHECK(tc_inbox_drain(&inbox) == &links[0]);
    TC_CHECK(tc_inbox_push(&inbox, &links[2]));
}

/* IB2 */
TC_TEST(test_inbox_drain_returns_the_whole_batch_oldest_first)
{
    struct tc_inbox inbox;
    struct tc_link links[5];
    struct tc_link *link;

    tc_inbox_init(&inbox);
    TC_CHECK(tc_inbox_drain(&inbox) == NULL);
    for (int i = 0; i < 5; i++) {
        TC_CHECK_EQ(tc_inbox_push(&inbox, &links[i]), i == 0);
    }
    link = tc_inbox_drain(&inbox);
    for (int i = 0; i < 5; i++) {
        TC_CHECK(link == &links[i]);
        link = link->next;
    }
    TC_CHECK(link == NULL);
    TC_CHECK(tc_inbox_is_empty(&inbox));
}

enum { SENDERS = 3, PER_SENDER = 20000 };

struct message {
    struct tc_link link;
    unsigned sender;
    unsigned number;
};

static struct tc_inbox inbox_shared;
static struct tc_parker reader_parker;
static struct message messages[SENDERS][PER_SENDER];

static void *sender_main(void *arg)
{
    unsigned sender = (unsigned)(uintptr_t)arg;

    for (unsigned i = 0; i < PER_SENDER; i++) {
        struct message *message = &messages[sender][i];

        message->sender = sender;
        message->number = i;
        if (tc_inbox_push(&inbox_shared, &message->link)) {
            tc_parker_unpark(&reader_parker);
        }
    }
    return NULL;
}

TC_TEST(test_inbox_one_wake_per_batch_loses_no_message)
{
    pthread_t threads[SENDERS];
    unsigned expected[SENDERS] = {0};
    size_t received = 0;

    tc_inbox_init(&inbox_shared);
    tc_parker_init(&reader_parker);
    for (uintptr_t i = 0; i < SENDERS; i++) {
        TC_CHECK_EQ(pthread_create(&threads[i], NULL, sender_main, (void *)i), 0);
    }
    while (received < (size_t)SENDERS * PER_SENDER) {
        struct tc_link *link = tc_inbox_drain(&inbox_shared);

        if (link == NULL) {
            TC_CHECK_EQ(tc_parker_park(&reader_parker, TC_NEVER), 0);
        }
        for (; link != NULL; link = link->next) {
            struct message *message = tc_container_of(link, struct message, link);

            TC_CHECK_EQ(message->number, expected[message->sender]);
            expected[message->sender]++;
            received++;
        }
    }
    for (int i = 0; i < SENDERS; i++) {
        TC_CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
}
