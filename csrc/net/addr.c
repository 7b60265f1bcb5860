#include "net/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/sys.h"

static const size_t path_offset = offsetof(struct sockaddr_un, sun_path);

/* ---- parse -------------------------------------------------------------------------------- */

/* Read the digits behind '%'. Interface names would need a system call, so they are refused. */
static int parse_scope(const char *text, uint32_t *out)
{
    uint64_t scope = 0;

    if (*text == '\0') {
        return -EINVAL;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') {
            return -EINVAL;
        }
        scope = scope * 10 + (uint64_t)(*text - '0');
        if (scope > UINT32_MAX) {
            return -EINVAL;
        }
    }
    *out = (uint32_t)scope;
    return 0;
}

static int parse_v6(const char *host, uint16_t port, struct tc_addr *out)
{
    char digits[INET6_ADDRSTRLEN];
    const char *percent = strchr(host, '%');
    size_t length = percent != NULL ? (size_t)(percent - host) : strlen(host);
    struct in6_addr address;
    uint32_t scope = 0;

    if (length >= sizeof digits) {
        return -EINVAL;
    }
    memcpy(digits, host, length);
    digits[length] = '\0';
    if (inet_pton(AF_INET6, digits, &address) != 1) {
        return -EINVAL;
    }
    if (percent != NULL && parse_scope(percent + 1, &scope) != 0) {
        return -EINVAL;
    }
    memset(out, 0, sizeof *out);
    out->length = sizeof out->storage.v6;
    out->storage.v6.sin6_family = AF_INET6;
    out->storage.v6.sin6_port = htons(port);
    out->storage.v6.sin6_addr = address;
    out->storage.v6.sin6_scope_id = scope;
    return 0;
}

int tc_addr_parse(const char *host, uint16_t port, struct tc_addr *out)
{
    struct in_addr address;

    if (host == NULL || *host == '\0' || strcmp(host, "localhost") == 0) {
        host = "127.0.0.1";
    }
    if (inet_pton(AF_INET, host, &address) != 1) {
        return parse_v6(host, port, out);
    }
    memset(out, 0, sizeof *out);
    out->length = sizeof out->storage.v4;
    out->storage.v4.sin_family = AF_INET;
    out->storage.v4.sin_port = htons(port);
    out->storage.v4.sin_addr = address;
    return 0;
}

int tc_addr_from_path(const char *path, struct tc_addr *out)
{
    size_t length = path != NULL ? strlen(path) : 0;
    bool is_abstract = length > 0 && path[0] == '@';

    if (length == 0) {
        return -EINVAL;
    }
    /* A path needs its NUL, an abstract name is as long as `length` says. */
    if (length + (is_abstract ? 0 : 1) > sizeof out->storage.local.sun_path) {
        return -ENAMETOOLONG;
    }
    memset(out, 0, sizeof *out);
    out->storage.local.sun_family = AF_UNIX;
    memcpy(out->storage.local.sun_path, path, length);
    out->length = (socklen_t)(path_offset + length + (is_abstract ? 0 : 1));
    if (is_abstract) {
        out->storage.local.sun_path[0] = '\0';
    }
    return 0;
}

/* ---- format ------------------------------------------------------------------------------- */

int tc_addr_family(const struct tc_addr *addr)
{
    return addr->length >= sizeof(sa_family_t) ? addr->storage.any.sa_family : AF_UNSPEC;
}

uint16_t tc_addr_port(const struct tc_addr *addr)
{
    switch (tc_addr_family(addr)) {
    case AF_INET:
        return ntohs(addr->storage.v4.sin_port);
    case AF_INET6:
        return ntohs(addr->storage.v6.sin6_port);
    default:
        return 0;
    }
}

/* What snprintf would have liked to write, cut to what it did write. */
static size_t written(int wanted, size_t size)
{
    if (wanted < 0 || size == 0) {
        return 0;
    }
    return (size_t)wanted < size ? (size_t)wanted : size - 1;
}

static size_t format_local(const struct tc_addr *addr, char *text, size_t size)
{
    const char *path = addr->storage.local.sun_path;
    size_t length = addr->length > path_offset ? addr->length - path_offset : 0;

    if (length > sizeof addr->storage.local.sun_path) { /* the kernel counts a NUL behind it */
        length = sizeof addr->storage.local.sun_path;
    }
    if (length > 0 && path[0] == '\0') {
        return written(snprintf(text, size, "@%.*s", (int)(length - 1), path + 1), size);
    }
    return written(snprintf(text, size, "%.*s", (int)strnlen(path, length), path), size);
}

size_t tc_addr_format_host(const struct tc_addr *addr, char *text, size_t size)
{
    char digits[INET6_ADDRSTRLEN] = "";

    switch (tc_addr_family(addr)) {
    case AF_INET:
        (void)inet_ntop(AF_INET, &addr->storage.v4.sin_addr, digits, sizeof digits);
        break;
    case AF_INET6:
        (void)inet_ntop(AF_INET6, &addr->storage.v6.sin6_addr, digits, sizeof digits);
        if (addr->storage.v6.sin6_scope_id != 0) {
            return written(snprintf(text, size, "%s%%%u", digits,
                                    (unsigned)addr->storage.v6.sin6_scope_id),
                           size);
        }
        break;
    case AF_UNIX:
        return format_local(addr, text, size);
    default:
        return written(snprintf(text, size, "?"), size);
    }
    return written(snprintf(text, size, "%s", digits), size);
}

size_t tc_addr_format(const struct tc_addr *addr, char *text, size_t size)
{
    char host[TC_ADDR_TEXT_BYTES];

    (void)tc_addr_format_host(addr, host, sizeof host);
    switch (tc_addr_family(addr)) {
    case AF_INET:
        return written(snprintf(text, size, "%s:%u", host, (unsigned)tc_addr_port(addr)), size);
    case AF_INET6:
        return written(snprintf(text, size, "[%s]:%u", host, (unsigned)tc_addr_port(addr)), size);
    case AF_UNIX:
        return written(snprintf(text, size, "unix:%s", host), size);
    default:
        return written(snprintf(text, size, "%s", host), size);
    }
}

bool tc_addr_is_loopback(const struct tc_addr *addr)
{
    switch (tc_addr_family(addr)) {
    case AF_INET:
        return ntohl(addr->storage.v4.sin_addr.s_addr) >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET;
    case AF_INET6:
        return IN6_IS_ADDR_LOOPBACK(&addr->storage.v6.sin6_addr);
    default:
        return false;
    }
}

bool tc_addr_is_equal(const struct tc_addr *a, const struct tc_addr *b)
{
    if (tc_addr_family(a) != tc_addr_family(b)) {
        return false;
    }
    switch (tc_addr_family(a)) {
    case AF_INET:
        return a->storage.v4.sin_port == b->storage.v4.sin_port &&
               a->storage.v4.sin_addr.s_addr == b->storage.v4.sin_addr.s_addr;
    case AF_INET6:
        return a->storage.v6.sin6_port == b->storage.v6.sin6_port &&
               a->storage.v6.sin6_scope_id == b->storage.v6.sin6_scope_id &&
               memcmp(&a->storage.v6.sin6_addr, &b->storage.v6.sin6_addr,
                      sizeof a->storage.v6.sin6_addr) == 0;
    case AF_UNIX:
        return a->length == b->length && memcmp(&a->storage, &b->storage, a->length) == 0;
    default:
        return true;
    }
}

/* ---- from the kernel ---------------------------------------------------------------------- */

static int keep(int rc, socklen_t length, struct tc_addr *out)
{
    if (rc != 0) {
        memset(out, 0, sizeof *out);
        return rc;
    }
    out->length = length < sizeof out->storage ? length : sizeof out->storage;
    return 0;
}

int tc_addr_of_socket(int fd, struct tc_addr *out)
{
    socklen_t length = sizeof out->storage;

    memset(out, 0, sizeof *out);
    return keep(tc_sys_getsockname(fd, &out->storage.any, &length), length, out);
}

int tc_addr_of_peer(int fd, struct tc_addr *out)
{
    socklen_t length = sizeof out->storage;

    memset(out, 0, sizeof *out);
    return keep(tc_sys_getpeername(fd, &out->storage.any, &length), length, out);
}
