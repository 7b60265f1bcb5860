/* The body of a request, for its handler. What came with the head lies in the connection's kept
 * input; the rest is received straight into the handler's buffer, where chunks are decoded in
 * place. What turns out to lie behind the body goes back to the kept input. */
#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "http/call.h"
#include "http/error.h"
#include "sched/worker.h"

/* ---- patience ----------------------------------------------------------------------------- */

/* How long the client may still keep us waiting: the idle limit, and what is left of the time that
 * it was given at the start and has earned since by what it sent. Time that the handler takes is
 * its own. */
int64_t tc__http_body_patience(const struct tc_http_call *call)
{
    const struct tc_http_server *server = call->server;
    uint64_t earned_s = call->body_raw / server->body_rate;
    int64_t left = TC_NEVER;

    if (earned_s < (uint64_t)(INT64_MAX / TC_NS_PER_SEC / 2)) {
        uint64_t rest = call->body_raw % server->body_rate;
        left = (int64_t)earned_s * TC_NS_PER_SEC +
               (int64_t)(rest * (uint64_t)TC_NS_PER_SEC / server->body_rate);
        left = tc_deadline_add_ns(left, server->body_grace_ns) - call->waited_ns;
        left = left < 0 ? 0 : left;
    }
    return left < server->body_timeout_ns ? left : server->body_timeout_ns;
}

/* ---- input -------------------------------------------------------------------------------- */

static ssize_t fail(struct tc_http_call *call, int error)
{
    call->body_error = error;
    return error;
}

/* Take from what was kept. */
static size_t take_kept(struct tc_http_call *call, void *buf, size_t len)
{
    struct tc_http_state *state = call->state;
    size_t have = state->in_len - call->in_at;
    size_t n = have < len ? have : len;

    memcpy(buf, state->in + call->in_at, n);
    call->in_at += (uint32_t)n;
    return n;
}

/* Take what there is. Returns the count or -errno; -EAGAIN is not final. */
static ssize_t try_receive(struct tc_http_call *call, void *buf, size_t len)
{
    enum tc_direction want;

    tc__http_drop_input(call->state); /* all of it has been taken */
    call->in_at = 0;
    ssize_t n = tc_stream_try_recv(tc_conn_stream(call->conn), buf, len, &want);
    if (n > 0) {
        tc_conn_count_in(call->conn, (uint64_t)n);
        return n;
    }
    return n == -EAGAIN ? n : fail(call, n == 0 ? -EPIPE : (int)n);
}

/* Wait for more. Returns the count or -errno. */
static TC_MAY_PARK ssize_t receive(struct tc_http_call *call, void *buf, size_t len,
                                   int64_t deadline_ns)
{
    tc__http_drop_input(call->state); /* all of it has been taken */
    call->in_at = 0;
    int64_t before = tc_worker_clock(tc_worker_current());
    int64_t limit = tc_deadline_add_ns(before, tc__http_body_patience(call));
    bool is_callers = deadline_ns <= limit;
    ssize_t n =
        tc_stream_recv(tc_conn_stream(call->conn), buf, len, is_callers ? deadline_ns : limit);

    call->waited_ns += tc_worker_clock(tc_worker_current()) - before;
    if (n > 0) {
        tc_conn_count_in(call->conn, (uint64_t)n);
        return n;
    }
    if (n == -ENOMEM || (n == -ETIMEDOUT && is_callers)) {
        return n;
    }
    return fail(call, n == 0 ? -EPIPE : n == -ETIMEDOUT ? -ETIME : (int)n);
}

static TC_MAY_PARK int send_continue(struct tc_http_call *call)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = sizeof text - 1};

    call->must_continue = false;
    if (call->in_at != call->state->in_len || call->reply != TC_HTTP_REPLY_NONE) {
        return 0; /* RFC 9110 10.1.1: not needed by a client that does not wait */
    }
    return tc__http_send(call, &iov, 1);
}

/* ---- chunks ------------------------------------------------------------------------------- */

/* `len` bytes behind the body were received with it: the next request's. */
static int give_back(struct tc_http_call *call, const unsigned char *bytes, size_t len,
                     bool was_kept)
{
    struct tc_http_state *state = call->state;

    if (was_kept) {
        call->in_at -= (uint32_t)len;
        return 0;
    }
    if (len == 0) {
        return 0;
    }
    tc_assert(state->in == NULL && len <= UINT32_MAX); /* receive has dropped it */
    return tc__http_keep_input(state, bytes, len);
}

/* Decode `len` bytes in place. Returns the bytes of data, 0: none yet or the end, or -errno. */
static ssize_t unchunk(struct tc_http_call *call, unsigned char *buf, size_t len, bool was_kept)
{
    size_t at = 0;
    size_t out = 0;
    int event = TC_CHUNKED_DATA;

    while (event == TC_CHUNKED_DATA) {
        struct tc_chunked_data data;
        size_t used;
        event = tc_chunked_next(&call->chunked, (const char *)buf + at, len - at, &used, &data);
        if (event < 0) {
            call->body_status = tc_http_error_status(event);
            return fail(call, -EPROTO);
        }
        if (event == TC_CHUNKED_DATA) {
            memmove(buf + out, data.at, data.len);
            out += data.len;
        }
        at += used;
    }
    if (event == TC_CHUNKED_END) {
        call->body_is_done = true;
        int rc = give_back(call, buf + at, len - at, was_kept);
        if (rc != 0) {
            return fail(call, rc);
        }
    }
    call->body_count += out;
    if (call->body_count > (uint64_t)call->route->max_body) {
        return fail(call, -EMSGSIZE);
    }
    return (ssize_t)out;
}

/* ---- for handlers ------------------------------------------------------------------------- */

/* How much of `len` bytes may be the body's. */
static size_t bytes_wanted(const struct tc_http_call *call, size_t len)
{
    return !call->is_chunked && call->body_left < len ? (size_t)call->body_left : len;
}

/* `n` bytes have come. Returns the bytes of data, 0: none yet or the end, or -errno. */
static ssize_t account(struct tc_http_call *call, void *buf, size_t n, bool was_kept)
{
    call->body_raw += n;
    if (call->is_chunked) {
        return unchunk(call, buf, n, was_kept);
    }
    call->body_left -= n;
    call->body_count += n;
    call->body_is_done = call->body_left == 0;
    return (ssize_t)n;
}

void tc__http_body_greet(struct tc_http_call *call)
{
    if (call->must_continue && call->body_error == 0) {
        int rc = send_continue(call);
        if (rc != 0) {
            (void)fail(call, rc); /* the next read says so */
        }
    }
}

ssize_t tc__http_body_try(struct tc_http_call *call, void *buf, size_t len)
{
    while (call->body_error == 0 && !call->body_is_done) {
        bool is_kept = call->in_at != call->state->in_len;
        size_t want = bytes_wanted(call, len);
        ssize_t n = is_kept ? (ssize_t)take_kept(call, buf, want) : try_receive(call, buf, want);
        if (n > 0) {
            n = account(call, buf, (size_t)n, is_kept);
        }
        if (n != 0) {
            return n;
        }
    }
    return call->body_error;
}

ssize_t tc_http_body_read(struct tc_http_call *call, void *buf, size_t len, int64_t deadline_ns)
{
    struct tc_http_state *state = call->state;

    tc_assert(len != 0);
    tc__http_body_greet(call);
    while (call->body_error == 0 && !call->body_is_done) {
        bool is_kept = call->in_at != state->in_len;
        size_t want = bytes_wanted(call, len);
        ssize_t n =
            is_kept ? (ssize_t)take_kept(call, buf, want) : receive(call, buf, want, deadline_ns);
        if (n < 0) {
            return n;
        }
        n = account(call, buf, (size_t)n, is_kept);
        if (n != 0) {
            return n;
        }
    }
    return call->body_error;
}

uint64_t tc_http_body_count(const struct tc_http_call *call)
{
    return call->body_count;
}

/* ---- for the connection ------------------------------------------------------------------- */

void tc__http_body_abandon(struct tc_http_call *call)
{
    struct tc_http_state *state = call->state;

    if (call->in_at != 0 && call->in_at == state->in_len) {
        tc__http_drop_input(state);
    } else if (call->in_at != 0) {
        state->in_len -= call->in_at;
        memmove(state->in, state->in + call->in_at, state->in_len);
    }
    call->in_at = 0;
    state->needs_input = false;
    if (state->is_closing) {
        state->must_linger = !call->body_is_done || state->in != NULL;
        tc__http_drop_input(state);
    } else if (!call->body_is_done) {
        state->skip = call->is_chunked ? TC_HTTP_SKIP_CHUNKED : TC_HTTP_SKIP_LENGTH;
        state->skip_left = call->is_chunked ? call->server->skip_bytes : call->body_left;
        state->chunked = call->chunked;
        state->deadline_ns = tc_deadline_after_ns(call->server->skip_timeout_ns);
    }
}
