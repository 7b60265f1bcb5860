/* The first byte says where the input is cut; the rest is a chunked body and what follows. */
#include "http/chunked.h"
#include "fuzz.h"

struct result {
    int event;
    size_t used;
    uint64_t digest;
    uint64_t bytes;
};

static void decode(struct tc_chunked *chunked, const char *bytes, size_t len, struct result *result)
{
    char *buf = fuzz_copy(bytes, len);
    size_t at = 0;

    do {
        struct tc_chunked_data data = {NULL, 0};
        size_t used = SIZE_MAX;
        result->event = tc_chunked_next(chunked, buf + at, len - at, &used, &data);
        FUZZ_CHECK(used <= len - at);
        if (result->event == TC_CHUNKED_DATA) {
            FUZZ_CHECK(data.len > 0 && data.at >= buf + at &&
                       data.at + data.len == buf + at + used);
            result->digest = fuzz_digest(result->digest, data.at, data.len);
            result->bytes += data.len;
        }
        at += used;
    } while (result->event == TC_CHUNKED_DATA);
    FUZZ_CHECK(result->event != TC_CHUNKED_MORE || at == len);
    result->used += at;
    free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_chunked once = {0};
    struct tc_chunked twice = {0};
    struct result whole = {0};
    struct result split = {0};

    if (size == 0) {
        return 0;
    }
    const char *bytes = (const char *)data + 1;
    size_t len = size - 1;
    size_t cut = len * data[0] / 255;
    decode(&once, bytes, len, &whole);
    decode(&twice, bytes, cut, &split);
    if (split.event == TC_CHUNKED_MORE) {
        decode(&twice, bytes + cut, len - cut, &split);
    }
    FUZZ_CHECK(whole.event == split.event && whole.used == split.used);
    FUZZ_CHECK(whole.digest == split.digest && whole.bytes == split.bytes);
    FUZZ_CHECK(whole.event != TC_CHUNKED_END || memcmp(bytes + whole.used - 2, "\r\n", 2) == 0);
    return 0;
}
