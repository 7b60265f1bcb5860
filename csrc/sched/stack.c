#include "sched/stack.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "base/mem.h"
#include "base/sys.h"
#include "sched/stack_internal.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

static _Atomic(struct tc_stack_pool *) newest_pool;

/* ---- slots ----------------------------------------------------------------------------------- */

struct tc_stack_geometry tc__stack_geometry(enum tc_stack_class class, size_t page_bytes)
{
    static const size_t wanted_slot[] = {16 * TC_STACK_KIB, 64 * TC_STACK_KIB, 256 * TC_STACK_KIB};
    static const size_t wanted_guard[] = {1, 16 * TC_STACK_KIB, 16 * TC_STACK_KIB};
    struct tc_stack_geometry geometry;

    geometry.guard_bytes = (wanted_guard[class] + page_bytes - 1) / page_bytes * page_bytes;
    geometry.slot_bytes = (wanted_slot[class] + page_bytes - 1) / page_bytes * page_bytes;
    if (geometry.slot_bytes < geometry.guard_bytes + 2 * page_bytes) {
        geometry.slot_bytes = geometry.guard_bytes + 2 * page_bytes;
    }
    return geometry;
}

/* ---- regions --------------------------------------------------------------------------------- */

/* Map a region for `class`; under the pool's lock. A process near its limit of address space gets
 * smaller ones. Returns NULL when there is no memory or the table is full. */
static struct tc_stack_region *region_open_locked(struct tc_stack_pool *pool,
                                                  enum tc_stack_class class)
{
    const struct tc_stack_geometry *geometry = &pool->geometry[class];
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK;
    size_t slots = TC_STACK_REGION_BYTES / geometry->slot_bytes;
    struct tc_stack_region *region;
    size_t meta_bytes;
    void *base = NULL;

    if (pool->region_count == TC_STACK_MAX_REGIONS) {
        return NULL;
    }
    while (tc_sys_mmap(NULL, slots * geometry->slot_bytes, PROT_READ | PROT_WRITE, flags, &base)) {
        slots /= 2;
        if (slots < TC_STACK_REGION_MIN_SLOTS) {
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

/* Reserve up to TC_STACK_CARVE fresh slots, so that their guards can be made without the lock. */
struct tc_stack_carving tc__stack_carve_locked(struct tc_stack_pool *pool,
                                               enum tc_stack_class class)
{
    struct tc_stack_carving carving = {.region = pool->open[class]};
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
    carving.count = region->slots - region->carved < TC_STACK_CARVE ? region->slots - region->carved
                                                                    : TC_STACK_CARVE;
    region->carved += carving.count;
    pool->carved[class] += carving.count;
    return carving;
}

/* Make the guard of a fresh slot. Returns the slot word's TC_STACK_UNGUARDED bit: set if the kernel
 * gave no guard, for lack of page tables or mappings, and the canary must do. */
uint32_t tc__stack_guard_slot(struct tc_stack_pool *pool, struct tc_stack_region *region,
                              uint32_t slot)
{
    char *guard = region->base + slot * region->geometry.slot_bytes;
    size_t bytes = region->geometry.guard_bytes;

    /* relaxed: a hint that saves a syscall which would fail. */
    if (pool->has_guard_advice && !tc_load_relaxed(&region->refuses_advice)) {
        int error = tc_sys_madvise(guard, bytes, TC_STACK_GUARD_ADVICE);

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
    return TC_STACK_UNGUARDED;
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
        has_guard = tc_sys_madvise(memory, page, TC_STACK_GUARD_ADVICE) == 0 &&
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
    tc_store_relaxed(&pool->mprotect_left, TC_STACK_MPROTECT_GUARDS); /* relaxed: not shared yet */
    for (int class = TC_STACK_CLASS_COUNT - 1; class >= 0; class--) {
        pool->geometry[class] = tc__stack_geometry((enum tc_stack_class)class, page);
        pool->merged[class] = (uint8_t)class;
        if (class + 1 < TC_STACK_CLASS_COUNT &&
            pool->geometry[class].slot_bytes == pool->geometry[class + 1].slot_bytes) {
            pool->merged[class] = pool->merged[class + 1];
        }
        tc__stack_bin_init(&pool->warm[class]);
        tc__stack_bin_init(&pool->cold[class]);
    }
    /* Mapped, not allocated: only the part that is used becomes memory. */
    error =
        tc_sys_mmap(NULL, TC_STACK_MAX_REGIONS * sizeof(pool->regions[0]), PROT_READ | PROT_WRITE,
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
        region_close(tc__stack_region_of(pool, i << TC_STACK_REGION_SHIFT));
    }
    /* Nothing else can be done about a failure. */
    (void)tc_sys_munmap((void *)pool->regions, TC_STACK_MAX_REGIONS * sizeof(pool->regions[0]));
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
        uint64_t cold = tc__stack_bin_count(&pool->cold[class]);
        uint64_t cached = tc__stack_bin_count(&pool->warm[class]);
        uint64_t carved = pool->carved[class];
        uint64_t in_use;
        struct tc_list *it;

        TC_LIST_FOR_EACH (it, &pool->caches) {
            struct tc_stack_cache *cache = tc_container_of(it, struct tc_stack_cache, node);
            cached += tc__stack_bin_count(&cache->bins[class]);
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

/* ---- who runs on it -------------------------------------------------------------------------- */

void tc_stack_set_owner(struct tc_stack_pool *pool, const struct tc_stack *stack, const void *owner)
{
    struct tc_stack_region *region = tc__stack_region_of(pool, stack->slot);

    tc_assert_debug(((uintptr_t)owner & 1) == 0);
    /* release [stack-owner]: what the owner's description needs was written before. */
    tc_store_release(&region->owners[tc__stack_index_of(stack->slot)], (uintptr_t)owner);
}

bool tc_stack_find(const void *address, struct tc_stack_place *out)
{
    /* acquire [stack-pool]: see tc_stack_pool_init. */
    struct tc_stack_pool *pool = tc_load_acquire(&newest_pool);

    for (uint32_t i = 0; pool && i < TC_STACK_MAX_REGIONS; i++) {
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
