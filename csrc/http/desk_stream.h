/* http/desk_stream.h — calls of a desk whose body or answer is passed on in pieces.
 *
 * A plain call (http/desk.h) needs no fiber: its body is there before the clerk gets it, and its
 * answer is one reply. What comes or goes in pieces, and a file, needs one: the connection's fiber
 * serves the desk's call as a handler's call (http/handler.h) then, and everything that a handler
 * in C can do is done there. The two meet in a struct tc_desk_stream: two queues of bounded length,
 * one in each direction.
 *
 *   fiber                                               clerk
 *   reads the body, while there is room ──`body`──────► tc_desk_stream_take
 *   sends, as fast as the client takes it ◄──`answer`── tc_desk_stream_put, while there is room
 *   waits: no room or no body, no piece                 told through `gone` (desk.h) when it waits
 *         ▲ resumed by the outbox's delivery ◄───────── the next tc_http_desk_flush
 *
 * The body is read once the clerk has asked for some of it, and a client that waits for 100
 * Continue is told so then. What nobody has asked for is skipped, or ends the connection, as for
 * any handler.
 *
 * INVARIANTS
 *  DT1  Of a fiber that waits `may_resume` is true; whoever lowers it, under the lock, resumes the
 *       fiber, or is the fiber, which goes on by itself.
 *  DT2  The queues hold less than TC_DESK_STREAM_BYTES and one piece more.
 *  DT3  The clerk is told of room or of a body only while it waits for that (`is_full`,
 *       `is_starved`), and of the end of the fiber in any case.
 *
 * WHO MAY CALL: as each says. Nothing parks but what says so.
 */
#ifndef TC_HTTP_DESK_STREAM_H
#define TC_HTTP_DESK_STREAM_H

#include "base/list.h"
#include "base/lock.h"
#include "http/desk.h"
#include "http/handler.h"

enum {
    TC_DESK_STREAM_BYTES = 256 * 1024, /* that lie in a queue, more or less */
    TC_DESK_STREAM_PIECES = 64, /* likewise */
};

/* One block of memory. */
struct tc_desk_piece {
    struct tc_link link;
    size_t len;
    char bytes[];
};

struct tc_desk_queue {
    struct tc_fifo pieces;
    size_t bytes; /* of these, and of those being sent */
};

struct tc_desk_stream {
    struct tc_lock lock; /* TC_RANK_HTTP_STREAM; guards everything but the last two */
    struct tc_http_call *served; /* the fiber's; NULL: it has not begun, or has ended */
    bool may_resume; /* DT1 */
    bool has_news; /* for the fiber, since it looked */
    bool is_outboxed; /* the call is on its way through the outbox */
    bool is_over; /* the fiber has ended: nobody takes or puts any more */
    bool is_wanted; /* the clerk has asked for the body */
    bool is_starved; /* DT3 */
    bool is_full; /* DT3 */
    bool body_ended;
    bool answer_ended;
    bool is_broken; /* the answer has ended before it was whole */
    int body_error; /* -errno, as of tc_http_body_read; 0: none */
    int body_status; /* of the answer that says so, 500: none does */
    struct tc_desk_queue body;
    struct tc_desk_queue answer;
    void *reader; /* the clerk's */
    void *writer; /* the clerk's */
};

/* ---- clerk -------------------------------------------------------------------------------- */

/* Give a call a stream, before its answer, unless it has one. Returns 0 or -ENOMEM. */
TC_NODISCARD int tc_desk_stream_open(struct tc_desk_call *call);

/* Take a piece of the body; the first time asks for it. Owns: *out is the caller's, from
 * tc_mem_alloc with `len` bytes behind the struct Returns 1; 0 at the end; -EAGAIN: nothing yet,
 * and the clerk will be told; or as tc_http_body_read, -ECONNABORTED once the request is over. */
TC_NODISCARD int tc_desk_stream_take(struct tc_desk_call *call, struct tc_desk_piece **out);
void tc_desk_piece_free(struct tc_desk_piece *piece);

/* The status of the answer that tells the client what is wrong with its body; 500: nothing to be
 * told. */
int tc_desk_stream_body_status(struct tc_desk_call *call);

/* Go on with an answer that was begun by a reply of the kind TC_DESK_REPLY_STREAM. Sent with the
 * next flush. Returns 0, -EPIPE: the client is gone, -ENOMEM. */
TC_NODISCARD int tc_desk_stream_put(struct tc_desk_call *call, const void *bytes, size_t len);

/* Whether more should be put; false: not yet, and the clerk will be told. Also true once nobody
 * takes it any more. */
TC_NODISCARD bool tc_desk_stream_has_room(struct tc_desk_call *call);

/* Whether the fiber has ended, so that nothing is taken or sent any more. */
bool tc_desk_stream_is_over(struct tc_desk_call *call);

/* End it. Without is_whole the connection is broken, so that the client cannot take it for that. */
void tc_desk_stream_end(struct tc_desk_call *call, bool is_whole);

/* ---- desk.c, errand.c, desk_serve.c --------------------------------------------------------- */

/* Free a stream, or NULL. */
void tc__desk_stream_free(struct tc_desk_stream *stream);

/* Put bytes at the end of the body. Returns 0 or -ENOMEM. */
TC_NODISCARD int tc__desk_stream_feed(struct tc_desk_call *call, const void *bytes, size_t len);

/* Put the call into its home's outbox, unless it is there. Threads: the clerk */
void tc__desk_stream_post(struct tc_desk_call *call);

/* The call comes out of the outbox: have its fiber look. Threads: a worker, between fibers
 * Returns false: there is none yet. */
bool tc__desk_stream_kick(struct tc_desk_call *call);

/* Have the fiber look. Threads: any that is allowed to resume the call */
void tc__desk_stream_wake(struct tc_desk_call *call);

/* The fiber has ended, or lost its client. `error`: what who reads the body further is told.
 * Threads: the fiber; the clerk, of a call that never had one */
void tc__desk_stream_close(struct tc_desk_call *call, int error);

/* On the fiber: do what there is to do, and detach or have done. */
TC_MAY_PARK void tc__desk_pump(struct tc_http_call *call, void *arg);

/* The handler of the calls that a fiber serves: their data is a struct tc_desk_call, with the
 * connection's reference. */
extern const struct tc_http_handler_ops tc__desk_handler_ops;

#endif
