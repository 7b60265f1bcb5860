/* sched/runtime.h — a set of workers: create, start, run, stop, look inside.
 *
 * The runtime owns the workers, the slab of fibers, the pool of stacks, the inject queue and the
 * reclamation domain. Threads are created by tc_runtime_start() and joined by tc_runtime_stop();
 * between the two any thread may spawn fibers into it.
 *
 *   new ─► CREATED ──start──► RUNNING ──stop: cancel all, wait──► STOPPING ──join──► STOPPED ──free
 *
 * Stopping, in order: (1) refuse spawns from outside; (2) cancel every fiber; (3) wait until no
 * fiber is left or the deadline passes; (4) tell the workers to leave their loops; (5) join the
 * threads and the blocking pool. Freeing, in order: driver state of each worker, reclamation
 * domain, run queues, stacks, slabs, the struct.
 *
 * fork: the child may call nothing but tc_runtime_after_fork_child(), which closes what the kernel
 * shares with the parent and leaks the rest; no lock of the parent is touched.
 *
 *                start  stop  free   spawn  statistics, census     -  safe together
 *   stop           X     X     X      -      -                     X  caller must exclude
 */
#ifndef TC_SCHED_RUNTIME_H
#define TC_SCHED_RUNTIME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "sched/driver.h"
#include "sched/fiber.h"

enum { TC_WORKERS_MAX = 256 };

struct tc_runtime_options {
    uint32_t workers;               /* 0: affinity and cgroup quota; at most TC_WORKERS_MAX     */
    uint32_t max_fibers;            /* 0: no limit                                              */
    const struct tc_driver *driver; /* required; outlives the runtime                           */
    uint64_t seed;                  /* 0: from the clock; steal order and select order          */
};

struct tc_runtime;

/* Allocate a runtime; no thread is created. Returns 0, -ENOMEM, -EINVAL, or the driver's error. */
TC_NODISCARD int tc_runtime_new(const struct tc_runtime_options *options, struct tc_runtime **out);

/* Create the worker threads. Returns 0 or -errno of thread creation (nothing runs then). */
TC_NODISCARD int tc_runtime_start(struct tc_runtime *runtime);

/* Cancel every fiber, wait for the last one until `deadline_ns`, join the threads.
 * Parks: blocks the calling thread, which must not be a worker.
 * Returns 0, or -ETIMEDOUT if fibers had to be abandoned on their stacks (the threads are joined
 * all the same, as soon as each reaches its loop). */
TC_NODISCARD int tc_runtime_stop(struct tc_runtime *runtime, int64_t deadline_ns);

/* Free a runtime that was never started or is stopped. Fibers that were abandoned, or ended and not
 * joined, go with it: their handles are void. */
void tc_runtime_free(struct tc_runtime *runtime);

/* In the child of a fork. Async-signal-safe. */
void tc_runtime_after_fork_child(struct tc_runtime *runtime);

uint32_t tc_runtime_workers(const struct tc_runtime *runtime);
struct tc_worker *tc_runtime_worker(struct tc_runtime *runtime, uint32_t index);

/* How many workers a runtime with workers = 0 would have. */
uint32_t tc_workers_available(void);

/* Spawn entry(arg), join it from this plain thread. Returns tc_fiber_spawn's or join's error. */
TC_NODISCARD int tc_runtime_run(struct tc_runtime *runtime, void (*entry)(void *), void *arg);

/* ---- statistics and census ----------------------------------------------------------------- */

/* Sums of per-worker single-writer counters: each is exact once the workers are idle, and never
 * goes backwards. */
struct tc_runtime_statistics {
    uint32_t workers;
    uint32_t workers_parked;   /* now                                                           */
    uint64_t fibers;           /* alive now                                                     */
    uint64_t spawned;
    uint64_t finished;
    uint64_t switches;         /* fibers resumed                                                */
    uint64_t parks;            /* fibers parked                                                 */
    uint64_t turns;
    uint64_t polls;
    uint64_t events;           /* delivered by polls                                            */
    uint64_t steals;           /* fibers taken from another worker                              */
    uint64_t searches;
    uint64_t wakeups;          /* workers woken by another thread                               */
    uint64_t rescues;          /* times the sentinel took over from a stalled worker            */
    uint64_t timers;           /* armed now                                                     */
    uint64_t descriptors;      /* registered now                                                */
    uint64_t errors;           /* detached fibers that never ran for want of a stack            */
    uint64_t stacks_in_use;
    uint64_t stack_bytes_in_use;
    uint64_t stack_bytes_cached;
    uint64_t bytes_in_use;     /* heap memory of the whole library                              */
    uint64_t bytes_reserved;   /* of it, kept by pools that have grown, in use or not           */
    uint64_t retired;          /* waiting for a grace period                                    */
    uint64_t blocking_threads;
};

/* Sum the counters up. Parks: never   Threads: any */
void tc_runtime_statistics(struct tc_runtime *runtime, struct tc_runtime_statistics *out);

/* What the census says of one fiber; a snapshot of relaxed loads. */
struct tc_fiber_info {
    uint64_t id;
    const char *name; /* valid during the visit                                                 */
    const char *site;
    enum tc_fiber_state state;
    enum tc_wait_reason reason;
    const void *object;
    int64_t since_ns;
};

/* Visit every fiber that is alive. Parks: never   Threads: any */
void tc_runtime_census(struct tc_runtime *runtime,
                       void (*visit)(const struct tc_fiber_info *info, void *arg), void *arg);

/* Write the census as text to `fd`, one line a fiber. For test time-outs and panics. */
void tc_runtime_dump(struct tc_runtime *runtime, int fd);

#endif
