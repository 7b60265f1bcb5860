#include "base/heap.h"

#include "base/fault.h"
#include "base/mem.h"
#include "base/rand.h"
#include "harness.h"

#include <errno.h>

#define MAX_NODES 300

/* The oracle: an array of all pairs, searched from end to end. */
struct oracle {
    int64_t keys[MAX_NODES];
    bool queued[MAX_NODES];
    struct tc_heap_node nodes[MAX_NODES];
    struct tc_heap heap;
    uint32_t count;
};

static void oracle_init(struct oracle *oracle)
{
    tc_heap_init(&oracle->heap);
    oracle->count = 0;
    for (size_t i = 0; i < MAX_NODES; i++) {
        oracle->queued[i] = false;
        tc_heap_node_init(&oracle->nodes[i]);
    }
}

static int64_t oracle_min(const struct oracle *oracle)
{
    int64_t least = TC_NEVER;

    for (size_t i = 0; i < MAX_NODES; i++) {
        if (oracle->queued[i] && oracle->keys[i] < least) {
            least = oracle->keys[i];
        }
    }
    return least;
}

static void oracle_check(const struct oracle *oracle)
{
    struct tc_heap_node *min = tc_heap_min(&oracle->heap);

    TC_CHECK(tc_heap_is_valid(&oracle->heap)); /* H1 H2 H3 */
    TC_CHECK_EQ(oracle->heap.len, oracle->count);
    TC_CHECK_EQ(tc_heap_min_key(&oracle->heap), oracle_min(oracle));
    TC_CHECK((min == NULL) == (oracle->count == 0));
    if (min != NULL) {
        TC_CHECK_EQ(oracle->keys[min - oracle->nodes], oracle_min(oracle));
    }
}

/* Few different keys, so that many are equal, and now and then an extreme one. */
static int64_t random_key(struct tc_rand *rand)
{
    switch (tc_rand_below(rand, 20)) {
    case 0:
        return TC_NEVER;
    case 1:
        return INT64_MIN;
    default:
        return (int64_t)tc_rand_below(rand, 100) - 50;
    }
}

static void random_step(struct oracle *oracle, struct tc_rand *rand)
{
    uint32_t i = tc_rand_below(rand, MAX_NODES);

    if (!oracle->queued[i]) {
        oracle->keys[i] = random_key(rand);
        TC_CHECK_EQ(tc_heap_push(&oracle->heap, oracle->keys[i], &oracle->nodes[i]), 0);
        oracle->queued[i] = true;
        oracle->count++;
    } else if (tc_rand_below(rand, 2) == 0) {
        tc_heap_remove(&oracle->heap, &oracle->nodes[i]);
        TC_CHECK(!tc_heap_node_is_queued(&oracle->nodes[i]));
        oracle->queued[i] = false;
        oracle->count--;
    } else {
        oracle->keys[i] = random_key(rand);
        tc_heap_update(&oracle->heap, &oracle->nodes[i], oracle->keys[i]);
    }
}

TC_TEST(test_heap_random_steps_agree_with_an_oracle)
{
    static struct oracle oracle;
    struct tc_rand rand;

    tc_rand_init(&rand, tc_test_seed());
    oracle_init(&oracle);
    for (int step = 0; step < 20000; step++) {
        random_step(&oracle, &rand);
        oracle_check(&oracle);
    }
    tc_heap_fini(&oracle.heap);
    for (size_t i = 0; i < MAX_NODES; i++) {
        TC_CHECK(!tc_heap_node_is_queued(&oracle.nodes[i]));
    }
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0u);
}

TC_TEST(test_heap_drained_by_min_gives_sorted_keys)
{
    static struct tc_heap_node nodes[1000];
    struct tc_heap heap;
    struct tc_rand rand;
    int64_t last = INT64_MIN;

    tc_rand_init(&rand, tc_test_seed());
    tc_heap_init(&heap);
    for (size_t i = 0; i < 1000; i++) {
        tc_heap_node_init(&nodes[i]);
        TC_CHECK_EQ(tc_heap_push(&heap, (int64_t)(tc_rand_next(&rand) >> 1), &nodes[i]), 0);
    }
    for (size_t i = 0; i < 1000; i++) {
        TC_CHECK(tc_heap_min_key(&heap) >= last);
        last = tc_heap_min_key(&heap);
        tc_heap_remove(&heap, tc_heap_min(&heap));
    }
    TC_CHECK(tc_heap_min(&heap) == NULL);
    TC_CHECK_EQ(tc_heap_min_key(&heap), TC_NEVER);
    tc_heap_fini(&heap);
}

TC_TEST(test_heap_push_without_memory_changes_nothing)
{
    static struct tc_heap_node nodes[1000];
    struct tc_heap heap;
    uint32_t len = 0;

    tc_heap_init(&heap);
    tc_fault_arm(TC_FAULT_ALLOC, 2, ENOMEM, UINT64_MAX);
    for (;; len++) {
        tc_heap_node_init(&nodes[len]);
        if (tc_heap_push(&heap, -(int64_t)len, &nodes[len]) != 0) {
            break;
        }
    }
    TC_CHECK_EQ(tc_fault_hits(TC_FAULT_ALLOC), 1u);
    TC_CHECK_EQ(heap.len, len);
    TC_CHECK(!tc_heap_node_is_queued(&nodes[len]));
    TC_CHECK(tc_heap_is_valid(&heap));
    tc_fault_disarm_all();
    TC_CHECK_EQ(tc_heap_push(&heap, INT64_MIN, &nodes[len]), 0);
    TC_CHECK(tc_heap_min(&heap) == &nodes[len]);
    tc_heap_fini(&heap);
}
