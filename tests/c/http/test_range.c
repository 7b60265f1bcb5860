#include "http/range.h"
#include "support.h"

static struct tc_http_range ranges[TC_HTTP_RANGES_MAX];

static int parse(const char *value, uint64_t size)
{
    size_t len = strlen(value);

    return tc_http_range_parse(at_edge(value, len), len, size, ranges);
}

TC_TEST(test_range_forms_are_resolved_against_the_size)
{
    static const struct {
        const char *value;
        uint64_t first;
        uint64_t len;
    } cases[] = {
        {"bytes=0-0", 0, 1},
        {"bytes=0-499", 0, 100},
        {"bytes=10-19", 10, 10},
        {"bytes=99-", 99, 1},
        {"bytes=0-", 0, 100},
        {"bytes=-1", 99, 1},
        {"bytes=-500", 0, 100},
        {"Bytes=5-5", 5, 1},
        {"bytes= 5-5 ,", 5, 1},
        {"bytes=,,5-5", 5, 1},
        {"bytes=5-5,200-300", 5, 1},
        {"bytes=0-99999999999999999999999", 0, 100},
        {"bytes=-99999999999999999999999", 0, 100},
        {"bytes=0-18446744073709551615", 0, 100},
    };

    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        if (parse(cases[i].value, 100) != 1) {
            tc_test_failf("%s", cases[i].value);
        }
        TC_CHECK_EQ(ranges[0].first, cases[i].first);
        TC_CHECK_EQ(ranges[0].len, cases[i].len);
    }
}

TC_TEST(test_range_several_come_in_the_order_asked_for)
{
    TC_CHECK_EQ(parse("bytes=50-59, 0-9,-5", 100), 3);
    TC_CHECK_EQ(ranges[0].first, 50);
    TC_CHECK_EQ(ranges[1].first, 0);
    TC_CHECK_EQ(ranges[2].first, 95);
    TC_CHECK_EQ(parse("bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,9-9,a", 100), 0);
    TC_CHECK_EQ(parse("bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18,20-20,22-22,24-24,"
                      "26-26,28-28,30-30",
                      100),
                TC_HTTP_RANGES_MAX);
}

TC_TEST(test_range_that_need_not_be_honoured_is_ignored)
{
    static const char *const cases[] = {
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "items=0-1",
        "bytes=a-b",
        "bytes=5",
        "bytes=5-4",
        "bytes=-",
        "bytes=--5",
        "bytes=5--6",
        "bytes=0-1-2",
        "bytes=0x1-",
        "bytes=0 -1",
        "bytes=1-2;3",
        "bytes=+1-2",
        "bytes =0-1",
        "bytes=0-1 2-3",
        "bytes=0-9,5-14",
        "bytes=0-,0-",
        "bytes=0-0,-100",
        "bytes=0-0,0-0",
        "bytes=1-2,x",
        "bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,9-9,10-10,11-11,12-12,13-13,14-14,15-15,16-16",
    };

    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        if (parse(cases[i], 100) != TC_HTTP_RANGE_IGNORED) {
            tc_test_failf("%s", cases[i]);
        }
    }
}

TC_TEST(test_range_behind_the_end_is_unsatisfiable)
{
    TC_CHECK_EQ(parse("bytes=100-", 100), TC_HTTP_RANGE_UNSATISFIABLE);
    TC_CHECK_EQ(parse("bytes=100-200,300-", 100), TC_HTTP_RANGE_UNSATISFIABLE);
    TC_CHECK_EQ(parse("bytes=-0", 100), TC_HTTP_RANGE_UNSATISFIABLE);
    TC_CHECK_EQ(parse("bytes=0-", 0), TC_HTTP_RANGE_UNSATISFIABLE);
    TC_CHECK_EQ(parse("bytes=-5", 0), TC_HTTP_RANGE_UNSATISFIABLE);
}

TC_TEST(test_range_of_the_largest_size_does_not_overflow)
{
    TC_CHECK_EQ(parse("bytes=0-", UINT64_MAX), 1);
    TC_CHECK_EQ(ranges[0].len, UINT64_MAX);
    TC_CHECK_EQ(parse("bytes=18446744073709551614-,0-0", UINT64_MAX), 2);
    TC_CHECK_EQ(ranges[0].len, 1);
}
