/* base/slab.h — objects of one size whose memory keeps its type until the slab is destroyed.
 *
 * A pointer to a slab object stays safe to read after the object was freed: what it points
 * to is either the same object or a later one of the same type, and a sequence word inside
 * tells which (Bonwick's slab allocator, with magazines, is the model). Therefore free
 * writes nothing into the object: free objects are remembered in arrays of pointers beside
 * them.
 *
 * Objects are carved from chunks that double in size, up to a limit. Each worker keeps a
 * magazine, the cache, that exchanges half its content with the slab at a time, so an
 * object that is allocated and freed on one worker costs a few plain loads and stores.
 *
 * INVARIANTS
 *   B1  The constructor runs once per object, before anybody else sees it; alloc and free
 *       change no byte of it.
 *   B2  Every carved object is in exactly one place: in use, in one cache, or in the slab's
 *       free array; the free array has room for all of them, so free cannot fail.
 *   B3  Chunks are only added; a chunk on the list is complete and does not change until fini.
 *
 *                    alloc/free  cache_*   for_each  stats   fini      -  safe together
 *   alloc/free           -          -          -       -      X        X  caller must exclude
 *   cache_* (own)        -          X          -       -      X        X on one cache: owner only
 *   for_each             -          -          -       -      X
 */
#ifndef TC_BASE_SLAB_H
#define TC_BASE_SLAB_H

#include "base/atomic.h"
#include "base/defs.h"
#include "base/list.h"
#include "base/lock.h"

#define TC_SLAB_BATCH (TC_TEST_SMALL ? 2 : 32)     /* objects moved at once                    */
#define TC_SLAB_CACHE_MAX (2 * TC_SLAB_BATCH)      /* objects a cache can hold                 */

struct tc_slab_chunk;

struct tc_slab {
    struct tc_lock lock;          /* TC_RANK_SLAB; guards what says so below                   */
    uint32_t stride;              /* bytes from one object to the next; constant               */
    uint32_t align;               /* alignment of every object; constant                       */
    const char *name;             /* borrowed, for reports; constant                           */
    void (*ctor)(void *obj);      /* see B1; NULL = none; constant                             */
    _Atomic(struct tc_slab_chunk *) chunks; /* newest first; written under lock, read anywhere */
    void **free_objects;          /* stack of free objects; owned; under lock                  */
    size_t free_count;            /* objects in it; under lock                                 */
    size_t free_capacity;         /* slots of that stack, >= carved; under lock                */
    size_t carved;                /* objects ever made; under lock                             */
    size_t bytes_reserved;        /* of all chunks and free_objects; under lock                */
    struct tc_list caches;        /* all caches, so that stats sees them; under lock           */
};

struct tc_slab_cache {
    struct tc_slab *slab;         /* borrowed; constant                                        */
    struct tc_list node;          /* in slab->caches; under slab->lock                         */
    _Atomic uint32_t count;       /* written by the owner, read by stats                       */
    void *objects[TC_SLAB_CACHE_MAX]; /* newest last; owner only                               */
};

/* Prepare an empty slab; allocates nothing. `align` is a power of two. Objects are zeroed
 * before `ctor` (may be NULL) sees them; it runs under the slab's lock and must not take
 * one.
 * Parks: never   Threads: exclusive. */
void tc_slab_init(struct tc_slab *slab, const char *name, size_t obj_size, size_t align,
                  void (*ctor)(void *obj));

/* Free all memory. Every object must be free and every cache finished.
 * Parks: never   Threads: exclusive. */
void tc_slab_fini(struct tc_slab *slab);

/* Returns an object, or NULL without memory. Its bytes are those it had when it was freed.
 * Parks: never   Threads: any   Owns: the caller. */
TC_NODISCARD void *tc_slab_alloc(struct tc_slab *slab);

/* Give an object back; cannot fail and writes nothing into it.
 * Parks: never   Threads: any   Owns: the slab. */
void tc_slab_free(struct tc_slab *slab, void *obj);

/* Call fn for every carved object, in use or free; the object's own state tells which.
 * Objects that are carved meanwhile may be missed. No lock is held during fn.
 * Parks: as fn   Threads: any. */
void tc_slab_for_each(struct tc_slab *slab, void (*fn)(void *obj, void *arg), void *arg);

/* Report objects in use (cached ones are not) and bytes taken from the heap. Exact while
 * nobody allocates or frees.   Parks: never   Threads: any. */
void tc_slab_stats(struct tc_slab *slab, size_t *objects_in_use, size_t *bytes_reserved);

/* ---- cache: owner thread only --------------------------------------------------------- */

/* Make an empty cache and let the slab know it; fini flushes it and takes it out again.
 * Parks: never   Threads: the owner. */
void tc_slab_cache_init(struct tc_slab_cache *cache, struct tc_slab *slab);
void tc_slab_cache_fini(struct tc_slab_cache *cache);

/* Give every cached object back to the slab.  Parks: never   Threads: the owner. */
void tc_slab_cache_flush(struct tc_slab_cache *cache);

/* Out-of-line tails: fetch a batch and return one object of it or NULL; move a batch out, then
 * keep obj. */
TC_NODISCARD void *tc__slab_cache_refill_slow(struct tc_slab_cache *cache);
void tc__slab_cache_spill_slow(struct tc_slab_cache *cache, void *obj);

/* Returns an object, the one freed last if possible, or NULL without memory. No
 * read-modify-write unless the cache is empty.
 * Parks: never   Threads: the owner   Owns: the caller. */
TC_NODISCARD static inline void *tc_slab_cache_alloc(struct tc_slab_cache *cache)
{
    /* relaxed: owner-only writes; stats takes it as a hint. */
    uint32_t count = tc_load_relaxed(&cache->count);

    if (tc_unlikely(count == 0)) {
        return tc__slab_cache_refill_slow(cache);
    }
    /* relaxed: see the load. */
    tc_store_relaxed(&cache->count, count - 1);
    return cache->objects[count - 1];
}

/* Give an object back, whichever cache or slab call it came from. No read-modify-write
 * unless the cache is full.
 * Parks: never   Threads: the owner   Owns: the slab. */
static inline void tc_slab_cache_free(struct tc_slab_cache *cache, void *obj)
{
    /* relaxed: owner-only writes; stats takes it as a hint. */
    uint32_t count = tc_load_relaxed(&cache->count);

    if (tc_unlikely(count == TC_SLAB_CACHE_MAX)) {
        tc__slab_cache_spill_slow(cache, obj);
        return;
    }
    cache->objects[count] = obj;
    /* relaxed: see the load. */
    tc_store_relaxed(&cache->count, count + 1);
}

#endif
