/* base/histogram.h — how often which value: a log-linear histogram of nanoseconds, for one writer.
 *
 * The idea is HDR histogram's: within each power of two as many buckets of equal width as give the
 * precision that is wanted, so that a bucket is found by counting zeros and the relative error is
 * the same everywhere. Here 32 a power of two, from 64 ns on: what a percentile says is at most
 * 1/32, or 64 ns, above the true value, and never below it. One add to a bucket, one to the sum,
 * one look at the maximum; no read-modify-write, so one writer only. To look at several writers,
 * sum them up.
 *
 *   value in units of 64 ns   bucket
 *   0 to 63                   the value itself
 *   2^n to 2^(n+1) - 1        32 of them, n from 6 to 35
 *   more (above 73 minutes)   the last one; sum and max stay exact
 *
 * INVARIANTS
 *  HI1  A value lies in the bucket tc_histogram_bucket(value), not above its
 *       tc_histogram_highest().
 *  HI2  Buckets grow with their values.
 *
 *                add   sum_up of it     -  safe together
 *   add           X         -           X  caller must exclude
 *   sum_up into   X         X
 */
#ifndef TC_BASE_HISTOGRAM_H
#define TC_BASE_HISTOGRAM_H

#include <stdint.h>

#include "base/atomic.h"

enum {
    TC_HISTOGRAM_UNIT_BITS = 6, /* values are counted in 64 ns */
    TC_HISTOGRAM_SUB_BITS = 5, /* 32 buckets a power of two */
    TC_HISTOGRAM_TOP_BIT = 35, /* of the largest value, in units */
    TC_HISTOGRAM_BUCKETS = (TC_HISTOGRAM_TOP_BIT - TC_HISTOGRAM_SUB_BITS + 2)
        << TC_HISTOGRAM_SUB_BITS,
};

/* All zero at first. */
struct tc_histogram {
    _Atomic uint64_t sum; /* like all of it: its writer adds, anyone reads */
    _Atomic uint64_t max;
    _Atomic uint64_t buckets[TC_HISTOGRAM_BUCKETS];
};

/* What somebody wants to know. */
struct tc_histogram_summary {
    uint64_t count;
    uint64_t sum; /* ns, like the rest; all 0 if the count is */
    uint64_t p50; /* half of the values are not above it; and so on */
    uint64_t p90;
    uint64_t p99;
    uint64_t p999;
    uint64_t max;
};

/* HI1. Parks: never   Threads: any */
static inline uint32_t tc_histogram_bucket(uint64_t value)
{
    uint64_t units = value >> TC_HISTOGRAM_UNIT_BITS;

    if (units < (UINT64_C(2) << TC_HISTOGRAM_SUB_BITS)) {
        return (uint32_t)units;
    }
    if (units >> TC_HISTOGRAM_TOP_BIT > 1) {
        return TC_HISTOGRAM_BUCKETS - 1;
    }
    uint32_t shift = 63U - (uint32_t)__builtin_clzll(units) - TC_HISTOGRAM_SUB_BITS;
    return (shift << TC_HISTOGRAM_SUB_BITS) + (uint32_t)(units >> shift);
}

/* The largest value of a bucket; the last one has larger ones, too. Parks: never   Threads: any */
uint64_t tc_histogram_highest(uint32_t bucket);

/* Count a value. Parks: never   Threads: the writer */
static inline void tc_histogram_add(struct tc_histogram *histogram, uint64_t value)
{
    tc_counter_add(&histogram->buckets[tc_histogram_bucket(value)], 1);
    tc_counter_add(&histogram->sum, value);
    if (value > tc_load_relaxed(&histogram->max)) { /* relaxed: our own */
        tc_store_relaxed(&histogram->max, value); /* relaxed: a number of its own */
    }
}

/* Add what `from` has counted so far, perhaps without what is just being added.
 * Parks: never   Threads: any; `into` is the caller's */
void tc_histogram_sum_up(struct tc_histogram *into, const struct tc_histogram *from);

/* Parks: never   Threads: any */
void tc_histogram_summarize(const struct tc_histogram *histogram, struct tc_histogram_summary *out);

#endif
