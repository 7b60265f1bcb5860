#include "net/stream.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/chaos.h"
#include "base/sys.h"
#include "io/io.h"
#include "sched/worker.h"

enum { COPY_CHUNK_BYTES = 64 * 1024 }; /* of a file, between two sends                          */

static int descriptor(const struct tc_stream *stream)
{
    /* relaxed: constant while the stream owns the slot */
    return tc_load_relaxed(&stream->slot->fd);
}

/* ---- plain -------------------------------------------------------------------------------- */

/* A latch without an end of stream behind it: an error that was reported elsewhere, or an event of
 * the slot's last user. Clear it and look once more; an end that arrived in between, whose latch we
 * may have cleared, is found by this look, and a later one will latch again. */
static TC_NOINLINE ssize_t recv_unlatched(struct tc_stream *stream, void *buf, size_t len)
{
    tc_pollfd_unlatch(stream->slot);
    ssize_t n = tc_sys_recv(descriptor(stream), buf, len, 0);
    stream->try_read = n != -EAGAIN;
    return n;
}

static ssize_t plain_recv(struct tc_stream *stream, void *buf, size_t len, enum tc_direction *want)
{
    struct tc_pollfd *slot = stream->slot;

    len = tc_chaos_prefix(len, 4); /* chaos: the rest comes late; here, see H2 */
    /* The edge is used up before the call, so that one which arrives during it is kept. */
    if (!tc_pollfd_consume(slot, TC_READ) && !stream->try_read) {
        *want = TC_READ;
        return -EAGAIN;
    }
    ssize_t n = tc_sys_recv(descriptor(stream), buf, len, 0);
    if (tc_likely(n > 0 && (size_t)n < len)) {
        stream->try_read = tc_pollfd_is_latched(slot);
    } else if (n == -EAGAIN) {
        stream->try_read = false;
        *want = TC_READ;
        if (tc_unlikely(tc_pollfd_is_latched(slot))) {
            return recv_unlatched(stream, buf, len);
        }
    } else {
        stream->try_read = true;
    }
    return n;
}

static ssize_t plain_send(struct tc_stream *stream, const void *buf, size_t len,
                          enum tc_direction *want)
{
    int fd = descriptor(stream);

    for (;;) {
        ssize_t n = tc_sys_send(fd, buf, len, 0);
        if (tc_likely(n != -EAGAIN)) {
            return n;
        }
        if (!tc_pollfd_consume(stream->slot, TC_WRITE)) {
            *want = TC_WRITE;
            return -EAGAIN;
        }
    }
}

static ssize_t plain_sendv(struct tc_stream *stream, const struct iovec *iov, int count,
                           bool has_more, enum tc_direction *want)
{
    struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};
    int fd = descriptor(stream);

    for (;;) {
        ssize_t n = tc_sys_sendmsg(fd, &message, has_more ? MSG_MORE : 0);
        if (tc_likely(n != -EAGAIN)) {
            return n;
        }
        if (!tc_pollfd_consume(stream->slot, TC_WRITE)) {
            *want = TC_WRITE;
            return -EAGAIN;
        }
    }
}

static ssize_t plain_send_file(struct tc_stream *stream, int file_fd, off_t offset, size_t len,
                               enum tc_direction *want)
{
    int fd = descriptor(stream);

    for (;;) {
        ssize_t n = tc_sys_sendfile(fd, file_fd, offset, len);
        if (tc_likely(n != -EAGAIN)) {
            return n;
        }
        if (!tc_pollfd_consume(stream->slot, TC_WRITE)) {
            *want = TC_WRITE;
            return -EAGAIN;
        }
    }
}

static int plain_shutdown_write(struct tc_stream *stream, enum tc_direction *want)
{
    (void)want;
    return tc_sys_shutdown(descriptor(stream), SHUT_WR);
}

static size_t plain_buffered(const struct tc_stream *stream)
{
    (void)stream;
    return 0;
}

static void plain_release(struct tc_stream *stream)
{
    (void)stream;
}

static const struct tc_stream_ops plain_ops = {
    .recv = plain_recv,
    .send = plain_send,
    .sendv = plain_sendv,
    .send_file = plain_send_file,
    .shutdown_write = plain_shutdown_write,
    .buffered = plain_buffered,
    .release = plain_release,
};

/* ---- life --------------------------------------------------------------------------------- */

void tc_stream_init(struct tc_stream *stream, struct tc_pollfd *slot)
{
    stream->ops = &plain_ops;
    stream->slot = slot;
    stream->try_read = false;
}

int tc_stream_open(struct tc_stream *stream, int fd)
{
    struct tc_pollfd *slot;
    /* Words start IDLE: registration itself reports what is ready. */
    int rc = tc_pollfd_open(tc_worker_current(), fd, TC_POLLFD_REST, NULL, NULL, &slot);

    if (rc == 0) {
        tc_stream_init(stream, slot);
    }
    return rc;
}

void tc_stream_close(struct tc_stream *stream)
{
    struct tc_pollfd *slot = stream->slot;

    if (slot == NULL) {
        return;
    }
    stream->ops->release(stream);
    stream->slot = NULL;
    tc_pollfd_close(slot);
}

void tc_stream_close_hard(struct tc_stream *stream)
{
    const struct linger none = {.l_onoff = 1, .l_linger = 0};

    /* Without it the close is a soft one. */
    TC_IGNORE(tc_sys_setsockopt(descriptor(stream), SOL_SOCKET, SO_LINGER, &none, sizeof none));
}

void tc_stream_abort(struct tc_stream *stream)
{
    /* A connection that is gone already needs no breaking. */
    TC_IGNORE(tc_sys_shutdown(descriptor(stream), SHUT_RDWR));
}

/* ---- waiting ------------------------------------------------------------------------------ */

static int wait_for(struct tc_stream *stream, enum tc_direction want, int64_t deadline_ns)
{
    enum tc_wait_reason reason = want == TC_READ ? TC_WAIT_READ : TC_WAIT_WRITE;
    int rc = tc_pollfd_wait(stream->slot, want, deadline_ns, reason);

    if (rc == 0 && want == TC_READ) {
        stream->try_read = true;
    }
    return rc;
}

int tc_stream_wait_input(struct tc_stream *stream, int64_t deadline_ns)
{
    while (!tc_stream_has_input(stream)) {
        /* An edge that came before the look is answered by one more look. */
        TC_IGNORE(tc_pollfd_consume(stream->slot, TC_READ));
        if (tc_stream_has_input(stream)) {
            break;
        }
        int rc = wait_for(stream, TC_READ, deadline_ns);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

ssize_t tc_stream_peek(struct tc_stream *stream)
{
    char byte;

    if (tc_stream_buffered(stream) != 0) {
        return 1;
    }
    ssize_t n = tc_sys_recv(descriptor(stream), &byte, 1, MSG_PEEK);
    stream->try_read = n != -EAGAIN;
    return n;
}

bool tc_stream_has_input(struct tc_stream *stream)
{
    /* Also if `try_read` is set: after a full-length read it only means that nobody has looked. */
    return tc_stream_peek(stream) != -EAGAIN;
}

ssize_t tc_stream_recv(struct tc_stream *stream, void *buf, size_t len, int64_t deadline_ns)
{
    for (;;) {
        enum tc_direction want;
        ssize_t n = stream->ops->recv(stream, buf, len, &want);
        if (n != -EAGAIN) {
            return n;
        }
        int rc = wait_for(stream, want, deadline_ns);
        if (rc != 0) {
            return rc;
        }
    }
}

ssize_t tc_stream_send(struct tc_stream *stream, const void *buf, size_t len, int64_t deadline_ns)
{
    for (;;) {
        enum tc_direction want;
        ssize_t n = stream->ops->send(stream, buf, len, &want);
        if (n != -EAGAIN) {
            return n;
        }
        int rc = wait_for(stream, want, deadline_ns);
        if (rc != 0) {
            return rc;
        }
    }
}

static ssize_t sendv(struct tc_stream *stream, const struct iovec *iov, int count, bool has_more,
                     int64_t deadline_ns)
{
    for (;;) {
        enum tc_direction want;
        ssize_t n = stream->ops->sendv(stream, iov, count, has_more, &want);
        if (n != -EAGAIN) {
            return n;
        }
        int rc = wait_for(stream, want, deadline_ns);
        if (rc != 0) {
            return rc;
        }
    }
}

ssize_t tc_stream_sendv(struct tc_stream *stream, const struct iovec *iov, int count,
                        int64_t deadline_ns)
{
    return sendv(stream, iov, count, false, deadline_ns);
}

ssize_t tc_stream_sendv_more(struct tc_stream *stream, const struct iovec *iov, int count,
                             int64_t deadline_ns)
{
    return sendv(stream, iov, count, true, deadline_ns);
}

int tc_stream_send_all(struct tc_stream *stream, const void *buf, size_t len, int64_t deadline_ns)
{
    const unsigned char *rest = buf;

    while (len != 0) {
        ssize_t n = tc_stream_send(stream, rest, len, deadline_ns);
        if (n < 0) {
            return (int)n;
        }
        rest += n;
        len -= (size_t)n;
    }
    return 0;
}

/* One step of a file: read a chunk into the scratch buffer, send what fits of it. What did not fit
 * is simply read again by the next step, since the scratch does not survive a park. */
static ssize_t copy_step(struct tc_stream *stream, int file_fd, off_t offset, size_t len,
                         enum tc_direction *want)
{
    unsigned char *scratch = tc_io_scratch(tc_worker_current());

    if (scratch == NULL) {
        return -ENOMEM;
    }
    ssize_t n =
        tc_sys_pread(file_fd, scratch, len < COPY_CHUNK_BYTES ? len : COPY_CHUNK_BYTES, offset);
    return n > 0 ? stream->ops->send(stream, scratch, (size_t)n, want) : n;
}

ssize_t tc_stream_send_file_some(struct tc_stream *stream, int file_fd, off_t offset, size_t len,
                                 int64_t deadline_ns)
{
    for (;;) {
        enum tc_direction want = TC_WRITE;
        ssize_t n = stream->ops->send_file != NULL
                        ? stream->ops->send_file(stream, file_fd, offset, len, &want)
                        : -EINVAL;
        if (n == -EINVAL) {
            n = copy_step(stream, file_fd, offset, len, &want);
        }
        if (n != -EAGAIN) {
            return n;
        }
        int rc = wait_for(stream, want, deadline_ns);
        if (rc != 0) {
            return rc;
        }
    }
}

ssize_t tc_stream_send_file(struct tc_stream *stream, int file_fd, off_t offset, size_t len,
                            int64_t deadline_ns)
{
    size_t done = 0;

    while (done != len) {
        ssize_t n = tc_stream_send_file_some(stream, file_fd, offset + (off_t)done, len - done,
                                             deadline_ns);
        if (n < 0) {
            return n;
        }
        if (n == 0) {
            break;
        }
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int tc_stream_shutdown_write(struct tc_stream *stream, int64_t deadline_ns)
{
    for (;;) {
        enum tc_direction want;
        int rc = stream->ops->shutdown_write(stream, &want);
        if (rc != -EAGAIN) {
            return rc;
        }
        rc = wait_for(stream, want, deadline_ns);
        if (rc != 0) {
            return rc;
        }
    }
}

void tc_stream_reset_at_close(struct tc_stream *stream)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    /* One that cannot be told so is closed in the usual way. */
    TC_IGNORE(tc_sys_setsockopt(descriptor(stream), SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
}

/* ---- addresses ---------------------------------------------------------------------------- */

int tc_stream_local_address(const struct tc_stream *stream, struct tc_addr *out)
{
    return tc_addr_of_socket(descriptor(stream), out);
}

int tc_stream_peer_address(const struct tc_stream *stream, struct tc_addr *out)
{
    return tc_addr_of_peer(descriptor(stream), out);
}
