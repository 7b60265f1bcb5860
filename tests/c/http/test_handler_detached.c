#include "handler_support.h"

/* ---- detached ----------------------------------------------------------------------------- */

static void serve_detached(struct tc_http_call *call)
{
    struct route *route = current_route(call);

    tc_http_detach(call);
    atomic_store(&route->detached, call);
}

static struct tc_http_call *take_detached(struct route *route)
{
    int64_t deadline = tc_deadline_after_ns(SECONDS(20));
    struct tc_http_call *call;

    while ((call = atomic_exchange(&route->detached, NULL)) == NULL) {
        TC_CHECK(tc_clock_now_ns() < deadline);
        sched_yield();
    }
    return call;
}

static void answer_resumed(struct tc_http_call *call, void *arg)
{
    TC_CHECK_EQ(reply_text(call, 200, arg, strlen(arg)), 0);
}

/* Answers everything that is detached, at once or a little later. */
static void *answer_all(void *arg)
{
    struct fixture *fixture = arg;

    for (int i = 0; i < 300; i++) {
        struct tc_http_call *call = take_detached(&fixture->route);
        if (i % 3 == 0) {
            usleep(100);
        }
        TC_CHECK(tc_http_resume(call, answer_resumed, (void *)(uintptr_t)"from afar"));
    }
    return NULL;
}

TC_TEST(test_handler_detached_call_is_answered_from_another_thread)
{
    static const char request[] = "GET /r HTTP/1.1\r\nHost: h\r\n\r\n";
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture;
    pthread_t thread;
    char heard[512];

    start(&fixture, &options, serve_detached);
    TC_CHECK_EQ(pthread_create(&thread, NULL, answer_all, &fixture), 0);
    int fd = connect_to(fixture.net);
    send_exactly(fd, request, sizeof request - 1);
    for (int i = 0; i < 300; i++) {
        size_t len = 0;
        if (i != 299) { /* the next one lies behind the one that is answered */
            send_exactly(fd, request, sizeof request - 1);
        }
        do {
            TC_CHECK(len + 1 < sizeof heard);
            recv_exactly(fd, heard + len, 1);
            heard[++len] = '\0';
        } while (strstr(heard, "from afar") == NULL);
    }
    pthread_join(thread, NULL);
    close(fd);
    TC_CHECK_EQ(atomic_load(&fixture.route.served), 300);
    end(&fixture);
}

/* Reads the body on the fiber, for a holder elsewhere, and detaches again. */
static void read_resumed(struct tc_http_call *call, void *arg)
{
    char *body = arg;

    for (size_t len = 0; len < 5;) { /* a read may give less than there is */
        ssize_t n = tc_http_body_read(call, body + len, 5 - len, TC_NEVER);
        TC_CHECK(n > 0);
        len += (size_t)n;
    }
    tc_http_detach(call);
    atomic_store(&current_route(call)->detached, call);
}

TC_TEST(test_handler_detached_call_may_detach_again)
{
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture;
    char body[6] = "";
    char answer[12];

    start(&fixture, &options, serve_detached);
    int fd = connect_to(fixture.net);
    static const char text[] = "POST /r HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n";
    send_exactly(fd, text, sizeof text - 1);
    TC_CHECK(tc_http_resume(take_detached(&fixture.route), read_resumed, body));
    send_exactly(fd, "hello", 5);
    struct tc_http_call *call = take_detached(&fixture.route);
    TC_CHECK(strcmp(body, "hello") == 0);
    TC_CHECK(tc_http_resume(call, answer_resumed, (void *)(uintptr_t)"done"));
    recv_exactly(fd, answer, 12);
    TC_CHECK(memcmp(answer, "HTTP/1.1 200", 12) == 0);
    shutdown(fd, SHUT_WR);
    TC_CHECK(ends_within(fd, 20)); /* behind the whole answer */
    close(fd);
    end(&fixture);
}

TC_TEST(test_handler_detached_call_learns_of_the_end_of_its_client)
{
    static const char request[] = "GET /r HTTP/1.1\r\nHost: h\r\n\r\n";
    struct tc_http_options options = {.net = {.host = NULL}};
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    struct fixture fixture;

    start(&fixture, &options, serve_detached);
    /* A reset: gone at once. */
    int fd = connect_to(fixture.net);
    send_exactly(fd, request, sizeof request - 1);
    struct tc_http_call *call = take_detached(&fixture.route);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
    await_count(&fixture.route.disconnects, 1);
    TC_CHECK(tc_http_call_is_gone(call));
    TC_CHECK_EQ(tc_http_call_path(call).len, 2);
    TC_CHECK(!tc_http_resume(call, answer_resumed, NULL));
    /* An end of its side, also behind another request: may still be answered. */
    for (int i = 0; i < 2; i++) {
        char answer[12];
        fd = connect_to(fixture.net);
        send_exactly(fd, request, sizeof request - 1);
        call = take_detached(&fixture.route);
        send_exactly(fd, request, i == 0 ? 0 : 9);
        shutdown(fd, SHUT_WR);
        await_count(&fixture.route.disconnects, 2 + i);
        TC_CHECK(tc_http_resume(call, answer_resumed, (void *)(uintptr_t)"late"));
        recv_exactly(fd, answer, 12);
        TC_CHECK(memcmp(answer, "HTTP/1.1 200", 12) == 0);
        TC_CHECK(ends_within(fd, 20)); /* behind the whole answer */
        close(fd);
    }
    end(&fixture);
}

TC_TEST(test_handler_detached_call_is_gone_when_the_server_is_aborted)
{
    static const char request[] = "GET /r HTTP/1.1\r\nHost: h\r\n\r\n";
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture;

    start(&fixture, &options, serve_detached);
    int fd = connect_to(fixture.net);
    send_exactly(fd, request, sizeof request - 1);
    struct tc_http_call *call = take_detached(&fixture.route);
    tc_server_abort(fixture.net);
    TC_CHECK_EQ(tc_server_wait(fixture.net, tc_deadline_after_ns(SECONDS(10))), 0);
    TC_CHECK_EQ(atomic_load(&fixture.route.disconnects), 1);
    close(fd);
    end(&fixture);
    TC_CHECK(tc_http_call_is_gone(call)); /* the memory outlives server and runtime */
    TC_CHECK(!tc_http_resume(call, answer_resumed, NULL));
}
