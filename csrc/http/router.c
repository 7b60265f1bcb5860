#include "http/router.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "http/path.h"

static bool has_path(const struct tc_http_route *route, const char *path, size_t len)
{
    return route->path_len == len && memcmp(route->path, path, len) == 0;
}

/* ---- patterns ----------------------------------------------------------------------------- */

static bool match_pattern(const struct tc_http_route *route, const char *path, size_t len,
                          struct tc_http_found *found)
{
    int holes = tc_http_pattern_match(route->path, route->path_len, path, len, found->params);

    found->param_count = holes < 0 ? 0 : (uint32_t)holes;
    return holes >= 0;
}

bool tc_http_route_param(const struct tc_http_route *route, size_t index, struct tc_http_text *name)
{
    struct tc_http_span span;

    if (route->match != TC_HTTP_MATCH_PATTERN ||
        !tc_http_pattern_hole(route->path, route->path_len, index, &span)) {
        return false;
    }
    *name = (struct tc_http_text){route->path + span.at, span.len};
    return true;
}

/* ---- finding ------------------------------------------------------------------------------ */

/* A prefix ends where a segment does. */
static bool match_prefix(const struct tc_http_route *route, const char *path, size_t len)
{
    size_t own = route->path_len;

    return len >= own && memcmp(path, route->path, own) == 0 &&
           (len == own || path[own] == '/' || route->path[own - 1] == '/');
}

/* Note what else the path allows. True: this is the one. */
static bool take(const struct tc_http_route *route, enum tc_http_method method,
                 struct tc_http_found *found)
{
    found->allowed |= route->methods;
    if ((route->methods & TC_HTTP_METHOD_BIT(method)) == 0) {
        return false;
    }
    found->route = route;
    return true;
}

void tc_http_router_find(const struct tc_http_router *router, enum tc_http_method method,
                         const char *path, size_t len, struct tc_http_found *found)
{
    /* acquire [http-routes]: the table and the routes it leads to are complete. */
    const struct tc_http_table *table = tc_load_acquire(&router->table);

    found->route = NULL;
    found->allowed = 0;
    found->param_count = 0;
    if (table == NULL) {
        return;
    }
    uint64_t hash = tc_http_path_hash(path, len);
    uint32_t mask = table->slot_count - 1;
    for (uint32_t i = hash & mask; table->routes[i] != NULL; i = (i + 1) & mask) {
        const struct tc_http_route *route = table->routes[i];
        if (route->hash == hash && has_path(route, path, len) && take(route, method, found)) {
            return;
        }
    }
    struct tc_http_route *const *next = table->routes + table->slot_count;
    for (uint32_t i = 0; i < table->pattern_count; i++, next++) {
        if (match_pattern(*next, path, len, found) && take(*next, method, found)) {
            return;
        }
    }
    found->param_count = 0;
    for (uint32_t i = 0; i < table->prefix_count; i++, next++) {
        if (match_prefix(*next, path, len) && take(*next, method, found)) {
            return;
        }
    }
}

/* ---- adding ------------------------------------------------------------------------------- */

static void put_exact(struct tc_http_table *table, struct tc_http_route *route)
{
    uint32_t mask = table->slot_count - 1;
    uint32_t i = route->hash & mask;

    while (table->routes[i] != NULL) {
        i = (i + 1) & mask;
    }
    table->routes[i] = route;
}

/* Enter a route into a table that has room for it and is not published. */
static void put(struct tc_http_table *table, struct tc_http_route *route)
{
    struct tc_http_route **patterns = table->routes + table->slot_count;
    struct tc_http_route **prefixes = patterns + table->pattern_count;
    uint32_t at = 0;

    table->count++;
    if (route->match == TC_HTTP_MATCH_EXACT) {
        put_exact(table, route);
        return;
    }
    if (route->match == TC_HTTP_MATCH_PATTERN) {
        memmove(prefixes + 1, prefixes, table->prefix_count * sizeof *prefixes);
        *prefixes = route;
        table->pattern_count++;
        return;
    }
    while (at < table->prefix_count && prefixes[at]->path_len >= route->path_len) {
        at++;
    }
    memmove(prefixes + at + 1, prefixes + at, (table->prefix_count - at) * sizeof *prefixes);
    prefixes[at] = route;
    table->prefix_count++;
}

static size_t length_of(const struct tc_http_table *table)
{
    return table == NULL ? 0
                         : (size_t)table->slot_count + table->pattern_count + table->prefix_count;
}

static bool is_taken(const struct tc_http_table *table, const struct tc_http_route *route)
{
    for (size_t i = 0; i < length_of(table); i++) {
        const struct tc_http_route *other = table->routes[i];
        if (other != NULL && other->match == route->match &&
            (other->methods & route->methods) != 0 &&
            has_path(other, route->path, route->path_len)) {
            return true;
        }
    }
    return false;
}

/* A table with the routes of `old` and room for one more. */
static struct tc_http_table *copy_table(const struct tc_http_table *old)
{
    uint32_t count = old == NULL ? 0 : old->count;
    uint32_t slot_count = 8;

    while (slot_count < 2 * (count + 1)) {
        slot_count *= 2;
    }
    size_t size = sizeof *old + (slot_count + count + 1) * sizeof old->routes[0];
    struct tc_http_table *table = tc_mem_zalloc(size);
    if (table == NULL) {
        return NULL;
    }
    table->size = size;
    table->slot_count = slot_count;
    for (size_t i = 0; i < length_of(old); i++) {
        if (old->routes[i] != NULL) {
            put(table, old->routes[i]);
        }
    }
    return table;
}

int tc_http_router_add(struct tc_http_router *router, const struct tc_http_route *route,
                       uint32_t max_routes, struct tc_http_table **old)
{
    struct tc_http_table *table = tc_load_relaxed(&router->table); /* relaxed: our own writes */
    int rc = 0;

    if (route->match == TC_HTTP_MATCH_PATTERN &&
        tc_http_pattern_check(route->path, route->path_len) < 0) {
        rc = -EINVAL;
    }
    if (rc == 0 && is_taken(table, route)) {
        rc = -EEXIST;
    }
    if (rc == 0 && table != NULL && table->count >= max_routes) {
        rc = -ENOSPC;
    }
    if (rc != 0) {
        return rc;
    }
    struct tc_http_route *copy = tc_mem_alloc(sizeof *copy);
    struct tc_http_table *next = copy_table(table);
    if (copy == NULL || next == NULL) {
        tc_mem_free(copy, sizeof *copy);
        tc_mem_free(next, next == NULL ? 0 : next->size);
        return -ENOMEM;
    }
    *copy = *route;
    copy->hash = tc_http_path_hash(copy->path, copy->path_len);
    if ((copy->methods & TC_HTTP_METHOD_BIT(TC_HTTP_GET)) != 0) {
        copy->methods |= TC_HTTP_METHOD_BIT(TC_HTTP_HEAD);
    }
    put(next, copy);
    tc_store_release(&router->table, next); /* release [http-routes]: publishes it complete */
    *old = table;
    return 0;
}

/* ---- the end ------------------------------------------------------------------------------ */

void tc_http_table_free(struct tc_ebr_node *retired)
{
    struct tc_http_table *table = tc_container_of(retired, struct tc_http_table, retired);

    tc_mem_free(table, table->size);
}

static void free_route(struct tc_http_route *route)
{
    if (route->handler != NULL && route->handler->ops->free != NULL) {
        route->handler->ops->free(route->handler);
    }
    tc_http_answer_fini(&route->answer);
    tc_mem_free(route->path, route->path_len);
    tc_mem_free(route, sizeof *route);
}

void tc_http_router_fini(struct tc_http_router *router)
{
    struct tc_http_table *table =
        tc_load_relaxed(&router->table); /* relaxed: nobody else is left */

    for (size_t i = 0; i < length_of(table); i++) {
        if (table->routes[i] != NULL) {
            free_route(table->routes[i]);
        }
    }
    if (table != NULL) {
        tc_mem_free(table, table->size);
    }
    tc_store_relaxed(&router->table, NULL); /* relaxed: see above */
}
