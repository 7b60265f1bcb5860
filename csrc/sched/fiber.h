/* sched/fiber.h — stackful fibers: spawn, join, park, yield, cancel.
 *
 * A fiber is a function with its own stack, run by whichever worker takes it from a run queue. It
 * gives the worker up only by calling something marked TC_MAY_PARK. The struct is type-stable (it
 * comes from the runtime's slab and its waiter's sequence survives reuse); the stack is attached at
 * the first run and returned at exit, so that a queued spawn costs the struct alone.
 *
 *  NEW ──first run──► RUNNING ──park──► (switch) ──commit: waiter armed──► PARKED
 *                      ▲   │ │                                               │
 *                      │   │ └──yield──► (switch) ──commit──► QUEUED ◄───────┘ claimed, ready
 *                      │   └──exit──► (switch) ──commit: stack returned──► DEAD
 *                      └──────────────taken from a run queue────── QUEUED
 *
 *  state    owner of the struct        found on                  who may move it
 *  NEW      the run queue              deque, inject queue,      the worker that takes it
 *                                      stack wait list
 *  QUEUED   the run queue              deque, next, inject       the worker that takes it
 *  RUNNING  its worker                 worker->current           itself
 *  PARKED   its waiter's claimer       wherever it waits         the claimer, through tc_ready()
 *  DEAD     the joiner (detached:      nowhere                   tc_fiber_join, exit commit
 *           the exit commit)
 *
 * INVARIANTS
 *  F1  A fiber is on at most one run queue, and only while QUEUED or NEW.
 *  F2  It becomes findable (queue, readiness word, wait list) only in a commit callback that runs
 *      on the next stack, after its registers were saved: it cannot be resumed while suspending.
 *  F3  Nobody touches the struct after `done` reads READY, except who joins or detaches it.
 *  F4  Between two parks a fiber stays on one worker; after any TC_MAY_PARK call it may be on
 *      another: nothing thread-local, errno least of all, survives the call.
 *
 *                 self   other fiber   plain thread     -  safe together
 *   park, yield    -      never         never           1  one of join or detach, once
 *   join, detach   never  1             1
 *   cancel         -      -             -               (while the handle is held)
 */
#ifndef TC_SCHED_FIBER_H
#define TC_SCHED_FIBER_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/ctx.h"
#include "base/defs.h"
#include "base/list.h"
#include "sched/readiness_core.h"
#include "sched/stack.h"
#include "sched/waiter.h"

struct tc_runtime;
struct tc_worker;

/* Why a fiber is parked. Each reason is used at one place in the source; dumps print its name. */
#define TC_WAIT_REASONS(X) \
    X(NONE, "running") \
    X(SLEEP, "sleep") \
    X(JOIN, "join") \
    X(READ, "read") \
    X(WRITE, "write") \
    X(ACCEPT, "accept") \
    X(CONNECT, "connect") \
    X(BLOCKING, "blocking call") \
    X(STACK, "stack") \
    X(SERVER, "server to end") \
    X(SEND, "send") \
    X(RECV, "receive") \
    X(SELECT, "select") \
    X(MUTEX, "mutex") \
    X(SEMAPHORE, "semaphore") \
    X(EVENT, "event") \
    X(WAITGROUP, "wait group") \
    X(HANDLER, "handler elsewhere") \
    X(TEST, "test")

enum tc_wait_reason {
#define TC_WAIT_REASON_ENUM(id, text) TC_WAIT_##id,
    TC_WAIT_REASONS(TC_WAIT_REASON_ENUM)
#undef TC_WAIT_REASON_ENUM
        TC_WAIT_REASON_COUNT
};

enum tc_fiber_state {
    TC_FIBER_FREE, /* in the slab                                                              */
    TC_FIBER_NEW,
    TC_FIBER_QUEUED,
    TC_FIBER_RUNNING,
    TC_FIBER_PARKED,
    TC_FIBER_DEAD,
};

enum {
    TC_FIBER_NAME_BYTES = 24,   /* including the terminating NUL; longer names are cut */
    TC_FIBER_STORAGE_SLOTS = 4, /* per-fiber storage keys that cost no allocation */
};

struct tc_fiber {
    /* Hot: touched at every switch. Owner is the worker that runs it, or nobody while queued.  */
    struct tc_ctx ctx;
    struct tc_waiter waiter;    /* see waiter.h; the word is shared, the rest is ours */
    struct tc_worker *worker;   /* written by the worker that resumes it; read by itself */
    struct tc_link link;        /* inject queue, stack wait list (F1) */
    struct tc_stack stack;      /* .lo == NULL until the first run and after exit */
    struct tc_runtime *runtime; /* set once at spawn */
    void (*entry)(void *arg);
    void *arg;
    struct tc_readiness done;   /* READY once dead; join parks here, see fiber.c */

    /* Written by the owner with relaxed stores, read by the census at any time. */
    _Atomic uint8_t state; /* enum tc_fiber_state */
    _Atomic uint8_t reason; /* enum tc_wait_reason */
    uint8_t stack_class; /* enum tc_stack_class; set at spawn */
    uint8_t shield; /* > 0: cancel is held back; owner only */
    bool detached; /* spawned without a handle; set at spawn */
    _Atomic uint32_t cancelled; /* 1 once cancelled; set by anyone, never cleared */
    _Atomic(const void *) object; /* what it waits for; only its address is ever used */
    _Atomic int64_t since_ns; /* the turn's clock sample when it parked */
    _Atomic(const char *) site; /* "file:line" of the spawn */
    _Atomic uint64_t id; /* unique in the process, 0 in the slab */
    /* The name's bytes, in words because the census may read while the fiber renames itself. */
    _Atomic uint64_t name[TC_FIBER_NAME_BYTES / sizeof(uint64_t)];
    int32_t failure; /* -ENOMEM when it never ran for want of a stack */
    void (*unrun)(void *arg); /* see tc_spawn_options; set at spawn */
    void *storage[TC_FIBER_STORAGE_SLOTS]; /* by key; owner only */
};

_Static_assert(sizeof(struct tc_fiber) <= 288 + TC_CTX_SANITIZER_BYTES,
               "a queued spawn must stay small");

struct tc_spawn_options {
    const char *name; /* NULL: "fiber"; copied */
    const char *site; /* NULL: unknown; must be a literal */
    enum tc_stack_class stack_class;
    bool detached; /* true: nobody joins it, *out is not written */
    void (*unrun)(void *arg); /* detached only, may be NULL: called in place of entry, with
                               * the same arg, if no stack could be had. Runs on a worker,
                               * maybe while another fiber is being switched away: it must
                               * not park and should only post a message */
};

/* ---- life ------------------------------------------------------------------------------- */

/* Queue a new fiber that runs entry(arg). From a worker it goes to that worker's deque, from any
 * other thread to the inject queue. `out` receives the handle unless options->detached; options may
 * be NULL (default class, joinable).
 * Parks: never   Threads: any   Owns: the caller owns the handle until join or detach
 * Returns 0, -ENOMEM, -EAGAIN above max_fibers, -ESHUTDOWN once the runtime is stopping. */
TC_NODISCARD int tc_fiber_spawn(struct tc_runtime *runtime, void (*entry)(void *), void *arg,
                                const struct tc_spawn_options *options, struct tc_fiber **out);

/* Wait until `fiber` is dead and release the handle. From a plain thread it blocks the thread.
 * Parks: may   Threads: any but the fiber itself   Owns: the handle is spent on 0 and -ENOMEM
 * Deadline: absolute ns, TC_NEVER to wait for ever
 * Returns 0; -ENOMEM: the fiber died unrun because no stack could be had; -ETIMEDOUT, -ECANCELED,
 * -EINTR (plain thread only): the handle is still held. */
TC_MAY_PARK TC_NODISCARD int tc_fiber_join(struct tc_fiber *fiber, int64_t deadline_ns);

/* Give the handle up; the fiber frees itself at exit. Parks: never   Threads: any */
void tc_fiber_detach(struct tc_fiber *fiber);

/* Ask `fiber` to end: from now on each of its parking calls returns -ECANCELED instead of parking
 * (a value already delivered wins), unless shielded. Level-triggered and final.
 * Parks: never   Threads: any holder of the handle */
void tc_fiber_cancel(struct tc_fiber *fiber);

/* ---- the running fiber ------------------------------------------------------------------- */

/* The calling fiber, NULL outside of fibers. One thread-local read: keep the result only until the
 * next TC_MAY_PARK call. */
struct tc_fiber *tc_fiber_current(void);

/* Let every other runnable fiber of this worker go first. Returns at once if there is none. */
TC_MAY_PARK void tc_fiber_yield(void);

/* Park until `deadline_ns`. Returns 0 once it passed (at once if it already has), -ECANCELED,
 * -ENOMEM if no timer could be had. */
TC_MAY_PARK TC_NODISCARD int tc_fiber_sleep_until(int64_t deadline_ns);

/* Hold cancel back for cleanup I/O; nests. */
void tc_fiber_shield(void);
void tc_fiber_unshield(void);

/* True if a parking call would return -ECANCELED now. */
bool tc_fiber_is_cancelled(void);

/* Bytes of stack left below the caller's frame, 0 outside of fibers. */
size_t tc_fiber_stack_remaining(void);

/* Per-fiber storage. Keys are process-wide, at most TC_FIBER_STORAGE_SLOTS; values start NULL.
 * tc_fiber_key_new: the key, or -ENOSPC. The destructor (may be NULL) runs at fiber exit, on the
 * fiber, for values that are not NULL. Threads: key_new any; get and set the running fiber. */
TC_NODISCARD int tc_fiber_key_new(void (*destructor)(void *value));
void *tc_fiber_get(int key);
void tc_fiber_set(int key, void *value);

/* Rename the running fiber. */
void tc_fiber_set_name(const char *name);
const char *tc_wait_reason_name(enum tc_wait_reason reason);

/* ---- parking: for the layers above --------------------------------------------------------- */

struct tc_park {
    enum tc_wait_reason reason;
    const void *object; /* shown in dumps */
    int64_t deadline_ns; /* TC_NEVER: none */
    /* Runs on the next stack after the fiber was saved and its waiter armed. Publishes {waiter,
     * seq} to the sources and returns true; or returns false if what is waited for has already
     * happened: the fiber then resumes with result 0. After publishing it must not touch anything
     * that lies on the fiber's stack. */
    bool (*commit)(struct tc_waiter *waiter, uint64_t seq, void *arg);
    void *arg;
    uint32_t locks; /* how many tc_locks the caller holds, for the commit to release; 0 as a rule */
};

/* Park the running fiber until a source claims its waiter.
 * Parks: may   Threads: a fiber
 * Returns the result the claimer gave to tc_ready(): by convention 0, or -ETIMEDOUT from the
 * deadline, -ECANCELED from cancel; -ENOMEM if no timer could be had (nothing was published). The
 * caller then withdraws whatever the commit published. */
TC_MAY_PARK TC_NODISCARD int tc_fiber_park(const struct tc_park *park);

/* Park the running fiber in a readiness word. On return the word no longer refers to it. Returns as
 * tc_fiber_park; 0 means that the word was READY or the waiter was claimed with result 0. */
TC_MAY_PARK TC_NODISCARD int tc__fiber_wait_readiness(struct tc_readiness *word,
                                                      enum tc_wait_reason reason,
                                                      const void *object, int64_t deadline_ns);

#endif
