#include "base/slab.h"

#include "base/fault.h"
#include "base/mem.h"
#include "base/rand.h"
#include "harness.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define MAGIC UINT64_C(0x7465737420736c61)

/* An object as the library uses them: a word that survives free tells one life from the next. */
struct object {
    uint64_t magic;          /* written by the constructor only */
    _Atomic uint32_t life;   /* odd while in use; the owner's */
    uint32_t visits;
    char filling[40];
};

static _Atomic size_t constructed;

static void construct(void *obj)
{
    struct object *object = obj;
    static const struct object zero;

    TC_CHECK(memcmp(object, &zero, sizeof(zero)) == 0);
    object->magic = MAGIC;
    tc_fetch_add_seq_cst(&constructed, 1);
}

static void begin_life(struct object *object)
{
    TC_CHECK(object->magic == MAGIC);
    TC_CHECK_EQ(tc_fetch_add_seq_cst(&object->life, 1) % 2, 0u);
}

static void end_life(struct object *object)
{
    TC_CHECK_EQ(tc_fetch_add_seq_cst(&object->life, 1) % 2, 1u);
}

static void make(struct tc_slab *slab)
{
    tc_slab_init(slab, "test", sizeof(struct object), 64, construct);
}

static size_t in_use(struct tc_slab *slab)
{
    size_t objects;
    size_t bytes;

    tc_slab_stats(slab, &objects, &bytes);
    return objects;
}

/* B1 */
TC_TEST(test_slab_object_keeps_its_bytes_across_free_and_alloc)
{
    struct tc_slab slab;
    struct object *object;
    struct object copy;

    make(&slab);
    object = tc_slab_alloc(&slab);
    TC_CHECK(object != NULL);
    begin_life(object);
    memset(object->filling, 'x', sizeof(object->filling));
    end_life(object);
    memcpy(&copy, object, sizeof(copy));
    tc_slab_free(&slab, object);
    TC_CHECK(memcmp(&copy, object, sizeof(copy)) == 0);
    /* Last in, first out. */
    TC_CHECK(tc_slab_alloc(&slab) == object);
    TC_CHECK(memcmp(&copy, object, sizeof(copy)) == 0);
    tc_slab_free(&slab, object);
    tc_slab_fini(&slab);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0u);
}

TC_TEST(test_slab_objects_are_aligned_distinct_and_constructed_once)
{
    static struct object *objects[3000];
    struct tc_slab slab;
    size_t bytes;
    size_t used;

    make(&slab);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < TC_ARRAY_LEN(objects); i++) {
            objects[i] = tc_slab_alloc(&slab);
            TC_CHECK(objects[i] != NULL);
            TC_CHECK_EQ((uintptr_t)objects[i] % 64, 0u);
            begin_life(objects[i]); /* fails if an object is given out twice */
        }
        TC_CHECK_EQ(in_use(&slab), TC_ARRAY_LEN(objects));
        for (size_t i = 0; i < TC_ARRAY_LEN(objects); i++) {
            end_life(objects[i]);
            tc_slab_free(&slab, objects[i]);
        }
        TC_CHECK_EQ(in_use(&slab), 0u);
    }
    TC_CHECK_EQ(tc_load_seq_cst(&constructed), slab.carved);
    tc_slab_stats(&slab, &used, &bytes);
    TC_CHECK_EQ(bytes, tc_mem_bytes_in_use());
    tc_slab_fini(&slab);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0u);
}

TC_TEST(test_slab_cache_returns_the_last_freed_and_keeps_the_books)
{
    struct tc_slab slab;
    struct tc_slab_cache cache;
    struct object *objects[5 * TC_SLAB_CACHE_MAX];

    make(&slab);
    tc_slab_cache_init(&cache, &slab);
    for (size_t i = 0; i < TC_ARRAY_LEN(objects); i++) {
        objects[i] = tc_slab_cache_alloc(&cache);
        TC_CHECK(objects[i] != NULL);
        begin_life(objects[i]);
        TC_CHECK_EQ(in_use(&slab), i + 1);
    }
    tc_slab_cache_free(&cache, objects[0]);
    TC_CHECK(tc_slab_cache_alloc(&cache) == objects[0]);
    for (size_t i = 0; i < TC_ARRAY_LEN(objects); i++) {
        end_life(objects[i]);
        tc_slab_cache_free(&cache, objects[i]);
        TC_CHECK_EQ(in_use(&slab), TC_ARRAY_LEN(objects) - i - 1);
    }
    TC_CHECK(cache.count > 0);
    tc_slab_cache_flush(&cache);
    TC_CHECK_EQ(cache.count, 0u);
    TC_CHECK_EQ(slab.free_count, slab.carved); /* B2 */
    tc_slab_cache_fini(&cache);
    tc_slab_fini(&slab);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0u);
}

TC_TEST(test_slab_cache_serves_a_pair_without_the_lock)
{
    struct tc_slab slab;
    struct tc_slab_cache cache;
    void *obj;

    make(&slab);
    tc_slab_cache_init(&cache, &slab);
    obj = tc_slab_cache_alloc(&cache);
    tc_slab_cache_free(&cache, obj);
    /* A call that wanted the lock would wait for ever. */
    tc_lock_acquire(&slab.lock);
    for (int i = 0; i < 100; i++) {
        obj = tc_slab_cache_alloc(&cache);
        TC_CHECK(obj != NULL);
        tc_slab_cache_free(&cache, obj);
    }
    tc_lock_release(&slab.lock);
    tc_slab_cache_fini(&cache);
    tc_slab_fini(&slab);
}

static void visit(void *obj, void *arg)
{
    struct object *object = obj;

    TC_CHECK(object->magic == MAGIC);
    object->visits++;
    *(size_t *)arg += tc_load_seq_cst(&object->life) % 2;
}

TC_TEST(test_slab_for_each_visits_every_object_once)
{
    static struct object *objects[1000];
    struct tc_slab slab;
    size_t alive = 0;

    make(&slab);
    for (size_t i = 0; i < TC_ARRAY_LEN(objects); i++) {
        objects[i] = tc_slab_alloc(&slab);
        begin_life(objects[i]);
    }
    for (size_t i = 0; i < TC_ARRAY_LEN(objects); i += 2) {
        end_life(objects[i]);
        tc_slab_free(&slab, objects[i]);
    }
    tc_slab_for_each(&slab, visit, &alive);
    TC_CHECK_EQ(alive, TC_ARRAY_LEN(objects) / 2);
    for (size_t i = 0; i < TC_ARRAY_LEN(objects); i++) {
        TC_CHECK_EQ(objects[i]->visits, 1u);
    }
    for (size_t i = 1; i < TC_ARRAY_LEN(objects); i += 2) {
        tc_slab_free(&slab, objects[i]);
    }
    tc_slab_fini(&slab);
}

/* Fail the nth allocation for every n until the program needs fewer. */
TC_TEST(test_slab_alloc_without_memory_returns_null_and_recovers)
{
    for (uint64_t nth = 1;; nth++) {
        static void *objects[500];
        struct tc_slab slab;
        size_t got = 0;

        make(&slab);
        tc_fault_arm(TC_FAULT_ALLOC, nth, ENOMEM, 1);
        while (got < TC_ARRAY_LEN(objects)) {
            void *obj = tc_slab_alloc(&slab);

            if (obj == NULL) {
                /* One failure was ordered: the next attempt must succeed. */
                TC_CHECK_EQ(tc_fault_hits(TC_FAULT_ALLOC), 1u);
                TC_CHECK_EQ(in_use(&slab), got);
                obj = tc_slab_alloc(&slab);
                TC_CHECK(obj != NULL);
            }
            objects[got++] = obj;
        }
        while (got > 0) {
            tc_slab_free(&slab, objects[--got]);
        }
        tc_slab_fini(&slab);
        TC_CHECK_EQ(tc_mem_bytes_in_use(), 0u);
        if (tc_fault_hits(TC_FAULT_ALLOC) == 0) {
            TC_CHECK(nth > 2);
            return;
        }
    }
}

TC_TEST(test_slab_cache_alloc_without_memory_returns_null_and_recovers)
{
    struct tc_slab slab;
    struct tc_slab_cache cache;
    void *obj;

    make(&slab);
    tc_slab_cache_init(&cache, &slab);
    tc_fault_arm(TC_FAULT_ALLOC, 1, ENOMEM, UINT64_MAX);
    TC_CHECK(tc_slab_cache_alloc(&cache) == NULL);
    TC_CHECK(tc_slab_cache_alloc(&cache) == NULL);
    TC_CHECK_EQ(in_use(&slab), 0u);
    tc_fault_disarm_all();
    obj = tc_slab_cache_alloc(&cache);
    TC_CHECK(obj != NULL);
    tc_slab_cache_free(&cache, obj);
    tc_slab_cache_fini(&cache);
    tc_slab_fini(&slab);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0u);
}

/* ---- threads -------------------------------------------------------------------------- */

#define STEPS 30000
#define KEPT 150

struct worker {
    pthread_t thread;
    struct tc_slab *slab;
    uint64_t seed;
    bool has_cache;
};

/* Hold a random number of objects; each life is checked to be exclusive. */
static void *churn(void *arg)
{
    struct worker *worker = arg;
    struct tc_slab_cache cache;
    struct object *kept[KEPT];
    struct tc_rand rand;
    uint32_t count = 0;

    tc_rand_init(&rand, worker->seed);
    tc_slab_cache_init(&cache, worker->slab);
    for (int i = 0; i < STEPS || count > 0; i++) {
        if (i < STEPS && count < KEPT && tc_rand_below(&rand, 100) < 52) {
            kept[count] =
                worker->has_cache ? tc_slab_cache_alloc(&cache) : tc_slab_alloc(worker->slab);
            TC_CHECK(kept[count] != NULL);
            begin_life(kept[count++]);
        } else if (count > 0) {
            uint32_t chosen = tc_rand_below(&rand, count);
            struct object *object = kept[chosen];

            kept[chosen] = kept[--count];
            end_life(object);
            if (worker->has_cache) {
                tc_slab_cache_free(&cache, object);
            } else {
                tc_slab_free(worker->slab, object);
            }
        }
    }
    tc_slab_cache_fini(&cache);
    return NULL;
}

static void count_living(void *obj, void *arg)
{
    struct object *object = obj;

    TC_CHECK(object->magic == MAGIC);
    *(size_t *)arg += tc_load_seq_cst(&object->life) % 2;
}

TC_TEST(test_slab_threads_never_share_an_object)
{
    struct worker workers[4];
    struct tc_slab slab;
    size_t living = 0;

    make(&slab);
    for (size_t i = 0; i < TC_ARRAY_LEN(workers); i++) {
        workers[i] =
            (struct worker){.slab = &slab, .seed = tc_test_seed() + i, .has_cache = i % 2 == 0};
        TC_CHECK_EQ(pthread_create(&workers[i].thread, NULL, churn, &workers[i]), 0);
    }
    /* The walk and the books must not disturb them. */
    for (int i = 0; i < 200; i++) {
        size_t seen = 0;

        tc_slab_for_each(&slab, count_living, &seen);
        TC_CHECK(seen <= 4 * KEPT);
        TC_CHECK(in_use(&slab) <= 4 * (KEPT + TC_SLAB_CACHE_MAX));
    }
    for (size_t i = 0; i < TC_ARRAY_LEN(workers); i++) {
        TC_CHECK_EQ(pthread_join(workers[i].thread, NULL), 0);
    }
    tc_slab_for_each(&slab, count_living, &living);
    TC_CHECK_EQ(living, 0u);
    TC_CHECK_EQ(in_use(&slab), 0u);
    TC_CHECK_EQ(slab.free_count, slab.carved);
    tc_slab_fini(&slab);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0u);
}
