/* sched/worker.h — a worker: a struct with turn(), which a thread calls in a loop.
 *
 * A turn runs at most TC_TURN_FIBERS fibers or TC_TURN_NS, then looks after everything else once:
 * inbox, inject queue, deadlines, descriptors, and passes a quiescent state. Fibers switch straight
 * to one another; the worker's own context (its thread's stack) is entered only at the end of a
 * turn or when nothing is runnable.
 *
 * Where runnable fibers are, and who may put and take them:
 *
 *   place          put by                      taken by
 *   next           the running fiber           the worker; the sentinel, if the worker is stalled
 *   deque          the worker                  the worker and thieves, oldest first
 *   inject queue   any thread                  any worker, once a turn
 *   inbox          any thread (messages)       the worker, once a turn
 *
 * The `next` slot keeps a hand-off warm: what the running fiber wakes runs next, at most
 * TC_NEXT_STREAK times in a row while others queue. A wake that lands in an empty slot wakes no
 * worker; that is safe because somebody looks: while any worker runs, one parked worker is the
 * sentinel (sched/idle.h).
 *
 * INVARIANTS
 *  K1  `current` is NULL exactly while the worker's own context runs.
 *  K2  `commit` is set by whoever switches away and spent by whoever is switched to, first thing.
 *  K3  Nothing a fiber holds on its stack is read after its commit published it.
 *  K4  `turn` moves whenever the worker does: a turn that stands still for TC_SENTINEL_NS means a
 *      fiber that does not give way.
 *
 *  field group        owner worker    thieves, sentinel     any thread
 *  private            read, write     never                 counters: relaxed reads
 *  deque, next, turn  push, take      steal, exchange       length as a hint
 *  inbox, parker      drain, park     -                     push, unpark
 */
#ifndef TC_SCHED_WORKER_H
#define TC_SCHED_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "arch/cpu.h"
#include "arch/ctx.h"
#include "base/deque.h"
#include "base/ebr.h"
#include "base/inbox.h"
#include "base/parker_core.h"
#include "base/rand.h"
#include "base/slab.h"
#include "sched/driver.h"
#include "sched/fiber.h"
#include "sched/overflow.h"
#include "sched/runtime.h"
#include "sched/stack.h"

enum {
    TC_TURN_FIBERS = 61,       /* fibers a turn may run                                        */
    TC_NEXT_STREAK = 3,        /* fibers in a row from `next` while the deque is not empty      */
    TC_DOZE_VAIN = 16,         /* dozes without a theft: none until others have work            */
    TC_STEAL_PLENTY = 128,     /* left with a victim: the thief comes back without a doze       */
};

#define TC_TURN_NS (100 * TC_NS_PER_US)    /* ... or so long                                   */
#define TC_DOZE_NS (50 * TC_NS_PER_US)     /* wait in the own poller before stealing           */
#define TC_SENTINEL_NS (1 * TC_NS_PER_MS)  /* between two looks of the sentinel                */
#define TC_SHORTAGE_NS (10 * TC_NS_PER_MS) /* idle workers try again to find stacks so often   */
#define TC_POLL_NS (20 * TC_NS_PER_US)     /* a busy worker looks at its descriptors so often  */

/* Counters of one worker: written by the owner alone, summed by anybody. */
#define TC_WORKER_COUNTERS(X) \
    X(spawned) \
    X(finished) \
    X(switches) \
    X(parks) \
    X(polls) \
    X(events) \
    X(steals) \
    X(searches) \
    X(rescues) \
    X(errors)

struct tc_worker_counters {
#define TC_WORKER_COUNTER_FIELD(name) _Atomic uint64_t name;
    TC_WORKER_COUNTERS(TC_WORKER_COUNTER_FIELD)
#undef TC_WORKER_COUNTER_FIELD
};

/* What a message to a worker carries: run fn on it, between fibers. Embedded in the sender's
 * object; may be posted again once fn has begun. */
struct tc_message {
    struct tc_link link;
    void (*fn)(struct tc_worker *worker, struct tc_message *message);
};

/* Runs on the next stack for a fiber that was just saved; see K2, K3. */
typedef void tc_commit_fn(struct tc_worker *worker, struct tc_fiber *fiber, void *arg);

struct tc_worker {
    /* ---- private to the owner ---- */
    TC_ALIGNED(TC_CACHELINE) struct tc_fiber *current; /* K1                                    */
    tc_commit_fn *commit;              /* K2, with its two arguments                            */
    struct tc_fiber *commit_fiber;
    void *commit_arg;
    struct tc_ctx ctx;                 /* of the thread's own stack                             */
    uint32_t budget;                   /* fibers this turn may still run                        */
    uint32_t streak;                   /* fibers taken from `next` in a row                     */
    uint32_t clock_credit;             /* fibers until the next look at the clock               */
    uint32_t clock_stride;             /* what the credit is set to; adapts to the fibers       */
    int64_t clock_ns;                  /* the last look                                         */
    uint32_t index;                    /* constant                                              */
    struct tc_runtime *runtime;        /* constant                                              */
    const struct tc_driver *driver;    /* constant                                              */
    void *io;                          /* the driver's state                                    */
    int64_t now_ns;                    /* clock sample of this turn                             */
    int64_t recent_ns;                 /* the last look among the events of a poll, see below   */
    int64_t turn_end_ns;               /* when this turn has had its time                       */
    int64_t polled_ns;                 /* when the own poller was last asked                    */
    bool polled;                       /* it was asked since the last turn                      */
    int64_t looked_ns;                 /* when it last looked around as the sentinel            */
    int64_t trim_ns;                   /* when to look at the stack cache next                  */
    uint64_t next_id;                  /* fiber ids: index + 1 + k × (workers + 1)              */
    bool searching;                    /* holds the token of idle_core.h                        */
    bool parked;                       /* between park and awake                                */
    bool dozing;                       /* between the beginning of a doze and awake             */
    bool offline;                      /* towards the reclamation domain                        */
    bool unguarded;                    /* has left the idle state, and not looked after I2 yet  */
    bool saw_more;                     /* the searcher's victim had more than was taken         */
    bool saw_plenty;                   /* ... and TC_STEAL_PLENTY or more was left              */
    uint32_t vain_dozes;               /* dozes since the last theft                            */
    bool sentinel;                     /* parked as the sentinel                                */
    bool rescuing;                     /* polls for a stalled worker                            */
    bool saw_activity;                 /* the last look as sentinel found a turn that had moved */
    struct tc_slab_cache fibers;
    struct tc_stack_cache stacks;
    struct tc_rand rand;
    struct tc_stack dead_stack;        /* of the fiber that is exiting, until its commit        */
    struct tc_ctx dead_ctx;
    struct tc_overflow_thread overflow; /* the thread's alternate signal stack                  */
    pthread_t thread;                  /* written by start, read by stop                        */
    struct tc_worker_counters counters;

    /* ---- read and taken from by thieves ---- */
    TC_ALIGNED(TC_CACHELINE) struct tc_deque deque;
    _Atomic(struct tc_fiber *) next;
    _Atomic uint64_t turn;             /* K4; owner writes                                      */
    _Atomic uint64_t seen_turn;        /* what the sentinel saw; the sentinel's only            */
    _Atomic int64_t load;              /* connections dealt here; for net, any thread           */

    /* ---- written by other threads ---- */
    TC_ALIGNED(TC_CACHELINE) struct tc_inbox inbox;
    struct tc_parker_core parker;      /* RUNNING, PARKED, NOTIFIED                             */
    struct tc_ebr_slot *ebr;           /* constant                                              */
};

_Static_assert(offsetof(struct tc_worker, deque) % TC_CACHELINE == 0, "own cache line");
_Static_assert(offsetof(struct tc_worker, inbox) % TC_CACHELINE == 0, "own cache line");

/* The calling thread's worker, NULL on other threads. The one thread-local read of a fiber: call it
 * once per public function and pass the result down; after a park it is stale.
 * Parks: never   Threads: any */
struct tc_worker *tc_worker_current(void);

/* The clock as sampled at the start of the turn: for records and lazy deadlines.
 * Parks: never   Threads: the worker */
static inline int64_t tc_worker_now(const struct tc_worker *worker)
{
    return worker->now_ns;
}

/* The clock now. Parks: never   Threads: any */
static inline int64_t tc_worker_clock(struct tc_worker *worker)
{
    return worker->driver->now(worker);
}

/* What recent_ns is besides a time. */
#define TC_RECENT_UNREAD ((int64_t)0)
#define TC_RECENT_NONE ((int64_t)-1)

/* Somebody has looked at the clock, and others that react to events of the same poll may use what
 * he saw. No effect elsewhere. Parks: never   Threads: the worker */
static inline void tc_worker_note_clock(struct tc_worker *worker, int64_t now_ns)
{
    if (worker->recent_ns != TC_RECENT_NONE) {
        worker->recent_ns = now_ns;
    }
}

/* When this reaction began, as good as: who reacts to an event of a poll gets the last look at the
 * clock that the reactions before it have noted, everybody else the clock now.
 * Parks: never   Threads: the worker */
static inline int64_t tc_worker_recent_clock(struct tc_worker *worker)
{
    int64_t now_ns = worker->recent_ns;

    if (now_ns <= TC_RECENT_UNREAD) {
        now_ns = tc_worker_clock(worker);
        tc_worker_note_clock(worker, now_ns);
    }
    return now_ns;
}

/* Events of a poll are about to be delivered, or have been. Parks: never   Threads: the worker */
static inline void tc_worker_set_reacting(struct tc_worker *worker, bool is_reacting)
{
    worker->recent_ns = is_reacting ? TC_RECENT_UNREAD : TC_RECENT_NONE;
}

/* In the middle of a batch of events: is what is left of it better done by fibers? True if a fiber,
 * a message or a submission waits for this worker, a timer is due, another worker is parked, or the
 * events are a stalled worker's. What it sees of the clock is noted.
 * Parks: never   Threads: the worker */
bool tc_worker_should_defer(struct tc_worker *worker);

/* Run message->fn on `worker`, between two fibers. Parks: never   Threads: any */
void tc_worker_post(struct tc_worker *worker, struct tc_message *message);

/* ---- for the driver ------------------------------------------------------------------------ */

/* The driver's poll() calls this on the polling worker after it slept and before it delivers the
 * first event. No effect unless the worker was parked. Parks: never   Threads: the worker */
void tc_worker_awake(struct tc_worker *worker);

/* Events of a poll are delivered; wake another worker if there is more than one can do.
 * Parks: never   Threads: the worker */
void tc_worker_delivered(struct tc_worker *worker);

/* ---- within sched ---------------------------------------------------------------------------- */

/* One turn. Returns false if there was nothing to run; `budget` is 0 afterwards if there may be
 * more. */
bool tc__worker_turn(struct tc_worker *worker);

/* Make the calling thread the one that turns `worker`, and let go of it again. */
void tc__worker_attach(struct tc_worker *worker);
void tc__worker_detach(struct tc_worker *worker);

/* The thread's body: turns until the runtime stops the workers. */
void *tc__worker_main(void *worker);

TC_NODISCARD int tc__worker_init(struct tc_worker *worker, struct tc_runtime *runtime,
                                 uint32_t index, uint64_t seed);
void tc__worker_fini(struct tc_worker *worker);

/* Put a fiber on this worker's deque (inject queue if it cannot grow). Owner only. */
void tc__worker_push(struct tc_worker *worker, struct tc_fiber *fiber);

/* Make a fiber runnable from anywhere: see the table at the head. `worker` is the calling worker of
 * the fiber's runtime, or NULL. */
void tc__make_runnable(struct tc_worker *worker, struct tc_fiber *fiber);

/* End a worker's sleep, present or next. Threads: any */
void tc__worker_unpark(struct tc_worker *worker);

/* Leave the running fiber: switch to the next runnable one, or to the worker's own context.
 * `commit` runs there once this fiber is saved. Returns when the fiber is resumed, on its new
 * worker. */
TC_MAY_PARK struct tc_worker *tc__switch_away(struct tc_worker *worker, struct tc_fiber *self,
                                              tc_commit_fn *commit, void *arg);

/* The same for the last time. */
TC_NORETURN void tc__switch_exit(struct tc_worker *worker, struct tc_fiber *self);

/* Take the next runnable fiber of this turn; NULL: none, or the turn is over. */
struct tc_fiber *tc__worker_take(struct tc_worker *worker);

/* First thing on any stack that was switched to: spend the commit, take over as `current`. */
static inline void tc__after_switch(struct tc_worker *worker)
{
    tc_commit_fn *commit = worker->commit;
    if (commit != NULL) {
        worker->commit = NULL;
        commit(worker, worker->commit_fiber, worker->commit_arg);
    }
}

#endif
