#include <errno.h>

#include "http/path.h"
#include "support.h"

/* The decoded path, "!" for one that is refused, "?" for one that is too long. Decodes to another
 * place and in place, at the edge of a page, and compares. */
static const char *decode(const char *path)
{
    static char out[256];
    static char same[256];
    size_t len = strlen(path);
    ssize_t n = tc_http_path_decode(at_edge(path, len), len, out, sizeof out - 1);
    char *copy = at_edge(path, len);

    if (len > 0) {
        TC_CHECK_EQ(tc_http_path_decode(copy, len, copy, len), n);
        memcpy(same, copy, n > 0 ? (size_t)n : 0);
        TC_CHECK(n <= 0 || memcmp(same, out, (size_t)n) == 0);
    }
    if (n < 0) {
        return n == -EINVAL ? "!" : "?";
    }
    out[n] = '\0';
    return out;
}

static void check_paths(const char *const (*cases)[2], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *got = decode(cases[i][0]);
        if (strcmp(got, cases[i][1]) != 0) {
            tc_test_failf("%s: %s, not %s", cases[i][0], got, cases[i][1]);
        }
    }
}

TC_TEST(test_path_decoded_once_and_normalised)
{
    static const char *const cases[][2] = {
        {"", "/"},
        {"/", "/"},
        {"//", "/"},
        {"/a", "/a"},
        {"/a/", "/a/"},
        {"/a//b", "/a/b"},
        {"/a//", "/a/"},
        {"/./a/.", "/a/"},
        {"/a/./b", "/a/b"},
        {"/a/../b", "/b"},
        {"/a/..", "/"},
        {"/a/b/..", "/a/"},
        {"/a/b/../..", "/"},
        {"/a/%2e%2E/b", "/b"},
        {"/a/.%2e/b", "/b"},
        {"/...", "/..."},
        {"/..a", "/..a"},
        {"/a..", "/a.."},
        {"/%41%62", "/Ab"},
        {"/%2541", "/%41"},
        {"/a%20b", "/a b"},
        {"/a+b", "/a+b"},
        {"/%3f%23", "/?#"},
        {"/%c3%a9", "/\xc3\xa9"},
        {"/a:b@c;d=e,f", "/a:b@c;d=e,f"},
    };

    check_paths(cases, TC_ARRAY_LEN(cases));
}

TC_TEST(test_path_unfit_for_a_file_is_refused)
{
    static const char *const cases[][2] = {
        {"a", "!"},
        {"/..", "!"},
        {"/../a", "!"},
        {"/a/../..", "!"},
        {"/./..", "!"},
        {"//..", "!"},
        {"/%2e%2e", "!"},
        {"/%2e%2e%2fa", "!"},
        {"/a%2fb", "!"},
        {"/a%2Fb", "!"},
        {"/a\\b", "!"},
        {"/a%5cb", "!"},
        {"/..\\a", "!"},
        {"/%00", "!"},
        {"/a%00.html", "!"},
        {"/%0a", "!"},
        {"/%7f", "!"},
        {"/%", "!"},
        {"/%4", "!"},
        {"/%zz", "!"},
        {"/%4g", "!"},
        {"/a/../../etc", "!"},
        {"/%u0041", "!"},
        {"/%1f", "!"},
        {"/a/b/%2e%2e/..//../x", "!"},
    };

    check_paths(cases, TC_ARRAY_LEN(cases));
}

TC_TEST(test_path_too_long_for_its_buffer_is_refused)
{
    char out[4];

    TC_CHECK_EQ(tc_http_path_decode("/abc", 4, out, 4), 4);
    TC_CHECK_EQ(tc_http_path_decode("/abcd", 5, out, 4), -ENOSPC);
    TC_CHECK_EQ(tc_http_path_decode("/abc/", 5, out, 4), -ENOSPC);
    TC_CHECK_EQ(tc_http_path_decode("/ab/", 4, out, 4), 4);
    TC_CHECK_EQ(tc_http_path_decode("/abc/d", 6, out, 4), -ENOSPC);
    TC_CHECK_EQ(tc_http_path_decode("/", 1, out, 0), -ENOSPC);
}

TC_TEST(test_path_dotfile_is_seen_in_any_segment)
{
    TC_CHECK(tc_http_path_has_dotfile("/.git/x", 7));
    TC_CHECK(tc_http_path_has_dotfile("/a/.b", 5));
    TC_CHECK(!tc_http_path_has_dotfile("/a.b/c.", 7));
    TC_CHECK(!tc_http_path_has_dotfile("/", 1));
}

TC_TEST(test_path_query_gives_its_pairs)
{
    static const char *const expected[][2] = {
        {"a", "1"}, {"b", ""}, {"", "x"}, {"c", "d=e"}, {"f", ""}};
    const char *text = "&a=1&&b=&=x&c=d=e&f&";
    const char *at = at_edge(text, strlen(text));
    const char *end = edge_end();
    struct tc_http_pair pair;

    for (size_t i = 0; i < TC_ARRAY_LEN(expected); i++) {
        TC_CHECK(tc_http_query_next(&at, end, &pair));
        TC_CHECK_EQ(pair.name_len, strlen(expected[i][0]));
        TC_CHECK(memcmp(pair.name, expected[i][0], pair.name_len) == 0);
        TC_CHECK_EQ(pair.value_len, strlen(expected[i][1]));
        TC_CHECK(memcmp(pair.value, expected[i][1], pair.value_len) == 0);
    }
    TC_CHECK(!tc_http_query_next(&at, end, &pair));
    TC_CHECK(!tc_http_query_next(&at, end, &pair));
}

TC_TEST(test_path_form_is_decoded_in_place)
{
    const char *text = "a+b%20%4a%zz%4%";
    char *copy = at_edge(text, strlen(text));
    size_t len = tc_http_form_decode(copy, strlen(text), copy);

    TC_CHECK_EQ(len, 11);
    TC_CHECK(memcmp(copy, "a b J%zz%4%", len) == 0);
}

TC_TEST(test_path_hash_depends_on_every_byte)
{
    char text[41];

    memset(text, 'a', sizeof text);
    for (size_t len = 0; len < sizeof text; len++) {
        uint64_t hash = tc_http_path_hash(at_edge(text, len), len);
        TC_CHECK_EQ(tc_http_path_hash(text, len), hash);
        TC_CHECK(tc_http_path_hash(text, len + 1) != hash);
        for (size_t i = 0; i < len; i++) {
            text[i] = 'b';
            TC_CHECK(tc_http_path_hash(text, len) != hash);
            text[i] = 'a';
        }
    }
}

TC_TEST(test_path_hash_spreads_similar_names)
{
    enum { NAMES = 4096, SETS = 256 };
    unsigned in_set[SETS] = {0};
    char name[32];

    for (int i = 0; i < NAMES; i++) {
        int len = snprintf(name, sizeof name, "/images/%d.png", i);
        unsigned *count = &in_set[tc_http_path_hash(name, (size_t)len) % SETS];
        (*count)++;
        TC_CHECK(*count < 3 * NAMES / SETS);
    }
}
