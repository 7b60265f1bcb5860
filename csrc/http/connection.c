/* A connection of the HTTP server: requests in, answers out, in the order they came.
 *
 *   react   one recv into the scratch, one pass over it (http/exchange.h). Nothing left on either
 *           side: at rest again, without a fiber.
 *   serve   on a fiber, until nothing is left: sends what was not taken, lets a handler serve its
 *           call, waits for the rest of a head or of a body to skip, answers, lingers before a
 *           close.
 */
#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "http/call.h"
#include "http/errand.h"
#include "http/ledger.h"
#include "sched/fiber.h"
#include "sched/worker.h"

enum {
    KEPT_BYTES = 2048, /* smallest buffer for input that is kept */
    LINGER_BYTES = 64 * 1024,
    HELD_BYTES = 64 * 1024, /* kept of what comes while an answer is waited for */
};

#define LINGER_NS (1 * TC_NS_PER_SEC)

/* ---- input that is kept ------------------------------------------------------------------- */

void tc__http_drop_input(struct tc_http_state *state)
{
    tc_mem_free(state->in, state->in_size);
    state->in = NULL;
    state->in_len = 0;
    state->in_size = 0;
}

/* Have a buffer with room for more. Only a head grows it, and the parser refuses one that has
 * reached its limit. */
static int make_room(struct tc_http_state *state)
{
    uint32_t size = state->in_size == 0 ? KEPT_BYTES : state->in_size * 2;

    if (state->in_len < state->in_size) {
        return 0;
    }
    unsigned char *in = tc_mem_realloc(state->in, state->in_size, size);
    if (in == NULL) {
        return -ENOMEM;
    }
    state->in = in;
    state->in_size = size;
    return 0;
}

/* If a head or a body to skip has begun: by when it must have ended. What is kept because the peer
 * does not take its answers has not been looked at, and is no head yet. */
static void set_deadline(struct tc_http_pass *pass)
{
    struct tc_http_state *state = pass->state;

    if (state->deadline_ns == 0 && state->call == NULL &&
        (state->needs_input || state->skip != TC_HTTP_SKIP_NOTHING)) {
        state->deadline_ns = tc_deadline_after_ns(state->skip != TC_HTTP_SKIP_NOTHING
                                                      ? pass->server->skip_timeout_ns
                                                      : pass->server->header_timeout_ns);
    }
}

int tc__http_keep_input(struct tc_http_state *state, const unsigned char *bytes, size_t len)
{
    size_t size = len < KEPT_BYTES ? KEPT_BYTES : len;

    state->in = tc_mem_alloc(size);
    if (state->in == NULL) {
        return -ENOMEM;
    }
    memcpy(state->in, bytes, len);
    state->in_len = (uint32_t)len;
    state->in_size = (uint32_t)size;
    return 0;
}

/* Add to the input that is kept. */
static int keep_more(struct tc_http_state *state, const unsigned char *bytes, size_t len)
{
    if (state->in == NULL) {
        return tc__http_keep_input(state, bytes, len);
    }
    size_t size = state->in_len + len;
    if (size > state->in_size) {
        unsigned char *in = tc_mem_realloc(state->in, state->in_size, size);
        if (in == NULL) {
            return -ENOMEM;
        }
        state->in = in;
        state->in_size = (uint32_t)size;
    }
    memcpy(state->in + state->in_len, bytes, len);
    state->in_len += (uint32_t)len;
    return 0;
}

/* ---- a call on the desk ------------------------------------------------------------------- */

/* Look whether the answer has come, and keep what the peer sends meanwhile. One that has ended its
 * side may still take the answer; the clerk is told.
 * Returns TC_CONN_REST when it has been sent as far as the peer takes it, or what else is to be
 * done. */
static enum tc_verdict look_for_answer(struct tc_http_pass *pass)
{
    struct tc_conn *conn = pass->conn;
    struct tc_http_state *state = pass->state;
    struct tc_stream *stream = tc_conn_stream(conn);
    enum tc_direction want;

    /* The poke may come between a look and the receive that uses the edge up: hence the second
     * look. */
    while (!tc__http_errand_answer(pass)) {
        ssize_t got = -EAGAIN;
        if (state->in_len < HELD_BYTES) {
            got = tc_stream_try_recv(stream, pass->scratch, TC_HTTP_IN_BYTES, &want);
        } else {
            TC_IGNORE(tc_pollfd_consume(stream->slot, TC_READ));
            stream->try_read = true; /* there may be more, for later */
        }
        if (got < 0 && got != -EAGAIN) {
            return tc_conn_fail(conn, (int)got);
        }
        if (got == 0) {
            tc__desk_call_end_input(state->errand);
        }
        if (got == -EAGAIN || got == 0) {
            return tc__http_errand_answer(pass) ? TC_CONN_REST : TC_CONN_HOLD;
        }
        tc_conn_count_in(conn, (uint64_t)got);
        int rc = keep_more(state, pass->scratch, (size_t)got);
        if (rc != 0) {
            return tc_conn_fail(conn, rc);
        }
    }
    return TC_CONN_REST;
}

/* ---- react -------------------------------------------------------------------------------- */

static struct tc_http_pass begin_pass(struct tc_conn *conn, struct tc_worker *worker)
{
    struct tc_http_server *server = tc__http_server_of(conn);

    return (struct tc_http_pass){
        .conn = conn,
        .state = tc_conn_state(conn),
        .server = server,
        .part = &server->parts[worker->index],
        .scratch = tc_io_scratch(worker),
        .begun_ns = tc_worker_recent_clock(worker),
    };
}

static enum tc_verdict http_react(struct tc_conn *conn, struct tc_worker *worker)
{
    struct tc_http_pass pass = begin_pass(conn, worker);
    struct tc_http_state *state = pass.state;
    enum tc_direction want;

    if (tc_unlikely(pass.scratch == NULL)) {
        return tc_conn_fail(conn, -ENOMEM);
    }
    if (tc__http_is_called(state)) {
        enum tc_verdict verdict = look_for_answer(&pass);
        if (verdict != TC_CONN_REST) {
            return verdict;
        }
        if (tc_unlikely(pass.error != 0)) {
            return tc_conn_fail(conn, pass.error);
        }
        if (tc__http_is_blocked(state) || state->in != NULL || state->is_closing ||
            state->call != NULL) {
            state->must_linger = state->must_linger || state->in != NULL;
            return TC_CONN_SERVE;
        }
    }
    ssize_t got = tc_stream_try_recv(tc_conn_stream(conn), pass.scratch, TC_HTTP_IN_BYTES, &want);
    if (tc_unlikely(got <= 0)) {
        if (got == -EAGAIN) {
            return tc__http_is_collecting(state) ? TC_CONN_SERVE : TC_CONN_REST;
        }
        return got == 0 ? TC_CONN_CLOSE : tc_conn_fail(conn, (int)got);
    }
    tc_conn_count_in(conn, (uint64_t)got);
    size_t used = tc__http_handle(&pass, (const char *)pass.scratch, (size_t)got);
    if (tc_unlikely(pass.error != 0)) {
        return tc_conn_fail(conn, pass.error);
    }
    if (tc_likely(used == (size_t)got && !tc__http_is_blocked(state) && state->call == NULL &&
                  state->skip == TC_HTTP_SKIP_NOTHING && !tc__http_is_collecting(state))) {
        if (!state->is_closing) {
            return state->errand == NULL ? TC_CONN_REST : TC_CONN_HOLD;
        }
        return state->must_linger ? TC_CONN_SERVE : TC_CONN_CLOSE;
    }
    if (state->is_closing) {
        state->must_linger = true; /* for what is not consumed */
        return TC_CONN_SERVE;
    }
    set_deadline(&pass);
    if (used != (size_t)got) {
        int rc = tc__http_keep_input(state, pass.scratch + used, (size_t)got - used);
        if (rc != 0) {
            return tc_conn_fail(conn, rc);
        }
    }
    return tc__http_is_called(state) && !tc__http_is_blocked(state) ? TC_CONN_HOLD : TC_CONN_SERVE;
}

/* ---- serve -------------------------------------------------------------------------------- */

/* Each time the peer takes something it has the whole send timeout again. */
static TC_MAY_PARK int send_kept(struct tc_conn *conn, struct tc_http_state *state)
{
    struct tc_stream *stream = tc_conn_stream(conn);

    while (tc__http_is_blocked(state)) {
        bool is_out = state->out != NULL;
        const void *bytes =
            is_out ? (const void *)(state->out + state->out_sent) : (const void *)state->body;
        size_t len = is_out ? state->out_len - state->out_sent : state->body_left;
        ssize_t n = tc_stream_send(stream, bytes, len, tc_conn_send_deadline(conn));
        if (n < 0) {
            return (int)n;
        }
        tc_conn_count_out(conn, (uint64_t)n);
        if (!is_out) {
            state->body += n;
            state->body_left -= (size_t)n;
            continue;
        }
        state->out_sent += (uint32_t)n;
        if (state->out_sent == state->out_len) {
            tc_mem_free(state->out, state->out_len);
            state->out = NULL;
        }
    }
    tc_desk_reply_free(state->reply_kept);
    state->reply_kept = NULL;
    tc__http_ledger_settle_kept(conn);
    return 0;
}

/* RFC 9112 9.6: with unread input a close would be a reset, which can destroy the answer on its
 * way. So say that nothing more comes, and read on for a while. */
static TC_MAY_PARK void linger(struct tc_conn *conn)
{
    struct tc_stream *stream = tc_conn_stream(conn);
    int64_t deadline = tc_deadline_after_ns(LINGER_NS);
    char ignored[1024];

    if (tc_stream_shutdown_write(stream, deadline) != 0) {
        return;
    }
    for (size_t total = 0; total < LINGER_BYTES;) {
        ssize_t n = tc_stream_recv(stream, ignored, sizeof ignored, deadline);
        if (n <= 0) {
            return;
        }
        tc_conn_count_in(conn, (uint64_t)n);
        total += (size_t)n;
    }
}

/* Handle what is kept. */
static int handle_kept(struct tc_conn *conn)
{
    struct tc_http_pass pass = begin_pass(conn, tc_worker_current());
    struct tc_http_state *state = pass.state;

    if (pass.scratch == NULL) {
        return -ENOMEM;
    }
    size_t used = tc__http_handle(&pass, (const char *)state->in, state->in_len);
    if (pass.error != 0) {
        return pass.error;
    }
    if (state->is_closing) {
        state->must_linger = state->must_linger || used != state->in_len;
        tc__http_drop_input(state);
    } else if (used == state->in_len) {
        tc__http_drop_input(state);
    } else {
        state->in_len -= (uint32_t)used;
        memmove(state->in, state->in + used, state->in_len);
    }
    if (state->in != NULL || state->skip != TC_HTTP_SKIP_NOTHING) {
        set_deadline(&pass);
    }
    return 0;
}

/* The head did not come in time; a body to skip that did not has no answer to wait for. */
static int time_out(struct tc_conn *conn)
{
    struct tc_http_pass pass = begin_pass(conn, tc_worker_current());

    if (pass.scratch == NULL) {
        return -ENOMEM;
    }
    tc__http_drop_input(pass.state);
    if (tc__http_is_collecting(pass.state)) {
        tc__desk_call_abandon(pass.state->errand);
        pass.state->errand = NULL;
    }
    if (pass.state->skip != TC_HTTP_SKIP_NOTHING) {
        pass.state->skip = TC_HTTP_SKIP_NOTHING;
        pass.state->is_closing = true;
        return 0;
    }
    tc_counter_add(&pass.part->header_timeouts, 1);
    tc__http_refuse(&pass, 408);
    tc__http_flush(&pass, NULL, 0);
    return pass.error;
}

/* Wait for more. Returns 1, 0 at the end of the stream, or -errno. */
static TC_MAY_PARK int receive_more(struct tc_conn *conn, struct tc_http_state *state)
{
    int rc = make_room(state);

    if (rc != 0) {
        return rc;
    }
    tc_assert(state->in != NULL); /* or there would be no room */
    ssize_t n = tc_stream_recv(tc_conn_stream(conn), state->in + state->in_len,
                               state->in_size - state->in_len, state->deadline_ns);
    if (n == -ETIMEDOUT) {
        rc = time_out(conn);
        return rc == 0 ? 1 : rc;
    }
    if (n <= 0) {
        return (int)n;
    }
    tc_conn_count_in(conn, (uint64_t)n);
    state->in_len += (uint32_t)n;
    state->needs_input = false;
    return 1;
}

static enum tc_verdict http_serve(struct tc_conn *conn)
{
    struct tc_http_state *state = tc_conn_state(conn);

    for (;;) {
        int rc = send_kept(conn, state);
        if (rc != 0) {
            return tc_conn_fail(conn, rc);
        }
        if (state->call != NULL) {
            rc = tc__http_call_run(conn);
            if (rc != 0) {
                return tc_conn_fail(conn, rc);
            }
            tc_fiber_yield(); /* nor one that has sent many requests */
        }
        if (state->is_closing) {
            if (state->must_linger) {
                linger(conn);
            }
            return TC_CONN_CLOSE;
        }
        if (tc__http_is_collecting(state) && state->in == NULL) {
            rc = tc_stream_wait_input(tc_conn_stream(conn), state->deadline_ns);
            if (rc == -ETIMEDOUT) {
                rc = time_out(conn);
            }
            if (rc != 0) {
                return tc_conn_fail(conn, rc);
            }
            if (state->is_closing) {
                continue;
            }
        }
        if (tc__http_is_called(state) ||
            (state->in == NULL && state->skip == TC_HTTP_SKIP_NOTHING)) {
            enum tc_verdict verdict = http_react(conn, tc_worker_current());
            if (verdict != TC_CONN_SERVE) {
                return verdict;
            }
            continue;
        }
        if (state->in == NULL || state->needs_input) {
            rc = receive_more(conn, state);
            if (rc <= 0) {
                return rc == 0 ? TC_CONN_CLOSE : tc_conn_fail(conn, rc);
            }
            tc_fiber_yield(); /* a peer that never pauses must not keep the others waiting */
        }
        if (state->in != NULL) {
            rc = handle_kept(conn);
            if (rc != 0) {
                return tc_conn_fail(conn, rc);
            }
        }
    }
}

static void http_release(struct tc_conn *conn)
{
    struct tc_http_state *state = tc_conn_state(conn);

    tc__http_drop_input(state);
    tc_mem_free(state->out, state->out_len);
    state->out = NULL;
    if (state->call != NULL) { /* its fiber never ran */
        tc__http_call_drop(state);
    }
    tc__http_ledger_drop(conn);
    if (state->errand != NULL) {
        tc__desk_call_abandon(state->errand);
        state->errand = NULL;
    }
    tc_desk_reply_free(state->reply_kept);
    state->reply_kept = NULL;
}

const struct tc_protocol tc__http_protocol = {
    .name = "http",
    .stack_class = TC_STACK_DEFAULT, /* handlers run on it */
    .conn_bytes = sizeof(struct tc_http_state),
    .react = http_react,
    .serve = http_serve,
    .release = http_release,
};
