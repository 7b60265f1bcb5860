#include "base/mem.h"

#include "base/fault.h"
#include "base/rand.h"
#include "harness.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

TC_TEST(test_mem_counter_returns_to_baseline)
{
    size_t baseline = tc_mem_bytes_in_use();
    void *a = tc_mem_alloc(100);
    unsigned char *b = tc_mem_zalloc(50);
    void *c = tc_mem_alloc_aligned(128, 256);

    TC_CHECK(a != NULL && b != NULL && c != NULL);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), baseline + 406);
    for (int i = 0; i < 50; i++) {
        TC_CHECK_EQ(b[i], 0);
    }
    TC_CHECK_EQ((uintptr_t)c % 128, 0u);
    tc_mem_free(a, 100);
    tc_mem_free(b, 50);
    tc_mem_free(c, 256);
    tc_mem_free(NULL, 0);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), baseline);
}

TC_TEST(test_mem_aligned_accepts_alignments_below_a_pointer)
{
    void *block = tc_mem_alloc_aligned(1, 3);

    TC_CHECK(block != NULL);
    tc_mem_free(block, 3);
}

TC_TEST(test_mem_realloc_keeps_content_and_counts_the_difference)
{
    size_t baseline = tc_mem_bytes_in_use();
    char *block = tc_mem_realloc(NULL, 0, 8);

    TC_CHECK(block != NULL);
    memcpy(block, "content", 8);
    block = tc_mem_realloc(block, 8, 100000);
    TC_CHECK(block != NULL);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), baseline + 100000);
    TC_CHECK(strcmp(block, "content") == 0);
    block = tc_mem_realloc(block, 100000, 8);
    TC_CHECK(block != NULL);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), baseline + 8);
    TC_CHECK(strcmp(block, "content") == 0);
    tc_mem_free(block, 8);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), baseline);
}

/* M2 */
TC_TEST(test_mem_injected_failure_changes_nothing)
{
    char *block = tc_mem_alloc(16);
    size_t before = tc_mem_bytes_in_use();

    TC_CHECK(block != NULL);
    memcpy(block, "still here", 11);
    tc_fault_arm(TC_FAULT_ALLOC, 1, ENOMEM, 4);
    TC_CHECK(tc_mem_alloc(1) == NULL);
    TC_CHECK(tc_mem_zalloc(1) == NULL);
    TC_CHECK(tc_mem_alloc_aligned(64, 1) == NULL);
    TC_CHECK(tc_mem_realloc(block, 16, 32) == NULL);
    TC_CHECK_EQ(tc_fault_hits(TC_FAULT_ALLOC), 4u);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), before);
    TC_CHECK(strcmp(block, "still here") == 0);
    block = tc_mem_realloc(block, 16, 32);
    TC_CHECK(block != NULL);
    tc_mem_free(block, 32);
}

static void *allocate_and_free(void *arg)
{
    struct tc_rand rand;

    tc_rand_init(&rand, (uint64_t)(uintptr_t)arg);
    for (int i = 0; i < 20000; i++) {
        size_t size = 1 + tc_rand_below(&rand, 500);
        void *block = tc_mem_alloc(size);

        TC_CHECK(block != NULL);
        tc_mem_free(block, size);
    }
    return NULL;
}

/* M1 */
TC_TEST(test_mem_counter_is_exact_after_concurrent_use)
{
    size_t baseline = tc_mem_bytes_in_use();
    pthread_t threads[4];

    for (uintptr_t i = 0; i < 4; i++) {
        TC_CHECK_EQ(pthread_create(&threads[i], NULL, allocate_and_free,
                                   (void *)(tc_test_seed() + i)),
                    0);
    }
    for (int i = 0; i < 4; i++) {
        TC_CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    TC_CHECK_EQ(tc_mem_bytes_in_use(), baseline);
}

TC_TEST(test_mem_page_size_is_a_power_of_two)
{
    size_t page = tc_mem_page_size();

    TC_CHECK(page >= 4096 && (page & (page - 1)) == 0);
}
