/* net/unix.h — unix stream sockets: the calls of net/tcp.h with a path for an address.
 *
 * A path that begins with '@' names a socket of the abstract namespace, which leaves no file. A
 * file that a dead server left behind is replaced; one that somebody listens on, or that is not a
 * socket, is not.
 */
#ifndef TC_NET_UNIX_H
#define TC_NET_UNIX_H

#include "base/defs.h"
#include "net/stream.h"
#include "net/tcp.h"

/* Listen on `path`. The file stays after tc_tcp_close; who made it removes it.
 * Parks: never   Threads: a worker
 * Returns 0, -EADDRINUSE, -EINVAL, -ENAMETOOLONG, -EACCES, ... */
TC_NODISCARD int tc_unix_listen(struct tc_listener *listener, const char *path, int backlog);

/* Connect to `path`, as tc_tcp_connect does.
 * Parks: may   Threads: a fiber   Owns: the caller closes the stream on 0
 * Returns 0, -ENOENT and -ECONNREFUSED if nobody listens there, -ETIMEDOUT, -ECANCELED, ... */
TC_MAY_PARK TC_NODISCARD int tc_unix_connect(const char *path, int64_t deadline_ns,
                                             struct tc_stream *out);

#endif
