/* Every call of an HTTP server with fixed answers, files and uploads, failed with each of its
 * errors: while it serves, and at each place of its life. Afterwards it answers rightly on every
 * route, stores what it is given, and holds nothing more than before; no file is ever there in
 * part. TC_SLOW=long tries all combinations; otherwise the first error of each row takes most
 * places. */
#include "fault_support.h"
#include "fault_table.h"

#include "http/server_internal.h"
#include "sched/runtime_internal.h"

enum { PLACES_SHORT = 4, PLACES_LONG = 12 }; /* how many calls of a kind are failed in turn */

/* ---- while serving ------------------------------------------------------------------------ */

enum {
    POOL_THREAD_BYTES = 256, /* at most, of memory for one of the blocking pool's */
    /* Files that were forgotten, of some KiB each, until workers at rest turn again. What is lost
     * in less shows in the sum over all faults, and in the lives below, which compare exactly. */
    RETIRED_BYTES = 64 * 1024,
};

struct fixture {
    struct tc_runtime *runtime;
    struct tc_http_server *server;
    struct tc_server *net;
    struct holdings baseline;
};

/* What a block of memory counts for; set before there are threads. */
static uint64_t page_cost;
static uint64_t histogram_cost;

static uint64_t cost_of(size_t size)
{
    uint64_t before = tc_mem_bytes_in_use() - tc_mem_bytes_reserved();
    void *block = tc_mem_zalloc(size);
    uint64_t after = tc_mem_bytes_in_use() - tc_mem_bytes_reserved();

    TC_CHECK(block != NULL);
    tc_mem_free(block, size);
    return after - before;
}

/* The histograms of latencies: a worker makes one when it first answers on a route. */
static uint64_t take_histograms(const struct tc_http_server *server)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < server->part_count; i++) {
        for (uint32_t k = 0; k < TC_HTTP_LATENCY_PAGES; k++) {
            struct tc_http_latency_page *page =
                tc_load_acquire(&server->parts[i].latencies.pages[k]);
            sum += page != NULL ? page_cost : 0;
            for (uint32_t at = 0; page != NULL && at < TC_HTTP_LATENCY_PAGE; at++) {
                sum += tc_load_acquire(&page->at[at]) != NULL ? histogram_cost : 0;
            }
        }
    }
    return sum;
}

/* What is held but for the blocking pool's threads, which come and go, and what is made once.
 * Memory may be less: what was remembered of a file was forgotten. */
static struct holdings take_lasting(const struct fixture *fixture)
{
    struct holdings held = take_holdings();

    held.bytes -= take_histograms(fixture->server);
    held.bytes -=
        (uint64_t)POOL_THREAD_BYTES * tc_load_relaxed(&fixture->runtime->blocking.threads);
    held.threads = 0;
    return held;
}

static void check_lasting(const struct fixture *fixture, const struct fault *fault)
{
    const struct holdings *expected = &fixture->baseline;
    int64_t limit = tc_deadline_after_ns(SECONDS(LONG_SECONDS));
    struct holdings now = take_lasting(fixture);

    while ((now.bytes > expected->bytes || now.descriptors > expected->descriptors) &&
           tc_clock_now_ns() < limit) {
        pause_ms(1);
        now = take_lasting(fixture);
    }
    if (now.bytes > expected->bytes || now.descriptors > expected->descriptors) {
        fail_holdings(&now, expected, fault);
    }
}

static void start_serving(struct fixture *fixture)
{
    /* An EAGAIN that is not true hides what has arrived: for that the timeouts are the remedy. */
    struct tc_http_options options = {
        .net = {.idle_timeout_ns = SECONDS(0.3), .send_timeout_ns = SECONDS(0.3)},
        .header_timeout_ns = SECONDS(0.3),
        .body_timeout_ns = SECONDS(0.3),
    };
    struct fault none = {.call = TC_SYS_RECV, .error = EIO, .nth = 0, .times = 0};

    page_cost = cost_of(sizeof(struct tc_http_latency_page));
    histogram_cost = cost_of(sizeof(struct tc_histogram));
    make_root();
    fixture->runtime = start_runtime(2);
    TC_CHECK_EQ(tc_http_server_new(&options, &fixture->server), 0);
    TC_CHECK_EQ(add_routes(fixture->server), 0);
    TC_CHECK_EQ(tc_http_server_start(fixture->server, fixture->runtime), 0);
    fixture->net = tc_http_server_net(fixture->server);
    for (int i = 0; i < 3; i++) { /* what is made once */
        make_traffic(fixture->net, 1000);
        check_probes(fixture->net, &none);
        await_rest(fixture->runtime, fixture->net, &none);
    }
    check_uploads("unnamed", &none);
    check_uploads("named", &none);
    fixture->baseline = take_lasting(fixture);
    fixture->baseline.bytes += RETIRED_BYTES;
}

static void stop_serving(struct fixture *fixture)
{
    tc_server_close(fixture->net);
    TC_CHECK_EQ(tc_server_wait(fixture->net, tc_deadline_after_ns(SECONDS(LONG_SECONDS))), 0);
    tc_http_server_free(fixture->server);
    stop_runtime(fixture->runtime);
    remove_root();
}

/* Returns how often the fault struck. */
static uint64_t fail_while_serving(struct fixture *fixture, const struct fault *fault)
{
    arm(fault);
    make_traffic(fixture->net, PATIENCE_MS);
    uint64_t hits = tc_fault_hits(fault->call);
    /* A thread of the pool that cannot sleep can only look again. */
    if (hits > 1 && fault->times == UINT64_MAX && fault->call != TC_SYS_FUTEX_WAIT) {
        check_rests(fault);
    }
    tc_fault_disarm_all();
    check_probes(fixture->net, fault);
    await_rest(fixture->runtime, fixture->net, fault);
    check_uploads("unnamed", fault);
    check_uploads("named", fault);
    check_lasting(fixture, fault);
    return hits;
}

/* The nth call of a row, and `times` in all; `is_thorough`: each error. Returns how often they
 * struck. */
static uint64_t fail_row(struct fixture *fixture, const struct fault_row *row, uint64_t nth,
                         uint64_t times, bool is_thorough)
{
    uint64_t hits = 0;

    for (int k = 0; row->errors[k] != 0 && (k == 0 || is_thorough); k++) {
        struct fault fault = {row->call, row->errors[k], nth, times};
        hits += fail_while_serving(fixture, &fault);
    }
    return hits;
}

static uint64_t fail_rows(struct fixture *fixture, uint64_t nth, uint64_t times, bool is_thorough)
{
    uint64_t hits = 0;

    for (size_t i = 0; i < TC_ARRAY_LEN(fault_table); i++) {
        hits += fail_row(fixture, &fault_table[i], nth, times, is_thorough);
    }
    for (size_t i = 0; i < TC_ARRAY_LEN(http_fault_table); i++) {
        hits += fail_row(fixture, &http_fault_table[i], nth, times, is_thorough);
    }
    return hits;
}

TC_TEST(test_http_faults_each_call_failing_once_leaves_a_server_that_answers)
{
    struct fixture fixture;

    start_serving(&fixture);
    TC_CHECK(fail_rows(&fixture, 1, 1, true) > 20);
    stop_serving(&fixture);
}

TC_TEST(test_http_faults_later_calls_failing_leave_a_server_that_answers)
{
    uint64_t places = is_long() ? PLACES_LONG : PLACES_SHORT;
    struct fixture fixture;

    start_serving(&fixture);
    for (uint64_t nth = 2; nth <= places; nth++) {
        TC_CHECK(fail_rows(&fixture, nth, 1, is_long()) > 0);
    }
    stop_serving(&fixture);
}

TC_TEST(test_http_faults_calls_failing_on_and_on_leave_a_server_that_answers)
{
    struct fixture fixture;

    start_serving(&fixture);
    TC_CHECK(fail_rows(&fixture, 1, UINT64_MAX, is_long()) > 20);
    stop_serving(&fixture);
}

TC_TEST(test_http_faults_each_allocation_failing_leaves_a_server_that_answers)
{
    uint64_t places = is_long() ? 400 : 60;
    struct fixture fixture;

    start_serving(&fixture);
    for (uint64_t nth = 1; nth <= places; nth++) {
        struct fault fault = {.call = TC_FAULT_ALLOC, .error = ENOMEM, .nth = nth, .times = 1};
        if (fail_while_serving(&fixture, &fault) == 0) {
            break;
        }
    }
    stop_serving(&fixture);
}

/* ---- from the first start to the end ------------------------------------------------------ */

static void end_runtime(struct tc_runtime *runtime, const struct fault *fault)
{
    if (tc_runtime_stop(runtime, tc_deadline_after_ns(SECONDS(LONG_SECONDS))) != 0) {
        tc_test_failf("%s: the runtime does not stop", describe(fault));
    }
    tc_runtime_free(runtime);
}

/* A failed sleep is reported to whoever waits; he may wait again. */
static void await_end(struct tc_server *net, const struct fault *fault)
{
    int64_t limit = tc_deadline_after_ns(SECONDS(LONG_SECONDS));
    int rc;

    do {
        rc = tc_server_wait(net, limit);
    } while (rc != 0 && tc_clock_now_ns() < limit);
    if (rc != 0) {
        tc_test_failf("%s: the server does not end", describe(fault));
    }
}

/* The life of a server in a process that has never had one; any step may fail. */
static void live(const struct fault *fault)
{
    struct tc_runtime_options runtime_options = {.driver = &tc_io_driver};
    struct tc_http_options options = {.net = {.host = NULL}};
    struct tc_runtime *runtime;
    struct tc_http_server *server;

    arm(fault);
    if (tc_runtime_new(&runtime_options, &runtime) != 0) {
        return;
    }
    if (tc_runtime_start(runtime) != 0) {
        tc_runtime_free(runtime);
        return;
    }
    if (tc_http_server_new(&options, &server) == 0) {
        if (add_routes(server) == 0 && tc_http_server_start(server, runtime) == 0) {
            make_traffic(tc_http_server_net(server), PATIENCE_MS);
            tc_server_abort(tc_http_server_net(server));
            if (fault->times > 1) {
                tc_fault_disarm_all();
            }
            await_end(tc_http_server_net(server), fault);
        }
        tc_http_server_free(server);
    }
    if (fault->times > 1) {
        tc_fault_disarm_all();
    }
    end_runtime(runtime, fault);
}

/* Fail the nth call, for each n up to `places` that a life has. Returns how many it had. */
static uint64_t sweep(enum tc_sys_call call, int error, uint64_t times, uint64_t places)
{
    struct fault fault = {call, error, 1, times};

    for (; fault.nth <= places && strikes_a_life(live, &fault); fault.nth++) {
        check_uploads("unnamed", &fault);
        check_uploads("named", &fault);
    }
    return fault.nth - 1;
}

static void sweep_rows(const struct fault_row *rows, size_t count, uint64_t times, uint64_t places)
{
    for (size_t i = 0; i < count; i++) {
        for (int k = 0; rows[i].errors[k] != 0 && (k == 0 || is_long()); k++) {
            uint64_t most = rows[i].call == TC_FAULT_ALLOC ? 40 * places : places;
            uint64_t found = sweep(rows[i].call, rows[i].errors[k], times, most);
            if (k == 0) {
                printf("  %s: %llu places\n", tc_fault_name((int)rows[i].call),
                       (unsigned long long)found);
            }
        }
    }
}

TC_TEST(test_http_faults_a_failure_at_each_place_of_a_life_leaves_nothing)
{
    uint64_t places = is_long() ? PLACES_LONG : PLACES_SHORT;

    make_root();
    sweep_rows(fault_table, TC_ARRAY_LEN(fault_table), 1, places);
    sweep_rows(http_fault_table, TC_ARRAY_LEN(http_fault_table), 1, places);
    remove_root();
}

TC_TEST(test_http_faults_failures_from_some_places_of_a_life_on_leave_nothing)
{
    uint64_t places = is_long() ? PLACES_LONG : 1;

    make_root();
    sweep_rows(fault_table, TC_ARRAY_LEN(fault_table), UINT64_MAX, places);
    sweep_rows(http_fault_table, TC_ARRAY_LEN(http_fault_table), UINT64_MAX, places);
    remove_root();
}

/* ---- the tables --------------------------------------------------------------------------- */

static void list(bool is_listed[TC_SYS_CALL_COUNT], enum tc_sys_call call)
{
    TC_CHECK(!is_listed[call]);
    is_listed[call] = true;
}

TC_TEST(test_http_faults_tables_have_every_call_that_a_server_makes)
{
    bool is_listed[TC_SYS_CALL_COUNT] = {false};
    struct fixture fixture;

    for (size_t i = 0; i < TC_ARRAY_LEN(fault_table); i++) {
        list(is_listed, fault_table[i].call);
    }
    for (size_t i = 0; i < TC_ARRAY_LEN(http_fault_table); i++) {
        list(is_listed, http_fault_table[i].call);
    }
    start_serving(&fixture);
    for (size_t i = 0; i < TC_ARRAY_LEN(http_fault_unused); i++) {
        list(is_listed, http_fault_unused[i]);
        tc_fault_arm(http_fault_unused[i], 1, EPERM, UINT64_MAX);
    }
    for (int i = 0; i < TC_SYS_CALL_COUNT; i++) {
        if (!is_listed[i]) {
            tc_test_failf("%s is in no list", tc_fault_name(i));
        }
    }
    make_traffic(fixture.net, 1000);
    stop_serving(&fixture);
    for (size_t i = 0; i < TC_ARRAY_LEN(http_fault_unused); i++) {
        if (tc_fault_hits(http_fault_unused[i]) != 0) {
            tc_test_failf("%s is called, but not in a table",
                          tc_fault_name((int)http_fault_unused[i]));
        }
    }
    tc_fault_disarm_all();
}
