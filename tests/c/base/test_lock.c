#include "base/lock.h"

#include "base/fault.h"
#include "base/sys.h"
#include "harness.h"

#include <errno.h>
#include <string.h>

#define THREADS 4
#define ROUNDS 50000

struct shared {
    struct tc_lock lock;
    uint64_t a; /* equal to b whenever the lock is free */
    uint64_t b;
};

static void *count_up(void *arg)
{
    struct shared *shared = arg;

    for (int i = 0; i < ROUNDS; i++) {
        if (i % 7 != 0) {
            tc_lock_acquire(&shared->lock);
        } else {
            while (!tc_lock_try_acquire(&shared->lock)) {
                tc_sys_sched_yield();
            }
        }
        TC_CHECK(shared->a == shared->b);
        shared->a++;
        if (i % 1000 == 0) {
            /* Be off the processor while holding it, so that others really sleep. */
            tc_sys_sched_yield();
        }
        shared->b++;
        tc_lock_release(&shared->lock);
    }
    return NULL;
}

static void run_counters(struct shared *shared)
{
    pthread_t threads[THREADS];

    tc_lock_init(&shared->lock, TC_RANK_INJECT);
    for (int i = 0; i < THREADS; i++) {
        TC_CHECK_EQ(tc_sys_thread_create(&threads[i], 0, count_up, shared), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        TC_CHECK_EQ(tc_sys_thread_join(threads[i], NULL), 0);
    }
    TC_CHECK_EQ(shared->a, (uint64_t)THREADS * ROUNDS);
    TC_CHECK_EQ(shared->b, (uint64_t)THREADS * ROUNDS);
    TC_CHECK_EQ(tc_load_seq_cst(&shared->lock.word), 0u);
}

/* K1 */
TC_TEST(test_lock_excludes_threads_and_publishes_their_writes)
{
    struct shared shared = {.a = 0};

    run_counters(&shared);
}

/* K2: whatever futex_wait answers, nobody enters twice and nobody sleeps for ever. */
TC_TEST(test_lock_survives_interrupted_sleeps)
{
    struct shared shared = {.a = 0};

    tc_fault_arm(TC_SYS_FUTEX_WAIT, 1, EINTR, 1000);
    run_counters(&shared);
    tc_fault_disarm_all();
}

TC_TEST(test_lock_try_acquire_fails_while_held)
{
    struct tc_lock lock;

    tc_lock_init(&lock, TC_RANK_SLAB);
    TC_CHECK(tc_lock_try_acquire(&lock));
    TC_CHECK(!tc_lock_try_acquire(&lock));
    TC_CHECK_EQ(tc_lock_held_count(), TC_DEBUG >= 1 ? 1 : 0);
    tc_lock_release(&lock);
    TC_CHECK(tc_lock_try_acquire(&lock));
    tc_lock_release(&lock);
    TC_CHECK_EQ(tc_lock_held_count(), 0);
}

static void *acquire_and_release(void *arg)
{
    tc_lock_acquire(arg);
    tc_lock_release(arg);
    return NULL;
}

/* K2 */
TC_TEST(test_lock_release_wakes_a_sleeper)
{
    struct tc_lock lock;
    pthread_t thread;

    tc_lock_init(&lock, TC_RANK_SLAB);
    tc_lock_acquire(&lock);
    TC_CHECK_EQ(tc_sys_thread_create(&thread, 0, acquire_and_release, &lock), 0);
    while (tc_load_seq_cst(&lock.word) != 2) {
        tc_sys_sched_yield();
    }
    tc_lock_release(&lock);
    TC_CHECK_EQ(tc_sys_thread_join(thread, NULL), 0);
    TC_CHECK_EQ(tc_load_seq_cst(&lock.word), 0u);
}

TC_TEST(test_lock_release_in_any_order_keeps_the_held_list)
{
    struct tc_lock outer, inner;

    tc_lock_init(&outer, TC_RANK_RUNTIME);
    tc_lock_init(&inner, TC_RANK_SLAB);
    for (int i = 0; i < 100; i++) {
        tc_lock_acquire(&outer);
        tc_lock_acquire(&inner);
        tc_lock_release(&outer);
        tc_lock_release(&inner);
        TC_CHECK_EQ(tc_lock_held_count(), 0);
    }
}

static void acquire_against_rank(void *arg)
{
    struct tc_lock outer, inner;

    (void)arg;
    tc_lock_init(&outer, TC_RANK_RUNTIME);
    tc_lock_init(&inner, TC_RANK_SLAB);
    tc_lock_acquire(&inner);
    tc_lock_acquire(&outer);
}

static void acquire_same_rank(void *arg)
{
    struct tc_lock first, second;

    (void)arg;
    tc_lock_init(&first, TC_RANK_CHAN);
    tc_lock_init(&second, TC_RANK_CHAN);
    tc_lock_acquire(&first);
    tc_lock_acquire(&second);
}

static void acquire_peers_downwards(void *arg)
{
    struct tc_lock locks[2];

    (void)arg;
    tc_lock_init(&locks[0], TC_RANK_CHAN);
    tc_lock_init(&locks[1], TC_RANK_CHAN);
    tc_lock_acquire_peer(&locks[1]);
    tc_lock_acquire_peer(&locks[0]);
}

/* K3 */
TC_TEST(test_lock_peers_upwards_are_acquired_together)
{
    struct tc_lock locks[3];

    for (int i = 0; i < 3; i++) {
        tc_lock_init(&locks[i], TC_RANK_CHAN);
        tc_lock_acquire_peer(&locks[i]);
    }
    for (int i = 0; i < 3; i++) {
        TC_CHECK(!tc_lock_try_acquire(&locks[i]));
        tc_lock_release(&locks[i]);
    }
    TC_CHECK_EQ(tc_lock_held_count(), 0);
}

static void release_unheld(void *arg)
{
    struct tc_lock lock;

    (void)arg;
    tc_lock_init(&lock, TC_RANK_CHAN);
    tc_lock_release(&lock);
}

/* K3 */
TC_TEST(test_lock_misuse_panics_in_debug_builds)
{
    char output[4096];

    if (TC_DEBUG < 1) {
        tc_test_skipf("lock ranks are checked at TC_DEBUG 1 and above");
    }
    (void)tc_test_run_in_child(acquire_against_rank, NULL, output, sizeof(output));
    TC_CHECK(strstr(output, "acquired while holding rank") != NULL);
    (void)tc_test_run_in_child(acquire_same_rank, NULL, output, sizeof(output));
    TC_CHECK(strstr(output, "acquired while holding rank") != NULL);
    (void)tc_test_run_in_child(acquire_peers_downwards, NULL, output, sizeof(output));
    TC_CHECK(strstr(output, "acquired while holding") != NULL);
    (void)tc_test_run_in_child(release_unheld, NULL, output, sizeof(output));
    TC_CHECK(strstr(output, "does not hold it") != NULL);
}
