/* Which requests come from a page of another origin, and which origins can be allowed. */
#include <string.h>

#include "base/defs.h"
#include "harness.h"
#include "http/origin.h"

static struct tc_http_text text_of(const char *text)
{
    return (struct tc_http_text){text, strlen(text)};
}

static bool is_foreign(const char *site, const char *origin, const char *host, const char *allowed)
{
    const struct tc_http_source source = {text_of(site), text_of(origin), text_of(host)};

    return tc_http_source_is_foreign(&source, allowed);
}

TC_TEST(test_origin_that_a_browser_names_decides)
{
    static const struct {
        const char *site;
        const char *origin;
        const char *host;
        bool is_foreign;
    } cases[] = {
        {"", "", "h", false}, /* no browser */
        {"none", "", "h", false},
        {"same-origin", "http://h", "h", false},
        {"same-origin", "null", "h", false}, /* a form of a page that sends no referrer */
        {"same-origin", "https://outer", "inner:80", false}, /* a proxy has changed Host */
        {"cross-site", "http://h", "h", true},
        {"same-site", "http://h:1", "h:2", true},
        {"same-site", "", "h", true},
        {"new-word", "http://h", "h", true},
        {"", "http://h:8000", "h:8000", false},
        {"", "https://h", "h", false}, /* a proxy has ended TLS */
        {"", "http://H.example", "h.EXAMPLE", false},
        {"", "http://[::1]:80", "[::1]:80", false},
        {"", "http://h:8001", "h:8000", true},
        {"", "http://h", "h:8000", true},
        {"", "http://evil", "h", true},
        {"", "http://h.evil", "h", true},
        {"", "http://evil/h", "h", true},
        {"", "http://h http://evil", "h", true},
        {"", "null", "h", true},
        {"", "null", "null", true},
        {"", "h", "h", true},
        {"", "://h", "h", true},
        {"", "http://", "", true},
        {"", "http:", "", true},
        {"", "http:/", "/", true},
    };

    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        if (is_foreign(cases[i].site, cases[i].origin, cases[i].host, "") != cases[i].is_foreign) {
            tc_test_failf("case %zu: \"%s\" \"%s\" \"%s\"", i, cases[i].site, cases[i].origin,
                          cases[i].host);
        }
    }
}

TC_TEST(test_origin_that_is_allowed_is_not_foreign)
{
    static const char allowed[] = "https://a.example http://b:1";

    TC_CHECK(!is_foreign("cross-site", "https://a.example", "h", allowed));
    TC_CHECK(!is_foreign("", "http://b:1", "h", allowed));
    TC_CHECK(is_foreign("cross-site", "", "h", allowed));
    TC_CHECK(is_foreign("", "http://a.example", "h", allowed));
    TC_CHECK(is_foreign("", "https://a.example:1", "h", allowed));
    TC_CHECK(is_foreign("", "https://a.exampl", "h", allowed));
    TC_CHECK(is_foreign("", "http://b:", "h", allowed));
    TC_CHECK(is_foreign("", allowed, "h", allowed));
    TC_CHECK(!is_foreign("", "", "h", allowed));
}

TC_TEST(test_origin_is_valid_as_browsers_write_it)
{
    static const char *const valid[] = {
        "http://h",
        "https://h.example",
        "http://127.0.0.1:8000",
        "http://[::1]:443",
        "https://[fe80::1]",
        "chrome-extension://abcdef",
        "https://h:80",
        "https://xn--bcher-kva.example",
    };
    static const char *const wrong[] = {
        "",          "null",          "*",          "h",          "http:h",
        "http:/h",   "http://",       "://h",       "http://h/",  "http://H",
        "HTTP://h",  "http://h h",    "http://h?q", "http://u@h", "http://h:80",
        "http://h:", "https://h:443", "http://:1",  "http://*.h", "http://h\xc3\xa4",
    };

    for (size_t i = 0; i < TC_ARRAY_LEN(valid); i++) {
        if (!tc_http_origin_is_valid(valid[i], strlen(valid[i]))) {
            tc_test_failf("%s is refused", valid[i]);
        }
    }
    for (size_t i = 0; i < TC_ARRAY_LEN(wrong); i++) {
        if (tc_http_origin_is_valid(wrong[i], strlen(wrong[i]))) {
            tc_test_failf("%s is taken", wrong[i]);
        }
    }
    TC_CHECK(!tc_http_origin_is_valid("http://a\0b", 10));
}
