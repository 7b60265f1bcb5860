/* tests/model/deque.c — an owner pushes two items and takes, a thief steals. Each item has exactly
 * one taker, and the thief sees what the item points to. In a deque of two slots the second push
 * that follows a take reuses a slot that the thief may be reading.
 *
 * Shapes: message passing (push → steal, [deque-bottom]); load buffering (a thief's slot read →
 * its CAS → the owner's reuse of the slot, [deque-top]).
 * TC_WEAKEN: bottom is published by a relaxed store. x86-64 and gcc keep the order, so the hardware
 * cannot show it; TSan and a model checker do (the item's content is a plain field).
 */
#include "base/atomic.h"

#include "model.h"

#if TC_WEAKEN
#undef tc_store_release
#define tc_store_release(ptr, value) tc_store_relaxed(ptr, value)
#endif

#include "base/deque_core.h"

enum { ITEMS = 3, CAPACITY = 2 };

struct item {
    int payload; /* plain: written before the push */
    int taken; /* plain: written by the one taker */
};

static union {
    struct tc_deque_array array;
    char bytes[sizeof(struct tc_deque_array) + CAPACITY * sizeof(void *)];
} storage;
static struct tc_deque_core deque;
static struct item items[ITEMS];
static int pushed; /* owner only */

static void account(struct item *item)
{
    MODEL_CHECK(item >= items && item < items + ITEMS);
    MODEL_CHECK(item->payload == 1);
    item->taken++;
}

static void owner_push(void)
{
    items[pushed].payload = 1;
    if (tc_deque_core_push(&deque, &items[pushed])) {
        pushed++;
    } else {
        items[pushed].payload = 0;
    }
}

static void owner(void)
{
    struct item *item;

    owner_push();
    owner_push();
    item = tc_deque_core_take(&deque);
    if (item != NULL) {
        account(item);
    }
    owner_push();
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
    tc_deque_core_array_init(&storage.array, CAPACITY);
    tc_deque_core_init(&deque, &storage.array);
    pushed = 0;
    for (int i = 0; i < ITEMS; i++) {
        items[i] = (struct item){0, 0};
    }
}

static void check(void)
{
    struct item *item;

    while ((item = tc_deque_core_take(&deque)) != NULL) {
        account(item);
    }
    MODEL_CHECK(pushed >= 2);
    for (int i = 0; i < ITEMS; i++) {
        MODEL_CHECK(items[i].taken == (i < pushed));
    }
}

int main(int argc, char **argv)
{
    static const struct model model = {"deque", 2, setup, {owner, thief, NULL}, check};

    return model_main(&model, argc, argv);
}
