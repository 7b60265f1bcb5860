/* base/deque.h — a worker's run queue: one owner pushes, everybody takes the oldest.
 *
 * The protocol and the argument for it are in deque_core.h; this header adds memory. The array
 * grows by doubling and never shrinks. A replaced array may still be read by a thief, so it is
 * handed to a retire function that frees it later; tc_deque_retire_ebr is the usual one. The block
 * of an array begins with room for the reclaimer's node, so that retiring allocates nothing.
 *
 * INVARIANTS  DQ1–DQ3 of deque_core.h, and
 *   DQ4  A failed growth changes nothing: the item was not pushed, the deque works on.
 *
 *              push   take   steal   len   init, fini    -  safe together
 *   push         o      o      -      -        X         o  owner only
 *   take         o      o      -      -        X         X  caller must exclude
 *   steal        -      -      -      -        X
 *   len          -      -      -      -        X
 */
#ifndef TC_BASE_DEQUE_H
#define TC_BASE_DEQUE_H

#include <errno.h>

#include "base/defs.h"
#include "base/deque_core.h"

/* Gives up an array of `bytes` bytes from tc_mem_alloc that thieves may still read. Called on the
 * owner's thread, from push. Whoever frees it calls tc_deque_array_free. */
typedef void tc_deque_retire_fn(void *arg, void *array, size_t bytes);

struct tc_deque {
    struct tc_deque_core core;
    tc_deque_retire_fn *retire; /* set once                                                    */
    void *retire_arg;           /* borrowed; set once                                          */
};

/* Parks: never   Threads: before the deque is shared
 * Owns: borrows retire_arg until fini
 * Returns 0 or -ENOMEM. */
TC_NODISCARD int tc_deque_init(struct tc_deque *deque, tc_deque_retire_fn *retire,
                               void *retire_arg);

/* Free the current array. Items still inside are forgotten. Threads: nobody else may touch the
 * deque; arrays retired before are the reclaimer's. */
void tc_deque_fini(struct tc_deque *deque);

/* Free what a retire function was given. */
void tc_deque_array_free(void *array, size_t bytes);

/* A tc_deque_retire_fn: `arg` is the owner's struct tc_ebr_slot. */
void tc_deque_retire_ebr(void *arg, void *array, size_t bytes);

/* Out-of-line tail of tc_deque_push. */
TC_NODISCARD int tc__deque_push_slow(struct tc_deque *deque, void *item);

/* Add `item` (not NULL) as the newest. Cost: two plain stores.
 * Parks: never   Threads: owner   Owns: the item moves to the deque on 0 only
 * Returns 0, -ENOMEM if the deque was full and could not grow (DQ4). */
TC_NODISCARD static inline int tc_deque_push(struct tc_deque *deque, void *item)
{
    if (tc_likely(tc_deque_core_push(&deque->core, item))) {
        return 0;
    }
    return tc__deque_push_slow(deque, item);
}

/* Remove the oldest item. Cost: one CAS.
 * Parks: never   Threads: owner   Owns: the item moves to the caller
 * Returns NULL if the deque is empty. */
static inline void *tc_deque_take(struct tc_deque *deque)
{
    return tc_deque_core_take(&deque->core);
}

/* Take the older half, at most `max` and 16 items, into `out`, oldest first.
 * Parks: never   Threads: any, between two quiescent states   Owns: the items move to the caller
 * Returns how many; 0: empty, or others were faster twice. */
static inline size_t tc_deque_steal(struct tc_deque *deque, void **out, size_t max)
{
    return tc_deque_core_steal(&deque->core, out, max);
}

/* A hint; exact for the owner while nobody steals. Threads: any. */
static inline size_t tc_deque_len(struct tc_deque *deque)
{
    return tc_deque_core_len(&deque->core);
}

#endif
