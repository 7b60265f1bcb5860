#include <fcntl.h>

#include "support.h"

#include <netinet/tcp.h>

#include "sched/worker.h"

TC_TEST(test_server_start_bad_options_are_refused_and_leave_nothing)
{
    struct tc_runtime *runtime = start_runtime(2);
    int descriptors = count_descriptors();
    struct tc_server_options bad_host = {.host = "example.org"};
    struct tc_server_options too_many = {.workers = 3};
    struct tc_server *server;

    TC_CHECK_EQ(tc_server_start(runtime, &tc_echo_protocol, &bad_host, &server), -EINVAL);
    TC_CHECK_EQ(tc_server_start(runtime, &tc_echo_protocol, &too_many, &server), -EINVAL);
    struct tc_server_options options = {.host = NULL};
    struct tc_server *first = start_server(runtime, &tc_echo_protocol, &options);
    struct tc_addr addr;
    tc_server_address(first, &addr);
    struct tc_server_options same_port = {.port = tc_addr_port(&addr)};
    TC_CHECK_EQ(tc_server_start(runtime, &tc_echo_protocol, &same_port, &server), -EADDRINUSE);
    end_server(first);
    TC_CHECK_EQ(count_descriptors(), descriptors);
    stop_runtime(runtime);
}

TC_TEST(test_server_reuse_port_lets_two_servers_listen_on_one_port)
{
    struct tc_runtime *runtime = start_runtime(1);
    struct tc_server_options options = {.reuse_port = true};
    struct tc_server *first = start_server(runtime, &tc_echo_protocol, &options);
    struct tc_addr addr;

    tc_server_address(first, &addr);
    options.port = tc_addr_port(&addr);
    struct tc_server *second = start_server(runtime, &tc_echo_protocol, &options);
    TC_CHECK(answers_a_probe(first));
    end_server(first);
    TC_CHECK(answers_a_probe(second));
    end_server(second);
    stop_runtime(runtime);
}

TC_TEST(test_server_ipv6_loopback_is_served)
{
    struct tc_runtime *runtime = start_runtime(1);
    struct tc_server_options options = {.host = "::1"};
    struct tc_server *server;
    int rc = tc_server_start(runtime, &tc_echo_protocol, &options, &server);

    if (rc == -EADDRNOTAVAIL || rc == -EAFNOSUPPORT) {
        tc_test_skipf("no IPv6 here");
    }
    TC_CHECK_EQ(rc, 0);
    TC_CHECK(answers_a_probe(server));
    end_server(server);
    stop_runtime(runtime);
}

/* A protocol that reports what kind of socket it was given. */
static _Atomic int seen_nodelay;
static _Atomic int seen_flags;

static enum tc_verdict inspect_serve(struct tc_conn *conn)
{
    int fd = tc_load_relaxed(&tc_conn_stream(conn)->slot->fd); /* relaxed: constant */
    int nodelay = -1;
    socklen_t len = sizeof nodelay;

    getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &len);
    tc_store_seq_cst(&seen_nodelay, nodelay);
    tc_store_seq_cst(&seen_flags,
                     fcntl(fd, F_GETFL) & O_NONBLOCK && fcntl(fd, F_GETFD) & FD_CLOEXEC ? 1 : 0);
    return TC_CONN_CLOSE;
}

TC_TEST(test_server_accepted_sockets_inherit_nodelay_and_are_nonblocking_cloexec)
{
    static const struct tc_protocol protocol = {
        .name = "inspect", .stack_class = TC_STACK_DEFAULT, .serve = inspect_serve};
    struct tc_runtime *runtime = start_runtime(1);
    struct tc_server_options options = {.host = NULL};
    struct tc_server *server = start_server(runtime, &protocol, &options);
    int fd = connect_to(server);

    send_exactly(fd, "x", 1);
    TC_CHECK(ends_within(fd, 5));
    TC_CHECK_EQ(tc_load_seq_cst(&seen_nodelay), 1);
    TC_CHECK_EQ(tc_load_seq_cst(&seen_flags), 1);
    close(fd);
    end_server(server);
    stop_runtime(runtime);
}

/* A socket that listens on a free port, blocking and inheritable as a parent would leave it. */
static int listen_elsewhere(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    TC_CHECK_EQ(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    TC_CHECK_EQ(listen(fd, 16), 0);
    return fd;
}

TC_TEST(test_server_inherited_socket_goes_from_one_server_to_the_next)
{
    static const struct tc_protocol protocol = {
        .name = "inspect", .stack_class = TC_STACK_DEFAULT, .serve = inspect_serve};
    struct tc_runtime *runtime = start_runtime(2);
    int before = count_descriptors();
    struct tc_server_options options = {.listen_fd = listen_elsewhere(), .port = 1};
    struct tc_server *first = start_server(runtime, &tc_echo_protocol, &options);
    struct tc_server *second = start_server(runtime, &protocol, &options);

    end_server(first);
    int fd = connect_to(second); /* the other may not take it any more */
    send_exactly(fd, "x", 1);
    TC_CHECK(ends_within(fd, 5));
    TC_CHECK_EQ(tc_load_seq_cst(&seen_nodelay), 1);
    close(fd);
    end_server(second);
    TC_CHECK((fcntl(options.listen_fd, F_GETFD) & FD_CLOEXEC) == 0); /* still the caller's */
    close(options.listen_fd);
    TC_CHECK_EQ(count_descriptors(), before);
    stop_runtime(runtime);
}

TC_TEST(test_server_inherited_socket_that_does_not_listen_is_refused)
{
    struct tc_runtime *runtime = start_runtime(1);
    struct tc_server *server;
    int descriptors[2];
    int before = count_descriptors();

    TC_CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, descriptors), 0);
    struct tc_server_options options = {.listen_fd = descriptors[0]};
    TC_CHECK_EQ(tc_server_start(runtime, &tc_echo_protocol, &options, &server), -EINVAL);
    close(descriptors[0]);
    close(descriptors[1]);
    TC_CHECK_EQ(tc_server_start(runtime, &tc_echo_protocol, &options, &server), -EBADF);
    options.listen_fd = listen_elsewhere();
    static const enum tc_sys_call calls[] = {TC_SYS_FCNTL, TC_SYS_GETSOCKOPT, TC_SYS_GETSOCKNAME,
                                             TC_SYS_SETSOCKOPT};
    for (size_t i = 0; i < TC_ARRAY_LEN(calls); i++) {
        for (uint64_t nth = 1;; nth++) {
            tc_fault_arm(calls[i], nth, ENOMEM, 1);
            int rc = tc_server_start(runtime, &tc_echo_protocol, &options, &server);
            uint64_t hits = tc_fault_hits(calls[i]);
            tc_fault_disarm_all();
            TC_CHECK_EQ(rc, hits == 0 ? 0 : -ENOMEM);
            if (rc == 0) {
                end_server(server);
                break;
            }
        }
    }
    close(options.listen_fd);
    TC_CHECK_EQ(count_descriptors(), before);
    stop_runtime(runtime);
}

TC_TEST(test_server_deals_connections_evenly_to_its_workers)
{
    struct tc_runtime *runtime = start_runtime(2);
    struct tc_server_options options = {.host = NULL};
    struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);
    int fds[20];

    for (size_t i = 0; i < TC_ARRAY_LEN(fds); i++) {
        fds[i] = connect_to(server);
    }
    WAIT_UNTIL(statistics(server).connections == TC_ARRAY_LEN(fds));
    TC_CHECK_EQ(tc_load_relaxed(&tc_runtime_worker(runtime, 0)->load), 10);
    TC_CHECK_EQ(tc_load_relaxed(&tc_runtime_worker(runtime, 1)->load), 10);
    for (size_t i = 0; i < TC_ARRAY_LEN(fds); i++) {
        probe(fds[i], 50);
        close(fds[i]);
    }
    WAIT_UNTIL(statistics(server).connections == 0);
    TC_CHECK_EQ(tc_load_relaxed(&tc_runtime_worker(runtime, 0)->load), 0);
    TC_CHECK_EQ(tc_load_relaxed(&tc_runtime_worker(runtime, 1)->load), 0);
    end_server(server);
    stop_runtime(runtime);
}

/* ---- protocol state ----------------------------------------------------------------------- */

static _Atomic int released;

struct counting {
    uint64_t served;
    uint64_t padding[30];
};

static enum tc_verdict counting_serve(struct tc_conn *conn)
{
    struct counting *state = tc_conn_state(conn);
    char bytes[16];
    ssize_t n = tc_stream_recv(tc_conn_stream(conn), bytes, sizeof bytes, TC_NEVER);

    if (n <= 0) {
        return TC_CONN_CLOSE;
    }
    state->served++;
    int rc = tc_stream_send_all(tc_conn_stream(conn), &state->served, sizeof state->served,
                                tc_conn_send_deadline(conn));
    return rc == 0 ? TC_CONN_REST : tc_conn_fail(conn, rc);
}

static void counting_release(struct tc_conn *conn)
{
    struct counting *state = tc_conn_state(conn);

    TC_CHECK_EQ(state->served, 3);
    tc_fetch_add_seq_cst(&released, 1);
}

TC_TEST(test_server_protocol_state_starts_zeroed_lasts_and_is_released_once)
{
    static const struct tc_protocol protocol = {
        .name = "counting",
        .stack_class = TC_STACK_DEFAULT,
        .conn_bytes = sizeof(struct counting),
        .serve = counting_serve,
        .release = counting_release,
    };
    struct tc_runtime *runtime = start_runtime(2);
    struct tc_server_options options = {.host = NULL};
    struct tc_server *server = start_server(runtime, &protocol, &options);

    for (int round = 0; round < 5; round++) {
        int fd = connect_to(server);
        for (uint64_t i = 1; i <= 3; i++) {
            uint64_t answer;
            send_exactly(fd, "x", 1);
            recv_exactly(fd, &answer, sizeof answer);
            TC_CHECK_EQ(answer, i);
        }
        close(fd);
        WAIT_UNTIL(tc_load_seq_cst(&released) == round + 1);
    }
    end_server(server);
    stop_runtime(runtime);
}

/* ---- idle timeout ------------------------------------------------------------------------- */

/* One byte there and back; false if the connection has been closed. */
static bool is_alive(int fd)
{
    char byte = 'x';

    return send(fd, &byte, 1, MSG_NOSIGNAL) == 1 && recv(fd, &byte, 1, 0) == 1;
}

/* Returns the largest distance from the time at which a connection was due to be closed; TC_NEVER
 * if one of them was closed that ought not, which we may have been too late to prevent. */
static int64_t be_idle(void *runtime)
{
    bool busy_lives = true;
    struct tc_server_options options = {.idle_timeout_ns = SECONDS(0.5)};
    struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);
    int silent = connect_to(server);
    int64_t silent_since = tc_clock_now_ns();
    int talker = connect_to(server);
    int busy = connect_to(server);

    pause_ms(200);
    bool talker_lives = is_alive(talker);
    int64_t talker_since = tc_clock_now_ns();
    busy_lives &= is_alive(busy);
    pause_ms(200);
    busy_lives &= is_alive(busy);
    TC_CHECK(ends_within(silent, LONG_SECONDS));
    int64_t silent_for = tc_clock_now_ns() - silent_since;
    busy_lives &= is_alive(busy);
    TC_CHECK(ends_within(talker, LONG_SECONDS));
    int64_t talker_for = tc_clock_now_ns() - talker_since;
    for (int i = 0; i < 6; i++) {
        busy_lives &= is_alive(busy);
        pause_ms(150);
    }
    busy_lives &= is_alive(busy);
    TC_CHECK_EQ(statistics(server).idle_closed, busy_lives ? 2 : 3);
    close(busy);
    close(silent);
    close(talker);
    WAIT_UNTIL(statistics(server).connections == 0);
    struct tc_runtime_statistics after;
    WAIT_UNTIL((tc_runtime_statistics(runtime, &after), after.timers == 0));
    end_server(server);
    int64_t silent_off = llabs(silent_for - options.idle_timeout_ns);
    int64_t talker_off = llabs(talker_for - options.idle_timeout_ns);
    if (!busy_lives || !talker_lives) {
        return TC_NEVER;
    }
    return silent_off > talker_off ? silent_off : talker_off;
}

static void check_idle(uint32_t workers)
{
    struct tc_runtime *runtime = start_runtime(workers);

    tc_test_timely(be_idle, runtime, SECONDS(0.1));
    stop_runtime(runtime);
}

TC_TEST(test_server_idle_timeout_counts_from_the_last_byte_one_worker)
{
    check_idle(1);
}

TC_TEST(test_server_idle_timeout_counts_from_the_last_byte_two_workers)
{
    check_idle(2);
}

/* Serves for a second without moving a byte. */
static enum tc_verdict sleepy_serve(struct tc_conn *conn)
{
    char byte[2]; /* a read of full length would be tried again before the connection may rest */
    enum tc_direction want;
    ssize_t n = tc_stream_try_recv(tc_conn_stream(conn), byte, sizeof byte, &want);

    if (n == -EAGAIN) {
        return TC_CONN_REST; /* an edge that a late poller has left behind (tc_pollfd_rest) */
    }
    if (n <= 0) {
        return TC_CONN_CLOSE;
    }
    tc_conn_count_in(conn, 1);
    if (tc_fiber_sleep_until(tc_deadline_after_ns(SECONDS(0.6))) != 0) {
        return tc_conn_fail(conn, -ECANCELED);
    }
    n = tc_stream_send(tc_conn_stream(conn), byte, 1, tc_conn_send_deadline(conn));
    tc_conn_count_out(conn, 1);
    return n == 1 ? TC_CONN_REST : TC_CONN_CLOSE;
}

TC_TEST(test_server_idle_deadline_during_a_served_request_lets_it_finish)
{
    static const struct tc_protocol protocol = {
        .name = "sleepy", .stack_class = TC_STACK_DEFAULT, .serve = sleepy_serve};
    struct tc_runtime *runtime = start_runtime(2);
    struct tc_server_options options = {.idle_timeout_ns = SECONDS(0.2)};
    struct tc_server *server = start_server(runtime, &protocol, &options);
    int fd = connect_to(server);

    probe(fd, 1);
    TC_CHECK(ends_within(fd, LONG_SECONDS));
    TC_CHECK_EQ(statistics(server).idle_closed, 1);
    close(fd);
    end_server(server);
    stop_runtime(runtime);
}

/* ---- many connections --------------------------------------------------------------------- */

TC_TEST(test_server_idle_connection_costs_at_most_512_bytes)
{
    enum { CLIENTS = 2000 };
    static int fds[CLIENTS];
    struct rlimit limit;
    struct tc_runtime *runtime = start_runtime(1);
    struct tc_server_options options = {.max_connections = CLIENTS, .idle_timeout_ns = SECONDS(60)};
    struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);

    TC_CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    TC_CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < 2 * CLIENTS + 100) {
        tc_test_skipf("needs %d descriptors", 2 * CLIENTS + 100);
    }
    size_t before = tc_mem_bytes_in_use();
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = connect_to(server);
    }
    WAIT_UNTIL(statistics(server).resting == CLIENTS);
    size_t each = (tc_mem_bytes_in_use() - before) / CLIENTS;
    if (each > 512) {
        tc_test_failf("an idle connection costs %zu bytes", each);
    }
    for (int i = 0; i < CLIENTS; i++) {
        close(fds[i]);
    }
    end_server(server);
    stop_runtime(runtime);
}
