/* python/blocking.h — a plain Python thread waits in channels.
 *
 * The thread tries and enters the queues attached, sleeps detached on a futex, and leaves the
 * queues attached; so it may wait in a channel of objects (python/channel.h), and it keeps its
 * place in the queue while Python's signal handlers run. The waiter lies in type-stable memory,
 * because a fiber or a thread that has claimed it may still look at it when the sleeper has gone
 * on.
 *
 * A signal handler that raises ends the wait. If something is handed over at that very moment, the
 * exception wins: a receiver's item is dropped.
 *
 * who may call what: attached threads; none that runs a loop.
 */
#ifndef TC_PYTHON_BLOCKING_H
#define TC_PYTHON_BLOCKING_H

#include "python/channel.h"
#include "python/compat.h"

#include "base/parker.h"
#include "sched/waiter.h"
#include "sync/wait_core.h"

#include <stdint.h>

/* One wait of a thread. */
struct tc_py_sleeper {
    struct tc_waiter waiter; /* CALLBACK kind: unparks                                          */
    struct tc_wait_node node; /* for a wait in one channel                                      */
    struct tc_parker parker;
};

/* Refuse a thread on which a loop runs, ours or asyncio's. Returns 0, or -1 with RuntimeError
 * set. */
int tc_py_blocking_check(struct tc_py_loop_state *state, const char *function);

/* Returns NULL with MemoryError set. */
struct tc_py_sleeper *tc_py_sleeper_new(void);

/* Nobody has claimed it, or will. */
void tc_py_sleeper_free(struct tc_py_sleeper *sleeper);

/* Sleep until the waiter was claimed and readied, or the deadline. Runs Python's signal handlers.
 * Returns 1 readied, 0 too late, or a handler has forked and this is the child, where nobody will
 * come; -1 a handler raised. After the last two the caller withdraws, unless a fork has lost the
 * channel; if that says that delivery won, it calls tc_py_sleeper_finish. */
int tc_py_sleeper_wait(struct tc_py_sleeper *sleeper, int64_t deadline_ns);

/* The waiter was claimed: sleep until it has been readied. */
void tc_py_sleeper_finish(struct tc_py_sleeper *sleeper);

/* Channel.send_blocking: takes `value`. None, or NULL with an exception set. */
PyObject *tc_py_blocking_send(struct tc_py_channel *channel, struct tc_value value,
                              int64_t timeout_ns);

/* Channel.recv_blocking: the item, or NULL with an exception set. */
PyObject *tc_py_blocking_recv(struct tc_py_channel *channel, int64_t timeout_ns);

/* Prepare the memory of the sleepers. Called when the module is made. */
void tc_py_blocking_setup(void);

#endif
