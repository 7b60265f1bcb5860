/* A worker turned by hand, in virtual time: budget, fairness, deadlines, messages, queues. */
#include "fake_driver.h"

/* ---- the turn's budget --------------------------------------------------------------------- */

static int ran;

static void count_run(void *arg)
{
    (void)arg;
    ran++;
}

static void spawn_detached(struct tc_runtime *runtime, void (*entry)(void *), int count)
{
    struct tc_spawn_options options = {.stack_class = TC_STACK_SMALL, .detached = true};

    for (int i = 0; i < count; i++) {
        TC_CHECK_EQ(tc_fiber_spawn(runtime, entry, NULL, &options, NULL), 0);
    }
}

static void spawn_a_hundred(void *arg)
{
    spawn_detached(arg, count_run, 100);
}

TC_TEST(test_worker_turn_ends_after_its_budget_of_fibers)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_worker *worker = tc_runtime_worker(runtime, 0);

    tc_chaos_suspend(); /* counts the fibers of one turn */
    fake_join_dead(({
        struct tc_fiber *fiber = fake_spawn(runtime, spawn_a_hundred, runtime);
        TC_CHECK(fake_turn(worker));
        fiber;
    }));
    TC_CHECK_EQ(ran, TC_TURN_FIBERS - 1); /* the spawner was one of them */
    TC_CHECK(fake_turn(worker));
    TC_CHECK_EQ(ran, 100);
    TC_CHECK(!fake_turn(worker));
    tc_runtime_free(runtime);
}

TC_TEST(test_worker_turn_ends_when_its_time_is_over)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_worker *worker = tc_runtime_worker(runtime, 0);
    struct tc_fiber *fiber = fake_spawn(runtime, spawn_a_hundred, runtime);

    tc_store_relaxed(&fake_step_ns, TC_TURN_NS / 2);
    TC_CHECK(fake_turn(worker));
    TC_CHECK(ran < TC_TURN_FIBERS - 1);
    fake_settle(worker);
    TC_CHECK_EQ(ran, 100);
    fake_join_dead(fiber);
    tc_runtime_free(runtime);
}

/* ---- the inject queue ---------------------------------------------------------------------- */

TC_TEST(test_worker_takes_its_share_of_the_inject_queue)
{
    struct tc_runtime *runtime = fake_runtime(2);

    tc_chaos_suspend(); /* counts the fibers of one turn */
    spawn_detached(runtime, count_run, 100);
    fake_turn(tc_runtime_worker(runtime, 0));
    TC_CHECK_EQ(ran, 100 / 2 + 1);
    fake_turn(tc_runtime_worker(runtime, 1));
    TC_CHECK_EQ(ran, 51 + (49 / 2 + 1));
    fake_settle(tc_runtime_worker(runtime, 0));
    TC_CHECK_EQ(ran, 100);
    tc_runtime_free(runtime);
}

static void spawn_a_thousand(void *arg)
{
    tc_fault_arm(TC_FAULT_ALLOC, 1, ENOMEM, UINT64_MAX);
    spawn_detached(arg, count_run, 1000);
    tc_fault_disarm_all();
}

/* DQ4, and the bug class "a full queue drops a task": the deque cannot grow. */
TC_TEST(test_worker_full_deque_without_memory_loses_no_fiber)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_worker *worker = tc_runtime_worker(runtime, 0);

    tc_chaos_suspend(); /* turns that end early let the deque grow before it must not */
    /* From outside, so that the slab has the memory and the deque has not grown. */
    spawn_detached(runtime, count_run, 1100);
    fake_settle(worker);
    TC_CHECK_EQ(ran, 1100);
    struct tc_fiber *fiber = fake_spawn(runtime, spawn_a_thousand, runtime);
    fake_settle(worker);
    TC_CHECK_EQ(ran, 2100);
    TC_CHECK(tc_fault_hits(TC_FAULT_ALLOC) > 0);
    fake_join_dead(fiber);
    tc_runtime_free(runtime);
}

/* ---- fairness of the next slot ------------------------------------------------------------- */

struct rally {
    struct tc_readiness word[2];
    int hits;
    int hits_when_third_ran;
    bool stop;
};

struct player {
    struct rally *rally;
    int side;
};

static void wait_for_edge(struct tc_readiness *word)
{
    while (!tc_readiness_consume(word)) {
        TC_CHECK_EQ(fake_wait(word, TC_NEVER), 0);
    }
}

static void play(void *arg)
{
    struct player *player = arg;
    struct rally *rally = player->rally;

    while (!rally->stop) {
        rally->hits++;
        fake_notify(&rally->word[1 - player->side]);
        wait_for_edge(&rally->word[player->side]);
    }
    fake_notify(&rally->word[1 - player->side]);
}

static void third(void *arg)
{
    struct rally *rally = arg;

    rally->hits_when_third_ran = rally->hits;
}

TC_TEST(test_worker_two_fibers_in_a_rally_do_not_starve_a_third)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_worker *worker = tc_runtime_worker(runtime, 0);
    struct rally rally = {.hits = 0};
    struct player players[2] = {{&rally, 0}, {&rally, 1}};
    struct tc_fiber *fibers[3];

    tc_readiness_init(&rally.word[0], false);
    tc_readiness_init(&rally.word[1], false);
    fibers[0] = fake_spawn(runtime, play, &players[0]);
    fibers[1] = fake_spawn(runtime, play, &players[1]);
    fibers[2] = fake_spawn(runtime, third, &rally);
    fake_turn(worker);
    /* Both started, and the slot was taken TC_NEXT_STREAK times, before the third had its turn. */
    TC_CHECK(rally.hits_when_third_ran > 0);
    TC_CHECK(rally.hits_when_third_ran <= 2 * (2 + TC_NEXT_STREAK)); /* two hits a visit at most */
    TC_CHECK(rally.hits > 2 * (2 + TC_NEXT_STREAK)); /* alone again, they go on from the slot */
    rally.stop = true;
    fake_settle(worker);
    for (int i = 0; i < 3; i++) {
        fake_join_dead(fibers[i]);
    }
    tc_runtime_free(runtime);
}

/* ---- yield --------------------------------------------------------------------------------- */

static char order[64];
static int order_length;

static void yield_thrice(void *arg)
{
    for (int i = 0; i < 3; i++) {
        order[order_length++] = *(const char *)arg;
        tc_fiber_yield();
    }
}

TC_TEST(test_worker_yield_goes_round_in_order)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_fiber *a = fake_spawn(runtime, yield_thrice, "a");
    struct tc_fiber *b = fake_spawn(runtime, yield_thrice, "b");
    struct tc_fiber *c = fake_spawn(runtime, yield_thrice, "c");

    fake_settle(tc_runtime_worker(runtime, 0));
    TC_CHECK(strcmp(order, "abcabcabc") == 0);
    fake_join_dead(a);
    fake_join_dead(b);
    fake_join_dead(c);
    tc_runtime_free(runtime);
}

static void yield_alone(void *arg)
{
    uint64_t *switches = arg;
    struct tc_worker *worker = tc_worker_current();
    uint64_t before = tc_load_relaxed(&worker->counters.switches);

    for (int i = 0; i < TC_TURN_FIBERS / 2; i++) {
        tc_fiber_yield();
    }
    *switches = tc_load_relaxed(&worker->counters.switches) - before;
}

TC_TEST(test_worker_yield_of_a_lone_fiber_does_not_switch)
{
    struct tc_runtime *runtime = fake_runtime(1);
    uint64_t switches = 99;
    struct tc_fiber *fiber = fake_spawn(runtime, yield_alone, &switches);

    tc_chaos_suspend(); /* a yield at the end of a turn does switch */
    fake_settle(tc_runtime_worker(runtime, 0));
    TC_CHECK_EQ(switches, 0);
    fake_join_dead(fiber);
    tc_runtime_free(runtime);
}

/* ---- deadlines ----------------------------------------------------------------------------- */

struct sleeper {
    int64_t until_ns;
    int64_t woke_ns;
    int rank;
};

static int next_rank;

static void sleep_once(void *arg)
{
    struct sleeper *sleeper = arg;

    TC_CHECK_EQ(tc_fiber_sleep_until(sleeper->until_ns), 0);
    sleeper->woke_ns = tc_load_relaxed(&fake_now_ns);
    sleeper->rank = next_rank++;
}

TC_TEST(test_worker_sleepers_wake_when_due_and_never_early)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_worker *worker = tc_runtime_worker(runtime, 0);
    struct sleeper sleepers[10];
    struct tc_fiber *fibers[10];

    for (int i = 0; i < 10; i++) {
        sleepers[i] = (struct sleeper){.until_ns = 1000 * (10 - i), .woke_ns = -1};
        fibers[i] = fake_spawn(runtime, sleep_once, &sleepers[i]);
    }
    fake_settle(worker);
    for (int64_t now = 500; now <= 10500; now += 500) {
        tc_store_relaxed(&fake_now_ns, now);
        fake_settle(worker);
        for (int i = 0; i < 10; i++) {
            TC_CHECK_EQ(sleepers[i].woke_ns >= 0, sleepers[i].until_ns <= now);
        }
    }
    for (int i = 0; i < 10; i++) {
        TC_CHECK_EQ(sleepers[i].woke_ns, sleepers[i].until_ns);
        TC_CHECK_EQ(sleepers[i].rank, 9 - i);
        fake_join_dead(fibers[i]);
    }
    tc_runtime_free(runtime);
}

struct timed_wait {
    struct tc_readiness word;
    int64_t deadline_ns;
    int result;
};

static void wait_timed(void *arg)
{
    struct timed_wait *wait = arg;

    wait->result = fake_wait(&wait->word, wait->deadline_ns);
}

TC_TEST(test_worker_event_and_deadline_at_once_end_a_wait_once)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_worker *worker = tc_runtime_worker(runtime, 0);
    struct timed_wait wait = {.deadline_ns = TC_NS_PER_SEC, .result = 99};

    tc_readiness_init(&wait.word, false);
    struct tc_fiber *fiber = fake_spawn(runtime, wait_timed, &wait);
    fake_settle(worker);
    fake_post_event(worker, &wait.word);
    tc_store_relaxed(&fake_now_ns, TC_NS_PER_SEC);
    fake_settle(worker);
    TC_CHECK(wait.result == -ETIMEDOUT || wait.result == 0);
    TC_CHECK(tc_readiness_is_ready(&wait.word)); /* P1: the edge is kept either way */
    TC_CHECK_EQ(tc_load_relaxed(&fake_io_of(worker)->armed), 0);
    fake_join_dead(fiber);
    tc_runtime_free(runtime);
}

TC_TEST(test_worker_without_memory_for_a_timer_the_wait_fails)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_worker *worker = tc_runtime_worker(runtime, 0);
    struct timed_wait wait = {.deadline_ns = TC_NS_PER_SEC, .result = 99};

    tc_readiness_init(&wait.word, false);
    spawn_detached(runtime, count_run, 1); /* so that there is a stack */
    fake_settle(worker);
    struct tc_spawn_options options = {.stack_class = TC_STACK_SMALL};
    struct tc_fiber *fiber;
    TC_CHECK_EQ(tc_fiber_spawn(runtime, wait_timed, &wait, &options, &fiber), 0);
    tc_fault_arm(TC_FAULT_ALLOC, 1, ENOMEM, UINT64_MAX);
    fake_settle(worker);
    tc_fault_disarm_all();
    TC_CHECK_EQ(wait.result, -ENOMEM);
    fake_join_dead(fiber);
    tc_runtime_free(runtime);
}

/* ---- events -------------------------------------------------------------------------------- */

static void yield_until_set(void *arg)
{
    _Atomic bool *flag = arg;

    while (!tc_load_relaxed(flag)) {
        tc_fiber_yield();
    }
}

struct flagged_wait {
    struct tc_readiness word;
    _Atomic bool done;
};

static void wait_and_set(void *arg)
{
    struct flagged_wait *wait = arg;

    TC_CHECK_EQ(fake_wait(&wait->word, TC_NEVER), 0);
    tc_store_relaxed(&wait->done, true);
}

TC_TEST(test_worker_busy_with_fibers_still_looks_at_its_events)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_worker *worker = tc_runtime_worker(runtime, 0);
    struct flagged_wait wait;

    tc_readiness_init(&wait.word, false);
    tc_atomic_init(&wait.done, false);
    struct tc_fiber *waiter = fake_spawn(runtime, wait_and_set, &wait);
    struct tc_fiber *busy[2];
    busy[0] = fake_spawn(runtime, yield_until_set, &wait.done);
    busy[1] = fake_spawn(runtime, yield_until_set, &wait.done);
    fake_turn(worker);
    fake_post_event(worker, &wait.word);
    fake_turn(worker); /* too early: it looked less than TC_POLL_NS ago */
    TC_CHECK(!tc_load_relaxed(&wait.done));
    tc_store_relaxed(&fake_now_ns, TC_POLL_NS + 1);
    fake_turn(worker);
    fake_settle(worker);
    TC_CHECK(tc_load_relaxed(&wait.done));
    fake_join_dead(waiter);
    fake_join_dead(busy[0]);
    fake_join_dead(busy[1]);
    tc_runtime_free(runtime);
}

/* ---- messages ------------------------------------------------------------------------------ */

struct note {
    struct tc_message message;
    int value;
    int again; /* how often it posts itself once more */
};

static int notes_seen[32];
static int notes_count;

static void take_note(struct tc_worker *worker, struct tc_message *message)
{
    struct note *note = tc_container_of(message, struct note, message);

    TC_CHECK(worker->current == NULL); /* K1: between fibers */
    notes_seen[notes_count++] = note->value;
    if (note->again-- > 0) {
        tc_worker_post(worker, message);
    }
}

TC_TEST(test_worker_messages_run_in_order_and_may_post_themselves)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_worker *worker = tc_runtime_worker(runtime, 0);
    struct note notes[3];

    for (int i = 0; i < 3; i++) {
        notes[i] = (struct note){.message = {.fn = take_note}, .value = i, .again = i == 1};
        tc_worker_post(worker, &notes[i].message);
    }
    fake_turn(worker);
    fake_turn(worker);
    static const int expected[] = {0, 1, 2, 1};
    TC_CHECK_EQ(notes_count, 4);
    for (int i = 0; i < 4; i++) {
        TC_CHECK_EQ(notes_seen[i], expected[i]);
    }
    tc_runtime_free(runtime);
}

/* ---- the clock of reactions ---------------------------------------------------------------- */

TC_TEST(test_worker_reactions_to_one_poll_share_their_looks_at_the_clock)
{
    struct tc_runtime *runtime = fake_runtime(1);
    struct tc_worker *worker = tc_runtime_worker(runtime, 0);

    tc_store_relaxed(&fake_now_ns, 100);
    TC_CHECK_EQ(tc_worker_recent_clock(worker), 100);
    tc_worker_note_clock(worker, 90); /* nobody reacts */
    tc_store_relaxed(&fake_now_ns, 200);
    TC_CHECK_EQ(tc_worker_recent_clock(worker), 200);

    tc_worker_set_reacting(worker, true);
    tc_store_relaxed(&fake_now_ns, 300);
    TC_CHECK_EQ(tc_worker_recent_clock(worker), 300); /* the first one looks */
    tc_store_relaxed(&fake_now_ns, 400);
    TC_CHECK_EQ(tc_worker_recent_clock(worker), 300);
    tc_worker_note_clock(worker, 400);
    tc_store_relaxed(&fake_now_ns, 500);
    TC_CHECK_EQ(tc_worker_recent_clock(worker), 400);

    tc_worker_set_reacting(worker, false);
    TC_CHECK_EQ(tc_worker_recent_clock(worker), 500);
    tc_runtime_free(runtime);
}
