#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/stat.h>

#include "support.h"

static void on_workers(void (*body)(void *))
{
    for (uint32_t workers = 1; workers <= 2; workers++) {
        struct tc_runtime *runtime = start_runtime(workers);
        int descriptors = count_descriptors();
        TC_CHECK_EQ(tc_runtime_run(runtime, body, runtime), 0);
        struct tc_runtime_statistics after;
        WAIT_UNTIL((tc_runtime_statistics(runtime, &after), after.fibers == 0));
        TC_CHECK_EQ(after.descriptors, 0);
        TC_CHECK_EQ(after.timers, 0);
        TC_CHECK_EQ(count_descriptors(), descriptors);
        stop_runtime(runtime);
    }
}

/* Two ends of one connection over loopback. */
struct pair {
    struct tc_stream client;
    struct tc_stream server;
};

static void open_pair(struct pair *pair)
{
    struct tc_listener listener;
    struct tc_addr addr;

    TC_CHECK_EQ(tc_addr_parse(NULL, 0, &addr), 0);
    TC_CHECK_EQ(tc_tcp_listen(&listener, &addr, NULL), 0);
    TC_CHECK_EQ(tc_tcp_listener_address(&listener, &addr), 0);
    TC_CHECK_EQ(tc_tcp_connect(&addr, tc_deadline_after_ns(SECONDS(2)), &pair->client), 0);
    TC_CHECK_EQ(tc_tcp_accept(&listener, &pair->server, tc_deadline_after_ns(SECONDS(2))), 0);
    tc_tcp_close(&listener);
    tc_tcp_close(&listener);
}

static void close_pair(struct pair *pair)
{
    tc_stream_close(&pair->client);
    tc_stream_close(&pair->server);
    tc_stream_close(&pair->server);
}

/* ---- both ways ---------------------------------------------------------------------------- */

static void exchange(void *arg)
{
    struct pair pair;
    struct tc_addr local;
    struct tc_addr peer;
    char bytes[32];
    struct iovec parts[2] = {{.iov_base = "abc", .iov_len = 3}, {.iov_base = "defg", .iov_len = 4}};

    (void)arg;
    tc_chaos_suspend(); /* each transfer is whole */
    open_pair(&pair);
    TC_CHECK_EQ(tc_stream_local_address(&pair.client, &local), 0);
    TC_CHECK_EQ(tc_stream_peer_address(&pair.server, &peer), 0);
    TC_CHECK(tc_addr_is_equal(&local, &peer));
    TC_CHECK_EQ(tc_stream_send(&pair.client, "hello", 5, TC_NEVER), 5);
    TC_CHECK_EQ(tc_stream_recv(&pair.server, bytes, sizeof bytes, TC_NEVER), 5);
    TC_CHECK_EQ(tc_stream_sendv(&pair.server, parts, 2, TC_NEVER), 7);
    TC_CHECK_EQ(tc_stream_recv(&pair.client, bytes, 4, TC_NEVER), 4);
    TC_CHECK_EQ(tc_stream_recv(&pair.client, bytes + 4, sizeof bytes - 4, TC_NEVER), 3);
    TC_CHECK(memcmp(bytes, "abcdefg", 7) == 0);
    TC_CHECK_EQ(tc_stream_buffered(&pair.client), 0);
    TC_CHECK_EQ(tc_tcp_set_nodelay(&pair.client, false), 0);
    close_pair(&pair);
}

TC_TEST(test_stream_exchange_moves_bytes_both_ways)
{
    on_workers(exchange);
}

static void try_forms(void *arg)
{
    struct pair pair;
    char bytes[8];
    enum tc_direction want = TC_WRITE;

    (void)arg;
    open_pair(&pair);
    TC_CHECK_EQ(tc_stream_try_recv(&pair.server, bytes, sizeof bytes, &want), -EAGAIN);
    TC_CHECK_EQ(want, TC_READ);
    TC_CHECK(!tc_stream_has_input(&pair.server));
    TC_CHECK_EQ(tc_stream_try_send(&pair.client, "x", 1, &want), 1);
    TC_CHECK_EQ(tc_stream_recv(&pair.server, bytes, sizeof bytes, TC_NEVER), 1);
    TC_CHECK_EQ(tc_stream_try_recv(&pair.server, bytes, sizeof bytes, &want), -EAGAIN);
    static char block[1 << 20];
    while (tc_stream_try_send(&pair.client, block, sizeof block, &want) > 0) {
    }
    TC_CHECK_EQ(want, TC_WRITE);
    TC_CHECK(tc_stream_has_input(&pair.server));
    close_pair(&pair);
}

TC_TEST(test_stream_try_forms_say_eagain_and_the_direction)
{
    on_workers(try_forms);
}

/* ---- deadlines ---------------------------------------------------------------------------- */

static int64_t wait_in_vain(void *arg)
{
    struct pair *pair = arg;
    int64_t began = tc_clock_now_ns();
    char byte;

    TC_CHECK_EQ(tc_stream_recv(&pair->client, &byte, 1, began + SECONDS(0.05)), -ETIMEDOUT);
    int64_t took = tc_clock_now_ns() - began;
    TC_CHECK(took >= SECONDS(0.05));
    return took;
}

static void deadlines(void *arg)
{
    struct pair pair;
    struct tc_stream none;
    struct tc_listener listener;
    struct tc_addr addr;
    static char block[1 << 20];

    (void)arg;
    open_pair(&pair);
    tc_test_timely(wait_in_vain, &pair, SECONDS(0.15));
    int64_t began = tc_clock_now_ns();
    int64_t late = began + SECONDS(0.1);
    int rc = 0;
    while (rc == 0) {
        rc = tc_stream_send_all(&pair.client, block, sizeof block, late);
    }
    TC_CHECK_EQ(rc, -ETIMEDOUT);
    TC_CHECK_EQ(tc_addr_parse(NULL, 0, &addr), 0);
    TC_CHECK_EQ(tc_tcp_listen(&listener, &addr, NULL), 0);
    began = tc_clock_now_ns();
    TC_CHECK_EQ(tc_tcp_accept(&listener, &none, began + SECONDS(0.03)), -ETIMEDOUT);
    tc_tcp_close(&listener);
    close_pair(&pair);
}

TC_TEST(test_stream_deadlines_end_recv_send_and_accept)
{
    on_workers(deadlines);
}

/* ---- congestion control ------------------------------------------------------------------- */

static void check_congestion_control(const struct tc_addr *addr, const char *expected)
{
    struct tc_listener listener;
    struct tc_stream client;
    struct tc_stream server;
    struct tc_addr bound;
    char name[16] = "";
    socklen_t length = sizeof name;

    TC_CHECK_EQ(tc_tcp_listen(&listener, addr, NULL), 0);
    TC_CHECK_EQ(tc_tcp_listener_address(&listener, &bound), 0);
    TC_CHECK_EQ(tc_tcp_connect(&bound, tc_deadline_after_ns(SECONDS(2)), &client), 0);
    TC_CHECK_EQ(tc_tcp_accept(&listener, &server, tc_deadline_after_ns(SECONDS(2))), 0);
    int fd = tc_load_relaxed(&server.slot->fd); /* relaxed: our own */
    TC_CHECK_EQ(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length), 0);
    TC_CHECK(strcmp(name, expected) == 0);
    tc_stream_close(&client);
    tc_stream_close(&server);
    tc_tcp_close(&listener);
}

/* What the system gives a socket that nobody has asked for anything. */
static void find_congestion_control(char *name, socklen_t size)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    TC_CHECK(fd >= 0);
    TC_CHECK_EQ(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size), 0);
    close(fd);
}

static void congestion_control(void *arg)
{
    struct tc_addr addr;
    char usual[16] = "";

    (void)arg;
    find_congestion_control(usual, sizeof usual);
    TC_CHECK_EQ(tc_addr_parse("127.0.0.1", 0, &addr), 0);
    check_congestion_control(&addr, "reno");
    TC_CHECK_EQ(tc_addr_parse("0.0.0.0", 0, &addr), 0);
    check_congestion_control(&addr, usual);
    TC_CHECK_EQ(tc_addr_parse("127.0.0.1", 0, &addr), 0);
    tc_fault_arm(TC_SYS_SETSOCKOPT, 3, EPERM, 1); /* behind SO_REUSEADDR and TCP_NODELAY */
    check_congestion_control(&addr, usual);
    TC_CHECK_EQ(tc_fault_hits(TC_SYS_SETSOCKOPT), 1);
    tc_fault_disarm_all();
}

TC_TEST(test_stream_accepted_over_loopback_is_not_paced)
{
    on_workers(congestion_control);
}

/* ---- deadlines of connect ----------------------------------------------------------------- */

/* A listener with a full queue answers no more connection requests. */
static void connect_deadline(void *arg)
{
    struct tc_listen_options options = {.backlog = 1};
    struct tc_listener listener;
    struct tc_stream streams[16];
    struct tc_addr addr;
    int count = 0;
    int rc = 0;

    (void)arg;
    TC_CHECK_EQ(tc_addr_parse(NULL, 0, &addr), 0);
    TC_CHECK_EQ(tc_tcp_listen(&listener, &addr, &options), 0);
    TC_CHECK_EQ(tc_tcp_listener_address(&listener, &addr), 0);
    while (rc == 0 && count < 16) {
        rc = tc_tcp_connect(&addr, tc_deadline_after_ns(SECONDS(0.2)), &streams[count]);
        count += rc == 0;
    }
    TC_CHECK_EQ(rc, -ETIMEDOUT);
    while (count > 0) {
        tc_stream_close(&streams[--count]);
    }
    tc_tcp_close(&listener);
    TC_CHECK_EQ(tc_tcp_connect(&addr, TC_NEVER, &streams[0]), -ECONNREFUSED);
}

TC_TEST(test_stream_connect_obeys_its_deadline_and_reports_refusal)
{
    on_workers(connect_deadline);
}

/* ---- half-close, abort, reset ------------------------------------------------------------- */

static void half_close(void *arg)
{
    struct pair pair;
    char bytes[8];

    (void)arg;
    tc_chaos_suspend(); /* each message is received whole */
    open_pair(&pair);
    TC_CHECK_EQ(tc_stream_send_all(&pair.client, "bye", 3, TC_NEVER), 0);
    TC_CHECK_EQ(tc_stream_shutdown_write(&pair.client, TC_NEVER), 0);
    TC_CHECK_EQ(tc_stream_recv(&pair.server, bytes, sizeof bytes, TC_NEVER), 3);
    TC_CHECK_EQ(tc_stream_recv(&pair.server, bytes, sizeof bytes, TC_NEVER), 0);
    TC_CHECK_EQ(tc_stream_recv(&pair.server, bytes, sizeof bytes, TC_NEVER), 0);
    TC_CHECK_EQ(tc_stream_send_all(&pair.server, "see you", 7, TC_NEVER), 0);
    TC_CHECK_EQ(tc_stream_recv(&pair.client, bytes, sizeof bytes, TC_NEVER), 7);
    TC_CHECK_EQ(tc_stream_shutdown_write(&pair.server, TC_NEVER), 0);
    TC_CHECK_EQ(tc_stream_recv(&pair.client, bytes, sizeof bytes, TC_NEVER), 0);
    TC_CHECK_EQ(tc_stream_send(&pair.client, "x", 1, TC_NEVER), -EPIPE);
    close_pair(&pair);
}

TC_TEST(test_stream_half_close_leaves_the_other_direction_open)
{
    on_workers(half_close);
}

static void *abort_later(void *arg)
{
    pause_ms(50);
    tc_stream_abort(arg);
    return NULL;
}

static void abort_from_thread(void *arg)
{
    struct pair pair;
    pthread_t thread;
    char byte;

    (void)arg;
    open_pair(&pair);
    TC_CHECK_EQ(pthread_create(&thread, NULL, abort_later, &pair.client), 0);
    TC_CHECK_EQ(tc_stream_recv(&pair.client, &byte, 1, tc_deadline_after_ns(SECONDS(5))), 0);
    TC_CHECK_EQ(tc_stream_recv(&pair.server, &byte, 1, tc_deadline_after_ns(SECONDS(5))), 0);
    pthread_join(thread, NULL);
    close_pair(&pair);
}

TC_TEST(test_stream_abort_from_another_thread_wakes_both_ends)
{
    on_workers(abort_from_thread);
}

static void reset(void *arg)
{
    struct pair pair;
    char byte;

    (void)arg;
    open_pair(&pair);
    TC_CHECK_EQ(tc_stream_send_all(&pair.client, "unread", 6, TC_NEVER), 0);
    TC_CHECK(tc_stream_has_input(&pair.server));
    tc_stream_close(&pair.server);
    TC_CHECK_EQ(tc_stream_recv(&pair.client, &byte, 1, tc_deadline_after_ns(SECONDS(5))),
                -ECONNRESET);
    TC_CHECK_EQ(tc_stream_recv(&pair.client, &byte, 1, tc_deadline_after_ns(SECONDS(5))), 0);
    tc_stream_close(&pair.client);
}

TC_TEST(test_stream_reset_is_reported_once_and_then_the_end)
{
    on_workers(reset);
}

/* ---- cancel ------------------------------------------------------------------------------- */

struct reader {
    struct tc_stream *stream;
    _Atomic int64_t result;
};

static void read_one(void *arg)
{
    struct reader *reader = arg;
    char byte;

    tc_store_seq_cst(&reader->result, tc_stream_recv(reader->stream, &byte, 1, TC_NEVER));
}

static void cancel(void *arg)
{
    struct pair pair;
    struct tc_fiber *fiber;
    struct reader reader = {.stream = &pair.client};
    char byte;

    open_pair(&pair);
    TC_CHECK_EQ(tc_fiber_spawn(arg, read_one, &reader, NULL, &fiber), 0);
    TC_CHECK_EQ(tc_fiber_sleep_until(tc_deadline_after_ns(SECONDS(0.02))), 0);
    tc_fiber_cancel(fiber);
    TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), 0);
    TC_CHECK_EQ(tc_load_seq_cst(&reader.result), -ECANCELED);
    TC_CHECK_EQ(tc_stream_send_all(&pair.server, "k", 1, TC_NEVER), 0);
    TC_CHECK_EQ(tc_stream_recv(&pair.client, &byte, 1, TC_NEVER), 1);
    close_pair(&pair);
}

TC_TEST(test_stream_cancelled_recv_leaves_the_stream_usable)
{
    on_workers(cancel);
}

/* ---- bulk --------------------------------------------------------------------------------- */

enum { BULK_BYTES = 8 * 1024 * 1024 };

static unsigned char pattern(size_t at)
{
    return (unsigned char)(at * 2654435761u >> 13);
}

struct bulk {
    struct tc_stream *stream;
    int file_fd;
};

static void send_bulk(void *arg)
{
    struct bulk *bulk = arg;
    unsigned char *data = malloc(BULK_BYTES);

    for (size_t i = 0; i < BULK_BYTES; i++) {
        data[i] = pattern(i);
    }
    TC_CHECK_EQ(tc_stream_send_all(bulk->stream, data, BULK_BYTES, TC_NEVER), 0);
    TC_CHECK_EQ(tc_stream_shutdown_write(bulk->stream, TC_NEVER), 0);
    free(data);
}

static void send_bulk_file(void *arg)
{
    struct bulk *bulk = arg;

    TC_CHECK_EQ(tc_stream_send_file(bulk->stream, bulk->file_fd, 100, BULK_BYTES, TC_NEVER),
                BULK_BYTES - 100);
    TC_CHECK_EQ(tc_stream_shutdown_write(bulk->stream, TC_NEVER), 0);
}

static void check_received(struct tc_stream *stream, size_t from)
{
    unsigned char *data = malloc(100000);
    size_t at = from;

    for (;;) {
        ssize_t n = tc_stream_recv(stream, data, 1 + at % 100000, TC_NEVER);
        TC_CHECK(n >= 0);
        if (n == 0) {
            break;
        }
        for (ssize_t i = 0; i < n; i++) {
            TC_CHECK_EQ(data[i], pattern(at + (size_t)i));
        }
        at += (size_t)n;
    }
    TC_CHECK_EQ(at, BULK_BYTES);
    free(data);
}

static void bulk(void *arg)
{
    struct pair pair;
    struct tc_fiber *fiber;
    struct bulk work = {.stream = &pair.client};

    open_pair(&pair);
    TC_CHECK_EQ(tc_fiber_spawn(arg, send_bulk, &work, NULL, &fiber), 0);
    check_received(&pair.server, 0);
    TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), 0);
    close_pair(&pair);
}

TC_TEST(test_stream_bulk_arrives_complete_and_in_order)
{
    on_workers(bulk);
}

static void bulk_file(void *arg)
{
    struct pair pair;
    struct tc_fiber *fiber;
    struct bulk work = {.stream = &pair.client};
    char path[] = "/tmp/tc_stream_XXXXXX";

    work.file_fd = mkstemp(path);
    TC_CHECK(work.file_fd >= 0);
    unlink(path);
    unsigned char *data = malloc(BULK_BYTES);
    for (size_t i = 0; i < BULK_BYTES; i++) {
        data[i] = pattern(i);
    }
    TC_CHECK_EQ(write(work.file_fd, data, BULK_BYTES), BULK_BYTES);
    free(data);
    open_pair(&pair);
    TC_CHECK_EQ(tc_fiber_spawn(arg, send_bulk_file, &work, NULL, &fiber), 0);
    check_received(&pair.server, 100);
    TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), 0);
    close_pair(&pair);
    close(work.file_fd);
}

TC_TEST(test_stream_send_file_copies_up_to_the_end_of_the_file)
{
    on_workers(bulk_file);
}

/* ---- unix sockets ------------------------------------------------------------------------- */

/* An abstract name that no other process uses. */
static void own_unix_name(char *out, size_t size, const char *what)
{
    snprintf(out, size, "@tinycoro-test-%s-%d", what, (int)getpid());
}

static void unix_sockets(void *arg)
{
    char path[64];
    char file[64];
    struct tc_listener listener;
    struct tc_listener other;
    struct pair pair;
    char bytes[8];

    (void)arg;
    own_unix_name(path, sizeof path, "stream");
    TC_CHECK_EQ(tc_unix_listen(&listener, path, 0), 0);
    TC_CHECK_EQ(tc_unix_listen(&other, path, 0), -EADDRINUSE);
    TC_CHECK_EQ(tc_unix_connect(path, TC_NEVER, &pair.client), 0);
    TC_CHECK_EQ(tc_tcp_accept(&listener, &pair.server, TC_NEVER), 0);
    TC_CHECK_EQ(tc_stream_send_all(&pair.client, "unix", 4, TC_NEVER), 0);
    TC_CHECK_EQ(tc_stream_recv(&pair.server, bytes, sizeof bytes, TC_NEVER), 4);
    close_pair(&pair);
    tc_tcp_close(&listener);

    snprintf(file, sizeof file, "/tmp/tc_unix_%d", (int)getpid());
    TC_CHECK_EQ(tc_unix_connect(file, TC_NEVER, &pair.client), -ENOENT);
    TC_CHECK_EQ(tc_unix_listen(&listener, file, 0), 0);
    TC_CHECK_EQ(tc_unix_listen(&other, file, 0), -EADDRINUSE);
    tc_tcp_close(&listener);
    TC_CHECK_EQ(tc_unix_connect(file, TC_NEVER, &pair.client), -ECONNREFUSED);
    TC_CHECK_EQ(tc_unix_listen(&listener, file, 0), 0); /* the dead one's file is replaced */
    tc_tcp_close(&listener);
    unlink(file);
    int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    TC_CHECK(fd >= 0);
    close(fd);
    TC_CHECK_EQ(tc_unix_listen(&listener, file, 0), -EADDRINUSE); /* not a socket: kept */
    unlink(file);
}

TC_TEST(test_stream_unix_sockets_replace_dead_files_and_nothing_else)
{
    on_workers(unix_sockets);
}

/* A unix listener with a full queue makes connect say EAGAIN; it waits and then gets through. */
struct acceptor {
    struct tc_listener *listener;
    int count;
};

static void accept_later(void *arg)
{
    struct acceptor *acceptor = arg;

    TC_CHECK_EQ(tc_fiber_sleep_until(tc_deadline_after_ns(SECONDS(0.05))), 0);
    for (int i = 0; i < acceptor->count; i++) {
        struct tc_stream stream;
        TC_CHECK_EQ(tc_tcp_accept(acceptor->listener, &stream, TC_NEVER), 0);
        tc_stream_close(&stream);
    }
}

static void unix_full(void *arg)
{
    struct tc_listener listener;
    struct tc_stream streams[6];
    struct tc_fiber *fiber;
    struct acceptor acceptor = {.listener = &listener, .count = 6};

    char path[64];

    own_unix_name(path, sizeof path, "full");
    TC_CHECK_EQ(tc_unix_listen(&listener, path, 1), 0);
    TC_CHECK_EQ(tc_fiber_spawn(arg, accept_later, &acceptor, NULL, &fiber), 0);
    for (int i = 0; i < 6; i++) {
        TC_CHECK_EQ(tc_unix_connect(path, tc_deadline_after_ns(SECONDS(5)), &streams[i]), 0);
    }
    TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), 0);
    for (int i = 0; i < 6; i++) {
        tc_stream_close(&streams[i]);
    }
    tc_tcp_close(&listener);
}

TC_TEST(test_stream_unix_connect_waits_for_room_in_the_queue)
{
    on_workers(unix_full);
}
