/* net/stream.h — a two-way byte stream on a non-blocking descriptor, with deadlines.
 *
 * A stream is a table of operations over one descriptor slot (io/pollfd.h). The plain
 * operations below are system calls; another kind, TLS above all, brings its own table and
 * buffers. An operation never parks: it returns a count, or -EAGAIN and the direction it needs,
 * because a TLS read may have to write first. The functions with a deadline are that loop with
 * a park in it, so nothing above net ever sees a descriptor number.
 *
 * How often the kernel is asked. Receiving: only while the read word is READY; the word is
 * taken to IDLE before the call, and a short count means that the buffer was emptied, so the
 * next attempt waits for an edge. Sending: at once, without looking at the write word, since a
 * socket is writable nearly always. Only EAGAIN takes READY away, and then the call is made
 * once more, which covers an edge that came in between. So a request costs one recv and one
 * send and no write to shared memory but the read word's.
 *
 * INVARIANTS
 *  ST1  `try_read` is the owner's private READY. recv sets it after a full-length read, an end of
 *       stream, an error, while a hang-up is latched, and while bytes are buffered above the
 *       descriptor. A stream with `try_read` must not be left waiting for an edge.
 *  ST2  One fiber receives and one sends at a time; they may be two.
 *
 *               recv   send   shutdown_write   abort   close     -  safe together
 *   recv         X      -      -                -       X        X  caller must exclude
 *   send         -      X      X                -       X
 *   abort        -      -      -                -       X
 *
 * All parking functions: Threads: a fiber · Deadline: absolute ns, TC_NEVER for none · they
 * return -ETIMEDOUT, -ECANCELED (this fiber was cancelled, or the stream closed) and -ENOMEM
 * (no timer could be had), and otherwise what the system call says (-ECONNRESET, -EPIPE, ...).
 */
#ifndef TC_NET_STREAM_H
#define TC_NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/defs.h"
#include "io/pollfd.h"
#include "net/addr.h"

struct tc_stream;

/* What a kind of stream supplies. No operation parks. -EAGAIN comes with *want set. */
struct tc_stream_ops {
    ssize_t (*recv)(struct tc_stream *stream, void *buf, size_t len, enum tc_direction *want);
    ssize_t (*send)(struct tc_stream *stream, const void *buf, size_t len, enum tc_direction *want);
    /* `has_more`: more follows at once, and a packet that is not full may wait for it. */
    ssize_t (*sendv)(struct tc_stream *stream, const struct iovec *iov, int count, bool has_more,
                     enum tc_direction *want);
    /* NULL, or -EINVAL for a file it cannot take from: the file is copied through the worker's
     * scratch buffer. */
    ssize_t (*send_file)(struct tc_stream *stream, int file_fd, off_t offset, size_t len,
                         enum tc_direction *want);
    /* Tell the peer that no more will come. */
    int (*shutdown_write)(struct tc_stream *stream, enum tc_direction *want);
    /* Bytes taken from the descriptor that recv has not returned yet. */
    size_t (*buffered)(const struct tc_stream *stream);
    /* Free what this kind owns; the slot is closed by the caller. */
    void (*release)(struct tc_stream *stream);
};

struct tc_stream {
    const struct tc_stream_ops *ops; /* constant after init                                     */
    struct tc_pollfd *slot;          /* owned until close; NULL afterwards                      */
    bool try_read;                   /* ST1; the receiving fiber's, or the connection at rest's */
};

/* ---- life --------------------------------------------------------------------------------- */

/* Make a plain stream of a registered slot.
 * Parks: never   Threads: the owner   Owns: the slot, until close */
void tc_stream_init(struct tc_stream *stream, struct tc_pollfd *slot);

/* Register a connected, non-blocking socket with the calling worker and make a stream of it.
 * Parks: never   Threads: a worker   Owns: fd belongs to the stream on 0 only
 * Returns 0, -ENOMEM, -ENOSPC. */
TC_NODISCARD int tc_stream_open(struct tc_stream *stream, int fd);

/* Wake whoever waits on the stream (-ECANCELED), close the descriptor. Unread input makes the
 * kernel answer with a reset: whoever cares calls shutdown_write and reads to the end first.
 * Idempotent.
 * Parks: never   Threads: any, see the table */
void tc_stream_close(struct tc_stream *stream);

/* Let close break the connection at once: what the peer has not taken is dropped, which the kernel
 * would otherwise keep and offer for minutes.
 * Parks: never   Threads: the owner */
void tc_stream_close_hard(struct tc_stream *stream);

/* Break the connection both ways, from any thread, while the stream is kept alive: fibers that wait
 * on it wake up and find its end. The descriptor stays open until close.
 * Parks: never   Threads: any */
void tc_stream_abort(struct tc_stream *stream);

/* Have close answer with a reset, whatever was sent: for a message whose end is that of the stream,
 * and that must not look whole. Parks: never   Threads: the owner */
void tc_stream_reset_at_close(struct tc_stream *stream);

/* ---- without parking ---------------------------------------------------------------------- */

/* Receive what is there. Returns a count, 0 at the end of the stream, -EAGAIN with *want set. */
TC_NODISCARD static inline ssize_t tc_stream_try_recv(struct tc_stream *stream, void *buf,
                                                      size_t len, enum tc_direction *want)
{
    return stream->ops->recv(stream, buf, len, want);
}

/* Send what fits. Returns a count, which may be short, or -EAGAIN with *want set. */
TC_NODISCARD static inline ssize_t tc_stream_try_send(struct tc_stream *stream, const void *buf,
                                                      size_t len, enum tc_direction *want)
{
    return stream->ops->send(stream, buf, len, want);
}

TC_NODISCARD static inline ssize_t tc_stream_try_sendv(struct tc_stream *stream,
                                                       const struct iovec *iov, int count,
                                                       enum tc_direction *want)
{
    return stream->ops->sendv(stream, iov, count, false, want);
}

/* Bytes that recv would return without asking the kernel. */
static inline size_t tc_stream_buffered(const struct tc_stream *stream)
{
    return stream->ops->buffered(stream);
}

/* Look at the first byte that a receive would return, and leave it there: one system call, whatever
 * `try_read` says, which is set for what was found. Returns 1, 0 at the end, -EAGAIN: nothing yet,
 * or -errno. The stream's owner only. */
ssize_t tc_stream_peek(struct tc_stream *stream);

/* True if a receive would return something now: bytes, the end, or an error. One system call unless
 * bytes are buffered. The stream's owner only. */
bool tc_stream_has_input(struct tc_stream *stream);

/* ---- with parking ------------------------------------------------------------------------- */

/* Wait until a receive would return something: bytes, the end, or an error.
 * Returns 0, -ETIMEDOUT, -ECANCELED, -ENOMEM. */
TC_MAY_PARK TC_NODISCARD int tc_stream_wait_input(struct tc_stream *stream, int64_t deadline_ns);

/* Receive at least one byte. Returns the count, 0 at the end of the stream, or -errno. */
TC_MAY_PARK TC_NODISCARD ssize_t tc_stream_recv(struct tc_stream *stream, void *buf, size_t len,
                                                int64_t deadline_ns);

/* Send at least one byte. Returns the count or -errno. `buf` must not be the worker's scratch. */
TC_MAY_PARK TC_NODISCARD ssize_t tc_stream_send(struct tc_stream *stream, const void *buf,
                                                size_t len, int64_t deadline_ns);

TC_MAY_PARK TC_NODISCARD ssize_t tc_stream_sendv(struct tc_stream *stream, const struct iovec *iov,
                                                 int count, int64_t deadline_ns);

/* The same with more to follow at once, with which the end of this may share a packet. */
TC_MAY_PARK TC_NODISCARD ssize_t tc_stream_sendv_more(struct tc_stream *stream,
                                                      const struct iovec *iov, int count,
                                                      int64_t deadline_ns);

/* Send all of it. Returns 0, or -errno after an unknown part of it. */
TC_MAY_PARK TC_NODISCARD int tc_stream_send_all(struct tc_stream *stream, const void *buf,
                                                size_t len, int64_t deadline_ns);

/* Send at least one byte of a regular file, and at most `len`, from `offset`. Reading the file
 * blocks the worker as long as it is not cached. Returns the count, 0 where the file ends, or
 * -errno. */
TC_MAY_PARK TC_NODISCARD ssize_t tc_stream_send_file_some(struct tc_stream *stream, int file_fd,
                                                          off_t offset, size_t len,
                                                          int64_t deadline_ns);

/* Send `len` bytes of a regular file from `offset`. Reading the file blocks the worker as long
 * as the file is not cached. Returns the count, less than `len` only where the file ends; or
 * -errno. */
TC_MAY_PARK TC_NODISCARD ssize_t tc_stream_send_file(struct tc_stream *stream, int file_fd,
                                                     off_t offset, size_t len, int64_t deadline_ns);

/* Send the end of our side; receiving goes on. Returns 0 or -errno. */
TC_MAY_PARK TC_NODISCARD int tc_stream_shutdown_write(struct tc_stream *stream,
                                                      int64_t deadline_ns);

/* ---- addresses and options ---------------------------------------------------------------- */

TC_NODISCARD int tc_stream_local_address(const struct tc_stream *stream, struct tc_addr *out);
TC_NODISCARD int tc_stream_peer_address(const struct tc_stream *stream, struct tc_addr *out);

#endif
