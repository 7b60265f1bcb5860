/* io/io.h — the driver that joins poller, descriptors and timers, and what the layers above it use.
 *
 * tc_io_driver is the struct tc_driver to give to tc_runtime_new(). A worker's `io` pointer leads to
 * its struct tc_io: one epoll instance, one eventfd, one timer heap.
 */
#ifndef TC_IO_IO_H
#define TC_IO_IO_H

#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "sched/driver.h"

struct tc_worker;

extern const struct tc_driver tc_io_driver;

enum { TC_IO_SCRATCH_BYTES = 256 * 1024 };

/* The calling worker's scratch buffer of TC_IO_SCRATCH_BYTES, yours until the next TC_MAY_PARK call.
 * Parks: never   Threads: a worker   Owns: the worker's   Returns NULL if there is no memory. */
unsigned char *tc_io_scratch(struct tc_worker *worker);

#endif
