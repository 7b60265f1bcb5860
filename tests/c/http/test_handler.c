#include "handler_support.h"

/* ---- the request -------------------------------------------------------------------------- */

static void serve_facts(struct tc_http_call *call)
{
    struct tc_http_text host;
    struct tc_http_text named;
    struct tc_addr peer;
    char text[512];

    TC_CHECK(tc_http_call_field(call, TC_HTTP_FIELD_HOST, &host));
    TC_CHECK(tc_http_call_field_named(call, "x-NAME", &named));
    TC_CHECK(!tc_http_call_field_named(call, "x-other", &(struct tc_http_text){"", 0}));
    TC_CHECK_EQ(tc_http_call_peer(call, &peer), 0);
    struct tc_http_text path = tc_http_call_path(call);
    struct tc_http_text rest = tc_http_call_rest(call);
    struct tc_http_text query = tc_http_call_query(call);
    int len = snprintf(text, sizeof text, "%s|%.*s|%.*s|%.*s|%.*s|%.*s",
                       tc_http_method_name(tc_http_call_method(call)), (int)path.len, path.at,
                       (int)rest.len, rest.at, (int)query.len, query.at, (int)host.len, host.at,
                       (int)named.len, named.at);
    TC_CHECK_EQ(reply_text(call, 200, text, (size_t)len), 0);
    TC_CHECK_EQ(reply_text(call, 200, text, (size_t)len), -EALREADY);
}

TC_TEST(test_handler_request_is_what_was_sent)
{
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture;

    start(&fixture, &options, serve_facts);
    const char *heard =
        converse(&fixture,
                 "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
                 "GET /r/a%20b/./c?q=1&r HTTP/1.1\r\nHost: example\r\nX-Name: v w\r\n\r\n"
                 "HEAD /r HTTP/1.0\r\nHost: h\r\nx-name: \r\nConnection: keep-alive\r\n\r\n"
                 "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    CHECK_HEARD(heard, "HTTP/1.1 200 OK\r\n", "fixed", "HTTP/1.1 200 OK\r\n",
                "Content-Type: text/plain\r\n", "Date: ", "\r\n\r\n",
                "GET|/r/a b/c|/a b/c|q=1&r|example|v wHTTP/1.1 200 OK\r\n",
                "Connection: keep-alive\r\n\r\nHTTP/1.1 200 OK\r\n",
                "Connection: close\r\n\r\nfixed");
    TC_CHECK_EQ(atomic_load(&fixture.route.served), 2);
    heard = converse(&fixture, "PUT /r HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    CHECK_HEARD(heard, "HTTP/1.1 405 ", "Allow: GET, HEAD, POST, OPTIONS\r\n");
    end(&fixture);
}

static void serve_param(struct tc_http_call *call)
{
    struct tc_http_text value = tc_http_call_param(call, "name");

    TC_CHECK_EQ(tc_http_call_param(call, "nome").len, 0);
    TC_CHECK_EQ(reply_text(call, 200, value.at, value.len), 0);
}

TC_TEST(test_handler_route_added_to_a_running_server_is_served)
{
    struct tc_http_options options = {.net = {.host = NULL}};
    static struct route routes[64];
    struct fixture fixture;

    start(&fixture, &options, serve_facts);
    for (int i = 0; i < 64; i++) {
        char path[64];
        char request[128];
        char expected[64];
        struct tc_http_route_options route = {
            .path = path,
            .match = TC_HTTP_MATCH_PATTERN,
            .methods = TC_HTTP_METHOD_BIT(TC_HTTP_GET),
        };
        snprintf(path, sizeof path, "/p%d/{name}", i);
        routes[i] = (struct route){.handler = {&route_ops}, .serve = serve_param};
        TC_CHECK_EQ(tc_http_server_route(fixture.server, &route, &routes[i].handler), 0);
        TC_CHECK_EQ(tc_http_server_route(fixture.server, &route, &routes[i].handler), -EEXIST);
        snprintf(request, sizeof request,
                 "GET /p%d/n%%2d%d HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", i, i);
        snprintf(expected, sizeof expected, "\r\n\r\nn-%d", i);
        CHECK_HEARD(converse(&fixture, request), "HTTP/1.1 200 OK\r\n", expected);
    }
    end(&fixture);
    for (int i = 0; i < 64; i++) {
        TC_CHECK_EQ(atomic_load(&routes[i].freed), 1);
    }
}

/* ---- bodies ------------------------------------------------------------------------------- */

/* Answers with the body, read in pieces of seven bytes. */
static void serve_echo(struct tc_http_call *call)
{
    char *body = malloc(200000);
    size_t len = 0;
    ssize_t n;

    while ((n = tc_http_body_read(call, body + len, 7, TC_NEVER)) > 0) {
        len += (size_t)n;
    }
    atomic_store(&current_route(call)->result, (int)n);
    TC_CHECK_EQ(tc_http_body_read(call, body, 1, TC_NEVER), n);
    if (n == 0) {
        TC_CHECK_EQ(tc_http_body_count(call), len);
        TC_CHECK_EQ(reply_text(call, 200, body, len), 0);
    }
    free(body);
}

#define CLOSE_GET "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

TC_TEST(test_handler_body_of_either_framing_arrives_whole)
{
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture;

    start(&fixture, &options, serve_echo);
    CHECK_HEARD(converse(&fixture, "POST /r HTTP/1.1\r\nHost: h\r\nContent-Length: 21\r\n\r\n"
                                   "one two three four 56" CLOSE_GET),
                "200 OK", "\r\n\r\none two three four 56HTTP/1.1 200", "\r\n\r\nfixed");
    CHECK_HEARD(converse(&fixture,
                         "POST /r HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                         "3;x=y\r\none\r\n11\r\n two three four 5\r\n0\r\nT: x\r\n\r\n" CLOSE_GET),
                "200 OK", "\r\n\r\none two three four 5HTTP/1.1 200", "\r\n\r\nfixed");
    CHECK_HEARD(converse(&fixture, "POST /r HTTP/1.1\r\nHost: h\r\n\r\n" CLOSE_GET), "200 OK",
                "Content-Length: 0\r\n", "HTTP/1.1 200", "\r\n\r\nfixed");
    end(&fixture);
}

TC_TEST(test_handler_body_in_pieces_arrives_whole)
{
    static const char text[] = "POST /r HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n" CLOSE_GET;
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture;
    char heard[1024];
    int one = 1;

    start(&fixture, &options, serve_echo);
    for (size_t cut = 50; cut < sizeof text - 1; cut += 3) {
        int fd = connect_to(fixture.net);
        setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof one);
        send_exactly(fd, text, cut);
        sched_yield();
        send_exactly(fd, text + cut, sizeof text - 1 - cut);
        size_t len = 0;
        ssize_t n;
        while ((n = recv(fd, heard + len, sizeof heard - len - 1, 0)) > 0) {
            len += (size_t)n;
        }
        heard[len] = '\0';
        CHECK_HEARD(heard, "\r\n\r\nhello, worldHTTP/1.1 200", "\r\n\r\nfixed");
        close(fd);
    }
    end(&fixture);
}

TC_TEST(test_handler_body_that_waits_for_continue_is_told_to)
{
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture;
    char text[64];

    start(&fixture, &options, serve_echo);
    int fd = connect_to(fixture.net);
    static const char head[] = "POST /r HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n"
                               "Expect: 100-continue\r\nConnection: close\r\n\r\n";
    send_exactly(fd, head, sizeof head - 1);
    recv_exactly(fd, text, 25);
    TC_CHECK(memcmp(text, "HTTP/1.1 100 Continue\r\n\r\n", 25) == 0);
    send_exactly(fd, "hello", 5);
    recv_exactly(fd, text, 12);
    TC_CHECK(memcmp(text, "HTTP/1.1 200", 12) == 0);
    close(fd);
    end(&fixture);
}

TC_TEST(test_handler_body_above_the_limit_is_refused)
{
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture;
    static char text[200000];

    start(&fixture, &options, serve_echo);
    CHECK_HEARD(converse(&fixture, "POST /r HTTP/1.1\r\nHost: h\r\nContent-Length: 100001\r\n"
                                   "Expect: 100-continue\r\n\r\n"),
                "HTTP/1.1 413 ", "Connection: close\r\n");
    TC_CHECK_EQ(atomic_load(&fixture.route.served), 0);
    size_t len = (size_t)
        snprintf(text, sizeof text,
                 "POST /r HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n186a1\r\n");
    memset(text + len, 'x', 100001);
    len += 100001;
    memcpy(text + len, "\r\n0\r\n\r\n", 8);
    CHECK_HEARD(converse(&fixture, text), "HTTP/1.1 413 ", "Connection: close\r\n");
    TC_CHECK_EQ(atomic_load(&fixture.route.result), -EMSGSIZE);
    end(&fixture);
}

TC_TEST(test_handler_body_that_is_malformed_or_slow_is_given_up)
{
    struct tc_http_options options = {.net = {.host = NULL}, .body_timeout_ns = SECONDS(0.1)};
    struct fixture fixture;

    start(&fixture, &options, serve_echo);
    CHECK_HEARD(converse(&fixture, "POST /r HTTP/1.1\r\nHost: h\r\n"
                                   "Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n"),
                "HTTP/1.1 400 ", "Connection: close\r\n");
    TC_CHECK_EQ(atomic_load(&fixture.route.result), -EPROTO);
    CHECK_HEARD(converse(&fixture, "POST /r HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhello"),
                "HTTP/1.1 408 ", "Connection: close\r\n");
    TC_CHECK_EQ(atomic_load(&fixture.route.result), -ETIME);
    end(&fixture);
}

TC_TEST(test_handler_body_that_is_short_is_given_up)
{
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture;
    static const char text[] = "POST /r HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhello";

    start(&fixture, &options, serve_echo);
    int fd = connect_to(fixture.net);
    send_exactly(fd, text, sizeof text - 1);
    shutdown(fd, SHUT_WR);
    await_count(&fixture.route.result, -EPIPE);
    close(fd);
    end(&fixture);
}

TC_TEST(test_handler_body_below_the_rate_is_given_up)
{
    struct tc_http_options options = {
        .net = {.host = NULL}, .body_grace_ns = SECONDS(0.2), .body_rate = 100000};
    struct fixture fixture;
    char answer[16];

    start(&fixture, &options, serve_echo);
    int fd = connect_to(fixture.net);
    static const char text[] = "POST /r HTTP/1.1\r\nHost: h\r\nContent-Length: 90000\r\n\r\n";
    send_exactly(fd, text, sizeof text - 1);
    /* A byte now and then is never idle for 30 s. */
    int64_t deadline = tc_deadline_after_ns(SECONDS(20));
    while (atomic_load(&fixture.route.result) == 0) {
        TC_CHECK(tc_clock_now_ns() < deadline);
        if (send(fd, "x", 1, MSG_NOSIGNAL) != 1) {
            break;
        }
        usleep(5000);
    }
    await_count(&fixture.route.result, -ETIME);
    recv_exactly(fd, answer, 12);
    TC_CHECK(memcmp(answer, "HTTP/1.1 408", 12) == 0);
    close(fd);
    end(&fixture);
}

/* Replies without looking at the body. */
static void serve_deaf(struct tc_http_call *call)
{
    TC_CHECK_EQ(reply_text(call, 200, "deaf", 4), 0);
}

TC_TEST(test_handler_body_left_unread_is_skipped_or_ends_the_connection)
{
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture;

    start(&fixture, &options, serve_deaf);
    CHECK_HEARD(converse(&fixture, "POST /r HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
                                   "POST /r HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
                                   "\r\n5\r\nhello\r\n0\r\n\r\n" CLOSE_GET),
                "\r\n\r\ndeafHTTP/1.1 200", "\r\n\r\ndeafHTTP/1.1 200", "\r\n\r\nfixed");
    CHECK_HEARD(converse(&fixture, "POST /r HTTP/1.1\r\nHost: h\r\nContent-Length: 70000\r\n\r\n"),
                "HTTP/1.1 200", "Connection: close\r\n\r\ndeaf");
    CHECK_HEARD(converse(&fixture, "POST /r HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n"
                                   "Expect: 100-continue\r\n\r\n"),
                "HTTP/1.1 200", "Connection: close\r\n\r\ndeaf");
    end(&fixture);
}

TC_TEST(test_handler_body_left_unread_may_come_after_the_answer)
{
    static const char head[] = "POST /r HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n";
    static const char rest[] = "hello" CLOSE_GET;
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture;
    char answer[1024];
    size_t len = 0;

    start(&fixture, &options, serve_deaf);
    int fd = connect_to(fixture.net);
    send_exactly(fd, head, sizeof head - 1);
    while (len < 4 || memcmp(answer + len - 4, "deaf", 4) != 0) {
        recv_exactly(fd, answer + len++, 1);
    }
    struct pollfd end_of_it = {.fd = fd, .events = POLLIN};
    TC_CHECK_EQ(poll(&end_of_it, 1, 50), 0);
    send_exactly(fd, rest, sizeof rest - 1);
    len = 0;
    while (len < 5 || memcmp(answer + len - 5, "fixed", 5) != 0) {
        TC_CHECK(len < sizeof answer);
        recv_exactly(fd, answer + len++, 1);
    }
    close(fd);
    end(&fixture);
}

/* ---- answers in pieces -------------------------------------------------------------------- */

static void serve_pieces(struct tc_http_call *call)
{
    struct tc_http_text query = tc_http_call_query(call);
    struct tc_http_response response = {.status = 200, .content_type = "text/plain"};
    int64_t length = query.len == 0 ? TC_HTTP_LENGTH_UNKNOWN : 12;

    TC_CHECK_EQ(tc_http_reply_write(call, "x", 1), -EPROTO);
    TC_CHECK_EQ(tc_http_reply_begin(call, &response, length), 0);
    TC_CHECK_EQ(tc_http_reply_write(call, "hello", 5), 0);
    TC_CHECK_EQ(tc_http_reply_flush(call), 0);
    TC_CHECK_EQ(tc_http_reply_write(call, ", world", 7), 0);
    if (length == 12) {
        TC_CHECK_EQ(tc_http_reply_write(call, "!", 1), -EOVERFLOW);
    }
    if (query.len != 1) {
        TC_CHECK_EQ(tc_http_reply_end(call), 0);
        TC_CHECK_EQ(tc_http_reply_end(call), -EPROTO);
    }
}

TC_TEST(test_handler_answer_in_pieces_is_delimited_as_the_client_understands)
{
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture;

    start(&fixture, &options, serve_pieces);
    CHECK_HEARD(converse(&fixture, "GET /r HTTP/1.1\r\nHost: h\r\n\r\n" CLOSE_GET),
                "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\nHTTP/1.1",
                "\r\n\r\nfixed");
    CHECK_HEARD(converse(&fixture, "GET /r?12 HTTP/1.1\r\nHost: h\r\n\r\n" CLOSE_GET),
                "Content-Length: 12\r\n", "\r\n\r\nhello, worldHTTP/1.1", "\r\n\r\nfixed");
    CHECK_HEARD(converse(&fixture, "HEAD /r?12 HTTP/1.1\r\nHost: h\r\n\r\n"
                                   "HEAD /r HTTP/1.1\r\nHost: h\r\n\r\n" CLOSE_GET),
                "Content-Length: 12\r\n", "\r\n\r\nHTTP/1.1",
                "Transfer-Encoding: chunked\r\n\r\nHTTP", "\r\n\r\nfixed");
    const char *heard =
        converse(&fixture, "GET /r HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
    CHECK_HEARD(heard, "Connection: close\r\n\r\nhello, world");
    TC_CHECK(strstr(heard, "Content-Length") == NULL && strstr(heard, "chunked") == NULL);
    /* One that is not ended must not look whole. */
    heard = converse(&fixture, "GET /r?1 HTTP/1.1\r\nHost: h\r\n\r\n" CLOSE_GET);
    TC_CHECK(strstr(heard, "fixed") == NULL);
    end(&fixture);
}

static void serve_nothing(struct tc_http_call *call)
{
    (void)call;
}

TC_TEST(test_handler_that_says_nothing_is_answered_for)
{
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture;

    start(&fixture, &options, serve_nothing);
    CHECK_HEARD(converse(&fixture, "GET /r HTTP/1.1\r\nHost: h\r\n\r\n" CLOSE_GET), "HTTP/1.1 500 ",
                "HTTP/1.1 200", "\r\n\r\nfixed");
    end(&fixture);
}
