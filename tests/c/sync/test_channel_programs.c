/* Small programs over channels and select: pipelines, storms, exchanges between fibers and
 * threads. */
#include "support.h"

#include "sync/channel.h"
#include "sync/select.h"
#include "sync/waitgroup.h"

static const struct tc_spawn_options detached = {.name = "program", .detached = true};

static void spawn(void (*entry)(void *), void *arg)
{
    TC_CHECK_EQ(tc_fiber_spawn(rt, entry, arg, &detached, NULL), 0);
}

static struct tc_channel *new_channel(uint32_t capacity)
{
    struct tc_channel *channel;

    TC_CHECK_EQ(tc_channel_new(capacity, NULL, &channel), 0);
    return channel;
}

/* ---- pipelines ----------------------------------------------------------------------------- */

struct stage {
    struct tc_channel *in;
    struct tc_channel *out;
    int64_t number;
};

static void count_up(void *arg)
{
    struct stage stage = *(struct stage *)arg;

    for (int64_t i = 2; tc_channel_send(stage.out, tc_value_int(i), TC_NEVER) == 0; i++) {
    }
    tc_channel_release(stage.out);
    tc_mem_free(arg, sizeof stage);
}

/* Pass on what `number` does not divide; when nobody wants more, say so upstream. */
static void filter(void *arg)
{
    struct stage stage = *(struct stage *)arg;
    struct tc_value value;

    while (tc_channel_recv(stage.in, &value, TC_NEVER) == 0) {
        if (value.as_int % stage.number != 0 && tc_channel_send(stage.out, value, TC_NEVER) != 0) {
            break;
        }
    }
    tc_channel_close(stage.in);
    tc_channel_release(stage.in);
    tc_channel_release(stage.out);
    tc_mem_free(arg, sizeof stage);
}

static struct stage *new_stage(struct tc_channel *in, struct tc_channel *out, int64_t number)
{
    struct stage *stage = tc_mem_alloc(sizeof *stage);

    *stage = (struct stage){in, out, number};
    return stage;
}

/* Each prime adds a stage to the pipeline; the end is a close that runs upstream through all. */
static void find_primes(uint32_t capacity)
{
    enum { PRIMES = 100 };
    struct tc_channel *last = new_channel(capacity);
    struct tc_value value;
    int64_t prime = 0;

    spawn(count_up, new_stage(NULL, tc_channel_acquire(last), 0));
    for (int i = 0; i < PRIMES; i++) {
        TC_CHECK_EQ(tc_channel_recv(last, &value, TC_NEVER), 0);
        prime = value.as_int;
        struct tc_channel *next = new_channel(capacity);
        spawn(filter, new_stage(last, tc_channel_acquire(next), prime));
        last = next;
    }
    TC_CHECK_EQ(prime, 541);
    tc_channel_close(last);
    tc_channel_release(last);
}

TC_TEST(test_channel_sieve_of_filters_finds_primes)
{
    size_t before = tc_mem_bytes_in_use();

    rt = fake_start(2, 0);
    find_primes(0);
    find_primes(3);
    fake_stop(rt);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), before);
}

static void add_one(void *arg)
{
    struct stage stage = *(struct stage *)arg;
    struct tc_value value;

    while (tc_channel_recv(stage.in, &value, TC_NEVER) == 0) {
        value.as_int++;
        TC_CHECK_EQ(tc_channel_send(stage.out, value, TC_NEVER), 0);
    }
    tc_channel_close(stage.out);
    tc_channel_release(stage.in);
    tc_channel_release(stage.out);
    tc_mem_free(arg, sizeof stage);
}

TC_TEST(test_channel_chain_of_a_thousand_fibers_passes_values_and_close)
{
    rt = fake_start(2, 0);
    struct tc_channel *first = new_channel(0);
    struct tc_channel *last = tc_channel_acquire(first);
    struct tc_value value;

    for (int i = 0; i < 1000; i++) {
        struct tc_channel *next = new_channel((uint32_t)i % 3);
        spawn(add_one, new_stage(last, tc_channel_acquire(next), 0));
        last = next;
    }
    for (int64_t i = 0; i < 10; i++) {
        TC_CHECK_EQ(tc_channel_send(first, tc_value_int(i), TC_NEVER), 0);
        TC_CHECK_EQ(tc_channel_recv(last, &value, TC_NEVER), 0);
        TC_CHECK_EQ(value.as_int, i + 1000);
    }
    tc_channel_close(first);
    TC_CHECK_EQ(tc_channel_recv(last, &value, TC_NEVER), -EPIPE);
    tc_channel_release(first);
    tc_channel_release(last);
    fake_stop(rt);
}

/* ---- exchange ------------------------------------------------------------------------------ */

enum { SENDERS = 4, RECEIVERS = 4 };

/* Values carry their sender in the upper bits. A receiver sees each sender's numbers rise. */
struct exchange {
    struct tc_channel channels[2];
    uint32_t channel_count;
    uint64_t each;
    bool select;
    _Atomic uint64_t received;
    _Atomic uint64_t sum;
};

struct party {
    struct exchange *exchange;
    int64_t id;
};

static int send_somewhere(struct exchange *exchange, int64_t number)
{
    struct tc_select_case cases[2];

    if (!exchange->select) {
        return tc_channel_send(&exchange->channels[0], tc_value_int(number), TC_NEVER);
    }
    for (int i = 0; i < 2; i++) {
        cases[i] = (struct tc_select_case){.channel = &exchange->channels[i],
                                           .kind = TC_SELECT_SEND,
                                           .value = tc_value_int(number)};
    }
    int index = tc_select(cases, 2, TC_NEVER);
    TC_CHECK(index == 0 || index == 1);
    return cases[index].result;
}

static int recv_somewhere(struct exchange *exchange, struct tc_value *value, int *channel)
{
    struct tc_select_case cases[2];

    *channel = 0;
    if (!exchange->select) {
        return tc_channel_recv(&exchange->channels[0], value, TC_NEVER);
    }
    for (int i = 0; i < 2; i++) {
        cases[i] =
            (struct tc_select_case){.channel = &exchange->channels[i], .kind = TC_SELECT_RECV};
    }
    int index = tc_select(cases, 2, TC_NEVER);
    TC_CHECK(index == 0 || index == 1);
    *channel = index;
    *value = cases[index].value;
    if (cases[index].result == -EPIPE) {
        /* This one is closed and empty; the other may hold values still. */
        *channel = 1 - index;
        return tc_channel_recv(&exchange->channels[*channel], value, TC_NEVER);
    }
    return 0;
}

static void send_all(void *arg)
{
    struct party *party = arg;

    for (uint64_t i = 0; i < party->exchange->each; i++) {
        int64_t number = (party->id << 32) | (int64_t)i;
        TC_CHECK_EQ(send_somewhere(party->exchange, number), 0);
    }
}

static void recv_all(void *arg)
{
    struct party *party = arg;
    int64_t last[2][SENDERS];
    struct tc_value value;
    uint64_t received = 0;
    uint64_t sum = 0;
    int channel;

    memset(last, -1, sizeof last);
    while (recv_somewhere(party->exchange, &value, &channel) == 0) {
        int64_t from = value.as_int >> 32;
        int64_t number = value.as_int & UINT32_MAX;
        TC_CHECK(number > last[channel][from]); /* C5 */
        last[channel][from] = number;
        received++;
        sum += (uint64_t)value.as_int;
    }
    tc_fetch_add_relaxed(&party->exchange->received, received);
    tc_fetch_add_relaxed(&party->exchange->sum, sum);
}

static void *send_on_thread(void *arg)
{
    send_all(arg);
    return NULL;
}

static void *recv_on_thread(void *arg)
{
    recv_all(arg);
    return NULL;
}

/* Two fibers and two threads send, two fibers and two threads receive. Sum and count tell that
 * nothing was lost, doubled or altered; the receivers themselves that nothing was overtaken. */
static void run_exchange(uint32_t capacity, uint64_t each, bool select)
{
    static struct exchange exchange;
    struct party senders[SENDERS];
    struct party receivers[RECEIVERS];
    struct tc_fiber *fibers[4];
    pthread_t threads[4];
    uint64_t sum = 0;

    memset(&exchange, 0, sizeof exchange);
    exchange.each = each;
    exchange.select = select;
    for (int i = 0; i < 2; i++) {
        TC_CHECK_EQ(tc_channel_init(&exchange.channels[i], capacity, NULL), 0);
    }
    for (int i = 0; i < 4; i++) {
        senders[i] = (struct party){&exchange, i};
        receivers[i] = (struct party){&exchange, i};
        uint64_t first = (uint64_t)i << 32;
        sum += first * each + each * (each - 1) / 2;
    }
    for (int i = 0; i < 2; i++) {
        fibers[i] = fake_spawn(rt, send_all, &senders[i]);
        fibers[2 + i] = fake_spawn(rt, recv_all, &receivers[i]);
        threads[i] = thread_start(send_on_thread, &senders[2 + i]);
        threads[2 + i] = thread_start(recv_on_thread, &receivers[2 + i]);
    }
    for (int i = 0; i < 2; i++) {
        TC_CHECK_EQ(tc_fiber_join(fibers[i], TC_NEVER), 0);
        pthread_join(threads[i], NULL);
    }
    tc_channel_close(&exchange.channels[0]);
    tc_channel_close(&exchange.channels[1]);
    for (int i = 2; i < 4; i++) {
        TC_CHECK_EQ(tc_fiber_join(fibers[i], TC_NEVER), 0);
        pthread_join(threads[i], NULL);
    }
    TC_CHECK_EQ(tc_load_relaxed(&exchange.received), SENDERS * each);
    TC_CHECK_EQ(tc_load_relaxed(&exchange.sum), sum);
    for (int i = 0; i < 2; i++) {
        tc_channel_fini(&exchange.channels[i]);
    }
}

TC_TEST(test_channel_exchange_of_fibers_and_threads_loses_nothing)
{
    rt = fake_start(2, 0);
    run_exchange(64, SANITIZED ? 25000 : 250000, false); /* a million in all */
    run_exchange(1, SCALE(10000), false);
    run_exchange(0, SCALE(10000), false);
    fake_stop(rt);
}

TC_TEST(test_select_exchange_of_fibers_and_threads_loses_nothing)
{
    rt = fake_start(2, 0);
    run_exchange(16, SCALE(20000), true);
    run_exchange(0, SCALE(10000), true);
    fake_stop(rt);
}

/* ---- storms -------------------------------------------------------------------------------- */

struct storm {
    struct tc_channel *channel;
    struct tc_waitgroup left;
    _Atomic uint64_t sent;
    _Atomic uint64_t received;
};

static void send_until_closed(void *arg)
{
    struct storm *storm = arg;
    struct tc_select_case nothing = {.kind = TC_SELECT_SKIP};
    uint64_t sent = 0;
    int rc;

    for (uint64_t i = 0;
         (rc = tc_channel_send(storm->channel, tc_value_int(1),
                               i % 3 == 0 ? tc_deadline_after_ns(2000) : TC_NEVER)) != -EPIPE;
         i++) {
        sent += rc == 0;
        if (i % 5 == 0) {
            TC_CHECK_EQ(tc_select_try(&nothing, 1), -EAGAIN);
        }
    }
    tc_fetch_add_relaxed(&storm->sent, sent);
    tc_waitgroup_done(&storm->left);
}

static void recv_until_closed(void *arg)
{
    struct storm *storm = arg;
    struct tc_value value;
    uint64_t received = 0;
    int rc;

    for (uint64_t i = 0;
         (rc = tc_channel_recv(storm->channel, &value,
                               i % 3 == 1 ? tc_deadline_after_ns(2000) : TC_NEVER)) != -EPIPE;
         i++) {
        received += rc == 0;
    }
    tc_fetch_add_relaxed(&storm->received, received);
    tc_waitgroup_done(&storm->left);
}

static void *recv_until_closed_on_thread(void *arg)
{
    recv_until_closed(arg);
    return NULL;
}

/* C3, C6: whatever a send said was sent was received, by the close at the latest. */
TC_TEST(test_channel_storm_of_closes_and_deadlines_loses_nothing)
{
    rt = fake_start(2, 0);
    for (uint32_t round = 0; round < SCALE(300) && tc_test_has_time(5); round++) {
        struct storm storm = {.channel = new_channel(round % 3)};
        tc_waitgroup_init(&storm.left);
        tc_waitgroup_add(&storm.left, 7);
        for (int i = 0; i < 3; i++) {
            spawn(send_until_closed, &storm);
            spawn(recv_until_closed, &storm);
        }
        pthread_t thread = thread_start(recv_until_closed_on_thread, &storm);
        for (uint32_t i = 0; i < round % 50; i++) {
            tc_sys_sched_yield();
        }
        tc_channel_close(storm.channel);
        TC_CHECK_EQ(tc_waitgroup_wait(&storm.left, TC_NEVER), 0);
        pthread_join(thread, NULL);
        TC_CHECK_EQ(tc_load_relaxed(&storm.sent), tc_load_relaxed(&storm.received));
        tc_channel_release(storm.channel);
    }
    fake_stop(rt);
}

struct relay {
    struct tc_channel in;
    struct tc_channel out;
    uint64_t fed; /* the feeder's */
    _Atomic uint64_t lost; /* values that a cancelled relay could not pass on */
};

static void relay_until_cancelled(void *arg)
{
    struct relay *relay = arg;
    struct tc_value value;

    while (tc_channel_recv(&relay->in, &value, TC_NEVER) == 0) {
        if (tc_channel_send(&relay->out, value, TC_NEVER) != 0) {
            tc_fetch_add_relaxed(&relay->lost, 1); /* still ours, so we can say so */
            break;
        }
    }
}

static void *feed(void *arg)
{
    struct relay *relay = arg;

    while (relay->fed < SCALE(20000) && tc_test_has_time(5)) {
        TC_CHECK_EQ(tc_channel_send(&relay->in, tc_value_int(1), TC_NEVER), 0);
        relay->fed++;
    }
    tc_channel_close(&relay->in);
    return NULL;
}

static void *drain(void *arg)
{
    struct relay *relay = arg;
    struct tc_value value;
    static uint64_t count;

    while (tc_channel_recv(&relay->out, &value, TC_NEVER) == 0) {
        count++;
    }
    return &count;
}

/* C6: a cancel at any moment leaves the value with exactly one side. */
TC_TEST(test_channel_relays_cancelled_at_random_lose_nothing)
{
    static struct relay relay;
    struct tc_rand rand;
    void *drained;

    tc_rand_init(&rand, tc_test_seed());
    rt = fake_start(2, 0);
    TC_CHECK_EQ(tc_channel_init(&relay.in, 0, NULL), 0);
    TC_CHECK_EQ(tc_channel_init(&relay.out, 1, NULL), 0);
    pthread_t feeder = thread_start(feed, &relay);
    pthread_t drainer = thread_start(drain, &relay);
    while (!tc_channel_is_closed(&relay.in)) {
        struct tc_fiber *fibers[3];
        for (int i = 0; i < 3; i++) {
            fibers[i] = fake_spawn(rt, relay_until_cancelled, &relay);
        }
        for (uint32_t i = tc_rand_below(&rand, 40); i > 0; i--) {
            tc_sys_sched_yield();
        }
        for (int i = 0; i < 3; i++) {
            tc_fiber_cancel(fibers[i]);
        }
        for (int i = 0; i < 3; i++) {
            TC_CHECK_EQ(tc_fiber_join(fibers[i], TC_NEVER), 0);
        }
    }
    pthread_join(feeder, NULL);
    tc_channel_close(&relay.out);
    pthread_join(drainer, &drained);
    TC_CHECK_EQ(*(uint64_t *)drained + tc_load_relaxed(&relay.lost), relay.fed);
    tc_channel_fini(&relay.in);
    tc_channel_fini(&relay.out);
    fake_stop(rt);
}

/* ---- races of the non-blocking forms ------------------------------------------------------- */

struct race {
    struct tc_channel *a;
    struct tc_channel *b;
    _Atomic int ready;
};

static void *close_first_then_second(void *arg)
{
    struct race *race = arg;

    tc_store_release(&race->ready, 1);
    tc_channel_close(race->a);
    tc_channel_close(race->b);
    return NULL;
}

/* Whoever has seen the second channel closed finds the first one closed too. */
TC_TEST(test_channel_try_forms_agree_with_the_order_of_closes)
{
    for (int i = 0; i < SCALE(3000) && tc_test_has_time(5); i++) {
        struct race race = {.a = new_channel(1), .b = new_channel(1)};
        struct tc_value value;
        pthread_t thread = thread_start(close_first_then_second, &race);
        while (tc_load_acquire(&race.ready) == 0) {
            tc_sys_sched_yield();
        }
        while (tc_channel_try_recv(race.b, &value) == -EAGAIN) {
        }
        TC_CHECK_EQ(tc_channel_try_recv(race.a, &value), -EPIPE);
        TC_CHECK_EQ(tc_channel_try_send(race.a, value), -EPIPE);
        pthread_join(thread, NULL);
        tc_channel_release(race.a);
        tc_channel_release(race.b);
    }
}

static void *fill_second_then_empty_first(void *arg)
{
    struct race *race = arg;
    struct tc_value value;

    tc_store_release(&race->ready, 1);
    TC_CHECK_EQ(tc_channel_try_send(race->b, tc_value_int(2)), 0);
    TC_IGNORE(tc_channel_try_recv(race->a, &value)); /* the select may have been faster */
    return NULL;
}

/* There is always a value in one of two channels: a select with a default over both must find
 * it. */
TC_TEST(test_select_default_is_taken_only_if_no_case_could_proceed)
{
    for (int i = 0; i < SCALE(2000) && tc_test_has_time(5); i++) {
        struct race race = {.a = new_channel(1), .b = new_channel(1)};
        struct tc_select_case cases[2] = {
            {.channel = race.a, .kind = TC_SELECT_RECV},
            {.channel = race.b, .kind = TC_SELECT_RECV},
        };
        TC_CHECK_EQ(tc_channel_try_send(race.a, tc_value_int(1)), 0);
        pthread_t thread = thread_start(fill_second_then_empty_first, &race);
        while (tc_load_acquire(&race.ready) == 0) {
            tc_sys_sched_yield();
        }
        TC_CHECK(tc_select_try(cases, 2) >= 0);
        pthread_join(thread, NULL);
        tc_channel_release(race.a);
        tc_channel_release(race.b);
    }
}
