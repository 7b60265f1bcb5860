/* http/call.h — struct tc_http_call, for call.c, body.c, reply.c, exchange.c and connection.c
 * alone.
 *
 * A call is one allocation: the struct, the field lines, the values of the pattern's names, the
 * head as it came, the decoded path. The connection holds one reference while it serves the call,
 * each detach another one.
 *
 * INVARIANTS
 *  CL1  What is behind "the request" does not change after tc__http_call_new.
 *  CL2  `conn`, `state`, `server` and `route` are used by the connection's fiber only, which holds
 *       the server; a holder elsewhere may outlive all four.
 *  CL3  `phase`, `waiter`, `seq`, `resume` and `resume_arg` are read and written under `lock`.
 */
#ifndef TC_HTTP_CALL_H
#define TC_HTTP_CALL_H

#include "base/lock.h"
#include "http/exchange.h"
#include "http/handler.h"

enum tc_http_phase {
    TC_HTTP_RUNNING,
    TC_HTTP_DETACHED,
    TC_HTTP_RESUMED, /* DETACHED, and the fiber has not taken notice yet */
    TC_HTTP_GONE,
};

/* How the body of the answer is delimited. */
enum tc_http_reply_state {
    TC_HTTP_REPLY_NONE, /* no answer has begun */
    TC_HTTP_REPLY_LENGTH, /* reply_left bytes are to come */
    TC_HTTP_REPLY_CHUNKED,
    TC_HTTP_REPLY_CLOSE, /* by the end of the connection */
    TC_HTTP_REPLY_ENDED,
};

struct tc_http_call {
    _Atomic uint32_t refs;
    size_t size; /* bytes of it all */
    struct tc_conn *conn; /* CL2, these four */
    struct tc_http_state *state;
    struct tc_http_server *server;
    const struct tc_http_route *route;
    uint32_t route_id; /* as its requests are counted (http/latency.h) */
    void *data; /* the handler's */

    /* The request: CL1. */
    uint8_t method;
    uint8_t minor;
    bool is_chunked;
    bool keep_alive;
    int64_t content_length;
    uint64_t repeated;
    struct tc_http_text path;
    struct tc_http_text rest;
    struct tc_http_text query;
    struct tc_http_text target;
    struct tc_http_text host;
    const char *head; /* what the field lines' offsets count from */
    struct tc_http_field_line *fields;
    uint32_t field_count;
    uint32_t param_count;
    struct tc_http_text *params; /* values */
    struct tc_http_text *param_names;

    /* The body: the fiber's. */
    struct tc_chunked chunked;
    uint64_t body_left; /* of Content-Length */
    uint64_t body_count; /* data read */
    uint64_t body_raw; /* bytes that came, with the framing */
    int64_t waited_ns; /* for the client, in all reads */
    uint32_t in_at; /* of state->in: consumed by the body */
    int32_t body_error; /* -errno, final; 0: none */
    int32_t body_status; /* of the answer to -EPROTO */
    bool body_is_done;
    bool must_continue; /* the client waits for 100 Continue */
    bool awaits_body; /* a detached call is to be told (ops->stir) of input, or that it is late */

    /* The answer: the fiber's. */
    uint8_t reply; /* enum tc_http_reply_state */
    bool has_no_body; /* HEAD, 204, 304: its bytes are counted, not sent */
    int32_t send_error; /* -errno, final; 0: none */
    uint64_t reply_left;
    uint64_t reply_bytes; /* of the body, written so far */
    uint16_t status; /* 0: no answer has begun */
    char *pending; /* owned: the head, not sent yet; NULL: none */
    size_t pending_len;

    /* Detached: CL3. */
    struct tc_lock lock;
    uint8_t phase; /* enum tc_http_phase */
    struct tc_waiter *waiter; /* of the fiber that waits, NULL: it does not yet */
    uint64_t seq;
    void (*resume)(struct tc_http_call *call, void *arg);
    void *resume_arg;

    _Alignas(16) unsigned char tail[];
};

/* Make the call of a request whose head is `buf` up to `head_len`. Parks: never
 * Returns NULL if there is no memory. */
struct tc_http_call *tc__http_call_new(struct tc_http_pass *pass,
                                       const struct tc_http_request *request, const char *buf,
                                       size_t head_len, const struct tc_http_found *found,
                                       struct tc_http_text path);

/* What of a path lies below the prefix of its route: "" or "/...". */
static inline struct tc_http_text tc__http_rest_of(const struct tc_http_route *route,
                                                   struct tc_http_text path)
{
    size_t from = path.len;

    if (route->match == TC_HTTP_MATCH_PREFIX) {
        from = route->path[route->path_len - 1] == '/' ? route->path_len - 1 : route->path_len;
    }
    return (struct tc_http_text){path.at + from, path.len - from};
}

/* Free the connection's call, which nobody has served. */
void tc__http_call_drop(struct tc_http_state *state);

/* Serve the connection's call until it is answered, and free it. Returns 0 or -errno: the
 * connection is lost. */
TC_MAY_PARK TC_NODISCARD int tc__http_call_run(struct tc_conn *conn);

/* ---- body.c -------------------------------------------------------------------------------- */

/* How long the client may still keep us waiting for its body, in ns. */
int64_t tc__http_body_patience(const struct tc_http_call *call);

/* Tell a client that waits for 100 Continue to go on. An error is the body's. */
TC_MAY_PARK void tc__http_body_greet(struct tc_http_call *call);

/* As tc_http_body_read, of what is there: -EAGAIN if nothing is. Parks: never */
TC_NODISCARD ssize_t tc__http_body_try(struct tc_http_call *call, void *buf, size_t len);

/* What the client is told if the handler says nothing: what is wrong with the body, else 500. */
int tc__http_body_status(const struct tc_http_call *call);

/* Leave what was not read of the body to the connection. Returns 0 or -errno. */
void tc__http_body_abandon(struct tc_http_call *call);

/* ---- reply.c ------------------------------------------------------------------------------- */

/* The head of an answer that is made already but for its length, as tc_http_reply_begin.
 * Parks: may   Threads: the fiber of the call */
TC_MAY_PARK TC_NODISCARD int tc_http_reply_begin_answer(struct tc_http_call *call,
                                                        const struct tc_http_answer *answer,
                                                        int64_t length);

/* Send all of it. Returns 0 or -errno, which stays. */
TC_MAY_PARK TC_NODISCARD int tc__http_send(struct tc_http_call *call, struct iovec *iov, int count);

#endif
