/* tests/model/deque_grow.c — the owner grows the array under two thieves. No item is lost, taken
 * twice or read from an array that was not filled yet.
 *
 * Shape: message passing through a pointer ([deque-array]): the copies are written before the array
 * is published, and a thief may meet the new array together with an older bottom.
 * TC_WEAKEN: the array is published by a relaxed store, and bottom too. Not visible on x86-64; TSan
 * (the new array's mask is a plain field) and a model checker see it.
 */
#include "base/atomic.h"

#include "model.h"

#if TC_WEAKEN
#undef tc_store_release
#define tc_store_release(ptr, value) tc_store_relaxed(ptr, value)
#endif

#include "base/deque_core.h"

enum { ITEMS = 3, SMALL = 1, LARGE = 4 };

union array_storage {
    struct tc_deque_array array;
    char bytes[sizeof(struct tc_deque_array) + LARGE * sizeof(void *)];
};

static union array_storage small_array, large_array;
static struct tc_deque_core deque;
static _Atomic int taken[ITEMS]; /* the item is its own address in this array */

static void account(void *item)
{
    _Atomic int *slot = item;

    MODEL_CHECK(slot >= taken && slot < taken + ITEMS);
    tc_fetch_add_relaxed(slot, 1); /* relaxed: read after the threads joined */
}

static void owner(void)
{
    for (int i = 0; i < ITEMS; i++) {
        if (!tc_deque_core_push(&deque, &taken[i])) {
            tc_deque_core_array_init(&large_array.array, LARGE);
            (void)tc_deque_core_adopt(&deque, &large_array.array);
            MODEL_CHECK(tc_deque_core_push(&deque, &taken[i]));
        }
    }
}

static void thief(void)
{
    void *out[2];
    size_t count = tc_deque_core_steal(&deque, out, 2);

    for (size_t i = 0; i < count; i++) {
        account(out[i]);
    }
}

static void setup(void)
{
    tc_deque_core_array_init(&small_array.array, SMALL);
    tc_deque_core_init(&deque, &small_array.array);
    for (int i = 0; i < LARGE; i++) {
        tc_atomic_init(&large_array.array.slots[i], NULL);
    }
    for (int i = 0; i < ITEMS; i++) {
        tc_atomic_init(&taken[i], 0);
    }
}

static void check(void)
{
    void *item;

    while ((item = tc_deque_core_take(&deque)) != NULL) {
        account(item);
    }
    for (int i = 0; i < ITEMS; i++) {
        MODEL_CHECK(tc_load_relaxed(&taken[i]) == 1); /* relaxed: threads are done */
    }
}

int main(int argc, char **argv)
{
    static const struct model model = {"deque_grow", 3, setup, {owner, thief, thief}, check};

    return model_main(&model, argc, argv);
}
