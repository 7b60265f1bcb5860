#include "http/range.h"

#include "http/chars.h"

/* Read digits. Numbers beyond the largest are the largest: they are beyond the end of any file.
 * Returns how many digits there were. */
static size_t read_number(const char *text, size_t len, uint64_t *number)
{
    size_t i = 0;

    *number = 0;
    for (; i < len && tc_http_is(text[i], TC_HTTP_DIGIT); i++) {
        unsigned digit = (unsigned)(text[i] - '0');
        *number = *number > (UINT64_MAX - digit) / 10 ? UINT64_MAX : *number * 10 + digit;
    }
    return i;
}

enum spec { SPEC_BAD, SPEC_NOTHING, SPEC_RANGE }; /* NOTHING: well formed, not satisfiable */

/* RFC 9110 14.1.2: first "-" [ last ] or "-" suffix-length. */
static enum spec read_spec(const char *text, size_t len, uint64_t size, struct tc_http_range *out)
{
    uint64_t first;
    uint64_t last;
    size_t digits = read_number(text, len, &first);

    if (digits == len || text[digits] != '-') {
        return SPEC_BAD;
    }
    const char *rest = text + digits + 1;
    size_t rest_len = len - digits - 1;
    size_t last_digits = read_number(rest, rest_len, &last);
    if (last_digits != rest_len || digits + last_digits == 0) {
        return SPEC_BAD;
    }
    if (digits == 0) {
        if (last == 0 || size == 0) {
            return SPEC_NOTHING;
        }
        out->len = last < size ? last : size;
        out->first = size - out->len;
        return SPEC_RANGE;
    }
    if (last_digits == 0) {
        last = UINT64_MAX;
    }
    if (last < first) {
        return SPEC_BAD;
    }
    if (first >= size) {
        return SPEC_NOTHING;
    }
    out->first = first;
    out->len = (last < size - 1 ? last : size - 1) - first + 1;
    return SPEC_RANGE;
}

static bool overlaps_any(const struct tc_http_range *ranges, int count,
                         const struct tc_http_range *range)
{
    for (int i = 0; i < count; i++) {
        if (range->first < ranges[i].first + ranges[i].len &&
            ranges[i].first < range->first + range->len) {
            return true;
        }
    }
    return false;
}

int tc_http_range_parse(const char *value, size_t len, uint64_t size,
                        struct tc_http_range ranges[TC_HTTP_RANGES_MAX])
{
    int count = 0;
    int specs = 0;

    if (len < 6 || !tc_http_is_word(value, 6, "bytes=", 6)) {
        return TC_HTTP_RANGE_IGNORED;
    }
    for (size_t at = 6; at < len;) {
        struct tc_http_range range;
        size_t end = at;
        while (end < len && value[end] != ',') {
            end++;
        }
        size_t next = end + 1;
        for (; at < end && (value[at] == ' ' || value[at] == '\t'); at++) {
        }
        for (; end > at && (value[end - 1] == ' ' || value[end - 1] == '\t'); end--) {
        }
        if (end != at) { /* RFC 9110 5.6.1.2: empty elements are ignored */
            enum spec spec = read_spec(value + at, end - at, size, &range);
            if (spec == SPEC_BAD || ++specs > TC_HTTP_RANGES_MAX ||
                (spec == SPEC_RANGE && overlaps_any(ranges, count, &range))) {
                return TC_HTTP_RANGE_IGNORED;
            }
            if (spec == SPEC_RANGE) {
                ranges[count++] = range;
            }
        }
        at = next;
    }
    if (specs == 0) {
        return TC_HTTP_RANGE_IGNORED;
    }
    return count > 0 ? count : TC_HTTP_RANGE_UNSATISFIABLE;
}
