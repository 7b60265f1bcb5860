#include "base/heap.h"

#include "base/assert.h"
#include "base/mem.h"

#include <errno.h>

#define ARITY 4u
#define FIRST_CAPACITY (TC_TEST_SMALL ? 4u : 64u)

/* Write one entry and keep its node's index true (H2). */
static void place(struct tc_heap *heap, uint32_t index, struct tc_heap_entry entry)
{
    heap->entries[index] = entry;
    entry.node->index = index;
}

/* Move the hole at `index` towards the root until `entry` fits, then put it there. */
static void sift_up(struct tc_heap *heap, uint32_t index, struct tc_heap_entry entry)
{
    while (index > 0) {
        uint32_t parent = (index - 1) / ARITY;

        if (heap->entries[parent].key <= entry.key) {
            break;
        }
        place(heap, index, heap->entries[parent]);
        index = parent;
    }
    place(heap, index, entry);
}

/* Returns the child of `index` with the least key; there must be one. */
static uint32_t least_child(const struct tc_heap *heap, uint32_t first)
{
    uint32_t end = heap->len - first < ARITY ? heap->len : first + ARITY;
    uint32_t least = first;

    for (uint32_t child = first + 1; child < end; child++) {
        if (heap->entries[child].key < heap->entries[least].key) {
            least = child;
        }
    }
    return least;
}

/* Move the hole at `index` towards the leaves until `entry` fits, then put it there. */
static void sift_down(struct tc_heap *heap, uint32_t index, struct tc_heap_entry entry)
{
    /* Written as a division, because ARITY * index + 1 could wrap. */
    while (heap->len > 1 && index <= (heap->len - 2) / ARITY) {
        uint32_t least = least_child(heap, ARITY * index + 1);

        if (entry.key <= heap->entries[least].key) {
            break;
        }
        place(heap, index, heap->entries[least]);
        index = least;
    }
    place(heap, index, entry);
}

/* Put `entry` into the hole at `index`, wherever it belongs. */
static void sift(struct tc_heap *heap, uint32_t index, struct tc_heap_entry entry)
{
    if (index > 0 && entry.key < heap->entries[(index - 1) / ARITY].key) {
        sift_up(heap, index, entry);
    } else {
        sift_down(heap, index, entry);
    }
}

static int grow(struct tc_heap *heap)
{
    uint32_t cap = heap->cap == 0 ? FIRST_CAPACITY : heap->cap * 2;
    void *entries;

    if (cap > TC_HEAP_NONE / 2) {
        return -ENOMEM;
    }
    entries = tc_mem_realloc(heap->entries, heap->cap * sizeof(heap->entries[0]),
                             cap * sizeof(heap->entries[0]));
    if (entries == NULL) {
        return -ENOMEM;
    }
    tc_mem_reserve((cap - heap->cap) * sizeof(heap->entries[0]));
    heap->entries = entries;
    heap->cap = cap;
    return 0;
}

static bool holds(const struct tc_heap *heap, const struct tc_heap_node *node)
{
    return node->index < heap->len && heap->entries[node->index].node == node;
}

void tc_heap_init(struct tc_heap *heap)
{
    heap->entries = NULL;
    heap->len = 0;
    heap->cap = 0;
}

void tc_heap_fini(struct tc_heap *heap)
{
    for (uint32_t i = 0; i < heap->len; i++) {
        heap->entries[i].node->index = TC_HEAP_NONE;
    }
    tc_mem_free(heap->entries, heap->cap * sizeof(heap->entries[0]));
    tc_mem_unreserve(heap->cap * sizeof(heap->entries[0]));
    tc_heap_init(heap);
}

int tc_heap_push(struct tc_heap *heap, int64_t key, struct tc_heap_node *node)
{
    tc_assert_debug(!tc_heap_node_is_queued(node));
    if (heap->len == heap->cap) {
        int err = grow(heap);

        if (err != 0) {
            return err;
        }
    }
    heap->len++;
    sift_up(heap, heap->len - 1, (struct tc_heap_entry){.key = key, .node = node});
    tc_assert_slow(tc_heap_is_valid(heap));
    return 0;
}

void tc_heap_remove(struct tc_heap *heap, struct tc_heap_node *node)
{
    uint32_t index = node->index;
    struct tc_heap_entry last;

    tc_assert_debug(holds(heap, node));
    heap->len--;
    last = heap->entries[heap->len];
    if (index != heap->len) {
        sift(heap, index, last);
    }
    node->index = TC_HEAP_NONE;
    tc_assert_slow(tc_heap_is_valid(heap));
}

void tc_heap_update(struct tc_heap *heap, struct tc_heap_node *node, int64_t key)
{
    tc_assert_debug(holds(heap, node));
    sift(heap, node->index, (struct tc_heap_entry){.key = key, .node = node});
    tc_assert_slow(tc_heap_is_valid(heap));
}

bool tc_heap_is_valid(const struct tc_heap *heap)
{
    if (heap->len > heap->cap || (heap->cap != 0 && heap->entries == NULL)) {
        return false; /* H3 */
    }
    for (uint32_t i = 0; i < heap->len; i++) {
        if (heap->entries[i].node->index != i) {
            return false; /* H2 */
        }
        if (i > 0 && heap->entries[i].key < heap->entries[(i - 1) / ARITY].key) {
            return false; /* H1 */
        }
    }
    return true;
}
