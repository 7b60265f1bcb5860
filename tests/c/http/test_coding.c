/* What a client says it would like, and what it gets. */
#include <string.h>

#include "base/defs.h"
#include "harness.h"
#include "http/coding.h"

enum {
    ALL = TC_HTTP_CODING_BIT(TC_HTTP_IDENTITY) | TC_HTTP_CODING_BIT(TC_HTTP_GZIP) |
        TC_HTTP_CODING_BIT(TC_HTTP_BR),
};

static enum tc_http_coding choose(const char *value, unsigned available)
{
    struct tc_http_codings codings = {0};

    tc_http_codings_add(&codings, value, strlen(value));
    return tc_http_codings_choose(&codings, available);
}

TC_TEST(test_coding_of_the_highest_weight_is_chosen)
{
    static const struct {
        const char *value;
        enum tc_http_coding coding;
    } cases[] = {
        {"", TC_HTTP_IDENTITY},
        {"gzip", TC_HTTP_GZIP},
        {"GZip", TC_HTTP_GZIP},
        {"x-gzip", TC_HTTP_GZIP},
        {"gzip, deflate, br, zstd", TC_HTTP_BR},
        {"br;q=0.5, gzip", TC_HTTP_GZIP},
        {"br;q=0.5, gzip;q=0.499", TC_HTTP_BR},
        {"br ; q=0.5 ,\tgzip;Q=0.7", TC_HTTP_GZIP},
        {"gzip;q=0", TC_HTTP_IDENTITY},
        {"gzip;q=0.000", TC_HTTP_IDENTITY},
        {"gzip;q=0.001", TC_HTTP_GZIP},
        {"*", TC_HTTP_BR},
        {"*;q=0", TC_HTTP_IDENTITY},
        {"*, br;q=0", TC_HTTP_GZIP},
        {"gzip;q=0.5, *;q=0.1", TC_HTTP_GZIP},
        {"identity", TC_HTTP_IDENTITY},
        {"identity, gzip;q=0.9", TC_HTTP_IDENTITY},
        {"identity;q=0.5, gzip;q=0.9", TC_HTTP_GZIP},
        {"identity;q=0", TC_HTTP_IDENTITY}, /* better than nothing */
        {"gzip;q=1.1", TC_HTTP_IDENTITY},
        {"gzip;q=1.0000", TC_HTTP_IDENTITY},
        {"gzip;q=", TC_HTTP_IDENTITY},
        {"gzip;level=9", TC_HTTP_IDENTITY},
        {"gzip;q=x, br;q=0.1", TC_HTTP_BR},
        {"gzip br", TC_HTTP_IDENTITY},
        {",, ,gzip,", TC_HTTP_GZIP},
        {"gzipped, brotli", TC_HTTP_IDENTITY},
    };

    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        enum tc_http_coding coding = choose(cases[i].value, ALL);
        if (coding != cases[i].coding) {
            tc_test_failf("%d for '%s'", coding, cases[i].value);
        }
    }
}

TC_TEST(test_coding_that_is_not_available_is_not_chosen)
{
    unsigned identity = TC_HTTP_CODING_BIT(TC_HTTP_IDENTITY);
    unsigned gzip = identity | TC_HTTP_CODING_BIT(TC_HTTP_GZIP);

    TC_CHECK_EQ(choose("br, gzip", gzip), TC_HTTP_GZIP);
    TC_CHECK_EQ(choose("br", gzip), TC_HTTP_IDENTITY);
    TC_CHECK_EQ(choose("*", identity), TC_HTTP_IDENTITY);
}

TC_TEST(test_coding_lines_add_up)
{
    struct tc_http_codings codings = {0};

    tc_http_codings_add(&codings, "gzip;q=0.5", 10);
    tc_http_codings_add(&codings, "br;q=0.6", 8);
    TC_CHECK_EQ(tc_http_codings_choose(&codings, ALL), TC_HTTP_BR);
}
