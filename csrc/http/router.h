/* http/router.h — from a method and a decoded path to its route.
 *
 * Routes are added and stay until the end; the table that leads to them is never changed but
 * replaced by a larger one (copy on write), so that they can be added while requests are being
 * served. Of the routes that match path and method, an exact path comes before a pattern, and a
 * pattern before a prefix; of patterns the first one added, of prefixes the longest.
 *
 * INVARIANTS
 *  RT1  A published table does not change.
 *  RT2  A route lives as long as its router.
 *
 *           add   find   fini     -  safe together
 *   add      X     -      X       X  caller must exclude
 *   find     -     -      X
 */
#ifndef TC_HTTP_ROUTER_H
#define TC_HTTP_ROUTER_H

#include "base/atomic.h"
#include "base/ebr_core.h"
#include "http/handler.h"
#include "http/pattern.h"

struct tc_http_route {
    char *path; /* owned; decoded, not terminated */
    size_t path_len;
    uint64_t hash;
    uint32_t id; /* the caller's */
    uint64_t methods; /* HEAD among them if GET is */
    int64_t max_body; /* TC_NEVER: no limit */
    uint8_t match; /* enum tc_http_match */
    struct tc_http_handler *handler; /* owned; NULL: `answer` */
    struct tc_http_answer answer; /* owned */
};

struct tc_http_table {
    struct tc_ebr_node retired; /* unused while published */
    size_t size; /* bytes of it all */
    uint32_t count; /* routes */
    uint32_t slot_count; /* a power of two, more than there are exact routes */
    uint32_t pattern_count;
    uint32_t prefix_count;
    struct tc_http_route *routes[]; /* slots of the exact ones by hash, probed in order, NULL: free;
                                     * then patterns as added; then prefixes, the longest first */
};

struct tc_http_router {
    _Atomic(struct tc_http_table *) table; /* owned; NULL while empty */
};

/* What was found. */
struct tc_http_found {
    const struct tc_http_route *route; /* NULL: none */
    uint64_t allowed; /* methods of all routes that match the path; 0: none does */
    uint32_t param_count;
    struct tc_http_span params[TC_HTTP_PARAMS_MAX]; /* values, in the path */
};

/* Take over what `route` owns. *old: the table that was replaced, to be freed by
 * tc_http_table_free once nobody reads it; NULL: none.
 * Parks: never   Owns: on 0 only
 * Returns 0, -EEXIST (a route of the same kind and path has one of the methods), -EINVAL (no
 * pattern), -ENOSPC, -ENOMEM. */
TC_NODISCARD int tc_http_router_add(struct tc_http_router *router,
                                    const struct tc_http_route *route, uint32_t max_routes,
                                    struct tc_http_table **old);

/* Parks: never   Threads: any; a worker until its next quiescent state */
void tc_http_router_find(const struct tc_http_router *router, enum tc_http_method method,
                         const char *path, size_t len, struct tc_http_found *found);

/* The index-th {name} of a route's pattern. Returns false behind the last one. */
bool tc_http_route_param(const struct tc_http_route *route, size_t index,
                         struct tc_http_text *name);

/* Free a table that was replaced. Parks: never */
void tc_http_table_free(struct tc_ebr_node *retired);

/* Free all routes. Parks: never */
void tc_http_router_fini(struct tc_http_router *router);

#endif
