/* The first eight bytes are a size, the rest is the value of a Range field, and a date. */
#include "http/range.h"
#include "fuzz.h"
#include "http/date.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_http_range ranges[TC_HTTP_RANGES_MAX];
    uint64_t whole;
    int64_t seconds;

    if (size < sizeof whole) {
        return 0;
    }
    memcpy(&whole, data, sizeof whole);
    size_t len = size - sizeof whole;
    char *value = fuzz_copy((const char *)data + sizeof whole, len);
    int count = tc_http_range_parse(value, len, whole, ranges);
    FUZZ_CHECK(count >= TC_HTTP_RANGE_UNSATISFIABLE && count <= TC_HTTP_RANGES_MAX);
    for (int i = 0; i < count; i++) {
        FUZZ_CHECK(ranges[i].len > 0 && ranges[i].first < whole);
        FUZZ_CHECK(ranges[i].len <= whole - ranges[i].first);
        for (int k = 0; k < i; k++) {
            FUZZ_CHECK(ranges[k].first > ranges[i].first + (ranges[i].len - 1) ||
                       ranges[i].first > ranges[k].first + (ranges[k].len - 1));
        }
    }
    if (tc_http_date_parse(value, len, 1700000000, &seconds) == 0) {
        char text[TC_HTTP_DATE_BYTES];
        int64_t again = 0;
        tc_http_date_format(seconds, text);
        FUZZ_CHECK(seconds < -62135596800 ||
                   tc_http_date_parse(text, sizeof text, 1700000000, &again) == 0);
        FUZZ_CHECK(seconds < -62135596800 || again == seconds);
    }
    free(value);
    return 0;
}
