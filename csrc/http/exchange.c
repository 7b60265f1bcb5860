#include "http/exchange.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "http/path.h"
#include "sched/worker.h"

_Static_assert(sizeof(struct tc_http_request) <= TC_HTTP_REQUEST_BYTES,
               "must fit its part of the scratch");
_Static_assert((int)TC_HTTP_OUT_BYTES >= 2 * (int)TC_HTTP_ANSWER_BYTES, "room for several answers");

/* ---- output ------------------------------------------------------------------------------- */

/* Keep what the peer did not take: `sent` of the bytes in the scratch and then of `body` are gone. */
static void keep_output(struct tc_http_pass *pass, size_t sent, const char *body, size_t body_len)
{
    struct tc_http_state *state = pass->state;
    size_t rest = sent < pass->out_len ? pass->out_len - sent : 0;
    size_t body_sent = sent > pass->out_len ? sent - pass->out_len : 0;

    state->body_left = body_len - body_sent;
    state->body = body_sent < body_len ? body + body_sent : NULL;
    if (rest != 0) {
        state->out = tc_mem_alloc(rest);
        if (state->out == NULL) {
            pass->error = -ENOMEM;
            return;
        }
        memcpy(state->out, pass->scratch + TC_HTTP_OUT_AT + sent, rest);
        state->out_len = (uint32_t)rest;
        state->out_sent = 0;
    }
}

void tc__http_flush(struct tc_http_pass *pass, const char *body, size_t body_len)
{
    struct iovec iov[2] = {
        {.iov_base = pass->scratch + TC_HTTP_OUT_AT, .iov_len = pass->out_len},
        {.iov_base = (void *)(uintptr_t)body, .iov_len = body_len},
    };
    enum tc_direction want;

    if (pass->out_len == 0 || pass->error != 0) {
        return;
    }
    struct tc_stream *stream = tc_conn_stream(pass->conn);
    ssize_t sent = body_len == 0
                       ? tc_stream_try_send(stream, iov[0].iov_base, iov[0].iov_len, &want)
                       : tc_stream_try_sendv(stream, iov, 2, &want);
    if (sent < 0 && sent != -EAGAIN) {
        pass->error = (int)sent;
        return;
    }
    sent = sent < 0 ? 0 : sent;
    tc_conn_count_out(pass->conn, (uint64_t)sent);
    if ((size_t)sent != pass->out_len + body_len) {
        keep_output(pass, (size_t)sent, body, body_len);
    }
    pass->out_len = 0;
}

static void put(struct tc_http_pass *pass, const char *bytes, size_t len)
{
    tc_assert_debug(len <= TC_HTTP_OUT_BYTES - pass->out_len);
    memcpy(pass->scratch + TC_HTTP_OUT_AT + pass->out_len, bytes, len);
    pass->out_len += len;
}

/* RFC 9110 6.6.1. The line is made once a second. */
static void put_date(struct tc_http_pass *pass)
{
    struct tc_http_part *part = pass->part;
    int64_t now = tc_clock_wall_seconds();

    if (part->date_seconds != now) {
        part->date_seconds = now;
        memcpy(part->date_line, "Date: ", 6);
        tc_http_date_format(now, part->date_line + 6);
        memcpy(part->date_line + 6 + TC_HTTP_DATE_BYTES, "\r\n", 2);
    }
    put(pass, part->date_line, TC_HTTP_DATE_LINE_BYTES);
}

/* The answer to a request of HTTP/1.`minor`. There is room for it. */
static void put_answer(struct tc_http_pass *pass, const struct tc_http_answer *answer, int minor,
                       bool has_body)
{
    static const char ends[] = "Connection: close\r\n\r\n";
    static const char stays[] = "Connection: keep-alive\r\n\r\n"; /* which 1.0 wants to be told */

    put(pass, answer->head, answer->head_len);
    put_date(pass);
    if (pass->state->is_closing) {
        put(pass, ends, sizeof ends - 1);
    } else if (minor == 0) {
        put(pass, stays, sizeof stays - 1);
    } else {
        put(pass, "\r\n", 2);
    }
    if (has_body && answer->body_len <= TC_HTTP_SMALL_BODY) {
        put(pass, answer->body_len == 0 ? "" : answer->body, answer->body_len);
    } else if (has_body) {
        tc__http_flush(pass, answer->body, answer->body_len);
    }
    tc_counter_add(&pass->part->requests, 1);
}

/* ---- requests ----------------------------------------------------------------------------- */

static const struct tc_http_answer *own_answer(const struct tc_http_server *server, int status)
{
    for (size_t i = 0; i < TC_HTTP_OWN_COUNT; i++) {
        if (server->own[i].status == status) {
            return &server->own[i];
        }
    }
    return &server->own[TC_HTTP_OWN_400];
}

void tc__http_refuse(struct tc_http_pass *pass, int status)
{
    pass->state->is_closing = true;
    pass->state->must_linger = true;
    tc_counter_add(&pass->part->refused, 1);
    put_answer(pass, own_answer(pass->server, status), 1, true);
}

/* What becomes of the request's body, which no route here wants. */
static void begin_body(struct tc_http_pass *pass, const struct tc_http_request *request)
{
    struct tc_http_state *state = pass->state;
    bool is_chunked = request->framing == TC_HTTP_BODY_CHUNKED;

    if (!is_chunked && request->content_length <= 0) {
        return;
    }
    if (request->expects_continue ||
        (!is_chunked && request->content_length > TC_HTTP_SKIP_BYTES)) {
        state->is_closing = true;
        state->must_linger = true;
        return;
    }
    state->skip = is_chunked ? TC_HTTP_SKIP_CHUNKED : TC_HTTP_SKIP_LENGTH;
    state->skip_left = is_chunked ? TC_HTTP_SKIP_BYTES : (uint64_t)request->content_length;
    state->chunked = (struct tc_chunked){0};
}

static const struct tc_http_answer *choose(struct tc_http_pass *pass,
                                           const struct tc_http_request *request, const char *buf)
{
    struct tc_http_server *server = pass->server;
    char *path = (char *)pass->scratch + TC_HTTP_PATH_AT;

    if (request->form == TC_HTTP_ASTERISK) {
        return own_answer(server, 204);
    }
    if (request->form == TC_HTTP_AUTHORITY) {
        return own_answer(server, 405);
    }
    ssize_t len =
        tc_http_path_decode(buf + request->path.at, request->path.len, path, TC_HTTP_PATH_BYTES);
    if (len < 0) {
        return NULL;
    }
    const struct tc_http_answer *answer = tc_http_router_find(&server->router, path, (size_t)len);
    if (answer == NULL) {
        return own_answer(server, 404);
    }
    if (request->method == TC_HTTP_GET || request->method == TC_HTTP_HEAD) {
        return answer;
    }
    return own_answer(server, request->method == TC_HTTP_OPTIONS ? 204 : 405);
}

static void answer_request(struct tc_http_pass *pass, const struct tc_http_request *request,
                           const char *buf)
{
    struct tc_http_state *state = pass->state;
    const struct tc_http_answer *answer = choose(pass, request, buf);

    if (answer == NULL) {
        tc__http_refuse(pass, 400);
        return;
    }
    /* RFC 9112 9.6: say that this is the last one. */
    state->is_closing = !request->keep_alive || tc_conn_is_draining(pass->conn);
    begin_body(pass, request);
    if (state->is_closing && state->skip != TC_HTTP_SKIP_NOTHING) {
        state->skip = TC_HTTP_SKIP_NOTHING;
        state->must_linger = true;
    }
    put_answer(pass, answer, request->minor, request->method != TC_HTTP_HEAD);
}

/* Skip what there is of a body. Returns the bytes used. */
static size_t skip_body(struct tc_http_pass *pass, const char *buf, size_t len)
{
    struct tc_http_state *state = pass->state;
    struct tc_chunked_data data;
    size_t used;

    if (state->skip == TC_HTTP_SKIP_LENGTH) {
        used = state->skip_left < len ? (size_t)state->skip_left : len;
        state->skip_left -= used;
        if (state->skip_left == 0) {
            state->skip = TC_HTTP_SKIP_NOTHING;
            state->deadline_ns = 0;
        }
        return used;
    }
    int event = tc_chunked_next(&state->chunked, buf, len, &used, &data);
    if (event < 0 || used > state->skip_left) {
        state->is_closing = true; /* its request has been answered */
        state->must_linger = true;
        state->skip = TC_HTTP_SKIP_NOTHING;
        return len;
    }
    state->skip_left -= used;
    if (event == TC_CHUNKED_END) {
        state->skip = TC_HTTP_SKIP_NOTHING;
        state->deadline_ns = 0;
    }
    return used;
}

size_t tc__http_handle(struct tc_http_pass *pass, const char *buf, size_t len)
{
    struct tc_http_state *state = pass->state;
    struct tc_http_request *request = (void *)(pass->scratch + TC_HTTP_REQUEST_AT);
    size_t at = 0;

    state->needs_input = false;
    while (at < len && pass->error == 0 && !state->is_closing && !tc__http_is_blocked(state)) {
        if (state->skip != TC_HTTP_SKIP_NOTHING) {
            at += skip_body(pass, buf + at, len - at);
            continue;
        }
        if (TC_HTTP_OUT_BYTES - pass->out_len < TC_HTTP_ANSWER_BYTES) {
            tc__http_flush(pass, NULL, 0);
            continue;
        }
        ssize_t n = tc_http_parse(request, buf + at, len - at, &pass->server->limits, &state->hint);
        if (n == TC_HTTP_INCOMPLETE) {
            state->needs_input = true;
            break;
        }
        state->hint = (struct tc_http_hint){0};
        state->deadline_ns = 0;
        if (n < 0) {
            tc__http_refuse(pass, tc_http_error_status((int)n));
            break;
        }
        answer_request(pass, request, buf + at);
        at += (size_t)n;
    }
    tc__http_flush(pass, NULL, 0);
    if (at == len && !tc__http_is_blocked(state)) {
        state->needs_input = true;
    }
    return at;
}
