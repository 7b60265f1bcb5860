/* base/heap.h — 4-ary min-heap of (key, node) pairs; a node can leave from the middle.
 *
 * Keys live in the array next to the pointers, so sifting compares without touching a node;
 * each node only remembers its index. Four children per entry share one or two cache lines
 * and halve the depth of a binary heap, which suits timers: most are removed long before
 * they surface.
 *
 * INVARIANTS
 *   H1  entries[i].key >= entries[(i - 1) / 4].key for 0 < i < len.
 *   H2  entries[i].node->index == i for i < len; a node that is in no heap has TC_HEAP_NONE.
 *   H3  len <= cap; the array never shrinks before fini.
 *
 * No ownership of nodes. Equal keys leave in no particular order.
 *
 * WHO MAY CALL: one thread at a time on one heap; no function parks.
 */
#ifndef TC_BASE_HEAP_H
#define TC_BASE_HEAP_H

#include "base/defs.h"

#include <stdbool.h>

#define TC_HEAP_NONE UINT32_MAX

struct tc_heap_node {
    uint32_t index; /* place in the heap that holds it, or TC_HEAP_NONE; the heap's to write */
};

struct tc_heap_entry {
    int64_t key;
    struct tc_heap_node *node; /* borrowed until removed */
};

struct tc_heap {
    struct tc_heap_entry *entries; /* owned; NULL while cap is 0 */
    uint32_t len;
    uint32_t cap;
};

/* Mark a node as being in no heap; must precede its first use. */
static inline void tc_heap_node_init(struct tc_heap_node *node)
{
    node->index = TC_HEAP_NONE;
}

static inline bool tc_heap_node_is_queued(const struct tc_heap_node *node)
{
    return node->index != TC_HEAP_NONE;
}

/* Make an empty heap; allocates nothing. */
void tc_heap_init(struct tc_heap *heap);

/* Free the array; nodes still in the heap are marked as being in none. */
void tc_heap_fini(struct tc_heap *heap);

/* Add a node that is in no heap.  Returns 0, or -ENOMEM with nothing changed. */
TC_NODISCARD int tc_heap_push(struct tc_heap *heap, int64_t key, struct tc_heap_node *node);

/* Take out a node that is in this heap, from wherever it is. */
void tc_heap_remove(struct tc_heap *heap, struct tc_heap_node *node);

/* Give a node that is in this heap another key. Cannot fail. */
void tc_heap_update(struct tc_heap *heap, struct tc_heap_node *node, int64_t key);

/* Returns a node with the least key, still in the heap, or NULL. */
static inline struct tc_heap_node *tc_heap_min(const struct tc_heap *heap)
{
    return heap->len == 0 ? NULL : heap->entries[0].node;
}

/* Returns the least key, or TC_NEVER. */
static inline int64_t tc_heap_min_key(const struct tc_heap *heap)
{
    return heap->len == 0 ? TC_NEVER : heap->entries[0].key;
}

/* Check H1 to H3; walks the whole heap. */
bool tc_heap_is_valid(const struct tc_heap *heap);

#endif
