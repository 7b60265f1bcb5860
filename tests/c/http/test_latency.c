#include <string.h>

#include "harness.h"
#include "http/latency.h"

static uint64_t count_of(const struct tc_http_latencies *latencies, uint32_t route)
{
    static struct tc_histogram sum;
    struct tc_histogram_summary summary;

    memset(&sum, 0, sizeof sum);
    bool is_any = tc_http_latency_sum_up(latencies, route, &sum);
    tc_histogram_summarize(&sum, &summary);
    TC_CHECK_EQ(is_any, summary.count != 0);
    return summary.count;
}

TC_TEST(test_latency_of_each_route_is_kept_apart)
{
    static const uint32_t routes[] = {0,
                                      63,
                                      64,
                                      TC_HTTP_ROUTES_MAX - 1,
                                      TC_HTTP_DESK_ROUTE,
                                      TC_HTTP_NO_ROUTE - 1,
                                      TC_HTTP_NO_ROUTE};
    static struct tc_http_latencies latencies;

    for (uint32_t i = 0; i < TC_ARRAY_LEN(routes); i++) {
        for (uint32_t k = 0; k <= i; k++) {
            tc_http_latency_record(&latencies, routes[i], 1000 * (int64_t)k);
        }
    }
    for (uint32_t i = 0; i < TC_ARRAY_LEN(routes); i++) {
        TC_CHECK_EQ(count_of(&latencies, routes[i]), i + 1);
    }
    TC_CHECK_EQ(count_of(&latencies, 1), 0);
    TC_CHECK_EQ(count_of(&latencies, 1000), 0);
    tc_http_latency_fini(&latencies);
}

TC_TEST(test_latency_patterns_beyond_the_table_count_as_no_route)
{
    TC_CHECK_EQ(tc_http_desk_route(0), TC_HTTP_DESK_ROUTE);
    TC_CHECK_EQ(tc_http_desk_route(TC_HTTP_ROUTES_MAX - 1), TC_HTTP_NO_ROUTE - 1);
    TC_CHECK_EQ(tc_http_desk_route(TC_HTTP_ROUTES_MAX), TC_HTTP_NO_ROUTE);
    TC_CHECK_EQ(tc_http_desk_route(UINT32_MAX), TC_HTTP_NO_ROUTE);
}

TC_TEST(test_latency_below_zero_counts_as_none)
{
    static struct tc_http_latencies latencies;

    tc_http_latency_record(&latencies, 0, -1);
    TC_CHECK_EQ(count_of(&latencies, 0), 1);
    tc_http_latency_fini(&latencies);
}
