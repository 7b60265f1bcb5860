/* http/latency.h — how long the requests of each route took, a histogram per route and worker.
 *
 * A route has a number. What a worker keeps of it is made when the worker first answers a request
 * of the route (8 KiB), found by two loads, and written by that worker alone; who asks sums up.
 *
 *   number                        for
 *   0 to TC_HTTP_ROUTES_MAX - 1   routes of the server, as they were added
 *   TC_HTTP_DESK_ROUTE + id       patterns of the desk, the first TC_HTTP_ROUTES_MAX of them
 *   TC_HTTP_NO_ROUTE              what no route took: 404, 405, what broke a rule; and the rest of
 *                                 the desk's patterns
 *
 * What is measured: from when the receive that brought the first byte of the request's head had
 * returned, to when the system had taken the last byte of the answer. A request that was sent
 * ahead, behind one that a handler was at or whose answer the client did not take, counts from when
 * its turn came. An answer that the client did not take in whole is not counted.
 *
 * WHO MAY CALL: record: the worker; sum_up: anyone; fini: excludes both.
 */
#ifndef TC_HTTP_LATENCY_H
#define TC_HTTP_LATENCY_H

#include "base/histogram.h"
#include "http/server.h"

enum {
    TC_HTTP_DESK_ROUTE = TC_HTTP_ROUTES_MAX,
    TC_HTTP_NO_ROUTE = 2 * TC_HTTP_ROUTES_MAX,
    TC_HTTP_LATENCY_PAGE = 64, /* numbers a page */
    TC_HTTP_LATENCY_PAGES = TC_HTTP_NO_ROUTE / TC_HTTP_LATENCY_PAGE + 1,
};

struct tc_http_latency_page {
    _Atomic(struct tc_histogram *) at[TC_HTTP_LATENCY_PAGE]; /* owned; NULL: no request yet */
};

/* What one worker keeps; all zero at first. */
struct tc_http_latencies {
    _Atomic(struct tc_http_latency_page *) pages[TC_HTTP_LATENCY_PAGES]; /* owned */
};

/* The number of a pattern of the desk. */
static inline uint32_t tc_http_desk_route(uint32_t id)
{
    return id < TC_HTTP_ROUTES_MAX ? TC_HTTP_DESK_ROUTE + id : TC_HTTP_NO_ROUTE;
}

/* Make the histogram of a route. Returns NULL if there is no memory. Parks: never */
struct tc_histogram *tc__http_latency_open(struct tc_http_latencies *latencies, uint32_t route);

/* Count a request; without memory for its route's histogram it is not. Parks: never */
static inline void tc_http_latency_record(struct tc_http_latencies *latencies, uint32_t route,
                                          int64_t took_ns)
{
    /* relaxed: our own, both */
    struct tc_http_latency_page *page =
        tc_load_relaxed(&latencies->pages[route / TC_HTTP_LATENCY_PAGE]);
    struct tc_histogram *histogram = page == NULL
                                         ? NULL
                                         /* relaxed: see above */
                                         : tc_load_relaxed(&page->at[route % TC_HTTP_LATENCY_PAGE]);

    if (tc_unlikely(histogram == NULL)) {
        histogram = tc__http_latency_open(latencies, route);
    }
    if (tc_likely(histogram != NULL)) {
        tc_histogram_add(histogram, took_ns > 0 ? (uint64_t)took_ns : 0);
    }
}

/* Add what a worker has of a route. Returns false if there is nothing. Parks: never */
bool tc_http_latency_sum_up(const struct tc_http_latencies *latencies, uint32_t route,
                            struct tc_histogram *into);

/* Free all of it. */
void tc_http_latency_fini(struct tc_http_latencies *latencies);

#endif
