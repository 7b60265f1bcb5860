#include "support.h"

#include <sched.h>

#include "../net/support.h"

#include "http/server.h"

enum { ANSWERS_BYTES = 256 * 1024, LARGE_BYTES = 4 * 1024 * 1024 };

static const char hello[] = "Hello, world!";

/* ---- helpers ------------------------------------------------------------------------------ */

struct fixture {
    struct tc_runtime *runtime;
    struct tc_http_server *server;
    struct tc_server *net;
};

static char *large_body(void)
{
    static char *body;

    if (body == NULL) {
        body = malloc(LARGE_BYTES);
        for (size_t i = 0; i < LARGE_BYTES; i++) {
            body[i] = (char)(i * 2654435761U >> 13);
        }
    }
    return body;
}

static struct fixture start_http(uint32_t workers, const struct tc_http_options *options)
{
    struct fixture fixture = {.runtime = start_runtime(workers)};
    static const struct tc_http_answer_field field = {"X-Test", "yes"};
    const struct tc_http_response small = {.status = 200,
                                           .content_type = "text/plain",
                                           .fields = &field,
                                           .field_count = 1,
                                           .body = hello,
                                           .body_len = sizeof hello - 1};
    const struct tc_http_response large = {
        .status = 200, .body = large_body(), .body_len = LARGE_BYTES};

    TC_CHECK_EQ(tc_http_server_new(options, &fixture.server), 0);
    TC_CHECK_EQ(tc_http_server_respond(fixture.server, "/", &small), 0);
    TC_CHECK_EQ(tc_http_server_respond(fixture.server, "/a%20b", &small), 0);
    TC_CHECK_EQ(tc_http_server_respond(fixture.server, "/large", &large), 0);
    TC_CHECK_EQ(tc_http_server_start(fixture.server, fixture.runtime), 0);
    fixture.net = tc_http_server_net(fixture.server);
    return fixture;
}

/* Nothing is left: no connection, no fiber, no byte. */
static void end_http(struct fixture *fixture)
{
    tc_server_close(fixture->net);
    TC_CHECK_EQ(tc_server_wait(fixture->net, tc_deadline_after_ns(SECONDS(10))), 0);
    TC_CHECK_EQ(statistics(fixture->net).connections, 0);
    tc_http_server_free(fixture->server);
    stop_runtime(fixture->runtime);
}

static struct tc_http_statistics http_statistics(struct fixture *fixture)
{
    struct tc_http_statistics result;

    tc_http_server_statistics(fixture->server, &result);
    return result;
}

static void say(int fd, const char *text)
{
    send_exactly(fd, text, strlen(text));
}

/* One answer: its head into `head`, terminated; its body, by Content-Length, into `body` unless the
 * request was HEAD. Returns the status. */
static int hear(int fd, char *head, size_t size, char *body, bool is_head)
{
    size_t len = 0;

    do {
        TC_CHECK(len + 1 < size);
        recv_exactly(fd, head + len, 1);
        len++;
    } while (len < 4 || memcmp(head + len - 4, "\r\n\r\n", 4) != 0);
    head[len] = '\0';
    TC_CHECK(strncmp(head, "HTTP/1.1 ", 9) == 0);
    TC_CHECK(strstr(head, "\r\nDate: ") != NULL);
    const char *length = strstr(head, "\r\nContent-Length: ");
    size_t body_len = length == NULL ? 0 : strtoul(length + 18, NULL, 10);
    if (body_len != 0 && !is_head) {
        recv_exactly(fd, body, body_len);
    }
    return atoi(head + 9);
}

/* Ask on a new connection; returns the status. */
static int ask(struct fixture *fixture, const char *request, char *head, size_t size)
{
    static char body[65536];
    int fd = connect_to(fixture->net);

    say(fd, request);
    int status = hear(fd, head, size, body, strncmp(request, "HEAD", 4) == 0);
    close(fd);
    return status;
}

static bool has(const char *head, const char *line)
{
    return strstr(head, line) != NULL;
}

#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"

/* ---- answers ------------------------------------------------------------------------------ */

TC_TEST(test_server_answers_by_path_and_method)
{
    static const struct {
        const char *request;
        int status;
    } cases[] = {
        {GET, 200},
        {"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", 200},
        {"GET /a%20b?x=y HTTP/1.1\r\nHost: h\r\n\r\n", 200},
        {"GET /./x/../%61%20b HTTP/1.1\r\nHost: h\r\n\r\n", 200},
        {"GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n", 200},
        {"GET http://other?q HTTP/1.1\r\nHost: h\r\n\r\n", 200},
        {"GET /b HTTP/1.1\r\nHost: h\r\n\r\n", 404},
        {"POST / HTTP/1.1\r\nHost: h\r\n\r\n", 405},
        {"DELETE /b HTTP/1.1\r\nHost: h\r\n\r\n", 404},
        {"OPTIONS / HTTP/1.1\r\nHost: h\r\n\r\n", 204},
        {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 204},
        {"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 405},
        {"GET /%2e%2e/etc HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n", 400},
    };
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture = start_http(1, &options);
    char head[2048];

    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        int status = ask(&fixture, cases[i].request, head, sizeof head);
        if (status != cases[i].status) {
            tc_test_failf("%s: %d, not %d", cases[i].request, status, cases[i].status);
        }
        TC_CHECK_EQ(has(head, "\r\nAllow: GET, HEAD, OPTIONS\r\n"), status == 405 || status == 204);
        TC_CHECK_EQ(has(head, "\r\nX-Test: yes\r\n"), status == 200);
        TC_CHECK_EQ(has(head, "\r\nConnection: close\r\n"), status == 400);
    }
    TC_CHECK_EQ(http_statistics(&fixture).requests, TC_ARRAY_LEN(cases));
    TC_CHECK_EQ(http_statistics(&fixture).refused, 2);
    end_http(&fixture);
}

TC_TEST(test_server_head_says_the_length_and_sends_no_body)
{
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture = start_http(1, &options);
    int fd = connect_to(fixture.net);
    char head[2048];
    char body[64];

    say(fd, "HEAD /large HTTP/1.1\r\nHost: h\r\n\r\nHEAD / HTTP/1.1\r\nHost: h\r\n\r\n" GET);
    TC_CHECK_EQ(hear(fd, head, sizeof head, NULL, true), 200);
    TC_CHECK(has(head, "\r\nContent-Length: 4194304\r\n"));
    TC_CHECK_EQ(hear(fd, head, sizeof head, NULL, true), 200);
    TC_CHECK(has(head, "\r\nContent-Length: 13\r\n"));
    TC_CHECK_EQ(hear(fd, head, sizeof head, body, false), 200);
    TC_CHECK(memcmp(body, hello, 13) == 0);
    close(fd);
    end_http(&fixture);
}

TC_TEST(test_server_persistence_is_what_version_and_client_say)
{
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture = start_http(1, &options);
    char head[2048];
    char body[64];
    int fd = connect_to(fixture.net);

    say(fd, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    TC_CHECK_EQ(hear(fd, head, sizeof head, body, false), 200);
    TC_CHECK(has(head, "\r\nConnection: keep-alive\r\n"));
    say(fd, "GET / HTTP/1.0\r\n\r\n");
    TC_CHECK_EQ(hear(fd, head, sizeof head, body, false), 200);
    TC_CHECK(has(head, "\r\nConnection: close\r\n"));
    TC_CHECK(ends_within(fd, 5));
    close(fd);

    fd = connect_to(fixture.net);
    say(fd, GET);
    TC_CHECK_EQ(hear(fd, head, sizeof head, body, false), 200);
    TC_CHECK(!has(head, "\r\nConnection:"));
    say(fd,
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" GET); /* the last is nobody's */
    TC_CHECK_EQ(hear(fd, head, sizeof head, body, false), 200);
    TC_CHECK(has(head, "\r\nConnection: close\r\n"));
    TC_CHECK_EQ(recv(fd, body, 1, 0), 0);
    close(fd);
    end_http(&fixture);
}

/* ---- pieces ------------------------------------------------------------------------------- */

TC_TEST(test_server_request_in_two_pieces_is_answered_once)
{
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture = start_http(2, &options);
    const char *text = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" GET;
    int fd = connect_to(fixture.net);
    char head[2048];
    char body[64];
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof one);
    for (size_t cut = 1; cut < strlen(text); cut++) {
        uint64_t before = statistics(fixture.net).bytes_in;
        send_exactly(fd, text, cut);
        /* Until it has been received; a piece is counted when its fiber is done with it, or
         * never. */
        for (int i = 0; i < 20 && statistics(fixture.net).bytes_in == before; i++) {
            sched_yield();
        }
        send_exactly(fd, text + cut, strlen(text) - cut);
        TC_CHECK_EQ(hear(fd, head, sizeof head, body, false), 405);
        TC_CHECK_EQ(hear(fd, head, sizeof head, body, false), 200);
    }
    close(fd);
    end_http(&fixture);
}

TC_TEST(test_server_pipelined_requests_are_answered_in_order)
{
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture = start_http(2, &options);
    static char body[LARGE_BYTES];
    int fd = connect_to(fixture.net);
    char head[2048];
    enum { REQUESTS = 3000 };

    /* More than one recv takes, more answers than one send takes, and in the middle a large one. */
    for (int i = 0; i < REQUESTS; i++) {
        say(fd, i == 1500    ? "GET /large HTTP/1.1\r\nHost: h\r\n\r\n"
                : i % 3 == 0 ? "GET /no HTTP/1.1\r\nHost: h\r\n\r\n"
                             : GET);
    }
    for (int i = 0; i < REQUESTS; i++) {
        TC_CHECK_EQ(hear(fd, head, sizeof head, body, false), i != 1500 && i % 3 == 0 ? 404 : 200);
        if (i == 1500) {
            TC_CHECK(memcmp(body, large_body(), LARGE_BYTES) == 0);
        }
    }
    TC_CHECK_EQ(http_statistics(&fixture).requests, REQUESTS);
    close(fd);
    end_http(&fixture);
}

/* ---- bodies that nobody wants ------------------------------------------------------------- */

TC_TEST(test_server_body_is_skipped_or_ends_the_connection)
{
    static const struct {
        const char *request;
        bool goes_on;
    } cases[] = {
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 38\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: hh\r\n\r\n\r\n",
         true},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: x\r\n\r\n",
         true},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
         false},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n", false},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", false},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n", true},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n", true},
    };
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture = start_http(1, &options);
    char head[2048];
    char body[65536];

    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        int fd = connect_to(fixture.net);
        say(fd, cases[i].request);
        TC_CHECK_EQ(hear(fd, head, sizeof head, body, false), 405);
        if (i + 1 == TC_ARRAY_LEN(cases)) { /* more than will be skipped */
            memset(body, 'x', sizeof body);
            send_exactly(fd, body, sizeof body);
            TC_CHECK(ends_within(fd, 5));
        } else if (cases[i].goes_on) {
            say(fd, GET);
            TC_CHECK_EQ(hear(fd, head, sizeof head, body, false), 200);
        } else {
            TC_CHECK(ends_within(fd, 5));
        }
        close(fd);
    }
    end_http(&fixture);
}

/* ---- hostile clients ---------------------------------------------------------------------- */

/* Every case of the corpus that is refused is refused by the server with the right status, and the
 * connection is closed; every case that is whole is answered, and the connection lives. */
TC_TEST(test_server_corpus_is_answered_as_its_verdict_says)
{
    static struct corpus_case one;
    static char answers[ANSWERS_BYTES];
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture = start_http(1, &options);
    FILE *file = corpus_open();

    while (corpus_next(file, &one)) {
        uint64_t examined = 0;
        struct outcome outcome =
            read_stream(TC_HTTP_SCALAR, one.bytes, one.len, one.len, one.len, &examined);
        if (outcome.error == 0 || strncmp(one.name, "9112-7.1", 8) == 0) {
            continue; /* chunks that are wrong are found behind the answer */
        }
        int fd = connect_to(fixture.net);
        send_exactly(fd, one.bytes, one.len);
        size_t len = 0;
        ssize_t n;
        while ((n = recv(fd, answers + len, sizeof answers - 1 - len, 0)) > 0) {
            len += (size_t)n;
        }
        answers[len] = '\0';
        char *last = NULL;
        for (char *at = answers; (at = strstr(at, "HTTP/1.1 ")) != NULL; at++) {
            last = at;
        }
        if (n != 0 || last == NULL || !has(last, "\r\nConnection: close\r\n") ||
            (outcome.messages == 0 && atoi(last + 9) != tc_http_error_status(outcome.error))) {
            tc_test_failf("%s (%zd): %s", one.name, n, answers);
        }
        close(fd);
    }
    fclose(file);
    end_http(&fixture);
}

TC_TEST(test_server_head_that_comes_too_slowly_is_refused_with_408)
{
    struct tc_http_options options = {.net = {.host = NULL},
                                      .header_timeout_ns = 100 * TC_NS_PER_MS};
    struct fixture fixture = start_http(1, &options);
    int fd = connect_to(fixture.net);
    char head[2048];
    char body[64];
    int64_t start = tc_clock_now_ns();

    say(fd, GET "GET / HTTP/1.1\r\nHos"); /* the deadline is that of the second */
    TC_CHECK_EQ(hear(fd, head, sizeof head, body, false), 200);
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    while (poll(&poller, 1, 10) == 0) { /* a byte now and then does not move it */
        TC_IGNORE(send(fd, "t", 1, MSG_NOSIGNAL)); /* it may just have been closed */
        TC_CHECK(tc_clock_now_ns() - start < SECONDS(5));
    }
    TC_CHECK(tc_clock_now_ns() - start >= 100 * TC_NS_PER_MS);
    TC_CHECK_EQ(hear(fd, head, sizeof head, body, false), 408);
    TC_CHECK(has(head, "\r\nConnection: close\r\n"));
    TC_CHECK(ends_within(fd, 5));
    close(fd);
    TC_CHECK_EQ(http_statistics(&fixture).header_timeouts, 1);
    end_http(&fixture);
}

TC_TEST(test_server_peer_that_takes_nothing_is_reset)
{
    struct tc_http_options options = {.net = {.send_timeout_ns = 100 * TC_NS_PER_MS}};
    struct fixture fixture = start_http(1, &options);
    static char taken[65536];
    int fd = connect_to(fixture.net);
    ssize_t n;

    say(fd, "GET /large HTTP/1.1\r\nHost: h\r\n\r\nGET /large HTTP/1.1\r\nHost: h\r\n\r\n"
            "GET /large HTTP/1.1\r\nHost: h\r\n\r\nGET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    WAIT_UNTIL(statistics(fixture.net).send_timeouts == 1);
    WAIT_UNTIL(statistics(fixture.net).connections == 0);
    while ((n = recv(fd, taken, sizeof taken, 0)) > 0) {
    }
    TC_CHECK(n == -1 && errno == ECONNRESET);
    close(fd);
    end_http(&fixture);
}

TC_TEST(test_server_client_that_vanishes_leaves_nothing)
{
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture = start_http(2, &options);
    static const char *const parts[] = {
        "GET / HT",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
        "GET /large HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\n",
        "\x16\x03\x01",
        "",
    };

    for (int i = 0; i < 200; i++) {
        int fd = connect_to(fixture.net);
        say(fd, parts[i % (int)TC_ARRAY_LEN(parts)]);
        if (i % 2 == 0) {
            reset_connection(fd);
        } else {
            close(fd);
        }
    }
    WAIT_UNTIL(statistics(fixture.net).connections == 0);
    end_http(&fixture);
}

/* A conversation that takes every path with an allocation or a system call: a head in two pieces, a
 * body to skip, an answer that is not taken at once. Says whether it went as it should. */
static bool converse(struct fixture *fixture)
{
    static char answer[LARGE_BYTES + 4096];
    struct tc_addr addr;
    size_t len = 0;

    tc_server_address(fixture->net, &addr);
    int fd = try_connect(&addr);
    TC_CHECK(fd >= 0);
    const char *first = "GET / HTTP/1.1\r\nHos";
    const char *second = "t: h\r\n\r\nPOST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab";
    const char *third = "cdGET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    TC_IGNORE(send(fd, first, strlen(first), MSG_NOSIGNAL)); /* it may be closed at any time */
    pause_ms(2);
    TC_IGNORE(send(fd, second, strlen(second), MSG_NOSIGNAL));
    pause_ms(2);
    TC_IGNORE(send(fd, third, strlen(third), MSG_NOSIGNAL));
    pause_ms(2);
    for (ssize_t n; (n = recv(fd, answer + len, sizeof answer - len, 0)) > 0;) {
        len += (size_t)n;
    }
    close(fd);
    return len > LARGE_BYTES;
}

TC_TEST(test_server_call_that_fails_costs_one_connection_only)
{
    static const enum tc_sys_call points[] = {TC_FAULT_ALLOC, TC_SYS_SEND, TC_SYS_SENDMSG,
                                              TC_SYS_RECV};
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture = start_http(1, &options);

    TC_CHECK(converse(&fixture));
    for (size_t i = 0; i < TC_ARRAY_LEN(points); i++) {
        int error = points[i] == TC_FAULT_ALLOC ? ENOMEM : ECONNRESET;
        for (uint64_t nth = 1; nth <= 12; nth++) {
            tc_fault_arm(points[i], nth, error, 1);
            TC_IGNORE(converse(&fixture)); /* as far as it gets */
            tc_fault_disarm_all();
            WAIT_UNTIL(statistics(fixture.net).connections == 0);
        }
        TC_CHECK(converse(&fixture));
    }
    end_http(&fixture);
}

/* ---- drain -------------------------------------------------------------------------------- */

TC_TEST(test_server_drain_answers_what_has_come_and_closes)
{
    struct tc_http_options options = {.net = {.drain_timeout_ns = SECONDS(10)}};
    struct fixture fixture = start_http(1, &options);
    int fd = connect_to(fixture.net);
    char head[2048];
    char body[64];

    say(fd, "GET / HTTP/1.1\r\nHo");
    WAIT_UNTIL(statistics(fixture.net).connections == 1 && statistics(fixture.net).resting == 0);
    tc_server_close(fixture.net);
    say(fd, "st: h\r\n\r\n");
    TC_CHECK_EQ(hear(fd, head, sizeof head, body, false), 200);
    TC_CHECK(has(head, "\r\nConnection: close\r\n"));
    TC_CHECK(ends_within(fd, 5));
    close(fd);
    end_http(&fixture);
}

TC_TEST(test_server_drain_tells_a_resting_client_in_its_next_answer)
{
    struct tc_http_options options = {
        .net = {.drain_timeout_ns = -1, .drain_grace_ns = SECONDS(20)}};
    for (uint32_t workers = 1; workers <= 2; workers++) {
        struct fixture fixture = start_http(workers, &options);
        int fd = connect_to(fixture.net);
        int other = connect_to(fixture.net);
        char head[2048];
        char body[64];

        say(fd, GET);
        TC_CHECK_EQ(hear(fd, head, sizeof head, body, false), 200);
        TC_CHECK(!has(head, "\r\nConnection: close\r\n"));
        tc_server_close(fixture.net);
        say(fd, GET);
        TC_CHECK_EQ(hear(fd, head, sizeof head, body, false), 200);
        TC_CHECK(has(head, "\r\nConnection: close\r\n"));
        TC_CHECK(ends_within(fd, 5));
        say(other, GET GET); /* the second one is not read */
        TC_CHECK_EQ(hear(other, head, sizeof head, body, false), 200);
        TC_CHECK(has(head, "\r\nConnection: close\r\n"));
        close(fd);
        close(other);
        end_http(&fixture);
    }
}

TC_TEST(test_server_abort_cancels_a_head_that_is_waited_for)
{
    struct tc_http_options options = {.net = {.host = NULL}};
    struct fixture fixture = start_http(1, &options);
    int fd = connect_to(fixture.net);

    say(fd, "GET / HTTP/1.1\r\nHo");
    WAIT_UNTIL(statistics(fixture.net).connections == 1 && statistics(fixture.net).resting == 0);
    tc_server_abort(fixture.net);
    TC_CHECK(ends_within(fd, 5));
    close(fd);
    end_http(&fixture);
}

/* ---- routes and options ------------------------------------------------------------------- */

TC_TEST(test_server_routes_that_cannot_be_are_refused)
{
    struct tc_http_options options = {.net = {.host = NULL}};
    struct tc_http_response response = {.status = 200, .body = "x", .body_len = 1};
    struct tc_http_answer_field field = {"X", "y"};
    struct tc_http_server *server;
    static char text[TC_HTTP_ANSWER_HEAD_BYTES + 1];

    TC_CHECK_EQ(tc_http_server_new(&options, &server), 0);
    TC_CHECK_EQ(tc_http_server_respond(server, "/a/./b", &response), 0);
    TC_CHECK_EQ(tc_http_server_respond(server, "/a//b", &response), -EEXIST);
    TC_CHECK_EQ(tc_http_server_respond(server, "", &response), -EINVAL);
    TC_CHECK_EQ(tc_http_server_respond(server, "a", &response), -EINVAL);
    TC_CHECK_EQ(tc_http_server_respond(server, "/../a", &response), -EINVAL);
    response.fields = &field;
    response.field_count = 1;
    static const char *const bad_names[] = {"", "a b", "a:", "Content-Length", "date", "\r\n"};
    for (size_t i = 0; i < TC_ARRAY_LEN(bad_names); i++) {
        field.name = bad_names[i];
        TC_CHECK_EQ(tc_http_server_respond(server, "/c", &response), -EINVAL);
    }
    field.name = "X";
    static const char *const bad_values[] = {"a\r\nb", "a\n", "\r", "\x01", "a\x7f", " a", "a "};
    for (size_t i = 0; i < TC_ARRAY_LEN(bad_values); i++) {
        field.value = bad_values[i];
        TC_CHECK_EQ(tc_http_server_respond(server, "/c", &response), -EINVAL);
    }
    memset(text, 'a', sizeof text - 1);
    field.value = text;
    TC_CHECK_EQ(tc_http_server_respond(server, "/c", &response), -E2BIG);
    field.value = "";
    response.status = 99;
    TC_CHECK_EQ(tc_http_server_respond(server, "/c", &response), -EINVAL);
    response.status = 204;
    TC_CHECK_EQ(tc_http_server_respond(server, "/c", &response), -EINVAL);
    response.body_len = 0;
    TC_CHECK_EQ(tc_http_server_respond(server, "/c", &response), 0);
    tc_http_server_free(server);
    options.limits.head_bytes = TC_HTTP_SERVER_HEAD_BYTES_MAX + 1;
    TC_CHECK_EQ(tc_http_server_new(&options, &server), -EINVAL);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0);
}
