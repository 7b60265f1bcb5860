#include "support.h"

/* What a body gives, read in pieces of `step` bytes: data, event or error, and how much was
 * used. */
struct result {
    char data[256];
    size_t len;
    int event;
    size_t used;
};

static struct result decode(const char *text, size_t len, size_t step)
{
    struct tc_chunked chunked = {0};
    struct result result = {.event = TC_CHUNKED_MORE};

    for (size_t at = 0; at < len && result.event == TC_CHUNKED_MORE; at += step) {
        size_t n = len - at < step ? len - at : step;
        const char *buf = at_edge(text + at, n);
        size_t done = 0;
        do {
            struct tc_chunked_data data = {NULL, 0};
            size_t used;
            result.event = tc_chunked_next(&chunked, buf + done, n - done, &used, &data);
            if (result.event == TC_CHUNKED_DATA) {
                TC_CHECK(data.at >= buf + done && data.at + data.len == buf + done + used);
                TC_CHECK(result.len + data.len <= sizeof result.data);
                memcpy(result.data + result.len, data.at, data.len);
                result.len += data.len;
            }
            done += used;
        } while (result.event == TC_CHUNKED_DATA);
        TC_CHECK(result.event != TC_CHUNKED_MORE || done == n);
        result.used += done;
    }
    return result;
}

/* HC1, HC2 */
TC_TEST(test_chunked_body_ends_before_what_follows_at_every_step)
{
    const char *body = "5\r\nhello\r\n006;a=\"b;\\\"c\"\r\n world\r\n0\r\nTrailer: x\r\n\r\n";
    char text[256];

    int len = snprintf(text, sizeof text, "%s%s", body, "GET / HTTP/1.1\r\n");
    for (size_t step = 1; step <= (size_t)len; step++) {
        struct result result = decode(text, (size_t)len, step);
        TC_CHECK_EQ(result.event, TC_CHUNKED_END);
        TC_CHECK_EQ(result.used, strlen(body));
        TC_CHECK_EQ(result.len, 11);
        TC_CHECK(memcmp(result.data, "hello world", 11) == 0);
    }
}

TC_TEST(test_chunked_after_the_end_nothing_is_used)
{
    struct tc_chunked chunked = {0};
    struct tc_chunked_data data;
    size_t used = 99;

    TC_CHECK_EQ(tc_chunked_next(&chunked, "0\r\n\r\nX", 6, &used, &data), TC_CHUNKED_END);
    TC_CHECK_EQ(used, 5);
    TC_CHECK_EQ(tc_chunked_next(&chunked, "X", 1, &used, &data), TC_CHUNKED_END);
    TC_CHECK_EQ(used, 0);
    TC_CHECK_EQ(tc_chunked_next(&chunked, "", 0, &used, &data), TC_CHUNKED_END);
}

TC_TEST(test_chunked_error_stops_at_the_byte_that_is_wrong)
{
    struct result result = decode("3\r\nabcX", 7, 7);

    TC_CHECK_EQ(result.event, TC_HTTP_E_CHUNK_END);
    TC_CHECK_EQ(result.used, 6);
    TC_CHECK_EQ(result.len, 3);
    TC_CHECK_EQ(decode("7fffffffffffffff\r\n", 18, 1).event, TC_CHUNKED_MORE);
    TC_CHECK_EQ(decode("8000000000000000\r\n", 18, 1).event, TC_HTTP_E_CHUNK_SIZE);
}

/* HC1: whatever stands at any place of a body, it is judged alike in one piece and byte by byte. */
TC_TEST(test_chunked_every_change_of_one_byte_is_judged_alike_at_every_split)
{
    const char *body = "a;n=\"q\"\r\n0123456789\r\n0;x\r\nT: v\r\n\r\n";
    size_t len = strlen(body);
    char text[64];

    for (size_t i = 0; i < len; i++) {
        for (int c = 0; c < 256; c++) {
            memcpy(text, body, len);
            text[i] = (char)c;
            struct result whole = decode(text, len, len);
            struct result bytes = decode(text, len, 1);
            TC_CHECK_EQ(whole.event, bytes.event);
            TC_CHECK_EQ(whole.used, bytes.used);
            TC_CHECK_EQ(whole.len, bytes.len);
            TC_CHECK(memcmp(whole.data, bytes.data, whole.len) == 0);
        }
    }
}
