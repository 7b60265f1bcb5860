#include "harness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "http/router.h"

#define GET_BIT TC_HTTP_METHOD_BIT(TC_HTTP_GET)
#define HEAD_BIT TC_HTTP_METHOD_BIT(TC_HTTP_HEAD)
#define PUT_BIT TC_HTTP_METHOD_BIT(TC_HTTP_PUT)
#define POST_BIT TC_HTTP_METHOD_BIT(TC_HTTP_POST)

static int add(struct tc_http_router *router, const char *path, enum tc_http_match match,
               uint64_t methods, int status)
{
    struct tc_http_response response = {.status = status};
    struct tc_http_route route = {
        .path_len = strlen(path), .methods = methods, .match = (uint8_t)match};
    struct tc_http_table *old = NULL;

    route.path = tc_mem_alloc(route.path_len);
    memcpy(route.path, path, route.path_len);
    TC_CHECK_EQ(tc_http_answer_init(&route.answer, &response), 0);
    int rc = tc_http_router_add(router, &route, 2000, &old);
    if (old != NULL) {
        tc_http_table_free(&old->retired);
    }
    if (rc != 0) {
        tc_http_answer_fini(&route.answer);
        tc_mem_free(route.path, route.path_len);
    }
    return rc;
}

static int find(const struct tc_http_router *router, enum tc_http_method method, const char *path,
                struct tc_http_found *found)
{
    tc_http_router_find(router, method, path, strlen(path), found);
    return found->route == NULL ? 0 : found->route->answer.status;
}

TC_TEST(test_router_many_routes_are_all_found_and_no_other)
{
    struct tc_http_router router = {.table = NULL};
    struct tc_http_found found;
    char path[32];

    for (int i = 0; i < 1000; i++) {
        snprintf(path, sizeof path, "/item/%d", i);
        TC_CHECK_EQ(add(&router, path, TC_HTTP_MATCH_EXACT, GET_BIT, 200 + i % 100), 0);
    }
    for (int i = 0; i < 1100; i++) {
        snprintf(path, sizeof path, "/item/%d", i);
        TC_CHECK_EQ(find(&router, TC_HTTP_GET, path, &found), i < 1000 ? 200 + i % 100 : 0);
        TC_CHECK_EQ(found.allowed, i < 1000 ? GET_BIT | HEAD_BIT : 0);
    }
    tc_http_router_fini(&router);
    TC_CHECK_EQ(find(&router, TC_HTTP_GET, "/item/1", &found), 0);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0);
}

TC_TEST(test_router_exact_comes_before_pattern_before_longest_prefix)
{
    static const struct {
        const char *path;
        int status;
    } cases[] = {
        {"/", 200},      {"/x", 200},       {"/a", 201},   {"/a/", 201},   {"/a/b", 203},
        {"/a/c", 202},   {"/a/c/d", 201},   {"/ab", 200},  {"/a/b/", 204}, {"/a/b/c", 204},
        {"/a/x/y", 205}, {"/a/x/y/z", 201}, {"/a//", 201},
    };
    struct tc_http_router router = {.table = NULL};
    struct tc_http_found found;

    TC_CHECK_EQ(add(&router, "/", TC_HTTP_MATCH_PREFIX, GET_BIT, 200), 0);
    TC_CHECK_EQ(add(&router, "/a/b/", TC_HTTP_MATCH_PREFIX, GET_BIT, 204), 0);
    TC_CHECK_EQ(add(&router, "/a", TC_HTTP_MATCH_PREFIX, GET_BIT, 201), 0);
    TC_CHECK_EQ(add(&router, "/a/{name}", TC_HTTP_MATCH_PATTERN, GET_BIT, 202), 0);
    TC_CHECK_EQ(add(&router, "/a/{one}/y", TC_HTTP_MATCH_PATTERN, GET_BIT, 205), 0);
    TC_CHECK_EQ(add(&router, "/a/b", TC_HTTP_MATCH_EXACT, GET_BIT, 203), 0);
    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        int status = find(&router, TC_HTTP_GET, cases[i].path, &found);
        if (status != cases[i].status) {
            tc_test_failf("%s: %d, not %d", cases[i].path, status, cases[i].status);
        }
    }
    tc_http_router_fini(&router);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0);
}

TC_TEST(test_router_methods_of_one_path_are_told_apart)
{
    struct tc_http_router router = {.table = NULL};
    struct tc_http_found found;

    TC_CHECK_EQ(add(&router, "/a", TC_HTTP_MATCH_EXACT, GET_BIT, 200), 0);
    TC_CHECK_EQ(add(&router, "/a", TC_HTTP_MATCH_EXACT, POST_BIT, 201), 0);
    TC_CHECK_EQ(add(&router, "/a", TC_HTTP_MATCH_EXACT, POST_BIT | PUT_BIT, 202), -EEXIST);
    TC_CHECK_EQ(add(&router, "/", TC_HTTP_MATCH_PREFIX, PUT_BIT, 203), 0);
    TC_CHECK_EQ(find(&router, TC_HTTP_HEAD, "/a", &found), 200);
    TC_CHECK_EQ(find(&router, TC_HTTP_POST, "/a", &found), 201);
    TC_CHECK_EQ(find(&router, TC_HTTP_PUT, "/a", &found), 203);
    TC_CHECK_EQ(find(&router, TC_HTTP_DELETE, "/a", &found), 0);
    TC_CHECK_EQ(found.allowed, GET_BIT | HEAD_BIT | POST_BIT | PUT_BIT);
    tc_http_router_fini(&router);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0);
}

TC_TEST(test_router_pattern_names_and_values_go_together)
{
    struct tc_http_router router = {.table = NULL};
    struct tc_http_found found;
    struct tc_http_text name;
    const char *path = "/u/7/x/long name";

    TC_CHECK_EQ(add(&router, "/u/{id}/x/{file}", TC_HTTP_MATCH_PATTERN, GET_BIT, 200), 0);
    TC_CHECK_EQ(find(&router, TC_HTTP_GET, path, &found), 200);
    TC_CHECK_EQ(found.param_count, 2);
    TC_CHECK(tc_http_route_param(found.route, 0, &name));
    TC_CHECK(name.len == 2 && memcmp(name.at, "id", 2) == 0);
    TC_CHECK(tc_http_route_param(found.route, 1, &name));
    TC_CHECK(name.len == 4 && memcmp(name.at, "file", 4) == 0);
    TC_CHECK(!tc_http_route_param(found.route, 2, &name));
    TC_CHECK(found.params[0].len == 1 && path[found.params[0].at] == '7');
    TC_CHECK(found.params[1].len == 9 && memcmp(path + found.params[1].at, "long name", 9) == 0);
    TC_CHECK_EQ(find(&router, TC_HTTP_GET, "/u/7/x/", &found), 0);
    TC_CHECK_EQ(find(&router, TC_HTTP_GET, "/u/7/x", &found), 0);
    TC_CHECK_EQ(add(&router, "/f/{file:path}", TC_HTTP_MATCH_PATTERN, GET_BIT, 201), 0);
    TC_CHECK_EQ(find(&router, TC_HTTP_GET, "/f/a/b", &found), 201);
    TC_CHECK(found.param_count == 1 && found.params[0].at == 3 && found.params[0].len == 3);
    TC_CHECK(tc_http_route_param(found.route, 0, &name));
    TC_CHECK(name.len == 4 && memcmp(name.at, "file", 4) == 0);
    TC_CHECK_EQ(add(&router, "/a{name}", TC_HTTP_MATCH_PATTERN, GET_BIT, 202), -EINVAL);
    TC_CHECK_EQ(add(&router, "/{q}/{r}/{s}/{t}/{u}/{v}/{w}/{x}/{y}/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}",
                    TC_HTTP_MATCH_PATTERN, GET_BIT, 200),
                -EINVAL);
    tc_http_router_fini(&router);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0);
}
