/* python/wakeup.h — an operation whose end is decided by somebody who knows no Python.
 *
 * A record is a callback waiter and a queue node, in type-stable memory, that an operation points
 * to. The source (a channel, a server) claims the waiter like any other, without knowing that a
 * Python task waits. The claim posts the record to the mailbox of the operation's loop; the loop
 * then calls `arrived`, on its thread, attached. A claim on the thread of that very loop, while it
 * runs, calls it at once; so `arrived` may run inside tc_ready(), and must neither run Python nor
 * fail.
 *
 * A record has two ends. The operation lets go of its own when it has read the outcome, or when it
 * is given up; the source's end is let go when the message has arrived, or was dropped with a
 * closed mailbox. Whoever is second frees the record. Before the claim both ends are the
 * operation's: a wait that it withdraws, or that never began, it frees at once.
 *
 *   free ──new──► begun ──start: over at once──► tc_py_wakeup_free
 *                   │ start: -EINPROGRESS
 *                   ▼
 *                 armed ──withdraw says true───► tc_py_wakeup_free
 *                   │ a source claims
 *                   ▼
 *                 claimed ──the message arrives──► arrived(op), freed after that
 *                   │    └──the mailbox is gone──► freed when the operation lets go
 *                   └──the operation lets go─────► tc_py_wakeup_abandon; freed with the message
 *
 * INVARIANTS
 *  WU1  `operation` and `arrived` are used on the loop's thread only.
 *  WU2  A record that is not free holds a reference to its mailbox; the claim passes it to the
 *       claimer, who drops it after the post.
 *  WU3  What the record's node carries belongs to the operation: from the claim on it reads it
 *       there, when told that delivery won (sync/wait.h), or when it has arrived.
 *
 * who may call what: the loop's thread, attached; tc_py_wakeup_abandon any attached thread.
 */
#ifndef TC_PYTHON_WAKEUP_H
#define TC_PYTHON_WAKEUP_H

#include "python/compat.h"
#include "python/mailbox.h"
#include "python/operation.h"

#include "base/atomic.h"
#include "sched/waiter.h"
#include "sync/wait_core.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tc_py_wakeup {
    struct tc_waiter waiter; /* CALLBACK kind; not begun: the source's start function does that */
    struct tc_wait_node node; /* for sources that keep queues (WU3)                             */
    struct tc_py_message message; /* posted by the callback                                     */
    struct tc_py_mailbox *mailbox; /* WU2                                                       */
    struct tc_py_operation *operation; /* borrowed (WU1)                                        */
    /* The wait is over; called once, on the loop's thread. Notes the outcome, forgets the record,
     * and usually calls tc_py_operation_wake. */
    void (*arrived)(struct tc_py_operation *op, struct tc_py_wakeup *wakeup);
    void *memory; /* owned, from tc_mem_alloc, or NULL: what the source uses beside the node    */
    size_t size; /* of it                                                                       */
    _Atomic uint32_t is_let_go; /* 1 once one end was let go [wakeup-ends]                      */
};

/* Take a record for one wait of `op`. Returns NULL with MemoryError set. */
struct tc_py_wakeup *tc_py_wakeup_new(struct tc_py_mailbox *mailbox, struct tc_py_operation *op,
                                      void (*arrived)(struct tc_py_operation *op,
                                                      struct tc_py_wakeup *wakeup));

/* Free a record that no source has or will have claimed: the wait did not begin, or was
 * withdrawn. */
void tc_py_wakeup_free(struct tc_py_wakeup *wakeup);

/* Let go of a record that a source has claimed; `arrived` will not be called any more. */
void tc_py_wakeup_abandon(struct tc_py_wakeup *wakeup);

/* Prepare the memory of the records. Called when the module is made. */
void tc_py_wakeup_setup(void);

#endif
