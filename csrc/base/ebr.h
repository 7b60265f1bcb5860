/* base/ebr.h — when may memory be freed that other workers may still be reading?
 *
 * Protocol, argument and invariants (EB1–EB5) are in ebr_core.h. This header adds the memory of the
 * slots and the lock of the orphan list.
 *
 * A worker is online while it runs fibers and says at each turn that it holds nothing; it is
 * offline while it sleeps. Between two quiescent states it may load a protected pointer and use it;
 * what must live longer takes a reference count inside that time. Going to sleep:
 *
 *   publish idle → seq_cst fence → re-scan all queues, still online → tc_ebr_offline → sleep
 *   → tc_ebr_online → first access to a queue
 *
 *                        quiescent, online,   retire_orphan,   init, fini   -  safe together
 *                        offline, retire      backlog                       o  owner of the slot
 *   quiescent, retire…           o                 -               X        X  caller must exclude
 *   retire_orphan, backlog       -                 -               X
 */
#ifndef TC_BASE_EBR_H
#define TC_BASE_EBR_H

#include "base/defs.h"
#include "base/ebr_core.h"
#include "base/lock.h"

struct tc_ebr {
    struct tc_ebr_core core;
    struct tc_lock lock; /* rank TC_RANK_EBR; guards core.orphans. Free functions run outside it */
};

/* Make a domain with `slot_count` participants, all offline.
 * Parks: never   Threads: before the domain is shared   Returns 0 or -ENOMEM. */
TC_NODISCARD int tc_ebr_init(struct tc_ebr *domain, uint32_t slot_count);

/* Free everything that was retired, and the slots. A free function may not retire any more.
 * Parks: never   Threads: nobody else uses the domain, and every slot is offline. */
void tc_ebr_fini(struct tc_ebr *domain);

/* The slot of participant `index`, whose one owner the caller chooses. Threads: any. */
static inline struct tc_ebr_slot *tc_ebr_slot_at(struct tc_ebr *domain, uint32_t index)
{
    tc_assert(index < domain->core.slot_count);
    return &domain->core.slots[index];
}

/* Out-of-line tail of tc_ebr_quiescent. */
void tc__ebr_quiescent_slow(struct tc_ebr_slot *slot);

/* Begin to read protected pointers. Cost: a store and a full fence.
 * Parks: never   Threads: owner of the slot, offline. */
static inline void tc_ebr_online(struct tc_ebr_slot *slot)
{
    tc_ebr_core_online(slot);
}

/* Say that the worker holds no protected pointer at this moment, and free what is due. Cost: one
 * relaxed load and a compare while the epoch stands still and the slot has nothing to free.
 * Parks: never   Threads: owner of the slot, online. */
static inline void tc_ebr_quiescent(struct tc_ebr_slot *slot)
{
    if (tc_unlikely(tc_ebr_core_is_unsettled(slot))) {
        tc__ebr_quiescent_slow(slot);
    }
}

/* Hold no protected pointer until online. A last quiescent state, so that nobody waits in vain for
 * a worker that sleeps; what the slot has retired and is not due yet waits until online or fini.
 * Cost: as quiescent, and one store.   Parks: never   Threads: owner of the slot, online. */
static inline void tc_ebr_offline(struct tc_ebr_slot *slot)
{
    tc_ebr_quiescent(slot);
    tc_ebr_core_offline(slot);
}

/* Free the object around `node` by free_fn(node) once nobody can hold it. The caller has unlinked
 * it. `node` needs no initialisation. Cost: a full fence.
 * Parks: never   Threads: owner of the slot   Owns: the object moves to the slot. */
void tc_ebr_retire(struct tc_ebr_slot *slot, struct tc_ebr_node *node,
                   void (*free_fn)(struct tc_ebr_node *node));

/* The same for a thread that owns no slot. free_fn may run before this returns, or later on a
 * worker.
 * Parks: never   Threads: any   Owns: the object moves to the domain. */
void tc_ebr_retire_orphan(struct tc_ebr *domain, struct tc_ebr_node *node,
                          void (*free_fn)(struct tc_ebr_node *node));

/* How many retired objects are not freed yet. Threads: any. */
size_t tc_ebr_backlog(struct tc_ebr *domain);

#endif
