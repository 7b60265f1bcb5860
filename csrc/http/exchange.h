/* http/exchange.h — what a connection holds between two requests, and one pass over its input:
 * every whole request answered, everything sent that the peer takes. For connection.c alone.
 *
 * The scratch buffer of the worker is cut into input, request, path, ledger, log and output; it is
 * good until the next park, and nothing in a pass parks. What the pass cannot finish stays in the
 * state: the caller keeps the input that was not consumed; output that was not taken is copied
 * here. A body above TC_HTTP_SMALL_BODY is not copied but sent from its route, which outlives the
 * connection; while it is being sent nothing else is answered. A request whose route has a handler
 * becomes a call (http/call.h) and ends the pass.
 *
 * WHO MAY CALL: the owner of the connection, on a worker; nothing parks.
 */
#ifndef TC_HTTP_EXCHANGE_H
#define TC_HTTP_EXCHANGE_H

#include "http/chunked.h"
#include "http/desk.h"
#include "http/server_internal.h"
#include "io/io.h"

enum {
    TC_HTTP_IN_BYTES = TC_HTTP_SERVER_HEAD_BYTES_MAX,
    TC_HTTP_REQUEST_BYTES = 4096,
    TC_HTTP_PATH_BYTES = TC_HTTP_SERVER_HEAD_BYTES_MAX,
    TC_HTTP_REQUEST_AT = TC_HTTP_IN_BYTES,
    TC_HTTP_PATH_AT = TC_HTTP_REQUEST_AT + TC_HTTP_REQUEST_BYTES,
    TC_HTTP_LEDGER_AT = TC_HTTP_PATH_AT + TC_HTTP_PATH_BYTES,
    TC_HTTP_LEDGER_BYTES = 2048,
    TC_HTTP_LOG_AT = TC_HTTP_LEDGER_AT + TC_HTTP_LEDGER_BYTES,
    TC_HTTP_LOG_BYTES = 32 * 1024,
    TC_HTTP_OUT_AT = TC_HTTP_LOG_AT + TC_HTTP_LOG_BYTES,
    TC_HTTP_OUT_BYTES = TC_IO_SCRATCH_BYTES - TC_HTTP_OUT_AT,
    TC_HTTP_SMALL_BODY = TC_HTTP_GLANCE_BODY, /* copied into the output */
    TC_HTTP_ANSWER_BYTES = TC_HTTP_ANSWER_HEAD_BYTES + 128 +
        TC_HTTP_SMALL_BODY, /* what one answer takes at most */
};

enum tc_http_skip { TC_HTTP_SKIP_NOTHING, TC_HTTP_SKIP_LENGTH, TC_HTTP_SKIP_CHUNKED };

struct tc_http_call;
struct tc_http_ledger;

struct tc_http_state {
    struct tc_http_call *call; /* a reference; the request that a handler serves, NULL: none */
    unsigned char *in; /* owned; input kept, NULL: none */
    uint32_t in_len;
    uint32_t in_size;
    unsigned char *out; /* owned; output not taken yet, NULL: none */
    uint32_t out_len;
    uint32_t out_sent;
    const char *body; /* the route's, or the reply's: what comes behind `out` */
    size_t body_left;
    struct tc_http_ledger *ledger; /* owned; the requests that `out` answers, NULL: none */
    int64_t begun_ns; /* see http/ledger.h */
    int64_t deadline_ns; /* for the head or the body that has begun; 0: none has */
    uint64_t skip_left; /* bytes of the body, or of the budget for a chunked one */
    struct tc_desk_call
        *errand; /* one reference; the request that is on the desk, or on its way there */
    struct tc_desk_reply *reply_kept; /* owned; what `body` points into, if it is that */
    struct tc_chunked chunked;
    struct tc_http_hint hint;
    uint8_t skip; /* enum tc_http_skip: the body that is being skipped */
    bool needs_input; /* what is kept has been looked at */
    bool is_closing; /* no further request is answered */
    bool must_linger; /* the peer may be sending what nobody reads: a reset could eat the answer */
};

/* One pass over some input. */
struct tc_http_pass {
    struct tc_conn *conn;
    struct tc_http_state *state;
    struct tc_http_server *server;
    struct tc_http_part *part;
    unsigned char *scratch;
    size_t out_len;
    uint32_t noted; /* requests that the output answers */
    uint32_t log_len; /* bytes of lines about them */
    const struct tc_http_request *request; /* that is being answered, NULL: of none that was read */
    const char *head; /* of it */
    const struct tc_desk_call *errand; /* that is being refused, in its place */
    int64_t begun_ns; /* when the turn of the input came */
    int error; /* of a send or an allocation; -errno */
};

/* True while the peer has not taken all it was sent. */
static inline bool tc__http_is_blocked(const struct tc_http_state *state)
{
    return state->out != NULL || state->body_left != 0;
}

/* True while the body of an errand is coming in. */
static inline bool tc__http_is_collecting(const struct tc_http_state *state)
{
    /* relaxed: the owner's own, until it is PENDING */
    return state->errand != NULL &&
           tc_load_relaxed(&state->errand->state) == TC_DESK_CALL_COLLECTING;
}

/* True while an answer is waited for. */
static inline bool tc__http_is_called(const struct tc_http_state *state)
{
    return state->errand != NULL && !tc__http_is_collecting(state);
}

/* True while no further request may be looked at. */
static inline bool tc__http_is_busy(const struct tc_http_state *state)
{
    return tc__http_is_blocked(state) || state->call != NULL || tc__http_is_called(state);
}

/* Prepare for the chunked body of a request. */
static inline void tc__http_begin_chunked(const struct tc_http_server *server,
                                          struct tc_chunked *chunked)
{
    *chunked = (struct tc_chunked){.extension_limit = server->chunk_extension_bytes};
}

/* Keep input that was not consumed; there must be none yet. Returns 0 or -ENOMEM. */
TC_NODISCARD int tc__http_keep_input(struct tc_http_state *state, const unsigned char *bytes,
                                     size_t len);

/* Forget the input that is kept. */
void tc__http_drop_input(struct tc_http_state *state);

/* Put bytes into the output. There must be room for them. */
void tc__http_put(struct tc_http_pass *pass, const char *bytes, size_t len);

/* Put an answer to a request of HTTP/1.`minor` into the output, with the methods that would be
 * allowed if any are given. There must be room for it. */
void tc__http_put_answer(struct tc_http_pass *pass, const struct tc_http_answer *answer,
                         uint64_t allowed, int minor, bool has_body);

/* Send what is in the scratch, and `body` behind it; keep what is not taken. */
void tc__http_flush(struct tc_http_pass *pass, const char *body, size_t body_len);

/* Answer with a status of the server's own, and close. There must be room for it. */
void tc__http_refuse(struct tc_http_pass *pass, int status);

/* Answer everything that `len` bytes hold, and send. Returns the bytes consumed; `needs_input` says
 * whether more bytes are needed to go on, pass->error whether the connection is lost. */
size_t tc__http_handle(struct tc_http_pass *pass, const char *buf, size_t len);

#endif
