#include "http/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "http/call.h"
#include "http/errand.h"
#include "http/latency.h"
#include "http/ledger.h"
#include "http/path.h"
#include "sched/worker.h"

_Static_assert(sizeof(struct tc_http_request) <= TC_HTTP_REQUEST_BYTES,
               "must fit its part of the scratch");
_Static_assert((int)TC_HTTP_OUT_BYTES >= 2 * (int)TC_HTTP_ANSWER_BYTES, "room for several answers");

/* ---- output ------------------------------------------------------------------------------- */

/* Keep what the peer did not take: `sent` of the bytes in the scratch and then of `body` are
 * gone. */
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
    pass->error = tc__http_ledger_keep(pass);
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
        tc__http_ledger_lose(pass);
        return;
    }
    sent = sent < 0 ? 0 : sent;
    tc_conn_count_out(pass->conn, (uint64_t)sent);
    if ((size_t)sent != pass->out_len + body_len) {
        keep_output(pass, (size_t)sent, body, body_len);
    } else {
        tc__http_ledger_settle(pass);
    }
    pass->out_len = 0;
}

void tc__http_put(struct tc_http_pass *pass, const char *bytes, size_t len)
{
    tc_assert_debug(len <= TC_HTTP_OUT_BYTES - pass->out_len);
    memcpy(pass->scratch + TC_HTTP_OUT_AT + pass->out_len, bytes, len);
    pass->out_len += len;
}

const char *tc__http_date_line(struct tc_http_part *part, int64_t now_ns)
{
    if (tc_unlikely(now_ns >= part->date_until_ns)) {
        int64_t wall_ns = tc_clock_wall_ns();
        part->date_until_ns = now_ns + TC_NS_PER_SEC - wall_ns % TC_NS_PER_SEC;
        memcpy(part->date_line, "Date: ", 6);
        tc_http_date_format(wall_ns / TC_NS_PER_SEC, part->date_line + 6);
        memcpy(part->date_line + 6 + TC_HTTP_DATE_BYTES, "\r\n", 2);
    }
    return part->date_line;
}

/* RFC 9110 10.2.1, for the answers that tell what would do. */
static void put_allow(struct tc_http_pass *pass, uint64_t methods)
{
    bool is_first = true;

    tc__http_put(pass, "Allow: ", 7);
    for (int method = 0; method < TC_HTTP_METHOD_COUNT; method++) {
        if ((methods & TC_HTTP_METHOD_BIT(method)) != 0) {
            const char *name = tc_http_method_name((enum tc_http_method)method);
            tc__http_put(pass, ", ", is_first ? 0 : 2);
            tc__http_put(pass, name, strlen(name));
            is_first = false;
        }
    }
    tc__http_put(pass, "\r\n", 2);
}

void tc__http_put_answer(struct tc_http_pass *pass, const struct tc_http_answer *answer,
                         uint64_t allowed, int minor, bool has_body)
{
    static const char ends[] = "Connection: close\r\n\r\n";
    static const char stays[] = "Connection: keep-alive\r\n\r\n"; /* which 1.0 wants to be told */

    tc__http_put(pass, answer->head, answer->head_len);
    if (tc_unlikely(allowed != 0)) {
        put_allow(pass, allowed);
    }
    tc__http_put(pass, tc__http_date_line(pass->part, pass->begun_ns), TC_HTTP_DATE_LINE_BYTES);
    if (pass->state->is_closing) {
        tc__http_put(pass, ends, sizeof ends - 1);
    } else if (minor == 0) {
        tc__http_put(pass, stays, sizeof stays - 1);
    } else {
        tc__http_put(pass, "\r\n", 2);
    }
    if (has_body && answer->body_len <= TC_HTTP_SMALL_BODY) {
        tc__http_put(pass, answer->body_len == 0 ? "" : answer->body, answer->body_len);
    } else if (has_body) {
        tc__http_flush(pass, answer->body, answer->body_len);
    }
    tc_counter_add(&pass->part->requests, 1);
}

/* ---- requests ----------------------------------------------------------------------------- */

const struct tc_http_answer *tc__http_own_answer(const struct tc_http_server *server, int status)
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
    tc__http_ledger_note(pass, TC_HTTP_NO_ROUTE, status,
                         tc__http_own_answer(pass->server, status)->body_len);
    tc__http_put_answer(pass, tc__http_own_answer(pass->server, status), 0, 1, true);
}

/* What becomes of the request's body, which no route here wants. */
static void begin_body(struct tc_http_pass *pass, const struct tc_http_request *request)
{
    struct tc_http_state *state = pass->state;
    uint64_t limit = pass->server->skip_bytes;
    bool is_chunked = request->framing == TC_HTTP_BODY_CHUNKED;

    if (!is_chunked && request->content_length <= 0) {
        return;
    }
    if (request->expects_continue || (!is_chunked && (uint64_t)request->content_length > limit)) {
        state->is_closing = true;
        state->must_linger = true;
        return;
    }
    state->skip = is_chunked ? TC_HTTP_SKIP_CHUNKED : TC_HTTP_SKIP_LENGTH;
    state->skip_left = is_chunked ? limit : (uint64_t)request->content_length;
    tc__http_begin_chunked(pass->server, &state->chunked);
}

/* What a request is answered with. */
struct choice {
    const struct tc_http_answer *answer; /* NULL: by a handler or the desk, or not at all */
    uint64_t allowed; /* to be told; 0: not */
    int refused; /* a status; 0: it is not */
    uint32_t route_id; /* for http/latency.h */
    bool is_errand; /* for the desk */
    struct tc_http_text path;
    struct tc_http_found found;
    struct tc_http_fit fit; /* of the desk's patterns */
};

/* Of what no route serves. */
static void choose_own(struct choice *choice, const struct tc_http_server *server, bool is_options)
{
    choice->answer = tc__http_own_answer(server, is_options ? 204 : 405);
    choice->allowed |= TC_HTTP_METHOD_BIT(TC_HTTP_OPTIONS);
}

/* A pattern of the desk comes behind an exact route of the server, and before all others. */
static bool is_for_desk(const struct tc_http_server *server, enum tc_http_method method,
                        struct choice *choice)
{
    const struct tc_http_route *route = choice->found.route;

    choice->fit.allowed = 0;
    return server->desk != NULL && (route == NULL || route->match != TC_HTTP_MATCH_EXACT) &&
           tc_http_patterns_find(&server->desk->patterns, choice->path.at, choice->path.len, method,
                                 &choice->fit);
}

/* Of a route. */
static void choose_route(const struct tc_http_pass *pass, struct choice *choice,
                         const struct tc_http_request *request, const char *buf)
{
    const struct tc_http_route *route = choice->found.route;
    struct tc_http_handler *handler = route->handler;

    choice->route_id = route->id;
    if (handler == NULL) {
        choice->answer = &route->answer;
    } else if (request->content_length > route->max_body) {
        choice->refused = 413;
    } else if (handler->ops->glance != NULL) {
        struct tc_http_glimpse glimpse = {
            .request = request,
            .buf = buf,
            .rest = tc__http_rest_of(route, choice->path),
            .now_ns = pass->begun_ns,
        };
        choice->answer = handler->ops->glance(handler, &glimpse);
        tc_assert_debug(choice->answer == NULL || request->method == TC_HTTP_HEAD ||
                        choice->answer->body_len <= TC_HTTP_SMALL_BODY);
    }
}

static void choose(struct tc_http_pass *pass, const struct tc_http_request *request,
                   const char *buf, struct choice *choice)
{
    struct tc_http_server *server = pass->server;
    char *path = (char *)pass->scratch + TC_HTTP_PATH_AT;
    bool is_options = request->method == TC_HTTP_OPTIONS;

    choice->answer = NULL;
    choice->allowed = 0;
    choice->refused = 0;
    choice->route_id = TC_HTTP_NO_ROUTE;
    choice->is_errand = false;
    choice->path = (struct tc_http_text){"", 0};
    if (request->form == TC_HTTP_ASTERISK || request->form == TC_HTTP_AUTHORITY) {
        choice->allowed = TC_HTTP_METHOD_BIT(TC_HTTP_GET) | TC_HTTP_METHOD_BIT(TC_HTTP_HEAD);
        choose_own(choice, server, is_options);
        return;
    }
    ssize_t len =
        tc_http_path_decode(buf + request->path.at, request->path.len, path, TC_HTTP_PATH_BYTES);
    if (len < 0) {
        choice->refused = 400;
        return;
    }
    choice->path = (struct tc_http_text){path, (size_t)len};
    tc_http_router_find(&server->router, (enum tc_http_method)request->method, path, (size_t)len,
                        &choice->found);
    const struct tc_http_route *route = choice->found.route;
    if (is_for_desk(server, (enum tc_http_method)request->method, choice)) {
        choice->is_errand = true;
    } else if (tc_likely(route != NULL)) {
        choose_route(pass, choice, request, buf);
    } else if ((choice->found.allowed | choice->fit.allowed) == 0) {
        choice->answer = tc__http_own_answer(server, 404);
    } else {
        choice->allowed = choice->found.allowed | choice->fit.allowed;
        choose_own(choice, server, is_options);
    }
}

/* `head_len` bytes at `buf` are the request's head. */
static void answer_request(struct tc_http_pass *pass, const struct tc_http_request *request,
                           const char *buf, size_t head_len)
{
    struct tc_http_state *state = pass->state;
    struct choice choice;

    choose(pass, request, buf, &choice);
    if (choice.refused != 0) {
        tc__http_refuse(pass, choice.refused);
        return;
    }
    if (choice.is_errand) {
        tc__http_errand_begin(pass, request, buf, head_len, choice.path, &choice.fit);
        return;
    }
    if (choice.answer == NULL) {
        state->call = tc__http_call_new(pass, request, buf, head_len, &choice.found, choice.path);
        pass->error = state->call == NULL ? -ENOMEM : 0;
        return;
    }
    /* RFC 9112 9.6: say that this is the last one. */
    state->is_closing = !request->keep_alive || tc_conn_is_draining(pass->conn);
    begin_body(pass, request);
    if (state->is_closing && state->skip != TC_HTTP_SKIP_NOTHING) {
        state->skip = TC_HTTP_SKIP_NOTHING;
        state->must_linger = true;
    }
    bool has_body = request->method != TC_HTTP_HEAD;
    tc__http_ledger_note(pass, choice.route_id, choice.answer->status,
                         has_body ? choice.answer->body_len : 0);
    tc__http_put_answer(pass, choice.answer, choice.allowed, request->minor, has_body);
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
    while (at < len && pass->error == 0 && !state->is_closing && !tc__http_is_busy(state)) {
        if (state->errand != NULL) {
            at += tc__http_errand_collect(pass, buf + at, len - at);
            continue;
        }
        if (state->skip != TC_HTTP_SKIP_NOTHING) {
            at += skip_body(pass, buf + at, len - at);
            continue;
        }
        if (TC_HTTP_OUT_BYTES - pass->out_len < TC_HTTP_ANSWER_BYTES ||
            tc__http_ledger_is_full(pass)) {
            tc__http_flush(pass, NULL, 0);
            continue;
        }
        state->begun_ns = state->begun_ns == 0 ? pass->begun_ns : state->begun_ns;
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
        pass->request = request;
        pass->head = buf + at;
        answer_request(pass, request, buf + at, (size_t)n);
        pass->request = NULL;
        at += (size_t)n;
    }
    if (state->errand != NULL && pass->error == 0) {
        tc__http_errand_settle(pass);
    }
    tc__http_flush(pass, NULL, 0);
    if (at == len && !tc__http_is_busy(state)) {
        state->needs_input = true;
    }
    return at;
}
