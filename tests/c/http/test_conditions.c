/* Entity tags, dates, and what they say about a request together. */
#include <stdio.h>
#include <string.h>

#include "harness.h"
#include "http/conditions.h"
#include "http/field.h"

enum { NOW = 1700000000 };

#define MODIFIED 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT */
#define DATE "Sun, 06 Nov 1994 08:49:37 GMT"
#define EARLIER "Sun, 06 Nov 1994 08:49:36 GMT"
#define LATER "Sun, 06 Nov 1994 08:49:38 GMT"

static struct tc_http_validators validators(const char *etag)
{
    return (struct tc_http_validators){etag, strlen(etag), MODIFIED};
}

/* The lines of "Name: value\n..." */
static struct tc_http_lines lines_of(const char *text)
{
    static struct tc_http_field_line lines[8];
    uint32_t count = 0;

    for (const char *at = text; *at != '\0';) {
        const char *colon = strchr(at, ':');
        const char *end = strchr(at, '\n');
        size_t name_len = (size_t)(colon - at);
        TC_CHECK(count < 8);
        lines[count++] = (struct tc_http_field_line){
            .name_at = (uint32_t)(at - text),
            .name_len = (uint32_t)name_len,
            .field = tc_http_field_find(at, name_len) & 0xff,
            .value = {(uint32_t)(colon + 2 - text), (uint32_t)(end - colon - 2)},
        };
        at = end + 1;
    }
    return (struct tc_http_lines){text, lines, count};
}

static int check(const char *etag, const char *text)
{
    struct tc_http_lines lines = lines_of(text);
    struct tc_http_validators own = validators(etag);

    return tc_http_conditions_check(&lines, &own, NOW);
}

static bool may_range(const char *etag, const char *text)
{
    struct tc_http_lines lines = lines_of(text);
    struct tc_http_validators own = validators(etag);

    return tc_http_conditions_may_range(&lines, &own, NOW);
}

TC_TEST(test_conditions_one_etag_is_told_from_what_is_none)
{
    static const struct {
        const char *text;
        bool is_one;
    } cases[] = {
        {"\"a\"", true},        {"W/\"a\"", true},  {"\"\"", true},
        {"\"\xc3\xa4\"", true}, {"", false},        {"a", false},
        {"\"", false},          {"w/\"a\"", false}, {"\"a\", \"b\"", false},
        {"\"a b\"", false},     {"*", false},       {"\"a\"b", false},
        {"\"\x7f\"", false},
    };

    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        bool is_one = tc_http_etag_is_one(cases[i].text, strlen(cases[i].text));
        if (is_one != cases[i].is_one) {
            tc_test_failf("%s", cases[i].text);
        }
    }
}

TC_TEST(test_conditions_etag_lists_are_compared_weakly_or_strongly)
{
    static const struct {
        const char *etag;
        const char *list;
        bool weakly;
        bool strongly;
    } cases[] = {
        /* RFC 9110 8.8.3.2 */
        {"W/\"1\"", "W/\"1\"", true, false},
        {"W/\"1\"", "W/\"2\"", false, false},
        {"W/\"1\"", "\"1\"", true, false},
        {"\"1\"", "W/\"1\"", true, false},
        {"\"1\"", "\"1\"", true, true},
        {"\"1\"", "*", true, true},
        {"\"1\"", "\"a\", \"1\"", true, true},
        {"\"1\"", " ,, W/\"0\" ,\"1\"", true, true},
        {"\"1\"", "\"a,\"1\"", false, false}, /* one tag, and what cannot be read */
        {"\"1\"", "\"2\" \"1\"", true, true},
        {"\"1\"", "1", false, false},
        {"\"1\"", "\"1", false, false},
        {"\"1\"", "w/\"1\"", false, false}, /* case matters */
        {"\"1\"", "W/", false, false},
        {"\"1\"", "", false, false},
        {"\"1\"", "\"11\"", false, false},
        {"\"1\"", "\"2\", *", false, false},
    };

    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        struct tc_http_validators own = validators(cases[i].etag);
        const char *list = cases[i].list;
        if (tc_http_etag_is_in(list, strlen(list), &own, false) != cases[i].weakly ||
            tc_http_etag_is_in(list, strlen(list), &own, true) != cases[i].strongly) {
            tc_test_failf("%s in %s", cases[i].etag, list);
        }
    }
}

TC_TEST(test_conditions_in_their_order_decide_the_status)
{
    static const struct {
        const char *fields;
        int status;
    } cases[] = {
        {"", 0},
        {"If-Match: \"1\"\n", 0},
        {"If-Match: *\n", 0},
        {"If-Match: \"2\"\n", 412},
        {"If-Match: \"2\"\nIf-Match: \"1\"\n", 0},
        {"If-Match: W/\"1\"\n", 412},
        {"If-Match: junk\n", 412},
        {"If-Match: \"2\"\nIf-None-Match: \"1\"\n", 412},
        {"If-Match: \"1\"\nIf-None-Match: \"1\"\n", 304},
        {"If-Unmodified-Since: " DATE "\n", 0},
        {"If-Unmodified-Since: " LATER "\n", 0},
        {"If-Unmodified-Since: " EARLIER "\n", 412},
        {"If-Unmodified-Since: yesterday\n", 0},
        {"If-Match: \"1\"\nIf-Unmodified-Since: " EARLIER "\n", 0},
        {"If-None-Match: \"1\"\n", 304},
        {"If-None-Match: W/\"1\"\n", 304},
        {"If-None-Match: *\n", 304},
        {"If-None-Match: \"2\"\n", 0},
        {"If-None-Match: \"2\"\nIf-None-Match: \"1\"\n", 304},
        {"If-None-Match: \"2\"\nIf-Modified-Since: " DATE "\n", 0},
        {"If-Modified-Since: " DATE "\n", 304},
        {"If-Modified-Since: " LATER "\n", 304},
        {"If-Modified-Since: " EARLIER "\n", 0},
        {"If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\n", 304},
        {"If-Modified-Since: Sun Nov  6 08:49:37 1994\n", 304},
        {"If-Modified-Since: 0\n", 0},
        {"If-Modified-Since: " DATE "\nIf-Modified-Since: " DATE "\n", 0},
    };

    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        int status = check("\"1\"", cases[i].fields);
        if (status != cases[i].status) {
            tc_test_failf("%d for %s", status, cases[i].fields);
        }
    }
}

TC_TEST(test_conditions_range_counts_only_for_the_very_same_state)
{
    TC_CHECK(may_range("\"1\"", ""));
    TC_CHECK(may_range("\"1\"", "If-Range: \"1\"\n"));
    TC_CHECK(may_range("\"1\"", "If-Range: " DATE "\n"));
    TC_CHECK(!may_range("\"1\"", "If-Range: W/\"1\"\n"));
    TC_CHECK(!may_range("\"1\"", "If-Range: \"2\"\n"));
    TC_CHECK(!may_range("\"1\"", "If-Range: \"1\", \"1\"\n"));
    TC_CHECK(!may_range("\"1\"", "If-Range: " LATER "\n"));
    TC_CHECK(!may_range("\"1\"", "If-Range: " EARLIER "\n"));
    TC_CHECK(!may_range("\"1\"", "If-Range: junk\n"));
    TC_CHECK(!may_range("\"1\"", "If-Range: \n"));
    TC_CHECK(!may_range("\"1\"", "If-Range: \"1\"\nIf-Range: \"1\"\n"));
    TC_CHECK(!may_range("W/\"1\"", "If-Range: W/\"1\"\n"));
    TC_CHECK(!may_range("W/\"1\"", "If-Range: " DATE "\n"));
}
