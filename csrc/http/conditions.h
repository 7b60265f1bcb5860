/* http/conditions.h — whether a request for a file is carried out, by what the client says it has
 * already (RFC 9110 13).
 *
 *   in this order                    not fulfilled
 *   If-Match, strong                 412
 *   else If-Unmodified-Since         412
 *   If-None-Match, weak              304
 *   else If-Modified-Since           304
 *
 * A field that cannot be read is no condition, but for If-Match and If-None-Match, which then name
 * nothing. Of several lines of one list all count; several dates are none.
 *
 * WHO MAY CALL: any thread; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_CONDITIONS_H
#define TC_HTTP_CONDITIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/parser.h"

/* What tells two states of a representation apart. */
struct tc_http_validators {
    const char *etag; /* with its quotes, and W/ before them if it is weak */
    size_t etag_len;
    int64_t modified; /* seconds since 1970 */
};

/* For GET and HEAD; `now` in seconds, to read dates. Returns 0: go on; 304 or 412. */
int tc_http_conditions_check(const struct tc_http_lines *lines,
                             const struct tc_http_validators *validators, int64_t now);

/* Whether a Range counts (RFC 9110 13.1.5): there is no If-Range, or it names this very state. */
bool tc_http_conditions_may_range(const struct tc_http_lines *lines,
                                  const struct tc_http_validators *validators, int64_t now);

/* True if the text is one entity tag (RFC 9110 8.8.3). */
bool tc_http_etag_is_one(const char *text, size_t len);

/* True if a list of entity tags, or '*', names this one. `is_strong`: two weak tags, or a weak and
 * a strong one, are never the same. */
bool tc_http_etag_is_in(const char *list, size_t len, const struct tc_http_validators *validators,
                        bool is_strong);

#endif
