/* http/scan.h — where does a run of allowed bytes end: each question in scalar and vector form.
 *
 * Three questions, by the classes of http/chars.h: tokens (method, field name), request-targets,
 * field values. A scanner looks at [at, end) and never at a byte outside of it; it returns the
 * first byte that is not of the class, or `end`. Every form gives the same answer.
 *
 * Only parser.c includes this: the functions are inlined into one parser per instruction set, which
 * is chosen at run time. Tokens use the 16 x 16 table of bits that a byte shuffle can look up: a
 * bit for the high half of the byte, in the entry of its low half.
 *
 * WHO MAY CALL: any thread; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_SCAN_H
#define TC_HTTP_SCAN_H

#include "base/defs.h"
#include "http/chars.h"

typedef const char *(*tc_http_scan_fn)(const char *at, const char *end);

struct tc_http_scanner {
    tc_http_scan_fn token;
    tc_http_scan_fn target;
    tc_http_scan_fn value;
};

/* ---- one byte at a time ------------------------------------------------------------------- */

static inline const char *tc__scan_class(const char *at, const char *end, int classes)
{
    while (at < end && tc_http_is(*at, classes)) {
        at++;
    }
    return at;
}

static inline const char *tc__scan_token(const char *at, const char *end)
{
    return tc__scan_class(at, end, TC_HTTP_TOKEN);
}

static inline const char *tc__scan_target(const char *at, const char *end)
{
    return tc__scan_class(at, end, TC_HTTP_TARGET);
}

static inline const char *tc__scan_value(const char *at, const char *end)
{
    return tc__scan_class(at, end, TC_HTTP_VALUE);
}

#if defined(__x86_64__)
#include <immintrin.h>

#define TC__SSE42 __attribute__((target("sse4.2")))
#define TC__AVX2 __attribute__((target("avx2,bmi")))

/* Entry i: bit h is set if the byte 0xhi is a tchar, h < 8. */
#define TC__TOKEN_ROWS \
    (char)0xe8, (char)0xfc, (char)0xf8, (char)0xfc, (char)0xfc, (char)0xfc, (char)0xfc, \
        (char)0xfc, (char)0xf8, (char)0xf8, (char)0xf4, 0x54, (char)0xd0, 0x54, (char)0xf4, 0x70

/* Entry h: bit h, for h < 8. */
#define TC__TOKEN_BITS 1, 2, 4, 8, 16, 32, 64, (char)128, 0, 0, 0, 0, 0, 0, 0, 0

/* ---- SSE4.2: 16 bytes --------------------------------------------------------------------- */

/* A bit for each of the 16 bytes that is none. */
TC__SSE42 static inline unsigned tc__not_token_16(__m128i bytes)
{
    const __m128i rows = _mm_setr_epi8(TC__TOKEN_ROWS);
    const __m128i bits = _mm_setr_epi8(TC__TOKEN_BITS);
    __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
    /* A shuffle gives 0 where the index is 0x80 or more. */
    __m128i hit = _mm_and_si128(_mm_shuffle_epi8(rows, bytes), _mm_shuffle_epi8(bits, high));

    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(hit, _mm_setzero_si128()));
}

TC__SSE42 static inline unsigned tc__not_target_16(__m128i bytes)
{
    __m128i is_in = _mm_and_si128(_mm_cmpgt_epi8(bytes, _mm_set1_epi8(0x20)),
                                  _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x7f)));
    __m128i hash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('#'));

    return (unsigned)_mm_movemask_epi8(_mm_andnot_si128(hash, is_in)) ^ 0xffff;
}

TC__SSE42 static inline unsigned tc__not_value_16(__m128i bytes)
{
    __m128i is_high = _mm_cmpeq_epi8(_mm_max_epu8(bytes, _mm_set1_epi8(0x20)), bytes);
    __m128i tab = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t'));
    __m128i del = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));

    return (unsigned)_mm_movemask_epi8(_mm_andnot_si128(del, _mm_or_si128(is_high, tab))) ^ 0xffff;
}

TC__SSE42 static inline const char *tc__scan_token_sse42(const char *at, const char *end)
{
    for (; end - at >= 16; at += 16) {
        unsigned none = tc__not_token_16(_mm_loadu_si128((const __m128i *)(const void *)at));
        if (none != 0) {
            return at + __builtin_ctz(none);
        }
    }
    return tc__scan_token(at, end);
}

TC__SSE42 static inline const char *tc__scan_target_sse42(const char *at, const char *end)
{
    for (; end - at >= 16; at += 16) {
        unsigned none = tc__not_target_16(_mm_loadu_si128((const __m128i *)(const void *)at));
        if (none != 0) {
            return at + __builtin_ctz(none);
        }
    }
    return tc__scan_target(at, end);
}

TC__SSE42 static inline const char *tc__scan_value_sse42(const char *at, const char *end)
{
    for (; end - at >= 16; at += 16) {
        unsigned none = tc__not_value_16(_mm_loadu_si128((const __m128i *)(const void *)at));
        if (none != 0) {
            return at + __builtin_ctz(none);
        }
    }
    return tc__scan_value(at, end);
}

/* ---- AVX2: 32 bytes ----------------------------------------------------------------------- */

/* Names are short, so tokens stay at 16. */
TC__AVX2 static inline const char *tc__scan_token_avx2(const char *at, const char *end)
{
    return tc__scan_token_sse42(at, end);
}

TC__AVX2 static inline const char *tc__scan_target_avx2(const char *at, const char *end)
{
    for (; end - at >= 32; at += 32) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)at);
        __m256i is_in = _mm256_and_si256(_mm256_cmpgt_epi8(bytes, _mm256_set1_epi8(0x20)),
                                         _mm256_cmpgt_epi8(_mm256_set1_epi8(0x7f), bytes));
        __m256i hash = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('#'));
        unsigned none = ~(unsigned)_mm256_movemask_epi8(_mm256_andnot_si256(hash, is_in));
        if (none != 0) {
            return at + __builtin_ctz(none);
        }
    }
    return tc__scan_target_sse42(at, end);
}

TC__AVX2 static inline const char *tc__scan_value_avx2(const char *at, const char *end)
{
    for (; end - at >= 32; at += 32) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)at);
        __m256i is_high = _mm256_cmpeq_epi8(_mm256_max_epu8(bytes, _mm256_set1_epi8(0x20)), bytes);
        __m256i tab = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\t'));
        __m256i del = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(0x7f));
        __m256i is_in = _mm256_andnot_si256(del, _mm256_or_si256(is_high, tab));
        unsigned none = ~(unsigned)_mm256_movemask_epi8(is_in);
        if (none != 0) {
            return at + __builtin_ctz(none);
        }
    }
    return tc__scan_value_sse42(at, end);
}

#elif defined(__aarch64__)
#include <arm_neon.h>

/* ---- NEON: 16 bytes ----------------------------------------------------------------------- */

/* Where the first byte lies that is not in (its mask byte is 0), or 16. */
static inline unsigned tc__first_out_16(uint8x16_t is_in)
{
    /* Four bits for each byte. */
    uint64_t in =
        vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(is_in), 4)), 0);

    return ~in == 0 ? 16 : (unsigned)__builtin_ctzll(~in) / 4;
}

static inline const char *tc__scan_token_neon(const char *at, const char *end)
{
    static const uint8_t rows[16] = {0xe8, 0xfc, 0xf8, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc,
                                     0xf8, 0xf8, 0xf4, 0x54, 0xd0, 0x54, 0xf4, 0x70};
    static const uint8_t bits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 0, 0, 0, 0, 0, 0, 0, 0};

    for (; end - at >= 16; at += 16) {
        uint8x16_t bytes = vld1q_u8((const uint8_t *)at);
        uint8x16_t row = vqtbl1q_u8(vld1q_u8(rows), vandq_u8(bytes, vdupq_n_u8(15)));
        uint8x16_t bit = vqtbl1q_u8(vld1q_u8(bits), vshrq_n_u8(bytes, 4));
        unsigned first = tc__first_out_16(vtstq_u8(row, bit));
        if (first != 16) {
            return at + first;
        }
    }
    return tc__scan_token(at, end);
}

static inline const char *tc__scan_target_neon(const char *at, const char *end)
{
    for (; end - at >= 16; at += 16) {
        uint8x16_t bytes = vld1q_u8((const uint8_t *)at);
        uint8x16_t is_in =
            vandq_u8(vcgtq_u8(bytes, vdupq_n_u8(0x20)), vcltq_u8(bytes, vdupq_n_u8(0x7f)));
        unsigned first = tc__first_out_16(vbicq_u8(is_in, vceqq_u8(bytes, vdupq_n_u8('#'))));
        if (first != 16) {
            return at + first;
        }
    }
    return tc__scan_target(at, end);
}

static inline const char *tc__scan_value_neon(const char *at, const char *end)
{
    for (; end - at >= 16; at += 16) {
        uint8x16_t bytes = vld1q_u8((const uint8_t *)at);
        uint8x16_t is_in =
            vorrq_u8(vcgeq_u8(bytes, vdupq_n_u8(0x20)), vceqq_u8(bytes, vdupq_n_u8('\t')));
        unsigned first = tc__first_out_16(vbicq_u8(is_in, vceqq_u8(bytes, vdupq_n_u8(0x7f))));
        if (first != 16) {
            return at + first;
        }
    }
    return tc__scan_value(at, end);
}
#endif

#endif
