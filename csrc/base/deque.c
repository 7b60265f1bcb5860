#include "base/deque.h"

#include "arch/cpu.h"
#include "base/ebr.h"
#include "base/mem.h"

_Static_assert(TC_DEQUE_LINE == TC_CACHELINE, "the core cannot include arch, so it repeats it");

enum { DEQUE_INITIAL_CAPACITY = TC_TEST_SMALL ? 4 : 256 };

/* What is allocated: the reclaimer's node lies before the slots, out of the thieves' sight. */
struct deque_block {
    struct tc_ebr_node node;     /* unused until retired; then the reclaimer's                 */
    size_t bytes;                /* of the whole block                                         */
    struct tc_deque_array array; /* last: ends in the slots                                    */
};

static struct deque_block *block_of(struct tc_deque_array *array)
{
    return tc_container_of(array, struct deque_block, array);
}

static struct tc_deque_array *block_new(uint64_t capacity)
{
    size_t array_bytes = tc_deque_core_array_bytes(capacity);
    struct deque_block *block;
    size_t bytes;

    if (array_bytes == 0 || array_bytes > SIZE_MAX - sizeof(*block)) {
        return NULL;
    }
    bytes = offsetof(struct deque_block, array) + array_bytes;
    block = tc_mem_alloc(bytes);
    if (block == NULL) {
        return NULL;
    }
    tc_mem_reserve(bytes);
    block->bytes = bytes;
    tc_deque_core_array_init(&block->array, capacity);
    return &block->array;
}

static void block_free_retired(struct tc_ebr_node *node)
{
    struct deque_block *block = tc_container_of(node, struct deque_block, node);

    tc_deque_array_free(block, block->bytes);
}

int tc_deque_init(struct tc_deque *deque, tc_deque_retire_fn *retire, void *retire_arg)
{
    struct tc_deque_array *array = block_new(DEQUE_INITIAL_CAPACITY);

    if (array == NULL) {
        return -ENOMEM;
    }
    tc_deque_core_init(&deque->core, array);
    deque->retire = retire;
    deque->retire_arg = retire_arg;
    return 0;
}

void tc_deque_fini(struct tc_deque *deque)
{
    struct deque_block *block = block_of(tc_deque_core_array(&deque->core));

    tc_deque_array_free(block, block->bytes);
}

void tc_deque_array_free(void *array, size_t bytes)
{
    tc_mem_free(array, bytes);
    tc_mem_unreserve(bytes);
}

void tc_deque_retire_ebr(void *arg, void *array, size_t bytes)
{
    struct deque_block *block = array;

    tc_assert_debug(block->bytes == bytes);
    tc_ebr_retire(arg, &block->node, block_free_retired);
}

TC_NOINLINE int tc__deque_push_slow(struct tc_deque *deque, void *item)
{
    struct tc_deque_array *old = tc_deque_core_array(&deque->core);
    struct tc_deque_array *larger = block_new((old->mask + 1) * 2);
    struct deque_block *block;
    bool pushed;

    if (larger == NULL) {
        return -ENOMEM;
    }
    block = block_of(tc_deque_core_adopt(&deque->core, larger));
    deque->retire(deque->retire_arg, block, block->bytes);
    pushed = tc_deque_core_push(&deque->core, item);
    tc_assert(pushed);
    return 0;
}
