/* net/tcp.h — stream sockets: listen, accept, connect.
 *
 * What is here serves TCP and, through net/unix.h, unix sockets: the address decides. Descriptors
 * are made non-blocking and close-on-exec by the call that makes them. Nagle's algorithm is off on
 * every TCP stream; accepted ones inherit that from the listening socket, which saves a system call
 * per connection.
 *
 * A struct tc_listener is for a fiber that accepts by itself. Servers (net/server.h) use the
 * listening socket directly, with a callback instead of a fiber.
 *
 *               accept   close   address     -  safe together
 *   accept        X        X       -         X  caller must exclude (close: or have accept parked)
 */
#ifndef TC_NET_TCP_H
#define TC_NET_TCP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "net/addr.h"
#include "net/stream.h"

enum { TC_BACKLOG_DEFAULT = 4096 }; /* the kernel cuts it to net.core.somaxconn                 */

struct tc_listen_options {
    int backlog;     /* 0: TC_BACKLOG_DEFAULT                                                   */
    bool reuse_port; /* SO_REUSEPORT; TCP only                                                  */
};

struct tc_listener {
    struct tc_pollfd *slot; /* owned; NULL when closed                                          */
    bool try_accept;        /* the accepting fiber's private READY                              */
};

/* Bind and listen with the calling worker's poller. `options` may be NULL. Connections have
 * TCP_NODELAY; those to an address of loopback use reno, whatever congestion control the system
 * has.
 * Parks: never   Threads: a worker
 * Returns 0, -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, -EMFILE, -ENOMEM, ... */
TC_NODISCARD int tc_tcp_listen(struct tc_listener *listener, const struct tc_addr *addr,
                               const struct tc_listen_options *options);

/* Accept one connection; connections that died in the queue are skipped.
 * Parks: may   Threads: a fiber   Owns: the caller closes the stream
 * Returns 0, -ETIMEDOUT, -ECANCELED, -EMFILE, -ENFILE, -ENOMEM, ... */
TC_MAY_PARK TC_NODISCARD int tc_tcp_accept(struct tc_listener *listener, struct tc_stream *out,
                                           int64_t deadline_ns);

/* Stop listening; a parked accept returns -ECANCELED. Idempotent. Parks: never   Threads: any */
void tc_tcp_close(struct tc_listener *listener);

TC_NODISCARD int tc_tcp_listener_address(const struct tc_listener *listener, struct tc_addr *out);

/* Connect to `addr` (of any family).
 * Parks: may   Threads: a fiber   Owns: the caller closes the stream on 0
 * Returns 0, -ECONNREFUSED, -ETIMEDOUT (deadline or kernel), -ECANCELED, -ENETUNREACH, ... */
TC_MAY_PARK TC_NODISCARD int tc_tcp_connect(const struct tc_addr *addr, int64_t deadline_ns,
                                            struct tc_stream *out);

/* Let small writes leave at once (the default here), or let the kernel gather them. */
TC_NODISCARD int tc_tcp_set_nodelay(struct tc_stream *stream, bool nodelay);

/* ---- within net --------------------------------------------------------------------------- */

/* A listening descriptor, not registered anywhere. Threads: any   Returns it, or -errno. */
TC_NODISCARD int tc__socket_listen(const struct tc_addr *addr,
                                   const struct tc_listen_options *options);

/* A copy of a descriptor that listens already: of a stream socket of any family, made elsewhere.
 * Threads: any   Returns it, -EINVAL if it does not listen, or -errno. */
TC_NODISCARD int tc__socket_adopt(int listen_fd);

/* True for errors of accept that concern one connection, which is gone from the queue then. */
bool tc__accept_is_transient(int error);

#endif
