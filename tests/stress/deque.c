/* tests/stress/deque.c — one owner, two thieves, for as long as asked: every item is taken exactly
 * once, also across growth, and retired arrays are freed while thieves run.
 *
 *   PROG [SECONDS [SEED]]      default: 2 seconds
 *
 * Works in rounds with a fresh deque each, so that growth from the initial capacity happens again
 * and again. Prints the seed first and the number of items last.
 */
#include "base/deque.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/ebr.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/sys.h"

enum { ITEMS = 50000, THIEVES = 2, WORDS = (ITEMS + 63) / 64 };

static struct tc_ebr ebr;
static struct tc_deque deque;
static _Atomic uint64_t taken[WORDS]; /* one bit an item                                      */
static _Atomic bool finished;
static uint64_t seed;

#define STRESS_CHECK(cond) ((cond) ? (void)0 : stress_fail(#cond, __LINE__))

_Noreturn static void stress_fail(const char *what, int line)
{
    fprintf(stderr, "deque: line %d: %s is false, seed %llu\n", line, what,
            (unsigned long long)seed);
    abort();
}

static void account(void *item)
{
    size_t number = (size_t)(uintptr_t)item - 1;
    uint64_t bit = UINT64_C(1) << (number % 64);

    STRESS_CHECK(number < ITEMS);
    /* relaxed: only the bit counts; read after the threads joined */
    STRESS_CHECK((tc_fetch_or_relaxed(&taken[number / 64], bit) & bit) == 0);
}

static void *thief_main(void *arg)
{
    uint32_t index = (uint32_t)(uintptr_t)arg;
    struct tc_ebr_slot *slot = tc_ebr_slot_at(&ebr, index);
    struct tc_rand rand;
    void *out[16];

    tc_rand_init(&rand, seed + index);
    tc_ebr_online(slot);
    while (!tc_load_acquire(&finished)) { /* acquire: the owner takes what is left */
        size_t count = tc_deque_steal(&deque, out, 1 + tc_rand_below(&rand, 16));

        for (size_t i = 0; i < count; i++) {
            account(out[i]);
        }
        if (count == 0 && tc_rand_below(&rand, 4) == 0) {
            tc_ebr_offline(slot);
            tc_sys_sched_yield();
            tc_ebr_online(slot);
        }
        tc_ebr_quiescent(slot);
    }
    tc_ebr_offline(slot);
    return NULL;
}

static void own(struct tc_rand *rand)
{
    struct tc_ebr_slot *slot = tc_ebr_slot_at(&ebr, THIEVES);
    uint32_t burst_max = 1 + tc_rand_below(rand, 2000);
    uintptr_t next = 0;
    void *item;

    tc_ebr_online(slot);
    while (next < ITEMS) {
        for (uint32_t i = tc_rand_below(rand, burst_max + 1); i > 0 && next < ITEMS; i--) {
            STRESS_CHECK(tc_deque_push(&deque, (void *)++next) == 0);
        }
        for (uint32_t i = tc_rand_below(rand, burst_max + 1); i > 0; i--) {
            item = tc_deque_take(&deque);
            if (item == NULL) {
                break;
            }
            account(item);
        }
        tc_ebr_quiescent(slot);
    }
    while ((item = tc_deque_take(&deque)) != NULL) {
        account(item);
    }
    tc_ebr_offline(slot);
}

static void run_round(struct tc_rand *rand)
{
    pthread_t thieves[THIEVES];

    memset((void *)taken, 0, sizeof(taken));
    tc_store_relaxed(&finished, false); /* relaxed: before the threads */
    STRESS_CHECK(tc_ebr_init(&ebr, THIEVES + 1) == 0);
    STRESS_CHECK(tc_deque_init(&deque, tc_deque_retire_ebr, tc_ebr_slot_at(&ebr, THIEVES)) == 0);
    for (uintptr_t i = 0; i < THIEVES; i++) {
        STRESS_CHECK(pthread_create(&thieves[i], NULL, thief_main, (void *)i) == 0);
    }
    own(rand);
    tc_store_release(&finished, true); /* release: nothing more comes */
    for (int i = 0; i < THIEVES; i++) {
        pthread_join(thieves[i], NULL);
    }
    for (size_t i = 0; i < ITEMS; i++) {
        /* relaxed: alone */
        STRESS_CHECK((tc_load_relaxed(&taken[i / 64]) >> (i % 64)) & 1);
    }
    tc_deque_fini(&deque);
    tc_ebr_fini(&ebr);
    STRESS_CHECK(tc_mem_bytes_in_use() == 0);
}

int main(int argc, char **argv)
{
    struct tc_rand rand;
    uint64_t rounds = 0;
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 2;
    int64_t end;

    seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)tc_clock_now_ns();
    printf("deque: seed %llu\n", (unsigned long long)seed);
    tc_rand_init(&rand, seed);
    end = tc_deadline_after_ns((int64_t)(seconds * 1e9));
    do {
        run_round(&rand);
        rounds++;
    } while (tc_clock_now_ns() < end);
    printf("deque: %llu items\n", (unsigned long long)(rounds * ITEMS));
    return 0;
}
