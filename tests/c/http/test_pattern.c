/* Paths with holes: what may be added, and which pattern a request is for. */
#include "harness.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "http/pattern.h"

#define GET_BIT (UINT64_C(1) << TC_HTTP_GET)
#define POST_BIT (UINT64_C(1) << TC_HTTP_POST)

static int add(struct tc_http_patterns *patterns, const char *text, uint64_t methods)
{
    return tc_http_patterns_add(patterns, text, strlen(text), methods, patterns->count);
}

/* The id of what fits, -1: nothing. */
static int find(const struct tc_http_patterns *patterns, const char *path,
                enum tc_http_method method, struct tc_http_fit *fit)
{
    memset(fit, 0, sizeof *fit);
    return tc_http_patterns_find(patterns, path, strlen(path), method, fit) ? (int)fit->id : -1;
}

static void check_param(const char *path, const struct tc_http_fit *fit, uint32_t index,
                        const char *value)
{
    TC_CHECK(index < fit->param_count);
    TC_CHECK_EQ(fit->params[index].len, strlen(value));
    TC_CHECK(memcmp(path + fit->params[index].at, value, strlen(value)) == 0);
}

TC_TEST(test_pattern_that_is_none_is_refused)
{
    static const char *const texts[] = {
        "",     "a",     "/{",          "/}",       "/{}",       "/a{b}",
        "/{b}", "/{a}b", "/{a:path}/b", "/{a:int}", "/x/{a}{b}",
    };
    struct tc_http_patterns patterns = {NULL, 0, 0};

    for (size_t i = 0; i < TC_ARRAY_LEN(texts); i++) {
        int expected = strcmp(texts[i], "/{b}") == 0 ? 0 : -EINVAL;
        int got = add(&patterns, texts[i], GET_BIT);
        if (got != expected) {
            tc_test_failf("%s: %d, not %d", texts[i], got, expected);
        }
    }
    tc_http_patterns_fini(&patterns);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0);
}

TC_TEST(test_pattern_literal_comes_first_and_then_the_order)
{
    struct tc_http_patterns patterns = {NULL, 0, 0};
    struct tc_http_fit fit;

    TC_CHECK_EQ(add(&patterns, "/{all:path}", GET_BIT), 0);
    TC_CHECK_EQ(add(&patterns, "/u/{name}", GET_BIT), 0);
    TC_CHECK_EQ(add(&patterns, "/u/me", GET_BIT), 0);
    TC_CHECK_EQ(find(&patterns, "/u/me", TC_HTTP_GET, &fit), 2);
    TC_CHECK_EQ(find(&patterns, "/u/you", TC_HTTP_GET, &fit), 0);
    check_param("/u/you", &fit, 0, "u/you");
    TC_CHECK(tc_http_patterns_has(&patterns, "/u/me", 5, TC_HTTP_GET));
    TC_CHECK(tc_http_patterns_has(&patterns, "/u/me", 5, TC_HTTP_HEAD));
    TC_CHECK(!tc_http_patterns_has(&patterns, "/u/me", 5, TC_HTTP_POST));
    TC_CHECK(!tc_http_patterns_has(&patterns, "/u/you", 6, TC_HTTP_GET));
    tc_http_patterns_fini(&patterns);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0);
}

TC_TEST(test_pattern_holes_are_filled_in_order)
{
    struct tc_http_patterns patterns = {NULL, 0, 0};
    struct tc_http_fit fit;
    const char *path = "/a b/x/c/d/e";

    TC_CHECK_EQ(add(&patterns, "/{one}/x/{two}/{rest:path}", GET_BIT), 0);
    TC_CHECK_EQ(find(&patterns, path, TC_HTTP_GET, &fit), 0);
    TC_CHECK_EQ(fit.param_count, 3);
    check_param(path, &fit, 0, "a b");
    check_param(path, &fit, 1, "c");
    check_param(path, &fit, 2, "d/e");
    TC_CHECK_EQ(find(&patterns, "//x/c/d", TC_HTTP_GET, &fit), -1); /* a hole is not empty */
    TC_CHECK_EQ(find(&patterns, "/a/y/c/d", TC_HTTP_GET, &fit), -1);
    TC_CHECK_EQ(find(&patterns, "/a/x/c", TC_HTTP_GET, &fit), -1);
    TC_CHECK_EQ(fit.allowed, 0);
    tc_http_patterns_fini(&patterns);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0);
}

TC_TEST(test_pattern_methods_are_told_apart)
{
    struct tc_http_patterns patterns = {NULL, 0, 0};
    struct tc_http_fit fit;

    TC_CHECK_EQ(add(&patterns, "/a/{x}", GET_BIT), 0);
    TC_CHECK_EQ(add(&patterns, "/a/{x}", POST_BIT), 0);
    TC_CHECK_EQ(add(&patterns, "/a/{x}", GET_BIT | POST_BIT), -EEXIST);
    TC_CHECK_EQ(find(&patterns, "/a/1", TC_HTTP_HEAD, &fit), 0);
    TC_CHECK_EQ(find(&patterns, "/a/1", TC_HTTP_POST, &fit), 1);
    TC_CHECK_EQ(find(&patterns, "/a/1", TC_HTTP_PUT, &fit), -1);
    TC_CHECK((fit.allowed & (GET_BIT | POST_BIT)) == (GET_BIT | POST_BIT));
    tc_http_patterns_fini(&patterns);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0);
}
