#include "base/slab.h"

#include "base/assert.h"
#include "base/mem.h"

#include <string.h>

/* The first chunk of a slab holds about this much, the largest about that much, and no
 * chunk fewer objects than this: many slabs stay small, and a large one should not take the
 * lock often. */
#define CHUNK_FIRST_BYTES 4096u
#define CHUNK_MAX_BYTES 65536u
#define CHUNK_MIN_OBJECTS 4u

struct tc_slab_chunk {
    struct tc_slab_chunk *next; /* next older one; constant once published */
    size_t count;               /* objects, which start at header_bytes(); constant */
    size_t bytes;               /* size of the block, header included; constant */
};

static size_t round_up(size_t n, size_t align)
{
    return (n + align - 1) & ~(align - 1);
}

static size_t header_bytes(const struct tc_slab *slab)
{
    return round_up(sizeof(struct tc_slab_chunk), slab->align);
}

static void *object_at(const struct tc_slab *slab, struct tc_slab_chunk *chunk, size_t index)
{
    return (char *)chunk + header_bytes(slab) + index * slab->stride;
}

/* ---- carving: the caller holds the lock ----------------------------------------------- */

/* How many objects the next chunk gets: as many as there are, within limits. */
static size_t next_chunk_count(const struct tc_slab *slab)
{
    size_t least = CHUNK_FIRST_BYTES / slab->stride;
    size_t most = CHUNK_MAX_BYTES / slab->stride;
    size_t count = slab->carved;

    if (TC_TEST_SMALL) {
        return CHUNK_MIN_OBJECTS;
    }
    count = count < least ? least : count;
    count = count > most ? most : count;
    return count < CHUNK_MIN_OBJECTS ? CHUNK_MIN_OBJECTS : count;
}

static void count_reserved(struct tc_slab *slab, size_t bytes)
{
    slab->bytes_reserved += bytes;
    tc_mem_reserve(bytes);
}

/* Make room in the free array for `count` objects more than exist (B2). */
static bool reserve_free_locked(struct tc_slab *slab, size_t count)
{
    size_t needed = slab->carved + count;
    size_t capacity = slab->free_capacity * 2;
    void **grown;

    if (needed <= slab->free_capacity) {
        return true;
    }
    capacity = capacity < needed ? needed : capacity;
    grown = tc_mem_realloc(slab->free_objects, slab->free_capacity * sizeof(void *),
                           capacity * sizeof(void *));
    if (grown == NULL) {
        return false;
    }
    count_reserved(slab, (capacity - slab->free_capacity) * sizeof(void *));
    slab->free_objects = grown;
    slab->free_capacity = capacity;
    return true;
}

/* Add a chunk of new, free objects. Returns false without memory; the slab is as before,
 * save that its free array may have grown. */
static bool carve_locked(struct tc_slab *slab)
{
    size_t count = next_chunk_count(slab);
    size_t bytes = header_bytes(slab) + count * slab->stride;
    struct tc_slab_chunk *chunk;

    if (!reserve_free_locked(slab, count)) {
        return false;
    }
    chunk = tc_mem_alloc_aligned(slab->align, bytes);
    if (chunk == NULL) {
        return false;
    }
    memset(chunk, 0, bytes);
    /* relaxed: only holders of the lock write it. */
    chunk->next = tc_load_relaxed(&slab->chunks);
    chunk->count = count;
    chunk->bytes = bytes;
    /* Downwards, so that objects are handed out by rising address. */
    for (size_t i = count; i-- > 0;) {
        void *obj = object_at(slab, chunk, i);

        if (slab->ctor != NULL) {
            slab->ctor(obj);
        }
        slab->free_objects[slab->free_count++] = obj;
    }
    slab->carved += count;
    count_reserved(slab, bytes);
    /* release [slab-chunks]: publishes the chunk and its constructed objects to for_each (B3). */
    tc_store_release(&slab->chunks, chunk);
    return true;
}

static void *take_locked(struct tc_slab *slab)
{
    if (slab->free_count == 0 && !carve_locked(slab)) {
        return NULL;
    }
    slab->free_count--;
    return slab->free_objects[slab->free_count];
}

static void give_locked(struct tc_slab *slab, void *obj)
{
    tc_assert_debug(slab->free_count < slab->carved);
    slab->free_objects[slab->free_count++] = obj;
}

/* Returns the objects in use; the caches' counts may move meanwhile. */
static size_t count_in_use_locked(struct tc_slab *slab)
{
    size_t not_used = slab->free_count;
    struct tc_list *it;

    TC_LIST_FOR_EACH (it, &slab->caches) {
        struct tc_slab_cache *cache = tc_container_of(it, struct tc_slab_cache, node);

        /* relaxed: a statistic, exact once the owners rest. */
        not_used += tc_load_relaxed(&cache->count);
    }
    return slab->carved > not_used ? slab->carved - not_used : 0;
}

/* ---- slab ----------------------------------------------------------------------------- */

void tc_slab_init(struct tc_slab *slab, const char *name, size_t obj_size, size_t align,
                  void (*ctor)(void *obj))
{
    tc_assert(obj_size > 0 && obj_size <= CHUNK_MAX_BYTES);
    tc_assert(align > 0 && (align & (align - 1)) == 0 && align <= CHUNK_FIRST_BYTES);
    /* The chunk's header comes first in its block and wants its own alignment. */
    align = align < _Alignof(struct tc_slab_chunk) ? _Alignof(struct tc_slab_chunk) : align;
    memset(slab, 0, sizeof(*slab));
    tc_lock_init(&slab->lock, TC_RANK_SLAB);
    slab->stride = (uint32_t)round_up(obj_size, align);
    slab->align = (uint32_t)align;
    slab->name = name;
    slab->ctor = ctor;
    tc_atomic_init(&slab->chunks, NULL);
    tc_list_init(&slab->caches);
}

void tc_slab_fini(struct tc_slab *slab)
{
    /* relaxed: the caller has excluded everybody else. */
    struct tc_slab_chunk *chunk = tc_load_relaxed(&slab->chunks);

    tc_assert_debug(tc_list_is_empty(&slab->caches));
    tc_assert_debug(slab->free_count == slab->carved);
    while (chunk != NULL) {
        struct tc_slab_chunk *next = chunk->next;

        tc_mem_free(chunk, chunk->bytes);
        chunk = next;
    }
    tc_mem_free(slab->free_objects, slab->free_capacity * sizeof(void *));
    tc_mem_unreserve(slab->bytes_reserved);
    memset(slab, 0, sizeof(*slab));
}

void *tc_slab_alloc(struct tc_slab *slab)
{
    void *obj;

    tc_lock_acquire(&slab->lock);
    obj = take_locked(slab);
    tc_lock_release(&slab->lock);
    return obj;
}

void tc_slab_free(struct tc_slab *slab, void *obj)
{
    tc_lock_acquire(&slab->lock);
    give_locked(slab, obj);
    tc_lock_release(&slab->lock);
}

void tc_slab_for_each(struct tc_slab *slab, void (*fn)(void *obj, void *arg), void *arg)
{
    /* acquire [slab-chunks]: sees the chunk's header and its constructed objects. */
    struct tc_slab_chunk *chunk = tc_load_acquire(&slab->chunks);

    for (; chunk != NULL; chunk = chunk->next) {
        for (size_t i = 0; i < chunk->count; i++) {
            fn(object_at(slab, chunk, i), arg);
        }
    }
}

void tc_slab_stats(struct tc_slab *slab, size_t *objects_in_use, size_t *bytes_reserved)
{
    tc_lock_acquire(&slab->lock);
    *objects_in_use = count_in_use_locked(slab);
    *bytes_reserved = slab->bytes_reserved;
    tc_lock_release(&slab->lock);
}

/* ---- cache ---------------------------------------------------------------------------- */

/* Move the newest `moved` objects of the cache to the slab. */
static void give_back(struct tc_slab_cache *cache, uint32_t moved)
{
    /* relaxed: owner-only writes. */
    uint32_t count = tc_load_relaxed(&cache->count);

    tc_assert_debug(moved <= count);
    tc_lock_acquire(&cache->slab->lock);
    for (uint32_t i = 0; i < moved; i++) {
        give_locked(cache->slab, cache->objects[--count]);
    }
    /* relaxed: owner-only writes; inside the lock, so that stats counts no object twice. */
    tc_store_relaxed(&cache->count, count);
    tc_lock_release(&cache->slab->lock);
}

void tc_slab_cache_init(struct tc_slab_cache *cache, struct tc_slab *slab)
{
    cache->slab = slab;
    tc_atomic_init(&cache->count, 0);
    tc_lock_acquire(&slab->lock);
    tc_list_push_back(&slab->caches, &cache->node);
    tc_lock_release(&slab->lock);
}

void tc_slab_cache_flush(struct tc_slab_cache *cache)
{
    /* relaxed: owner-only writes. */
    give_back(cache, tc_load_relaxed(&cache->count));
}

void tc_slab_cache_fini(struct tc_slab_cache *cache)
{
    tc_slab_cache_flush(cache);
    tc_lock_acquire(&cache->slab->lock);
    tc_list_remove(&cache->node);
    tc_lock_release(&cache->slab->lock);
}

void *tc__slab_cache_refill_slow(struct tc_slab_cache *cache)
{
    struct tc_slab *slab = cache->slab;
    uint32_t count = 0;
    void *obj;

    tc_lock_acquire(&slab->lock);
    obj = take_locked(slab);
    /* What is there comes along; a new chunk is carved for the one object asked for only. */
    while (count < TC_SLAB_BATCH - 1 && slab->free_count > 0) {
        cache->objects[count++] = take_locked(slab);
    }
    for (uint32_t i = 0; i < count / 2; i++) {
        void *swapped = cache->objects[i];

        /* The slab's newest object must be the cache's newest too. */
        cache->objects[i] = cache->objects[count - 1 - i];
        cache->objects[count - 1 - i] = swapped;
    }
    /* relaxed: owner-only writes; inside the lock, so that stats counts no object twice. */
    tc_store_relaxed(&cache->count, count);
    tc_lock_release(&slab->lock);
    return obj;
}

void tc__slab_cache_spill_slow(struct tc_slab_cache *cache, void *obj)
{
    give_back(cache, TC_SLAB_BATCH);
    tc_slab_cache_free(cache, obj);
}
