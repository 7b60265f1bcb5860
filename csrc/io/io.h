/* io/io.h — the driver that joins poller, descriptors and timers, and what the layers above it use.
 *
 * tc_io_driver is the struct tc_driver to give to tc_runtime_new(). A worker's `io` pointer leads
 * to its struct tc_io: one epoll instance, one eventfd, one timer heap.
 */
#ifndef TC_IO_IO_H
#define TC_IO_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "sched/driver.h"

struct tc_worker;

extern const struct tc_driver tc_io_driver;

enum { TC_IO_SCRATCH_BYTES = 256 * 1024 };

/* The calling worker's scratch buffer of TC_IO_SCRATCH_BYTES, yours until the next TC_MAY_PARK
 * call.
 * Parks: never   Threads: a worker   Owns: the worker's   Returns NULL if there is no memory. */
unsigned char *tc_io_scratch(struct tc_worker *worker);

/* Something that waits for the end of a batch: `arg` and the first `bytes` of the scratch, kept. */
typedef void tc_io_later_fn(void *arg, struct tc_worker *worker, unsigned char *kept, size_t bytes);

/* For a callback of readiness: have `run` called once all events of this batch are delivered;
 * until then tc_io_scratch() is what lies behind the kept bytes. Answers that leave together find
 * their receivers awake, where to wake each costs its sender a third of a small send. Receivers of
 * a large batch have enough to do not to sleep: there is no gain in it, nor in what is large.
 *
 * Answers leave in the order in which their events came: where it refuses, what was put off before
 * has been run. Clients keep that order in what they send next, and connections that are served in
 * the order in which they were opened lie behind one another in memory.
 * Parks: never   Threads: a worker; `run` uses neither this nor tc_io_scratch()
 * Returns false: it is the last event and none waits, the batch is large, `bytes` are many, or
 * there is no room: do it now. */
TC_NODISCARD bool tc_io_put_off(struct tc_worker *worker, tc_io_later_fn *run, void *arg,
                                size_t bytes);

#endif
