/* Calls of the desk that a fiber serves: bodies and answers in pieces, with the test as the
 * clerk. */
#include "desk_support.h"

#include "http/desk_stream.h"

/* ---- helpers ------------------------------------------------------------------------------ */

/* Take notice of what there is, and send what was put. */
static void turn(struct clerk *clerk)
{
    struct tc_link *gone = tc_http_desk_take_gone(&clerk->desk);
    struct tc_desk_call *call;

    while ((call = tc_desk_call_next_gone(&gone)) != NULL) {
        tc_desk_call_release(call);
    }
    tc_http_desk_flush(&clerk->desk);
    sched_yield(); /* the test's own limit ends it */
}

static struct tc_desk_call *take(struct clerk *clerk)
{
    struct tc_link *link;

    while ((link = tc_http_desk_take(&clerk->desk)) == NULL) {
        turn(clerk);
    }
    struct tc_desk_call *call = tc_container_of(link, struct tc_desk_call, link);
    TC_CHECK(link->next == NULL);
    TC_CHECK_EQ(call->id, 3);
    return call;
}

/* Read a body. Returns its length, or -errno. */
static ssize_t take_body(struct clerk *clerk, struct tc_desk_call *call)
{
    struct tc_desk_piece *piece;
    ssize_t total = 0;
    int rc;

    while ((rc = tc_desk_stream_take(call, &piece)) == 1 || rc == -EAGAIN) {
        if (rc == 1) {
            total += (ssize_t)piece->len;
            tc_desk_piece_free(piece);
        }
        turn(clerk);
    }
    return rc == 0 ? total : rc;
}

static void begin_answer(struct tc_desk_call *call)
{
    static const char head[] = "HTTP/1.1 200 OK\r\n";
    struct tc_desk_reply *reply = tc_desk_reply_new(sizeof head - 1, 0);

    TC_CHECK(reply != NULL);
    memcpy(reply->answer.head, head, sizeof head - 1);
    reply->answer.status = 200;
    reply->kind = TC_DESK_REPLY_STREAM;
    TC_CHECK_EQ(tc_desk_stream_open(call), 0);
    tc_desk_call_answer(call, reply);
}

#define WITHOUT_BODY "POST /s HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
#define CHUNKED "POST /s HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

/* ---- answers ------------------------------------------------------------------------------ */

TC_TEST(test_desk_stream_answer_is_sent_piece_by_piece)
{
    static struct clerk clerk;

    open_desk(&clerk, "/s", TC_HTTP_DESK_STREAMS | 3, 10000000);
    int fd = say(&clerk, WITHOUT_BODY WITHOUT_BODY);
    for (int i = 0; i < 2; i++) { /* the connection stays */
        struct tc_desk_call *call = take(&clerk);
        begin_answer(call);
        TC_CHECK_EQ(tc_desk_stream_put(call, "one", 3), 0);
        tc_http_desk_flush(&clerk.desk);
        CHECK_HEARD(hear(fd, "one\r\n"), "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
        TC_CHECK_EQ(tc_desk_stream_put(call, "three", 5), 0);
        tc_desk_stream_end(call, true);
        tc_http_desk_flush(&clerk.desk);
        CHECK_HEARD(hear(fd, "\r\n0\r\n\r\n"), "5\r\nthree\r\n0\r\n\r\n");
        tc_desk_call_release(call);
    }
    close(fd);
    close_desk(&clerk);
}

TC_TEST(test_desk_stream_answer_that_breaks_has_no_last_chunk)
{
    static struct clerk clerk;

    open_desk(&clerk, "/s", TC_HTTP_DESK_STREAMS | 3, 10000000);
    int fd = say(&clerk, WITHOUT_BODY);
    struct tc_desk_call *call = take(&clerk);
    begin_answer(call);
    TC_CHECK_EQ(tc_desk_stream_put(call, "one", 3), 0);
    tc_http_desk_flush(&clerk.desk);
    CHECK_HEARD(hear(fd, "one\r\n"), "3\r\none\r\n");
    tc_desk_stream_end(call, false);
    tc_http_desk_flush(&clerk.desk);
    TC_CHECK_EQ(strlen(hear(fd, NULL)), 0);
    tc_desk_call_release(call);
    close(fd);
    close_desk(&clerk);
}

/* DT2, DT3 */
TC_TEST(test_desk_stream_clerk_is_told_when_nobody_takes_the_answer)
{
    static struct clerk clerk;
    static const char bytes[65536];

    open_desk(&clerk, "/s", TC_HTTP_DESK_STREAMS | 3, 10000000);
    int fd = say(&clerk, WITHOUT_BODY);
    struct tc_desk_call *call = take(&clerk);
    int rc = 0;
    begin_answer(call);
    for (int puts = 0; rc == 0; puts++) {
        if (puts == 200) {
            reset_client(fd);
        }
        if (tc_desk_stream_has_room(call)) {
            rc = tc_desk_stream_put(call, bytes, sizeof bytes);
        }
        turn(&clerk);
    }
    TC_CHECK_EQ(rc, -EPIPE);
    TC_CHECK(tc_desk_stream_is_over(call) && tc_desk_stream_has_room(call));
    tc_desk_stream_end(call, true);
    tc_desk_call_release(call);
    close_desk(&clerk);
}

/* ---- bodies ------------------------------------------------------------------------------- */

TC_TEST(test_desk_stream_body_is_taken_while_it_arrives)
{
    static struct clerk clerk;
    struct tc_desk_piece *piece = NULL;
    int rc;

    open_desk(&clerk, "/s", TC_HTTP_DESK_STREAMS | 3, 10000000);
    int fd = say(&clerk, CHUNKED "3\r\none\r\n");
    struct tc_desk_call *call = take(&clerk);
    TC_CHECK(call->is_streamed && call->body_len == 0);
    static const char *const rests[] = {"5\r\nthree\r\n", "0\r\n\r\n"};
    static const size_t sums[] = {3, 8};
    size_t sum = 0;
    for (int i = 0; (rc = tc_desk_stream_take(call, &piece)) == 1 || rc == -EAGAIN;) {
        if (rc == -EAGAIN) {
            turn(&clerk);
            continue;
        }
        sum += piece->len;
        tc_desk_piece_free(piece);
        if (i < 2 && sum == sums[i]) { /* all that has been sent */
            TC_CHECK_EQ(send(fd, rests[i], strlen(rests[i]), MSG_NOSIGNAL),
                        (ssize_t)strlen(rests[i]));
            i++;
        }
    }
    TC_CHECK_EQ(sum, 8);
    TC_CHECK_EQ(rc, 0);
    begin_answer(call);
    tc_desk_stream_end(call, true);
    tc_http_desk_flush(&clerk.desk);
    CHECK_HEARD(hear(fd, "0\r\n\r\n"), "HTTP/1.1 200 OK", "\r\n\r\n0\r\n\r\n");
    tc_desk_call_release(call);
    close(fd);
    close_desk(&clerk);
}

TC_TEST(test_desk_stream_client_that_resets_is_an_error_of_the_body)
{
    static struct clerk clerk;

    open_desk(&clerk, "/s", TC_HTTP_DESK_STREAMS | 3, 10000000);
    int fd = say(&clerk, CHUNKED "3\r\none\r\n");
    struct tc_desk_call *call = take(&clerk);
    reset_client(fd);
    TC_CHECK(take_body(&clerk, call) < 0);
    tc_desk_call_answer(call, NULL);
    tc_desk_call_release(call);
    tc_http_desk_flush(&clerk.desk);
    close_desk(&clerk);
}

TC_TEST(test_desk_stream_close_refuses_a_call_that_waits)
{
    static struct clerk clerk;

    open_desk(&clerk, "/s", TC_HTTP_DESK_STREAMS | 3, 10000000);
    int fd = say(&clerk, CHUNKED);
    while (tc_load_relaxed(&clerk.desk.waiting) == 0) { /* relaxed: a look from outside */
        sched_yield();
    }
    tc_http_desk_close(&clerk.desk);
    CHECK_HEARD(hear(fd, NULL), "HTTP/1.1 503 ");
    close(fd);
    close_desk(&clerk);
}
