/* Every call of the library, failed with each of its errors: while a server serves, and at each
 * place from the first start in a process to the end. TC_SLOW=long tries all combinations;
 * otherwise the life-cycle tests take the first error of each row of fault_table.h. */
#include "fault_support.h"

/* ---- traffic ------------------------------------------------------------------------------ */

enum {
    CLIENTS = 6,
    MESSAGE_BYTES = 2000,
    BURST_BYTES = 512 * 1024, /* of the first client: more than the sockets take without a reader */
};

/* Clients that connect, talk and leave; `patience_ms` bounds the wait for answers that a failure
 * has swallowed. All of it may fail: what counts is how the server is afterwards. */
static void make_traffic(struct tc_server *server, int patience_ms)
{
    static unsigned char data[BURST_BYTES];
    struct pollfd clients[CLIENTS];
    size_t missing[CLIENTS];
    int64_t limit = tc_deadline_after_ns((int64_t)patience_ms * 1000000);
    struct tc_addr addr;
    int waiting = 0;

    tc_server_address(server, &addr);
    for (int i = 0; i < CLIENTS; i++) {
        int fd = try_connect(&addr);
        size_t len = i == 0 ? BURST_BYTES : MESSAGE_BYTES;
        ssize_t sent = fd < 0 ? -1 : send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        clients[i] = (struct pollfd){.fd = fd, .events = POLLIN};
        missing[i] = sent < 0 ? 0 : (size_t)sent;
        waiting += missing[i] > 0;
    }
    while (waiting > 0 && tc_clock_now_ns() < limit && poll(clients, CLIENTS, patience_ms) > 0) {
        for (int i = 0; i < CLIENTS; i++) {
            if (clients[i].revents == 0 || missing[i] == 0) {
                continue;
            }
            ssize_t n = recv(clients[i].fd, data, sizeof data, MSG_DONTWAIT);
            missing[i] -= n <= 0 ? missing[i] : (size_t)n;
            if (missing[i] == 0) {
                waiting--;
                clients[i].events = 0;
            }
        }
    }
    for (int i = 0; i < CLIENTS; i++) {
        if (clients[i].fd >= 0) {
            close(clients[i].fd);
        }
    }
}

/* ---- while serving ------------------------------------------------------------------------ */

static void check_probe(struct tc_server *server, const struct fault *fault)
{
    if (!answers_again(server)) {
        tc_test_failf("%s: no answer to a probe", describe(fault));
    }
}

/* Returns how often the fault struck. */
static uint64_t fail_while_serving(struct tc_runtime *runtime, struct tc_server *server,
                                   const struct holdings *baseline, const struct fault *fault)
{
    arm(fault);
    make_traffic(server, 10);
    uint64_t hits = tc_fault_hits(fault->call);
    if (hits > 1 && fault->times == UINT64_MAX) {
        check_rests(fault);
    }
    tc_fault_disarm_all();
    check_probe(server, fault);
    await_rest(runtime, server, fault);
    check_holdings(baseline, fault);
    return hits;
}

/* Every row, with `times` failures in a row beginning with the nth call. */
static void check_serving(uint64_t nth, uint64_t times)
{
    struct tc_runtime *runtime = start_runtime(2);
    /* An EAGAIN that is not true hides what has arrived: for that the timeouts are the remedy. */
    struct tc_server_options options = {.idle_timeout_ns = SECONDS(0.3),
                                        .send_timeout_ns = SECONDS(0.3)};
    struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);
    uint64_t hits = 0;

    struct fault none = {.call = TC_SYS_RECV, .error = EIO, .nth = 0, .times = 0};
    make_traffic(server, 1000);
    check_probe(server, &none);
    await_rest(runtime, server, &none);
    struct holdings baseline = take_holdings();
    for (size_t i = 0; i < TC_ARRAY_LEN(fault_table); i++) {
        for (int k = 0; fault_table[i].errors[k] != 0; k++) {
            struct fault fault = {fault_table[i].call, fault_table[i].errors[k], nth, times};
            hits += fail_while_serving(runtime, server, &baseline, &fault);
        }
    }
    TC_CHECK(hits > 10); /* most strike; a busy machine may not get to the nth call in time */
    end_server(server);
    stop_runtime(runtime);
}

TC_TEST(test_faults_each_call_failing_once_leaves_a_server_that_answers)
{
    check_serving(1, 1);
}

TC_TEST(test_faults_each_second_call_failing_leaves_a_server_that_answers)
{
    check_serving(2, 1);
}

TC_TEST(test_faults_each_call_failing_three_times_leaves_a_server_that_answers)
{
    check_serving(1, 3);
}

TC_TEST(test_faults_each_call_failing_on_and_on_leaves_a_server_that_answers)
{
    check_serving(1, UINT64_MAX);
}

/* ---- from the first start to the end ------------------------------------------------------ */

/* The life of a server in a process that has never had one; any step may fail. */
static void live(const struct fault *fault)
{
    struct tc_runtime_options runtime_options = {.driver = &tc_io_driver};
    struct tc_server_options options = {.idle_timeout_ns = SECONDS(60), .reuse_port = true};
    struct tc_runtime *runtime;
    struct tc_server *server;

    arm(fault);
    if (tc_runtime_new(&runtime_options, &runtime) != 0) {
        return;
    }
    if (tc_runtime_start(runtime) != 0) {
        tc_runtime_free(runtime);
        return;
    }
    if (tc_server_start(runtime, &tc_echo_protocol, &options, &server) == 0) {
        make_traffic(server, 10);
        tc_server_abort(server);
        if (fault->times > 1) {
            tc_fault_disarm_all();
        }
        int64_t limit = tc_deadline_after_ns(SECONDS(LONG_SECONDS));
        int rc;
        do { /* a failed sleep is reported to whoever waits; he may wait again */
            rc = tc_server_wait(server, limit);
        } while (rc != 0 && tc_clock_now_ns() < limit);
        if (rc != 0) {
            tc_test_failf("%s: the server does not end", describe(fault));
        }
        tc_server_free(server);
    }
    if (fault->times > 1) {
        tc_fault_disarm_all();
    }
    if (tc_runtime_stop(runtime, tc_deadline_after_ns(SECONDS(LONG_SECONDS))) != 0) {
        tc_test_failf("%s: the runtime does not stop", describe(fault));
    }
    tc_runtime_free(runtime);
}

/* Fail the nth call, for each n that a life has. */
static uint64_t sweep(enum tc_sys_call call, int error, uint64_t times)
{
    struct fault fault = {call, error, 1, times};

    for (;; fault.nth++) {
        if (!strikes_a_life(live, &fault)) {
            return fault.nth - 1;
        }
        if (call != TC_FAULT_ALLOC && fault.nth == (is_long() ? 40 : 8)) {
            return fault.nth;
        }
    }
}

static void sweep_all(uint64_t times)
{
    for (size_t i = 0; i < TC_ARRAY_LEN(fault_table); i++) {
        for (int k = 0; fault_table[i].errors[k] != 0 && (k == 0 || is_long()); k++) {
            uint64_t places = sweep(fault_table[i].call, fault_table[i].errors[k], times);
            if (k == 0) {
                printf("  %s: %llu places\n", tc_fault_name((int)fault_table[i].call),
                       (unsigned long long)places);
            }
        }
    }
}

TC_TEST(test_faults_a_failure_at_each_place_of_a_life_leaves_nothing)
{
    sweep_all(1);
}

TC_TEST(test_faults_failures_from_each_place_of_a_life_on_leave_nothing)
{
    sweep_all(UINT64_MAX);
}

static void live_without_unused_calls(void *arg)
{
    struct tc_runtime *runtime = start_runtime(2);

    (void)arg;
    for (size_t i = 0; i < TC_ARRAY_LEN(fault_unused); i++) {
        tc_fault_arm(fault_unused[i], 1, EPERM, UINT64_MAX);
    }
    struct tc_server *server =
        start_server(runtime, &tc_echo_protocol, &(struct tc_server_options){0});
    make_traffic(server, 1000);
    TC_CHECK(answers_a_probe(server));
    end_server(server);
    stop_runtime(runtime);
    for (size_t i = 0; i < TC_ARRAY_LEN(fault_unused); i++) {
        if (tc_fault_hits(fault_unused[i]) != 0) {
            tc_test_failf("%s is called, but not in the table",
                          tc_fault_name((int)fault_unused[i]));
        }
    }
}

TC_TEST(test_faults_table_has_every_call_that_a_server_makes)
{
    bool is_listed[TC_SYS_CALL_COUNT] = {false};

    for (size_t i = 0; i < TC_ARRAY_LEN(fault_table); i++) {
        TC_CHECK(!is_listed[fault_table[i].call]);
        is_listed[fault_table[i].call] = true;
    }
    for (size_t i = 0; i < TC_ARRAY_LEN(fault_unused); i++) {
        TC_CHECK(!is_listed[fault_unused[i]]);
        is_listed[fault_unused[i]] = true;
    }
    for (int i = 0; i < TC_SYS_CALL_COUNT; i++) {
        if (!is_listed[i]) {
            tc_test_failf("%s is in neither list", tc_fault_name(i));
        }
    }
    live_without_unused_calls(NULL);
}
