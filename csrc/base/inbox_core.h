/* base/inbox_core.h — the protocol of a mailbox with many senders and one reader.
 *
 * THE IDEA
 * A Treiber stack ("Coping with Parallelism", IBM RJ 5118, 1986) of which the reader only ever
 * takes everything at once, and then reverses the batch. Senders compare-and-swap the head;
 * nobody unlinks a single node.
 *
 * WHY IT IS RIGHT
 *   1. A sender writes link->next = h and then moves the head from h to link. If the head is h at
 *      that moment, the list below it is what h meant *now*: h is only compared, never followed.
 *      That it was taken and pushed again meanwhile (ABA) does not matter.
 *   2. Each push is a release, the reader's exchange an acquire [inbox-head]. All writes of the
 *      head are read-modify-writes, so one exchange synchronises with every push in its batch, not
 *      only with the last one.
 *   3. A push that finds the head empty reports it, and that sender wakes the reader. A push that
 *      finds it non-empty may stay silent: some earlier sender of the same batch is about to wake
 *      the reader, and the exchange that answers that wake takes this link too, because it comes
 *      after both pushes in the order of the head.
 *   4. The wake must be one that is kept if it comes early (a parker's token). The reader may
 *      find the inbox empty after a wake: another wake's drain was faster.
 *
 * INVARIANTS
 *   IB1  Between its push and the drain that returns it a link belongs to the inbox.
 *   IB2  Links leave in the order in which their pushes succeeded.
 *
 *              push   drain   is_empty        -  safe together
 *   push         -      -        -            o  the one reader
 *   drain        -      o        -
 */
#ifndef TC_BASE_INBOX_CORE_H
#define TC_BASE_INBOX_CORE_H

#include "base/assert.h"
#include "base/atomic.h"
#include "base/defs.h"

/* Embedded in what is sent; defined by the includer. */
struct tc_link;

/* Hook: where a link keeps its `next`. A sender writes it before its push, the reader after the
 * drain. Given as a constant argument, so that it is inlined. */
typedef struct tc_link **tc_inbox_next_of_fn(struct tc_link *link);

struct tc_inbox_core {
    _Atomic(struct tc_link *) head; /* newest; senders CAS, the reader exchanges              */
};

static inline void tc_inbox_core_init(struct tc_inbox_core *inbox)
{
    tc_atomic_init(&inbox->head, NULL);
}

/* Send `link`. Cost: one CAS, without contention.
 * Parks: never   Threads: any   Owns: the link moves to the reader
 * Returns true if the inbox was empty: the caller then wakes the reader. */
TC_NODISCARD static inline bool tc_inbox_core_push(struct tc_inbox_core *inbox,
                                                   struct tc_link *link,
                                                   tc_inbox_next_of_fn *next_of)
{
    /* relaxed: only compared, see 1. */
    struct tc_link *head = tc_load_relaxed(&inbox->head);

    do {
        *next_of(link) = head;
        /* release [inbox-head]: publishes `next` and the message around the link. */
    } while (!tc_cas_release(&inbox->head, &head, link));
    return head == NULL;
}

/* Receive everything. Cost: one load if empty, else one exchange and a walk.
 * Parks: never   Threads: the reader   Owns: the links move to the caller
 * Returns the oldest, linked to newer ones by `next`; NULL if there was nothing. */
static inline struct tc_link *tc_inbox_core_drain(struct tc_inbox_core *inbox,
                                                  tc_inbox_next_of_fn *next_of)
{
    struct tc_link *oldest = NULL;
    struct tc_link *link;

    /* relaxed: hint; whoever pushes after this load sees "empty" and wakes us again. */
    if (tc_load_relaxed(&inbox->head) == NULL) {
        return NULL;
    }
    /* acquire [inbox-head]: every message of the batch is complete. */
    link = tc_exchange_acquire(&inbox->head, NULL);
    while (link != NULL) {
        struct tc_link *older = *next_of(link);

        *next_of(link) = oldest;
        oldest = link;
        link = older;
    }
    return oldest;
}

/* A hint. A reader that sleeps on it puts its own seq_cst fence, or its parker's swap, before. */
static inline bool tc_inbox_core_is_empty(struct tc_inbox_core *inbox)
{
    return tc_load_relaxed(&inbox->head) == NULL; /* relaxed: hint */
}

#endif
