/* sched/idle.h — what workers without work do, and how they are woken.
 *
 * Rejected: waking a worker for every runnable fiber (the wake costs more than most fibers);
 * letting all idle workers search (they fight over the same deques); no waking at all beyond the
 * empty slot (a fiber that never yields would hide what it has woken). Chosen:
 *
 *  - One worker at a time holds the searching token. While somebody searches nobody is woken.
 *  - A worker that runs dry takes the token if it is free and first dozes in its own poller for
 *    TC_DOZE_NS; only then it steals. Work that arrives for it meanwhile costs no wake-up at all.
 *    Not if its last victim had TC_STEAL_PLENTY left: then the doze would be most of its time.
 *    Nor if TC_DOZE_VAIN dozes were followed by no theft and there is nothing to steal: a server
 *    that answers on the spot would set a timer for every short sleep.
 *  - A searcher that finds work gives the token back, and wakes the next worker if its victim has
 *    more.
 *  - Who finds nothing parks. While anybody runs, one parked worker is the sentinel: it wakes every
 *    TC_SENTINEL_NS, searches if any deque has work, and if a running worker's turn has not moved
 *    since the last look it takes that worker's `next`, its deque, and the events of its poller.
 *    Its sleep is ended by the driver's tick, which is set once per TC_SENTINEL_NS, however often
 *    it sleeps meanwhile: a limit of each poll made a small echo on two workers 1.3 times as dear.
 *
 * Submitting to a worker of one's own needs no fence: whoever pushes is running, so there is a
 * sentinel, and a missed wake-up costs at most TC_SENTINEL_NS of parallelism, never progress.
 * Submitting from another thread (inject queue) does the full handshake, see I3 in idle_core.h.
 */
#ifndef TC_SCHED_IDLE_H
#define TC_SCHED_IDLE_H

#include "sched/idle_core.h"
#include "sched/worker.h"

/* Called by a worker whose turn had nothing to run: doze, search, park. Returns when there may be
 * work, or the workers are told to leave. */
void tc__idle(struct tc_worker *worker);

/* Wake one parked worker as a searcher, unless somebody searches already. Threads: any */
void tc__idle_wake_one(struct tc_runtime *runtime);

/* A fiber was put on the inject queue by a thread that is no worker: see that somebody comes for
 * it. Threads: any */
void tc__idle_submitted(struct tc_runtime *runtime);

/* A worker that holds the searching token, or has just left the idle state, is about to run fibers:
 * give the token back and see to it that there is a sentinel (I2). */
void tc__idle_found_work(struct tc_worker *worker);

/* Wake every parked worker. Threads: any */
void tc__idle_wake_all(struct tc_runtime *runtime);

#endif
