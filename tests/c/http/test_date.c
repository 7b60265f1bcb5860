#include <errno.h>
#include <time.h>

#include "base/rand.h"
#include "http/date.h"
#include "support.h"

static int64_t parse(const char *text)
{
    int64_t seconds = INT64_MIN;
    size_t len = strlen(text);
    int rc = tc_http_date_parse(at_edge(text, len), len, 1700000000, &seconds);

    TC_CHECK((rc == 0) == (seconds != INT64_MIN));
    return seconds;
}

static bool is_written(int64_t seconds, const char *text)
{
    char out[TC_HTTP_DATE_BYTES];

    tc_http_date_format(seconds, out);
    return memcmp(out, text, TC_HTTP_DATE_BYTES) == 0;
}

TC_TEST(test_date_three_forms_are_read)
{
    TC_CHECK_EQ(parse("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
    TC_CHECK_EQ(parse("Sunday, 06-Nov-94 08:49:37 GMT"), 784111777);
    TC_CHECK_EQ(parse("Sun Nov  6 08:49:37 1994"), 784111777);
    TC_CHECK_EQ(parse("Sun Nov 16 08:49:37 1994"), 784111777 + 10 * 86400);
    TC_CHECK_EQ(parse("Thu, 29 Feb 2024 23:59:60 GMT"), 1709251200);
    TC_CHECK_EQ(parse("Thursday, 01-Jan-70 00:00:00 GMT"), 3155760000); /* 47 years ahead: 2070 */
    TC_CHECK_EQ(parse("Wednesday, 01-Jan-75 00:00:00 GMT"), 157766400); /* 52 would be too many */
}

TC_TEST(test_date_malformed_text_is_refused)
{
    static const char *const bad[] = {
        "",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 31 Apr 1994 08:49:37 GMT",
        "Sun, 29 Feb 1900 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "784111777",
    };

    for (size_t i = 0; i < TC_ARRAY_LEN(bad); i++) {
        if (parse(bad[i]) != INT64_MIN) {
            tc_test_failf("%s", bad[i]);
        }
    }
}

TC_TEST(test_date_edges_are_written)
{
    TC_CHECK(is_written(784111777, "Sun, 06 Nov 1994 08:49:37 GMT"));
    TC_CHECK(is_written(0, "Thu, 01 Jan 1970 00:00:00 GMT"));
    TC_CHECK(is_written(-1, "Wed, 31 Dec 1969 23:59:59 GMT"));
    TC_CHECK(is_written(951782400, "Tue, 29 Feb 2000 00:00:00 GMT"));
    TC_CHECK(is_written(INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT"));
    TC_CHECK(is_written(INT64_MIN, "Mon, 01 Jan 0001 00:00:00 GMT"));
}

TC_TEST(test_date_random_times_agree_with_the_c_library)
{
    struct tc_rand random;

    tc_rand_init(&random, tc_test_seed());
    for (int i = 0; i < 20000; i++) {
        char ours[TC_HTTP_DATE_BYTES];
        char theirs[TC_HTTP_DATE_BYTES + 1];
        int64_t seconds = (int64_t)(tc_rand_next(&random) % UINT64_C(250000000000));
        time_t when = (time_t)seconds;
        struct tm tm;
        tc_http_date_format(seconds, ours);
        TC_CHECK(gmtime_r(&when, &tm) != NULL);
        TC_CHECK_EQ(strftime(theirs, sizeof theirs, "%a, %d %b %Y %H:%M:%S GMT", &tm),
                    TC_HTTP_DATE_BYTES);
        TC_CHECK(memcmp(ours, theirs, TC_HTTP_DATE_BYTES) == 0);
        int64_t back;
        TC_CHECK_EQ(tc_http_date_parse(ours, TC_HTTP_DATE_BYTES, 0, &back), 0);
        TC_CHECK_EQ(back, seconds);
    }
}
