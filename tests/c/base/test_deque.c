#include "base/deque.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/ebr.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/sys.h"
#include "harness.h"

enum { INITIAL = TC_TEST_SMALL ? 4 : 256 };

/* Over-aligned objects are static in these tests: gcc 12 misaligns locals beyond 64 bytes when ASan
 * watches stack use after return (each test is a process of its own, so nothing is shared). */

static void *item(uintptr_t number)
{
    return (void *)(number + 1);
}

/* Without thieves an array may be freed at once. */
static void free_now(void *arg, void *array, size_t bytes)
{
    ++*(int *)arg;
    tc_deque_array_free(array, bytes);
}

TC_TEST(test_deque_take_returns_oldest_first)
{
    int retired = 0;
    static struct tc_deque deque;

    TC_CHECK_EQ(tc_deque_init(&deque, free_now, &retired), 0);
    TC_CHECK(tc_deque_take(&deque) == NULL);
    for (uintptr_t i = 0; i < 3; i++) {
        TC_CHECK_EQ(tc_deque_push(&deque, item(i)), 0);
    }
    TC_CHECK_EQ(tc_deque_len(&deque), 3u);
    for (uintptr_t i = 0; i < 3; i++) {
        TC_CHECK(tc_deque_take(&deque) == item(i));
    }
    TC_CHECK(tc_deque_take(&deque) == NULL);
    tc_deque_fini(&deque);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0u);
}

TC_TEST(test_deque_wraps_without_growing_while_it_is_never_full)
{
    int retired = 0;
    static struct tc_deque deque;

    TC_CHECK_EQ(tc_deque_init(&deque, free_now, &retired), 0);
    for (uintptr_t i = 0; i < 10 * INITIAL; i++) {
        TC_CHECK_EQ(tc_deque_push(&deque, item(i)), 0);
        if (i >= INITIAL - 1) {
            TC_CHECK(tc_deque_take(&deque) == item(i - (INITIAL - 1)));
        }
    }
    TC_CHECK_EQ(retired, 0);
    tc_deque_fini(&deque);
}

TC_TEST(test_deque_grows_in_the_middle_of_a_lap_and_keeps_order)
{
    int retired = 0;
    uintptr_t taken = 0;
    static struct tc_deque deque;

    TC_CHECK_EQ(tc_deque_init(&deque, free_now, &retired), 0);
    for (uintptr_t i = 0; i < 8 * INITIAL; i++) {
        TC_CHECK_EQ(tc_deque_push(&deque, item(i)), 0);
        if (i % 3 == 0) {
            TC_CHECK(tc_deque_take(&deque) == item(taken++));
        }
    }
    TC_CHECK(retired >= 2);
    while (taken < 8 * INITIAL) {
        TC_CHECK(tc_deque_take(&deque) == item(taken++));
    }
    TC_CHECK(tc_deque_take(&deque) == NULL);
    tc_deque_fini(&deque);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0u);
}

/* DQ4 */
TC_TEST(test_deque_growth_without_memory_leaves_it_unchanged)
{
    int retired = 0;
    static struct tc_deque deque;

    TC_CHECK_EQ(tc_deque_init(&deque, free_now, &retired), 0);
    for (uintptr_t i = 0; i < INITIAL; i++) {
        TC_CHECK_EQ(tc_deque_push(&deque, item(i)), 0);
    }
    tc_fault_arm(TC_FAULT_ALLOC, 1, ENOMEM, 1);
    TC_CHECK_EQ(tc_deque_push(&deque, item(INITIAL)), -ENOMEM);
    tc_fault_disarm_all();
    TC_CHECK_EQ(retired, 0);
    TC_CHECK_EQ(tc_deque_push(&deque, item(INITIAL)), 0);
    for (uintptr_t i = 0; i <= INITIAL; i++) {
        TC_CHECK(tc_deque_take(&deque) == item(i));
    }
    tc_deque_fini(&deque);
}

TC_TEST(test_deque_steal_takes_the_older_half_up_to_its_limits)
{
    int retired = 0;
    void *out[64];
    static struct tc_deque deque;

    TC_CHECK_EQ(tc_deque_init(&deque, free_now, &retired), 0);
    TC_CHECK_EQ(tc_deque_steal(&deque, out, 64), 0u);
    for (uintptr_t i = 0; i < 100; i++) {
        TC_CHECK_EQ(tc_deque_push(&deque, item(i)), 0);
    }
    TC_CHECK_EQ(tc_deque_steal(&deque, out, 64), 16u);
    TC_CHECK(out[0] == item(0) && out[15] == item(15));
    TC_CHECK_EQ(tc_deque_steal(&deque, out, 3), 3u);
    TC_CHECK(out[0] == item(16));
    TC_CHECK_EQ(tc_deque_steal(&deque, out, 0), 0u);
    while (tc_deque_len(&deque) > 5) {
        TC_CHECK(tc_deque_take(&deque) != NULL);
    }
    TC_CHECK_EQ(tc_deque_steal(&deque, out, 64), 3u);
    TC_CHECK_EQ(tc_deque_steal(&deque, out, 64), 1u);
    TC_CHECK_EQ(tc_deque_steal(&deque, out, 64), 1u);
    TC_CHECK(out[0] == item(99));
    TC_CHECK_EQ(tc_deque_steal(&deque, out, 64), 0u);
    tc_deque_fini(&deque);
}

/* ---- owner against thieves --------------------------------------------------------------- */

enum { SHARED_ITEMS = TC_TSAN ? 100000 : 400000, THIEVES = 2 };

static struct shared_run {
    struct tc_deque deque;
    struct tc_ebr ebr;
    _Atomic bool finished;
    _Atomic uint8_t taken[SHARED_ITEMS];
} run;

static void account(void *taken)
{
    uintptr_t number = (uintptr_t)taken - 1;

    TC_CHECK(number < SHARED_ITEMS);
    TC_CHECK_EQ(tc_fetch_add_relaxed(&run.taken[number], 1), 0); /* relaxed: read after join */
}

static void *thief_main(void *arg)
{
    struct tc_ebr_slot *slot = tc_ebr_slot_at(&run.ebr, (uint32_t)(uintptr_t)arg);
    void *out[16];

    tc_ebr_online(slot);
    while (!tc_load_acquire(&run.finished)) { /* acquire: the owner's last push */
        size_t count = tc_deque_steal(&run.deque, out, 16);

        for (size_t i = 0; i < count; i++) {
            account(out[i]);
        }
        if (count == 0) {
            tc_sys_sched_yield();
        }
        tc_ebr_quiescent(slot);
    }
    tc_ebr_offline(slot);
    return NULL;
}

TC_TEST(test_deque_each_item_goes_to_exactly_one_taker_across_growth)
{
    pthread_t thieves[THIEVES];
    struct tc_ebr_slot *slot;
    struct tc_rand rand;
    void *taken;

    tc_rand_init(&rand, tc_test_seed());
    TC_CHECK_EQ(tc_ebr_init(&run.ebr, THIEVES + 1), 0);
    slot = tc_ebr_slot_at(&run.ebr, THIEVES);
    TC_CHECK_EQ(tc_deque_init(&run.deque, tc_deque_retire_ebr, slot), 0);
    for (uintptr_t i = 0; i < THIEVES; i++) {
        TC_CHECK_EQ(pthread_create(&thieves[i], NULL, thief_main, (void *)i), 0);
    }
    tc_ebr_online(slot);
    for (uintptr_t next = 0; next < SHARED_ITEMS;) {
        uint32_t burst = 1 + tc_rand_below(&rand, 200);

        for (uint32_t i = 0; i < burst && next < SHARED_ITEMS; i++) {
            TC_CHECK_EQ(tc_deque_push(&run.deque, item(next++)), 0);
        }
        for (uint32_t i = tc_rand_below(&rand, burst + 1); i > 0; i--) {
            taken = tc_deque_take(&run.deque);
            if (taken != NULL) {
                account(taken);
            }
        }
        tc_ebr_quiescent(slot);
    }
    while ((taken = tc_deque_take(&run.deque)) != NULL) {
        account(taken);
    }
    tc_store_release(&run.finished, true); /* release: nothing more comes */
    for (int i = 0; i < THIEVES; i++) {
        TC_CHECK_EQ(pthread_join(thieves[i], NULL), 0);
    }
    for (size_t i = 0; i < SHARED_ITEMS; i++) {
        TC_CHECK_EQ(tc_load_relaxed(&run.taken[i]), 1); /* relaxed: alone */
    }
    tc_ebr_offline(slot);
    tc_deque_fini(&run.deque);
    tc_ebr_fini(&run.ebr);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0u);
}
