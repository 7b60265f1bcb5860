/* http/pattern.h — paths with holes, and which of many, of those that another thread answers, a
 * request is for.
 *
 * A pattern is a path whose segments are literal, or `{name}`, which stands for one segment that is
 * not empty; the last one may be `{name:path}`, for all that is left. Where several fit, one
 * without holes comes first, and then the one that was added first. The table is searched from
 * front to back: a comparison of lengths and one of bytes for each pattern without holes.
 *
 * WHO MAY CALL: what takes one pattern, anyone; of many, add and fini exclude everything; find may
 * run on any number of threads.
 */
#ifndef TC_HTTP_PATTERN_H
#define TC_HTTP_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "http/parser.h"

enum { TC_HTTP_PARAMS_MAX = 16 }; /* holes in one pattern */

/* ---- one pattern -------------------------------------------------------------------------- */

/* Returns the number of holes, or -EINVAL: not of the form above, or too many. */
TC_NODISCARD int tc_http_pattern_check(const char *text, size_t len);

/* The name of the index-th hole of a pattern that has been checked. Returns false behind the
 * last. */
bool tc_http_pattern_hole(const char *text, size_t len, size_t index, struct tc_http_span *name);

/* Compare a decoded path with a pattern that has been checked. Returns the number of holes, with
 * what stands in them, as places of the path; or -1. */
int tc_http_pattern_match(const char *text, size_t text_len, const char *path, size_t len,
                          struct tc_http_span params[TC_HTTP_PARAMS_MAX]);

/* ---- many --------------------------------------------------------------------------------- */

struct tc_http_pattern {
    char *text; /* owned; as given, not terminated */
    size_t len;
    uint64_t methods; /* bit n: enum tc_http_method n; GET brings HEAD with it */
    uint32_t id; /* the caller's */
    uint32_t hole_count;
};

struct tc_http_patterns {
    struct tc_http_pattern *items; /* owned */
    uint32_t count;
    uint32_t size; /* of the array */
};

/* What fits a request. */
struct tc_http_fit {
    uint32_t id;
    uint32_t param_count;
    struct tc_http_span params[TC_HTTP_PARAMS_MAX]; /* in the path; one for each hole, in order */
    uint64_t allowed; /* methods of all patterns that fit the path */
};

/* Add a pattern. Parks: never   Owns: copies
 * Returns 0, -EINVAL (not of the form above), -EEXIST (the same pattern has one of the methods
 * already), -ENOMEM. */
TC_NODISCARD int tc_http_patterns_add(struct tc_http_patterns *patterns, const char *text,
                                      size_t len, uint64_t methods, uint32_t id);

/* The pattern for a decoded path and a method. Parks: never
 * Returns true with *match filled; or false, `allowed` being 0 if no pattern fits the path. */
bool tc_http_patterns_find(const struct tc_http_patterns *patterns, const char *path, size_t len,
                           enum tc_http_method method, struct tc_http_fit *match);

/* Whether a pattern without holes is this path and has this method. Parks: never */
bool tc_http_patterns_has(const struct tc_http_patterns *patterns, const char *path, size_t len,
                          enum tc_http_method method);

/* Free all. Parks: never */
void tc_http_patterns_fini(struct tc_http_patterns *patterns);

#endif
