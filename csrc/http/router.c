#include "http/router.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

/* FNV-1a, folded. The table is filled by the owner of the server, not by its clients: they can only
 * ask, and a slot holds few routes whatever they ask for. */
static uint64_t hash_of(const char *path, size_t len)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ (unsigned char)path[i]) * UINT64_C(1099511628211);
    }
    return hash ^ hash >> 32;
}

static struct tc_http_route *find(const struct tc_http_router *router, const char *path, size_t len,
                                  uint64_t hash)
{
    struct tc_http_route *route =
        router->slot_count == 0 ? NULL : router->slots[hash & (router->slot_count - 1)];

    while (route != NULL &&
           (route->hash != hash || route->path_len != len || memcmp(route->path, path, len) != 0)) {
        route = route->next;
    }
    return route;
}

static int grow(struct tc_http_router *router)
{
    uint32_t count = router->slot_count == 0 ? 8 : router->slot_count * 2;
    struct tc_http_route **slots = tc_mem_zalloc(count * sizeof(struct tc_http_route *));

    if (slots == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < router->slot_count; i++) {
        struct tc_http_route *next;
        for (struct tc_http_route *route = router->slots[i]; route != NULL; route = next) {
            struct tc_http_route **slot = &slots[route->hash & (count - 1)];
            next = route->next;
            route->next = *slot;
            *slot = route;
        }
    }
    tc_mem_free(router->slots, router->slot_count * sizeof(struct tc_http_route *));
    router->slots = slots;
    router->slot_count = count;
    return 0;
}

int tc_http_router_add(struct tc_http_router *router, const char *path, size_t len,
                       struct tc_http_answer *answer)
{
    uint64_t hash = hash_of(path, len);

    if (find(router, path, len, hash) != NULL) {
        return -EEXIST;
    }
    if (router->route_count == router->slot_count && grow(router) != 0) {
        return -ENOMEM;
    }
    struct tc_http_route *route = tc_mem_alloc(sizeof *route);
    if (route == NULL) {
        return -ENOMEM;
    }
    route->path = tc_mem_alloc(len);
    if (route->path == NULL) {
        tc_mem_free(route, sizeof *route);
        return -ENOMEM;
    }
    memcpy(route->path, path, len);
    route->path_len = len;
    route->hash = hash;
    route->answer = *answer;
    struct tc_http_route **slot = &router->slots[hash & (router->slot_count - 1)];
    route->next = *slot;
    *slot = route;
    router->route_count++;
    return 0;
}

const struct tc_http_answer *tc_http_router_find(const struct tc_http_router *router,
                                                 const char *path, size_t len)
{
    struct tc_http_route *route = find(router, path, len, hash_of(path, len));

    return route == NULL ? NULL : &route->answer;
}

void tc_http_router_fini(struct tc_http_router *router)
{
    for (uint32_t i = 0; i < router->slot_count; i++) {
        struct tc_http_route *next;
        for (struct tc_http_route *route = router->slots[i]; route != NULL; route = next) {
            next = route->next;
            tc_http_answer_fini(&route->answer);
            tc_mem_free(route->path, route->path_len);
            tc_mem_free(route, sizeof *route);
        }
    }
    tc_mem_free(router->slots, router->slot_count * sizeof(struct tc_http_route *));
    memset(router, 0, sizeof *router);
}
