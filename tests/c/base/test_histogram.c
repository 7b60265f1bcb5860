#include <stdlib.h>
#include <string.h>

#include "base/histogram.h"
#include "base/rand.h"
#include "harness.h"

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* HI1, HI2 */
TC_TEST(test_histogram_bucket_holds_its_values_and_grows_with_them)
{
    uint64_t low = 0;

    for (uint32_t i = 0; i < TC_HISTOGRAM_BUCKETS; i++) {
        uint64_t high = tc_histogram_highest(i);
        TC_CHECK(high >= low);
        TC_CHECK_EQ(tc_histogram_bucket(low), i);
        TC_CHECK_EQ(tc_histogram_bucket(high), i);
        TC_CHECK(high - low <= 63 || high - low < low / 32);
        low = high + 1;
    }
    TC_CHECK_EQ(low, UINT64_C(1) << (TC_HISTOGRAM_TOP_BIT + TC_HISTOGRAM_UNIT_BITS + 1));
    TC_CHECK_EQ(tc_histogram_bucket(low), TC_HISTOGRAM_BUCKETS - 1);
    TC_CHECK_EQ(tc_histogram_bucket(UINT64_MAX), TC_HISTOGRAM_BUCKETS - 1);
}

/* What the summary says lies between the true value and 1/32 or 64 ns above it. */
static void check_percentile(uint64_t said, const uint64_t *sorted, size_t count, unsigned permille)
{
    size_t rank = (count * permille + 999) / 1000;
    uint64_t truth = sorted[rank == 0 ? 0 : rank - 1];
    uint64_t slack = truth / 32 > 63 ? truth / 32 : 63;

    TC_CHECK(said >= truth);
    TC_CHECK(said <= truth + slack);
}

static void check_samples(struct tc_rand *rand, size_t count, unsigned bits)
{
    static struct tc_histogram parts[2];
    static struct tc_histogram sum;
    uint64_t *samples = malloc(count * sizeof *samples);
    uint64_t total = 0;

    memset(parts, 0, sizeof parts);
    memset(&sum, 0, sizeof sum);
    for (size_t i = 0; i < count; i++) {
        /* As many of each magnitude. */
        samples[i] = tc_rand_next(rand) >> (64 - bits + tc_rand_next(rand) % bits);
        total += samples[i];
        tc_histogram_add(&parts[i % 2], samples[i]);
    }
    tc_histogram_sum_up(&sum, &parts[0]);
    tc_histogram_sum_up(&sum, &parts[1]);
    qsort(samples, count, sizeof *samples, compare);
    struct tc_histogram_summary said;
    tc_histogram_summarize(&sum, &said);
    TC_CHECK_EQ(said.count, count);
    TC_CHECK_EQ(said.sum, total);
    TC_CHECK_EQ(said.max, samples[count - 1]);
    check_percentile(said.p50, samples, count, 500);
    check_percentile(said.p90, samples, count, 900);
    check_percentile(said.p99, samples, count, 990);
    check_percentile(said.p999, samples, count, 999);
    TC_CHECK(said.p999 <= said.max);
    free(samples);
}

TC_TEST(test_histogram_percentiles_agree_with_sorted_samples)
{
    static const size_t counts[] = {1, 2, 3, 10, 99, 100, 1000, 1001, 20000};
    struct tc_rand rand;

    tc_rand_init(&rand, 20261125);
    for (size_t i = 0; i < TC_ARRAY_LEN(counts); i++) {
        for (unsigned bits = 4; bits <= 40; bits += 4) {
            check_samples(&rand, counts[i], bits);
        }
    }
}

TC_TEST(test_histogram_empty_is_all_zero_and_the_largest_stays_exact)
{
    static struct tc_histogram histogram;
    struct tc_histogram_summary said;

    tc_histogram_summarize(&histogram, &said);
    TC_CHECK_EQ(said.count + said.sum + said.p50 + said.p999 + said.max, 0);
    tc_histogram_add(&histogram, UINT64_C(1) << 50);
    tc_histogram_summarize(&histogram, &said);
    TC_CHECK_EQ(said.p50, UINT64_C(1) << 50);
    TC_CHECK_EQ(said.max, UINT64_C(1) << 50);
    TC_CHECK_EQ(said.count, 1);
}
