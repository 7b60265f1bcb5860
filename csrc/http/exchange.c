#include "http/exchange.h"

#include <errno.h>
#include <stdio.h>
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

/* A route of the desk, for other methods: 405, or 204 for OPTIONS; and what is allowed. */
static void put_allowed(struct tc_http_pass *pass, const struct tc_http_request *request,
                        uint64_t allowed)
{
    static const char body[] = "405 Method Not Allowed\n";
    bool is_options = request->method == TC_HTTP_OPTIONS;
    char head[1024];
    size_t len = (size_t)snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\nAllow: OPTIONS",
                                  is_options ? 204 : 405, tc_http_reason(is_options ? 204 : 405));

    for (int method = 0; method < TC_HTTP_METHOD_COUNT; method++) {
        if (method != TC_HTTP_OPTIONS && (allowed & UINT64_C(1) << method) != 0) {
            len += (size_t)snprintf(head + len, sizeof head - len, ", %s",
                                    tc_http_method_name((enum tc_http_method)method));
        }
    }
    len += (size_t)snprintf(head + len, sizeof head - len, "\r\n");
    if (!is_options) {
        len += (size_t)snprintf(head + len, sizeof head - len,
                                "Content-Type: text/plain\r\nContent-Length: %zu\r\n",
                                sizeof body - 1);
    }
    put_answer(pass,
               &(struct tc_http_answer){
                   .head = head,
                   .head_len = len,
                   .body = (char *)(uintptr_t)body,
                   .body_len = is_options ? 0 : sizeof body - 1,
               },
               request->minor, request->method != TC_HTTP_HEAD);
}

/* What a request is for. */
struct aim {
    const struct tc_http_answer *answer; /* NULL: see below */
    size_t path_len; /* of the path in the scratch */
    struct tc_http_fit match; /* of the desk; `allowed` 0: no pattern fits the path */
    bool is_call;
    bool is_bad; /* the path cannot be decoded */
};

static void choose(struct tc_http_pass *pass, const struct tc_http_request *request,
                   const char *buf, struct aim *aim)
{
    struct tc_http_server *server = pass->server;
    char *path = (char *)pass->scratch + TC_HTTP_PATH_AT;
    bool is_read = request->method == TC_HTTP_GET || request->method == TC_HTTP_HEAD;

    aim->answer = NULL;
    aim->is_call = false;
    aim->is_bad = false;
    aim->match.allowed = 0;
    if (request->form == TC_HTTP_ASTERISK) {
        aim->answer = own_answer(server, 204);
        return;
    }
    if (request->form == TC_HTTP_AUTHORITY) {
        aim->answer = own_answer(server, 405);
        return;
    }
    ssize_t len =
        tc_http_path_decode(buf + request->path.at, request->path.len, path, TC_HTTP_PATH_BYTES);
    if (len < 0) {
        aim->is_bad = true;
        return;
    }
    aim->path_len = (size_t)len;
    aim->answer = tc_http_router_find(&server->router, path, (size_t)len);
    if (aim->answer != NULL) {
        if (!is_read) {
            aim->answer = own_answer(server, request->method == TC_HTTP_OPTIONS ? 204 : 405);
        }
        return;
    }
    aim->is_call = server->desk != NULL &&
                   tc_http_patterns_find(&server->desk->patterns, path, (size_t)len,
                                         (enum tc_http_method)request->method, &aim->match);
    if (!aim->is_call && aim->match.allowed == 0) {
        aim->answer = own_answer(server, 404);
    }
}

/* ---- requests for the desk ---------------------------------------------------------------- */

/* Its body must come within this time, and at a rate that is no attack; see http/server.h. */
static void move_body_deadline(struct tc_http_state *state)
{
    const struct tc_desk_call *call = state->errand;
    int64_t slowest =
        tc_deadline_add_ns(call->body_begun_ns,
                           TC_HTTP_BODY_GRACE_NS +
                               (int64_t)(call->body_len / TC_HTTP_BODY_RATE) * TC_NS_PER_SEC);

    state->deadline_ns = tc_deadline_after_ns(call->desk->body_timeout_ns);
    if (call->desk->body_timeout_ns != TC_NEVER && slowest < state->deadline_ns) {
        state->deadline_ns = slowest;
    }
}

static void submit(struct tc_http_pass *pass)
{
    pass->state->deadline_ns = 0;
    tc__http_desk_submit(pass->state->errand, pass->conn, tc_worker_current());
}

static void begin_call(struct tc_http_pass *pass, const struct tc_http_request *request,
                       const char *buf, size_t head_len, const struct aim *aim)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct tc_http_state *state = pass->state;
    struct tc_http_desk *desk = pass->server->desk;
    bool is_chunked = request->framing == TC_HTTP_BODY_CHUNKED;

    if (tc_load_relaxed(&desk->is_closed) != 0) { /* relaxed: late is as good */
        tc__http_refuse(pass, 503);
        return;
    }
    if (!is_chunked && request->content_length > 0 &&
        (uint64_t)request->content_length > desk->max_body) {
        tc__http_refuse(pass, 413);
        return;
    }
    state->errand = tc__desk_call_new(desk, request, buf, head_len,
                                      (const char *)pass->scratch + TC_HTTP_PATH_AT, aim->path_len,
                                      &aim->match);
    if (state->errand == NULL) {
        pass->error = -ENOMEM;
        return;
    }
    if (!is_chunked && request->content_length <= 0) {
        submit(pass);
        return;
    }
    state->chunked = (struct tc_chunked){0};
    state->errand->body_begun_ns = tc_clock_now_ns();
    move_body_deadline(state);
    if (request->expects_continue) {
        put(pass, go_on, sizeof go_on - 1);
    }
}

/* Drop a call whose body breaks a rule, and answer with its status. */
static void refuse_call(struct tc_http_pass *pass, int status)
{
    tc__desk_call_abandon(pass->state->errand);
    pass->state->errand = NULL;
    tc__http_refuse(pass, status);
}

/* Take what there is of the body of a call. Returns the bytes used. */
static size_t collect(struct tc_http_pass *pass, const char *buf, size_t len)
{
    struct tc_http_state *state = pass->state;
    struct tc_desk_call *call = state->errand;
    struct tc_chunked_data data = {0};
    size_t used = call->body_left < len ? (size_t)call->body_left : len;
    int event = TC_CHUNKED_DATA;

    if (!call->is_chunked) {
        data.at = buf;
        data.len = used;
    } else {
        event = tc_chunked_next(&state->chunked, buf, len, &used, &data);
    }
    if (event < 0) {
        refuse_call(pass, tc_http_error_status(event));
        return len;
    }
    if (event == TC_CHUNKED_DATA) {
        if (call->body_len + data.len > call->desk->max_body) {
            refuse_call(pass, 413);
            return len;
        }
        pass->error = tc__desk_call_add(call, data.at, data.len);
        if (pass->error != 0) {
            return used;
        }
    }
    if (!call->is_chunked) {
        call->body_left -= used;
    }
    if (call->is_chunked ? event == TC_CHUNKED_END : call->body_left == 0) {
        submit(pass);
    } else {
        move_body_deadline(state);
    }
    return used;
}

bool tc__http_answer_call(struct tc_http_pass *pass)
{
    struct tc_http_state *state = pass->state;
    struct tc_desk_call *call = state->errand;
    struct tc_desk_reply *reply;

    if (!tc__desk_call_is_answered(call)) {
        return false;
    }
    reply = call->reply;
    if (reply == NULL) {
        pass->error = -ENOMEM;
        return true;
    }
    state->is_closing = !call->keep_alive || tc_conn_is_draining(pass->conn);
    state->reply_kept = reply;
    call->reply = NULL;
    state->errand = NULL;
    put_answer(pass, &reply->answer, call->minor, call->method != TC_HTTP_HEAD);
    tc__http_flush(pass, NULL, 0);
    tc_desk_call_release(call);
    if (!tc__http_is_blocked(state)) {
        tc_desk_reply_free(reply);
        state->reply_kept = NULL;
    }
    return true;
}

/* ---- the pass ----------------------------------------------------------------------------- */

static void answer_request(struct tc_http_pass *pass, const struct tc_http_request *request,
                           const char *buf, size_t head_len)
{
    struct tc_http_state *state = pass->state;
    struct aim aim;

    choose(pass, request, buf, &aim);
    if (aim.answer == NULL && aim.is_bad) {
        tc__http_refuse(pass, 400);
        return;
    }
    if (aim.is_call) {
        begin_call(pass, request, buf, head_len, &aim);
        return;
    }
    /* RFC 9112 9.6: say that this is the last one. */
    state->is_closing = !request->keep_alive || tc_conn_is_draining(pass->conn);
    begin_body(pass, request);
    if (state->is_closing && state->skip != TC_HTTP_SKIP_NOTHING) {
        state->skip = TC_HTTP_SKIP_NOTHING;
        state->must_linger = true;
    }
    if (aim.answer == NULL) {
        put_allowed(pass, request, aim.match.allowed);
    } else {
        put_answer(pass, aim.answer, request->minor, request->method != TC_HTTP_HEAD);
    }
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
    while (at < len && pass->error == 0 && !state->is_closing && !tc__http_is_blocked(state) &&
           !tc__http_is_called(state)) {
        if (state->errand != NULL) {
            at += collect(pass, buf + at, len - at);
            continue;
        }
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
        answer_request(pass, request, buf + at, (size_t)n);
        at += (size_t)n;
    }
    tc__http_flush(pass, NULL, 0);
    if (at == len && !tc__http_is_blocked(state)) {
        state->needs_input = true;
    }
    return at;
}
