/* tests/model/ebr.c — a reader goes online, loads a shared pointer and uses the object; a writer
 * unlinks it, retires it and does all it can to have it freed. The reader never meets a freed one.
 *
 * Shapes: store buffering (the reader's slot and its load of the pointer against the writer's
 * unlink and scan of the slots, [ebr-online]); message passing (the reader's last access before
 * the free, [ebr-slot], [ebr-epoch]).
 * TC_WEAKEN=1: an object is freed one epoch after its stamp instead of two; shows on any hardware.
 * TC_WEAKEN=2: no fence where the reader comes online: a model checker sees it; on x86-64 two whole
 * scans would have to fit into the time a store stays in the buffer.
 */
#include "base/atomic.h"

#include "model.h"

#if TC_WEAKEN == 2
#define tc_fence_seq_cst() tc_compiler_barrier()
#endif

#include "base/ebr_core.h"

enum { GRACE = TC_WEAKEN == 1 ? 1 : TC_EBR_GRACE, READER = 0, WRITER = 1, SLOTS = 2 };

/* A stress run holds the object for a while, a checker needs one look. */
enum { USES = TC_MODEL_CHECKER ? 1 : 500 };

struct object {
    struct tc_ebr_node node;
    _Atomic bool freed;
    int content; /* plain: TSan sees an access that is not ordered before the free */
};

static struct tc_ebr_core domain;
static struct tc_ebr_slot slots[SLOTS];
static struct object objects[2];
static _Atomic(struct object *) shared;

static void no_lock(struct tc_ebr_core *core)
{
    (void)core;
}

static bool no_try_lock(struct tc_ebr_core *core)
{
    (void)core;
    return true;
}

static const struct tc_ebr_lock_hooks no_hooks = {no_lock, no_try_lock, no_lock};

static void free_object(struct tc_ebr_node *node)
{
    struct object *object = tc_container_of(node, struct object, node);

    object->content = -1;
    tc_store_relaxed(&object->freed, true); /* relaxed: the epochs must order it */
}

static void reader(void)
{
    struct tc_ebr_slot *slot = &slots[READER];

    tc_ebr_core_online(slot);
    for (int i = 0; i < 2; i++) {
        struct object *object = tc_load_acquire(&shared); /* acquire: the writer's swap */

        for (int use = 0; use < USES; use++) {
            MODEL_CHECK(!tc_load_relaxed(&object->freed)); /* relaxed: as above */
        }
        MODEL_CHECK(object->content == 1);
        tc_ebr_core_quiescent_slow(slot, &no_hooks);
    }
    tc_ebr_core_offline(slot);
}

static void writer(void)
{
    struct tc_ebr_slot *slot = &slots[WRITER];
    struct object *old;

    tc_ebr_core_online(slot);
    old = tc_exchange_acq_rel(&shared, &objects[1]); /* acq_rel: publishes objects[1] */
    tc_ebr_core_retire(slot, &old->node, free_object);
    old->node.epoch -= TC_EBR_GRACE - GRACE; /* 0 unless weakened */
    for (int i = 0; i < 3; i++) {
        tc_ebr_core_quiescent_slow(slot, &no_hooks);
    }
    tc_ebr_core_offline(slot);
}

static void setup(void)
{
    tc_ebr_core_init(&domain, slots, SLOTS);
    for (int i = 0; i < 2; i++) {
        objects[i].content = 1;
        tc_atomic_init(&objects[i].freed, false);
    }
    tc_atomic_init(&shared, &objects[0]);
}

static void check(void)
{
    tc_ebr_core_fini(&domain);
    MODEL_CHECK(tc_load_relaxed(&objects[0].freed)); /* relaxed: threads are done */
    MODEL_CHECK(!tc_load_relaxed(&objects[1].freed));
}

int main(int argc, char **argv)
{
    static const struct model model = {"ebr", 2, setup, {reader, writer, NULL}, check};

    return model_main(&model, argc, argv);
}
