#include "base/histogram.h"

#include <string.h>

uint64_t tc_histogram_highest(uint32_t bucket)
{
    const uint32_t subs = 1U << TC_HISTOGRAM_SUB_BITS;
    uint32_t shift = bucket < 2 * subs ? 0 : (bucket >> TC_HISTOGRAM_SUB_BITS) - 1;
    uint64_t units = bucket - ((uint64_t)shift << TC_HISTOGRAM_SUB_BITS);

    return ((units + 1) << (shift + TC_HISTOGRAM_UNIT_BITS)) - 1;
}

void tc_histogram_sum_up(struct tc_histogram *into, const struct tc_histogram *from)
{
    uint64_t max = tc_load_relaxed(&from->max); /* relaxed: numbers of their own, as all here */

    for (uint32_t i = 0; i < TC_HISTOGRAM_BUCKETS; i++) {
        tc_counter_add(&into->buckets[i], tc_load_relaxed(&from->buckets[i])); /* relaxed: above */
    }
    tc_counter_add(&into->sum, tc_load_relaxed(&from->sum)); /* relaxed: see above */
    if (max > tc_load_relaxed(&into->max)) { /* relaxed: see above */
        tc_store_relaxed(&into->max, max); /* relaxed: see above */
    }
}

/* The value that `permille` of `count` values are not above; `max` if the bucket reaches beyond
 * it. */
static uint64_t percentile(const struct tc_histogram *histogram, uint64_t count, uint64_t max,
                           unsigned permille)
{
    uint64_t rank = count / 1000 * permille + (count % 1000 * permille + 999) / 1000;
    uint64_t seen = 0;

    for (uint32_t i = 0; i < TC_HISTOGRAM_BUCKETS - 1; i++) {
        seen += tc_load_relaxed(&histogram->buckets[i]); /* relaxed: see tc_histogram_sum_up */
        if (seen >= rank) {
            uint64_t highest = tc_histogram_highest(i);
            return highest < max ? highest : max;
        }
    }
    return max;
}

void tc_histogram_summarize(const struct tc_histogram *histogram, struct tc_histogram_summary *out)
{
    uint64_t count = 0;

    for (uint32_t i = 0; i < TC_HISTOGRAM_BUCKETS; i++) {
        count += tc_load_relaxed(&histogram->buckets[i]); /* relaxed: see tc_histogram_sum_up */
    }
    memset(out, 0, sizeof *out);
    if (count == 0) {
        return;
    }
    uint64_t max = tc_load_relaxed(&histogram->max); /* relaxed: see tc_histogram_sum_up */
    *out = (struct tc_histogram_summary){
        .count = count,
        .sum = tc_load_relaxed(&histogram->sum), /* relaxed: see tc_histogram_sum_up */
        .p50 = percentile(histogram, count, max, 500),
        .p90 = percentile(histogram, count, max, 900),
        .p99 = percentile(histogram, count, max, 990),
        .p999 = percentile(histogram, count, max, 999),
        .max = max,
    };
}
