/* sched/stack_internal.h — slots, bins and regions, for stack.c (pool) and stack_cache.c (caches).
 *
 * All functions are for who holds the slot, the bin or the pool's lock, as the bins' owners do.
 */
#ifndef TC_SCHED_STACK_INTERNAL_H
#define TC_SCHED_STACK_INTERNAL_H

#include "base/assert.h"
#include "base/atomic.h"
#include "sched/stack.h"

#include <stddef.h>
#include <stdint.h>

/* ---- constants and types --------------------------------------------------------------------- */

#define TC_STACK_KIB ((size_t)1024)
#define TC_STACK_REGION_BYTES ((size_t)(TC_TEST_SMALL ? 1 : 64) * 1024 * TC_STACK_KIB)
#define TC_STACK_REGION_MIN_SLOTS ((size_t)4)
#define TC_STACK_TRIM_PERIOD_NS TC_NS_PER_SEC
#define TC_STACK_CANARY UINT64_C(0x7c5ac4a93ead5afe)
#define TC_STACK_GUARD_ADVICE \
    102 /* MADV_GUARD_INSTALL of Linux 6.13, newer than most system headers */

enum {
    TC_STACK_MAX_REGIONS = 16384, /* 1 TiB of stacks */
    TC_STACK_BATCH = TC_TEST_SMALL ? 2 : 32, /* stacks that move between a cache and the pool    */
    TC_STACK_CARVE = TC_TEST_SMALL ? 2 : 8, /* stacks carved at once: one guard syscall each    */
    TC_STACK_CACHE_MAX = 4 * TC_STACK_BATCH, /* per class                                        */
    TC_STACK_TRIM_MAX = 128, /* madvise calls in one call of trim */
    TC_STACK_MPROTECT_GUARDS = 16384,
    TC_STACK_STAGGER_STEPS = 16, /* tops are staggered by 0..15 cache lines */
    TC_STACK_STAGGER_BYTES = 64,
};

/*  slot word    bit 0       no guard: the canary stands for it
 *               bits 1-12   slot in its region
 *               bits 13-26  region
 *  owner word   bit 0 = 0   the owner, or 0                              (slot in use)
 *               bit 0 = 1   bits 1-32: slot word of the next in its bin  (slot free)
 */
enum {
    TC_STACK_SLOT_SHIFT = 1,
    TC_STACK_SLOT_BITS = 12,
    TC_STACK_REGION_SHIFT = TC_STACK_SLOT_SHIFT + TC_STACK_SLOT_BITS,
    TC_STACK_UNGUARDED = 1
};

struct tc_stack_region {
    char *base;
    size_t bytes;
    struct tc_stack_geometry geometry;
    uint32_t index; /* in pool->regions */
    uint32_t slots;
    uint32_t carved; /* slots below were handed out once; under the pool's lock */
    enum tc_stack_class class;
    _Atomic bool refuses_advice; /* the mapping cannot have guard advice (mlocked, say)         */
    _Atomic uintptr_t owners[]; /* one word a slot; who holds the slot writes it               */
};

/* A run of slots that belongs to the thread that reserved it. */
struct tc_stack_carving {
    struct tc_stack_region *region;
    uint32_t first;
    uint32_t count;
};

_Static_assert((TC_STACK_REGION_BYTES >> TC_STACK_SLOT_BITS) <= 16 * TC_STACK_KIB,
               "a slot number must fit its field");
_Static_assert(sizeof(uintptr_t) == 8, "an owner word must hold a slot word and a mark");
_Static_assert(sizeof(struct tc_stack) == 16, "lives in every fiber");

/* ---- slots ----------------------------------------------------------------------------------- */

static inline struct tc_stack_region *tc__stack_region_of(const struct tc_stack_pool *pool,
                                                          uint32_t slot_word)
{
    /* relaxed: whoever has the slot word got it after the region was published, by the pool's lock
     * or together with the stack. */
    return tc_load_relaxed(&pool->regions[slot_word >> TC_STACK_REGION_SHIFT]);
}

static inline uint32_t tc__stack_index_of(uint32_t slot_word)
{
    return (slot_word >> TC_STACK_SLOT_SHIFT) & ((1u << TC_STACK_SLOT_BITS) - 1);
}

static inline char *tc__stack_lowest_usable(const struct tc_stack_region *region,
                                            uint32_t slot_word)
{
    return region->base + tc__stack_index_of(slot_word) * region->geometry.slot_bytes +
           region->geometry.guard_bytes;
}

static inline uint64_t tc__stack_canary_for(const void *place)
{
    return TC_STACK_CANARY ^ (uint64_t)(uintptr_t)place;
}

/* ---- bins ------------------------------------------------------------------------------------ */

static inline uint32_t tc__stack_bin_count(const struct tc_stack_bin *bin)
{
    return tc_load_relaxed(&bin->count); /* relaxed: ours alone, or a statistic */
}

static inline void tc__stack_bin_init(struct tc_stack_bin *bin)
{
    bin->head = TC_STACK_NONE;
    bin->low = 0;
    tc_store_relaxed(&bin->count, 0); /* relaxed: a statistic to others */
}

static inline void tc__stack_bin_push(const struct tc_stack_pool *pool, struct tc_stack_bin *bin,
                                      uint32_t slot_word)
{
    struct tc_stack_region *region = tc__stack_region_of(pool, slot_word);

    /* relaxed: the slot is ours; the overflow report only looks at the mark. */
    tc_store_relaxed(&region->owners[tc__stack_index_of(slot_word)],
                     ((uintptr_t)bin->head << 1) | 1);
    bin->head = slot_word;
    tc_store_relaxed(&bin->count,
                     tc__stack_bin_count(bin) + 1); /* relaxed: a statistic to others */
}

/* The bin must not be empty. */
static inline uint32_t tc__stack_bin_pop(const struct tc_stack_pool *pool, struct tc_stack_bin *bin)
{
    uint32_t slot_word = bin->head;
    struct tc_stack_region *region = tc__stack_region_of(pool, slot_word);
    uintptr_t link;

    /* relaxed: the slot is ours. */
    link = tc_load_relaxed(&region->owners[tc__stack_index_of(slot_word)]);
    tc_assert_debug((link & 1) == 1);
    tc_store_relaxed(&region->owners[tc__stack_index_of(slot_word)], 0);
    bin->head = (uint32_t)(link >> 1);
    tc_store_relaxed(&bin->count,
                     tc__stack_bin_count(bin) - 1); /* relaxed: a statistic to others */
    if (tc__stack_bin_count(bin) < bin->low) {
        bin->low = tc__stack_bin_count(bin);
    }
    return slot_word;
}

static inline void tc__stack_bin_move(const struct tc_stack_pool *pool, struct tc_stack_bin *to,
                                      struct tc_stack_bin *from, uint32_t limit)
{
    while (limit-- > 0 && tc__stack_bin_count(from) > 0) {
        tc__stack_bin_push(pool, to, tc__stack_bin_pop(pool, from));
    }
}

/* ---- from stack.c -------------------------------------------------------------------------- */

/* Reserve slots of `class` that were never used. Enters and returns locked. */
struct tc_stack_carving tc__stack_carve_locked(struct tc_stack_pool *pool,
                                               enum tc_stack_class class);

/* Install a new slot's guard. Returns TC_STACK_UNGUARDED if it has a canary instead, else 0. */
uint32_t tc__stack_guard_slot(struct tc_stack_pool *pool, struct tc_stack_region *region,
                              uint32_t slot);

#endif
