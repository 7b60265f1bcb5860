/* A plain thread parks as a fiber does. */
#include "fake_driver.h"

#include <signal.h>

#include "sched/thread.h"

struct wait {
    struct tc_waiter *waiter;
    uint64_t seq;
    _Atomic bool published;
    bool waits; /* what the commit returns */
};

static bool publish(struct tc_waiter *waiter, uint64_t seq, void *arg)
{
    struct wait *wait = arg;

    wait->waiter = waiter;
    wait->seq = seq;
    tc_store_release(&wait->published, true);
    return wait->waits;
}

static int park(struct wait *wait, int64_t deadline_ns)
{
    struct tc_park park = {
        .reason = TC_WAIT_TEST,
        .object = wait,
        .deadline_ns = deadline_ns,
        .commit = publish,
        .arg = wait,
    };

    return tc_thread_park(&park);
}

TC_TEST(test_thread_park_ends_at_once_if_the_commit_says_so)
{
    struct wait wait = {.waits = false};

    TC_CHECK_EQ(park(&wait, TC_NEVER), 0);
    TC_CHECK(!tc_waiter_claim(wait.waiter, wait.seq));
}

TC_TEST(test_thread_park_ends_at_its_deadline_and_claims_itself)
{
    struct wait wait = {.waits = true};
    uint64_t before;

    TC_CHECK_EQ(park(&wait, tc_deadline_after_ns(TC_NS_PER_MS)), -ETIMEDOUT);
    TC_CHECK(!tc_waiter_claim(wait.waiter, wait.seq));
    before = wait.seq;
    TC_CHECK_EQ(park(&wait, 1), -ETIMEDOUT);
    TC_CHECK_EQ(wait.seq, before + 1); /* W4 */
}

static void *claim_with_seven(void *arg)
{
    struct wait *wait = arg;

    while (!tc_load_acquire(&wait->published)) {
        tc_sys_sched_yield();
    }
    if (tc_waiter_claim(wait->waiter, wait->seq)) {
        tc_ready(wait->waiter, 7);
    }
    return NULL;
}

/* Each park gets its own wake-up and none is left over, whichever side is faster. */
TC_TEST(test_thread_park_against_deadline_has_one_winner)
{
    struct wait wait = {.waits = true};
    int woken = 0;
    int must_wake = 0;

    for (int i = 0; i < 2000 && tc_test_has_time(5); i++) {
        pthread_t thread;
        tc_store_relaxed(&wait.published, false);
        TC_CHECK_EQ(pthread_create(&thread, NULL, claim_with_seven, &wait), 0);
        int rc = park(&wait, i % 2 == 0 ? TC_NEVER : tc_deadline_after_ns(i * 50));
        TC_CHECK(rc == 7 || (rc == -ETIMEDOUT && i % 2 != 0));
        woken += rc == 7;
        must_wake += i % 2 == 0;
        pthread_join(thread, NULL);
    }
    TC_CHECK(woken >= must_wake);
}

static void ignore(int number)
{
    (void)number;
}

struct interrupted {
    struct wait wait;
    _Atomic int result;
};

static void *park_for_ever(void *arg)
{
    struct interrupted *interrupted = arg;

    tc_store_release(&interrupted->result, park(&interrupted->wait, TC_NEVER));
    return NULL;
}

TC_TEST(test_thread_park_is_ended_by_a_signal_handler)
{
    struct interrupted interrupted = {.wait = {.waits = true}};
    struct sigaction action = {.sa_handler = ignore};
    pthread_t thread;

    sigaction(SIGUSR1, &action, NULL);
    TC_CHECK_EQ(pthread_create(&thread, NULL, park_for_ever, &interrupted), 0);
    while (!tc_load_acquire(&interrupted.wait.published)) {
        tc_sys_sched_yield();
    }
    while (tc_load_acquire(&interrupted.result) == 0) {
        pthread_kill(thread, SIGUSR1); /* again, until it meets the sleep itself */
        tc_sys_sched_yield();
    }
    pthread_join(thread, NULL);
    TC_CHECK_EQ(tc_load_relaxed(&interrupted.result), -EINTR);
}

TC_TEST(test_thread_random_numbers_differ)
{
    uint64_t first = tc_thread_random();

    TC_CHECK(tc_thread_random() != first);
}
