/* tests/c/sync/support.h — operations on fibers of their own, callbacks, and a scripted runtime.
 *
 * Most tests turn one worker by hand (sched/fake_driver.h): the clock stands still, and between two
 * turns the test's own thread is a plain thread. An act is one call on one fiber:
 *
 *   struct act waits = {.run = act_recv, .object = &channel};
 *   act_begin(&waits);                 runs until it parks or returns
 *   TC_CHECK(act_is_parked(&waits));
 */
#ifndef TC_TESTS_C_SYNC_SUPPORT_H
#define TC_TESTS_C_SYNC_SUPPORT_H

#include "sched/fake_driver.h"

#include "sched/thread.h"
#include "sync/wait.h"

#define SANITIZED (TC_TSAN || TC_ASAN)
#define SCALE(n) (SANITIZED ? (n) / 10 : (n))

enum { NOT_YET = 99 };

static struct tc_runtime *rt;
static struct tc_worker *worker0;

__attribute__((unused)) static void script_begin(void)
{
    rt = fake_runtime(1);
    worker0 = tc_runtime_worker(rt, 0);
}

__attribute__((unused)) static void script_end(void)
{
    struct tc_runtime_statistics statistics;

    tc_runtime_statistics(rt, &statistics);
    TC_CHECK_EQ(statistics.fibers, 0);
    tc_runtime_free(rt);
}

/* Move the clock and let what is due happen. */
__attribute__((unused)) static void script_pass(int64_t ns)
{
    tc_fetch_add_relaxed(&fake_now_ns, ns);
    fake_settle(worker0);
}

__attribute__((unused)) static int64_t script_after(int64_t ns)
{
    return tc_load_relaxed(&fake_now_ns) + ns;
}

/* ---- acts ---------------------------------------------------------------------------------- */

struct act {
    int (*run)(struct act *act);
    void *object;
    int64_t deadline_ns; /* 0: none */
    struct tc_value value;
    int result;
    int second; /* what the same call returned once more, if `twice` */
    bool twice;
    uint64_t order; /* how many acts returned before */
    struct tc_fiber *fiber;
};

static _Atomic uint64_t acts_returned;

static void act_main(void *arg)
{
    struct act *act = arg;

    act->result = act->run(act);
    act->order = tc_fetch_add_relaxed(&acts_returned, 1);
    if (act->twice) {
        act->second = act->run(act);
    }
}

static inline int64_t act_deadline(const struct act *act)
{
    return act->deadline_ns == 0 ? TC_NEVER : act->deadline_ns;
}

__attribute__((unused)) static void act_queue(struct act *act)
{
    act->result = act->second = NOT_YET;
    act->fiber = fake_spawn(rt, act_main, act);
}

__attribute__((unused)) static void act_begin(struct act *act)
{
    act_queue(act);
    fake_settle(worker0);
}

__attribute__((unused)) static bool act_is_parked(const struct act *act)
{
    return act->result == NOT_YET;
}

/* The act has returned; what did it return? */
__attribute__((unused)) static int act_end(struct act *act)
{
    fake_settle(worker0);
    fake_join_dead(act->fiber);
    return act->result;
}

__attribute__((unused)) static void act_cancel(struct act *act)
{
    tc_fiber_cancel(act->fiber);
    fake_settle(worker0);
}

/* ---- callbacks ----------------------------------------------------------------------------- */

struct op {
    struct tc_waiter waiter;
    struct tc_wait_node node;
    int calls;
    int result; /* the waiter's */
};

static void op_called(struct tc_waiter *waiter, struct tc_worker *worker)
{
    struct op *op = tc_container_of(waiter, struct op, waiter);

    (void)worker;
    TC_CHECK_EQ(tc_lock_held_count(), 0); /* Q2 */
    op->calls++;
    op->result = waiter->result;
}

__attribute__((unused)) static void op_init(struct op *op)
{
    memset(op, 0, sizeof *op);
    tc_waiter_core_init(&op->waiter.word);
    op->waiter.kind = TC_WAITER_CALLBACK;
    op->waiter.callback = op_called;
}

/* ---- threads ------------------------------------------------------------------------------- */

__attribute__((unused)) static pthread_t thread_start(void *(*body)(void *), void *arg)
{
    pthread_t thread;

    TC_CHECK_EQ(pthread_create(&thread, NULL, body, arg), 0);
    return thread;
}

/* One act on a plain thread. */
__attribute__((unused)) static void *act_on_thread(void *arg)
{
    struct act *act = arg;

    act->result = act->run(act);
    return NULL;
}

#endif
