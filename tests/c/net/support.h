/* tests/c/net/support.h — what the tests of net share: a runtime, a server, and plain blocking
 * clients.
 *
 * Clients use the C library directly, so that nothing under test is also the ruler. Every
 * blocking call has a limit, so that a lost answer is a failed check and not a hang.
 */
#ifndef TC_TESTS_C_NET_SUPPORT_H
#define TC_TESTS_C_NET_SUPPORT_H

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/chaos.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "harness.h"
#include "tinycoro.h"

#define SECONDS(n) ((int64_t)((n) * 1e9))

/* When whatever must happen counts as lost. No measure: it ends a test that would hang, on machines
 * with other things to do; less than the time in which a server drains by itself. */
enum { LONG_SECONDS = 20 };

/* ---- runtime and server ------------------------------------------------------------------- */

static struct tc_runtime *dumped_runtime;

__attribute__((unused)) static void dump_runtime(int fd)
{
    if (dumped_runtime != NULL) {
        tc_runtime_dump(dumped_runtime, fd);
    }
}

__attribute__((unused)) static struct tc_runtime *start_runtime(uint32_t workers)
{
    struct tc_runtime_options options = {
        .workers = workers,
        .driver = &tc_io_driver,
        .seed = tc_test_seed(),
    };
    struct tc_runtime *runtime;

    TC_CHECK_EQ(tc_runtime_new(&options, &runtime), 0);
    TC_CHECK_EQ(tc_runtime_start(runtime), 0);
    dumped_runtime = runtime;
    tc_test_dump_hook = dump_runtime;
    return runtime;
}

__attribute__((unused)) static void stop_runtime(struct tc_runtime *runtime)
{
    TC_CHECK_EQ(tc_runtime_stop(runtime, tc_deadline_after_ns(SECONDS(LONG_SECONDS))), 0);
    dumped_runtime = NULL;
    tc_runtime_free(runtime);
}

__attribute__((unused)) static struct tc_server *start_server(
    struct tc_runtime *runtime, const struct tc_protocol *protocol,
    const struct tc_server_options *options)
{
    struct tc_server *server;

    TC_CHECK_EQ(tc_server_start(runtime, protocol, options, &server), 0);
    return server;
}

__attribute__((unused)) static struct tc_server_statistics statistics(struct tc_server *server)
{
    struct tc_server_statistics result;

    tc_server_statistics(server, &result);
    return result;
}

/* Close, wait, free. */
__attribute__((unused)) static void end_server(struct tc_server *server)
{
    tc_server_close(server);
    TC_CHECK_EQ(tc_server_wait(server, tc_deadline_after_ns(SECONDS(LONG_SECONDS))), 0);
    TC_CHECK_EQ(statistics(server).connections, 0);
    tc_server_free(server);
}

/* Wait until `condition` holds; used with an expression over statistics(). */
#define WAIT_UNTIL(condition) \
    do { \
        int64_t limit_ = tc_deadline_after_ns(SECONDS(LONG_SECONDS)); \
        while (!(condition)) { \
            TC_CHECK(tc_clock_now_ns() < limit_); \
            pause_ms(1); \
        } \
    } while (0)

__attribute__((unused)) static void pause_ms(long ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&pause, NULL);
}

/* ---- clients ------------------------------------------------------------------------------ */

/* A connected blocking socket with limits, or -errno. */
__attribute__((unused)) static int try_connect(const struct tc_addr *addr)
{
    struct timeval limit = {.tv_sec = LONG_SECONDS, .tv_usec = 0};
    int fd = socket(tc_addr_family(addr), SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return -errno;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, &addr->storage.any, addr->length) != 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

__attribute__((unused)) static int connect_to(struct tc_server *server)
{
    struct tc_addr addr;

    tc_server_address(server, &addr);
    int fd = try_connect(&addr);
    TC_CHECK(fd >= 0);
    return fd;
}

__attribute__((unused)) static void send_exactly(int fd, const void *data, size_t len)
{
    const char *rest = data;

    while (len > 0) {
        ssize_t n = send(fd, rest, len, MSG_NOSIGNAL);
        TC_CHECK(n > 0);
        rest += n;
        len -= (size_t)n;
    }
}

__attribute__((unused)) static void recv_exactly(int fd, void *data, size_t len)
{
    char *rest = data;

    while (len > 0) {
        ssize_t n = recv(fd, rest, len, 0);
        TC_CHECK(n > 0);
        rest += n;
        len -= (size_t)n;
    }
}

/* One request of `len` bytes, checked. */
__attribute__((unused)) static void probe(int fd, size_t len)
{
    unsigned char *sent = malloc(len);
    unsigned char *back = malloc(len);

    for (size_t i = 0; i < len; i++) {
        sent[i] = (unsigned char)(i * 7 + len);
    }
    send_exactly(fd, sent, len);
    recv_exactly(fd, back, len);
    TC_CHECK(memcmp(sent, back, len) == 0);
    free(sent);
    free(back);
}

/* Connect, probe once, close; true if the server answered within so many seconds. */
__attribute__((unused)) static bool answers_a_probe_within(struct tc_server *server, int seconds)
{
    struct tc_addr addr;
    struct timeval limit = {.tv_sec = seconds, .tv_usec = 0};
    char byte = 'x';

    tc_server_address(server, &addr);
    int fd = try_connect(&addr);
    if (fd < 0) {
        return false;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    bool answered = send(fd, &byte, 1, MSG_NOSIGNAL) == 1 && recv(fd, &byte, 1, 0) == 1;
    close(fd);
    return answered;
}

__attribute__((unused)) static bool answers_a_probe(struct tc_server *server)
{
    return answers_a_probe_within(server, LONG_SECONDS);
}

/* A server that a fault may have cost the first answers: try until it answers. */
__attribute__((unused)) static bool answers_again(struct tc_server *server)
{
    int64_t limit = tc_deadline_after_ns(SECONDS(LONG_SECONDS));

    while (!answers_a_probe_within(server, 1)) {
        if (tc_clock_now_ns() > limit) {
            return false;
        }
    }
    return true;
}

/* Close with a reset. */
__attribute__((unused)) static void reset_connection(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
}

/* True if the peer ends the connection (orderly or not) within `seconds`; data is skipped. */
__attribute__((unused)) static bool ends_within(int fd, double seconds)
{
    int64_t limit = tc_deadline_after_ns(SECONDS(seconds));
    char skipped[4096];

    for (;;) {
        int64_t left = limit - tc_clock_now_ns();
        struct pollfd poller = {.fd = fd, .events = POLLIN};
        if (left <= 0 || poll(&poller, 1, (int)(left / 1000000 + 1)) == 0) {
            return false;
        }
        if (recv(fd, skipped, sizeof skipped, MSG_DONTWAIT) <= 0) {
            return true;
        }
    }
}

/* ---- the process -------------------------------------------------------------------------- */

__attribute__((unused)) static int count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    TC_CHECK(dir != NULL);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

/* CPU seconds used by this process so far. */
__attribute__((unused)) static double cpu_seconds(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

#endif
