#include "support.h"

/* Answers when `is_released`; cancel cuts the wait short. */
static _Atomic bool is_released;
static _Atomic int in_flight;

/* A read of full length would be tried again before the connection may rest. */
static size_t read_bytes = 2; /* set before the runtime starts */

static enum tc_verdict slow_serve(struct tc_conn *conn)
{
    char byte[2];
    ssize_t n = tc_stream_recv(tc_conn_stream(conn), byte, read_bytes, TC_NEVER);

    if (n <= 0) {
        return TC_CONN_CLOSE;
    }
    tc_fetch_add_seq_cst(&in_flight, 1);
    int rc = 0;
    while (rc == 0 && !tc_load_seq_cst(&is_released)) {
        rc = tc_fiber_sleep_until(tc_deadline_after_ns(TC_NS_PER_MS));
    }
    tc_fetch_sub_seq_cst(&in_flight, 1);
    if (rc != 0) {
        return tc_conn_fail(conn, rc);
    }
    n = tc_stream_send(tc_conn_stream(conn), byte, 1, tc_conn_send_deadline(conn));
    return n == 1 ? TC_CONN_REST : tc_conn_fail(conn, (int)n);
}

static const struct tc_protocol slow_protocol = {
    .name = "slow", .stack_class = TC_STACK_DEFAULT, .serve = slow_serve};

static void on_workers(void (*body)(struct tc_runtime *))
{
    for (uint32_t workers = 1; workers <= 2; workers++) {
        struct tc_runtime *runtime = start_runtime(workers);
        int descriptors = count_descriptors();
        body(runtime);
        TC_CHECK_EQ(count_descriptors(), descriptors);
        stop_runtime(runtime);
    }
}

static int64_t drain_resting(void *runtime)
{
    enum { CLIENTS = 300 }; /* several slices of the sweep */
    /* Time to finish: the probe's answer may arrive before its connection rests again. */
    struct tc_server_options options = {.drain_timeout_ns = -1};
    struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);
    int fds[CLIENTS];

    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = connect_to(server);
    }
    WAIT_UNTIL(statistics(server).connections == CLIENTS);
    probe(fds[0], 100);
    int64_t began = tc_clock_now_ns();
    tc_server_close(server);
    TC_CHECK_EQ(tc_server_wait(server, tc_deadline_after_ns(SECONDS(LONG_SECONDS))), 0);
    int64_t took = tc_clock_now_ns() - began;
    for (int i = 0; i < CLIENTS; i++) {
        char byte;
        TC_CHECK_EQ(recv(fds[i], &byte, 1, 0), 0);
        close(fds[i]);
    }
    TC_CHECK(!statistics(server).listening);
    TC_CHECK(!answers_a_probe(server));
    TC_CHECK_EQ(statistics(server).cancelled, 0);
    tc_server_free(server);
    return took;
}

static void check_resting(struct tc_runtime *runtime)
{
    tc_test_timely(drain_resting, runtime, SECONDS(1));
}

TC_TEST(test_drain_resting_connections_end_at_once)
{
    on_workers(check_resting);
}

static void check_served(struct tc_runtime *runtime)
{
    struct tc_server_options options = {.drain_timeout_ns = -1};
    struct tc_server *server = start_server(runtime, &slow_protocol, &options);
    int fd = connect_to(server);
    char byte;

    tc_store_seq_cst(&is_released, false);
    send_exactly(fd, "z", 1);
    WAIT_UNTIL(tc_load_seq_cst(&in_flight) == 1);
    tc_server_close(server);
    tc_server_close(server);
    TC_CHECK_EQ(tc_server_wait(server, tc_deadline_after_ns(SECONDS(0.05))), -ETIMEDOUT);
    tc_store_seq_cst(&is_released, true);
    recv_exactly(fd, &byte, 1);
    TC_CHECK_EQ(byte, 'z');
    TC_CHECK_EQ(tc_server_wait(server, tc_deadline_after_ns(SECONDS(LONG_SECONDS))), 0);
    TC_CHECK_EQ(recv(fd, &byte, 1, 0), 0);
    TC_CHECK_EQ(statistics(server).cancelled, 0);
    close(fd);
    tc_server_free(server);
}

TC_TEST(test_drain_served_connection_may_finish)
{
    on_workers(check_served);
}

/* That more may have arrived is no reason to wait for it. */
TC_TEST(test_drain_read_of_full_length_does_not_delay_the_end)
{
    read_bytes = 1;
    on_workers(check_served);
}

static int64_t drain_by_deadline(void *runtime)
{
    struct tc_server_options options = {.drain_timeout_ns = SECONDS(0.3)};
    struct tc_server *server = start_server(runtime, &slow_protocol, &options);
    int fds[20];

    tc_store_seq_cst(&is_released, false);
    for (int i = 0; i < 20; i++) {
        fds[i] = connect_to(server);
        send_exactly(fds[i], "z", 1);
    }
    WAIT_UNTIL(tc_load_seq_cst(&in_flight) == 20);
    int64_t began = tc_clock_now_ns();
    tc_server_close(server);
    TC_CHECK_EQ(tc_server_wait(server, tc_deadline_after_ns(SECONDS(LONG_SECONDS))), 0);
    int64_t took = tc_clock_now_ns() - began;
    TC_CHECK(took >= SECONDS(0.3));
    TC_CHECK_EQ(statistics(server).cancelled, 20);
    for (int i = 0; i < 20; i++) {
        TC_CHECK(ends_within(fds[i], LONG_SECONDS));
        close(fds[i]);
    }
    tc_server_free(server);
    return took;
}

static void check_deadline(struct tc_runtime *runtime)
{
    tc_test_timely(drain_by_deadline, runtime, SECONDS(0.5));
}

TC_TEST(test_drain_deadline_cancels_what_is_still_served)
{
    on_workers(check_deadline);
}

static void check_abort(struct tc_runtime *runtime)
{
    struct tc_server_options options = {.drain_timeout_ns = -1};
    struct tc_server *server = start_server(runtime, &slow_protocol, &options);
    int fd = connect_to(server);

    tc_store_seq_cst(&is_released, false);
    send_exactly(fd, "z", 1);
    WAIT_UNTIL(tc_load_seq_cst(&in_flight) == 1);
    tc_server_close(server);
    TC_CHECK_EQ(tc_server_wait(server, tc_deadline_after_ns(SECONDS(0.05))), -ETIMEDOUT);
    tc_server_abort(server);
    TC_CHECK_EQ(tc_server_wait(server, tc_deadline_after_ns(SECONDS(LONG_SECONDS))), 0);
    TC_CHECK_EQ(statistics(server).cancelled, 1);
    TC_CHECK(ends_within(fd, LONG_SECONDS));
    close(fd);
    tc_server_free(server);
    server = start_server(runtime, &slow_protocol, &options);
    fd = connect_to(server);
    send_exactly(fd, "z", 1);
    WAIT_UNTIL(tc_load_seq_cst(&in_flight) == 1);
    tc_server_abort(server);
    TC_CHECK_EQ(tc_server_wait(server, tc_deadline_after_ns(SECONDS(LONG_SECONDS))), 0);
    close(fd);
    tc_server_free(server);
}

TC_TEST(test_drain_abort_cancels_at_once_before_and_during_a_drain)
{
    on_workers(check_abort);
}

/* ---- the grace ---------------------------------------------------------------------------- */

static void check_grace(struct tc_runtime *runtime)
{
    struct tc_server_options options = {.drain_timeout_ns = -1, .drain_grace_ns = SECONDS(20)};
    struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);
    int fds[2] = {connect_to(server), connect_to(server)};

    WAIT_UNTIL(statistics(server).connections == 2);
    probe(fds[0], 100);
    tc_server_close(server);
    WAIT_UNTIL(!answers_a_probe(server)); /* all workers know */
    probe(fds[0], 100);
    probe(fds[1], 100);
    TC_CHECK_EQ(statistics(server).connections, 2);
    tc_server_abort(server);
    tc_server_abort(server);
    TC_CHECK_EQ(tc_server_wait(server, tc_deadline_after_ns(SECONDS(LONG_SECONDS))), 0);
    for (int i = 0; i < 2; i++) {
        TC_CHECK(ends_within(fds[i], LONG_SECONDS));
        close(fds[i]);
    }
    tc_server_free(server);
}

TC_TEST(test_drain_grace_lets_resting_connections_stay_until_abort)
{
    on_workers(check_grace);
}

static void check_grace_end(struct tc_runtime *runtime)
{
    for (int is_capped = 0; is_capped <= 1; is_capped++) {
        struct tc_server_options options = {.drain_timeout_ns = SECONDS(is_capped ? 0.1 : 20),
                                            .drain_grace_ns = SECONDS(is_capped ? 20 : 0.1)};
        struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);
        int fds[2] = {connect_to(server), connect_to(server)};
        WAIT_UNTIL(statistics(server).connections == 2);
        int64_t began = tc_clock_now_ns();
        tc_server_close(server);
        TC_CHECK_EQ(tc_server_wait(server, tc_deadline_after_ns(SECONDS(LONG_SECONDS))), 0);
        TC_CHECK(tc_clock_now_ns() - began >= SECONDS(0.1));
        for (int i = 0; i < 2; i++) {
            TC_CHECK(ends_within(fds[i], LONG_SECONDS));
            close(fds[i]);
        }
        TC_CHECK_EQ(statistics(server).cancelled, 0);
        tc_server_free(server);
    }
}

TC_TEST(test_drain_grace_ends_and_is_no_longer_than_the_drain)
{
    on_workers(check_grace_end);
}

static void check_grace_unneeded(struct tc_runtime *runtime)
{
    struct tc_server_options options = {.drain_timeout_ns = -1, .drain_grace_ns = SECONDS(20)};
    struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);
    int fd = connect_to(server);

    WAIT_UNTIL(statistics(server).connections == 1);
    tc_server_close(server);
    close(fd);
    int64_t began = tc_clock_now_ns();
    TC_CHECK_EQ(tc_server_wait(server, TC_NEVER), 0);
    TC_CHECK(tc_clock_now_ns() - began < SECONDS(20));
    tc_server_free(server);
    server = start_server(runtime, &tc_echo_protocol, &options);
    tc_server_close(server);
    TC_CHECK_EQ(tc_server_wait(server, tc_deadline_after_ns(SECONDS(LONG_SECONDS))), 0);
    tc_server_free(server);
}

TC_TEST(test_drain_grace_ends_with_the_last_connection)
{
    on_workers(check_grace_unneeded);
}

/* ---- all at once -------------------------------------------------------------------------- */

/* A client that never stops sending must not keep the server from ending. */
static void check_endless(struct tc_runtime *runtime)
{
    struct tc_server_options options = {.drain_timeout_ns = SECONDS(0.2)};
    struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);
    int fd = connect_to(server);
    char block[1000];

    memset(block, 'e', sizeof block);
    int64_t close_at = tc_deadline_after_ns(SECONDS(0.1));
    bool closing = false;
    while (send(fd, block, sizeof block, MSG_NOSIGNAL) > 0) {
        if (recv(fd, block, sizeof block, 0) <= 0) {
            break;
        }
        if (!closing && tc_clock_now_ns() > close_at) {
            closing = true;
            tc_server_close(server);
        }
    }
    TC_CHECK(closing);
    TC_CHECK_EQ(tc_server_wait(server, tc_deadline_after_ns(SECONDS(LONG_SECONDS))), 0);
    close(fd);
    tc_server_free(server);
}

TC_TEST(test_drain_ends_although_a_client_keeps_sending)
{
    on_workers(check_endless);
}

struct fiber_wait {
    struct tc_server *server;
    int early;
    int late;
};

static void wait_from_fiber(void *arg)
{
    struct fiber_wait *wait = arg;

    wait->early = tc_server_wait(wait->server, tc_deadline_after_ns(SECONDS(0.02)));
    tc_server_close(wait->server);
    wait->late = tc_server_wait(wait->server, TC_NEVER);
}

static void check_fiber_wait(struct tc_runtime *runtime)
{
    struct tc_server_options options = {.host = NULL};
    struct fiber_wait wait = {.server = start_server(runtime, &tc_echo_protocol, &options)};
    int fd = connect_to(wait.server);

    TC_CHECK_EQ(tc_runtime_run(runtime, wait_from_fiber, &wait), 0);
    TC_CHECK_EQ(wait.early, -ETIMEDOUT);
    TC_CHECK_EQ(wait.late, 0);
    close(fd);
    tc_server_free(wait.server);
}

TC_TEST(test_drain_wait_works_from_a_fiber)
{
    on_workers(check_fiber_wait);
}

/* Close while clients connect, send and vanish: every start must reach its end. */
static void check_cycles(struct tc_runtime *runtime)
{
    for (int i = 0; i < 200; i++) {
        struct tc_server_options options = {.idle_timeout_ns = i % 2 ? SECONDS(5) : 0,
                                            .drain_grace_ns = i % 4 * TC_NS_PER_MS};
        struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);
        int fds[5];
        for (int k = 0; k < 5; k++) {
            fds[k] = connect_to(server);
            send_exactly(fds[k], "hello", (size_t)(i + k) % 5 + 1);
        }
        if (i % 3 == 0) {
            tc_server_abort(server);
        } else {
            tc_server_close(server);
        }
        if (i % 5 == 0) {
            tc_server_abort(server); /* perhaps just when the grace ends */
        }
        TC_CHECK_EQ(tc_server_wait(server, tc_deadline_after_ns(SECONDS(LONG_SECONDS))), 0);
        TC_CHECK_EQ(statistics(server).connections, 0);
        tc_server_free(server);
        for (int k = 0; k < 5; k++) {
            TC_CHECK(ends_within(fds[k], LONG_SECONDS));
            close(fds[k]);
        }
    }
    struct tc_runtime_statistics after;
    WAIT_UNTIL((tc_runtime_statistics(runtime, &after), after.fibers == 0));
    WAIT_UNTIL((tc_runtime_statistics(runtime, &after), after.timers + after.descriptors == 0));
}

TC_TEST(test_drain_start_and_close_under_traffic_leave_nothing)
{
    on_workers(check_cycles);
}
