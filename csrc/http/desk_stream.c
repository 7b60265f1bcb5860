#include "http/desk_stream.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

/* ---- queues ------------------------------------------------------------------------------- */

static struct tc_desk_piece *piece_new(const void *bytes, size_t len)
{
    struct tc_desk_piece *piece = tc_mem_alloc(sizeof *piece + len);

    if (piece != NULL) {
        piece->len = len;
        memcpy(piece->bytes, bytes, len);
    }
    return piece;
}

void tc_desk_piece_free(struct tc_desk_piece *piece)
{
    tc_mem_free(piece, sizeof *piece + piece->len);
}

static void push(struct tc_desk_queue *queue, struct tc_desk_piece *piece)
{
    tc_fifo_push(&queue->pieces, &piece->link);
    queue->bytes += piece->len;
}

static void drop_all(struct tc_desk_queue *queue)
{
    struct tc_link *link;

    while ((link = tc_fifo_pop(&queue->pieces)) != NULL) {
        tc_desk_piece_free(tc_container_of(link, struct tc_desk_piece, link));
    }
    queue->bytes = 0;
}

/* DT2 */
static bool has_room(const struct tc_desk_queue *queue)
{
    return queue->bytes < TC_DESK_STREAM_BYTES && queue->pieces.count < TC_DESK_STREAM_PIECES;
}

/* ---- life --------------------------------------------------------------------------------- */

int tc_desk_stream_open(struct tc_desk_call *call)
{
    if (call->stream != NULL) {
        return 0;
    }
    struct tc_desk_stream *stream = tc_mem_zalloc(sizeof *stream);
    if (stream == NULL) {
        return -ENOMEM;
    }
    tc_lock_init(&stream->lock, TC_RANK_HTTP_STREAM);
    tc_fifo_init(&stream->body.pieces);
    tc_fifo_init(&stream->answer.pieces);
    call->stream = stream;
    return 0;
}

void tc__desk_stream_free(struct tc_desk_stream *stream)
{
    if (stream != NULL) {
        drop_all(&stream->body);
        drop_all(&stream->answer);
        tc_mem_free(stream, sizeof *stream);
    }
}

/* ---- clerk to fiber ----------------------------------------------------------------------- */

/* Have the fiber look, with the next flush, unless that is on its way already. Holds the lock, and
 * gives it back. */
static void post_unlock(struct tc_desk_call *call)
{
    struct tc_desk_stream *stream = call->stream;
    bool is_due = !stream->is_outboxed && !stream->is_over;

    stream->is_outboxed = stream->is_outboxed || is_due;
    tc_lock_release(&stream->lock);
    if (is_due) {
        tc__desk_call_post(call);
    }
}

void tc__desk_stream_post(struct tc_desk_call *call)
{
    tc_lock_acquire(&call->stream->lock);
    post_unlock(call);
}

int tc_desk_stream_take(struct tc_desk_call *call, struct tc_desk_piece **out)
{
    struct tc_desk_stream *stream = call->stream;

    tc_lock_acquire(&stream->lock);
    struct tc_link *link = tc_fifo_pop(&stream->body.pieces);
    bool was_wanted = stream->is_wanted;
    bool had_room = has_room(&stream->body);
    int rc = 1;
    if (link != NULL) {
        *out = tc_container_of(link, struct tc_desk_piece, link);
        had_room = stream->body.bytes < TC_DESK_STREAM_BYTES &&
                   stream->body.pieces.count + 1 < TC_DESK_STREAM_PIECES;
        stream->body.bytes -= (*out)->len;
    } else if (stream->body_ended) {
        rc = 0;
    } else {
        rc = stream->body_error != 0 ? stream->body_error
             : stream->is_over       ? -ECONNABORTED
                                     : -EAGAIN;
        stream->is_starved = rc == -EAGAIN;
    }
    stream->is_wanted = true;
    if (!was_wanted || (!had_room && has_room(&stream->body))) {
        post_unlock(call);
    } else {
        tc_lock_release(&stream->lock);
    }
    return rc;
}

int tc_desk_stream_body_status(struct tc_desk_call *call)
{
    struct tc_desk_stream *stream = call->stream;

    tc_lock_acquire(&stream->lock);
    int status = stream->body_error == 0 ? 500 : stream->body_status;
    tc_lock_release(&stream->lock);
    return status;
}

int tc_desk_stream_put(struct tc_desk_call *call, const void *bytes, size_t len)
{
    struct tc_desk_stream *stream = call->stream;
    struct tc_desk_piece *piece = len == 0 ? NULL : piece_new(bytes, len);

    if (piece == NULL) {
        return len == 0 ? 0 : -ENOMEM;
    }
    tc_lock_acquire(&stream->lock);
    if (stream->is_over) {
        tc_lock_release(&stream->lock);
        tc_desk_piece_free(piece);
        return -EPIPE;
    }
    push(&stream->answer, piece);
    post_unlock(call);
    return 0;
}

bool tc_desk_stream_has_room(struct tc_desk_call *call)
{
    struct tc_desk_stream *stream = call->stream;

    tc_lock_acquire(&stream->lock);
    bool is_fine = stream->is_over || has_room(&stream->answer);
    stream->is_full = !is_fine;
    tc_lock_release(&stream->lock);
    return is_fine;
}

bool tc_desk_stream_is_over(struct tc_desk_call *call)
{
    struct tc_desk_stream *stream = call->stream;

    tc_lock_acquire(&stream->lock);
    bool is_over = stream->is_over;
    tc_lock_release(&stream->lock);
    return is_over;
}

void tc_desk_stream_end(struct tc_desk_call *call, bool is_whole)
{
    struct tc_desk_stream *stream = call->stream;

    tc_lock_acquire(&stream->lock);
    if (stream->answer_ended) {
        tc_lock_release(&stream->lock);
        return;
    }
    stream->answer_ended = true;
    stream->is_broken = !is_whole;
    post_unlock(call);
}

/* ---- for the fiber ------------------------------------------------------------------------ */

int tc__desk_stream_feed(struct tc_desk_call *call, const void *bytes, size_t len)
{
    struct tc_desk_stream *stream = call->stream;
    struct tc_desk_piece *piece = piece_new(bytes, len);

    if (piece == NULL) {
        return -ENOMEM;
    }
    tc_lock_acquire(&stream->lock);
    push(&stream->body, piece);
    tc_lock_release(&stream->lock);
    return 0;
}

void tc__desk_stream_wake(struct tc_desk_call *call)
{
    struct tc_desk_stream *stream = call->stream;

    tc_lock_acquire(&stream->lock);
    struct tc_http_call *served = stream->may_resume ? stream->served : NULL;
    stream->may_resume = false;
    stream->has_news = served == NULL;
    tc_lock_release(&stream->lock);
    if (served != NULL) {
        TC_IGNORE(tc_http_resume(served, tc__desk_pump, call)); /* GONE: it needs no news */
    }
}

bool tc__desk_stream_kick(struct tc_desk_call *call)
{
    struct tc_desk_stream *stream = call->stream;

    tc_lock_acquire(&stream->lock);
    stream->is_outboxed = false;
    bool is_served = stream->served != NULL || stream->is_over;
    tc_lock_release(&stream->lock);
    tc__desk_stream_wake(call);
    return is_served;
}

void tc__desk_stream_close(struct tc_desk_call *call, int error)
{
    struct tc_desk_stream *stream = call->stream;

    tc_lock_acquire(&stream->lock);
    struct tc_http_call *waits = stream->may_resume ? stream->served : NULL;
    bool is_told =
        !stream->is_over && (!stream->answer_ended || stream->is_full || stream->is_starved);
    if (!stream->body_ended && stream->body_error == 0) {
        stream->body_error = error;
        stream->body_status = error == -ECONNRESET ? 400 : 500;
    }
    stream->may_resume = false;
    stream->served = NULL;
    stream->is_over = true;
    stream->is_full = false;
    stream->is_starved = false;
    drop_all(&stream->answer);
    tc_lock_release(&stream->lock);
    if (waits != NULL) {
        TC_IGNORE(tc_http_resume(waits, tc__desk_pump, call)); /* GONE: gives its reference back */
    }
    if (is_told) {
        tc__desk_call_notice(call);
    }
}
