/* base/deque_core.h — the protocol of the work-stealing deque, without memory management.
 *
 * THE IDEA
 * A Chase–Lev deque ("Dynamic Circular Work-Stealing Deque", SPAA 2005) in its FIFO flavour: the
 * owner pushes at `bottom`; everybody, the owner included, takes at `top` by compare-and-swap. Item
 * number i lives in slot i modulo the capacity. What the original pays a full fence for is the
 * owner's pop at the bottom, which races with a thief for the last item by two plain stores on two
 * words. That pop does not exist here: one word, `top`, decides who gets an item.
 *
 * WHY IT IS RIGHT
 *   1. Indices are 64-bit, start at 0 and only grow. A compare-and-swap of `top` from t therefore
 *      succeeds at most once in the life of the deque for each t: items t..t+k-1 have exactly one
 *      taker. No index is reused, so no ABA.
 *   2. A taker that found `bottom` > t acquired the push of item t [deque-bottom], and with it an
 *      array at least as new as that push. Every such array holds item t in its slot, unless t has
 *      been taken already; but then the taker's CAS fails and what it read is thrown away. An old
 *      array that a slow taker still looks at is never written again.
 *   3. The owner reuses a slot (item i + capacity over item i) only after it read top > i. Takers
 *      read slots before their CAS, whose release pairs with the owner's acquire [deque-top]: their
 *      reads are over before the slot is overwritten. A loser may read the newer item: see 2.
 *   4. A new array is filled before it is published [deque-array], which covers a taker that
 *      meets the new array through an older `bottom`.
 *   5. No step needs an order between a store and a later load of the same thread, which is all
 *      that a seq_cst fence would add. The caller needs one where it goes to sleep on "the deque is
 *      empty"; that handshake is the scheduler's, not the deque's.
 *
 * INVARIANTS
 *   DQ1  top <= bottom <= top + capacity.
 *   DQ2  bottom, array and every slot are written by the owner only.
 *   DQ3  An array once replaced is never written; it must outlive every taker that may have loaded
 *        it (the includer retires it through epochs).
 *
 *              push   adopt   take   steal          -  safe together
 *   push         o      o      o       -            o  owner only
 *   take         o      o      o       -
 *   steal        -      -      -       -
 */
#ifndef TC_BASE_DEQUE_CORE_H
#define TC_BASE_DEQUE_CORE_H

#include "base/assert.h"
#include "base/atomic.h"
#include "base/defs.h"

enum {
    TC_DEQUE_LINE = 128,     /* destructive interference distance, see arch/cpu.h              */
    TC_DEQUE_STEAL_MAX = 16, /* most items that one steal takes                                */
};

/* A power of two of slots. Owner writes, takers read; immutable once replaced (DQ3). */
struct tc_deque_array {
    uint64_t mask;           /* capacity - 1; set before the array is published                */
    _Atomic(void *) slots[]; /* owner writes; a taker's read counts only if its CAS succeeds   */
};

struct tc_deque_core {
    /* The taken end, alone on its lines: every taker writes it. */
    TC_ALIGNED(TC_DEQUE_LINE) _Atomic uint64_t top;

    /* The owner's end: written by the owner, read by thieves. */
    TC_ALIGNED(TC_DEQUE_LINE) _Atomic uint64_t bottom;
    _Atomic(struct tc_deque_array *) array; /* owner writes; thieves read                      */
    uint64_t top_seen;                      /* owner only: a lower bound of top, so that most
                                             * pushes do not read the takers' line             */
};

/* Bytes of an array of `capacity` slots, 0 if that overflows. `capacity` is a power of two. */
static inline size_t tc_deque_core_array_bytes(uint64_t capacity)
{
    if (capacity > (SIZE_MAX - sizeof(struct tc_deque_array)) / sizeof(_Atomic(void *))) {
        return 0;
    }
    return sizeof(struct tc_deque_array) + (size_t)capacity * sizeof(_Atomic(void *));
}

static inline void tc_deque_core_array_init(struct tc_deque_array *array, uint64_t capacity)
{
    tc_assert_debug(capacity != 0 && (capacity & (capacity - 1)) == 0);
    array->mask = capacity - 1;
}

/* Threads: before the deque is shared. Owns: borrows `array`. */
static inline void tc_deque_core_init(struct tc_deque_core *deque, struct tc_deque_array *array)
{
    tc_atomic_init(&deque->top, 0);
    tc_atomic_init(&deque->bottom, 0);
    tc_atomic_init(&deque->array, array);
    deque->top_seen = 0;
}

/* The array in use. Threads: owner. */
static inline struct tc_deque_array *tc_deque_core_array(struct tc_deque_core *deque)
{
    return tc_load_relaxed(&deque->array); /* relaxed: owner-only writer reads its own store */
}

/* Add `item` as the newest. Cost: two plain stores; the takers' line is read once per lap.
 * Parks: never   Threads: owner
 * Returns false if the array is full: the owner then adopts a larger one and pushes again. */
TC_NODISCARD static inline bool tc_deque_core_push(struct tc_deque_core *deque, void *item)
{
    struct tc_deque_array *array = tc_deque_core_array(deque);
    uint64_t bottom = tc_load_relaxed(&deque->bottom); /* relaxed: owner-only writer */

    if (tc_unlikely(bottom - deque->top_seen > array->mask)) {
        /* acquire [deque-top]: the reads of whoever took the old item in our slot are over. */
        deque->top_seen = tc_load_acquire(&deque->top);
        if (bottom - deque->top_seen > array->mask) {
            return false;
        }
    }
    /* relaxed: published by the next store, ordered after old reads by [deque-top]. */
    tc_store_relaxed(&array->slots[bottom & array->mask], item);
    /* release [deque-bottom]: publishes the slot, the array and what the item points to. */
    tc_store_release(&deque->bottom, bottom + 1);
    return true;
}

/* Continue in `larger`, which is initialised and has more slots.
 * Parks: never   Threads: owner   Owns: the deque borrows `larger` from now on
 * Returns the old array, which takers may still read (DQ3). */
static inline struct tc_deque_array *tc_deque_core_adopt(struct tc_deque_core *deque,
                                                         struct tc_deque_array *larger)
{
    struct tc_deque_array *old = tc_deque_core_array(deque);
    uint64_t bottom = tc_load_relaxed(&deque->bottom); /* relaxed: owner-only writer */

    tc_assert_debug(larger->mask > old->mask);
    /* Items taken meanwhile are copied too; nobody's CAS can succeed on them. */
    for (uint64_t i = deque->top_seen; i != bottom; i++) {
        /* relaxed: our own stores read back, and stores that [deque-array] publishes. */
        tc_store_relaxed(&larger->slots[i & larger->mask],
                         tc_load_relaxed(&old->slots[i & old->mask]));
    }
    /* release [deque-array]: publishes mask and copies. */
    tc_store_release(&deque->array, larger);
    return old;
}

/* Remove the oldest item. Cost: one CAS, without contention.
 * Parks: never   Threads: owner   Returns NULL if the deque is empty. */
static inline void *tc_deque_core_take(struct tc_deque_core *deque)
{
    struct tc_deque_array *array = tc_deque_core_array(deque);
    uint64_t bottom = tc_load_relaxed(&deque->bottom); /* relaxed: owner-only writer */
    uint64_t top = tc_load_relaxed(&deque->top);       /* relaxed: a guess, the CAS decides */

    while (top != bottom) {
        /* relaxed: our own store. */
        void *item = tc_load_relaxed(&array->slots[top & array->mask]);

        /* acquire [deque-top]: lets top_seen advance; our own slot reads need no release. */
        if (tc_cas_acquire(&deque->top, &top, top + 1)) {
            deque->top_seen = top + 1;
            return item;
        }
    }
    return NULL;
}

/* Take up to `want` of the oldest items, in one attempt, into out[0..want).
 * Returns how many, 0 if there were none; *lost tells whether another taker was faster. */
static inline size_t tc_deque_core_try_steal(struct tc_deque_core *deque, void **out, size_t want,
                                             bool *lost)
{
    uint64_t top = tc_load_relaxed(&deque->top); /* relaxed: a guess, the CAS decides */
    /* acquire [deque-bottom]: the items below it and the array that holds them are visible. */
    uint64_t bottom = tc_load_acquire(&deque->bottom);
    /* acquire [deque-array]: also when the array is newer than `bottom`. */
    struct tc_deque_array *array = tc_load_acquire(&deque->array);
    int64_t length = (int64_t)(bottom - top); /* < 0: bottom is older than top */
    size_t count;

    *lost = false;
    if (length <= 0 || want == 0) {
        return 0;
    }
    count = ((size_t)length + 1) / 2;
    count = count < want ? count : want;
    for (size_t i = 0; i < count; i++) {
        /* relaxed: a hint until the CAS confirms it. */
        out[i] = tc_load_relaxed(&array->slots[(top + i) & array->mask]);
    }
    /* release [deque-top]: the slot reads above are over before the owner reuses the slots. */
    if (tc_cas_release(&deque->top, &top, top + count)) {
        return count;
    }
    *lost = true;
    return 0;
}

/* Take the older half of the items, at most `max` and TC_DEQUE_STEAL_MAX, oldest first. After a
 * lost race it asks for one item only, so that thieves get out of each other's way.
 * Cost: one CAS, two if lost.
 * Parks: never   Threads: any, inside an epoch section (DQ3)
 * Returns how many items were stored to `out`; 0 may also mean that two races were lost. */
static inline size_t tc_deque_core_steal(struct tc_deque_core *deque, void **out, size_t max)
{
    size_t want = max < TC_DEQUE_STEAL_MAX ? max : TC_DEQUE_STEAL_MAX;
    bool lost;
    size_t count = tc_deque_core_try_steal(deque, out, want, &lost);

    if (lost) {
        count = tc_deque_core_try_steal(deque, out, 1, &lost);
    }
    return count;
}

/* How many items there are: exact for the owner while nobody steals, a hint otherwise. A caller
 * that sleeps on 0 puts its own seq_cst fence before this call. */
static inline size_t tc_deque_core_len(struct tc_deque_core *deque)
{
    uint64_t top = tc_load_relaxed(&deque->top);       /* relaxed: hint */
    uint64_t bottom = tc_load_relaxed(&deque->bottom); /* relaxed: hint */
    int64_t length = (int64_t)(bottom - top);

    return length > 0 ? (size_t)length : 0;
}

#endif
