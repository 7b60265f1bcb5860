#include "net/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>

#include "base/clock.h"
#include "base/sys.h"
#include "sched/fiber.h"
#include "sched/worker.h"

#define CONNECT_RETRY_NS (1 * TC_NS_PER_MS) /* a unix listener with a full queue says EAGAIN      */

enum { ACCEPT_SKIP_MAX = 64 }; /* dead connections in a row; then the caller hears of it          */

static int set_flag(int fd, int level, int name, bool value)
{
    int number = value;

    return tc_sys_setsockopt(fd, level, name, &number, sizeof number);
}

static bool is_tcp(const struct tc_addr *addr)
{
    return tc_addr_family(addr) == AF_INET || tc_addr_family(addr) == AF_INET6;
}

/* ---- listen ------------------------------------------------------------------------------- */

/* A path within the machine has no bandwidth to find out: what paces (bbr) has timers send there
 * what could have left at once. reno does not, is in every kernel, and accepted connections inherit
 * it. Where the system refuses it they have its default, which only costs time. */
static void choose_congestion_control(int fd, const struct tc_addr *addr)
{
    static const char name[] = "reno";

    if (tc_addr_is_loopback(addr)) {
        TC_IGNORE(tc_sys_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, sizeof name - 1));
    }
}

static int set_listen_flags(int fd, const struct tc_addr *addr, bool reuse_port)
{
    int rc = set_flag(fd, SOL_SOCKET, SO_REUSEADDR, true);

    if (rc == 0 && reuse_port) {
        rc = set_flag(fd, SOL_SOCKET, SO_REUSEPORT, true);
    }
    if (rc == 0 && tc_addr_family(addr) == AF_INET6) {
        rc = set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, true);
    }
    if (rc == 0) {
        rc = set_flag(fd, IPPROTO_TCP, TCP_NODELAY, true);
    }
    if (rc == 0) {
        choose_congestion_control(fd, addr);
    }
    return rc;
}

int tc__socket_listen(const struct tc_addr *addr, const struct tc_listen_options *options)
{
    int backlog = options != NULL && options->backlog > 0 ? options->backlog : TC_BACKLOG_DEFAULT;
    int fd = tc_sys_socket(tc_addr_family(addr), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rc = 0;

    if (fd < 0) {
        return fd;
    }
    if (is_tcp(addr)) {
        rc = set_listen_flags(fd, addr, options != NULL && options->reuse_port);
    }
    if (rc == 0) {
        rc = tc_sys_bind(fd, &addr->storage.any, addr->length);
    }
    if (rc == 0) {
        rc = tc_sys_listen(fd, backlog);
    }
    if (rc != 0) {
        tc_sys_close(fd);
        return rc;
    }
    return fd;
}

/* Returns 1 for a socket whose connections inherit TCP_NODELAY, 0 for another, or -errno. */
static int check_listening(int fd)
{
    struct tc_addr addr;
    int listens = 0;
    socklen_t len = sizeof listens;
    int rc = tc_sys_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len);

    if (rc == 0 && listens == 0) {
        rc = -EINVAL;
    }
    if (rc == 0) {
        rc = tc_addr_of_socket(fd, &addr);
    }
    return rc != 0 ? rc : is_tcp(&addr);
}

int tc__socket_adopt(int listen_fd)
{
    int fd = tc_sys_fcntl(listen_fd, F_DUPFD_CLOEXEC, 3); /* 0 to 2 are everybody's */

    if (fd < 0) {
        return fd;
    }
    int rc = check_listening(fd);
    if (rc > 0) {
        rc = set_flag(fd, IPPROTO_TCP, TCP_NODELAY, true);
    }
    if (rc == 0) {
        int flags = tc_sys_fcntl(fd, F_GETFL, 0);
        rc = flags < 0 ? flags : tc_sys_fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    }
    if (rc != 0) {
        tc_sys_close(fd);
        return rc;
    }
    return fd;
}

int tc_tcp_listen(struct tc_listener *listener, const struct tc_addr *addr,
                  const struct tc_listen_options *options)
{
    int fd = tc__socket_listen(addr, options);

    if (fd < 0) {
        return fd;
    }
    listener->try_accept = false;
    int rc = tc_pollfd_open(tc_worker_current(), fd, TC_POLLFD_REST, NULL, NULL, &listener->slot);
    if (rc != 0) {
        tc_sys_close(fd);
    }
    return rc;
}

void tc_tcp_close(struct tc_listener *listener)
{
    struct tc_pollfd *slot = listener->slot;

    if (slot != NULL) {
        listener->slot = NULL;
        tc_pollfd_close(slot);
    }
}

int tc_tcp_listener_address(const struct tc_listener *listener, struct tc_addr *out)
{
    return tc_addr_of_socket(tc_load_relaxed(&listener->slot->fd), out); /* relaxed: constant */
}

/* ---- accept ------------------------------------------------------------------------------- */

/* accept(2) on Linux also reports errors that are pending on the new connection. */
bool tc__accept_is_transient(int error)
{
    switch (error) {
    case -EINTR:
    case -ECONNABORTED:
    case -ECONNRESET:
    case -EPROTO:
    case -EPERM:
    case -ENETDOWN:
    case -ENOPROTOOPT:
    case -EHOSTDOWN:
    case -ENONET:
    case -EHOSTUNREACH:
    case -ENETUNREACH:
    case -ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

/* One attempt, with the word's edge used up first. -EAGAIN: wait. */
static int try_accept(struct tc_listener *listener, struct tc_stream *out)
{
    if (!tc_pollfd_consume(listener->slot, TC_READ) && !listener->try_accept) {
        return -EAGAIN;
    }
    int listen_fd = tc_load_relaxed(&listener->slot->fd); /* relaxed: constant while open */
    int fd = tc_sys_accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    listener->try_accept = fd != -EAGAIN;
    if (fd < 0) {
        return fd;
    }
    int rc = tc_stream_open(out, fd);
    if (rc != 0) {
        tc_sys_close(fd);
    }
    return rc;
}

int tc_tcp_accept(struct tc_listener *listener, struct tc_stream *out, int64_t deadline_ns)
{
    for (int skipped = 0;;) {
        int rc = try_accept(listener, out);
        if (tc__accept_is_transient(rc) && skipped++ < ACCEPT_SKIP_MAX) {
            continue;
        }
        if (rc != -EAGAIN) {
            return rc;
        }
        rc = tc_pollfd_wait(listener->slot, TC_READ, deadline_ns, TC_WAIT_ACCEPT);
        if (rc != 0) {
            return rc;
        }
        listener->try_accept = true;
    }
}

/* ---- connect ------------------------------------------------------------------------------ */

/* Begin to connect. Returns 0 connected, -EINPROGRESS, or -errno. */
static int begin_connect(int fd, const struct tc_addr *addr, int64_t deadline_ns)
{
    for (;;) {
        int rc = tc_sys_connect(fd, &addr->storage.any, addr->length);
        if (rc == -EINTR) {
            return -EINPROGRESS;
        }
        if (rc != -EAGAIN || is_tcp(addr)) {
            return rc;
        }
        int64_t now = tc_worker_clock(tc_worker_current());
        if (now >= deadline_ns) {
            return -ETIMEDOUT;
        }
        int64_t next = now + CONNECT_RETRY_NS;
        rc = tc_fiber_sleep_until(next < deadline_ns ? next : deadline_ns);
        if (rc != 0) {
            return rc;
        }
    }
}

/* Wait until the connection stands or has failed. A socket may look writable before either, so the
 * peer's address is the proof. */
static int finish_connect(struct tc_stream *stream, int64_t deadline_ns)
{
    int fd = tc_load_relaxed(&stream->slot->fd); /* relaxed: constant while we own the slot */
    struct tc_addr peer;

    for (;;) {
        int rc = tc_pollfd_wait(stream->slot, TC_WRITE, deadline_ns, TC_WAIT_CONNECT);
        if (rc != 0) {
            return rc;
        }
        TC_IGNORE(tc_pollfd_consume(stream->slot, TC_WRITE)); /* the edge that woke us */
        int error = 0;
        socklen_t length = sizeof error;
        rc = tc_sys_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
        if (rc == 0 && error != 0) {
            rc = -error;
        }
        if (rc == 0) {
            rc = tc_addr_of_peer(fd, &peer);
        }
        if (rc != -ENOTCONN) {
            return rc;
        }
    }
}

int tc_tcp_connect(const struct tc_addr *addr, int64_t deadline_ns, struct tc_stream *out)
{
    int fd = tc_sys_socket(tc_addr_family(addr), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return fd;
    }
    if (is_tcp(addr)) {
        TC_IGNORE(set_flag(fd, IPPROTO_TCP, TCP_NODELAY, true)); /* only a matter of speed */
    }
    int connected = begin_connect(fd, addr, deadline_ns);
    int rc = connected == 0 || connected == -EINPROGRESS ? tc_stream_open(out, fd) : connected;
    if (rc != 0) {
        tc_sys_close(fd);
        return rc;
    }
    if (connected == -EINPROGRESS) {
        rc = finish_connect(out, deadline_ns);
    }
    if (rc != 0) {
        tc_stream_close(out);
    }
    return rc;
}

int tc_tcp_set_nodelay(struct tc_stream *stream, bool nodelay)
{
    int fd = tc_load_relaxed(&stream->slot->fd); /* relaxed: constant while we own the slot */

    return set_flag(fd, IPPROTO_TCP, TCP_NODELAY, nodelay);
}
