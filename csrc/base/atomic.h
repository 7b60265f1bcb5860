/* base/atomic.h — C11 atomics with the memory order in the name of the operation.
 *
 * Fields are declared `_Atomic T`; every access goes through one of these wrappers, so that
 * a reader sees the order at the call and a grep finds every relaxed access. All code that
 * a model checker may take alone stands on this header only.
 *
 * RULES
 *   A1  Each operation that is not seq_cst, and each fence, has a comment: either why
 *       relaxed is enough, or a [tag] that names its partner; a tag stands at two sites at
 *       least.
 *   A2  An ordered load, store or read-modify-write is preferred to a fence:
 *       ThreadSanitizer does not understand fences by themselves.
 *   A3  `tc_cas_*` is strong, returns whether it stored, and on failure writes the value it
 *       found to *expected. Order on failure: what the success order says about loads.
 *
 * WHO MAY CALL: any thread; no operation parks.
 *
 * FENCES UNDER THREADSANITIZER
 *
 * A TSan build replaces each fence by a read-modify-write of one process-wide word. That
 * keeps the hardware order and gives TSan an edge from every fence to every later one, so
 * two sides that both use a fence are understood (more edges than the language promises: a
 * race may hide, none is invented). What remains is a fence on one side only, paired with
 * an ordered access on the other. Those sites use tc_fence_release_store and
 * tc_load_fence_acquire, which TSan sees as an ordered store and an ordered load.
 */
#ifndef TC_BASE_ATOMIC_H
#define TC_BASE_ATOMIC_H

#include "base/defs.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- loads and stores ----------------------------------------------------------------- */

#define tc_load_relaxed(ptr) atomic_load_explicit((ptr), memory_order_relaxed)
#define tc_load_acquire(ptr) atomic_load_explicit((ptr), memory_order_acquire)
#define tc_load_seq_cst(ptr) atomic_load_explicit((ptr), memory_order_seq_cst)

#define tc_store_relaxed(ptr, value) atomic_store_explicit((ptr), (value), memory_order_relaxed)
#define tc_store_release(ptr, value) atomic_store_explicit((ptr), (value), memory_order_release)
#define tc_store_seq_cst(ptr, value) atomic_store_explicit((ptr), (value), memory_order_seq_cst)

/* Give an atomic its first value before any other thread can see it; not an atomic access. */
#define tc_atomic_init(ptr, value) atomic_init((ptr), (value))

/* ---- exchange: returns the old value -------------------------------------------------- */

#define tc_exchange_relaxed(ptr, value) \
    atomic_exchange_explicit((ptr), (value), memory_order_relaxed)
#define tc_exchange_acquire(ptr, value) \
    atomic_exchange_explicit((ptr), (value), memory_order_acquire)
#define tc_exchange_release(ptr, value) \
    atomic_exchange_explicit((ptr), (value), memory_order_release)
#define tc_exchange_acq_rel(ptr, value) \
    atomic_exchange_explicit((ptr), (value), memory_order_acq_rel)
#define tc_exchange_seq_cst(ptr, value) \
    atomic_exchange_explicit((ptr), (value), memory_order_seq_cst)

/* ---- compare and swap: see A3 --------------------------------------------------------- */

#define tc_cas_relaxed(ptr, expected, desired) \
    atomic_compare_exchange_strong_explicit((ptr), (expected), (desired), memory_order_relaxed, \
                                            memory_order_relaxed)
#define tc_cas_acquire(ptr, expected, desired) \
    atomic_compare_exchange_strong_explicit((ptr), (expected), (desired), memory_order_acquire, \
                                            memory_order_acquire)
#define tc_cas_release(ptr, expected, desired) \
    atomic_compare_exchange_strong_explicit((ptr), (expected), (desired), memory_order_release, \
                                            memory_order_relaxed)
#define tc_cas_acq_rel(ptr, expected, desired) \
    atomic_compare_exchange_strong_explicit((ptr), (expected), (desired), memory_order_acq_rel, \
                                            memory_order_acquire)
#define tc_cas_seq_cst(ptr, expected, desired) \
    atomic_compare_exchange_strong_explicit((ptr), (expected), (desired), memory_order_seq_cst, \
                                            memory_order_seq_cst)

/* ---- arithmetic and bits: return the old value ---------------------------------------- */

#define tc_fetch_add_relaxed(ptr, value) \
    atomic_fetch_add_explicit((ptr), (value), memory_order_relaxed)
#define tc_fetch_add_acquire(ptr, value) \
    atomic_fetch_add_explicit((ptr), (value), memory_order_acquire)
#define tc_fetch_add_release(ptr, value) \
    atomic_fetch_add_explicit((ptr), (value), memory_order_release)
#define tc_fetch_add_acq_rel(ptr, value) \
    atomic_fetch_add_explicit((ptr), (value), memory_order_acq_rel)
#define tc_fetch_add_seq_cst(ptr, value) \
    atomic_fetch_add_explicit((ptr), (value), memory_order_seq_cst)

#define tc_fetch_sub_relaxed(ptr, value) \
    atomic_fetch_sub_explicit((ptr), (value), memory_order_relaxed)
#define tc_fetch_sub_acquire(ptr, value) \
    atomic_fetch_sub_explicit((ptr), (value), memory_order_acquire)
#define tc_fetch_sub_release(ptr, value) \
    atomic_fetch_sub_explicit((ptr), (value), memory_order_release)
#define tc_fetch_sub_acq_rel(ptr, value) \
    atomic_fetch_sub_explicit((ptr), (value), memory_order_acq_rel)
#define tc_fetch_sub_seq_cst(ptr, value) \
    atomic_fetch_sub_explicit((ptr), (value), memory_order_seq_cst)

#define tc_fetch_or_relaxed(ptr, value) \
    atomic_fetch_or_explicit((ptr), (value), memory_order_relaxed)
#define tc_fetch_or_acquire(ptr, value) \
    atomic_fetch_or_explicit((ptr), (value), memory_order_acquire)
#define tc_fetch_or_release(ptr, value) \
    atomic_fetch_or_explicit((ptr), (value), memory_order_release)
#define tc_fetch_or_acq_rel(ptr, value) \
    atomic_fetch_or_explicit((ptr), (value), memory_order_acq_rel)
#define tc_fetch_or_seq_cst(ptr, value) \
    atomic_fetch_or_explicit((ptr), (value), memory_order_seq_cst)

#define tc_fetch_and_relaxed(ptr, value) \
    atomic_fetch_and_explicit((ptr), (value), memory_order_relaxed)
#define tc_fetch_and_acquire(ptr, value) \
    atomic_fetch_and_explicit((ptr), (value), memory_order_acquire)
#define tc_fetch_and_release(ptr, value) \
    atomic_fetch_and_explicit((ptr), (value), memory_order_release)
#define tc_fetch_and_acq_rel(ptr, value) \
    atomic_fetch_and_explicit((ptr), (value), memory_order_acq_rel)
#define tc_fetch_and_seq_cst(ptr, value) \
    atomic_fetch_and_explicit((ptr), (value), memory_order_seq_cst)

/* ---- counters with one writer --------------------------------------------------------- */

/* Add to a counter that only the calling thread writes. Parks: never   Threads: the writer */
static inline void tc_counter_add(_Atomic uint64_t *counter, uint64_t amount)
{
    /* relaxed: single writer; readers sum at leisure */
    tc_store_relaxed(counter, tc_load_relaxed(counter) + amount);
}

/* ---- fences --------------------------------------------------------------------------- */

/* Keep the compiler, not the processor, from moving memory accesses across this point. */
static inline void tc_compiler_barrier(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

#if TC_TSAN

/* One word for the whole program although a header defines it: the linker merges common
 * symbols, and the protocols that tests take alone need no object file to link against. */
__attribute__((common)) _Atomic unsigned tc__tsan_fence_word;

static inline void tc_fence_acquire(void)
{
    (void)tc_fetch_add_acq_rel(&tc__tsan_fence_word, 0u);
}

static inline void tc_fence_release(void)
{
    (void)tc_fetch_add_acq_rel(&tc__tsan_fence_word, 0u);
}

static inline void tc_fence_seq_cst(void)
{
    (void)tc_fetch_add_seq_cst(&tc__tsan_fence_word, 0u);
}

#define tc_fence_release_store(ptr, value) tc_store_release(ptr, value)
#define tc_load_fence_acquire(ptr) tc_load_acquire(ptr)

#else

static inline void tc_fence_acquire(void)
{
    atomic_thread_fence(memory_order_acquire);
}

static inline void tc_fence_release(void)
{
    atomic_thread_fence(memory_order_release);
}

static inline void tc_fence_seq_cst(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}

/* A release fence followed by a relaxed store that an acquire load elsewhere reads. */
#define tc_fence_release_store(ptr, value) (tc_fence_release(), tc_store_relaxed(ptr, value))

/* A relaxed load, of what a release store elsewhere wrote, followed by an acquire fence. */
#define tc_load_fence_acquire(ptr) \
    __extension__({ \
        __auto_type tc_loaded_ = tc_load_relaxed(ptr); \
        tc_fence_acquire(); \
        tc_loaded_; \
    })

#endif

#endif
