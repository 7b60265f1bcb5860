#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "support.h"

#include "sched/worker.h"

static void on_workers(void (*body)(struct tc_runtime *))
{
    for (uint32_t workers = 1; workers <= 2; workers++) {
        struct tc_runtime *runtime = start_runtime(workers);
        body(runtime);
        stop_runtime(runtime);
    }
}

static void check_sizes(struct tc_runtime *runtime)
{
    static const size_t sizes[] = {1, 106, 4096, 65536, 256 * 1024, 1024 * 1024 + 1};
    struct tc_server_options options = {.host = NULL};
    struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);
    int fd = connect_to(server);

    for (size_t i = 0; i < 4; i++) {
        probe(fd, sizes[i]);
    }
    TC_CHECK_EQ(statistics(server).connections, 1);
    WAIT_UNTIL(statistics(server).accepted == 1); /* counted when it may be served already */
    close(fd);
    end_server(server);
}

TC_TEST(test_echo_answers_requests_of_all_sizes_with_the_same_bytes)
{
    on_workers(check_sizes);
}

static void check_counts(struct tc_runtime *runtime)
{
    struct tc_server_options options = {.host = NULL};
    struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);
    int fd = connect_to(server);

    tc_chaos_suspend(); /* a probe that arrives in two parts counts as two requests */
    for (int i = 0; i < 100; i++) {
        probe(fd, 10);
    }
    /* The answer is on its way before it is counted. */
    WAIT_UNTIL(statistics(server).requests == 100);
    WAIT_UNTIL(statistics(server).resting == 1);
    TC_CHECK_EQ(statistics(server).bytes_in, 1000);
    TC_CHECK_EQ(statistics(server).bytes_out, 1000);
    close(fd);
    WAIT_UNTIL(statistics(server).connections == 0);
    end_server(server);
}

TC_TEST(test_echo_counts_requests_bytes_and_resting_connections)
{
    on_workers(check_counts);
}

static void check_half_close(struct tc_runtime *runtime)
{
    struct tc_server_options options = {.host = NULL};
    struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);

    for (int i = 0; i < 50; i++) {
        char data[3000];
        char back[3000];
        int fd = connect_to(server);
        memset(data, 'a' + i % 26, sizeof data);
        send_exactly(fd, data, sizeof data);
        TC_CHECK_EQ(shutdown(fd, SHUT_WR), 0);
        recv_exactly(fd, back, sizeof back);
        TC_CHECK(memcmp(data, back, sizeof data) == 0);
        TC_CHECK_EQ(recv(fd, back, 1, 0), 0);
        close(fd);
    }
    WAIT_UNTIL(statistics(server).connections == 0);
    TC_CHECK_EQ(statistics(server).resets, 0);
    end_server(server);
}

TC_TEST(test_echo_fin_after_data_gets_all_data_and_then_the_end)
{
    on_workers(check_half_close);
}

/* The client sends without reading until nobody takes any more, then reads everything. */
static void check_slow_reader(struct tc_runtime *runtime)
{
    struct tc_server_options options = {.host = NULL};
    struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);
    size_t before = tc_mem_bytes_in_use();
    int fd = connect_to(server);
    unsigned char block[4096];
    size_t sent = 0;
    struct timeval soon = {.tv_sec = 0, .tv_usec = 300000};

    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
    for (;;) {
        for (size_t i = 0; i < sizeof block; i++) {
            block[i] = (unsigned char)((sent + i) * 31 >> 3);
        }
        ssize_t n = send(fd, block, sizeof block, MSG_NOSIGNAL);
        if (n < 0) {
            TC_CHECK_EQ(errno, EAGAIN);
            break;
        }
        sent += (size_t)n;
    }
    TC_CHECK(tc_mem_bytes_in_use() <= before + 512 * 1024);
    for (size_t got = 0; got < sent;) {
        ssize_t n = recv(fd, block, sizeof block, 0);
        TC_CHECK(n > 0);
        for (ssize_t i = 0; i < n; i++) {
            TC_CHECK_EQ(block[i], (unsigned char)((got + (size_t)i) * 31 >> 3));
        }
        got += (size_t)n;
    }
    probe(fd, 106);
    close(fd);
    end_server(server);
}

TC_TEST(test_echo_slow_reader_gets_every_byte_and_costs_bounded_memory)
{
    on_workers(check_slow_reader);
}

static void check_send_timeout(struct tc_runtime *runtime)
{
    struct tc_server_options options = {.send_timeout_ns = SECONDS(0.2)};
    struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);
    int fd = connect_to(server);
    struct timeval soon = {.tv_sec = 0, .tv_usec = 100000};
    static char block[65536];

    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
    while (send(fd, block, sizeof block, MSG_NOSIGNAL) > 0) {
    }
    WAIT_UNTIL(statistics(server).connections == 0);
    TC_CHECK_EQ(statistics(server).send_timeouts, 1);
    close(fd);
    end_server(server);
}

TC_TEST(test_echo_peer_that_takes_nothing_is_closed_after_the_send_timeout)
{
    on_workers(check_send_timeout);
}

enum { STORM_CLIENTS = 200 };

static void check_storm(struct tc_runtime *runtime)
{
    struct tc_server_options options = {.host = NULL};
    struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);
    int descriptors = count_descriptors();
    size_t bytes = 0;
    uint64_t random = tc_test_seed();

    for (int round = 0; round < 5; round++) {
        int fds[STORM_CLIENTS];
        char data[20000];
        memset(data, 'x', sizeof data);
        for (int i = 0; i < STORM_CLIENTS; i++) {
            fds[i] = connect_to(server);
        }
        for (int i = 0; i < STORM_CLIENTS; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            send_exactly(fds[i], data, 1 + (random >> 33) % sizeof data);
            switch (random >> 60) {
            case 0:
            case 1:
            case 2:
            case 3:
            case 4:
                reset_connection(fds[i]);
                break;
            case 5:
            case 6:
            case 7:
            case 8:
            case 9:
                shutdown(fds[i], SHUT_WR);
                close(fds[i]);
                break;
            default:
                close(fds[i]);
                break;
            }
        }
        WAIT_UNTIL(statistics(server).connections == 0);
        TC_CHECK(answers_a_probe(server));
        WAIT_UNTIL(statistics(server).connections == 0);
        struct tc_runtime_statistics after;
        WAIT_UNTIL((tc_runtime_statistics(runtime, &after),
                    after.fibers + after.timers == 0 && after.descriptors == 1));
        WAIT_UNTIL(count_descriptors() == descriptors);
        if (round == 0) {
            bytes = after.bytes_in_use - after.bytes_reserved; /* pools keep what they had */
        }
        WAIT_UNTIL((tc_runtime_statistics(runtime, &after),
                    after.bytes_in_use - after.bytes_reserved <= bytes));
    }
    end_server(server);
}

TC_TEST(test_echo_storms_of_resets_and_vanishing_clients_leave_nothing)
{
    on_workers(check_storm);
}

/* ---- a batch of much ------------------------------------------------------------------------ */

enum { MANY = 16, MUCH = 24 * 1024 }; /* together three times what a turn handles for sure */

static _Atomic bool has_begun;
static _Atomic bool is_there;
static _Atomic bool is_answered;

/* Keep the only worker from its poller until everything has been sent; then, if `arg` is not NULL,
 * wait for the worker until everything is answered. */
static void occupy(void *arg)
{
    tc_store_relaxed(&has_begun, true); /* relaxed: as all of these, it says no more than itself */
    while (!tc_load_relaxed(&is_there)) { /* relaxed: see above */
    }
    while (arg != NULL && !tc_load_relaxed(&is_answered)) { /* relaxed: see above */
        int64_t until_ns = tc_deadline_after_ns(TC_POLL_NS);
        while (tc_clock_now_ns() < until_ns) {
        }
        tc_fiber_yield();
    }
}

/* Bytes that the peer's system has not acknowledged. */
static int count_unacknowledged(int fd)
{
    int count = -1;

    TC_CHECK_EQ(ioctl(fd, SIOCOUTQ, &count), 0);
    return count;
}

/* How many fibers the connections of one batch were given. */
static uint64_t count_fibers_for_a_batch(bool is_waited_for)
{
    struct tc_runtime *runtime = start_runtime(1);
    struct tc_server_options options = {.host = NULL};
    struct tc_spawn_options detached = {.detached = true};
    struct tc_server *server = start_server(runtime, &tc_echo_protocol, &options);
    struct tc_runtime_statistics before;
    struct tc_runtime_statistics after;
    char data[MUCH];
    int fds[MANY];

    tc_chaos_suspend(); /* an answer that does not leave at once needs a fiber */
    memset(data, 'x', sizeof data);
    for (int i = 0; i < MANY; i++) {
        fds[i] = connect_to(server);
        probe(fds[i], 100);
    }
    WAIT_UNTIL(statistics(server).resting == MANY);
    tc_runtime_statistics(runtime, &before);
    TC_CHECK_EQ(tc_fiber_spawn(runtime, occupy, is_waited_for ? data : NULL, &detached, NULL), 0);
    WAIT_UNTIL(tc_load_relaxed(&has_begun)); /* relaxed: see occupy */
    for (int i = 0; i < MANY; i++) {
        send_exactly(fds[i], data, sizeof data);
    }
    for (int i = 0; i < MANY; i++) {
        WAIT_UNTIL(count_unacknowledged(fds[i]) == 0);
    }
    tc_store_relaxed(&is_there, true); /* relaxed: see occupy */
    for (int i = 0; i < MANY; i++) {
        recv_exactly(fds[i], data, sizeof data);
        close(fds[i]);
    }
    tc_store_relaxed(&is_answered, true); /* relaxed: see occupy */
    WAIT_UNTIL(statistics(server).connections == 0);
    tc_runtime_statistics(runtime, &after);
    TC_CHECK_EQ(statistics(server).bytes_out, (uint64_t)MANY * (MUCH + 100));
    end_server(server);
    stop_runtime(runtime);
    return after.spawned - before.spawned - 1; /* without the one that waits */
}

TC_TEST(test_echo_large_batch_costs_no_fibers_while_nobody_waits)
{
    TC_CHECK_EQ(count_fibers_for_a_batch(false), 0);
}

TC_TEST(test_echo_large_batch_is_left_to_fibers_while_one_waits)
{
    uint64_t fibers = count_fibers_for_a_batch(true);

    TC_CHECK(fibers >= 1 && fibers < MANY);
}
