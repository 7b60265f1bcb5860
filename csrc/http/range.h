/* http/range.h — which bytes of a representation a Range field asks for (RFC 9110 14).
 *
 * The ranges are resolved against the size and come out in the order that was asked for, each
 * within [0, size). A field that need not be honoured is ignored, as the RFC allows: another unit,
 * a syntax error, more than TC_HTTP_RANGES_MAX ranges, or ranges that overlap, which only serve to
 * make a server send a file many times over.
 *
 * WHO MAY CALL: any thread; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_RANGE_H
#define TC_HTTP_RANGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"

enum {
    TC_HTTP_RANGES_MAX = 16,
    TC_HTTP_RANGE_IGNORED = 0,        /* send all of it: 200 */
    TC_HTTP_RANGE_UNSATISFIABLE = -1, /* no range begins before the end: 416 */
};

struct tc_http_range {
    uint64_t first;
    uint64_t len; /* > 0 */
};

/* Resolve the value of a Range field against a representation of `size` bytes.
 * Returns how many ranges were written, at least 1, or one of the two above. */
TC_NODISCARD int tc_http_range_parse(const char *value, size_t len, uint64_t size,
                                     struct tc_http_range ranges[TC_HTTP_RANGES_MAX]);

#endif
