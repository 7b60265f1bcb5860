/* http/path.h — from the path of a target to a name that can be looked up, and the query's pairs.
 *
 * A path is decoded once, and then its dot segments are removed (RFC 3986 5.2.4), so that "..",
 * "%2e%2e" and ".%2E" are the same; empty segments are dropped. What is left begins with '/', has
 * no segment that is empty, "." or "..", and ends with '/' if the last segment was one of these or
 * empty. A path that climbs above the root is refused, and so is what no file name and no other
 * server should see: a malformed escape, an encoded '/', a backslash, a control character or NUL.
 *
 * WHO MAY CALL: any thread; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_PATH_H
#define TC_HTTP_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/defs.h"

struct tc_http_pair {
    const char *name; /* as sent; decode with tc_http_form_decode */
    size_t name_len;
    const char *value;
    size_t value_len;
};

/* Decode and normalise a path, whose form is "/..." or empty (which means "/"). `out` may be the
 * same memory as `path`: as many bytes as the path has, and at least one, are enough. The result is
 * not terminated.
 * Returns its length, or -EINVAL for a path that is refused, -ENOSPC if `size` was too small. */
TC_NODISCARD ssize_t tc_http_path_decode(const char *path, size_t len, char *out, size_t size);

/* Write a decoded path as it must be written in a field or a link: a URI reference of visible
 * characters. `out` has room for 3 * len bytes. Returns its length. */
size_t tc_http_path_encode(const char *path, size_t len, char *out);

/* A number to look a path up by, the same for equal paths in this process. It does not withstand
 * who chooses the paths that are kept. */
uint64_t tc_http_path_hash(const char *path, size_t len);

/* True if a segment of a decoded path begins with a dot. */
bool tc_http_path_has_dotfile(const char *path, size_t len);

/* The next name=value of a query or form. Moves *at; a name without '=' has an empty value, empty
 * pairs are passed over. Returns false at the end. */
bool tc_http_query_next(const char **at, const char *end, struct tc_http_pair *pair);

/* Decode application/x-www-form-urlencoded: '+' is a space, and a '%' that begins no escape is
 * itself. `out` may be the same memory as `text`; it is never longer. Returns its length. */
size_t tc_http_form_decode(const char *text, size_t len, char *out);

#endif
