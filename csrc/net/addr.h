/* net/addr.h — socket addresses: IPv4, IPv6 and unix paths in one value type.
 *
 * Parsing never asks a resolver: it takes numeric hosts and the word "localhost", which is
 * 127.0.0.1 here whatever the hosts file says. Names belong to whoever may block.
 *
 * INVARIANTS
 *  AD1  `length` is what the kernel expects for the family in `storage`; 0: an empty address.
 *
 * WHO MAY CALL: any thread, as long as nobody writes the same value; nothing parks, no pointer is
 * kept, nothing is allocated.
 */
#ifndef TC_NET_ADDR_H
#define TC_NET_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/defs.h"

enum {
    /* Longest text of tc_addr_format, with its NUL: a unix path and "unix:" are the longest. */
    TC_ADDR_TEXT_BYTES = sizeof(((struct sockaddr_un *)0)->sun_path) + 8,
};

struct tc_addr {
    socklen_t length; /* AD1                                                                   */
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    } storage;
};

/* Read a host: "127.0.0.1", "::1", "fe80::1%2" (a numeric scope), "localhost", or NULL and "" for
 * 127.0.0.1.  Returns 0, or -EINVAL for anything else (*out is then untouched). */
TC_NODISCARD int tc_addr_parse(const char *host, uint16_t port, struct tc_addr *out);

/* A unix path; one that begins with '@' is a name in the abstract namespace. Returns 0, -EINVAL if
 * it is empty, -ENAMETOOLONG. */
TC_NODISCARD int tc_addr_from_path(const char *path, struct tc_addr *out);

/* Write "127.0.0.1:80", "[::1]:80", "unix:/path", "unix:@name", "unix:" or "?". Always terminated,
 * cut at `size`.  Returns the length of the text that was written. */
size_t tc_addr_format(const struct tc_addr *addr, char *text, size_t size);

/* The host alone, as getsockname reports it in other languages: "127.0.0.1", "::1", a path. */
size_t tc_addr_format_host(const struct tc_addr *addr, char *text, size_t size);

/* The port in host order, 0 for unix addresses. */
uint16_t tc_addr_port(const struct tc_addr *addr);

/* AF_INET, AF_INET6, AF_UNIX, or AF_UNSPEC for an empty address. */
int tc_addr_family(const struct tc_addr *addr);

/* 127.0.0.0/8 or ::1. */
bool tc_addr_is_loopback(const struct tc_addr *addr);

/* Same family, host, scope and port (or path). */
bool tc_addr_is_equal(const struct tc_addr *a, const struct tc_addr *b);

/* Ask the kernel for a socket's own address, or its peer's. Returns 0 or -errno; *out is empty on
 * failure. */
TC_NODISCARD int tc_addr_of_socket(int fd, struct tc_addr *out);
TC_NODISCARD int tc_addr_of_peer(int fd, struct tc_addr *out);

#endif
