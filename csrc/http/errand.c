#include "http/errand.h"

#include <errno.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "http/call.h"
#include "http/desk_stream.h"
#include "http/latency.h"
#include "http/ledger.h"
#include "sched/worker.h"

enum { COLLECTED_BYTES = 64 * 1024 }; /* a longer body is not waited for if the handler reads it */

/* The body must come within this time, and at a rate that is no attack; see http/server.h. */
static void move_body_deadline(struct tc_http_pass *pass)
{
    struct tc_http_state *state = pass->state;
    const struct tc_http_server *server = pass->server;
    const struct tc_desk_call *call = state->errand;
    int64_t patience = call->desk->body_timeout_ns;

    state->deadline_ns = tc_deadline_after_ns(patience);
    if (patience == TC_NEVER || server->body_grace_ns == TC_NEVER) {
        return;
    }
    int64_t at_rate = (int64_t)(call->body_len / server->body_rate) * TC_NS_PER_SEC;
    int64_t slowest = tc_deadline_add_ns(call->body_begun_ns, server->body_grace_ns + at_rate);
    state->deadline_ns = slowest < state->deadline_ns ? slowest : state->deadline_ns;
}

static void submit(struct tc_http_pass *pass)
{
    pass->state->deadline_ns = 0;
    tc__http_desk_submit(pass->state->errand, pass->conn, tc_worker_current());
}

/* ---- with a fiber ------------------------------------------------------------------------- */

/* The errand becomes a call that a fiber serves: with its body, or what has not been collected of
 * it. Without memory the connection ends. */
static void promote(struct tc_http_pass *pass)
{
    struct tc_http_state *state = pass->state;
    struct tc_desk_call *errand = state->errand;
    struct tc_http_request *request = (void *)(pass->scratch + TC_HTTP_REQUEST_AT);
    struct tc_http_found found = {.route = &pass->server->desk_route};
    struct tc_http_text path = {errand->path, errand->path_len};
    struct tc_http_hint hint = {0};
    ssize_t n =
        tc_http_parse(request, errand->head, errand->head_len, &pass->server->limits, &hint);

    tc_assert(n == (ssize_t)errand->head_len); /* it was parsed before */
    struct tc_http_call *call =
        tc__http_call_new(pass, request, errand->head, errand->head_len, &found, path);
    if (call == NULL) {
        pass->error = -ENOMEM;
        return;
    }
    if (!tc__desk_call_is_collecting(errand)) {
        call->body_is_done = true;
        call->must_continue = false;
    } else if (errand->body_len != 0 || errand->is_chunked) {
        call->chunked = state->chunked;
        call->body_count = errand->body_len;
        call->body_raw = errand->body_len;
    }
    call->route_id = tc_http_desk_route(errand->id);
    tc_http_call_set_data(call, errand);
    state->errand = NULL;
    state->call = call;
    state->deadline_ns = 0;
}

/* Let the clerk have the call before its body is there. */
static void begin_stream(struct tc_http_pass *pass)
{
    struct tc_desk_call *errand = pass->state->errand;

    pass->error = tc_desk_stream_open(errand);
    if (pass->error == 0 && errand->body_len != 0) {
        pass->error = tc__desk_stream_feed(errand, errand->body, errand->body_len);
    }
    if (pass->error == 0) {
        errand->is_streamed = true;
        promote(pass);
        tc_mem_free(errand->body, errand->body_size);
        errand->body = NULL;
        errand->body_len = 0;
        errand->body_size = 0;
    }
}

void tc__http_errand_settle(struct tc_http_pass *pass)
{
    struct tc_desk_call *errand = pass->state->errand;

    if (tc__desk_call_is_collecting(errand) && errand->may_stream && errand->is_chunked) {
        begin_stream(pass);
    }
}

/* ---- without one -------------------------------------------------------------------------- */

void tc__http_errand_begin(struct tc_http_pass *pass, const struct tc_http_request *request,
                           const char *buf, size_t head_len, struct tc_http_text path,
                           const struct tc_http_fit *fit)
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
    state->errand = tc__desk_call_new(desk, request, buf, head_len, path.at, path.len, fit);
    if (state->errand == NULL) {
        pass->error = -ENOMEM;
        return;
    }
    if (!is_chunked && request->content_length <= 0) {
        submit(pass);
        return;
    }
    tc__http_begin_chunked(pass->server, &state->chunked);
    if (state->errand->may_stream &&
        (request->expects_continue || request->content_length > COLLECTED_BYTES)) {
        begin_stream(pass);
        return;
    }
    state->errand->body_begun_ns = tc_clock_now_ns();
    move_body_deadline(pass);
    if (request->expects_continue) {
        tc__http_put(pass, go_on, sizeof go_on - 1);
    }
}

/* Drop an errand that comes to nothing, and answer with a status of the server's own. */
static void refuse(struct tc_http_pass *pass, int status)
{
    struct tc_desk_call *call = pass->state->errand;

    pass->state->errand = NULL;
    pass->errand = call; /* for the log */
    tc__http_refuse(pass, status);
    pass->errand = NULL;
    tc__desk_call_abandon(call);
}

size_t tc__http_errand_collect(struct tc_http_pass *pass, const char *buf, size_t len)
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
        refuse(pass, tc_http_error_status(event));
        return len;
    }
    if (event == TC_CHUNKED_DATA) {
        if (call->body_len + data.len > call->desk->max_body) {
            refuse(pass, 413);
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
        move_body_deadline(pass);
    }
    return used;
}

bool tc__http_errand_answer(struct tc_http_pass *pass)
{
    struct tc_http_state *state = pass->state;
    struct tc_desk_call *call = state->errand;

    if (tc__desk_call_is_refused(call)) {
        refuse(pass, 503);
        tc__http_flush(pass, NULL, 0);
        return true;
    }
    if (!tc__desk_call_is_answered(call)) {
        return false;
    }
    struct tc_desk_reply *reply = call->reply;
    if (reply == NULL) {
        pass->error = -ENOMEM;
        return true;
    }
    if (reply->kind != TC_DESK_REPLY_WHOLE || reply->answer.head_len > TC_HTTP_ANSWER_HEAD_BYTES) {
        promote(pass); /* a head without limit has no room in the scratch */
        return true;
    }
    state->is_closing = !call->keep_alive || tc_conn_is_draining(pass->conn);
    state->reply_kept = reply;
    call->reply = NULL;
    state->errand = NULL;
    bool has_body = call->method != TC_HTTP_HEAD;
    tc__http_ledger_note_errand(pass, call, reply->answer.status,
                                has_body ? reply->answer.body_len : 0);
    tc__http_put_answer(pass, &reply->answer, 0, call->minor, has_body);
    tc__http_flush(pass, NULL, 0);
    tc_desk_call_release(call);
    if (!tc__http_is_blocked(state)) {
        tc_desk_reply_free(reply);
        state->reply_kept = NULL;
    }
    return true;
}
