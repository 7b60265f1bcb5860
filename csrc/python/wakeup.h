/* python/wakeup.h — an operation whose end is decided on another thread.
 *
 * A record is a callback waiter in type-stable memory that an operation points to. The source (a
 * channel, a timer of a worker, a server) claims it like any waiter, without knowing that a Python
 * task waits. The claim posts the record to the loop's mailbox; the loop then calls `arrived`, on
 * its thread, attached. A claim on that very thread calls it at once; so `arrived` may run inside
 * tc_ready(), and must neither run Python code nor fail.
 *
 * Whoever gives the wait up claims the waiter itself. If that succeeds nobody else will, and the
 * record is free at once. If it does not, a source was faster, its message is under way, and the
 * record is freed when that arrives.
 *
 *   from        to          by                                      on
 *   free        armed       tc_py_wakeup_new                        the loop's thread
 *   armed       free        tc_py_wakeup_cancel returning true      the loop's thread
 *   armed       claimed     a source: claim, then tc_ready          any thread
 *   claimed     free        the message arrives (or is dropped)     the loop's thread (or the last
 *                                                                   holder of a closed mailbox)
 *
 * INVARIANTS
 *  WU1  `operation`, `arrived` and `seq` are only used on the loop's thread.
 *  WU2  An armed record holds a reference to the mailbox; the claim passes it to the claimer, who drops
 *       it after the post. A message on its way holds none: the last holder drops it.
 *
 * who may call what: the loop's thread, attached.
 */
#ifndef TC_PYTHON_WAKEUP_H
#define TC_PYTHON_WAKEUP_H

#include "python/compat.h"
#include "python/mailbox.h"
#include "python/operation.h"

#include "sched/waiter.h"

#include <stdbool.h>
#include <stdint.h>

struct tc_py_wakeup {
    struct tc_waiter waiter; /* CALLBACK kind: claim, then tc_ready, from any thread   */
    struct tc_py_message message; /* posted by the callback                                 */
    struct tc_py_mailbox *mailbox; /* reference held while armed                             */
    uint64_t seq; /* of the present wait; hand {waiter, seq} to the sources */
    struct tc_py_operation *operation; /* borrowed; NULL once given up (WU1)                      */
    /* Called on the loop's thread with the source's result, the record being free to use again;
     * usually it notes the result and calls tc_py_operation_wake. */
    void (*arrived)(struct tc_py_operation *op, int result);
};

/* Take a record for one wait of `op` and arm it. Returns NULL with MemoryError set. */
struct tc_py_wakeup *tc_py_wakeup_new(struct tc_py_loop *loop, struct tc_py_operation *op,
                                      void (*arrived)(struct tc_py_operation *op, int result));

/* Give the wait up, for withdraw() and for a wait that a source has ended during start(). True: we
 * claimed the waiter, the record is freed, no source may still hold it in a queue. False: a source
 * was faster; the record frees itself when its message arrives, and `arrived` is called then unless
 * `forget`. */
bool tc_py_wakeup_cancel(struct tc_py_wakeup *wakeup, bool forget);

/* Prepare the memory of the records. Called when the module is made. */
void tc_py_wakeup_setup(void);

#endif
