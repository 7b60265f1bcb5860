/* http/static_cache.h — the files of a static route that were looked up lately, by their path.
 *
 * A table of sets of a few slots each: a path belongs to one set, by its hash. Finding takes no
 * lock and writes nothing shared but, once in a while, that the file was used. Who adds takes a
 * lock, and makes room: in the set, and for the bytes and descriptors of all, by going round the
 * table and letting go of what was not used since the last time round. What is let go of is retired
 * through EBR, since others may have found it.
 *
 * INVARIANTS
 *  SC1  A file in a slot has a reference for that.
 *  SC2  bytes <= bytes_max, descriptors <= TC_STATIC_DESCRIPTORS.
 *
 *           find   add, drop, statistics   init, fini   -  safe together
 *   find      -             -                   X       X  caller must exclude
 *   add…      -             -                   X
 */
#ifndef TC_HTTP_STATIC_CACHE_H
#define TC_HTTP_STATIC_CACHE_H

#include "base/ebr.h"
#include "base/lock.h"
#include "http/static_file.h"

enum {
    TC_STATIC_WAYS = 8, /* slots of one set */
    TC_STATIC_SETS = TC_TEST_SMALL ? 2 : 256, /* a power of two */
    TC_STATIC_SLOTS = TC_STATIC_SETS * TC_STATIC_WAYS,
    TC_STATIC_DESCRIPTORS = 100,
};

struct tc_static_cache {
    struct tc_lock lock; /* TC_RANK_STATIC; guards what follows, but for the slots' reading */
    uint64_t bytes_max; /* constant */
    uint64_t bytes;
    uint32_t descriptors;
    uint32_t files;
    uint32_t hand; /* the slot that is looked at next, for room */
    _Atomic(struct tc_static_file *) slots[TC_STATIC_SLOTS]; /* SC1 */
};

/* Parks: never   Threads: before the cache is shared */
void tc__static_cache_init(struct tc_static_cache *cache, uint64_t bytes_max);

/* Let go of all. Parks: never   Threads: nobody else uses it */
void tc__static_cache_fini(struct tc_static_cache *cache);

/* `hash` is tc_http_path_hash() of the path. What is remembered exists, so that no client can fill
 * a set at will. Returns NULL if there is none. The file stays until the worker's next quiescent
 * state; who needs it longer takes a reference. Parks: never   Threads: a worker */
struct tc_static_file *tc__static_cache_find(const struct tc_static_cache *cache, uint64_t hash,
                                             const char *path, size_t len);

/* Remember a file, in place of the one with its path. One that is too large is not remembered.
 * Parks: never   Threads: a worker, whose slot of EBR is given
 * Owns: takes a reference of its own */
void tc__static_cache_add(struct tc_static_cache *cache, struct tc_ebr_slot *ebr,
                          struct tc_static_file *file);

/* Let go of a file, if it is still there. Parks: never   Threads: as add */
void tc__static_cache_drop(struct tc_static_cache *cache, struct tc_ebr_slot *ebr,
                           const struct tc_static_file *file);

#endif
