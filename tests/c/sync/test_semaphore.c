/* The semaphore: order, permits, and what deadline and cancel leave behind. */
#include "support.h"

#include "sync/semaphore.h"

static struct tc_semaphore semaphore;

static int act_acquire(struct act *act)
{
    return tc_semaphore_acquire(act->object, act_deadline(act));
}

static void begin(uint64_t permits)
{
    script_begin();
    tc_semaphore_init(&semaphore, permits);
}

TC_TEST(test_semaphore_permits_are_given_until_none_is_left)
{
    tc_semaphore_init(&semaphore, 2);
    TC_CHECK(tc_semaphore_try_acquire(&semaphore));
    TC_CHECK_EQ(tc_semaphore_acquire(&semaphore, TC_NEVER), 0);
    TC_CHECK(!tc_semaphore_try_acquire(&semaphore));
    tc_semaphore_release(&semaphore, 3);
    TC_CHECK_EQ(tc_semaphore_permits(&semaphore), 3);
}

/* P1 */
TC_TEST(test_semaphore_permit_is_handed_to_who_waited_longest)
{
    struct act acts[3];

    begin(0);
    for (int i = 0; i < 3; i++) {
        acts[i] = (struct act){.run = act_acquire, .object = &semaphore};
        act_begin(&acts[i]);
    }
    tc_semaphore_release(&semaphore, 1);
    TC_CHECK(!tc_semaphore_try_acquire(&semaphore)); /* nobody overtakes */
    TC_CHECK_EQ(act_end(&acts[0]), 0);
    TC_CHECK(act_is_parked(&acts[1]));
    tc_semaphore_release(&semaphore, 3);
    TC_CHECK_EQ(act_end(&acts[1]), 0);
    TC_CHECK_EQ(act_end(&acts[2]), 0);
    TC_CHECK(acts[0].order < acts[1].order && acts[1].order < acts[2].order);
    TC_CHECK_EQ(tc_semaphore_permits(&semaphore), 1);
    script_end();
}

TC_TEST(test_semaphore_deadline_and_cancel_take_no_permit)
{
    struct act late = {.run = act_acquire, .object = &semaphore};
    struct act cancelled = {.run = act_acquire, .object = &semaphore, .twice = true};

    begin(0);
    late.deadline_ns = script_after(10);
    act_begin(&late);
    act_begin(&cancelled);
    script_pass(10);
    TC_CHECK_EQ(act_end(&late), -ETIMEDOUT);
    act_cancel(&cancelled);
    TC_CHECK_EQ(act_end(&cancelled), -ECANCELED);
    TC_CHECK_EQ(cancelled.second, -ECANCELED);
    tc_semaphore_release(&semaphore, 1);
    TC_CHECK_EQ(tc_semaphore_permits(&semaphore), 1);
    script_end();
}

TC_TEST(test_semaphore_permit_handed_over_wins_against_cancel)
{
    struct act waits = {.run = act_acquire, .object = &semaphore, .twice = true};

    begin(0);
    act_begin(&waits);
    tc_semaphore_release(&semaphore, 1);
    act_cancel(&waits);
    TC_CHECK_EQ(act_end(&waits), 0);
    TC_CHECK_EQ(waits.second, -ECANCELED);
    script_end();
}

TC_TEST(test_semaphore_callback_gets_a_permit_or_withdraws)
{
    struct op op;

    tc_semaphore_init(&semaphore, 1);
    op_init(&op);
    TC_CHECK_EQ(tc_semaphore_start(&semaphore, &op.node, &op.waiter), 0);
    TC_CHECK_EQ(tc_semaphore_start(&semaphore, &op.node, &op.waiter), -EINPROGRESS);
    TC_CHECK(tc_semaphore_withdraw(&semaphore, &op.node));
    tc_semaphore_release(&semaphore, 1);
    TC_CHECK_EQ(op.calls, 0);
    TC_CHECK(tc_semaphore_try_acquire(&semaphore));
    TC_CHECK_EQ(tc_semaphore_start(&semaphore, &op.node, &op.waiter), -EINPROGRESS);
    tc_semaphore_release(&semaphore, 1);
    TC_CHECK_EQ(op.calls, 1);
    TC_CHECK(!tc_semaphore_withdraw(&semaphore, &op.node));
    TC_CHECK_EQ(tc_semaphore_permits(&semaphore), 0);
}

/* ---- storm --------------------------------------------------------------------------------- */

struct room {
    struct tc_semaphore semaphore;
    _Atomic int inside;
    uint32_t each;
};

static void visit(void *arg)
{
    struct room *room = arg;

    for (uint32_t i = 0; i < room->each; i++) {
        int64_t deadline = i % 4 == 0 ? tc_deadline_after_ns(10 * TC_NS_PER_US) : TC_NEVER;
        int rc = tc_semaphore_acquire(&room->semaphore, deadline);
        if (rc != 0) {
            TC_CHECK_EQ(rc, -ETIMEDOUT);
            continue;
        }
        TC_CHECK(tc_fetch_add_relaxed(&room->inside, 1) < 3);
        if (i % 16 == 0 && tc_fiber_current() != NULL) {
            tc_fiber_yield();
        }
        tc_fetch_sub_relaxed(&room->inside, 1);
        tc_semaphore_release(&room->semaphore, 1);
    }
}

static void *visit_on_thread(void *arg)
{
    visit(arg);
    return NULL;
}

/* P2 */
TC_TEST(test_semaphore_storm_keeps_the_number_of_permits)
{
    struct room room = {.each = SCALE(20000)};
    struct tc_fiber *fibers[6];
    pthread_t threads[2];

    rt = fake_start(2, 0);
    tc_semaphore_init(&room.semaphore, 3);
    for (int i = 0; i < 6; i++) {
        fibers[i] = fake_spawn(rt, visit, &room);
    }
    for (int i = 0; i < 2; i++) {
        threads[i] = thread_start(visit_on_thread, &room);
    }
    for (int i = 0; i < 6; i++) {
        TC_CHECK_EQ(tc_fiber_join(fibers[i], TC_NEVER), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    TC_CHECK_EQ(tc_semaphore_permits(&room.semaphore), 3);
    fake_stop(rt);
}
