/* sync/select.h — wait for the first of several sends and receives; exactly one takes place.
 *
 * The cases are tried in a random order, one lock at a time; if none can proceed, all channels are
 * locked in the order of their addresses, each once, and the cases are tried again, so that there
 * is a moment at which none could. A try ends there. A wait then puts one node per case into the
 * channels' queues, all of one waiter, and releases the locks from the commit of the park. Whoever
 * claims the waiter first has won for its channel; the other nodes are unlinked before the call
 * returns. This is the select of Go's runtime, with the waiter's claim in the place of its
 * selectDone word.
 *
 * A case on a closed channel can proceed: its result is then -EPIPE (a receive drains the channel
 * first). A case marked TC_SELECT_SKIP, or one without a channel, never can.
 *
 * INVARIANTS
 *  S1  At most one case takes effect, and it is the one that is returned (C6 for the others).
 *  S2  Among cases that can proceed when the call comes, each is as likely as any other.
 *  S3  The array holds everything: a select allocates nothing, whatever the number of cases.
 *  S4  The nodes are in no queue when the call returns, or when a started select was finished or
 *      withdrawn.
 *
 * The same channel may stand in several cases, for both directions too; a select never meets
 * itself.
 *
 *                 tc_select*          -  any number of them, beside all channel operations;
 *   tc_select*        -                  one cases array serves one select at a time
 */
#ifndef TC_SYNC_SELECT_H
#define TC_SYNC_SELECT_H

#include <stdint.h>

#include "base/defs.h"
#include "sync/channel.h"
#include "sync/value.h"
#include "sync/wait_core.h"

struct tc_waiter;

enum { TC_SELECT_CASES_MAX = 256 };

enum tc_select_kind {
    TC_SELECT_SKIP,
    TC_SELECT_SEND,
    TC_SELECT_RECV,
};

struct tc_select_case {
    struct tc_channel *channel; /* borrowed for the call; NULL: skipped                          */
    struct tc_value value; /* SEND: moved if the result is 0; RECV: the value received      */
    uint8_t kind; /* enum tc_select_kind                                           */
    int8_t reserved;
    int16_t result; /* of the case that is returned: 0, -EPIPE                       */

    /* Private to select.c. */
    uint16_t polled; /* the cases in a random order                                   */
    uint16_t locked; /* the cases in the order of their channels' addresses           */
    struct tc_wait_node node;
};

/* Wait until one case can proceed, and let it.
 * Parks: may (blocks a plain thread)   Threads: fibers, plain threads
 * Owns: see tc_select_case   Deadline: absolute ns, TC_NEVER for none
 * Returns the index of the case, or -ETIMEDOUT, -ECANCELED, -ENOMEM no timer, -EINTR plain threads
 * only, -EINVAL more than TC_SELECT_CASES_MAX cases. Without any case it waits for one of those. */
TC_MAY_PARK TC_NODISCARD int tc_select(struct tc_select_case *cases, uint32_t count,
                                       int64_t deadline_ns);

/* The same with a default: never waits.
 * Parks: never   Threads: any
 * Returns the index of the case, -EAGAIN if none can proceed, -EINVAL. */
TC_NODISCARD int tc_select_try(struct tc_select_case *cases, uint32_t count);

/* The same with a callback (sync/wait.h). An index: over at once, no callback. -EINPROGRESS:
 * `waiter` will be claimed; then, from the callback or later, tc_select_finish says which case it
 * was.
 * Parks: never   Threads: one at a time for each waiter
 * Returns also -EINVAL, for too many cases or none. */
TC_NODISCARD int tc_select_start(struct tc_select_case *cases, uint32_t count,
                                 struct tc_waiter *waiter);

/* After a channel has claimed the waiter: unlink the other cases.
 * Parks: never   Threads: one at a time for each waiter   Returns the index. */
TC_NODISCARD int tc_select_finish(struct tc_select_case *cases, uint32_t count);

/* End a started select. True: over, nothing took effect. False: a case won, the callback has been
 * called or is about to be, and tc_select_finish is still to be called.
 * Parks: never   Threads: one at a time for each waiter */
TC_NODISCARD bool tc_select_withdraw(struct tc_select_case *cases, uint32_t count);

#endif
