/* Waking: lost wake-ups, the searching token, the sentinel; with real threads. */
#include "fake_driver.h"

#define SLOW (TC_TSAN || TC_ASAN || TC_DEBUG >= 2)

static void wait_for_edge(struct tc_readiness *word)
{
    while (!tc_readiness_consume(word)) {
        TC_CHECK_EQ(fake_wait(word, TC_NEVER), 0);
    }
}

/* Wait, bounded by the test's time limit, until every worker sleeps and nobody holds the token. */
static void expect_all_asleep(struct tc_runtime *runtime)
{
    uint64_t bits;

    if (runtime->worker_count == 1) {
        return; /* a lone worker keeps no account */
    }
    do {
        tc_sys_sched_yield();
        bits = tc_idle_peek(&runtime->idle);
    } while (tc_idle_parked(bits) != runtime->worker_count || tc_idle_searching(bits) != 0 ||
             tc_idle_sentinel(bits) != 0);
}

/* ---- hand-offs ------------------------------------------------------------------------------- */

enum { PAIRS = 4 };

struct pair {
    struct tc_readiness word[2];
    uint64_t hops;
    uint64_t count; /* written by whose turn it is: a lost or doubled wake-up shows here */
};

struct side {
    struct pair *pair;
    int index;
};

static void hand_over(void *arg)
{
    struct side *side = arg;
    struct pair *pair = side->pair;

    for (uint64_t i = 0; i < pair->hops; i++) {
        if (i != 0 || side->index != 0) {
            wait_for_edge(&pair->word[side->index]);
        }
        TC_CHECK_EQ(pair->count, 2 * i + (uint64_t)side->index);
        pair->count++;
        fake_notify(&pair->word[1 - side->index]);
        if (i % 16 == 0) {
            tc_fiber_yield(); /* from the slot to the deque, where it can be stolen */
        }
    }
}

static void run_pairs(uint32_t workers, uint64_t hops)
{
    struct tc_runtime *runtime = fake_start(workers, 0);
    struct pair pairs[PAIRS];
    struct side sides[PAIRS][2];
    struct tc_fiber *fibers[PAIRS][2];

    for (int i = 0; i < PAIRS; i++) {
        pairs[i] = (struct pair){.hops = hops / (2 * PAIRS)};
        tc_readiness_init(&pairs[i].word[0], false);
        tc_readiness_init(&pairs[i].word[1], false);
        for (int k = 0; k < 2; k++) {
            sides[i][k] = (struct side){&pairs[i], k};
            fibers[i][k] = fake_spawn(runtime, hand_over, &sides[i][k]);
        }
    }
    for (int i = 0; i < PAIRS; i++) {
        TC_CHECK_EQ(tc_fiber_join(fibers[i][0], TC_NEVER), 0);
        TC_CHECK_EQ(tc_fiber_join(fibers[i][1], TC_NEVER), 0);
        TC_CHECK_EQ(pairs[i].count, 2 * pairs[i].hops);
    }
    expect_all_asleep(runtime);
    fake_stop(runtime);
}

TC_TEST(test_idle_a_million_hand_offs_between_two_workers)
{
    run_pairs(2, SLOW ? 100000 : 1000000);
}

TC_TEST(test_idle_a_million_hand_offs_between_four_workers)
{
    run_pairs(4, SLOW ? 100000 : 1000000);
}

/* Every fiber's wake-up comes from another worker: a ring over fibers that stay where they were
 * last woken would not do, so each round goes through a plain thread. */
struct relay {
    struct tc_readiness word;
    _Atomic uint64_t seen;
    _Atomic bool is_last; /* before the notification of the last round */
    uint64_t rounds;
};

static void answer(void *arg)
{
    struct relay *relay = arg;

    bool is_last = false;

    for (uint64_t i = 1; !is_last; i++) {
        wait_for_edge(&relay->word);
        is_last = tc_load_relaxed(&relay->is_last);
        tc_store_release(&relay->seen, i);
    }
}

static void *ask(void *arg)
{
    struct relay *relay = arg;

    bool is_last = false;

    for (uint64_t i = 1; !is_last; i++) {
        is_last = i == relay->rounds || !tc_test_has_time(5);
        tc_store_relaxed(&relay->is_last, is_last);
        fake_notify(&relay->word);
        while (tc_load_acquire(&relay->seen) != i) {
            tc_sys_sched_yield();
        }
    }
    return NULL;
}

/* A lost wake-up is a hang here: all workers sleep, and two threads submit at the same time. */
static void run_relays(uint32_t workers)
{
    struct tc_runtime *runtime = fake_start(workers, 0);
    struct relay relays[2];
    struct tc_fiber *fibers[2];
    pthread_t threads[2];

    for (int i = 0; i < 2; i++) {
        relays[i] = (struct relay){.rounds = SLOW ? 5000 : 30000};
        tc_readiness_init(&relays[i].word, false);
        fibers[i] = fake_spawn(runtime, answer, &relays[i]);
        TC_CHECK_EQ(pthread_create(&threads[i], NULL, ask, &relays[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        TC_CHECK_EQ(tc_fiber_join(fibers[i], TC_NEVER), 0);
    }
    expect_all_asleep(runtime);
    fake_stop(runtime);
}

TC_TEST(test_idle_wake_from_threads_is_never_lost_with_one_worker)
{
    run_relays(1);
}

TC_TEST(test_idle_wake_from_threads_is_never_lost_with_two_workers)
{
    run_relays(2);
}

TC_TEST(test_idle_wake_from_threads_is_never_lost_with_four_workers)
{
    run_relays(4);
}

/* ---- spawn tree ---------------------------------------------------------------------------- */

struct tree {
    struct tc_runtime *runtime;
    int depth;
    _Atomic uint64_t *leaves;
};

static void grow_tree(void *arg)
{
    struct tree *tree = arg;
    struct tree child = {tree->runtime, tree->depth - 1, tree->leaves};
    struct tc_fiber *left, *right;

    if (tree->depth == 0) {
        tc_fetch_add_relaxed(tree->leaves, 1);
        return;
    }
    left = fake_spawn(tree->runtime, grow_tree, &child);
    right = fake_spawn(tree->runtime, grow_tree, &child);
    TC_CHECK_EQ(tc_fiber_join(left, TC_NEVER), 0);
    TC_CHECK_EQ(tc_fiber_join(right, TC_NEVER), 0);
}

TC_TEST(test_idle_spawn_tree_over_four_workers_runs_every_leaf)
{
    struct tc_runtime *runtime = fake_start(4, 0);
    _Atomic uint64_t leaves = 0;
    int depth = TC_TSAN ? 8 : 12; /* TSan has room for 8128 fibers */

    for (int i = 0; i < 5; i++) {
        struct tree tree = {runtime, depth, &leaves};
        TC_CHECK_EQ(tc_runtime_run(runtime, grow_tree, &tree), 0);
    }
    TC_CHECK_EQ(tc_load_relaxed(&leaves), (uint64_t)5 << depth);
    expect_all_asleep(runtime);
    fake_stop(runtime);
}

/* ---- the sentinel -------------------------------------------------------------------------- */

struct stall {
    struct tc_runtime *runtime;
    struct tc_readiness word;
    _Atomic int64_t readied_ns;
    _Atomic int64_t ran_ns;
    _Atomic bool spinning;
};

/* How long a worker stalls at most. It ends earlier once the other fiber has run: what would not be
 * rescued runs after all this time, and never before SPIN_NS / 2, however busy the machine is. */
#define SPIN_NS (2 * TC_NS_PER_SEC)

static void note_time(void *arg)
{
    struct stall *stall = arg;

    wait_for_edge(&stall->word);
    tc_store_relaxed(&stall->ran_ns, tc_clock_now_ns());
}

static void spin(struct stall *stall)
{
    int64_t end = tc_deadline_after_ns(SPIN_NS);

    tc_store_relaxed(&stall->spinning, true);
    while (tc_load_relaxed(&stall->ran_ns) == 0 && tc_clock_now_ns() < end) {
        tc_cpu_relax();
    }
    tc_store_relaxed(&stall->spinning, false);
}

static void ready_and_spin(void *arg)
{
    struct stall *stall = arg;
    struct tc_fiber *other = fake_spawn(stall->runtime, note_time, stall);

    while (tc_load_relaxed(&other->state) != TC_FIBER_PARKED) {
        tc_fiber_yield();
    }
    tc_store_relaxed(&stall->readied_ns, tc_clock_now_ns());
    fake_notify(&stall->word); /* into the empty slot: wakes nobody */
    spin(stall);
    TC_CHECK_EQ(tc_fiber_join(other, TC_NEVER), 0);
}

/* One stall; returns how long the readied fiber waited, less what the machine was late: a busy one
 * lets a worker sleep for a scheduler's tick longer than it asked for, each time. */
static int64_t stall_once(void *runtime)
{
    struct stall stall = {.runtime = runtime};

    tc_readiness_init(&stall.word, false);
    expect_all_asleep(runtime);
    int64_t late = tc_load_relaxed(&fake_late_ns);
    TC_CHECK_EQ(tc_runtime_run(runtime, ready_and_spin, &stall), 0);
    int64_t delay = tc_load_relaxed(&stall.ran_ns) - tc_load_relaxed(&stall.readied_ns);
    TC_CHECK(delay < SPIN_NS / 2);
    return delay - (tc_load_relaxed(&fake_late_ns) - late);
}

/* I2: from complete rest, the worker that is woken by a plain thread has a sentinel as well. */
static void run_stall(uint32_t workers)
{
    struct tc_runtime *runtime = fake_start(workers, 0);

    for (int i = 0; i < 5; i++) {
        tc_test_timely(stall_once, runtime, (TC_TSAN || TC_ASAN ? 50 : 5) * TC_NS_PER_MS);
    }
    fake_stop(runtime);
}

TC_TEST(test_idle_sentinel_takes_the_next_slot_of_a_stalled_worker)
{
    run_stall(2);
}

TC_TEST(test_idle_sentinel_exists_with_four_workers_too)
{
    run_stall(4);
}

static void just_spin(void *arg)
{
    spin(arg);
}

static void note_run(void *arg)
{
    struct stall *stall = arg;

    tc_store_relaxed(&stall->ran_ns, tc_clock_now_ns());
}

TC_TEST(test_idle_spawn_from_outside_runs_beside_a_stalled_worker)
{
    struct tc_runtime *runtime = fake_start(2, 0);
    struct stall stall = {.runtime = runtime};

    expect_all_asleep(runtime);
    struct tc_fiber *stalled = fake_spawn(runtime, just_spin, &stall);
    while (!tc_load_relaxed(&stall.spinning)) {
        tc_sys_sched_yield();
    }
    int64_t start = tc_clock_now_ns();
    TC_CHECK_EQ(tc_runtime_run(runtime, note_run, &stall), 0);
    TC_CHECK(tc_load_relaxed(&stall.ran_ns) - start < SPIN_NS / 2);
    TC_CHECK_EQ(tc_fiber_join(stalled, TC_NEVER), 0);
    fake_stop(runtime);
}

/* The sentinel's own place is never quiet, and it must still look at the others. */
struct noise {
    struct tc_readiness word;
    _Atomic bool over;
};

static void listen_to_noise(void *arg)
{
    struct noise *noise = arg;

    while (!tc_load_relaxed(&noise->over)) {
        wait_for_edge(&noise->word);
    }
}

struct noise_maker {
    struct tc_runtime *runtime;
    struct noise *noise;
};

static void *make_noise(void *arg)
{
    struct noise_maker *maker = arg;

    while (!tc_load_relaxed(&maker->noise->over)) {
        /* A hundred microseconds apart, at every worker's place in turn: well under a look's
         * period, so that no sleep of the sentinel ever times out. */
        for (uint32_t i = 0; i < tc_runtime_workers(maker->runtime); i++) {
            struct fake_io *io = fake_io_of(tc_runtime_worker(maker->runtime, i));
            if (tc_load_relaxed(&io->event_count) == 0) {
                fake_post_event(tc_runtime_worker(maker->runtime, i), &maker->noise->word);
            }
        }
        struct timespec pause = {.tv_nsec = 100000};
        nanosleep(&pause, NULL);
    }
    fake_notify(&maker->noise->word);
    return NULL;
}

TC_TEST(test_idle_sentinel_that_is_busy_with_events_still_looks_around)
{
    struct tc_runtime *runtime = fake_start(2, 0);
    struct noise noise;
    struct noise_maker maker = {runtime, &noise};
    struct stall stall = {.runtime = runtime};
    pthread_t thread;

    tc_readiness_init(&noise.word, false);
    tc_atomic_init(&noise.over, false);
    tc_readiness_init(&stall.word, false);
    struct tc_fiber *listener = fake_spawn(runtime, listen_to_noise, &noise);
    TC_CHECK_EQ(pthread_create(&thread, NULL, make_noise, &maker), 0);
    TC_CHECK_EQ(tc_runtime_run(runtime, ready_and_spin, &stall), 0);
    TC_CHECK(tc_load_relaxed(&stall.ran_ns) - tc_load_relaxed(&stall.readied_ns) < SPIN_NS / 2);
    tc_store_relaxed(&noise.over, true);
    pthread_join(thread, NULL);
    TC_CHECK_EQ(tc_fiber_join(listener, TC_NEVER), 0);
    fake_stop(runtime);
}

/* ---- messages ------------------------------------------------------------------------------ */

struct letter {
    struct tc_message message;
    _Atomic uint64_t received;
};

static void receive(struct tc_worker *worker, struct tc_message *message)
{
    (void)worker;
    tc_fetch_add_release(&tc_container_of(message, struct letter, message)->received, 1);
}

TC_TEST(test_idle_message_to_a_sleeping_worker_wakes_it)
{
    struct tc_runtime *runtime = fake_start(3, 0);
    struct letter letters[3];

    for (int i = 0; i < 3; i++) {
        letters[i].message.fn = receive;
        tc_atomic_init(&letters[i].received, 0);
    }
    for (uint64_t round = 1; round <= (SLOW ? 3000 : 20000) && tc_test_has_time(5); round++) {
        for (uint32_t i = 0; i < 3; i++) {
            tc_worker_post(tc_runtime_worker(runtime, i), &letters[i].message);
        }
        for (int i = 0; i < 3; i++) {
            while (tc_load_acquire(&letters[i].received) != round) {
                tc_sys_sched_yield();
            }
        }
    }
    fake_stop(runtime);
}
