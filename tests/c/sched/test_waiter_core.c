#include "sched/waiter_core.h"

#include <pthread.h>
#include <sched.h>

#include "harness.h"

TC_TEST(test_waiter_core_is_not_claimable_before_arm)
{
    struct tc_waiter_word word;
    uint64_t seq;

    tc_waiter_core_init(&word);
    seq = tc_waiter_core_begin(&word);
    TC_CHECK(!tc_waiter_core_claim(&word, seq));
    tc_waiter_core_arm(&word, seq);
    TC_CHECK(tc_waiter_core_claim(&word, seq));
    TC_CHECK_EQ(tc_waiter_core_state(&word), TC_WAITER_CLAIMED);
}

TC_TEST(test_waiter_core_second_claim_fails)
{
    struct tc_waiter_word word;
    uint64_t seq;

    tc_waiter_core_init(&word);
    seq = tc_waiter_core_begin(&word);
    tc_waiter_core_arm(&word, seq);
    TC_CHECK(tc_waiter_core_claim(&word, seq));
    TC_CHECK(!tc_waiter_core_claim(&word, seq));
}

TC_TEST(test_waiter_core_stale_claim_does_not_end_a_later_wait)
{
    struct tc_waiter_word word;
    uint64_t first, second;

    tc_waiter_core_init(&word);
    first = tc_waiter_core_begin(&word);
    tc_waiter_core_arm(&word, first);
    TC_CHECK(tc_waiter_core_claim(&word, first));
    second = tc_waiter_core_begin(&word);
    TC_CHECK_EQ(second, first + 1);
    tc_waiter_core_arm(&word, second);
    TC_CHECK(!tc_waiter_core_claim(&word, first));
    TC_CHECK(tc_waiter_core_claim(&word, second));
}

TC_TEST(test_waiter_core_abandoned_wait_leads_to_the_next_sequence)
{
    struct tc_waiter_word word;
    uint64_t seq;

    tc_waiter_core_init(&word);
    seq = tc_waiter_core_begin(&word);
    TC_CHECK_EQ(tc_waiter_core_begin(&word), seq + 1);
}

TC_TEST(test_waiter_core_cancel_leaves_an_armed_wait_to_allow_cancel)
{
    struct tc_waiter_word word;
    _Atomic uint32_t flag = 0;
    uint64_t seq;

    tc_waiter_core_init(&word);
    seq = tc_waiter_core_begin(&word);
    tc_waiter_core_arm(&word, seq);
    TC_CHECK(!tc_waiter_core_cancel(&word, &flag));
    TC_CHECK_EQ(tc_waiter_core_state(&word), TC_WAITER_ARMED);
    TC_CHECK(tc_waiter_core_allow_cancel(&word, seq, &flag));
    TC_CHECK_EQ(tc_waiter_core_state(&word), TC_WAITER_CLAIMED);
}

TC_TEST(test_waiter_core_cancel_claims_a_cancellable_wait)
{
    struct tc_waiter_word word;
    _Atomic uint32_t flag = 0;
    uint64_t seq;

    tc_waiter_core_init(&word);
    seq = tc_waiter_core_begin(&word);
    tc_waiter_core_arm(&word, seq);
    TC_CHECK(!tc_waiter_core_allow_cancel(&word, seq, &flag));
    TC_CHECK(tc_waiter_core_cancel(&word, &flag));
    TC_CHECK(!tc_waiter_core_cancel(&word, &flag));
    TC_CHECK(!tc_waiter_core_claim(&word, seq));
}

TC_TEST(test_waiter_core_allow_cancel_after_a_claim_does_nothing)
{
    struct tc_waiter_word word;
    _Atomic uint32_t flag = 1;
    uint64_t seq;

    tc_waiter_core_init(&word);
    seq = tc_waiter_core_begin(&word);
    tc_waiter_core_arm(&word, seq);
    TC_CHECK(tc_waiter_core_claim(&word, seq));
    TC_CHECK(!tc_waiter_core_allow_cancel(&word, seq, &flag));
}

/* ---- several sources, many waits --------------------------------------------------------- */

enum { SOURCES = 2, WAITS = 20000 };

static struct tc_waiter_word shared;
static _Atomic uint64_t offered; /* sequence handed to the sources */
static _Atomic uint64_t ended;   /* last wait that was claimed */
static int wins;                 /* plain: ordered by the claims alone */

static void *source_main(void *arg)
{
    (void)arg;
    for (;;) {
        uint64_t seq = tc_load_acquire(&offered); /* acquire: hand-over of the wait */

        if (seq > WAITS) {
            return NULL;
        }
        if (tc_waiter_core_claim(&shared, seq)) {
            wins++;
            tc_store_release(&ended, seq); /* release: stands for ready() */
        } else {
            sched_yield(); /* on a busy machine the owner needs this CPU */
        }
    }
}

TC_TEST(test_waiter_core_each_wait_is_claimed_exactly_once)
{
    pthread_t threads[SOURCES];

    tc_waiter_core_init(&shared);
    for (int i = 0; i < SOURCES; i++) {
        TC_CHECK_EQ(pthread_create(&threads[i], NULL, source_main, NULL), 0);
    }
    int waits = 0;

    for (; waits < WAITS && tc_test_has_time(5); waits++) {
        uint64_t seq = tc_waiter_core_begin(&shared);

        tc_waiter_core_arm(&shared, seq);
        tc_store_release(&offered, seq); /* release: hand-over of the wait */
        if (waits % 2 == 0 && tc_waiter_core_claim(&shared, seq)) {
            wins++;
            continue;
        }
        while (tc_load_acquire(&ended) != seq) { /* acquire: stands for ready() */
            sched_yield();
        }
    }
    tc_store_release(&offered, WAITS + 1); /* release: the end */
    for (int i = 0; i < SOURCES; i++) {
        TC_CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    TC_CHECK_EQ(wins, waits);
}
