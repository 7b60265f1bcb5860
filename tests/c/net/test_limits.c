#include <sys/wait.h>

#include "support.h"

static void limit_descriptors(rlim_t count)
{
    struct rlimit limit;

    TC_CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = count;
    TC_CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* ---- 120 clients against 64 descriptors --------------------------------------------------- */

enum { CROWD = 120 };

/* The clients live in a process of their own, with descriptors of their own. It connects, says
 * so through `ready`, and when told through `go` closes them all; then one more probe must be
 * answered. */
struct crowd {
    pid_t pid;
    int ready;
    int go;
};

/* One attempt; a server that still sheds may turn it away. */
static bool is_answered(const struct tc_addr *addr)
{
    char byte = 'p';
    int fd = try_connect(addr);
    bool answered = fd >= 0 && send(fd, &byte, 1, MSG_NOSIGNAL) == 1 && recv(fd, &byte, 1, 0) == 1;

    if (fd >= 0) {
        close(fd);
    }
    return answered;
}

static void crowd_main(const struct tc_addr *addr, int ready, int go)
{
    int fds[CROWD];
    char byte = 1;

    for (int i = 0; i < CROWD; i++) {
        fds[i] = socket(tc_addr_family(addr), SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fds[i], &addr->storage.any, addr->length) != 0 && errno != EINPROGRESS) {
            _exit(1);
        }
    }
    if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 1) {
        _exit(2);
    }
    for (int i = 0; i < CROWD; i++) {
        close(fds[i]);
    }
    int64_t since = tc_clock_now_ns();
    while (!is_answered(addr)) {
        if (tc_clock_now_ns() - since > SECONDS(LONG_SECONDS)) {
            _exit(3);
        }
    }
    int64_t took = tc_clock_now_ns() - since;
    if (write(ready, &took, sizeof took) != (ssize_t)sizeof took) {
        _exit(4);
    }
    _exit(0);
}

static struct crowd start_crowd(const struct tc_addr *addr)
{
    struct crowd crowd;
    int ready[2];
    int go[2];

    TC_CHECK(pipe(ready) == 0 && pipe(go) == 0);
    crowd.pid = fork();
    TC_CHECK(crowd.pid >= 0);
    if (crowd.pid == 0) {
        close(ready[0]);
        close(go[1]);
        for (int fd = 3; fd < 1024; fd++) { /* the server's, among them its listener */
            if (fd != ready[1] && fd != go[0]) {
                close(fd);
            }
        }
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
            _exit(5);
        }
        limit_descriptors(limit.rlim_max);
        crowd_main(addr, ready[1], go[0]);
    }
    close(ready[1]);
    close(go[0]);
    crowd.ready = ready[0];
    crowd.go = go[1];
    return crowd;
}

struct crowding {
    struct tc_runtime *runtime;
    uint32_t max_connections;
};

/* Returns how long a new client waited for its answer once the crowd had left; TC_NEVER if the
 * server used the processor while it waited, which the account of a machine that was away may say
 * too. */
static int64_t let_crowd_in(void *arg)
{
    struct crowding *crowding = arg;
    struct tc_runtime *runtime = crowding->runtime;
    uint32_t max_connections = crowding->max_connections;
    struct tc_server_options options = {.max_connections = max_connections};
    struct tc_server *server;
    struct tc_addr addr;
    char byte = 1;
    int64_t took = 0;

    limit_descriptors(64);
    server = start_server(runtime, &tc_echo_protocol, &options);
    tc_server_address(server, &addr);
    struct crowd crowd = start_crowd(&addr);
    TC_CHECK_EQ(read(crowd.ready, &byte, 1), 1);
    WAIT_UNTIL(statistics(server).accept_pauses > 0);
    double cpu = cpu_seconds();
    pause_ms(3000);
    cpu = cpu_seconds() - cpu;
    struct tc_server_statistics seen = statistics(server);
    if (cpu > 0.05) {
        fprintf(stderr, "%.3f s of CPU in 3 s; %llu pauses\n", cpu,
                (unsigned long long)seen.accept_pauses);
    }
    if (max_connections == 0) {
        TC_CHECK_EQ(seen.connections, 64 / 5 * 4);
        TC_CHECK_EQ(seen.shed, 0);
        TC_CHECK_EQ(seen.accept_pauses, 1);
    } else {
        TC_CHECK(seen.connections > 30);
        TC_CHECK(seen.shed > 0);
        TC_CHECK_EQ(seen.last_error, -EMFILE);
    }
    TC_CHECK_EQ(write(crowd.go, &byte, 1), 1);
    TC_CHECK_EQ(read(crowd.ready, &took, sizeof took), (ssize_t)sizeof took);
    TC_CHECK_EQ(waitpid(crowd.pid, NULL, 0), crowd.pid);
    close(crowd.ready);
    close(crowd.go);
    end_server(server);
    return cpu > 0.05 ? TC_NEVER : took;
}

static void check_crowd(uint32_t workers, uint32_t max_connections)
{
    struct crowding crowding = {start_runtime(workers), max_connections};

    tc_test_timely(let_crowd_in, &crowding, TC_TSAN || TC_ASAN ? SECONDS(3) : SECONDS(1));
    stop_runtime(crowding.runtime);
}

TC_TEST(test_limits_crowd_at_the_default_cap_waits_without_cpu_and_recovers)
{
    check_crowd(1, 0);
}

TC_TEST(test_limits_crowd_at_the_default_cap_two_workers)
{
    check_crowd(2, 0);
}

TC_TEST(test_limits_crowd_beyond_the_descriptors_is_shed_without_cpu_and_recovers)
{
    check_crowd(1, 1000);
}

TC_TEST(test_limits_crowd_beyond_the_descriptors_two_workers)
{
    check_crowd(2, 1000);
}

TC_TEST(test_limits_max_connections_is_never_exceeded_and_all_are_served_in_turn)
{
    struct tc_runtime *runtime = start_runtime(2);
    struct tc_server_options options = {.max_connections = 3};
    struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);
    int fds[10];

    for (int i = 0; i < 10; i++) {
        fds[i] = connect_to(server);
    }
    for (int i = 0; i < 10; i++) {
        probe(fds[i], 10);
        TC_CHECK(statistics(server).connections <= 3);
        close(fds[i]);
    }
    WAIT_UNTIL(statistics(server).connections == 0);
    TC_CHECK_EQ(statistics(server).shed, 0);
    WAIT_UNTIL(statistics(server).accepted == 10); /* counted when it may be served already */
    end_server(server);
    stop_runtime(runtime);
}

/* Returns the time from the close of one server's connection to the answer of the other. */
static int64_t resume_by_close(void *runtime)
{
    struct tc_server_options options = {.max_connections = 1000};
    struct tc_server *busy = start_server(runtime, &tc_echo_protocol, &options);
    struct tc_server *paused = start_server(runtime, &tc_echo_protocol, &options);
    int holder = connect_to(busy);
    char byte = 'x';

    probe(holder, 1);
    int client = connect_to(paused);
    probe(client, 1);
    close(client);
    tc_fault_arm(TC_SYS_ACCEPT4, 1, EMFILE, UINT64_MAX);
    client = connect_to(paused);
    WAIT_UNTIL(statistics(paused).paused);
    /* After some failures the timer is at 50 ms: an answer that is faster came from the close. */
    pause_ms(200);
    tc_fault_disarm_all();
    int64_t since = tc_clock_now_ns();
    close(holder);
    send_exactly(client, &byte, 1);
    recv_exactly(client, &byte, 1);
    since = tc_clock_now_ns() - since;
    close(client);
    end_server(busy);
    end_server(paused);
    return since;
}

TC_TEST(test_limits_close_of_another_servers_connection_resumes_a_paused_listener)
{
    struct tc_runtime *runtime = start_runtime(2);

    tc_test_timely(resume_by_close, runtime, SECONDS(0.3));
    stop_runtime(runtime);
}

/* ---- injected failures -------------------------------------------------------------------- */

struct fault {
    enum tc_sys_call call;
    int error;
    uint64_t nth;
    uint64_t times;
};

/* Arm one failure, let clients come and go, disarm; then the server must answer, and end with
 * everything returned. Returns the CPU time that was used meanwhile. */
static int64_t suffer(void *arg)
{
    const struct fault *fault = arg;
    struct tc_runtime *runtime = start_runtime(2);
    struct tc_server_options options = {.idle_timeout_ns = SECONDS(30), .drain_timeout_ns = 0};
    struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);
    int descriptors = count_descriptors();
    struct tc_addr addr;
    struct timeval soon = {.tv_sec = 0, .tv_usec = 2000};
    char data[2000];

    memset(data, 'f', sizeof data);
    tc_server_address(server, &addr);
    tc_fault_arm(fault->call, fault->nth, fault->error, fault->times);
    double cpu = cpu_seconds();
    for (int i = 0; i < 6; i++) {
        int fd = try_connect(&addr);
        if (fd >= 0) {
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
            if (send(fd, data, sizeof data, MSG_NOSIGNAL) > 0) {
                ssize_t n = recv(fd, data, sizeof data, 0);
                TC_CHECK(n <= (ssize_t)sizeof data);
            }
            close(fd);
        }
    }
    pause_ms(fault->times == 1 ? 5 : 100);
    cpu = cpu_seconds() - cpu;
    tc_fault_disarm_all();
    if (!answers_again(server)) {
        tc_test_failf("%s failing with %d at call %llu: no answer", tc_fault_name((int)fault->call),
                      fault->error, (unsigned long long)fault->nth);
    }
    WAIT_UNTIL(statistics(server).connections == 0);
    WAIT_UNTIL(count_descriptors() == descriptors);
    end_server(server);
    struct tc_runtime_statistics after;
    WAIT_UNTIL((tc_runtime_statistics(runtime, &after), after.fibers == 0 && after.timers == 0));
    stop_runtime(runtime);
    if (cpu > 0.06) {
        fprintf(stderr, "%s failing with %d: CPU time:\n", tc_fault_name((int)fault->call),
                fault->error);
    }
    return SECONDS(cpu);
}

static void check_fault(enum tc_sys_call call, int error, uint64_t nth, uint64_t times)
{
    struct fault fault = {call, error, nth, times};

    tc_test_timely(suffer, &fault, SECONDS(0.06));
}

static const struct {
    enum tc_sys_call call;
    int errors[16];
} fault_table[] = {
    {TC_SYS_ACCEPT4,
     {EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTO, EPERM, EINVAL, EBADF,
      ENOTSOCK, EOPNOTSUPP, EFAULT, ENETDOWN}},
    {TC_SYS_EPOLL_CTL, {ENOMEM, ENOSPC, EPERM, EBADF, EEXIST, ENOENT, EINVAL, ELOOP}},
    {TC_SYS_RECV,
     {EAGAIN, EBADF, ECONNREFUSED, EFAULT, EINTR, EINVAL, ENOMEM, ENOTCONN, ENOTSOCK, ECONNRESET,
      ETIMEDOUT}},
    {TC_SYS_SEND,
     {EBADF, ECONNRESET, EPIPE, EINTR, EINVAL, ENOBUFS, ENOMEM, ENOTCONN, EMSGSIZE, EACCES,
      EFAULT}},
    {TC_SYS_CLOSE, {EINTR, EIO, EBADF, ENOSPC, EDQUOT}},
    {TC_SYS_EVENTFD, {EMFILE, ENFILE, ENOMEM, ENODEV, EINVAL}},
    {TC_SYS_GETRLIMIT, {EINVAL, EFAULT}},
    {TC_SYS_SHUTDOWN, {ENOTCONN, EINVAL}},
    {TC_FAULT_ALLOC, {ENOMEM}},
    {TC_SYS_MMAP, {ENOMEM}},
};

TC_TEST(test_limits_each_call_failing_once_leaves_a_server_that_answers)
{
    for (size_t i = 0; i < TC_ARRAY_LEN(fault_table); i++) {
        for (int k = 0; k < 16 && fault_table[i].errors[k] != 0; k++) {
            check_fault(fault_table[i].call, fault_table[i].errors[k], 1, 1);
            check_fault(fault_table[i].call, fault_table[i].errors[k], 3, 1);
        }
    }
}

TC_TEST(test_limits_each_call_failing_for_long_leaves_a_server_that_answers)
{
    for (size_t i = 0; i < TC_ARRAY_LEN(fault_table); i++) {
        for (int k = 0; k < 16 && fault_table[i].errors[k] != 0; k++) {
            if (fault_table[i].call == TC_SYS_RECV && fault_table[i].errors[k] == EAGAIN) {
                continue; /* a kernel that lies about readiness; data is then never found */
            }
            check_fault(fault_table[i].call, fault_table[i].errors[k], 1, UINT64_MAX);
        }
    }
}

TC_TEST(test_limits_start_failing_at_the_nth_call_leaves_nothing)
{
    static const struct {
        enum tc_sys_call call;
        int error;
    } calls[] = {
        {TC_SYS_SOCKET, EMFILE},     {TC_SYS_SETSOCKOPT, ENOMEM},   {TC_SYS_BIND, EADDRINUSE},
        {TC_SYS_LISTEN, EADDRINUSE}, {TC_SYS_GETSOCKNAME, ENOBUFS}, {TC_SYS_EPOLL_CTL, ENOSPC},
        {TC_FAULT_ALLOC, ENOMEM},
    };
    struct tc_runtime *runtime = start_runtime(1);
    int descriptors = count_descriptors();

    for (size_t i = 0; i < TC_ARRAY_LEN(calls); i++) {
        uint64_t hits = 1;
        for (uint64_t nth = 1; hits != 0; nth++) {
            struct tc_server_options options = {.reuse_port = true};
            struct tc_server *server;
            TC_CHECK(nth < 20);
            tc_fault_arm(calls[i].call, nth, calls[i].error, 1);
            int rc = tc_server_start(runtime, &tc_echo_protocol, &options, &server);
            hits = tc_fault_hits(calls[i].call);
            tc_fault_disarm_all();
            if (hits == 0) {
                TC_CHECK_EQ(rc, 0);
            }
            if (rc == 0) {
                TC_CHECK(answers_a_probe(server));
                end_server(server);
            } else {
                TC_CHECK_EQ(rc, -calls[i].error);
            }
            TC_CHECK_EQ(count_descriptors(), descriptors);
        }
    }
    stop_runtime(runtime);
}

static _Atomic int held;
static _Atomic bool is_released;

/* Answers one byte, on a fiber that is busy until it `is_released`. */
static enum tc_verdict hold_fiber(struct tc_conn *conn)
{
    char byte[2]; /* a read of full length would be tried again before the connection may rest */

    if (tc_stream_recv(tc_conn_stream(conn), byte, sizeof byte, TC_NEVER) != 1) {
        return TC_CONN_CLOSE;
    }
    tc_fetch_add_seq_cst(&held, 1);
    while (!tc_load_seq_cst(&is_released)) {
        TC_CHECK_EQ(tc_fiber_sleep_until(tc_deadline_after_ns(TC_NS_PER_MS)), 0);
    }
    ssize_t n = tc_stream_send(tc_conn_stream(conn), byte, 1, tc_conn_send_deadline(conn));
    return n == 1 ? TC_CONN_REST : tc_conn_fail(conn, (int)n);
}

TC_TEST(test_limits_too_many_fibers_sheds_the_connection_and_counts_it)
{
    struct tc_runtime_options runtime_options = {
        .workers = 1, .max_fibers = 1, .driver = &tc_io_driver};
    struct tc_runtime *runtime;
    static const struct tc_protocol protocol = {
        .name = "holds", .stack_class = TC_STACK_DEFAULT, .serve = hold_fiber};
    struct tc_server_options options = {.host = NULL};
    char byte = 0;

    TC_CHECK_EQ(tc_runtime_new(&runtime_options, &runtime), 0);
    TC_CHECK_EQ(tc_runtime_start(runtime), 0);
    struct tc_server *server = start_server(runtime, &protocol, &options);
    int slow = connect_to(server);
    send_exactly(slow, "s", 1);
    WAIT_UNTIL(tc_load_seq_cst(&held) == 1);
    int other = connect_to(server);
    send_exactly(other, "x", 1);
    TC_CHECK(ends_within(other, LONG_SECONDS));
    TC_CHECK_EQ(statistics(server).shed, 1);
    TC_CHECK_EQ(statistics(server).last_error, -EAGAIN);
    WAIT_UNTIL(statistics(server).connections == 1);
    tc_store_seq_cst(&is_released, true);
    recv_exactly(slow, &byte, 1);
    TC_CHECK_EQ(byte, 's');
    close(slow);
    WAIT_UNTIL(statistics(server).connections == 0);
    TC_CHECK(answers_a_probe(server));
    close(other);
    end_server(server);
    stop_runtime(runtime);
}
