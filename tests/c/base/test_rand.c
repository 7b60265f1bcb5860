#include "base/rand.h"

#include "harness.h"

TC_TEST(test_rand_same_seed_repeats_and_other_seed_differs)
{
    struct tc_rand a, b, c;
    int equal = 0;

    tc_rand_init(&a, tc_test_seed());
    tc_rand_init(&b, tc_test_seed());
    tc_rand_init(&c, tc_test_seed() + 1);
    for (int i = 0; i < 1000; i++) {
        uint64_t x = tc_rand_next(&a);

        TC_CHECK_EQ(x, tc_rand_next(&b));
        equal += x == tc_rand_next(&c);
    }
    TC_CHECK_EQ(equal, 0);
}

/* The published algorithms, started from a = 1, b = 2, worked out by hand for the first step. */
TC_TEST(test_rand_first_step_follows_the_published_algorithm)
{
    struct tc_rand rand = {.a = 1, .b = 2};

    TC_CHECK_EQ(tc_rand_next(&rand), (UINT64_C(3) << 17) + 1);
    TC_CHECK_EQ(rand.a, (UINT64_C(1) << 49) ^ 3 ^ (UINT64_C(3) << 21));
    TC_CHECK_EQ(rand.b, UINT64_C(3) << 28);
}

TC_TEST(test_rand_below_stays_below_and_reaches_every_value)
{
    struct tc_rand rand;
    unsigned seen[7] = {0};

    tc_rand_init(&rand, 0);
    for (int i = 0; i < 70000; i++) {
        uint32_t x = tc_rand_below(&rand, 7);

        TC_CHECK(x < 7);
        seen[x]++;
    }
    /* Expected 10000 each, standard deviation 93: ten of these are never reached by chance. */
    for (int i = 0; i < 7; i++) {
        TC_CHECK(seen[i] > 9070 && seen[i] < 10930);
    }
    TC_CHECK_EQ(tc_rand_below(&rand, 1), 0u);
    (void)tc_rand_below(&rand, UINT32_MAX);
}
