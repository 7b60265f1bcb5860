/* A worker's free stacks: taking, giving back, and returning memory that lies unused. */
#include "base/sys.h"
#include "sched/stack_internal.h"

#include <errno.h>
#include <sys/mman.h>

/* ---- cache ----------------------------------------------------------------------------------- */

static bool hot_pop(struct tc_stack_hot *hot, struct tc_stack *out)
{
    uint32_t count = tc_load_relaxed(&hot->count); /* relaxed: our own */

    if (count == 0) {
        return false;
    }
    *out = hot->stacks[count - 1];
    tc_store_relaxed(&hot->count, count - 1); /* relaxed: a statistic to others */
    hot->used = true;
    return true;
}

static bool hot_push(struct tc_stack_hot *hot, const struct tc_stack *stack)
{
    uint32_t count = tc_load_relaxed(&hot->count); /* relaxed: our own */

    if (count == TC_STACK_HOT) {
        return false;
    }
    hot->stacks[count] = *stack;
    tc_store_relaxed(&hot->count, count + 1); /* relaxed: a statistic to others */
    return true;
}

/* Put the hot stacks to the others. */
static void hot_cool(struct tc_stack_cache *cache, int class)
{
    struct tc_stack stack;

    while (hot_pop(&cache->hot[class], &stack)) {
        tc__stack_bin_push(cache->pool, &cache->bins[class], stack.slot);
    }
}

void tc_stack_cache_init(struct tc_stack_cache *cache, struct tc_stack_pool *pool)
{
    cache->pool = pool;
    cache->next_trim_ns = 0;
    for (int class = 0; class < TC_STACK_CLASS_COUNT; class++) {
        tc__stack_bin_init(&cache->bins[class]);
        tc_atomic_init(&cache->hot[class].count, 0);
        cache->hot[class].used = false;
    }
    tc_lock_acquire(&pool->lock);
    tc_list_push_back(&pool->caches, &cache->node);
    tc_lock_release(&pool->lock);
}

void tc_stack_cache_fini(struct tc_stack_cache *cache)
{
    struct tc_stack_pool *pool = cache->pool;

    for (int class = 0; class < TC_STACK_CLASS_COUNT; class++) {
        hot_cool(cache, class);
    }
    tc_lock_acquire(&pool->lock);
    for (int class = 0; class < TC_STACK_CLASS_COUNT; class++) {
        tc__stack_bin_move(pool, &pool->warm[class], &cache->bins[class], UINT32_MAX);
    }
    tc_list_remove(&cache->node);
    tc_lock_release(&pool->lock);
}

/* Fill an empty bin: what was used lately first, then what is mapped, then new slots. */
static TC_NOINLINE void refill_slow(struct tc_stack_cache *cache, enum tc_stack_class class)
{
    struct tc_stack_pool *pool = cache->pool;
    struct tc_stack_bin *bin = &cache->bins[class];
    struct tc_stack_carving carving = {0};

    tc_lock_acquire(&pool->lock);
    tc__stack_bin_move(pool, bin, &pool->warm[class], TC_STACK_BATCH);
    if (tc__stack_bin_count(bin) == 0) {
        tc__stack_bin_move(pool, bin, &pool->cold[class], TC_STACK_BATCH);
    }
    if (tc__stack_bin_count(bin) == 0) {
        carving = tc__stack_carve_locked(pool, class);
    }
    tc_lock_release(&pool->lock);
    for (uint32_t slot = carving.first + carving.count; slot-- > carving.first;) {
        tc__stack_bin_push(pool, bin,
                           carving.region->index << TC_STACK_REGION_SHIFT |
                               slot << TC_STACK_SLOT_SHIFT |
                               tc__stack_guard_slot(pool, carving.region, slot));
    }
}

static TC_NOINLINE void flush_slow(struct tc_stack_cache *cache, enum tc_stack_class class)
{
    struct tc_stack_pool *pool = cache->pool;

    tc_lock_acquire(&pool->lock);
    tc__stack_bin_move(pool, &pool->warm[class], &cache->bins[class], TC_STACK_BATCH);
    tc_lock_release(&pool->lock);
}

/* Out-of-line tail of tc_stack_cache_get: nothing hot. */
static TC_NOINLINE int get_slow(struct tc_stack_cache *cache, enum tc_stack_class served,
                                struct tc_stack *out)
{
    struct tc_stack_bin *bin = &cache->bins[served];
    struct tc_stack_region *region;
    uint32_t slot_word;
    size_t size;

    if (tc_unlikely(tc__stack_bin_count(bin) == 0)) {
        refill_slow(cache, served);
        if (tc__stack_bin_count(bin) == 0) {
            *out = (struct tc_stack){0};
            return -ENOMEM;
        }
    }
    slot_word = tc__stack_bin_pop(cache->pool, bin);
    region = tc__stack_region_of(cache->pool, slot_word);
    size =
        region->geometry.slot_bytes - region->geometry.guard_bytes -
        (size_t)(tc__stack_index_of(slot_word) % TC_STACK_STAGGER_STEPS) * TC_STACK_STAGGER_BYTES;
    out->lo = tc__stack_lowest_usable(region, slot_word);
    out->size = (uint32_t)size;
    out->slot = slot_word;
    if (tc_unlikely(slot_word & TC_STACK_UNGUARDED)) {
        *(uint64_t *)out->lo = tc__stack_canary_for(out->lo);
    }
    return 0;
}

int tc_stack_cache_get(struct tc_stack_cache *cache, enum tc_stack_class class,
                       struct tc_stack *out)
{
    const enum tc_stack_class served = (enum tc_stack_class)cache->pool->merged[class];

    if (tc_likely(hot_pop(&cache->hot[served], out))) {
        return 0;
    }
    return get_slow(cache, served, out);
}

void tc_stack_cache_put(struct tc_stack_cache *cache, struct tc_stack *stack)
{
    struct tc_stack_region *region = tc__stack_region_of(cache->pool, stack->slot);
    struct tc_stack_bin *bin = &cache->bins[region->class];

    tc_assert_debug(stack->lo == tc__stack_lowest_usable(region, stack->slot));
    if (tc_unlikely(stack->slot & TC_STACK_UNGUARDED) &&
        *(const uint64_t *)stack->lo != tc__stack_canary_for(stack->lo)) {
        tc_panic("a fiber overflowed its %zu KiB stack, which had no guard page",
                 region->geometry.slot_bytes / TC_STACK_KIB);
    }
    if (tc_likely(hot_push(&cache->hot[region->class], stack))) {
        /* relaxed: the slot is ours; the overflow report finds nobody there. */
        tc_store_relaxed(&region->owners[tc__stack_index_of(stack->slot)], 0);
        stack->lo = NULL;
        return;
    }
    if (tc_unlikely(tc__stack_bin_count(bin) == TC_STACK_CACHE_MAX)) {
        flush_slow(cache, region->class);
    }
    tc__stack_bin_push(cache->pool, bin, stack->slot);
    *stack = (struct tc_stack){0};
}

/* ---- trim ------------------------------------------------------------------------------------ */

/* How many stacks of the bin to let go after a period in which `low` were never needed; begins the
 * next period. Half of them, rounded up: a load that comes back every few seconds keeps most. */
static uint32_t bin_end_period(struct tc_stack_bin *bin)
{
    uint32_t surplus = (bin->low + 1) / 2;

    bin->low = tc__stack_bin_count(bin) - surplus;
    return surplus;
}

/* Drop the pages of the stacks in `dropped` and make them cold. */
static void make_cold(struct tc_stack_pool *pool, struct tc_stack_bin *dropped,
                      enum tc_stack_class class)
{
    uint32_t slot_word = dropped->head;

    if (tc__stack_bin_count(dropped) == 0) {
        return;
    }
    while (slot_word != TC_STACK_NONE) {
        struct tc_stack_region *region = tc__stack_region_of(pool, slot_word);

        /* A failure leaves the pages where they are, which costs memory and nothing else. */
        TC_IGNORE(tc_sys_madvise(tc__stack_lowest_usable(region, slot_word),
                                 region->geometry.slot_bytes - region->geometry.guard_bytes,
                                 MADV_DONTNEED));
        /* relaxed: the slots of this list are ours. */
        slot_word =
            (uint32_t)(tc_load_relaxed(&region->owners[tc__stack_index_of(slot_word)]) >> 1);
    }
    tc_lock_acquire(&pool->lock);
    tc__stack_bin_move(pool, &pool->cold[class], dropped, UINT32_MAX);
    tc_lock_release(&pool->lock);
}

int64_t tc_stack_cache_trim(struct tc_stack_cache *cache, int64_t now_ns)
{
    struct tc_stack_pool *pool = cache->pool;
    const bool is_cache_due = now_ns >= cache->next_trim_ns;
    uint32_t budget = TC_STACK_TRIM_MAX;
    uint32_t left = 0;
    uint32_t kept = 0;
    bool is_hot = false;
    bool is_pool_due;

    tc_lock_acquire(&pool->lock);
    is_pool_due = now_ns >= pool->next_trim_ns;
    pool->next_trim_ns = is_pool_due ? now_ns + TC_STACK_TRIM_PERIOD_NS : pool->next_trim_ns;
    tc_lock_release(&pool->lock);
    cache->next_trim_ns = is_cache_due ? now_ns + TC_STACK_TRIM_PERIOD_NS : cache->next_trim_ns;

    for (int i = 0; i < TC_STACK_CLASS_COUNT; i++) {
        const enum tc_stack_class class = (enum tc_stack_class)i;
        struct tc_stack_bin dropped;
        uint32_t share;

        tc__stack_bin_init(&dropped);
        if (is_cache_due) {
            if (!cache->hot[class].used) {
                hot_cool(cache, class);
            }
            cache->hot[class].used = false;
            uint32_t surplus = bin_end_period(&cache->bins[class]);

            tc__stack_bin_move(pool, &dropped, &cache->bins[class],
                               surplus < budget ? surplus : budget);
            budget -= tc__stack_bin_count(&dropped);
        }
        tc_lock_acquire(&pool->lock);
        if (is_pool_due) {
            pool->trim_left[class] = bin_end_period(&pool->warm[class]);
        }
        share = pool->trim_left[class] < budget ? pool->trim_left[class] : budget;
        pool->trim_left[class] -= share;
        budget -= share;
        left += pool->trim_left[class];
        tc__stack_bin_move(pool, &dropped, &pool->warm[class], share);
        kept += tc__stack_bin_count(&cache->bins[class]) + tc__stack_bin_count(&pool->warm[class]);
        is_hot |= tc_load_relaxed(&cache->hot[class].count) != 0; /* relaxed: our own */
        tc_lock_release(&pool->lock);
        make_cold(pool, &dropped, class);
    }
    if (left > 0) {
        return now_ns;
    }
    return kept > 0 || is_hot ? cache->next_trim_ns : TC_NEVER;
}
