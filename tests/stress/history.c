/* tests/stress/history.c — fibers and threads use channels in every way; what they saw is checked.
 *
 *   history [HISTORIES [SEED]]     record and check; default: 10000 histories, 1000 under a
 *                                  sanitizer, and no more than a busy machine manages in 20 s
 *   history --check [FILE]         check the histories of a text (tests/c/linear.h) instead
 *
 * Four fibers on two workers and two plain threads send, receive, try, select and close at random
 * on three channels of capacity 0 to 3, at most 200 operations together. Each operation is recorded
 * with the readings of a common counter before and after it. A history that is not linearizable is
 * printed as text; the exit status is then 1, 2 if a text cannot be read.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/chaos.h"
#include "base/clock.h"
#include "base/rand.h"
#include "linear.h"
#include "tinycoro.h"

enum {
    FIBERS = 4,
    THREADS = 2,
    ACTORS = FIBERS + THREADS,
    CHANNELS = 3,
    OPS_EACH = 200 / ACTORS,
    CASES_MAX = 3,
};

struct actor {
    struct tc_rand rand;
    unsigned first_item; /* its items are this and the following                                */
    unsigned quota;
    unsigned count;
    struct linear_op ops[OPS_EACH];
};

static struct tc_runtime *runtime;
static struct tc_channel channels[CHANNELS];
static struct actor actors[ACTORS];
static _Atomic int64_t counter;
static _Atomic bool is_over;
static pthread_barrier_t barrier; /* main and the threads: a history begins; it has ended         */
static uint64_t seed;
static struct linear_history history;

#define STRESS_CHECK(cond) ((cond) ? (void)0 : stress_fail(#cond, __LINE__))

_Noreturn static void stress_fail(const char *what, int line)
{
    fprintf(stderr, "history: line %d: %s is false, seed %" PRIu64 "\n", line, what, seed);
    abort();
}

/* ---- one operation ------------------------------------------------------------------------ */

static int64_t soon(struct actor *actor)
{
    return tc_deadline_after_ns((int64_t)(20 + tc_rand_below(&actor->rand, 300)) * TC_NS_PER_US);
}

static void begin(struct linear_op *op)
{
    op->called = tc_fetch_add_seq_cst(&counter, 1);
}

/* Record the outcome, unless the operation ended by its deadline and did nothing. */
static void end(struct actor *actor, struct linear_op *op, int rc)
{
    op->returned = tc_fetch_add_seq_cst(&counter, 1);
    if (rc == -ETIMEDOUT) {
        return;
    }
    STRESS_CHECK(rc == 0 || rc == -EPIPE || rc == -EAGAIN);
    op->result = rc == 0 ? LINEAR_OK : rc == -EPIPE ? LINEAR_CLOSED : LINEAR_NOTHING;
    actor->ops[actor->count++] = *op;
}

static void send_one(struct actor *actor, unsigned channel, unsigned item, bool waits)
{
    struct linear_op op = {.kind = LINEAR_SEND, .channel = channel, .item = item};
    struct tc_value value = tc_value_int(item);

    begin(&op);
    int rc = waits ? tc_channel_send(&channels[channel], value, soon(actor))
                   : tc_channel_try_send(&channels[channel], value);
    end(actor, &op, rc);
}

static void receive_one(struct actor *actor, unsigned channel, bool waits)
{
    struct linear_op op = {.kind = LINEAR_RECV, .channel = channel};
    struct tc_value value;

    begin(&op);
    int rc = waits ? tc_channel_recv(&channels[channel], &value, soon(actor))
                   : tc_channel_try_recv(&channels[channel], &value);
    op.item = rc == 0 ? (unsigned)value.as_int : 0;
    end(actor, &op, rc);
}

static void close_one(struct actor *actor, unsigned channel)
{
    struct linear_op op = {.kind = LINEAR_CLOSE, .channel = channel};

    begin(&op);
    end(actor, &op, tc_channel_close(&channels[channel]) ? 0 : -EPIPE);
}

static void select_one(struct actor *actor, unsigned item, bool waits)
{
    struct tc_select_case cases[CASES_MAX];
    struct linear_op op = {.kind = LINEAR_NONE};
    unsigned count = 2 + tc_rand_below(&actor->rand, CASES_MAX - 1);

    for (unsigned i = 0; i < count; i++) {
        unsigned channel = tc_rand_below(&actor->rand, CHANNELS);
        bool sends = tc_rand_below(&actor->rand, 2) == 0;
        *(sends ? &op.sends : &op.recvs) |= 1u << channel;
        cases[i] = (struct tc_select_case){
            .channel = &channels[channel],
            .value = tc_value_int(item), /* at most one case sends it */
            .kind = sends ? TC_SELECT_SEND : TC_SELECT_RECV,
        };
    }
    begin(&op);
    int rc = waits ? tc_select(cases, count, soon(actor)) : tc_select_try(cases, count);
    if (rc >= 0) {
        struct tc_select_case *taken = &cases[rc];
        op.kind = taken->kind == TC_SELECT_SEND ? LINEAR_SEND : LINEAR_RECV;
        op.channel = (unsigned)(taken->channel - channels);
        op.sends = op.recvs = 0;
        rc = taken->result;
        op.item = op.kind == LINEAR_SEND ? item : rc == 0 ? (unsigned)taken->value.as_int : 0;
    }
    end(actor, &op, rc);
}

static void act(struct actor *actor)
{
    for (unsigned i = 0; i < actor->quota; i++) {
        unsigned channel = tc_rand_below(&actor->rand, CHANNELS);
        unsigned item = actor->first_item + i;
        bool waits = tc_rand_below(&actor->rand, 2) == 0;
        unsigned what = tc_rand_below(&actor->rand, 64);
        if (what < 24) {
            send_one(actor, channel, item, waits);
        } else if (what < 48) {
            receive_one(actor, channel, waits);
        } else if (what < 60 || i < actor->quota * 2 / 3) { /* closed late: an end, not a mood */
            select_one(actor, item, waits);
        } else {
            close_one(actor, channel);
        }
    }
}

/* ---- a history ---------------------------------------------------------------------------- */

static void fiber_main(void *arg)
{
    act(arg);
}

static void *thread_main(void *arg)
{
    for (;;) {
        pthread_barrier_wait(&barrier);
        if (tc_load_seq_cst(&is_over)) {
            return NULL;
        }
        act(arg);
        pthread_barrier_wait(&barrier);
    }
}

static void record(struct tc_rand *rand)
{
    struct tc_fiber *fibers[FIBERS];
    struct tc_spawn_options options = {.name = "actor"};

    tc_store_seq_cst(&counter, 0);
    history.channels = CHANNELS;
    history.count = 0;
    for (unsigned i = 0; i < CHANNELS; i++) {
        history.capacity[i] = tc_rand_below(rand, 4);
        STRESS_CHECK(tc_channel_init(&channels[i], history.capacity[i], NULL) == 0);
    }
    for (unsigned i = 0; i < ACTORS; i++) {
        tc_rand_init(&actors[i].rand, tc_rand_next(rand));
        actors[i].first_item = 1 + i * OPS_EACH;
        actors[i].quota = OPS_EACH / 4 + tc_rand_below(rand, OPS_EACH - OPS_EACH / 4 + 1);
        actors[i].count = 0;
    }
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < FIBERS; i++) {
        STRESS_CHECK(tc_fiber_spawn(runtime, fiber_main, &actors[i], &options, &fibers[i]) == 0);
    }
    for (int i = 0; i < FIBERS; i++) {
        STRESS_CHECK(tc_fiber_join(fibers[i], TC_NEVER) == 0);
    }
    pthread_barrier_wait(&barrier);
    for (unsigned i = 0; i < ACTORS; i++) {
        memcpy(history.ops + history.count, actors[i].ops,
               actors[i].count * sizeof actors[i].ops[0]);
        history.count += actors[i].count;
    }
    for (unsigned i = 0; i < CHANNELS; i++) {
        tc_channel_fini(&channels[i]);
    }
}

/* True if it is linearizable; else it is printed. */
static bool check_one(void)
{
    unsigned stuck;
    enum linear_verdict verdict = linear_check(&history, &stuck);

    if (verdict != LINEAR_YES) {
        printf("# %s\n", verdict == LINEAR_NO ? "not linearizable" : "too hard to decide");
        linear_print(&history, stdout, verdict == LINEAR_NO ? (int)stuck : -1);
    }
    return verdict == LINEAR_YES;
}

static int record_and_check(uint64_t histories, int64_t until_ns)
{
    uint64_t done = 0;
    pthread_t threads[THREADS];
    struct tc_runtime_options options = {.workers = 2, .driver = &tc_io_driver, .seed = seed};
    struct tc_rand rand;
    uint64_t ops = 0;
    bool ok = true;

    printf("history: seed %" PRIu64 "\n", seed);
    tc_rand_init(&rand, seed);
    STRESS_CHECK(tc_runtime_new(&options, &runtime) == 0 && tc_runtime_start(runtime) == 0);
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) {
        STRESS_CHECK(pthread_create(&threads[i], NULL, thread_main, &actors[FIBERS + i]) == 0);
    }
    for (; done < histories && ok && tc_clock_now_ns() < until_ns; done++) {
        record(&rand);
        ops += history.count;
        ok = check_one();
    }
    tc_store_seq_cst(&is_over, true);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&barrier);
    STRESS_CHECK(tc_runtime_stop(runtime, tc_deadline_after_ns(10 * TC_NS_PER_SEC)) == 0);
    tc_runtime_free(runtime);
    printf("%s history: %" PRIu64 " histories, %" PRIu64 " operations\n", ok ? "ok  " : "FAIL",
           done, ops);
    return ok ? 0 : 1;
}

static int check_text(const char *name)
{
    FILE *file = name == NULL ? stdin : fopen(name, "re");
    int status = 0;
    int line = 0;
    int count = 0;
    int rc;

    if (file == NULL) {
        perror(name);
        return 2;
    }
    while ((rc = linear_read(&history, file, &line)) == 1) {
        count++;
        status |= !check_one();
    }
    if (name != NULL) {
        fclose(file);
    }
    if (rc != 0) {
        fprintf(stderr, "history: line %d cannot be read\n", line);
        return 2;
    }
    printf("%s history: %d histories\n", status == 0 ? "ok  " : "FAIL", count);
    return status;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--check") == 0) {
        return check_text(argc > 2 ? argv[2] : NULL);
    }
    seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)tc_clock_now_ns();
    if (argc > 1) {
        return record_and_check(strtoull(argv[1], NULL, 10), TC_NEVER);
    }
    return record_and_check(TC_TSAN || TC_ASAN ? 1000 : 10000,
                            tc_deadline_after_ns(20 * TC_NS_PER_SEC));
}
