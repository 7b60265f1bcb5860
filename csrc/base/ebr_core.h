/* base/ebr_core.h — the protocol of epoch-based reclamation, without locks and allocation.
 *
 * THE SETTING
 * Readers load a shared pointer and use what it points to without any write. A writer replaces the
 * pointer and wants to free the old object as soon as no reader can hold it. Quiescent-state
 * flavour (McKenney's QSBR): a reader is a worker, and between two turns it holds nothing; it says
 * so there instead of marking every read. Its slot holds the epoch that it last saw, or 0 while it
 * is offline, that is asleep or elsewhere and certainly without references.
 *
 *   reader                               writer, then anyone
 *     online:    l := epoch                unlink the object
 *                slot := l                 fence U
 *                fence R                   stamp e := epoch
 *     read and use shared pointers         ...
 *     quiescent: if epoch != l, as online  advance: g := epoch
 *     offline:   slot := 0                          fence A
 *                                                   every slot is 0 or g?
 *                                                   CAS epoch g → g + 1
 *                                          free when epoch >= e + 2
 *
 * WHY IT IS RIGHT
 * Take a reader that holds an unlinked object, and its last fence R before it loaded the pointer.
 *   1. The load missed the unlink, so R comes before U in the one order of seq_cst fences
 *      (store buffering, [ebr-online]): the slot is set before a later fence looks at slots.
 *   2. A scan whose fence A comes after R sees the slot = l and lets the epoch pass only if g = l.
 *      After that pass, to l + 1, no such scan succeeds until the reader is quiescent.
 *   3. A scan whose fence A comes before R may have missed the slot. All such scans read some g
 *      before A, the greatest being G; one CAS succeeds for each g, so they bring the epoch to at
 *      most G + 1, however late the last CAS is done.
 *   4. The stamp is read after U, and U after R: it is at least l (read before R) and at least G
 *      (read before A, before R). So while the reader holds on, epoch <= max(l, G) + 1 <= e + 1,
 *      and the object is not freed. With "+ 1" instead of "+ 2" step 2 alone would free too early.
 *   5. The reader's accesses happen before the free: slot store release [ebr-slot] → the scan's
 *      acquire → CAS release on the epoch [ebr-epoch] → acquire by whoever frees.
 *
 * The reader pays fence R only when the epoch moved. A turn with nothing new costs one relaxed load
 * and one compare: `settled` holds the epoch to compare with, and is 0, which no epoch is, while
 * something waits to be freed, so that such a worker comes by at each turn.
 *
 * Threads without a slot never read protected pointers. They retire to the orphan list, which is
 * locked; its lock is the includer's hook. Whichever slow path comes by frees what is due there.
 *
 * INVARIANTS
 *   EB1  epoch starts at 1 and grows by one; it is never reduced by a modulus.
 *   EB2  A slot that is online is at most one epoch behind, or blocks every advance.
 *   EB3  The stamps in one retired list do not decrease towards the tail.
 *   EB4  Nobody waits for a grace period; a reader that is never quiescent costs memory only.
 *   EB5  A free function may retire again; it must not become quiescent, go on- or offline.
 *
 *                      online, offline   quiescent   retire   retire_orphan    -  safe together
 *   online, offline,          o              o          o           -          o  owner of the slot
 *   quiescent, retire
 *   retire_orphan             -              -          -           -
 */
#ifndef TC_BASE_EBR_CORE_H
#define TC_BASE_EBR_CORE_H

#include "base/assert.h"
#include "base/atomic.h"
#include "base/defs.h"

enum {
    TC_EBR_LINE = 128,   /* destructive interference distance, see arch/cpu.h                  */
    TC_EBR_OFFLINE = 0,  /* slot value; no epoch is 0 (EB1)                                    */
    TC_EBR_GRACE = 2,    /* epochs between stamp and free, see 4                               */
};

/* Embedded in what will be retired; unused before. Written by the retirer, then owned by the list
 * that holds it. */
struct tc_ebr_node {
    struct tc_ebr_node *next;
    void (*free_fn)(struct tc_ebr_node *node); /* called once, on the thread that finds it due  */
    uint64_t epoch;                            /* stamp                                         */
};

struct tc_ebr_list {
    struct tc_ebr_node *head; /* oldest stamp (EB3), NULL when empty                           */
    struct tc_ebr_node *tail; /* newest stamp; undefined when empty                            */
};

/* One reader. Each on its own cache lines, because others poll `epoch` and the owner writes the
 * rest. */
struct tc_ebr_slot {
    TC_ALIGNED(TC_EBR_LINE) _Atomic uint64_t epoch; /* owner writes; scans read                 */
    uint64_t settled;            /* owner only: quiescent has nothing to do while the domain's
                                  * epoch equals this; 0 while something waits to be freed      */
    struct tc_ebr_core *domain;  /* set once                                                   */
    struct tc_ebr_list retired;  /* owner only                                                 */
    _Atomic size_t backlog;      /* length of `retired`; owner writes, anyone reads            */
};

struct tc_ebr_core {
    TC_ALIGNED(TC_EBR_LINE) _Atomic uint64_t epoch; /* EB1; any slow path advances it           */
    struct tc_ebr_slot *slots;      /* borrowed; set once                                      */
    uint32_t slot_count;            /* set once                                                */
    struct tc_ebr_list orphans;     /* under the includer's lock                               */
    _Atomic size_t orphan_count;    /* written under the lock; read anywhere as a hint         */
};

/* Hooks: the lock of the orphan list, given as constant arguments so that they are inlined.
 * try_lock: false if somebody else holds it. */
struct tc_ebr_lock_hooks {
    void (*lock)(struct tc_ebr_core *domain);
    bool (*try_lock)(struct tc_ebr_core *domain);
    void (*unlock)(struct tc_ebr_core *domain);
};

/* ---- retired lists ----------------------------------------------------------------------- */

static inline void tc_ebr_list_push(struct tc_ebr_list *list, struct tc_ebr_node *node)
{
    tc_assert_debug(list->head == NULL || list->tail->epoch <= node->epoch); /* EB3 */
    node->next = NULL;
    if (list->head == NULL) {
        list->head = node;
    } else {
        list->tail->next = node;
    }
    list->tail = node;
}

/* Returns the oldest node if it may be freed at `epoch`, else NULL. UINT64_MAX: any node. */
static inline struct tc_ebr_node *tc_ebr_list_pop_due(struct tc_ebr_list *list, uint64_t epoch)
{
    struct tc_ebr_node *node = list->head;

    if (node == NULL || epoch < node->epoch + TC_EBR_GRACE) {
        return NULL;
    }
    list->head = node->next;
    return node;
}

/* ---- domain and epoch -------------------------------------------------------------------- */

/* Threads: before the domain is shared. Owns: borrows `slots`, which are all offline then. */
static inline void tc_ebr_core_init(struct tc_ebr_core *domain, struct tc_ebr_slot *slots,
                                    uint32_t slot_count)
{
    tc_atomic_init(&domain->epoch, 1);
    domain->slots = slots;
    domain->slot_count = slot_count;
    domain->orphans.head = NULL;
    tc_atomic_init(&domain->orphan_count, 0);
    for (uint32_t i = 0; i < slot_count; i++) {
        tc_atomic_init(&slots[i].epoch, TC_EBR_OFFLINE);
        slots[i].settled = TC_EBR_OFFLINE;
        slots[i].domain = domain;
        slots[i].retired.head = NULL;
        tc_atomic_init(&slots[i].backlog, 0);
    }
}

/* Move the epoch on if every online slot has seen it. Cost: a fence and one load per slot.
 * Threads: any   Returns the epoch, acquired. */
static inline uint64_t tc_ebr_core_try_advance(struct tc_ebr_core *domain)
{
    /* acquire [ebr-epoch]: accesses of readers that earlier scans waited for are over. */
    uint64_t epoch = tc_load_acquire(&domain->epoch);
    uint64_t found = epoch;

    /* seq_cst [ebr-online]: fence A; a reader's slot is set, or its loads see the unlink. */
    tc_fence_seq_cst();
    for (uint32_t i = 0; i < domain->slot_count; i++) {
        /* acquire [ebr-slot]: accesses before that quiescent state are over. */
        uint64_t seen = tc_load_acquire(&domain->slots[i].epoch);

        if (seen != TC_EBR_OFFLINE && seen != epoch) {
            return epoch;
        }
    }
    /* acq_rel [ebr-epoch]: hands on what the scan acquired; if another was faster, takes its. */
    if (tc_cas_acq_rel(&domain->epoch, &found, epoch + 1)) {
        return epoch + 1;
    }
    return found;
}

/* Read the epoch for the stamp of an object that was unlinked before. Threads: any. */
static inline uint64_t tc_ebr_core_stamp(struct tc_ebr_core *domain)
{
    /* seq_cst [ebr-online]: fence U; the unlink is not seen late by who is not counted here. */
    tc_fence_seq_cst();
    return tc_load_relaxed(&domain->epoch); /* relaxed: bounded from below by fence U */
}

/* ---- readers ----------------------------------------------------------------------------- */

/* Make the slot say that references loaded from now on belong to the present epoch. */
static inline uint64_t tc_ebr_core_publish(struct tc_ebr_slot *slot)
{
    /* acquire [ebr-epoch]: what is due at this epoch may be freed by us. */
    uint64_t epoch = tc_load_acquire(&slot->domain->epoch);

    /* release [ebr-slot]: our accesses so far are over. */
    tc_store_release(&slot->epoch, epoch);
    /* seq_cst [ebr-online]: fence R; the slot is visible before we load any pointer. */
    tc_fence_seq_cst();
    return epoch;
}

/* Decide whether the next quiescent state may be skipped while the epoch is still `epoch`. */
static inline void tc_ebr_core_settle(struct tc_ebr_slot *slot, uint64_t epoch)
{
    /* relaxed: hint; an orphan's retirer moves the epoch, or whom it waits for does. */
    bool has_work = slot->retired.head != NULL || tc_load_relaxed(&slot->domain->orphan_count) != 0;

    slot->settled = has_work ? TC_EBR_OFFLINE : epoch;
}

/* Begin to read protected pointers. Threads: owner, offline. */
static inline void tc_ebr_core_online(struct tc_ebr_slot *slot)
{
    /* relaxed: owner-only writer */
    tc_assert_debug(tc_load_relaxed(&slot->epoch) == TC_EBR_OFFLINE);
    tc_ebr_core_settle(slot, tc_ebr_core_publish(slot));
}

/* Hold no protected pointer from now on, and load none, until online. Threads: owner, online. */
static inline void tc_ebr_core_offline(struct tc_ebr_slot *slot)
{
    /* release [ebr-slot]: our accesses so far are over. */
    tc_store_release(&slot->epoch, TC_EBR_OFFLINE);
}

/* True if the next quiescent state has work to do; the one load and compare of a turn. */
static inline bool tc_ebr_core_is_unsettled(struct tc_ebr_slot *slot)
{
    return tc_load_relaxed(&slot->domain->epoch) != slot->settled; /* relaxed: hint */
}

/* Free what is due in the slot's own list. Threads: owner, between sections. */
static inline void tc_ebr_core_collect(struct tc_ebr_slot *slot, uint64_t epoch)
{
    struct tc_ebr_node *node;

    while ((node = tc_ebr_list_pop_due(&slot->retired, epoch)) != NULL) {
        /* relaxed: owner-only writer, a statistic for others. */
        tc_store_relaxed(&slot->backlog, tc_load_relaxed(&slot->backlog) - 1);
        node->free_fn(node);
    }
}

/* Free what is due among the orphans, unless another thread is at it. The free functions run
 * without the lock. Threads: any. */
static inline void tc_ebr_core_collect_orphans(struct tc_ebr_core *domain, uint64_t epoch,
                                               const struct tc_ebr_lock_hooks *hooks)
{
    struct tc_ebr_list due = {NULL, NULL};
    struct tc_ebr_node *node;
    size_t count = 0;

    /* relaxed: hint, re-checked under the lock. */
    if (tc_load_relaxed(&domain->orphan_count) == 0 || !hooks->try_lock(domain)) {
        return;
    }
    while ((node = tc_ebr_list_pop_due(&domain->orphans, epoch)) != NULL) {
        tc_ebr_list_push(&due, node);
        count++;
    }
    /* relaxed: written under the lock only. */
    tc_store_relaxed(&domain->orphan_count, tc_load_relaxed(&domain->orphan_count) - count);
    hooks->unlock(domain);
    while ((node = tc_ebr_list_pop_due(&due, UINT64_MAX)) != NULL) {
        node->free_fn(node);
    }
}

/* The tail of a quiescent state when the epoch moved or there is something to free. */
static inline void tc_ebr_core_quiescent_slow(struct tc_ebr_slot *slot,
                                              const struct tc_ebr_lock_hooks *hooks)
{
    struct tc_ebr_core *domain = slot->domain;
    uint64_t seen = tc_ebr_core_publish(slot);

    /* relaxed: hint, re-checked under the lock. */
    if (slot->retired.head != NULL || tc_load_relaxed(&domain->orphan_count) != 0) {
        uint64_t epoch = tc_ebr_core_try_advance(domain);

        tc_ebr_core_collect(slot, epoch);
        tc_ebr_core_collect_orphans(domain, epoch, hooks);
    }
    tc_ebr_core_settle(slot, seen);
}

/* ---- retiring ---------------------------------------------------------------------------- */

/* Free `node` by free_fn once no reader can hold it. It is unlinked already.
 * Threads: owner   Owns: the node moves to the slot. */
static inline void tc_ebr_core_retire(struct tc_ebr_slot *slot, struct tc_ebr_node *node,
                                      void (*free_fn)(struct tc_ebr_node *node))
{
    node->free_fn = free_fn;
    node->epoch = tc_ebr_core_stamp(slot->domain);
    tc_ebr_list_push(&slot->retired, node);
    /* relaxed: owner-only writer, a statistic for others. */
    tc_store_relaxed(&slot->backlog, tc_load_relaxed(&slot->backlog) + 1);
    slot->settled = TC_EBR_OFFLINE;
}

/* The same for threads without a slot. The stamp is read under the lock, which keeps EB3.
 * Threads: any   Owns: the node moves to the domain. */
static inline void tc_ebr_core_retire_orphan(struct tc_ebr_core *domain, struct tc_ebr_node *node,
                                             void (*free_fn)(struct tc_ebr_node *node),
                                             const struct tc_ebr_lock_hooks *hooks)
{
    uint64_t epoch = 0;

    node->free_fn = free_fn;
    hooks->lock(domain);
    node->epoch = tc_ebr_core_stamp(domain);
    tc_ebr_list_push(&domain->orphans, node);
    /* relaxed: written under the lock only. */
    tc_store_relaxed(&domain->orphan_count, tc_load_relaxed(&domain->orphan_count) + 1);
    hooks->unlock(domain);
    /* Two moves make it due if all workers sleep; a moved epoch brings the others by. */
    for (int i = 0; i < TC_EBR_GRACE; i++) {
        epoch = tc_ebr_core_try_advance(domain);
    }
    tc_ebr_core_collect_orphans(domain, epoch, hooks);
}

/* Free everything, due or not. Threads: nobody else uses the domain any more. */
static inline void tc_ebr_core_fini(struct tc_ebr_core *domain)
{
    struct tc_ebr_node *node;

    for (uint32_t i = 0; i < domain->slot_count; i++) {
        tc_assert(tc_load_relaxed(&domain->slots[i].epoch) == TC_EBR_OFFLINE); /* relaxed: alone */
        tc_ebr_core_collect(&domain->slots[i], UINT64_MAX);
    }
    while ((node = tc_ebr_list_pop_due(&domain->orphans, UINT64_MAX)) != NULL) {
        node->free_fn(node);
    }
}

/* How many objects wait to be freed: a snapshot. Threads: any. */
static inline size_t tc_ebr_core_backlog(struct tc_ebr_core *domain)
{
    size_t total = tc_load_relaxed(&domain->orphan_count); /* relaxed: statistic */

    for (uint32_t i = 0; i < domain->slot_count; i++) {
        total += tc_load_relaxed(&domain->slots[i].backlog); /* relaxed: statistic */
    }
    return total;
}

#endif
