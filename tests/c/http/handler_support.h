/* tests/c/http/handler_support.h — a server with one route whose handler is a function of the test,
 * and a client that says something and hears the answer. */
#ifndef TC_TESTS_HTTP_HANDLER_SUPPORT_H
#define TC_TESTS_HTTP_HANDLER_SUPPORT_H

/* Routes with handlers, over real sockets: bodies in, answers out, answers from other threads. */
#include "support.h"

#include <pthread.h>
#include <sched.h>

#include "../net/support.h"

#include "http/server.h"

enum { ANSWER_BYTES = 1024 * 1024 };

/* ---- helpers ------------------------------------------------------------------------------ */

/* A route whose handler is a function. */
struct route {
    struct tc_http_handler handler;
    void (*serve)(struct tc_http_call *call);
    _Atomic int served;
    _Atomic int disconnects;
    _Atomic int freed;
    _Atomic int result; /* of what the function tried */
    _Atomic(struct tc_http_call *) detached;
};

__attribute__((unused)) static struct route *route_of(struct tc_http_handler *handler)
{
    return tc_container_of(handler, struct route, handler);
}

__attribute__((unused)) static struct route *current_route(struct tc_http_call *call)
{
    return tc_http_call_data(call);
}

__attribute__((unused)) static void serve_route(struct tc_http_handler *handler,
                                                struct tc_http_call *call)
{
    atomic_fetch_add(&route_of(handler)->served, 1);
    tc_http_call_set_data(call, route_of(handler));
    route_of(handler)->serve(call);
}

__attribute__((unused)) static void disconnect_route(struct tc_http_handler *handler,
                                                     struct tc_http_call *call)
{
    (void)call;
    atomic_fetch_add(&route_of(handler)->disconnects, 1);
}

__attribute__((unused)) static void free_route(struct tc_http_handler *handler)
{
    atomic_fetch_add(&route_of(handler)->freed, 1);
}

static const struct tc_http_handler_ops route_ops = {
    .name = "test",
    .serve = serve_route,
    .disconnect = disconnect_route,
    .free = free_route,
};

struct fixture {
    struct tc_runtime *runtime;
    struct tc_http_server *server;
    struct tc_server *net;
    struct route route;
};

__attribute__((unused)) static void start(struct fixture *fixture,
                                          const struct tc_http_options *options,
                                          void (*serve)(struct tc_http_call *call))
{
    struct tc_http_route_options route = {
        .path = "/r",
        .match = TC_HTTP_MATCH_PREFIX,
        .methods = TC_HTTP_METHOD_BIT(TC_HTTP_GET) | TC_HTTP_METHOD_BIT(TC_HTTP_POST),
        .max_body = 100000,
    };
    static const struct tc_http_response fixed = {.status = 200, .body = "fixed", .body_len = 5};

    memset(fixture, 0, sizeof *fixture);
    fixture->route.handler.ops = &route_ops;
    fixture->route.serve = serve;
    fixture->runtime = start_runtime(2);
    TC_CHECK_EQ(tc_http_server_new(options, &fixture->server), 0);
    TC_CHECK_EQ(tc_http_server_respond(fixture->server, "/", &fixed), 0);
    TC_CHECK_EQ(tc_http_server_route(fixture->server, &route, &fixture->route.handler), 0);
    TC_CHECK_EQ(tc_http_server_start(fixture->server, fixture->runtime), 0);
    fixture->net = tc_http_server_net(fixture->server);
}

__attribute__((unused)) static void end(struct fixture *fixture)
{
    tc_server_close(fixture->net);
    TC_CHECK_EQ(tc_server_wait(fixture->net, tc_deadline_after_ns(SECONDS(10))), 0);
    TC_CHECK_EQ(statistics(fixture->net).connections, 0);
    tc_http_server_free(fixture->server);
    TC_CHECK_EQ(atomic_load(&fixture->route.freed), 1);
    stop_runtime(fixture->runtime);
}

/* Say `text`, hear all that comes until the end of the connection, which may come while we speak.
 * The result is static. */
__attribute__((unused)) static const char *converse(struct fixture *fixture, const char *text)
{
    static char heard[ANSWER_BYTES];
    size_t len = 0;
    ssize_t n;
    int fd = connect_to(fixture->net);

    for (size_t left = strlen(text); left > 0; left -= (size_t)n, text += n) {
        n = send(fd, text, left, MSG_NOSIGNAL);
        if (n < 0) {
            break;
        }
    }
    do {
        TC_CHECK(len + 1 < sizeof heard);
        n = recv(fd, heard + len, sizeof heard - len - 1, 0);
        TC_CHECK(n >= 0 || errno == ECONNRESET);
        len += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    heard[len] = '\0';
    close(fd);
    return heard;
}

__attribute__((unused)) static int reply_text(struct tc_http_call *call, int status,
                                              const char *text, size_t len)
{
    struct tc_http_response response = {
        .status = status, .content_type = "text/plain", .body = text, .body_len = len};

    return tc_http_reply(call, &response);
}

/* Until a counter of another thread's has come. */
__attribute__((unused)) static void await_count(_Atomic int *counter, int value)
{
    int64_t deadline = tc_deadline_after_ns(SECONDS(20));

    while (atomic_load(counter) != value) {
        TC_CHECK(tc_clock_now_ns() < deadline);
        usleep(500);
    }
}

#endif
