/* http/handler.h — routes that are programs: a request, its body, and the answer, on a fiber.
 *
 * A handler serves the requests of one route (tc_http_server_route). For each of them the server
 * makes a *call*: the head of the request, copied out of the input so that it stays as long as
 * somebody holds the call; the way to its body; the way to its answer. `serve` runs on the fiber of
 * the connection and may park. Until it is done nothing further of the connection is read: what the
 * client has sent behind the request waits.
 *
 *   serve(handler, call)   one of, in this order where both apply
 *     tc_http_body_read    any number of times, until 0; what is left unread is skipped afterwards,
 *                          up to the server's skip_bytes; more of it ends the connection behind the
 *                          answer
 *     tc_http_reply        the whole answer
 *     tc_http_reply_begin, _write or _send_file any number of times, _end
 *     tc_http_detach       the answer is found elsewhere; see below
 *
 *   serve returned        without an answer: 413, 408, 400 or 431 if that is why the body could not
 *                         be read, else 500 · with one that is begun and not ended: the connection
 *                         is broken, so that the client cannot take it for whole
 *
 * DETACHED CALLS A handler that needs another thread takes a reference with tc_http_detach() and
 * returns from `serve`. The holder of the reference gives it back by tc_http_resume(), from any
 * thread, with a function that then runs on the connection's fiber in place of `serve`: it may
 * answer, read the body, park, and detach again. Each detach is followed by exactly one resume.
 *
 *   RUNNING ──detach──► DETACHED ──resume──► RUNNING ──returned──► answered
 *                          └──reset, cancel──► GONE ──resume: false──► released
 *
 *   state      who has it                   resume
 *   RUNNING    the connection's fiber       must not be called
 *   DETACHED   the holder; the fiber waits  true: fn will run
 *   GONE       the holder, for the rest     false: fn will not run
 *
 * While it is DETACHED, `disconnect` tells the holder once that the client will not see an answer,
 * or has ended its side and probably will not: by then the call may be GONE or still wait for its
 * resume, which is due all the same.
 *
 *                     serve's side   detach    resume    hold, release, request   -  safe together
 *   serve's side           X           X         X                -               X  cannot happen
 *   resume                 X           X         X                -
 *   hold, release          -           -         -                -
 */
#ifndef TC_HTTP_HANDLER_H
#define TC_HTTP_HANDLER_H

#include "http/parser.h"
#include "http/response.h"
#include "net/addr.h"

struct tc_http_call;
struct tc_http_handler;

struct tc_http_text {
    const char *at; /* not terminated; never NULL */
    size_t len;
};

/* A request in the input, where it lies until the next park. */
struct tc_http_glimpse {
    const struct tc_http_request *request;
    const char *buf; /* what the request's offsets count from */
    struct tc_http_text rest; /* as tc_http_call_rest */
    int64_t now_ns; /* when the turn of the request came; no fiber has run since */
};

enum { TC_HTTP_GLANCE_BODY = 16 * 1024 };

struct tc_http_handler_ops {
    const char *name; /* "static" */
    /* Answer a request that needs neither call nor fiber. NULL, also in place of the function:
     * serve it. Parks: never   Threads: a worker
     * Returns an answer that stays until the worker's next quiescent state, with a body of at most
     * TC_HTTP_GLANCE_BODY bytes unless the request is HEAD. */
    const struct tc_http_answer *(*glance)(struct tc_http_handler *handler,
                                           const struct tc_http_glimpse *glimpse);
    /* Answer one request, or detach it. Parks: may   Threads: a fiber, several at once */
    void (*serve)(struct tc_http_handler *handler, struct tc_http_call *call);
    /* A detached call has lost its client. Parks: never   Threads: a fiber; also while the holder
     * resumes. May be NULL. */
    void (*disconnect)(struct tc_http_handler *handler, struct tc_http_call *call);
    /* The client of a detached call has sent something, or not sent it in time, while
     * call->awaits_body says that it is waited for (http/call.h). Parks: never   Threads: a fiber.
     * May be NULL. */
    void (*stir)(struct tc_http_handler *handler, struct tc_http_call *call);
    /* A call that `serve` will not be given: what its data stands for. May be NULL. */
    void (*drop)(struct tc_http_handler *handler, struct tc_http_call *call);
    /* The server that owned the handler is being freed, or could not take it. No call is left that
     * a connection serves; detached ones that are GONE may be. Parks: never. May be NULL. */
    void (*free)(struct tc_http_handler *handler);
};

/* The beginning of a handler's own struct. */
struct tc_http_handler {
    const struct tc_http_handler_ops *ops;
};

enum tc_http_match {
    TC_HTTP_MATCH_EXACT, /* the path alone */
    TC_HTTP_MATCH_PREFIX, /* the path and everything below it */
    TC_HTTP_MATCH_PATTERN, /* with holes: http/pattern.h */
};

#define TC_HTTP_METHOD_BIT(method) (UINT64_C(1) << (method)) /* of enum tc_http_method */

struct tc_http_route_options {
    const char *path; /* decoded and normalised like the path of a request */
    uint64_t methods; /* TC_HTTP_METHOD_BITs; GET brings HEAD along, and OPTIONS is answered unless
                       * it is among them */
    int64_t max_body; /* bytes; 0: the server's; TC_NEVER: no limit */
    uint8_t match; /* enum tc_http_match */
};

/* ---- the request: constant while the call is held ------------------------------------------ */

/* Threads: any. */
enum tc_http_method tc_http_call_method(const struct tc_http_call *call);
int tc_http_call_minor(const struct tc_http_call *call); /* 0 or 1, of HTTP/1.minor */
struct tc_http_text tc_http_call_path(const struct tc_http_call *call); /* decoded, normalised */
/* Of it, what is below the prefix of the route: "" or "/..." */
struct tc_http_text tc_http_call_rest(const struct tc_http_call *call);
struct tc_http_text tc_http_call_query(const struct tc_http_call *call); /* as sent, without '?' */
struct tc_http_text tc_http_call_target(const struct tc_http_call *call); /* as sent */
struct tc_http_text tc_http_call_host(const struct tc_http_call *call);
int64_t tc_http_call_content_length(const struct tc_http_call *call); /* -1: none, or chunked */
bool tc_http_call_is_chunked(const struct tc_http_call *call);

/* What stood in the place of {name}; at = "", len = 0 if the route has none of that name. */
struct tc_http_text tc_http_call_param(const struct tc_http_call *call, const char *name);

/* The index-th {name} of the pattern, in its order. Returns false behind the last one. */
bool tc_http_call_param_at(const struct tc_http_call *call, size_t index, struct tc_http_text *name,
                           struct tc_http_text *value);

/* The index-th field line. Returns false behind the last one. */
bool tc_http_call_field_at(const struct tc_http_call *call, size_t index, struct tc_http_text *name,
                           struct tc_http_text *value);

/* All of them, for whoever looks for several. */
struct tc_http_lines tc_http_call_lines(const struct tc_http_call *call);

/* The first line of a known field. Returns false, and an empty value, if there is none. */
bool tc_http_call_field(const struct tc_http_call *call, enum tc_http_field field,
                        struct tc_http_text *value);

/* True if a known field has more than one line. */
bool tc_http_call_is_repeated(const struct tc_http_call *call, enum tc_http_field field);

/* The first line of any field, by its name in any case. */
bool tc_http_call_field_named(const struct tc_http_call *call, const char *name,
                              struct tc_http_text *value);

/* Where the client is. Threads: the call's fiber   Returns 0 or -errno. */
TC_NODISCARD int tc_http_call_peer(const struct tc_http_call *call, struct tc_addr *out);

/* A word of the handler's own, NULL at first. Threads: whoever runs or holds the call */
void tc_http_call_set_data(struct tc_http_call *call, void *data);
void *tc_http_call_data(const struct tc_http_call *call);

/* Keep the memory of the request beyond the answer. Parks: never   Threads: any */
void tc_http_call_hold(struct tc_http_call *call);
void tc_http_call_release(struct tc_http_call *call);

/* ---- the body: the call's fiber only ------------------------------------------------------- */

/* Read up to `len` bytes of the body, of either framing. The first read sends 100 Continue to a
 * client that waits for it.
 * Parks: may   Deadline: absolute ns, the caller's own; a client that sends nothing for the
 * server's body_timeout_ns, or less than its body_rate after body_grace_ns, is given up besides
 * Returns the count, 0 at the end. An error is final and is returned again, but for -ETIMEDOUT of
 * the caller's deadline and -ENOMEM:
 *   -ETIMEDOUT  the deadline has passed              -ETIME       the client is too slow
 *   -EMSGSIZE   more than the route's max_body       -EPROTO      the chunks are malformed
 *   -EPIPE      the client has ended it too early    -ECANCELED   the fiber was cancelled
 *   ... what the system says */
TC_MAY_PARK TC_NODISCARD ssize_t tc_http_body_read(struct tc_http_call *call, void *buf, size_t len,
                                                   int64_t deadline_ns);

/* Bytes of the body read so far, without its framing. */
uint64_t tc_http_body_count(const struct tc_http_call *call);

/* ---- the answer: the call's fiber only ----------------------------------------------------- */

/* All that send:
 * Parks: may. A client that takes nothing for send_timeout_ns is given up. The errors of sending
 * are final; the handler may return then, and the connection is closed.
 * Returns 0, or -EINVAL (a status or field that tc_http_answer_init refuses), -E2BIG, -EALREADY (an
 * answer has begun), -ETIMEDOUT, -ECANCELED, -EPIPE, -ECONNRESET, -ENOMEM, ... */

/* Let the connection end behind this call's answer, for a request that came from no honest client.
 * To be said before the answer begins. Parks: never */
void tc_http_reply_is_last(struct tc_http_call *call);

/* The whole answer. To HEAD it is sent without the body, with the length. */
TC_MAY_PARK TC_NODISCARD int tc_http_reply(struct tc_http_call *call,
                                           const struct tc_http_response *response);

/* The same of an answer that is made already. */
TC_MAY_PARK TC_NODISCARD int tc_http_reply_answer(struct tc_http_call *call,
                                                  const struct tc_http_answer *answer);

enum { TC_HTTP_LENGTH_UNKNOWN = -1 };

/* The head of an answer whose body follows; response->body is not looked at. `length`: of the body;
 * unknown: chunked to HTTP/1.1, ended by the connection's close to HTTP/1.0. The head is sent with
 * the first bytes behind it. */
TC_MAY_PARK TC_NODISCARD int tc_http_reply_begin(struct tc_http_call *call,
                                                 const struct tc_http_response *response,
                                                 int64_t length);

/* Go on with the body. To HEAD nothing is sent. -EOVERFLOW: more than the length; -EPROTO: no
 * answer has begun. The bytes must not lie in the worker's scratch. */
TC_MAY_PARK TC_NODISCARD int tc_http_reply_write(struct tc_http_call *call, const void *bytes,
                                                 size_t len);

/* As write, of a few bytes that had better be sent together with what follows. */
TC_MAY_PARK TC_NODISCARD int tc_http_reply_hold(struct tc_http_call *call, const void *bytes,
                                                size_t len);

/* The same with bytes of a regular file. -ENODATA: the file ended before. */
TC_MAY_PARK TC_NODISCARD int tc_http_reply_send_file(struct tc_http_call *call, int file_fd,
                                                     int64_t offset, uint64_t len);

/* End the body. -EBADMSG: less than the length was written, the connection will be broken. */
TC_MAY_PARK TC_NODISCARD int tc_http_reply_end(struct tc_http_call *call);

/* Send what the writer still keeps back, for a client that should see it now. */
TC_MAY_PARK TC_NODISCARD int tc_http_reply_flush(struct tc_http_call *call);

/* True once an answer has begun. */
bool tc_http_call_is_answered(const struct tc_http_call *call);

/* ---- other threads ------------------------------------------------------------------------- */

/* From `serve` or a resume function, which then returns: the answer is found elsewhere. No other
 * function of the call's fiber may follow.
 * Parks: never   Threads: the call's fiber   Owns: the caller gets a reference, spent by resume */
void tc_http_detach(struct tc_http_call *call);

/* Go on with fn(call, arg) on the fiber of the connection.
 * Parks: never   Threads: any, the holder of the reference of tc_http_detach   Owns: spends it
 * Returns true; false: the call is GONE and fn will not run. */
bool tc_http_resume(struct tc_http_call *call, void (*fn)(struct tc_http_call *call, void *arg),
                    void *arg);

/* True once a detached call is GONE. Threads: any holder of a reference. */
bool tc_http_call_is_gone(struct tc_http_call *call);

#endif
