/* tests/stress/ebr.c — workers replace, read and retire objects behind shared pointers, one thread
 * without a slot retires orphans; no reader ever meets a freed object, and at the end everything
 * that was retired is freed, once.
 *
 *   PROG [SECONDS [SEED]]      default: 2 seconds
 *
 * A freed object is poisoned and really freed, so that ASan and TSan see a late access too.
 */
#include "base/ebr.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/sys.h"

enum { WORKERS = 3, POINTERS = 8, ALIVE = 0x600d, DEAD = 0xdead };

struct object {
    struct tc_ebr_node node;
    uint64_t state; /* ALIVE; DEAD just before it is freed */
    uint64_t self; /* its own address */
};

static struct tc_ebr ebr;
static _Atomic(struct object *) shared[POINTERS];
static _Atomic uint64_t created, freed;
static _Atomic bool over;
static uint64_t seed;

#define STRESS_CHECK(cond) ((cond) ? (void)0 : stress_fail(#cond, __LINE__))

_Noreturn static void stress_fail(const char *what, int line)
{
    fprintf(stderr, "ebr: line %d: %s is false, seed %llu\n", line, what, (unsigned long long)seed);
    abort();
}

static struct object *object_new(void)
{
    struct object *object = tc_mem_alloc(sizeof(*object));

    STRESS_CHECK(object != NULL);
    object->state = ALIVE;
    object->self = (uintptr_t)object;
    tc_fetch_add_relaxed(&created, 1); /* relaxed: statistic */
    return object;
}

static void object_free(struct tc_ebr_node *node)
{
    struct object *object = tc_container_of(node, struct object, node);

    STRESS_CHECK(object->state == ALIVE);
    object->state = DEAD;
    tc_mem_free(object, sizeof(*object));
    tc_fetch_add_relaxed(&freed, 1); /* relaxed: statistic */
}

static struct object *replace(struct tc_rand *rand)
{
    /* acq_rel: publishes the new object to readers, and sees the old one complete. */
    return tc_exchange_acq_rel(&shared[tc_rand_below(rand, POINTERS)], object_new());
}

static void read_some(struct tc_rand *rand)
{
    for (uint32_t i = tc_rand_below(rand, 8); i > 0; i--) {
        /* acquire: pairs with the exchange in replace(). */
        struct object *object = tc_load_acquire(&shared[tc_rand_below(rand, POINTERS)]);

        for (uint32_t again = tc_rand_below(rand, 20); again > 0; again--) {
            STRESS_CHECK(object->state == ALIVE && object->self == (uintptr_t)object);
            tc_compiler_barrier();
        }
    }
}

static void *worker_main(void *arg)
{
    uint32_t index = (uint32_t)(uintptr_t)arg;
    struct tc_ebr_slot *slot = tc_ebr_slot_at(&ebr, index);
    struct tc_rand rand;

    tc_rand_init(&rand, seed + index);
    tc_ebr_online(slot);
    while (!tc_load_relaxed(&over)) { /* relaxed: only ends the loop */
        read_some(&rand);
        if (tc_rand_below(&rand, 4) == 0) {
            tc_ebr_retire(slot, &replace(&rand)->node, object_free);
        }
        tc_ebr_quiescent(slot);
        if (tc_rand_below(&rand, 16) == 0) {
            tc_ebr_offline(slot);
            if (tc_rand_below(&rand, 8) == 0) {
                tc_sys_sched_yield();
            }
            tc_ebr_online(slot);
        }
    }
    tc_ebr_offline(slot);
    return NULL;
}

static void *outsider_main(void *arg)
{
    struct tc_rand rand;

    (void)arg;
    tc_rand_init(&rand, seed + WORKERS);
    while (!tc_load_relaxed(&over)) { /* relaxed: only ends the loop */
        tc_ebr_retire_orphan(&ebr, &replace(&rand)->node, object_free);
        tc_sys_sched_yield();
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[WORKERS + 1];
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 2;
    int64_t end;

    seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)tc_clock_now_ns();
    printf("ebr: seed %llu\n", (unsigned long long)seed);
    STRESS_CHECK(tc_ebr_init(&ebr, WORKERS) == 0);
    for (int i = 0; i < POINTERS; i++) {
        tc_atomic_init(&shared[i], object_new());
    }
    for (uintptr_t i = 0; i <= WORKERS; i++) {
        void *(*body)(void *) = i < WORKERS ? worker_main : outsider_main;

        STRESS_CHECK(pthread_create(&threads[i], NULL, body, (void *)i) == 0);
    }
    end = tc_deadline_after_ns((int64_t)(seconds * 1e9));
    while (tc_clock_now_ns() < end) {
        tc_sys_sched_yield();
    }
    tc_store_relaxed(&over, true); /* relaxed: only ends the loops */
    for (int i = 0; i <= WORKERS; i++) {
        pthread_join(threads[i], NULL);
    }
    tc_ebr_fini(&ebr);
    for (int i = 0; i < POINTERS; i++) {
        object_free(&tc_load_relaxed(&shared[i])->node); /* relaxed: alone */
    }
    STRESS_CHECK(tc_load_relaxed(&created) == tc_load_relaxed(&freed)); /* relaxed: alone */
    STRESS_CHECK(tc_mem_bytes_in_use() == 0);
    printf("ebr: %llu objects\n", (unsigned long long)tc_load_relaxed(&freed)); /* relaxed: alone */
    return 0;
}
