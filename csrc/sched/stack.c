#include "sched/stack.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "base/mem.h"
#include "base/sys.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

/* ---- constants and types --------------------------------------------------------------------- */

#define KIB ((size_t)1024)
#define REGION_BYTES ((size_t)(TC_TEST_SMALL ? 1 : 64) * 1024 * KIB)
#define REGION_MIN_SLOTS ((size_t)4)
#define TRIM_PERIOD_NS TC_NS_PER_SEC
#define CANARY UINT64_C(0x7c5ac4a93ead5afe)
#define GUARD_ADVICE 102 /* MADV_GUARD_INSTALL of Linux 6.13, newer than most system headers */

enum {
    MAX_REGIONS = 16384, /* 1 TiB of stacks                                  */
    BATCH = TC_TEST_SMALL ? 2 : 32, /* stacks that move between a cache and the pool    */
    CARVE = TC_TEST_SMALL ? 2 : 8, /* stacks carved at once: one guard syscall each    */
    CACHE_MAX = 4 * BATCH, /* per class                                        */
    TRIM_MAX = 128, /* madvise calls in one call of trim                */
    MPROTECT_GUARDS = 16384,
    STAGGER_STEPS = 16, /* tops are staggered by 0..15 cache lines          */
    STAGGER_BYTES = 64,
};

/*  slot word    bit 0       no guard: the canary stands for it
 *               bits 1-12   slot in its region
 *               bits 13-26  region
 *  owner word   bit 0 = 0   the owner, or 0                              (slot in use)
 *               bit 0 = 1   bits 1-32: slot word of the next in its bin  (slot free)
 */
enum { SLOT_SHIFT = 1, SLOT_BITS = 12, REGION_SHIFT = SLOT_SHIFT + SLOT_BITS, UNGUARDED = 1 };

struct tc_stack_region {
    char *base;
    size_t bytes;
    struct tc_stack_geometry geometry;
    uint32_t index; /* in pool->regions                                            */
    uint32_t slots;
    uint32_t carved; /* slots below were handed out once; under the pool's lock     */
    enum tc_stack_class class;
    _Atomic bool refuses_advice; /* the mapping cannot have guard advice (mlocked, say)         */
    _Atomic uintptr_t owners[]; /* one word a slot; who holds the slot writes it               */
};

/* A run of slots that belongs to the thread that reserved it. */
struct carving {
    struct tc_stack_region *region;
    uint32_t first;
    uint32_t count;
};

_Static_assert((REGION_BYTES >> SLOT_BITS) <= 16 * KIB, "a slot number must fit its field");
_Static_assert(sizeof(uintptr_t) == 8, "an owner word must hold a slot word and a mark");
_Static_assert(sizeof(struct tc_stack) == 16, "lives in every fiber");

/* The pool that tc_stack_find() searches. A signal handler has no argument to pass it in. */
static _Atomic(struct tc_stack_pool *) newest_pool;

/* ---- slots ----------------------------------------------------------------------------------- */

struct tc_stack_geometry tc__stack_geometry(enum tc_stack_class class, size_t page_bytes)
{
    static const size_t wanted_slot[] = {16 * KIB, 64 * KIB, 256 * KIB};
    static const size_t wanted_guard[] = {1, 16 * KIB, 16 * KIB};
    struct tc_stack_geometry geometry;

    geometry.guard_bytes = (wanted_guard[class] + page_bytes - 1) / page_bytes * page_bytes;
    geometry.slot_bytes = (wanted_slot[class] + page_bytes - 1) / page_bytes * page_bytes;
    if (geometry.slot_bytes < geometry.guard_bytes + 2 * page_bytes) {
        geometry.slot_bytes = geometry.guard_bytes + 2 * page_bytes;
    }
    return geometry;
}

static struct tc_stack_region *region_of(const struct tc_stack_pool *pool, uint32_t slot_word)
{
    /* relaxed: whoever has the slot word got it after the region was published, by the pool's lock
     * or together with the stack. */
    return tc_load_relaxed(&pool->regions[slot_word >> REGION_SHIFT]);
}

static uint32_t index_of(uint32_t slot_word)
{
    return (slot_word >> SLOT_SHIFT) & ((1u << SLOT_BITS) - 1);
}

static char *lowest_usable(const struct tc_stack_region *region, uint32_t slot_word)
{
    return region->base + index_of(slot_word) * region->geometry.slot_bytes +
           region->geometry.guard_bytes;
}

static uint64_t canary_for(const void *place)
{
    return CANARY ^ (uint64_t)(uintptr_t)place;
}

/* ---- bins ------------------------------------------------------------------------------------ */

static uint32_t bin_count(const struct tc_stack_bin *bin)
{
    return tc_load_relaxed(&bin->count); /* relaxed: ours alone, or a statistic */
}

static void bin_init(struct tc_stack_bin *bin)
{
    bin->head = TC_STACK_NONE;
    bin->low = 0;
    tc_store_relaxed(&bin->count, 0); /* relaxed: a statistic to others */
}

static void bin_push(const struct tc_stack_pool *pool, struct tc_stack_bin *bin, uint32_t slot_word)
{
    struct tc_stack_region *region = region_of(pool, slot_word);

    /* relaxed: the slot is ours; the overflow report only looks at the mark. */
    tc_store_relaxed(&region->owners[index_of(slot_word)], ((uintptr_t)bin->head << 1) | 1);
    bin->head = slot_word;
    tc_store_relaxed(&bin->count, bin_count(bin) + 1); /* relaxed: a statistic to others */
}

/* The bin must not be empty. */
static uint32_t bin_pop(const struct tc_stack_pool *pool, struct tc_stack_bin *bin)
{
    uint32_t slot_word = bin->head;
    struct tc_stack_region *region = region_of(pool, slot_word);
    uintptr_t link;

    /* relaxed: the slot is ours. */
    link = tc_load_relaxed(&region->owners[index_of(slot_word)]);
    tc_assert_debug((link & 1) == 1);
    tc_store_relaxed(&region->owners[index_of(slot_word)], 0);
    bin->head = (uint32_t)(link >> 1);
    tc_store_relaxed(&bin->count, bin_count(bin) - 1); /* relaxed: a statistic to others */
    if (bin_count(bin) < bin->low) {
        bin->low = bin_count(bin);
    }
    return slot_word;
}

static void bin_move(const struct tc_stack_pool *pool, struct tc_stack_bin *to,
                     struct tc_stack_bin *from, uint32_t limit)
{
    while (limit-- > 0 && bin_count(from) > 0) {
        bin_push(pool, to, bin_pop(pool, from));
    }
}

/* ---- regions --------------------------------------------------------------------------------- */

/* Map a region for `class`; under the pool's lock. A process near its limit of address space gets
 * smaller ones. Returns NULL when there is no memory or the table is full. */
static struct tc_stack_region *region_open_locked(struct tc_stack_pool *pool,
                                                  enum tc_stack_class class)
{
    const struct tc_stack_geometry *geometry = &pool->geometry[class];
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK;
    size_t slots = REGION_BYTES / geometry->slot_bytes;
    struct tc_stack_region *region;
    size_t meta_bytes;
    void *base = NULL;

    if (pool->region_count == MAX_REGIONS) {
        return NULL;
    }
    while (tc_sys_mmap(NULL, slots * geometry->slot_bytes, PROT_READ | PROT_WRITE, flags, &base)) {
        slots /= 2;
        if (slots < REGION_MIN_SLOTS) {
            return NULL;
        }
    }
    meta_bytes = sizeof(*region) + slots * sizeof(region->owners[0]);
    region = tc_mem_zalloc(meta_bytes);
    if (!region) {
        goto unmap_base;
    }
    tc_mem_reserve(meta_bytes);
    region->base = base;
    region->bytes = slots * geometry->slot_bytes;
    region->geometry = *geometry;
    region->index = pool->region_count++;
    region->slots = (uint32_t)slots;
    region->class = class;
    /* A first touch must cost one small page, and a child cannot run our fibers. Where the kernel
     * refuses, that costs memory and nothing else. */
    TC_IGNORE(tc_sys_madvise(base, region->bytes, MADV_NOHUGEPAGE));
    TC_IGNORE(tc_sys_madvise(base, region->bytes, MADV_DONTFORK));
    /* release [stack-region]: the fields above before the pointer that the report follows. */
    tc_store_release(&pool->regions[region->index], region);
    return region;

unmap_base:
    (void)tc_sys_munmap(base, slots * geometry->slot_bytes); /* nothing else can be done about it */
    return NULL;
}

static void region_close(struct tc_stack_region *region)
{
    (void)tc_sys_munmap(region->base, region->bytes); /* nothing else can be done about it */
    tc_mem_unreserve(sizeof(*region) + region->slots * sizeof(region->owners[0]));
    tc_mem_free(region, sizeof(*region) + region->slots * sizeof(region->owners[0]));
}

/* Reserve up to CARVE fresh slots, so that their guards can be made without the lock. */
static struct carving carve_locked(struct tc_stack_pool *pool, enum tc_stack_class class)
{
    struct carving carving = {.region = pool->open[class]};
    struct tc_stack_region *region = carving.region;

    if (!region || region->carved == region->slots) {
        region = region_open_locked(pool, class);
        if (!region) {
            return carving;
        }
        pool->open[class] = region;
    }
    carving.region = region;
    carving.first = region->carved;
    carving.count = region->slots - region->carved < CARVE ? region->slots - region->carved : CARVE;
    region->carved += carving.count;
    pool->carved[class] += carving.count;
    return carving;
}

/* Make the guard of a fresh slot. Returns the slot word's UNGUARDED bit: set if the kernel gave no
 * guard, for lack of page tables or mappings, and the canary must do. */
static uint32_t guard_slot(struct tc_stack_pool *pool, struct tc_stack_region *region,
                           uint32_t slot)
{
    char *guard = region->base + slot * region->geometry.slot_bytes;
    size_t bytes = region->geometry.guard_bytes;

    /* relaxed: a hint that saves a syscall which would fail. */
    if (pool->has_guard_advice && !tc_load_relaxed(&region->refuses_advice)) {
        int error = tc_sys_madvise(guard, bytes, GUARD_ADVICE);

        if (error == 0) {
            return 0;
        }
        if (error == -EINVAL) {
            tc_store_relaxed(&region->refuses_advice, true); /* relaxed: see above */
        }
    }
    /* relaxed: a count that orders nothing; it may run below zero by one a stack. */
    if (tc_load_relaxed(&pool->mprotect_left) > 0 &&
        tc_fetch_sub_relaxed(&pool->mprotect_left, 1) > 0 &&
        tc_sys_mprotect(guard, bytes, PROT_NONE) == 0) {
        return 0;
    }
    return UNGUARDED;
}

/* ---- pool ------------------------------------------------------------------------------------ */

/* Whether guard advice works here, by its effect: a system call that reads the page must fail. */
static bool probe_guard_advice(void)
{
    size_t page = tc_mem_page_size();
    bool has_guard = false;
    void *memory;
    int fd;

    if (tc_sys_mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, &memory)) {
        return false;
    }
    fd = tc_sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd >= 0) {
        has_guard = tc_sys_madvise(memory, page, GUARD_ADVICE) == 0 &&
                    tc_sys_write(fd, memory, sizeof(uint64_t)) == -EFAULT;
        (void)tc_sys_close(fd); /* an eventfd has nothing to flush */
    }
    (void)tc_sys_munmap(memory, page); /* nothing else can be done about it */
    return has_guard;
}

int tc_stack_pool_init(struct tc_stack_pool *pool)
{
    const size_t page = tc_mem_page_size();
    void *table;
    int error;

    *pool = (struct tc_stack_pool){.has_guard_advice = probe_guard_advice()};
    tc_lock_init(&pool->lock, TC_RANK_STACK);
    tc_list_init(&pool->caches);
    tc_store_relaxed(&pool->mprotect_left, MPROTECT_GUARDS); /* relaxed: not shared yet */
    for (int class = TC_STACK_CLASS_COUNT - 1; class >= 0; class--) {
        pool->geometry[class] = tc__stack_geometry((enum tc_stack_class)class, page);
        pool->merged[class] = (uint8_t)class;
        if (class + 1 < TC_STACK_CLASS_COUNT &&
            pool->geometry[class].slot_bytes == pool->geometry[class + 1].slot_bytes) {
            pool->merged[class] = pool->merged[class + 1];
        }
        bin_init(&pool->warm[class]);
        bin_init(&pool->cold[class]);
    }
    /* Mapped, not allocated: only the part that is used becomes memory. */
    error = tc_sys_mmap(NULL, MAX_REGIONS * sizeof(pool->regions[0]), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, &table);
    if (error) {
        return error;
    }
    pool->regions = table;
    /* release [stack-pool]: the table before the pointer that the report follows. A child of fork
     * makes its own pool, which then replaces the one it cannot use. */
    tc_store_release(&newest_pool, pool);
    return 0;
}

void tc_stack_pool_fini(struct tc_stack_pool *pool)
{
    struct tc_stack_pool *expected = pool;

    tc_assert(tc_list_is_empty(&pool->caches));
    (void)tc_cas_relaxed(&newest_pool, &expected, NULL); /* relaxed: no stack is in use any more */
    for (uint32_t i = 0; i < pool->region_count; i++) {
        region_close(region_of(pool, i << REGION_SHIFT));
    }
    /* Nothing else can be done about a failure. */
    (void)tc_sys_munmap((void *)pool->regions, MAX_REGIONS * sizeof(pool->regions[0]));
    pool->regions = NULL;
}

size_t tc_stack_class_bytes(const struct tc_stack_pool *pool, enum tc_stack_class class)
{
    return pool->geometry[class].slot_bytes;
}

void tc_stack_pool_stats(struct tc_stack_pool *pool, struct tc_stack_stats *out)
{
    *out = (struct tc_stack_stats){0};
    tc_lock_acquire(&pool->lock);
    for (int class = 0; class < TC_STACK_CLASS_COUNT; class++) {
        uint64_t cold = bin_count(&pool->cold[class]);
        uint64_t cached = bin_count(&pool->warm[class]);
        uint64_t carved = pool->carved[class];
        uint64_t in_use;
        struct tc_list *it;

        TC_LIST_FOR_EACH (it, &pool->caches) {
            struct tc_stack_cache *cache = tc_container_of(it, struct tc_stack_cache, node);
            cached += bin_count(&cache->bins[class]);
            cached += tc_load_relaxed(&cache->hot[class].count); /* relaxed: a statistic */
        }
        /* A cache moves while it is counted, so the parts can exceed the whole for a moment. */
        in_use = carved > cold + cached ? carved - cold - cached : 0;
        out->stacks_in_use += in_use;
        out->stacks_cached += cached;
        out->stacks_cold += cold;
        out->bytes_in_use += in_use * pool->geometry[class].slot_bytes;
        out->bytes_cached += cached * pool->geometry[class].slot_bytes;
    }
    tc_lock_release(&pool->lock);
}

void tc__stack_pool_limit_guards(struct tc_stack_pool *pool, int32_t mprotect_guards)
{
    pool->has_guard_advice = false;
    tc_store_relaxed(&pool->mprotect_left, mprotect_guards); /* relaxed: before the first stack */
}

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
        bin_push(cache->pool, &cache->bins[class], stack.slot);
    }
}

void tc_stack_cache_init(struct tc_stack_cache *cache, struct tc_stack_pool *pool)
{
    cache->pool = pool;
    cache->next_trim_ns = 0;
    for (int class = 0; class < TC_STACK_CLASS_COUNT; class++) {
        bin_init(&cache->bins[class]);
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
        bin_move(pool, &pool->warm[class], &cache->bins[class], UINT32_MAX);
    }
    tc_list_remove(&cache->node);
    tc_lock_release(&pool->lock);
}

/* Fill an empty bin: what was used lately first, then what is mapped, then new slots. */
static TC_NOINLINE void refill_slow(struct tc_stack_cache *cache, enum tc_stack_class class)
{
    struct tc_stack_pool *pool = cache->pool;
    struct tc_stack_bin *bin = &cache->bins[class];
    struct carving carving = {0};

    tc_lock_acquire(&pool->lock);
    bin_move(pool, bin, &pool->warm[class], BATCH);
    if (bin_count(bin) == 0) {
        bin_move(pool, bin, &pool->cold[class], BATCH);
    }
    if (bin_count(bin) == 0) {
        carving = carve_locked(pool, class);
    }
    tc_lock_release(&pool->lock);
    for (uint32_t slot = carving.first + carving.count; slot-- > carving.first;) {
        bin_push(pool, bin,
                 carving.region->index << REGION_SHIFT | slot << SLOT_SHIFT |
                     guard_slot(pool, carving.region, slot));
    }
}

static TC_NOINLINE void flush_slow(struct tc_stack_cache *cache, enum tc_stack_class class)
{
    struct tc_stack_pool *pool = cache->pool;

    tc_lock_acquire(&pool->lock);
    bin_move(pool, &pool->warm[class], &cache->bins[class], BATCH);
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

    if (tc_unlikely(bin_count(bin) == 0)) {
        refill_slow(cache, served);
        if (bin_count(bin) == 0) {
            *out = (struct tc_stack){0};
            return -ENOMEM;
        }
    }
    slot_word = bin_pop(cache->pool, bin);
    region = region_of(cache->pool, slot_word);
    size = region->geometry.slot_bytes - region->geometry.guard_bytes -
           index_of(slot_word) % STAGGER_STEPS * STAGGER_BYTES;
    out->lo = lowest_usable(region, slot_word);
    out->size = (uint32_t)size;
    out->slot = slot_word;
    if (tc_unlikely(slot_word & UNGUARDED)) {
        *(uint64_t *)out->lo = canary_for(out->lo);
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
    struct tc_stack_region *region = region_of(cache->pool, stack->slot);
    struct tc_stack_bin *bin = &cache->bins[region->class];

    tc_assert_debug(stack->lo == lowest_usable(region, stack->slot));
    if (tc_unlikely(stack->slot & UNGUARDED) &&
        *(const uint64_t *)stack->lo != canary_for(stack->lo)) {
        tc_panic("a fiber overflowed its %zu KiB stack, which had no guard page",
                 region->geometry.slot_bytes / KIB);
    }
    if (tc_likely(hot_push(&cache->hot[region->class], stack))) {
        /* relaxed: the slot is ours; the overflow report finds nobody there. */
        tc_store_relaxed(&region->owners[index_of(stack->slot)], 0);
        stack->lo = NULL;
        return;
    }
    if (tc_unlikely(bin_count(bin) == CACHE_MAX)) {
        flush_slow(cache, region->class);
    }
    bin_push(cache->pool, bin, stack->slot);
    *stack = (struct tc_stack){0};
}

/* ---- trim ------------------------------------------------------------------------------------ */

/* How many stacks of the bin to let go after a period in which `low` were never needed; begins the
 * next period. Half of them, rounded up: a load that comes back every few seconds keeps most. */
static uint32_t bin_end_period(struct tc_stack_bin *bin)
{
    uint32_t surplus = (bin->low + 1) / 2;

    bin->low = bin_count(bin) - surplus;
    return surplus;
}

/* Drop the pages of the stacks in `dropped` and make them cold. */
static void make_cold(struct tc_stack_pool *pool, struct tc_stack_bin *dropped,
                      enum tc_stack_class class)
{
    uint32_t slot_word = dropped->head;

    if (bin_count(dropped) == 0) {
        return;
    }
    while (slot_word != TC_STACK_NONE) {
        struct tc_stack_region *region = region_of(pool, slot_word);

        /* A failure leaves the pages where they are, which costs memory and nothing else. */
        TC_IGNORE(tc_sys_madvise(lowest_usable(region, slot_word),
                                 region->geometry.slot_bytes - region->geometry.guard_bytes,
                                 MADV_DONTNEED));
        /* relaxed: the slots of this list are ours. */
        slot_word = (uint32_t)(tc_load_relaxed(&region->owners[index_of(slot_word)]) >> 1);
    }
    tc_lock_acquire(&pool->lock);
    bin_move(pool, &pool->cold[class], dropped, UINT32_MAX);
    tc_lock_release(&pool->lock);
}

int64_t tc_stack_cache_trim(struct tc_stack_cache *cache, int64_t now_ns)
{
    struct tc_stack_pool *pool = cache->pool;
    const bool is_cache_due = now_ns >= cache->next_trim_ns;
    uint32_t budget = TRIM_MAX;
    uint32_t left = 0;
    uint32_t kept = 0;
    bool is_hot = false;
    bool is_pool_due;

    tc_lock_acquire(&pool->lock);
    is_pool_due = now_ns >= pool->next_trim_ns;
    pool->next_trim_ns = is_pool_due ? now_ns + TRIM_PERIOD_NS : pool->next_trim_ns;
    tc_lock_release(&pool->lock);
    cache->next_trim_ns = is_cache_due ? now_ns + TRIM_PERIOD_NS : cache->next_trim_ns;

    for (int i = 0; i < TC_STACK_CLASS_COUNT; i++) {
        const enum tc_stack_class class = (enum tc_stack_class)i;
        struct tc_stack_bin dropped;
        uint32_t share;

        bin_init(&dropped);
        if (is_cache_due) {
            if (!cache->hot[class].used) {
                hot_cool(cache, class);
            }
            cache->hot[class].used = false;
            uint32_t surplus = bin_end_period(&cache->bins[class]);

            bin_move(pool, &dropped, &cache->bins[class], surplus < budget ? surplus : budget);
            budget -= bin_count(&dropped);
        }
        tc_lock_acquire(&pool->lock);
        if (is_pool_due) {
            pool->trim_left[class] = bin_end_period(&pool->warm[class]);
        }
        share = pool->trim_left[class] < budget ? pool->trim_left[class] : budget;
        pool->trim_left[class] -= share;
        budget -= share;
        left += pool->trim_left[class];
        bin_move(pool, &dropped, &pool->warm[class], share);
        kept += bin_count(&cache->bins[class]) + bin_count(&pool->warm[class]);
        is_hot |= tc_load_relaxed(&cache->hot[class].count) != 0; /* relaxed: our own */
        tc_lock_release(&pool->lock);
        make_cold(pool, &dropped, class);
    }
    if (left > 0) {
        return now_ns;
    }
    return kept > 0 || is_hot ? cache->next_trim_ns : TC_NEVER;
}

/* ---- who runs on it -------------------------------------------------------------------------- */

void tc_stack_set_owner(struct tc_stack_pool *pool, const struct tc_stack *stack, const void *owner)
{
    struct tc_stack_region *region = region_of(pool, stack->slot);

    tc_assert_debug(((uintptr_t)owner & 1) == 0);
    /* release [stack-owner]: what the owner's description needs was written before. */
    tc_store_release(&region->owners[index_of(stack->slot)], (uintptr_t)owner);
}

bool tc_stack_find(const void *address, struct tc_stack_place *out)
{
    /* acquire [stack-pool]: see tc_stack_pool_init. */
    struct tc_stack_pool *pool = tc_load_acquire(&newest_pool);

    for (uint32_t i = 0; pool && i < MAX_REGIONS; i++) {
        /* acquire [stack-region]: see region_open_locked. */
        const struct tc_stack_region *region = tc_load_acquire(&pool->regions[i]);
        uintptr_t offset;
        uintptr_t owner;

        if (!region) {
            break;
        }
        offset = (uintptr_t)address - (uintptr_t)region->base;
        if (offset >= region->bytes) {
            continue;
        }
        /* acquire [stack-owner]: see tc_stack_set_owner. */
        owner = tc_load_acquire(&region->owners[offset / region->geometry.slot_bytes]);
        out->owner = (owner & 1) ? NULL : (const void *)owner;
        out->slot_bytes = region->geometry.slot_bytes;
        out->is_guard = offset % region->geometry.slot_bytes < region->geometry.guard_bytes;
        return true;
    }
    return false;
}
