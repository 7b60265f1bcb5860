/* Stacks: geometry, guards in their three forms, recycling, trimming, failures. */
#include "sched/stack.h"

#include "base/fault.h"
#include "base/mem.h"
#include "base/sys.h"
#include "harness.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

/* A pool with one cache, which is what most tests need. */
struct fixture {
    struct tc_stack_pool pool;
    struct tc_stack_cache cache;
};

static void fixture_init(struct fixture *f)
{
    TC_CHECK_EQ(tc_stack_pool_init(&f->pool), 0);
    tc_stack_cache_init(&f->cache, &f->pool);
}

static void fixture_fini(struct fixture *f)
{
    size_t before;

    tc_stack_cache_fini(&f->cache);
    before = tc_mem_bytes_in_use();
    tc_stack_pool_fini(&f->pool);
    TC_CHECK(before == 0 || tc_mem_bytes_in_use() < before);
}

static struct tc_stack take(struct fixture *f, enum tc_stack_class class)
{
    struct tc_stack stack;

    TC_CHECK_EQ(tc_stack_cache_get(&f->cache, class, &stack), 0);
    return stack;
}

/* Whether the kernel can read the 8 bytes at `address`. */
static bool is_readable(const void *address)
{
    int fd = tc_sys_eventfd(0, EFD_NONBLOCK);
    ssize_t result;

    TC_CHECK(fd >= 0);
    result = tc_sys_write(fd, address, 8);
    TC_CHECK(result == 8 || result == -EFAULT || result == -EINVAL);
    (void)tc_sys_close(fd);
    return result != -EFAULT;
}

static uint64_t in_use(struct fixture *f)
{
    struct tc_stack_stats stats;

    tc_stack_pool_stats(&f->pool, &stats);
    return stats.stacks_in_use;
}

/* ---- geometry -------------------------------------------------------------------------------- */

TC_TEST(test_stack_geometry_has_whole_pages_one_guard_two_usable)
{
    static const size_t pages[] = {4096, 16384, 65536};

    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        for (int class = 0; class < TC_STACK_CLASS_COUNT; class++) {
            struct tc_stack_geometry g = tc__stack_geometry((enum tc_stack_class)class, pages[i]);

            TC_CHECK_EQ(g.slot_bytes % pages[i], (size_t)0);
            TC_CHECK_EQ(g.guard_bytes % pages[i], (size_t)0);
            TC_CHECK(g.guard_bytes >= pages[i]);
            TC_CHECK(g.slot_bytes >= g.guard_bytes + 2 * pages[i]);
        }
    }
}

TC_TEST(test_stack_geometry_with_small_pages_is_16_64_256_kib)
{
    TC_CHECK_EQ(tc__stack_geometry(TC_STACK_SMALL, 4096).slot_bytes, (size_t)16384);
    TC_CHECK_EQ(tc__stack_geometry(TC_STACK_SMALL, 4096).guard_bytes, (size_t)4096);
    TC_CHECK_EQ(tc__stack_geometry(TC_STACK_DEFAULT, 4096).slot_bytes, (size_t)65536);
    TC_CHECK_EQ(tc__stack_geometry(TC_STACK_DEFAULT, 4096).guard_bytes, (size_t)16384);
    TC_CHECK_EQ(tc__stack_geometry(TC_STACK_LARGE, 4096).slot_bytes, (size_t)262144);
    TC_CHECK_EQ(tc__stack_geometry(TC_STACK_LARGE, 4096).guard_bytes, (size_t)16384);
}

TC_TEST(test_stack_geometry_with_64_kib_pages_makes_two_classes_coincide)
{
    TC_CHECK_EQ(tc__stack_geometry(TC_STACK_SMALL, 65536).slot_bytes,
                tc__stack_geometry(TC_STACK_DEFAULT, 65536).slot_bytes);
    TC_CHECK(tc__stack_geometry(TC_STACK_LARGE, 65536).slot_bytes >
             tc__stack_geometry(TC_STACK_DEFAULT, 65536).slot_bytes);
}

/* ---- memory and guards ----------------------------------------------------------------------- */

/* Every class, twice over, is writable from end to end and unreadable just below. */
static void check_guarded(struct fixture *f)
{
    for (int class = 0; class < TC_STACK_CLASS_COUNT; class++) {
        for (int i = 0; i < 20; i++) {
            struct tc_stack stack = take(f, (enum tc_stack_class)class);
            size_t slot_bytes = tc_stack_class_bytes(&f->pool, (enum tc_stack_class)class);

            TC_CHECK(stack.size <= slot_bytes);
            TC_CHECK(stack.size + 2048 > slot_bytes / 2);
            memset(stack.lo, 0xa5, stack.size);
            TC_CHECK(is_readable(stack.lo));
            TC_CHECK(!is_readable((char *)stack.lo - 8));
            TC_CHECK(!is_readable((char *)stack.lo - tc_mem_page_size()));
            if (i % 2) {
                tc_stack_cache_put(&f->cache, &stack);
                TC_CHECK(stack.lo == NULL);
            }
        }
    }
}

TC_TEST(test_stack_guard_makes_reads_below_fail)
{
    struct fixture f;

    fixture_init(&f);
    check_guarded(&f);
    fixture_fini(&f);
}

TC_TEST(test_stack_guard_by_mprotect_makes_reads_below_fail)
{
    struct fixture f;

    fixture_init(&f);
    tc__stack_pool_limit_guards(&f.pool, 1000);
    check_guarded(&f);
    fixture_fini(&f);
}

TC_TEST(test_stack_refused_advice_falls_back_to_mprotect)
{
    struct fixture f;

    fixture_init(&f);
    tc_fault_arm(TC_SYS_MADVISE, 1, EINVAL, UINT64_MAX);
    check_guarded(&f);
    tc_fault_disarm_all();
    fixture_fini(&f);
}

TC_TEST(test_stack_without_guard_works_up_to_its_end)
{
    struct fixture f;

    fixture_init(&f);
    tc__stack_pool_limit_guards(&f.pool, 3);
    for (int i = 0; i < 100; i++) {
        struct tc_stack stack = take(&f, TC_STACK_DEFAULT);

        memset((char *)stack.lo + 8, 0xa5, stack.size - 8);
        tc_stack_cache_put(&f.cache, &stack);
    }
    TC_CHECK_EQ(in_use(&f), (uint64_t)0);
    fixture_fini(&f);
}

static void overflow_without_guard(void *arg)
{
    struct fixture f;
    struct tc_stack stack;

    (void)arg;
    fixture_init(&f);
    tc__stack_pool_limit_guards(&f.pool, 0);
    stack = take(&f, TC_STACK_DEFAULT);
    *(volatile uint64_t *)stack.lo = 1;
    tc_stack_cache_put(&f.cache, &stack);
}

TC_TEST(test_stack_overflow_without_guard_panics_at_release)
{
    char output[4096];
    int status = tc_test_run_in_child(overflow_without_guard, NULL, output, sizeof(output));

    TC_CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
    TC_CHECK(strstr(output, "overflowed its 64 KiB stack") != NULL);
}

/* ---- recycling ------------------------------------------------------------------------------- */

TC_TEST(test_stack_released_last_is_taken_first)
{
    struct fixture f;
    struct tc_stack a;
    struct tc_stack b;
    void *last;

    fixture_init(&f);
    a = take(&f, TC_STACK_DEFAULT);
    b = take(&f, TC_STACK_DEFAULT);
    last = b.lo;
    tc_stack_cache_put(&f.cache, &a);
    tc_stack_cache_put(&f.cache, &b);
    TC_CHECK(take(&f, TC_STACK_DEFAULT).lo == last);
    fixture_fini(&f);
}

TC_TEST(test_stack_release_makes_no_syscall)
{
    struct fixture f;
    struct tc_stack stacks[1000];

    fixture_init(&f);
    for (size_t i = 0; i < 1000; i++) {
        stacks[i] = take(&f, TC_STACK_DEFAULT);
    }
    tc_fault_arm(TC_SYS_MMAP, 1, ENOMEM, UINT64_MAX);
    tc_fault_arm(TC_SYS_MADVISE, 1, ENOMEM, UINT64_MAX);
    tc_fault_arm(TC_SYS_MPROTECT, 1, ENOMEM, UINT64_MAX);
    for (size_t i = 0; i < 1000; i++) {
        tc_stack_cache_put(&f.cache, &stacks[i]);
    }
    for (size_t i = 0; i < 1000; i++) {
        stacks[i] = take(&f, TC_STACK_DEFAULT);
    }
    TC_CHECK_EQ(tc_fault_hits(TC_SYS_MMAP), (uint64_t)0);
    TC_CHECK_EQ(tc_fault_hits(TC_SYS_MADVISE), (uint64_t)0);
    TC_CHECK_EQ(tc_fault_hits(TC_SYS_MPROTECT), (uint64_t)0);
    tc_fault_disarm_all();
    TC_CHECK_EQ(in_use(&f), (uint64_t)1000);
    fixture_fini(&f);
}

/* S1: random traffic over two caches never hands out a stack twice and loses none. */
TC_TEST(test_stack_random_traffic_keeps_stacks_distinct)
{
    enum { HELD = 600, STEPS = 50000 };
    static struct tc_stack held[HELD];
    struct fixture f;
    struct tc_stack_cache other;
    uint64_t random = tc_test_seed();
    uint64_t count = 0;

    fixture_init(&f);
    tc_stack_cache_init(&other, &f.pool);
    for (int step = 0; step < STEPS; step++) {
        struct tc_stack_cache *cache;
        struct tc_stack *one;

        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        one = &held[(random >> 33) % HELD];
        cache = (random >> 20) & 1 ? &f.cache : &other;
        if (one->lo) {
            TC_CHECK_EQ(*(uint32_t *)(void *)((char *)one->lo + 64), one->slot);
            tc_stack_cache_put(cache, one);
            count--;
        } else {
            enum tc_stack_class class = (enum tc_stack_class)((random >> 50) % 3);

            TC_CHECK_EQ(tc_stack_cache_get(cache, class, one), 0);
            *(uint32_t *)(void *)((char *)one->lo + 64) = one->slot;
            count++;
        }
        if (step % 1000 == 0) {
            TC_CHECK_EQ(in_use(&f), count);
        }
    }
    tc_stack_cache_fini(&other);
    TC_CHECK_EQ(in_use(&f), count);
    fixture_fini(&f);
}

struct exchange {
    struct fixture *fixture;
    struct tc_stack stacks[200];
    pthread_mutex_t lock;
};

/* Take stacks with this thread's cache and release what another thread took. */
static void *exchange_stacks(void *arg)
{
    struct exchange *exchange = arg;
    struct tc_stack_cache cache;

    tc_stack_cache_init(&cache, &exchange->fixture->pool);
    for (size_t i = 0; i < 20000; i++) {
        struct tc_stack stack;
        struct tc_stack *place = &exchange->stacks[i * 7 % 200];
        struct tc_stack former;

        TC_CHECK_EQ(tc_stack_cache_get(&cache, TC_STACK_SMALL, &stack), 0);
        *(volatile char *)stack.lo = 1;
        pthread_mutex_lock(&exchange->lock);
        former = *place;
        *place = stack;
        pthread_mutex_unlock(&exchange->lock);
        if (former.lo) {
            tc_stack_cache_put(&cache, &former);
        }
        if (i % 1000 == 0) {
            (void)tc_stack_cache_trim(&cache, (int64_t)i * TC_NS_PER_SEC);
        }
    }
    tc_stack_cache_fini(&cache);
    return NULL;
}

TC_TEST(test_stack_threads_exchange_stacks)
{
    static struct exchange exchange = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct fixture f;
    pthread_t threads[3];

    fixture_init(&f);
    exchange.fixture = &f;
    for (size_t i = 0; i < 3; i++) {
        TC_CHECK_EQ(pthread_create(&threads[i], NULL, exchange_stacks, &exchange), 0);
    }
    for (size_t i = 0; i < 3; i++) {
        TC_CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    for (size_t i = 0; i < 200; i++) {
        tc_stack_cache_put(&f.cache, &exchange.stacks[i]);
    }
    TC_CHECK_EQ(in_use(&f), (uint64_t)0);
    fixture_fini(&f);
}

/* ---- trim ------------------------------------------------------------------------------------ */

TC_TEST(test_stack_trim_drops_the_pages_of_all_unused_stacks)
{
    enum { STACKS = 1000 };
    static struct tc_stack stacks[STACKS];
    struct fixture f;
    struct tc_stack_stats stats;
    int64_t now = TC_NS_PER_SEC;
    int rounds = 0;

    fixture_init(&f);
    for (size_t i = 0; i < STACKS; i++) {
        stacks[i] = take(&f, TC_STACK_DEFAULT);
        memset(stacks[i].lo, 0xa5, stacks[i].size);
    }
    for (size_t i = 0; i < STACKS; i++) {
        tc_stack_cache_put(&f.cache, &stacks[i]);
    }
    while (now != TC_NEVER) {
        int64_t next = tc_stack_cache_trim(&f.cache, now);

        TC_CHECK(next >= now);
        TC_CHECK(++rounds < 200);
        now = next;
    }
    tc_stack_pool_stats(&f.pool, &stats);
    TC_CHECK_EQ(stats.stacks_in_use, (uint64_t)0);
    TC_CHECK_EQ(stats.stacks_cached, (uint64_t)0);
    TC_CHECK_EQ(stats.bytes_cached, (uint64_t)0);
    TC_CHECK(stats.stacks_cold >= STACKS);
    for (size_t i = 0; i < STACKS; i++) {
        stacks[i] = take(&f, TC_STACK_DEFAULT);
        TC_CHECK_EQ(*(volatile char *)((char *)stacks[i].lo + 4096), 0);
        TC_CHECK(!is_readable((char *)stacks[i].lo - 8));
    }
    fixture_fini(&f);
}

TC_TEST(test_stack_trim_keeps_what_is_used_in_every_period)
{
    struct fixture f;
    struct tc_stack stacks[3];
    struct tc_stack_stats stats;

    fixture_init(&f);
    for (int64_t second = 1; second < 50; second++) {
        for (size_t i = 0; i < 3; i++) {
            stacks[i] = take(&f, TC_STACK_DEFAULT);
        }
        for (size_t i = 0; i < 3; i++) {
            tc_stack_cache_put(&f.cache, &stacks[i]);
        }
        (void)tc_stack_cache_trim(&f.cache, second * TC_NS_PER_SEC);
    }
    tc_stack_pool_stats(&f.pool, &stats);
    TC_CHECK(stats.stacks_cached >= 3);
    TC_CHECK(stats.stacks_cached <= 4);
    fixture_fini(&f);
}

/* ---- failures -------------------------------------------------------------------------------- */

static void check_fails_then_recovers(enum tc_sys_call call)
{
    struct fixture f;
    struct tc_stack stack;

    fixture_init(&f);
    tc_fault_arm(call, 1, ENOMEM, UINT64_MAX);
    TC_CHECK_EQ(tc_stack_cache_get(&f.cache, TC_STACK_LARGE, &stack), -ENOMEM);
    TC_CHECK(stack.lo == NULL);
    TC_CHECK_EQ(in_use(&f), (uint64_t)0);
    tc_fault_disarm_all();
    stack = take(&f, TC_STACK_LARGE);
    tc_stack_cache_put(&f.cache, &stack);
    fixture_fini(&f);
}

TC_TEST(test_stack_get_without_address_space_fails_then_recovers)
{
    check_fails_then_recovers(TC_SYS_MMAP);
}

TC_TEST(test_stack_get_without_memory_fails_then_recovers)
{
    check_fails_then_recovers(TC_FAULT_ALLOC);
}

TC_TEST(test_stack_get_near_the_address_limit_uses_smaller_regions)
{
    struct fixture f;
    struct tc_stack stack;

    fixture_init(&f);
    tc_fault_arm(TC_SYS_MMAP, 1, ENOMEM, 1);
    stack = take(&f, TC_STACK_DEFAULT);
    tc_fault_disarm_all();
    tc_stack_cache_put(&f.cache, &stack);
    fixture_fini(&f);
}

TC_TEST(test_stack_pool_init_without_memory_fails)
{
    struct tc_stack_pool pool;

    tc_fault_arm(TC_SYS_MMAP, 1, ENOMEM, UINT64_MAX);
    TC_CHECK_EQ(tc_stack_pool_init(&pool), -ENOMEM);
}

/* ---- finding --------------------------------------------------------------------------------- */

TC_TEST(test_stack_find_names_owner_and_guard_of_slots_in_use)
{
    static const uint64_t owner;
    struct tc_stack_place place;
    struct fixture f;
    struct tc_stack stack;
    char *lo;

    TC_CHECK(!tc_stack_find(&owner, &place));
    fixture_init(&f);
    TC_CHECK(!tc_stack_find(&owner, &place));
    stack = take(&f, TC_STACK_DEFAULT);
    lo = stack.lo;
    TC_CHECK(tc_stack_find(lo - 1, &place));
    TC_CHECK(place.owner == NULL);
    tc_stack_set_owner(&f.pool, &stack, &owner);
    TC_CHECK(tc_stack_find(lo - 1, &place));
    TC_CHECK(place.owner == &owner);
    TC_CHECK(place.is_guard);
    TC_CHECK_EQ(place.slot_bytes, tc_stack_class_bytes(&f.pool, TC_STACK_DEFAULT));
    TC_CHECK(tc_stack_find(lo, &place));
    TC_CHECK(!place.is_guard);
    tc_stack_cache_put(&f.cache, &stack);
    TC_CHECK(tc_stack_find(lo - 1, &place));
    TC_CHECK(place.owner == NULL);
    fixture_fini(&f);
    TC_CHECK(!tc_stack_find(lo - 1, &place));
}

static size_t count_mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    size_t lines = 0;
    int c;

    TC_CHECK(maps != NULL);
    while ((c = fgetc(maps)) != EOF) {
        lines += c == '\n';
    }
    fclose(maps);
    return lines;
}

/* More stacks than a process may have mappings for two each. */
TC_TEST(test_stack_guards_of_many_stacks_need_few_mappings)
{
    enum { STACKS = 50000 };
    struct fixture f;
    struct tc_stack *stacks = calloc(STACKS, sizeof(*stacks));
    size_t before;

    TC_CHECK(stacks != NULL);
    fixture_init(&f);
    if (!f.pool.has_guard_advice) {
        tc_test_skipf("the kernel has no MADV_GUARD_INSTALL");
    }
    before = count_mappings();
    for (size_t i = 0; i < STACKS; i++) {
        stacks[i] = take(&f, TC_STACK_SMALL);
    }
    TC_CHECK(count_mappings() < before + STACKS / 10);
    fixture_fini(&f);
    free(stacks);
}
