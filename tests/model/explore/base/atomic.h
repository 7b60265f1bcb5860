/* tests/model/explore/base/atomic.h — base/atomic.h for programs under the explorer (explore.h).
 *
 * Found before the library's own by the order of the include paths. Every operation is a step at
 * which the explorer may let another thread go on. A store that is not seq_cst may stay in its
 * thread's buffer; a release store and a release fence keep what stood before them before them.
 */
#ifndef TC_TESTS_MODEL_EXPLORE_ATOMIC_H
#define TC_TESTS_MODEL_EXPLORE_ATOMIC_H

#include "base/defs.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Operations stand in the arguments of operations. */
#pragma GCC diagnostic ignored "-Wshadow"

enum explore_order { EXPLORE_RELAXED, EXPLORE_ACQUIRE, EXPLORE_RELEASE, EXPLORE_SEQ_CST };

/* In explore.h. */
__attribute__((unused)) static void explore_step(void);
__attribute__((unused)) static void explore_look(const volatile void *ptr);
__attribute__((unused)) static void explore_read(const volatile void *ptr, void *value,
                                                 size_t size);
__attribute__((unused)) static void explore_write(volatile void *ptr, const void *value,
                                                  size_t size, enum explore_order order);
__attribute__((unused)) static void explore_before_rmw(volatile void *ptr,
                                                       enum explore_order order);
__attribute__((unused)) static void explore_after_rmw(volatile void *ptr, bool changed);
__attribute__((unused)) static void explore_fence(enum explore_order order);

/* The type of what ptr points to, without _Atomic. */
#define explore_type(ptr) \
    __typeof__(({ \
        __auto_type value_ = atomic_load_explicit((ptr), memory_order_relaxed); \
        value_; \
    }))

#define explore_load(ptr) \
    ({ \
        __auto_type at_ = (ptr); \
        explore_step(); \
        explore_look(at_); \
        explore_type(ptr) found_ = atomic_load_explicit(at_, memory_order_relaxed); \
        explore_read(at_, &found_, sizeof found_); \
        found_; \
    })
#define tc_load_relaxed(ptr) explore_load(ptr)
#define tc_load_acquire(ptr) explore_load(ptr)
#define tc_load_seq_cst(ptr) explore_load(ptr)

#define explore_store(ptr, value, order) \
    ({ \
        __auto_type at_ = (ptr); \
        explore_type(ptr) stored_ = (value); \
        explore_step(); \
        explore_write(at_, &stored_, sizeof stored_, (order)); \
    })
#define tc_store_relaxed(ptr, value) explore_store(ptr, value, EXPLORE_RELAXED)
#define tc_store_release(ptr, value) explore_store(ptr, value, EXPLORE_RELEASE)
#define tc_store_seq_cst(ptr, value) explore_store(ptr, value, EXPLORE_SEQ_CST)

#define tc_atomic_init(ptr, value) atomic_init((ptr), (value))

/* A read-modify-write acts on the memory: what its thread has buffered for the same place is
 * written first, and, for an order with a release, everything. */
#define explore_rmw(ptr, order, operation) \
    ({ \
        __auto_type at_ = (ptr); \
        explore_step(); \
        explore_before_rmw(at_, (order)); \
        explore_type(ptr) before_ = atomic_load_explicit(at_, memory_order_relaxed); \
        __auto_type result_ = (operation); \
        explore_after_rmw(at_, before_ != atomic_load_explicit(at_, memory_order_relaxed)); \
        result_; \
    })
#define explore_exchange(ptr, value, order) \
    ({ \
        explore_type(ptr) new_ = (value); \
        explore_rmw(ptr, order, atomic_exchange_explicit(at_, new_, memory_order_relaxed)); \
    })
#define tc_exchange_relaxed(ptr, value) explore_exchange(ptr, value, EXPLORE_RELAXED)
#define tc_exchange_acquire(ptr, value) explore_exchange(ptr, value, EXPLORE_ACQUIRE)
#define tc_exchange_release(ptr, value) explore_exchange(ptr, value, EXPLORE_RELEASE)
#define tc_exchange_acq_rel(ptr, value) explore_exchange(ptr, value, EXPLORE_RELEASE)
#define tc_exchange_seq_cst(ptr, value) explore_exchange(ptr, value, EXPLORE_SEQ_CST)

#define explore_cas(ptr, expected, desired, order) \
    ({ \
        explore_type(ptr) new_ = (desired); \
        __auto_type old_ = (expected); \
        explore_rmw(ptr, order, \
                    atomic_compare_exchange_strong_explicit(at_, old_, new_, memory_order_relaxed, \
                                                            memory_order_relaxed)); \
    })
#define tc_cas_relaxed(ptr, expected, desired) explore_cas(ptr, expected, desired, EXPLORE_RELAXED)
#define tc_cas_acquire(ptr, expected, desired) explore_cas(ptr, expected, desired, EXPLORE_ACQUIRE)
#define tc_cas_release(ptr, expected, desired) explore_cas(ptr, expected, desired, EXPLORE_RELEASE)
#define tc_cas_acq_rel(ptr, expected, desired) explore_cas(ptr, expected, desired, EXPLORE_RELEASE)
#define tc_cas_seq_cst(ptr, expected, desired) explore_cas(ptr, expected, desired, EXPLORE_SEQ_CST)

#define explore_fetch(operation, ptr, value, order) \
    ({ \
        explore_type(ptr) operand_ = (value); \
        explore_rmw(ptr, order, operation(at_, operand_, memory_order_relaxed)); \
    })
#define explore_add(ptr, value, order) explore_fetch(atomic_fetch_add_explicit, ptr, value, order)
#define explore_sub(ptr, value, order) explore_fetch(atomic_fetch_sub_explicit, ptr, value, order)
#define explore_or(ptr, value, order) explore_fetch(atomic_fetch_or_explicit, ptr, value, order)
#define explore_and(ptr, value, order) explore_fetch(atomic_fetch_and_explicit, ptr, value, order)
#define tc_fetch_add_relaxed(ptr, value) explore_add(ptr, value, EXPLORE_RELAXED)
#define tc_fetch_add_acquire(ptr, value) explore_add(ptr, value, EXPLORE_ACQUIRE)
#define tc_fetch_add_release(ptr, value) explore_add(ptr, value, EXPLORE_RELEASE)
#define tc_fetch_add_acq_rel(ptr, value) explore_add(ptr, value, EXPLORE_RELEASE)
#define tc_fetch_add_seq_cst(ptr, value) explore_add(ptr, value, EXPLORE_SEQ_CST)
#define tc_fetch_sub_relaxed(ptr, value) explore_sub(ptr, value, EXPLORE_RELAXED)
#define tc_fetch_sub_acquire(ptr, value) explore_sub(ptr, value, EXPLORE_ACQUIRE)
#define tc_fetch_sub_release(ptr, value) explore_sub(ptr, value, EXPLORE_RELEASE)
#define tc_fetch_sub_acq_rel(ptr, value) explore_sub(ptr, value, EXPLORE_RELEASE)
#define tc_fetch_sub_seq_cst(ptr, value) explore_sub(ptr, value, EXPLORE_SEQ_CST)
#define tc_fetch_or_relaxed(ptr, value) explore_or(ptr, value, EXPLORE_RELAXED)
#define tc_fetch_or_acquire(ptr, value) explore_or(ptr, value, EXPLORE_ACQUIRE)
#define tc_fetch_or_release(ptr, value) explore_or(ptr, value, EXPLORE_RELEASE)
#define tc_fetch_or_acq_rel(ptr, value) explore_or(ptr, value, EXPLORE_RELEASE)
#define tc_fetch_or_seq_cst(ptr, value) explore_or(ptr, value, EXPLORE_SEQ_CST)
#define tc_fetch_and_relaxed(ptr, value) explore_and(ptr, value, EXPLORE_RELAXED)
#define tc_fetch_and_acquire(ptr, value) explore_and(ptr, value, EXPLORE_ACQUIRE)
#define tc_fetch_and_release(ptr, value) explore_and(ptr, value, EXPLORE_RELEASE)
#define tc_fetch_and_acq_rel(ptr, value) explore_and(ptr, value, EXPLORE_RELEASE)
#define tc_fetch_and_seq_cst(ptr, value) explore_and(ptr, value, EXPLORE_SEQ_CST)

static inline void tc_compiler_barrier(void)
{
}

static inline void tc_fence_acquire(void)
{
    explore_fence(EXPLORE_ACQUIRE);
}

static inline void tc_fence_release(void)
{
    explore_fence(EXPLORE_RELEASE);
}

static inline void tc_fence_seq_cst(void)
{
    explore_fence(EXPLORE_SEQ_CST);
}

#define tc_fence_release_store(ptr, value) tc_store_release(ptr, value)
#define tc_load_fence_acquire(ptr) tc_load_acquire(ptr)

#endif
