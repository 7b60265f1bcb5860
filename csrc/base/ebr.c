#include "base/ebr.h"

#include <errno.h>

#include "arch/cpu.h"
#include "base/mem.h"

_Static_assert(TC_EBR_LINE == TC_CACHELINE, "the core cannot include arch, so it repeats it");
_Static_assert(sizeof(struct tc_ebr_slot) == TC_CACHELINE, "a slot has its lines to itself");

static struct tc_ebr *domain_of(struct tc_ebr_core *core)
{
    return tc_container_of(core, struct tc_ebr, core);
}

static void lock_orphans(struct tc_ebr_core *core)
{
    tc_lock_acquire(&domain_of(core)->lock);
}

static bool try_lock_orphans(struct tc_ebr_core *core)
{
    return tc_lock_try_acquire(&domain_of(core)->lock);
}

static void unlock_orphans(struct tc_ebr_core *core)
{
    tc_lock_release(&domain_of(core)->lock);
}

static const struct tc_ebr_lock_hooks lock_hooks = {
    .lock = lock_orphans,
    .try_lock = try_lock_orphans,
    .unlock = unlock_orphans,
};

int tc_ebr_init(struct tc_ebr *domain, uint32_t slot_count)
{
    struct tc_ebr_slot *slots;

    tc_assert(slot_count > 0);
    slots = tc_mem_alloc_aligned(TC_CACHELINE, slot_count * sizeof(*slots));
    if (slots == NULL) {
        return -ENOMEM;
    }
    tc_lock_init(&domain->lock, TC_RANK_EBR);
    tc_ebr_core_init(&domain->core, slots, slot_count);
    return 0;
}

void tc_ebr_fini(struct tc_ebr *domain)
{
    struct tc_ebr_slot *slots = domain->core.slots;

    tc_ebr_core_fini(&domain->core);
    tc_mem_free(slots, domain->core.slot_count * sizeof(*slots));
    domain->core.slots = NULL;
}

TC_NOINLINE void tc__ebr_quiescent_slow(struct tc_ebr_slot *slot)
{
    tc_ebr_core_quiescent_slow(slot, &lock_hooks);
}

void tc_ebr_retire(struct tc_ebr_slot *slot, struct tc_ebr_node *node,
                   void (*free_fn)(struct tc_ebr_node *node))
{
    tc_ebr_core_retire(slot, node, free_fn);
}

void tc_ebr_retire_orphan(struct tc_ebr *domain, struct tc_ebr_node *node,
                          void (*free_fn)(struct tc_ebr_node *node))
{
    tc_ebr_core_retire_orphan(&domain->core, node, free_fn, &lock_hooks);
}

size_t tc_ebr_backlog(struct tc_ebr *domain)
{
    return tc_ebr_core_backlog(&domain->core);
}
