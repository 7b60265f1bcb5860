#include "net/unix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>

#include "base/sys.h"

static bool is_socket_file(const char *path)
{
    struct stat status;
    int fd = tc_sys_open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);

    if (fd < 0) {
        return false;
    }
    int rc = tc_sys_fstat(fd, &status);
    tc_sys_close(fd);
    return rc == 0 && S_ISSOCK(status.st_mode);
}

/* Remove the file of a socket that nobody listens on any more. Only ECONNREFUSED proves that, and
 * only for a socket, since connect says the same of an ordinary file. */
static int remove_stale(const struct tc_addr *addr)
{
    const char *path = addr->storage.local.sun_path;

    if (path[0] == '\0' || !is_socket_file(path)) {
        return -EADDRINUSE;
    }
    int fd = tc_sys_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return fd;
    }
    int rc = tc_sys_connect(fd, &addr->storage.any, addr->length);
    tc_sys_close(fd);
    return rc == -ECONNREFUSED ? tc_sys_unlink(path) : -EADDRINUSE;
}

int tc_unix_listen(struct tc_listener *listener, const char *path, int backlog)
{
    struct tc_listen_options options = {.backlog = backlog, .reuse_port = false};
    struct tc_addr addr;
    int rc = tc_addr_from_path(path, &addr);

    if (rc != 0) {
        return rc;
    }
    rc = tc_tcp_listen(listener, &addr, &options);
    if (rc == -EADDRINUSE && remove_stale(&addr) == 0) {
        rc = tc_tcp_listen(listener, &addr, &options);
    }
    return rc;
}

int tc_unix_connect(const char *path, int64_t deadline_ns, struct tc_stream *out)
{
    struct tc_addr addr;
    int rc = tc_addr_from_path(path, &addr);

    return rc != 0 ? rc : tc_tcp_connect(&addr, deadline_ns, out);
}
