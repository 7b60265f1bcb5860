/* tests/fuzz/fuzz.h — what the fuzz targets share: a check that ends the program, a copy of exact
 * size.
 *
 * Each target is one function over libFuzzer's bytes. It reads the input at once and in two pieces
 * and by other means that must agree, so that it finds wrong answers as well as crashes. The copies
 * are malloc'd to size: AddressSanitizer sees the first byte read beyond them.
 */
#ifndef TC_TESTS_FUZZ_H
#define TC_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_CHECK(condition) ((condition) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #condition))

static inline void fuzz_fail(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
    abort();
}

/* Owned by the caller: free(). */
static inline char *fuzz_copy(const char *bytes, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);

    FUZZ_CHECK(copy != NULL);
    if (len > 0) {
        memcpy(copy, bytes, len);
    }
    return copy;
}

static inline uint64_t fuzz_digest(uint64_t digest, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;

    for (size_t i = 0; i < len; i++) {
        digest = (digest ^ at[i]) * UINT64_C(1099511628211);
    }
    return digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
