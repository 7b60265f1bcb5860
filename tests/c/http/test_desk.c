/* The desk: requests of real connections that a thread of the test answers, as the clerk. */
#include "desk_support.h"

/* ---- helpers ------------------------------------------------------------------------------ */

/* The next call; waits for it. */
static struct tc_desk_call *take(struct clerk *clerk)
{
    struct tc_link *link;

    while ((link = tc_http_desk_take(&clerk->desk)) == NULL) {
        sched_yield(); /* the test's own limit ends it */
    }
    TC_CHECK(link->next == NULL);
    return tc_container_of(link, struct tc_desk_call, link);
}

static struct tc_desk_call *take_gone(struct clerk *clerk)
{
    struct tc_link *list;

    while ((list = tc_http_desk_take_gone(&clerk->desk)) == NULL) {
        sched_yield();
    }
    struct tc_desk_call *call = tc_desk_call_next_gone(&list);
    TC_CHECK(tc_desk_call_next_gone(&list) == NULL);
    return call;
}

static struct tc_desk_reply *reply_of(const char *body, size_t len)
{
    char head[128];
    int head_len = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n", len);
    struct tc_desk_reply *reply = tc_desk_reply_new((size_t)head_len, len);

    TC_CHECK(reply != NULL);
    reply->answer.status = 200;
    memcpy(reply->answer.head, head, (size_t)head_len);
    if (len != 0) {
        memcpy(reply->answer.body, body, len);
    }
    return reply;
}

static void answer(struct clerk *clerk, struct tc_desk_call *call, const char *body, size_t len)
{
    tc_desk_call_answer(call, reply_of(body, len));
    tc_desk_call_release(call);
    tc_http_desk_flush(&clerk->desk);
}

#define POST(name, body_len) \
    "POST /d/" name " HTTP/1.1\r\nHost: h\r\nContent-Length: " body_len "\r\n\r\n"

/* ---- answers ------------------------------------------------------------------------------ */

TC_TEST(test_desk_call_shows_the_request_and_is_answered)
{
    static struct clerk clerk;

    open_desk(&clerk, "/d/{name}", 7, 100000);
    int fd = say(&clerk, POST("one%20two", "5") "hello" POST("next", "0"));
    struct tc_desk_call *call = take(&clerk);
    TC_CHECK_EQ(call->id, 7);
    TC_CHECK_EQ(call->method, TC_HTTP_POST);
    TC_CHECK_EQ(call->param_count, 1);
    TC_CHECK(call->params[0].len == 7 &&
             memcmp(call->path + call->params[0].at, "one two", 7) == 0);
    TC_CHECK(call->body_len == 5 && memcmp(call->body, "hello", 5) == 0);
    TC_CHECK(tc_http_desk_take(&clerk.desk) == NULL); /* one at a time */
    answer(&clerk, call, "first", 5);
    CHECK_HEARD(hear(fd, "first"), "HTTP/1.1 200 OK\r\n", "Date: ", "\r\n\r\nfirst");
    answer(&clerk, take(&clerk), "second", 6);
    CHECK_HEARD(hear(fd, "second"), "HTTP/1.1 200 OK\r\n", "\r\n\r\nsecond");
    close(fd);
    close_desk(&clerk);
}

TC_TEST(test_desk_answer_without_a_reply_ends_the_connection)
{
    static struct clerk clerk;

    open_desk(&clerk, "/d/{name}", 7, 100000);
    int fd = say(&clerk, POST("a", "0"));
    struct tc_desk_call *call = take(&clerk);
    tc_desk_call_answer(call, NULL);
    tc_desk_call_release(call);
    tc_http_desk_flush(&clerk.desk);
    TC_CHECK_EQ(strlen(hear(fd, NULL)), 0);
    close(fd);
    close_desk(&clerk);
}

/* Longer than the output of a pass. */
TC_TEST(test_desk_answer_with_a_long_head_is_whole)
{
    static struct clerk clerk;
    static char heard[256 * 1024];
    static const char begin[] = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX: ";
    enum { HEAD_BYTES = 200 * 1024 };
    size_t len = 0;

    open_desk(&clerk, "/d/{name}", 7, 100000);
    int fd = say(&clerk, POST("a", "0") POST("b", "0"));
    struct tc_desk_reply *reply = tc_desk_reply_new(HEAD_BYTES, 4);
    TC_CHECK(reply != NULL);
    reply->answer.status = 200;
    memset(reply->answer.head, 'x', HEAD_BYTES);
    memcpy(reply->answer.head, begin, sizeof begin - 1);
    memcpy(reply->answer.head + HEAD_BYTES - 2, "\r\n", 2);
    memcpy(reply->answer.body, "long", 4);
    struct tc_desk_call *call = take(&clerk);
    tc_desk_call_answer(call, reply);
    tc_desk_call_release(call);
    tc_http_desk_flush(&clerk.desk);
    for (ssize_t n = 1; n > 0 && strstr(heard, "\r\n\r\nlong") == NULL; len += (size_t)n) {
        n = recv(fd, heard + len, sizeof heard - len - 1, 0);
        TC_CHECK(n >= 0);
    }
    CHECK_HEARD(heard, begin, "x\r\nDate: ", "\r\n\r\nlong");
    TC_CHECK(len > HEAD_BYTES);
    answer(&clerk, take(&clerk), "second", 6); /* the connection stays */
    CHECK_HEARD(hear(fd, "second"), "\r\n\r\nsecond");
    close(fd);
    close_desk(&clerk);
}

/* ---- clients that leave ------------------------------------------------------------------- */

TC_TEST(test_desk_call_of_a_client_that_resets_is_abandoned)
{
    static struct clerk clerk;

    open_desk(&clerk, "/d/{name}", 7, 100000);
    int fd = say(&clerk, POST("a", "0"));
    struct tc_desk_call *call = take(&clerk);
    reset_client(fd);
    struct tc_desk_call *gone = take_gone(&clerk);
    TC_CHECK(gone == call);
    TC_CHECK(tc_desk_call_is_abandoned(call));
    tc_desk_call_release(gone);
    answer(&clerk, call, "late", 4); /* dropped */
    close_desk(&clerk);
}

TC_TEST(test_desk_client_that_ends_its_side_is_answered)
{
    static struct clerk clerk;

    open_desk(&clerk, "/d/{name}", 7, 100000);
    int fd = say(&clerk, POST("a", "0") POST("b", "0"));
    struct tc_desk_call *call = take(&clerk);
    TC_CHECK_EQ(shutdown(fd, SHUT_WR), 0);
    struct tc_desk_call *gone = take_gone(&clerk);
    TC_CHECK(gone == call);
    TC_CHECK(tc_desk_call_is_ended(call) && !tc_desk_call_is_abandoned(call));
    tc_desk_call_release(gone);
    answer(&clerk, call, "first", 5);
    call = take(&clerk); /* what it had sent before */
    gone = take_gone(&clerk);
    TC_CHECK(gone == call);
    tc_desk_call_release(gone);
    answer(&clerk, call, "second", 6);
    CHECK_HEARD(hear(fd, NULL), "\r\n\r\nfirst", "\r\n\r\nsecond");
    close(fd);
    close_desk(&clerk);
}

/* After an end the system tells of a reset only when something is sent. */
TC_TEST(test_desk_client_that_ends_its_side_and_resets_leaves_nothing)
{
    static struct clerk clerk;

    open_desk(&clerk, "/d/{name}", 7, 100000);
    int fd = say(&clerk, POST("a", "0"));
    struct tc_desk_call *call = take(&clerk);
    TC_CHECK_EQ(shutdown(fd, SHUT_WR), 0);
    struct tc_desk_call *gone = take_gone(&clerk);
    TC_CHECK(gone == call);
    tc_desk_call_release(gone);
    reset_client(fd);
    answer(&clerk, call, "late", 4);
    while (statistics(clerk.net).connections != 0) {
        sched_yield();
    }
    close_desk(&clerk);
}

/* ---- the clerk leaves --------------------------------------------------------------------- */

TC_TEST(test_desk_close_refuses_what_waits_and_what_comes)
{
    static struct clerk clerk;
    int fds[4];

    open_desk(&clerk, "/d/{name}", 7, 100000);
    for (int i = 0; i < 4; i++) {
        fds[i] = say(&clerk, POST("a", "0"));
    }
    while (atomic_load(&clerk.rings) == 0) {
        sched_yield(); /* at least one is there; others may be on their way */
    }
    tc_http_desk_close(&clerk.desk);
    for (int i = 0; i < 4; i++) {
        CHECK_HEARD(hear(fds[i], NULL), "HTTP/1.1 503 ", "Connection: close");
        close(fds[i]);
    }
    int fd = say(&clerk, POST("a", "0"));
    CHECK_HEARD(hear(fd, NULL), "HTTP/1.1 503 ");
    close(fd);
    close_desk(&clerk);
}

TC_TEST(test_desk_call_taken_before_the_close_may_still_be_answered)
{
    static struct clerk clerk;

    open_desk(&clerk, "/d/{name}", 7, 100000);
    int fd = say(&clerk, POST("a", "0"));
    struct tc_desk_call *call = take(&clerk);
    tc_http_desk_close(&clerk.desk);
    answer(&clerk, call, "late", 4);
    CHECK_HEARD(hear(fd, "late"), "HTTP/1.1 200 OK", "\r\n\r\nlate");
    close(fd);
    close_desk(&clerk);
}

/* A clerk on a thread of its own, that leaves in the middle of it. */
static void *serve_some(void *arg)
{
    struct clerk *clerk = arg;

    for (int left = 50; left > 0;) {
        struct tc_link *link = tc_http_desk_take(&clerk->desk);
        struct tc_link *gone = tc_http_desk_take_gone(&clerk->desk);
        struct tc_desk_call *call;
        while ((call = tc_desk_call_next_gone(&gone)) != NULL) {
            tc_desk_call_release(call);
        }
        for (; link != NULL; left--) {
            call = tc_container_of(link, struct tc_desk_call, link);
            link = link->next;
            tc_desk_call_answer(call, reply_of("served", 6));
            tc_desk_call_release(call);
        }
        tc_http_desk_flush(&clerk->desk);
        sched_yield();
    }
    tc_http_desk_close(&clerk->desk);
    return NULL;
}

TC_TEST(test_desk_storm_answers_or_refuses_every_request)
{
    static struct clerk clerk;
    enum { CLIENTS = 8, ROUNDS = 16 };
    pthread_t thread;
    int refused = 0;

    open_desk(&clerk, "/d/{name}", 7, 100000);
    TC_CHECK_EQ(pthread_create(&thread, NULL, serve_some, &clerk), 0);
    for (int round = 0; round < ROUNDS; round++) {
        int fds[CLIENTS];
        for (int i = 0; i < CLIENTS; i++) {
            fds[i] = say(&clerk, POST("a", "0"));
        }
        reset_client(fds[0]);
        for (int i = 1; i < CLIENTS; i++) {
            TC_CHECK_EQ(shutdown(fds[i], SHUT_WR), 0);
            const char *heard = hear(fds[i], NULL);
            bool is_refused = strncmp(heard, "HTTP/1.1 503 ", 13) == 0;
            TC_CHECK(is_refused || strstr(heard, "\r\n\r\nserved") != NULL);
            refused += is_refused;
            close(fds[i]);
        }
    }
    TC_CHECK_EQ(pthread_join(thread, NULL), 0);
    TC_CHECK(refused > 0);
    close_desk(&clerk);
}
