/* The timer heap alone against an oracle, then under threads. */
#include "support.h"

#include "base/rand.h"

enum { WAITERS = 64 };

/* A waiter that is used again and again, as a fiber's is, and counts how often it is woken. */
struct target {
    struct tc_waiter waiter;
    uint64_t seq;
    struct tc_deadline deadline;
    bool armed;          /* the oracle: a timer is expected to fire */
    int64_t when_ns;
    int fired;           /* in the present wait */
    bool fired_is_late;  /* as the oracle sees it */
};

static struct tc_slab nodes;
static struct tc_timers timers;
static struct target targets[WAITERS];
static int64_t now_ns;

static void fire(struct tc_waiter *waiter, struct tc_worker *worker)
{
    struct target *target = tc_container_of(waiter, struct target, waiter);

    (void)worker;
    TC_CHECK_EQ(waiter->result, -ETIMEDOUT);
    TC_CHECK(target->armed);                /* not cancelled, not fired before */
    TC_CHECK(target->when_ns <= now_ns);    /* T2 */
    target->fired++;
    target->armed = false;
}

static void construct_node(void *object)
{
    struct tc_timer *timer = object;

    memset(timer, 0, sizeof *timer);
    timer->node.index = TC_HEAP_NONE;
}

static void set_up(void)
{
    tc_slab_init(&nodes, "timers", sizeof(struct tc_timer), 16, construct_node);
    tc_timers_init(&timers, &nodes);
    for (int i = 0; i < WAITERS; i++) {
        tc_waiter_core_init(&targets[i].waiter.word);
        targets[i].waiter.kind = TC_WAITER_CALLBACK;
        targets[i].waiter.callback = fire;
    }
}

static void arm(struct target *target, int64_t when_ns)
{
    target->seq = tc_waiter_core_begin(&target->waiter.word);
    tc_waiter_core_arm(&target->waiter.word, target->seq);
    target->armed = true;
    target->fired = 0;
    target->when_ns = when_ns;
    TC_CHECK_EQ(tc_timers_arm(&timers, &target->waiter, target->seq, when_ns, &target->deadline),
                0);
}

/* End the wait from elsewhere, with its deadline cancelled by the owner, by another thread, or, by
 * an owner who has nothing to cancel any more, after it fired. */
static void cancel(struct target *target, bool by_owner)
{
    if (target->armed) {
        TC_CHECK(tc_waiter_claim(&target->waiter, target->seq));
    }
    target->armed = false;
    tc_timers_cancel(by_owner ? &timers : NULL, &target->deadline);
}

static void expect_next(void)
{
    int64_t least = TC_NEVER;
    int64_t next = tc_timers_next(&timers);

    for (int i = 0; i < WAITERS; i++) {
        if (targets[i].armed && targets[i].when_ns < least) {
            least = targets[i].when_ns;
        }
    }
    TC_CHECK_EQ(next, least); /* stale ones are dropped as they surface */
}

TC_TEST(test_timer_random_arm_cancel_and_fire_agree_with_an_oracle)
{
    struct tc_rand rand;

    set_up();
    tc_rand_init(&rand, tc_test_seed());
    for (int step = 0; step < (SANITIZED || TC_DEBUG >= 2 ? 40000 : 300000); step++) {
        struct target *target = &targets[tc_rand_below(&rand, WAITERS)];
        uint32_t dice = tc_rand_below(&rand, 100);

        if (dice < 55) {
            if (target->deadline.timer != NULL) {
                cancel(target, tc_rand_below(&rand, 2) == 0);
            }
            arm(target, now_ns + tc_rand_below(&rand, 1000));
        } else if (dice < 85) {
            if (target->deadline.timer != NULL) {
                cancel(target, tc_rand_below(&rand, 2) == 0);
            }
        } else {
            now_ns += tc_rand_below(&rand, 60);
            tc_timers_expire(&timers, NULL, now_ns);
            for (int i = 0; i < WAITERS; i++) {
                TC_CHECK(!targets[i].armed || targets[i].when_ns > now_ns);
                TC_CHECK(targets[i].fired <= 1);
            }
        }
        expect_next();
    }
    tc_timers_fini(&timers);
    tc_slab_fini(&nodes);
}

/* T3 over the end of a heap: nodes outlive it, stale ones included. */
TC_TEST(test_timer_nodes_of_a_finished_heap_serve_the_next)
{
    set_up();
    for (int i = 0; i < WAITERS; i++) {
        arm(&targets[i], 1000 + i);
    }
    for (int i = 0; i < WAITERS; i += 2) {
        cancel(&targets[i], false);
    }
    struct tc_deadline old = targets[1].deadline;
    tc_timers_fini(&timers);
    tc_timers_init(&timers, &nodes);
    for (int i = 0; i < WAITERS; i++) {
        if (targets[i].armed) {
            TC_CHECK(tc_waiter_claim(&targets[i].waiter, targets[i].seq));
        }
        arm(&targets[i], 1000 + i);
    }
    tc_timers_cancel(NULL, &old); /* a handle of the former heap names nothing */
    now_ns = 5000;
    TC_CHECK_EQ(tc_timers_expire(&timers, NULL, now_ns), WAITERS);
    for (int i = 0; i < WAITERS; i++) {
        TC_CHECK_EQ(targets[i].fired, 1);
    }
    tc_timers_fini(&timers);
    tc_slab_fini(&nodes);
}

TC_TEST(test_timer_remote_cancels_are_swept_before_they_pile_up)
{
    set_up();
    for (int round = 0; round < 20000; round++) {
        struct target *target = &targets[round % (WAITERS / 2)];
        arm(target, INT64_C(1000000000) + round); /* far away: never surfaces by itself */
        cancel(target, false);
        (void)tc_timers_next(&timers);
        TC_CHECK(timers.heap.len <= 200);
    }
    TC_CHECK(tc_timers_count(&timers) == 0);
    tc_timers_fini(&timers);
    tc_slab_fini(&nodes);
}

TC_TEST(test_timer_without_memory_arms_nothing)
{
    struct tc_deadline deadline = {.timer = NULL};

    set_up();
    targets[0].seq = tc_waiter_core_begin(&targets[0].waiter.word);
    tc_waiter_core_arm(&targets[0].waiter.word, targets[0].seq);
    for (uint64_t nth = 1;; nth++) {
        tc_fault_arm(TC_FAULT_ALLOC, nth, ENOMEM, 1);
        int rc = tc_timers_arm(&timers, &targets[0].waiter, targets[0].seq, 10, &deadline);
        tc_fault_disarm_all();
        if (rc == 0) {
            break;
        }
        TC_CHECK_EQ(rc, -ENOMEM);
        TC_CHECK(deadline.timer == NULL);
        TC_CHECK_EQ(tc_timers_next(&timers), TC_NEVER);
    }
    tc_timers_cancel(&timers, &deadline);
    tc_timers_fini(&timers);
    tc_slab_fini(&nodes);
}

/* ---- the owner fires while others cancel --------------------------------------------------- */

struct exchange {
    struct tc_deadline deadlines[WAITERS];
    _Atomic uint32_t full[WAITERS]; /* 1: the canceller may have this one */
    _Atomic bool over;
};

static struct exchange exchange;

static void fire_quietly(struct tc_waiter *waiter, struct tc_worker *worker)
{
    (void)worker;
    tc_container_of(waiter, struct target, waiter)->fired++;
}

static void *cancel_all(void *arg)
{
    (void)arg;
    while (!tc_load_relaxed(&exchange.over)) {
        for (int i = 0; i < WAITERS; i++) {
            if (tc_load_acquire(&exchange.full[i]) == 1) {
                tc_timers_cancel(NULL, &exchange.deadlines[i]);
                tc_store_release(&exchange.full[i], 0);
            }
        }
        tc_sys_sched_yield();
    }
    return NULL;
}

TC_TEST(test_timer_firing_races_with_remote_cancels)
{
    pthread_t thread;
    struct tc_rand rand;
    uint64_t fired = 0;

    set_up();
    tc_rand_init(&rand, tc_test_seed());
    for (int i = 0; i < WAITERS; i++) {
        targets[i].waiter.callback = fire_quietly;
    }
    TC_CHECK_EQ(pthread_create(&thread, NULL, cancel_all, NULL), 0);
    /* Until both outcomes have been met often, however the two threads are scheduled. */
    uint64_t cancelled = 0;
    while ((fired < 2000 || cancelled < 2000) && tc_test_has_time(10)) {
        for (int i = 0; i < WAITERS; i++) {
            struct target *target = &targets[i];
            if (tc_load_acquire(&exchange.full[i]) != 0) {
                continue;
            }
            (void)!tc_waiter_claim(&target->waiter, target->seq); /* unless it fired */
            fired += (uint64_t)target->fired;
            cancelled += target->fired == 0;
            TC_CHECK(target->fired <= 1);
            arm(target, now_ns + tc_rand_below(&rand, 8));
            exchange.deadlines[i] = target->deadline;
            tc_store_release(&exchange.full[i], 1);
        }
        now_ns += 1;
        tc_timers_expire(&timers, NULL, now_ns);
        if (now_ns % 8 == 0) {
            tc_sys_sched_yield();
        }
    }
    tc_store_relaxed(&exchange.over, true);
    pthread_join(thread, NULL);
    (void)tc_timers_next(&timers);
    tc_timers_fini(&timers);
    tc_slab_fini(&nodes);
}
