#include "http/latency.h"

#include <string.h>

#include "base/mem.h"
#include "http/server_internal.h"

struct tc_histogram *tc__http_latency_open(struct tc_http_latencies *latencies, uint32_t route)
{
    _Atomic(struct tc_http_latency_page *) *slot = &latencies->pages[route / TC_HTTP_LATENCY_PAGE];
    struct tc_http_latency_page *page = tc_load_relaxed(slot); /* relaxed: our own */

    if (page == NULL) {
        page = tc_mem_zalloc(sizeof *page);
        if (page == NULL) {
            return NULL;
        }
        /* release [http-latency]: the empty page, before a reader finds it */
        tc_store_release(slot, page);
    }
    struct tc_histogram *histogram = tc_mem_zalloc(sizeof *histogram);
    if (histogram != NULL) {
        /* release [http-latency]: the empty histogram, before a reader finds it */
        tc_store_release(&page->at[route % TC_HTTP_LATENCY_PAGE], histogram);
    }
    return histogram;
}

bool tc_http_latency_sum_up(const struct tc_http_latencies *latencies, uint32_t route,
                            struct tc_histogram *into)
{
    /* acquire [http-latency]: that the page was empty at first */
    struct tc_http_latency_page *page =
        tc_load_acquire(&latencies->pages[route / TC_HTTP_LATENCY_PAGE]);
    /* acquire [http-latency]: the same of the histogram */
    struct tc_histogram *histogram =
        page == NULL ? NULL : tc_load_acquire(&page->at[route % TC_HTTP_LATENCY_PAGE]);

    if (histogram != NULL) {
        tc_histogram_sum_up(into, histogram);
    }
    return histogram != NULL;
}

void tc_http_latency_fini(struct tc_http_latencies *latencies)
{
    for (uint32_t i = 0; i < TC_HTTP_LATENCY_PAGES; i++) {
        struct tc_http_latency_page *page =
            tc_load_relaxed(&latencies->pages[i]); /* relaxed: nobody else is there, as below */
        for (uint32_t k = 0; page != NULL && k < TC_HTTP_LATENCY_PAGE; k++) {
            tc_mem_free(tc_load_relaxed(&page->at[k]), sizeof(struct tc_histogram)); /* relaxed */
        }
        tc_mem_free(page, sizeof *page);
    }
}

/* ---- of a server -------------------------------------------------------------------------- */

/* What is being filled in. */
struct listing {
    struct tc_http_server *server;
    struct tc_http_route_latency *out;
    size_t max;
    size_t count;
    struct tc_histogram *sum; /* scratch */
};

static void list(struct listing *listing, uint32_t route, const char *path, size_t path_len,
                 uint64_t methods)
{
    struct tc_http_server *server = listing->server;
    struct tc_histogram_summary took;
    bool is_any = false;

    memset(listing->sum, 0, sizeof *listing->sum);
    for (uint32_t i = 0; i < server->part_count; i++) {
        is_any |= tc_http_latency_sum_up(&server->parts[i].latencies, route, listing->sum);
    }
    if (!is_any) {
        return;
    }
    tc_histogram_summarize(listing->sum, &took);
    if (took.count == 0) { /* made, and not written yet */
        return;
    }
    if (listing->count < listing->max) {
        listing->out[listing->count] = (struct tc_http_route_latency){
            .path = path,
            .path_len = path_len,
            .methods = methods,
            .took = took,
        };
    }
    listing->count++;
}

/* The routes by their numbers. Returns NULL if there are none, or no memory. */
static const struct tc_http_route **routes_by_id_locked(struct tc_http_server *server)
{
    /* relaxed: it changes under the lock only */
    const struct tc_http_table *table = tc_load_relaxed(&server->router.table);
    const struct tc_http_route **routes = NULL;

    if (table != NULL) {
        routes = tc_mem_zalloc(server->route_count * sizeof(struct tc_http_route *));
    }
    if (routes != NULL) {
        uint32_t slots = table->slot_count + table->pattern_count + table->prefix_count;
        for (uint32_t i = 0; i < slots; i++) {
            if (table->routes[i] != NULL) {
                routes[table->routes[i]->id] = table->routes[i];
            }
        }
    }
    return routes;
}

static void list_routes(struct listing *listing)
{
    struct tc_http_server *server = listing->server;

    tc_lock_acquire(&server->lock);
    const struct tc_http_route **routes = routes_by_id_locked(server);
    for (uint32_t id = 0; routes != NULL && id < server->route_count; id++) {
        const struct tc_http_route *route = routes[id];
        list(listing, id, route->path, route->path_len, route->methods);
    }
    tc_mem_free(routes, server->route_count * sizeof(struct tc_http_route *));
    tc_lock_release(&server->lock);
}

static void list_patterns(struct listing *listing, const struct tc_http_patterns *patterns)
{
    const uint64_t get = TC_HTTP_METHOD_BIT(TC_HTTP_GET);

    for (uint32_t i = 0; i < patterns->count; i++) {
        const struct tc_http_pattern *pattern = &patterns->items[i];
        uint64_t head = (pattern->methods & get) != 0 ? TC_HTTP_METHOD_BIT(TC_HTTP_HEAD) : 0;
        uint32_t route = tc_http_desk_route(pattern->id & ~TC_HTTP_DESK_STREAMS);
        if (route != TC_HTTP_NO_ROUTE) {
            list(listing, route, pattern->text, pattern->len, pattern->methods | head);
        }
    }
}

size_t tc_http_server_latencies(struct tc_http_server *server, struct tc_http_route_latency *out,
                                size_t max)
{
    struct listing listing = {
        .server = server,
        .out = out,
        .max = max,
        .sum = tc_mem_alloc(sizeof(struct tc_histogram)),
    };

    if (listing.sum == NULL) {
        return 0;
    }
    list_routes(&listing);
    if (server->desk != NULL) {
        list_patterns(&listing, &server->desk->patterns);
    }
    list(&listing, TC_HTTP_NO_ROUTE, NULL, 0, 0);
    tc_mem_free(listing.sum, sizeof(struct tc_histogram));
    return listing.count;
}
