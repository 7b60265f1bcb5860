/* tests/c/http/desk_support.h — a server whose requests the test answers as the desk's clerk, and
 * its clients. */
#ifndef TC_TESTS_C_HTTP_DESK_SUPPORT_H
#define TC_TESTS_C_HTTP_DESK_SUPPORT_H

#include "support.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

#include "../net/support.h"

#include "base/mem.h"
#include "http/desk.h"
#include "http/server.h"

struct clerk {
    struct tc_http_desk desk;
    _Atomic int rings;
    sem_t rung; /* as often: for a clerk that sleeps */
    _Atomic int freed;
    struct tc_runtime *runtime;
    struct tc_http_server *server;
    struct tc_server *net;
};

static inline struct clerk *clerk_of(struct tc_http_desk *desk)
{
    return tc_container_of(desk, struct clerk, desk);
}

static inline void ring(struct tc_http_desk *desk)
{
    atomic_fetch_add(&clerk_of(desk)->rings, 1);
    TC_CHECK_EQ(sem_post(&clerk_of(desk)->rung), 0);
}

static inline void free_desk(struct tc_http_desk *desk)
{
    atomic_fetch_add(&clerk_of(desk)->freed, 1);
}

static const struct tc_http_desk_ops desk_ops = {.ring = ring, .free = free_desk};

/* A server of one pattern, for GET and POST, whose requests the test takes from the desk. */
static inline void open_desk(struct clerk *clerk, const char *pattern, uint32_t id, size_t max_body)
{
    struct tc_http_options options = {.desk = &clerk->desk};
    uint64_t methods = TC_HTTP_METHOD_BIT(TC_HTTP_GET) | TC_HTTP_METHOD_BIT(TC_HTTP_POST);

    memset(clerk, 0, sizeof *clerk);
    TC_CHECK_EQ(sem_init(&clerk->rung, 0, 0), 0);
    tc_http_desk_init(&clerk->desk, &desk_ops);
    clerk->desk.max_body = max_body;
    clerk->desk.body_timeout_ns = SECONDS(30);
    TC_CHECK_EQ(tc_http_patterns_add(&clerk->desk.patterns, pattern, strlen(pattern), methods, id),
                0);
    clerk->runtime = start_runtime(2);
    TC_CHECK_EQ(tc_http_server_new(&options, &clerk->server), 0);
    TC_CHECK_EQ(tc_http_server_start(clerk->server, clerk->runtime), 0);
    clerk->net = tc_http_server_net(clerk->server);
}

/* Wait until the desk has rung once more. */
static inline void await_ring(struct clerk *clerk)
{
    while (sem_wait(&clerk->rung) != 0) {
        TC_CHECK_EQ(errno, EINTR);
    }
}

/* End the server, then the desk. */
static inline void close_desk(struct clerk *clerk)
{
    tc_server_abort(clerk->net);
    TC_CHECK_EQ(tc_server_wait(clerk->net, tc_deadline_after_ns(SECONDS(20))), 0);
    tc_http_server_free(clerk->server);
    TC_CHECK_EQ(atomic_load(&clerk->desk.is_detached), 1);
    tc_http_desk_close(&clerk->desk);
    tc_http_desk_release(&clerk->desk);
    TC_CHECK_EQ(atomic_load(&clerk->freed), 1);
    stop_runtime(clerk->runtime);
    TC_CHECK_EQ(tc_mem_bytes_in_use() - tc_mem_bytes_reserved(), 0); /* pools keep what they had */
}

static inline int say(struct clerk *clerk, const char *text)
{
    int fd = connect_to(clerk->net);

    TC_CHECK_EQ(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    return fd;
}

/* What comes until `part` has come, or the end; static. */
static inline const char *hear(int fd, const char *part)
{
    static char heard[4096];
    size_t len = 0;
    ssize_t n;

    do {
        n = recv(fd, heard + len, sizeof heard - len - 1, 0);
        len += n > 0 ? (size_t)n : 0;
        heard[len] = '\0';
    } while (n > 0 && (part == NULL || strstr(heard, part) == NULL));
    return heard;
}

static inline void reset_client(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    TC_CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    close(fd);
}

#endif
