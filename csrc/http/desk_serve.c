/* Calls of a desk that a fiber serves: see http/desk_stream.h. The fiber never waits for the
 * client's next bytes but as one that has detached: so it hears of both sides. It does wait while
 * the client takes what it is sent. */
#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "http/call.h"
#include "http/desk_file.h"
#include "http/desk_stream.h"
#include "sched/fiber.h"
#include "sched/worker.h"

enum {
    READ_BYTES = 64 * 1024, /* of a body, at a time */
    SMALL_PIECE_BYTES = 16 * 1024, /* pieces below it, on average, are sent as one */
};

static struct tc_desk_piece *piece_of(struct tc_link *link)
{
    return tc_container_of(link, struct tc_desk_piece, link);
}

/* ---- the answer --------------------------------------------------------------------------- */

/* Pieces that are small are copied into one, which costs less than a system call for each. Without
 * memory they stay as they are. */
static void join(struct tc_fifo *pieces, size_t bytes)
{
    size_t done = 0;

    if (pieces->count < 2 || bytes / pieces->count >= SMALL_PIECE_BYTES) {
        return;
    }
    struct tc_desk_piece *whole = tc_mem_alloc(sizeof *whole + bytes);
    if (whole == NULL) {
        return;
    }
    whole->len = bytes;
    for (struct tc_link *link; (link = tc_fifo_pop(pieces)) != NULL;) {
        struct tc_desk_piece *piece = piece_of(link);
        memcpy(whole->bytes + done, piece->bytes, piece->len);
        done += piece->len;
        tc_desk_piece_free(piece);
    }
    tc_fifo_push(pieces, &whole->link);
}

/* Send the pieces there are. Returns their number, or -errno: no more can be sent. */
static TC_MAY_PARK int send_pieces(struct tc_http_call *call, struct tc_desk_call *errand)
{
    struct tc_desk_stream *stream = errand->stream;
    struct tc_fifo pieces;
    int count = 0;
    int rc = 0;

    tc_fifo_init(&pieces);
    tc_lock_acquire(&stream->lock);
    tc_fifo_append(&pieces, &stream->answer.pieces);
    size_t bytes = stream->answer.bytes; /* nobody but us has taken any */
    tc_lock_release(&stream->lock);
    join(&pieces, bytes);
    for (struct tc_link *link; (link = tc_fifo_pop(&pieces)) != NULL; count++) {
        struct tc_desk_piece *piece = piece_of(link);
        if (rc == 0) {
            rc = tc_http_reply_write(call, piece->bytes, piece->len);
        }
        tc_desk_piece_free(piece);
    }
    tc_lock_acquire(&stream->lock);
    stream->answer.bytes -= bytes;
    bool is_told = stream->is_full && count != 0;
    stream->is_full = stream->is_full && !is_told;
    tc_lock_release(&stream->lock);
    if (is_told) {
        tc__desk_call_notice(errand);
    }
    return rc != 0 ? rc : count;
}

/* What is the answer's state? Returns true once it has ended and every piece has been taken. */
static bool has_ended(struct tc_desk_stream *stream, bool *is_broken)
{
    tc_lock_acquire(&stream->lock);
    bool has_ended = stream->answer_ended && tc_fifo_is_empty(&stream->answer.pieces);
    *is_broken = stream->is_broken;
    tc_lock_release(&stream->lock);
    return has_ended;
}

/* Begin the answer that has come. Returns true if that is all of it. */
static TC_MAY_PARK bool begin_answer(struct tc_http_call *call, struct tc_desk_call *errand)
{
    struct tc_desk_reply *reply = errand->reply;
    bool is_broken = false;

    if (reply == NULL) {
        return true; /* 500 */
    }
    if (reply->kind == TC_DESK_REPLY_FILE) {
        tc__desk_file_send(call, errand);
        return true;
    }
    errand->reply = NULL;
    switch (reply->kind) {
    case TC_DESK_REPLY_STREAM:
        if (has_ended(errand->stream, &is_broken) && is_broken) {
            break; /* before the first byte: 500 says more than a broken connection */
        }
        if (tc_http_reply_begin_answer(call, &reply->answer, reply->length) == 0) {
            tc_desk_reply_free(reply);
            return false;
        }
        break;
    default:
        TC_IGNORE(tc_http_reply_answer(call, &reply->answer)); /* the connection's */
    }
    tc_desk_reply_free(reply);
    return true;
}

/* Go on with the answer. Returns true if nothing is left to be done. */
static TC_MAY_PARK bool go_on(struct tc_http_call *call, struct tc_desk_call *errand)
{
    struct tc_desk_stream *stream = errand->stream;
    bool is_broken;
    int count;

    do {
        bool is_last = has_ended(stream, &is_broken);
        count = is_last ? 0 : send_pieces(call, errand);
        if (count < 0) {
            return true;
        }
        if (is_last) {
            if (!is_broken) {
                TC_IGNORE(tc_http_reply_end(call)); /* the connection's */
            }
            return true;
        }
        if (count != 0) {
            tc_fiber_yield(); /* nor a clerk and a client that keep up with each other */
        }
    } while (count != 0);
    return tc_http_reply_flush(call) != 0; /* the head, if the first piece takes its time */
}

/* ---- the body ----------------------------------------------------------------------------- */

/* The client has left in the middle: it may still read. */
static bool is_lost(ssize_t n)
{
    return n == -EPIPE || n == -ECONNRESET;
}

/* What a read gave: a piece, 0: the end, or -errno. */
static void hand_over(struct tc_http_call *call, struct tc_desk_call *errand,
                      const unsigned char *bytes, ssize_t n)
{
    struct tc_desk_stream *stream = errand->stream;

    if (n > 0) {
        int rc = tc__desk_stream_feed(errand, bytes, (size_t)n);
        n = rc < 0 ? rc : n;
    }
    tc_lock_acquire(&stream->lock);
    if (n == 0) {
        stream->body_ended = true;
    } else if (n < 0) {
        stream->body_error = (int)n;
        stream->body_status = is_lost(n) ? 400 : tc__http_body_status(call);
    }
    bool is_told = stream->is_starved;
    stream->is_starved = false;
    tc_lock_release(&stream->lock);
    if (is_told) {
        tc__desk_call_notice(errand);
    }
}

static bool wants_body(struct tc_desk_stream *stream)
{
    tc_lock_acquire(&stream->lock);
    bool is_wanted = stream->is_wanted && !stream->body_ended && stream->body_error == 0 &&
                     stream->body.bytes < TC_DESK_STREAM_BYTES &&
                     stream->body.pieces.count < TC_DESK_STREAM_PIECES;
    tc_lock_release(&stream->lock);
    return is_wanted;
}

/* Read some of the body, if that is wanted and there. Returns whether it was. */
static TC_MAY_PARK bool read_some(struct tc_http_call *call, struct tc_desk_call *errand)
{
    call->awaits_body = false;
    if (!wants_body(errand->stream)) {
        return false;
    }
    tc__http_body_greet(call);
    unsigned char *scratch =
        tc_io_scratch(tc_worker_current()); /* nothing parks until it is copied */
    if (scratch == NULL) {
        hand_over(call, errand, NULL, -ENOMEM);
        return true;
    }
    ssize_t n = tc__http_body_try(call, scratch, READ_BYTES);
    if (n == -EAGAIN) {
        call->awaits_body = true;
        return false;
    }
    hand_over(call, errand, scratch, n);
    return true;
}

/* ---- the fiber ---------------------------------------------------------------------------- */

/* Wait until there is something to do, unless there is. Returns whether the call is detached. */
static bool detach(struct tc_http_call *call, struct tc_desk_stream *stream)
{
    tc_lock_acquire(&stream->lock);
    bool must_wait = !stream->has_news;
    stream->has_news = false;
    if (must_wait) {
        tc_http_detach(call);
        stream->may_resume = true; /* DT1 */
    }
    tc_lock_release(&stream->lock);
    return must_wait;
}

/* The connection has done with the call. `error`: for who still reads its body. */
static void let_go(struct tc_http_call *call, int error)
{
    struct tc_desk_call *errand = tc_http_call_data(call);

    tc_http_call_set_data(call, NULL);
    if (errand->stream != NULL) {
        tc__desk_stream_close(errand, error);
    }
    tc__desk_call_abandon(errand);
}

void tc__desk_pump(struct tc_http_call *call, void *arg)
{
    struct tc_desk_call *errand = arg;

    for (;;) {
        if (tc__desk_call_is_refused(errand)) {
            tc_http_reply_is_last(call);
            TC_IGNORE(tc_http_reply_answer(call, tc__http_own_answer(call->server, 503)));
            break;
        }
        bool has_begun = tc_http_call_is_answered(call);
        if (!has_begun && tc__desk_call_is_answered(errand)) {
            if (begin_answer(call, errand)) {
                break;
            }
            has_begun = true;
        }
        if (has_begun && go_on(call, errand)) {
            break;
        }
        if (read_some(call, errand)) {
            tc_fiber_yield(); /* a peer that never pauses must not keep the others waiting */
        } else if (detach(call, errand->stream)) {
            return;
        }
    }
    let_go(call, -ECONNABORTED);
}

static TC_MAY_PARK void desk_serve(struct tc_http_handler *handler, struct tc_http_call *call)
{
    struct tc_desk_call *errand = tc_http_call_data(call);
    struct tc_desk_stream *stream = errand->stream;

    (void)handler;
    if (stream != NULL) {
        tc_lock_acquire(&stream->lock);
        stream->served = call;
        tc_lock_release(&stream->lock);
    }
    if (tc__desk_call_is_collecting(errand)) {
        tc__http_desk_submit(errand, call->conn, tc_worker_current());
    }
    tc__desk_pump(call, errand);
}

/* Something has come while the call was detached, or its time is over. */
static void desk_stir(struct tc_http_handler *handler, struct tc_http_call *call)
{
    (void)handler;
    tc__desk_stream_wake(tc_http_call_data(call));
}

/* A client that ends its side may have said all it had to say, or be gone. While its body is still
 * to be read, that reading will tell. */
static void desk_disconnect(struct tc_http_handler *handler, struct tc_http_call *call)
{
    (void)handler;
    if (tc_http_call_is_gone(call)) {
        let_go(call, -ECONNRESET);
    } else if (call->body_is_done || call->body_error != 0) {
        tc__desk_call_end_input(tc_http_call_data(call));
    }
}

static void desk_drop(struct tc_http_handler *handler, struct tc_http_call *call)
{
    (void)handler;
    let_go(call, -ECONNRESET);
}

const struct tc_http_handler_ops tc__desk_handler_ops = {
    .name = "desk",
    .serve = desk_serve,
    .stir = desk_stir,
    .disconnect = desk_disconnect,
    .drop = desk_drop,
};
