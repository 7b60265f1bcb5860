/* http/router.h — from a decoded path to its answer: a hash table that only grows before it is used.
 *
 * WHO MAY CALL: add and fini exclude everything; find may run on any number of threads.
 */
#ifndef TC_HTTP_ROUTER_H
#define TC_HTTP_ROUTER_H

#include "http/response.h"

struct tc_http_route {
    char *path; /* owned; decoded, not terminated */
    size_t path_len;
    uint64_t hash;
    struct tc_http_answer answer; /* owned */
    struct tc_http_route *next; /* in its slot */
};

struct tc_http_router {
    struct tc_http_route **slots; /* owned; NULL while empty */
    uint32_t slot_count; /* a power of two, at least as many as routes */
    uint32_t route_count;
};

/* Take over `answer` for `path`, which is decoded.
 * Parks: never   Owns: *answer on 0 only   Returns 0, -EEXIST, -ENOMEM. */
TC_NODISCARD int tc_http_router_add(struct tc_http_router *router, const char *path, size_t len,
                                    struct tc_http_answer *answer);

/* The answer for a decoded path, or NULL. Parks: never */
const struct tc_http_answer *tc_http_router_find(const struct tc_http_router *router,
                                                 const char *path, size_t len);

/* Free all routes. Parks: never */
void tc_http_router_fini(struct tc_http_router *router);

#endif
