/* base/rand.h — a small seeded generator for scheduling choices and tests; not for secrets.
 *
 * xoroshiro128++ (Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators"),
 * its state filled by splitmix64 so that any seed, also 0, gives a good one.
 *
 * WHO MAY CALL: the one thread that owns the generator; no function parks.
 */
#ifndef TC_BASE_RAND_H
#define TC_BASE_RAND_H

#include "base/defs.h"

struct tc_rand {
    uint64_t a; /* never both zero, owner only */
    uint64_t b;
};

static inline uint64_t tc__rand_rotate(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

/* Advance *state by one step of splitmix64 and return its output. */
static inline uint64_t tc__rand_expand(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* The same seed gives the same numbers on every machine. */
static inline void tc_rand_init(struct tc_rand *rand, uint64_t seed)
{
    /* Two outputs of splitmix64 are never both zero: it is a permutation of a counter. */
    rand->a = tc__rand_expand(&seed);
    rand->b = tc__rand_expand(&seed);
}

/* Returns 64 random bits. */
static inline uint64_t tc_rand_next(struct tc_rand *rand)
{
    uint64_t a = rand->a;
    uint64_t b = rand->b;
    uint64_t result = tc__rand_rotate(a + b, 17) + a;

    b ^= a;
    rand->a = tc__rand_rotate(a, 49) ^ b ^ (b << 21);
    rand->b = tc__rand_rotate(b, 28);
    return result;
}

/* Returns a number in 0..n-1; n must not be 0. One multiplication instead of a division
 * (Lemire); the bias is below n / 2^32, which no use here can notice. */
static inline uint32_t tc_rand_below(struct tc_rand *rand, uint32_t n)
{
    return (uint32_t)(((tc_rand_next(rand) >> 32) * n) >> 32);
}

#endif
