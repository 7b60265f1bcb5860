/* http/desk.h — requests that another thread answers: handed over in batches, answered in batches.
 *
 * A desk joins the workers of one server with one *clerk*, a thread that is no worker (the loop
 * thread of Python) and knows nothing of connections. A request for one of the desk's patterns
 * becomes a *call*: one block of memory with a copy of the head, the decoded path and, once
 * complete, the body. Its connection is held (net/server.h) until the answer is there; one at a
 * time is all that a connection has on the desk, so what follows it stays unread.
 *
 *   worker                                             clerk
 *   tc__http_desk_submit: into the part's batch
 *   end of the poll: batch → `calls`, one ring ───────► tc_http_desk_take, all of them
 *                                                      tc_desk_call_answer, each ──► outbox
 *   outbox message: each connection is poked ◄──────── tc_http_desk_flush, once a turn
 *
 *   call      COLLECTING ──body complete──► PENDING ──answer──► ANSWERED
 *                 │                          ├──the desk is closed──► REFUSED: with 503
 *                 └── the connection ends ───┴──► ABANDONED: whatever is answered is dropped
 *
 * A client that ends its side of the connection may still read: the call stays PENDING, is_ended
 * tells the clerk, and what is answered is sent.
 *
 * At most TC_HTTP_DESK_WAITING calls lie on the desk; what is beyond stays with the workers, and
 * its connections unread, until the clerk has taken some.
 *
 * INVARIANTS
 *  DK1  A call has a reference for its connection (until that has sent the answer, or ends) and one
 *       for the clerk (from submit until it drops it). Who drops the last one frees it.
 *  DK2  `reply` is written before ANSWERED, by the clerk; read after it, by the connection's owner,
 *       who takes it, but for a FILE, which stays with the call.
 *  DK3  An outbox that is not empty has its message posted, or its home is in `dirty`.
 *  DK4  A posted message holds the server (net/server.h), so that it ends after the message has
 *       run.
 *  DK5  `server` is set by the first call of a run, and cleared when the server is freed; under the
 *       lock, and used there by the clerk, who takes a hold. Workers use it while they have one.
 *  DK6  `calls` has one reader at a time: the clerk until it has closed the desk, then whoever has
 *       the lock. What a worker puts there after the close it refuses itself.
 *
 * WHO MAY CALL: as each says. Clerk: one thread at a time.
 */
#ifndef TC_HTTP_DESK_H
#define TC_HTTP_DESK_H

#include "base/atomic.h"
#include "base/inbox.h"
#include "base/lock.h"
#include "http/parser.h"
#include "http/pattern.h"
#include "http/response.h"
#include "net/server.h"
#include "sched/worker.h"

enum { TC_HTTP_DESK_WAITING = 1024 };

/* In the id of a pattern: its handler may begin before all of the body is there. */
#define TC_HTTP_DESK_STREAMS (UINT32_C(1) << 31)

struct tc_http_desk;
struct tc_desk_file;
struct tc_desk_stream;

enum tc_desk_call_state {
    TC_DESK_CALL_COLLECTING,
    TC_DESK_CALL_PENDING,
    TC_DESK_CALL_ANSWERED, /* without a reply: there was no memory for one */
    TC_DESK_CALL_REFUSED, /* the clerk has left */
    TC_DESK_CALL_ABANDONED,
};

enum tc_desk_reply_kind {
    TC_DESK_REPLY_WHOLE,
    TC_DESK_REPLY_STREAM, /* the body follows in the call's stream (http/desk_stream.h) */
    TC_DESK_REPLY_FILE, /* `file`, and no head (http/desk_file.h) */
};

/* An answer: `head` as in struct tc_http_answer. In one block of memory with it. */
struct tc_desk_reply {
    size_t size; /* of the block */
    uint8_t kind; /* enum tc_desk_reply_kind; WHOLE unless set */
    int64_t length; /* of a STREAM's body, which is also in the head; TC_HTTP_NO_LENGTH: unknown */
    struct tc_http_answer answer; /* points into the block */
    const struct tc_desk_file *file; /* of a FILE; in the block */
};

struct tc_desk_call {
    struct tc_link link; /* in batch, `calls` or outbox: one of them at a time */
    struct tc_link gone_link; /* in `gone`, while is_noticed */
    _Atomic uint32_t is_noticed; /* raised by the worker, lowered by the clerk */
    _Atomic uint32_t is_ended; /* 1: the client has ended its side; the worker's to raise */
    _Atomic uint32_t references; /* DK1 */
    _Atomic uint32_t state; /* enum tc_desk_call_state */
    struct tc_http_desk *desk; /* one reference */
    struct tc_worker *home; /* constant; where its answer is posted */
    struct tc_conn *conn; /* constant; what to poke, see tc_conn_poke */
    struct tc_pollfd *slot; /* constant */
    uint16_t generation; /* of the slot; constant */
    struct tc_desk_reply *reply; /* owned; DK2 */
    _Atomic int32_t file_error; /* of a FILE: -errno for the clerk, 0: nothing; see desk_file.h */
    struct tc_desk_stream
        *stream; /* owned; of one whose body or answer is passed in pieces, or NULL;
                                    * set by the worker before submit, or the clerk before its
                                    * answer */
    void *user; /* the clerk's */
    size_t size; /* of this block */
    uint32_t id; /* of the pattern, without TC_HTTP_DESK_STREAMS */
    uint8_t method; /* enum tc_http_method */
    uint8_t minor;
    bool keep_alive;
    bool is_chunked; /* the body */
    bool may_stream; /* TC_HTTP_DESK_STREAMS */
    bool is_streamed; /* the body comes by the stream, `body` is empty; constant once submitted */
    const char *head; /* in this block; what follows points into it */
    uint32_t head_len;
    struct tc_http_span target;
    struct tc_http_span query;
    const char *path; /* in this block; decoded */
    uint32_t path_len;
    uint32_t param_count;
    const struct tc_http_span *params; /* in this block; parts of `path` */
    uint32_t field_count;
    const struct tc_http_field_line *fields; /* in this block */
    char *body; /* owned; NULL: empty */
    size_t body_len;
    size_t body_size; /* allocated */
    uint64_t body_left; /* of a Content-Length, while COLLECTING */
    int64_t body_begun_ns; /* when collecting began */
};

struct tc_http_desk_ops {
    /* Calls wait, or connections are gone: tell the clerk, who then takes everything there is.
     * Parks: never   Threads: a worker */
    void (*ring)(struct tc_http_desk *desk);
    /* The last reference is dropped. Threads: any */
    void (*free)(struct tc_http_desk *desk);
};

/* What one worker has of a desk. */
struct tc_desk_hatch {
    TC_ALIGNED(TC_CACHELINE) struct tc_fifo batch; /* of calls; the worker's */
    struct tc_message flush; /* to itself: the poll is over */
    bool flush_is_posted; /* the worker's; so are the next two */
    uint32_t rounds; /* how often it was put off */
    size_t seen; /* calls in the batch then */
    struct tc_http_desk *desk; /* constant */
    struct tc_worker *worker; /* constant */
    TC_ALIGNED(TC_CACHELINE) struct tc_inbox outbox; /* of calls; the clerk's, to the worker */
    struct tc_message delivery; /* DK3 */
    _Atomic uint32_t delivery_is_posted; /* raised by the clerk, lowered when it runs */
    bool is_dirty; /* the clerk's */
};

struct tc_http_desk {
    const struct tc_http_desk_ops *ops; /* constant */
    struct tc_http_patterns patterns; /* constant while the server runs */
    _Atomic uint32_t references;
    _Atomic uint32_t waiting; /* calls on the desk */
    _Atomic uint32_t backlog; /* 1: workers keep calls back */
    _Atomic uint32_t is_closed; /* 1: the clerk has left */
    _Atomic uint32_t is_detached; /* 1: the server has been freed, or never started */
    struct tc_inbox calls;
    struct tc_inbox gone; /* calls with something to notice: abandoned, or is_ended */
    struct tc_lock lock;
    _Atomic(struct tc_server *) server; /* DK5 */
    struct tc_desk_hatch *hatches; /* owned; one per worker */
    uint32_t hatch_count;
    _Atomic uint64_t handled; /* calls the clerk has taken; it alone writes */
    _Atomic uint64_t batches; /* times it found some */
    _Atomic uint64_t offloads; /* of files and slices of them, to the blocking pool */
    size_t max_body; /* bytes of a request's body; constant */
    int64_t body_timeout_ns; /* between two parts of a body; constant */
};

/* ---- life ----------------------------------------------------------------------------------- */

/* Prepare a desk, with one reference. Threads: its owner */
void tc_http_desk_init(struct tc_http_desk *desk, const struct tc_http_desk_ops *ops);

void tc_http_desk_acquire(struct tc_http_desk *desk);
void tc_http_desk_release(struct tc_http_desk *desk);

/* No server uses it, or will: tell the clerk. Threads: any   Owns: takes the reference */
void tc_http_desk_withdraw(struct tc_http_desk *desk);

/* ---- clerk ---------------------------------------------------------------------------------- */

/* Take every call that waits, oldest first, linked by `link`; NULL: none. */
struct tc_link *tc_http_desk_take(struct tc_http_desk *desk);

/* Take the calls whose clients have gone since, or ended their side: for tc_desk_call_next_gone. */
struct tc_link *tc_http_desk_take_gone(struct tc_http_desk *desk);

/* The next of them, with a reference; NULL: that was all. Why it is there:
 * tc_desk_call_is_abandoned, tc_desk_call_is_ended. */
struct tc_desk_call *tc_desk_call_next_gone(struct tc_link **list);

/* Answer a call; it goes with the next flush. NULL: the connection ends without an answer.
 * Owns: takes the reply. The clerk keeps its reference. */
void tc_desk_call_answer(struct tc_desk_call *call, struct tc_desk_reply *reply);

/* Send what was answered. */
void tc_http_desk_flush(struct tc_http_desk *desk);

/* The clerk leaves: what waits and what comes is answered with 503 by the workers. It takes no
 * more, but may still answer what it has taken. */
void tc_http_desk_close(struct tc_http_desk *desk);

/* Memory for a reply with a head and a body of so many bytes. Returns NULL without memory.
 * Threads: any */
struct tc_desk_reply *tc_desk_reply_new(size_t head_len, size_t body_len);
void tc_desk_reply_free(struct tc_desk_reply *reply);

/* Add a reference, of who has one; drop one. Threads: any */
void tc_desk_call_acquire(struct tc_desk_call *call);
void tc_desk_call_release(struct tc_desk_call *call);

static inline bool tc_desk_call_is_abandoned(struct tc_desk_call *call)
{
    return tc_load_relaxed(&call->state) == TC_DESK_CALL_ABANDONED; /* relaxed: a hint */
}

/* Whether the client has ended its side: it may be gone, or only have no more to say. */
static inline bool tc_desk_call_is_ended(struct tc_desk_call *call)
{
    return tc_load_relaxed(&call->is_ended) != 0; /* relaxed: a hint */
}

/* ---- server.c, exchange.c and connection.c
 * ---------------------------------------------------- */

/* The server starts; its end is tc_http_desk_withdraw. Returns 0 or -ENOMEM. */
TC_NODISCARD int tc__http_desk_open(struct tc_http_desk *desk, struct tc_runtime *runtime);

/* A call for a request whose head is `buf`; COLLECTING. Returns NULL without memory. */
struct tc_desk_call *tc__desk_call_new(struct tc_http_desk *desk,
                                       const struct tc_http_request *request, const char *buf,
                                       size_t head_len, const char *path, size_t path_len,
                                       const struct tc_http_fit *match);

/* Put the call into its home's outbox, which takes a reference; it goes with the next flush.
 * Threads: the clerk */
void tc__desk_call_post(struct tc_desk_call *call);

/* Have the clerk look at the call, by `gone`. Threads: a worker */
void tc__desk_call_notice(struct tc_desk_call *call);

/* Add to the body. Returns 0 or -ENOMEM. */
TC_NODISCARD int tc__desk_call_add(struct tc_desk_call *call, const char *bytes, size_t len);

/* Put a complete call on the desk. Threads: the worker that owns the connection */
void tc__http_desk_submit(struct tc_desk_call *call, struct tc_conn *conn,
                          struct tc_worker *worker);

/* The connection ends before its answer: drop its reference. Threads: a worker */
void tc__desk_call_abandon(struct tc_desk_call *call);

/* The client has ended its side; more than once is harmless. Threads: the connection's owner */
void tc__desk_call_end_input(struct tc_desk_call *call);

/* Whether it has not been put on the desk yet. Threads: the connection's owner */
static inline bool tc__desk_call_is_collecting(struct tc_desk_call *call)
{
    return tc_load_relaxed(&call->state) == TC_DESK_CALL_COLLECTING; /* relaxed: the owner's own */
}

/* Whether it has been refused. Threads: the connection's owner */
static inline bool tc__desk_call_is_refused(struct tc_desk_call *call)
{
    return tc_load_relaxed(&call->state) == TC_DESK_CALL_REFUSED; /* relaxed: that is all of it */
}

/* Whether the answer is there, as call->reply. Threads: the connection's owner */
static inline bool tc__desk_call_is_answered(struct tc_desk_call *call)
{
    /* acquire [http-reply]: the reply, which the clerk wrote before */
    return tc_load_acquire(&call->state) == TC_DESK_CALL_ANSWERED;
}

#endif
