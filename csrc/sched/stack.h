/* sched/stack.h — stacks for fibers: carved from large mappings, guarded, recycled.
 *
 * Stacks come in three classes. A class names the address space of one stack, guard included; only
 * the pages that a fiber has touched are memory. Slots are carved, lowest first, from regions of
 * 64 MiB, so that a million stacks are about a thousand mappings at most. A slot's guard is
 * installed when it is carved and stays for ever; free slots go round between three places:
 *
 *   region ──carve──► worker's cache ◄──batch of 32──► pool, warm ──trim──► pool, cold (no pages)
 *                       │   ▲   ▲                                                  │
 *                      get put  └─────────── before anything is carved ◄───────────┘
 *
 * class     slot      guard       usable         (with 4 KiB pages; see tc__stack_geometry)
 * SMALL     16 KiB    4 KiB       12 KiB
 * DEFAULT   64 KiB    16 KiB      48 KiB
 * LARGE     256 KiB   16 KiB      240 KiB
 *
 * A guard is MADV_GUARD_INSTALL where the kernel has it: the page tables hold it and the mapping
 * stays whole. Whether it has it is found out by effect, since emulators and old kernels accept or
 * ignore advice they do not know. Elsewhere, or in a region whose mapping refuses it, mprotect
 * guards the first 16,384 stacks (each splits a mapping twice, and a process may have about
 * 65,000); the stacks after that have a canary word above the place of the guard, checked at
 * release.
 * Rejected: guards on some stacks only (an overflow is then a lottery), and growing stacks in the
 * fault handler (untouched pages cost nothing already).
 *
 * The top of a stack is staggered by up to 960 bytes, by slot: page-aligned tops would all compete
 * for the same few sets of the first-level cache.
 *
 * INVARIANTS
 *  S1  A carved slot is in exactly one of: in use, a cache, warm, cold.
 *  S2  The owner word of a slot in use is 0 or a pointer; of a hot one 0; of another free slot odd:
 *      its link.
 *  S3  Regions are published once and never unmapped or reused before fini, so that the overflow
 *      report may read them at any time.
 *  S4  A stack's usable memory holds nothing of ours, apart from the canary of a stack without
 *      guard: a stack that was never run, or was trimmed, has no resident page.
 *
 *                  get, put, trim   cache_init/fini   stats   pool_init/fini   find
 *   on one cache   X                X                 -       X                -
 *   on two         -                -                 -       X                -
 *
 *   - safe together   X the caller must exclude
 */
#ifndef TC_SCHED_STACK_H
#define TC_SCHED_STACK_H

#include "base/defs.h"
#include "base/list.h"
#include "base/lock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tc_stack_class {
    TC_STACK_SMALL,
    TC_STACK_DEFAULT,
    TC_STACK_LARGE,
    TC_STACK_CLASS_COUNT,
};

/* One stack in use. Plain data, held by value by whoever got it. */
struct tc_stack {
    void *lo;      /* lowest usable byte; NULL in an empty handle                            */
    uint32_t size; /* usable bytes from lo; the stagger is already taken off                 */
    uint32_t slot; /* which slot of which region; opaque                                     */
};

/* How a class is cut on a machine with pages of a given size. */
struct tc_stack_geometry {
    size_t slot_bytes;
    size_t guard_bytes; /* lowest part of the slot                                           */
};

/* Free stacks, linked through their owner words. */
struct tc_stack_bin {
    uint32_t head;          /* slot word of the first, TC_STACK_NONE if empty                */
    uint32_t low;           /* smallest count since the last trim: what nobody needed        */
    _Atomic uint32_t count; /* written by who owns the bin; read by stats                    */
};

#define TC_STACK_NONE UINT32_MAX

struct tc_stack_region; /* private: one mapping and the owner words of its slots */

/* The process's stacks. Everything is guarded by `lock` unless noted. */
struct tc_stack_pool {
    struct tc_lock lock;         /* TC_RANK_STACK                                            */
    struct tc_list caches;       /* of tc_stack_cache.node                                   */
    struct tc_stack_geometry geometry[TC_STACK_CLASS_COUNT]; /* constant after init          */
    uint8_t merged[TC_STACK_CLASS_COUNT]; /* class → the class that serves it; constant      */
    bool has_guard_advice;       /* result of the probe; constant after init                 */
    _Atomic int32_t mprotect_left; /* guards that may still be made by mprotect; not locked  */
    uint32_t region_count;
    int64_t next_trim_ns;
    uint32_t trim_left[TC_STACK_CLASS_COUNT]; /* warm stacks still to be trimmed this period */
    struct tc_stack_region *open[TC_STACK_CLASS_COUNT]; /* being carved; NULL: map a new one */
    struct tc_stack_bin warm[TC_STACK_CLASS_COUNT];
    struct tc_stack_bin cold[TC_STACK_CLASS_COUNT];
    uint64_t carved[TC_STACK_CLASS_COUNT];
    /* Written under lock, released once per region [stack-region]; read by anyone.          */
    _Atomic(struct tc_stack_region *) *regions;
};

enum { TC_STACK_HOT = 2 }; /* fibers that end one after the other take turns on two stacks   */

/* The stacks released last, as whole handles: what most fibers get and put. */
struct tc_stack_hot {
    struct tc_stack stacks[TC_STACK_HOT];
    _Atomic uint32_t count; /* written by the owner; read by stats                            */
    bool used;              /* one was taken since the last trim                              */
};

/* A worker's free stacks; everything but `node` and the counts is the owner's alone. */
struct tc_stack_cache {
    struct tc_stack_pool *pool;
    struct tc_list node;
    struct tc_stack_hot hot[TC_STACK_CLASS_COUNT];
    struct tc_stack_bin bins[TC_STACK_CLASS_COUNT];
    int64_t next_trim_ns;
};

struct tc_stack_stats {
    uint64_t stacks_in_use;
    uint64_t stacks_cached; /* in caches and warm: their pages may be resident               */
    uint64_t stacks_cold;   /* address space only                                            */
    uint64_t bytes_in_use;  /* the same in bytes of slots; how much of it is resident only   */
    uint64_t bytes_cached;  /*   the kernel knows                                            */
};

/* Where an address lies, for the overflow report. */
struct tc_stack_place {
    const void *owner;  /* from tc_stack_set_owner; NULL: free or unknown                    */
    size_t slot_bytes;
    bool is_guard;
};

/* ---- pool ------------------------------------------------------------------------------------ */

/* Probe the kernel and start empty; from now on tc_stack_find() knows this pool.
 * Parks: never   Threads: one, before any cache   Owns: fini undoes it
 * Returns 0, -ENOMEM. */
TC_NODISCARD int tc_stack_pool_init(struct tc_stack_pool *pool);

/* Unmap everything. No cache and no stack in use may be left.
 * Parks: never   Threads: one */
void tc_stack_pool_fini(struct tc_stack_pool *pool);

/* Bytes of address space of one stack of this class, guard included.
 * Parks: never   Threads: any */
size_t tc_stack_class_bytes(const struct tc_stack_pool *pool, enum tc_stack_class class);

/* Count stacks. The parts are read one after the other: exact only while nothing moves.
 * Parks: never   Threads: any */
void tc_stack_pool_stats(struct tc_stack_pool *pool, struct tc_stack_stats *out);

/* ---- cache ----------------------------------------------------------------------------------- */

/* Parks: never   Threads: any */
void tc_stack_cache_init(struct tc_stack_cache *cache, struct tc_stack_pool *pool);

/* Give everything back to the pool. Parks: never   Threads: the owner */
void tc_stack_cache_fini(struct tc_stack_cache *cache);

/* Take a stack: the one released last, else a batch from the pool, else newly carved ones. The
 * fast path is a few loads and stores.
 * Parks: never   Threads: the owner   Owns: the caller's until put, which may be another cache's
 * Returns 0, -ENOMEM; *out is an empty handle on failure. */
TC_NODISCARD int tc_stack_cache_get(struct tc_stack_cache *cache, enum tc_stack_class class,
                                    struct tc_stack *out);

/* Give a stack back and empty the handle. Never a syscall; a full cache hands a batch to the pool.
 * Panics if a stack without guard was overflowed.
 * Parks: never   Threads: the owner of `cache`, not running on that stack */
void tc_stack_cache_put(struct tc_stack_cache *cache, struct tc_stack *stack);

/* Return memory that was not needed lately: once a second, half of the stacks that lay unused
 * throughout the last one lose their pages. Bounded work per call (≤ 128 madvise calls), meant for
 * moments without work.
 * Parks: never   Threads: the owner   `now_ns`: monotonic
 * Returns when to call again, absolute ns: `now_ns` if work is left, TC_NEVER if nothing is cached
 * here or in the pool (then: some time after the next put). */
int64_t tc_stack_cache_trim(struct tc_stack_cache *cache, int64_t now_ns);

/* ---- who runs on it -------------------------------------------------------------------------- */

/* Say whose stack it is; NULL: nobody's. `owner` must be even and stay readable as long as it is
 * set: the overflow report hands it to the function that describes owners.
 * Parks: never   Threads: who holds the stack */
void tc_stack_set_owner(struct tc_stack_pool *pool, const struct tc_stack *stack,
                        const void *owner);

/* Find the slot that `address` lies in, in the pool made last. No lock and no allocation; safe in a
 * signal handler, on any thread, until the pool's fini.
 * Returns false if the address is not in a region. */
bool tc_stack_find(const void *address, struct tc_stack_place *out);

/* ---- for tests ------------------------------------------------------------------------------- */

/* How `class` would be cut with such pages: at least one page of guard and two of use. */
struct tc_stack_geometry tc__stack_geometry(enum tc_stack_class class, size_t page_bytes);

/* Pretend that the kernel lacks guard advice and that only `mprotect_guards` more guards may be
 * made by mprotect. Before the first stack. */
void tc__stack_pool_limit_guards(struct tc_stack_pool *pool, int32_t mprotect_guards);

#endif
