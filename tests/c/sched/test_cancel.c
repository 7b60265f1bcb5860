/* Cancel at every park, shield, and the storm in which event, deadline and cancel meet. */
#include "fake_driver.h"

/* ---- one park at a time --------------------------------------------------------------------- */

enum park_kind { PARK_WAIT, PARK_WAIT_DEADLINE, PARK_SLEEP, PARK_JOIN, PARK_KINDS };

struct victim {
    struct tc_runtime *runtime;
    enum park_kind kind;
    struct tc_readiness word;
    struct tc_fiber *other; /* what PARK_JOIN joins */
    int first, second;
    bool shielded;
};

static int park_once(struct victim *victim)
{
    int64_t late = tc_worker_now(tc_worker_current()) + 3600 * TC_NS_PER_SEC;

    switch (victim->kind) {
    case PARK_WAIT:
        return fake_wait(&victim->word, TC_NEVER);
    case PARK_WAIT_DEADLINE:
        return fake_wait(&victim->word, late);
    case PARK_SLEEP:
        return tc_fiber_sleep_until(late);
    default:
        return tc_fiber_join(victim->other, TC_NEVER);
    }
}

static void park_twice(void *arg)
{
    struct victim *victim = arg;

    if (victim->shielded) {
        tc_fiber_shield();
        victim->first = fake_wait(&victim->word, TC_NEVER);
        tc_fiber_unshield();
    } else {
        victim->first = park_once(victim);
    }
    victim->second = park_once(victim);
}

static void sleep_long(void *arg)
{
    (void)arg;
    TC_IGNORE(tc_fiber_sleep_until(tc_worker_now(tc_worker_current()) + 3600 * TC_NS_PER_SEC));
}

static struct tc_fiber *start_victim(struct tc_runtime *runtime, struct victim *victim)
{
    victim->runtime = runtime;
    victim->first = victim->second = 99;
    tc_readiness_init(&victim->word, false);
    if (victim->kind == PARK_JOIN) {
        victim->other = fake_spawn(runtime, sleep_long, NULL);
    }
    return fake_spawn(runtime, park_twice, victim);
}

static void end_other(struct victim *victim)
{
    if (victim->kind == PARK_JOIN) {
        tc_fiber_cancel(victim->other);
        fake_settle(tc_runtime_worker(victim->runtime, 0));
        fake_join_dead(victim->other);
    }
}

TC_TEST(test_cancel_ends_every_kind_of_park_and_all_later_ones)
{
    for (int kind = 0; kind < PARK_KINDS; kind++) {
        struct tc_runtime *runtime = fake_runtime(1);
        struct tc_worker *worker = tc_runtime_worker(runtime, 0);
        struct victim victim = {.kind = (enum park_kind)kind};
        struct tc_fiber *fiber = start_victim(runtime, &victim);

        fake_settle(worker);
        TC_CHECK_EQ(victim.first, 99);
        tc_fiber_cancel(fiber);
        tc_fiber_cancel(fiber); /* final, so twice is once */
        fake_settle(worker);
        TC_CHECK_EQ(victim.first, -ECANCELED);
        TC_CHECK_EQ(victim.second, -ECANCELED);
        fake_join_dead(fiber);
        end_other(&victim);
        TC_CHECK_EQ(tc_load_relaxed(&fake_io_of(worker)->armed), 0);
        tc_runtime_free(runtime);
    }
}

TC_TEST(test_cancel_before_the_first_run_refuses_every_park)
{
    for (int kind = 0; kind < PARK_KINDS; kind++) {
        struct tc_runtime *runtime = fake_runtime(1);
        struct victim victim = {.kind = (enum park_kind)kind};
        struct tc_fiber *fiber = start_victim(runtime, &victim);

        tc_fiber_cancel(fiber);
        fake_settle(tc_runtime_worker(runtime, 0));
        TC_CHECK_EQ(victim.first, -ECANCELED);
        TC_CHECK_EQ(victim.second, -ECANCELED);
        fake_join_dead(fiber);
        end_other(&victim);
        tc_runtime_free(runtime);
    }
}

TC_TEST(test_cancel_is_held_back_by_a_shield)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_worker *worker = tc_runtime_worker(runtime, 0);
    struct victim victim = {.kind = PARK_SLEEP, .shielded = true};
    struct tc_fiber *fiber = start_victim(runtime, &victim);

    fake_settle(worker);
    tc_fiber_cancel(fiber);
    fake_settle(worker);
    TC_CHECK_EQ(victim.first, 99);
    fake_post_event(worker, &victim.word);
    tc_store_relaxed(&fake_now_ns, TC_POLL_NS * 2);
    fake_settle(worker);
    TC_CHECK_EQ(victim.first, 0);
    TC_CHECK_EQ(victim.second, -ECANCELED);
    fake_join_dead(fiber);
    tc_runtime_free(runtime);
}

TC_TEST(test_cancel_after_delivery_loses_to_the_value)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_worker *worker = tc_runtime_worker(runtime, 0);
    struct victim victim = {.kind = PARK_WAIT};
    struct tc_fiber *fiber = start_victim(runtime, &victim);

    fake_settle(worker);
    fake_notify(&victim.word); /* claimed and queued, not resumed yet */
    tc_fiber_cancel(fiber);
    fake_settle(worker);
    TC_CHECK_EQ(victim.first, 0);
    TC_CHECK_EQ(victim.second, -ECANCELED);
    fake_join_dead(fiber);
    tc_runtime_free(runtime);
}

/* ---- the storm ----------------------------------------------------------------------------- */

enum { STORM_FIBERS = 8 };

struct stormed {
    struct tc_readiness word;
    _Atomic uint64_t rounds; /* parks ended */
    _Atomic bool over;
    uint64_t results[4];     /* by kind of result */
};

static void be_stormed(void *arg)
{
    struct stormed *self = arg;

    while (!tc_load_relaxed(&self->over) && !tc_fiber_is_cancelled()) {
        int rc = fake_wait(&self->word, tc_deadline_after_ns(20 * TC_NS_PER_US));
        TC_CHECK(rc == 0 || rc == -ETIMEDOUT || rc == -ECANCELED);
        TC_IGNORE(tc_readiness_consume(&self->word));
        self->results[rc == 0 ? 0 : rc == -ETIMEDOUT ? 1 : 2]++;
        tc_fetch_add_relaxed(&self->rounds, 1);
    }
}

struct storm {
    struct stormed *targets;
    _Atomic bool over;
};

static void *storm_events(void *arg)
{
    struct storm *storm = arg;
    struct tc_rand rand;

    tc_rand_init(&rand, tc_test_seed());
    while (!tc_load_relaxed(&storm->over)) {
        fake_notify(&storm->targets[tc_rand_below(&rand, STORM_FIBERS)].word);
        if (tc_rand_below(&rand, 8) == 0) {
            tc_sys_sched_yield();
        }
    }
    return NULL;
}

/* Fiber structs are used again and again, with events and deadlines of former lives still about. */
TC_TEST(test_cancel_event_and_deadline_storm_resumes_each_wait_once)
{
    struct tc_runtime *runtime = fake_start(3, 0);
    static struct stormed targets[STORM_FIBERS];
    struct storm storm = {.targets = targets};
    struct tc_rand rand;
    pthread_t source;
    int lives = TC_TSAN || TC_ASAN ? 300 : 2000;

    tc_rand_init(&rand, tc_test_seed());
    for (int i = 0; i < STORM_FIBERS; i++) {
        tc_readiness_init(&targets[i].word, false);
    }
    TC_CHECK_EQ(pthread_create(&source, NULL, storm_events, &storm), 0);
    for (int life = 0; life < lives && tc_test_has_time(5); life++) {
        struct tc_fiber *fibers[STORM_FIBERS];
        for (int i = 0; i < STORM_FIBERS; i++) {
            fibers[i] = fake_spawn(runtime, be_stormed, &targets[i]);
        }
        for (int i = 0; i < STORM_FIBERS; i++) {
            uint64_t rounds = tc_load_relaxed(&targets[i].rounds);
            while (tc_rand_below(&rand, 2) == 0 && tc_load_relaxed(&targets[i].rounds) == rounds) {
                tc_sys_sched_yield();
            }
            tc_fiber_cancel(fibers[i]);
        }
        for (int i = 0; i < STORM_FIBERS; i++) {
            TC_CHECK_EQ(tc_fiber_join(fibers[i], TC_NEVER), 0);
        }
    }
    tc_store_relaxed(&storm.over, true);
    pthread_join(source, NULL);
    fake_stop(runtime);
}

/* A canceller meets a fiber that is just about to park: store buffering [waiter-cancel]. */
TC_TEST(test_cancel_meets_the_commit_of_a_park)
{
    struct tc_runtime *runtime = fake_start(2, 0);
    struct tc_readiness word;

    tc_readiness_init(&word, false);
    for (int i = 0; i < (TC_TSAN || TC_ASAN ? 3000 : 30000) && tc_test_has_time(5); i++) {
        struct victim victim = {.kind = PARK_WAIT};
        struct tc_fiber *fiber = start_victim(runtime, &victim);
        for (int spin = 0; spin < i % 64; spin++) {
            tc_cpu_relax();
        }
        tc_fiber_cancel(fiber);
        TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), 0);
        TC_CHECK_EQ(victim.first, -ECANCELED);
    }
    fake_stop(runtime);
}
