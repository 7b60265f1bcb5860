/* base/inbox.h — a mailbox of struct tc_link: any thread sends, one thread receives in batches.
 *
 * Protocol, argument, invariants (IB1, IB2) and the table of who may call what are in
 * inbox_core.h; this header says that the links are those of list.h.
 */
#ifndef TC_BASE_INBOX_H
#define TC_BASE_INBOX_H

#include "base/defs.h"
#include "base/inbox_core.h"
#include "base/list.h"

struct tc_inbox {
    struct tc_inbox_core core;
};

static inline struct tc_link **tc__inbox_next_of(struct tc_link *link)
{
    return &link->next;
}

static inline void tc_inbox_init(struct tc_inbox *inbox)
{
    tc_inbox_core_init(&inbox->core);
}

/* Send `link`. Cost: one CAS, without contention.
 * Parks: never   Threads: any   Owns: the link moves to the reader
 * Returns true if the inbox was empty: the caller then wakes the reader. */
TC_NODISCARD static inline bool tc_inbox_push(struct tc_inbox *inbox, struct tc_link *link)
{
    return tc_inbox_core_push(&inbox->core, link, tc__inbox_next_of);
}

/* Receive everything sent so far. Cost: one load if empty, else one exchange and a walk.
 * Parks: never   Threads: the reader   Owns: the links move to the caller
 * Returns the oldest, linked to newer ones by `next`; NULL if there was nothing. */
static inline struct tc_link *tc_inbox_drain(struct tc_inbox *inbox)
{
    return tc_inbox_core_drain(&inbox->core, tc__inbox_next_of);
}

/* A hint. Threads: any. */
static inline bool tc_inbox_is_empty(struct tc_inbox *inbox)
{
    return tc_inbox_core_is_empty(&inbox->core);
}

#endif
