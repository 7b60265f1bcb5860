/* The mutex: who gets it, when, and what deadline and cancel leave behind. */
#include "support.h"

#include "sync/mutex.h"

static struct tc_mutex mutex;

static int act_acquire(struct act *act)
{
    return tc_mutex_acquire(act->object, act_deadline(act));
}

static void begin(void)
{
    script_begin();
    tc_mutex_init(&mutex);
}

TC_TEST(test_mutex_free_is_acquired_without_waiting)
{
    tc_mutex_init(&mutex);
    TC_CHECK(!tc_mutex_is_locked(&mutex));
    TC_CHECK_EQ(tc_mutex_acquire(&mutex, TC_NEVER), 0);
    TC_CHECK(tc_mutex_is_locked(&mutex));
    TC_CHECK(!tc_mutex_try_acquire(&mutex));
    tc_mutex_release(&mutex);
    TC_CHECK(tc_mutex_try_acquire(&mutex));
    tc_mutex_release(&mutex);
    TC_CHECK_EQ(tc_load_relaxed(&mutex.word.value), 0);
}

/* M1 */
TC_TEST(test_mutex_waiters_get_it_in_order_of_arrival)
{
    struct act acts[4];

    begin();
    TC_CHECK(tc_mutex_try_acquire(&mutex));
    for (int i = 0; i < 4; i++) {
        acts[i] = (struct act){.run = act_acquire, .object = &mutex};
        act_begin(&acts[i]);
    }
    for (int i = 0; i < 4; i++) {
        TC_CHECK(act_is_parked(&acts[i]));
        tc_mutex_release(&mutex);
        TC_CHECK_EQ(act_end(&acts[i]), 0);
    }
    tc_mutex_release(&mutex);
    TC_CHECK_EQ(tc_load_relaxed(&mutex.word.value), 0);
    script_end();
}

TC_TEST(test_mutex_release_lets_others_barge_before_the_woken)
{
    struct act waits = {.run = act_acquire, .object = &mutex};

    begin();
    TC_CHECK(tc_mutex_try_acquire(&mutex));
    act_begin(&waits);
    tc_mutex_release(&mutex);
    TC_CHECK(tc_mutex_try_acquire(&mutex));
    fake_settle(worker0);
    TC_CHECK(act_is_parked(&waits));
    tc_mutex_release(&mutex);
    TC_CHECK_EQ(act_end(&waits), 0);
    script_end();
}

TC_TEST(test_mutex_waiter_beaten_after_its_patience_is_given_it)
{
    struct act waits = {.run = act_acquire, .object = &mutex};

    begin();
    TC_CHECK(tc_mutex_try_acquire(&mutex));
    act_begin(&waits);
    tc_mutex_release(&mutex);
    TC_CHECK(tc_mutex_try_acquire(&mutex));
    script_pass(TC_MUTEX_PATIENCE_NS);
    TC_CHECK(act_is_parked(&waits));
    tc_mutex_release(&mutex);
    TC_CHECK(!tc_mutex_try_acquire(&mutex)); /* it is the waiter's already */
    TC_CHECK_EQ(act_end(&waits), 0);
    tc_mutex_release(&mutex);
    TC_CHECK_EQ(tc_load_relaxed(&mutex.word.value), 0);
    script_end();
}

TC_TEST(test_mutex_deadline_and_cancel_leave_no_trace)
{
    struct act late = {.run = act_acquire, .object = &mutex};
    struct act cancelled = {.run = act_acquire, .object = &mutex, .twice = true};

    begin();
    TC_CHECK(tc_mutex_try_acquire(&mutex));
    late.deadline_ns = script_after(500);
    act_begin(&late);
    act_begin(&cancelled);
    script_pass(500);
    TC_CHECK_EQ(act_end(&late), -ETIMEDOUT);
    act_cancel(&cancelled);
    TC_CHECK_EQ(act_end(&cancelled), -ECANCELED);
    TC_CHECK_EQ(cancelled.second, -ECANCELED);
    TC_CHECK_EQ(tc_load_relaxed(&mutex.word.value), TC_MUTEX_LOCKED);
    tc_mutex_release(&mutex);
    script_end();
}

/* A woken waiter that gives up when it finds itself beaten must not keep the wake-up to itself. */
TC_TEST(test_mutex_cancel_of_a_beaten_waiter_wakes_the_next)
{
    struct act first = {.run = act_acquire, .object = &mutex};
    struct act second = {.run = act_acquire, .object = &mutex};

    begin();
    TC_CHECK(tc_mutex_try_acquire(&mutex));
    act_begin(&first);
    act_begin(&second);
    tc_mutex_release(&mutex); /* wakes the first */
    TC_CHECK(tc_mutex_try_acquire(&mutex));
    tc_fiber_cancel(first.fiber); /* too late for its wait, in time for the next park */
    TC_CHECK_EQ(act_end(&first), -ECANCELED);
    tc_mutex_release(&mutex);
    TC_CHECK_EQ(act_end(&second), 0);
    tc_mutex_release(&mutex);
    TC_CHECK_EQ(tc_load_relaxed(&mutex.word.value), 0);
    script_end();
}

TC_TEST(test_mutex_without_memory_for_a_timer_says_so)
{
    struct act waits = {.run = act_acquire, .object = &mutex};

    begin();
    TC_CHECK(tc_mutex_try_acquire(&mutex));
    waits.deadline_ns = script_after(500);
    act_queue(&waits);
    fake_turn(worker0); /* stack and all are there; now the timer */
    TC_CHECK(act_is_parked(&waits));
    script_pass(500);
    TC_CHECK_EQ(act_end(&waits), -ETIMEDOUT);
    waits.deadline_ns = script_after(500);
    act_queue(&waits);
    tc_fault_arm(TC_FAULT_ALLOC, 1, ENOMEM, 1);
    TC_CHECK_EQ(act_end(&waits), -ENOMEM);
    TC_CHECK_EQ(tc_load_relaxed(&mutex.word.value), TC_MUTEX_LOCKED);
    tc_mutex_release(&mutex);
    script_end();
}

TC_TEST(test_mutex_callback_is_handed_the_mutex)
{
    struct op op;

    tc_mutex_init(&mutex);
    op_init(&op);
    TC_CHECK_EQ(tc_mutex_start(&mutex, &op.node, &op.waiter), 0);
    TC_CHECK_EQ(tc_mutex_start(&mutex, &op.node, &op.waiter), -EINPROGRESS);
    tc_mutex_release(&mutex);
    TC_CHECK_EQ(op.calls, 1);
    TC_CHECK(tc_mutex_is_locked(&mutex));
    TC_CHECK(!tc_mutex_withdraw(&mutex, &op.node));
    TC_CHECK_EQ(tc_mutex_start(&mutex, &op.node, &op.waiter), -EINPROGRESS);
    TC_CHECK(tc_mutex_withdraw(&mutex, &op.node));
    tc_mutex_release(&mutex);
    TC_CHECK_EQ(op.calls, 1);
    TC_CHECK_EQ(tc_load_relaxed(&mutex.word.value), 0);
}

TC_TEST(test_mutex_thread_waits_until_its_deadline)
{
    tc_mutex_init(&mutex);
    TC_CHECK(tc_mutex_try_acquire(&mutex));
    TC_CHECK_EQ(tc_mutex_acquire(&mutex, tc_deadline_after_ns(TC_NS_PER_MS)), -ETIMEDOUT);
    tc_mutex_release(&mutex);
    TC_CHECK_EQ(tc_load_relaxed(&mutex.word.value), 0);
}

/* ---- storms -------------------------------------------------------------------------------- */

struct crowd {
    struct tc_mutex mutex;
    int inside;
    uint64_t entered;
    uint32_t each;
    bool impatient;
};

static void enter_many(void *arg)
{
    struct crowd *crowd = arg;
    bool is_fiber = tc_fiber_current() != NULL;

    for (uint32_t i = 0; i < crowd->each; i++) {
        int64_t deadline = TC_NEVER;
        if (crowd->impatient && i % 3 == 0) {
            deadline = tc_deadline_after_ns(20 * TC_NS_PER_US);
        }
        if (tc_mutex_acquire(&crowd->mutex, deadline) != 0) {
            i--; /* late: again */
            continue;
        }
        TC_CHECK_EQ(crowd->inside++, 0);
        crowd->entered++;
        if (is_fiber && i % 8 == 0) {
            tc_fiber_yield();
        }
        crowd->inside--;
        tc_mutex_release(&crowd->mutex);
    }
}

static void *enter_on_thread(void *arg)
{
    enter_many(arg);
    return NULL;
}

static void storm(bool impatient)
{
    struct crowd crowd = {.each = SCALE(20000), .impatient = impatient};
    struct tc_fiber *fibers[4];
    pthread_t threads[2];

    rt = fake_start(2, 0);
    tc_mutex_init(&crowd.mutex);
    for (int i = 0; i < 4; i++) {
        fibers[i] = fake_spawn(rt, enter_many, &crowd);
    }
    for (int i = 0; i < 2; i++) {
        threads[i] = thread_start(enter_on_thread, &crowd);
    }
    for (int i = 0; i < 4; i++) {
        TC_CHECK_EQ(tc_fiber_join(fibers[i], TC_NEVER), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    TC_CHECK_EQ(crowd.entered, 6 * (uint64_t)crowd.each);
    TC_CHECK_EQ(tc_load_relaxed(&crowd.mutex.word.value), 0);
    fake_stop(rt);
}

TC_TEST(test_mutex_storm_of_fibers_and_threads_excludes)
{
    storm(false);
}

TC_TEST(test_mutex_storm_with_deadlines_excludes_and_loses_nobody)
{
    storm(true);
}

struct short_lived {
    struct tc_mutex mutex;
    _Atomic int users;
};

static void *use_and_destroy(void *arg)
{
    struct short_lived *object = arg;

    TC_CHECK_EQ(tc_mutex_acquire(&object->mutex, TC_NEVER), 0);
    bool is_last = tc_fetch_sub_relaxed(&object->users, 1) == 1;
    tc_mutex_release(&object->mutex);
    if (is_last) {
        tc_mem_free(object, sizeof *object);
    }
    return NULL;
}

/* M2: the one that counted itself out last frees the mutex although the other may just be releasing
 * it; so it counts under the mutex and frees after its own release. */
TC_TEST(test_mutex_destroyed_by_its_last_user_is_not_touched_again)
{
    for (int i = 0; i < SCALE(2000) && tc_test_has_time(5); i++) {
        struct short_lived *object = tc_mem_alloc(sizeof *object);
        tc_mutex_init(&object->mutex);
        tc_atomic_init(&object->users, 2);
        pthread_t thread = thread_start(use_and_destroy, object);
        use_and_destroy(object);
        pthread_join(thread, NULL);
    }
}
