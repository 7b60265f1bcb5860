/* The first byte says where the input is cut; the rest is a request head. */
#include "http/parser.h"
#include "fuzz.h"

static bool is_inside(struct tc_http_span span, size_t len)
{
    return span.at <= len && span.len <= len - span.at;
}

static void check_request(const struct tc_http_request *request, const char *buf, size_t used)
{
    FUZZ_CHECK(request->method < TC_HTTP_METHOD_COUNT && request->minor <= 1);
    FUZZ_CHECK(request->field_count <= TC_HTTP_FIELDS_MAX);
    FUZZ_CHECK((request->content_length >= 0) == (request->framing == TC_HTTP_BODY_LENGTH));
    FUZZ_CHECK(is_inside(request->target, used) && is_inside(request->path, used));
    FUZZ_CHECK(is_inside(request->query, used) && is_inside(request->host, used));
    FUZZ_CHECK(request->path.len == 0 || buf[request->path.at] == '/');
    for (uint32_t i = 0; i < request->field_count; i++) {
        const struct tc_http_field_line *line = &request->fields[i];
        FUZZ_CHECK(line->name_len > 0 && is_inside(line->value, used));
        FUZZ_CHECK((size_t)line->name_at + line->name_len < line->value.at + 1);
        FUZZ_CHECK(line->field == TC_HTTP_FIELD_OTHER || request->first[line->field] != 0);
    }
    FUZZ_CHECK(used >= 4 && memcmp(buf + used - 2, "\r\n", 2) == 0);
}

static void check_equal(const struct tc_http_request *a, const struct tc_http_request *b)
{
    FUZZ_CHECK(a->method == b->method && a->minor == b->minor && a->form == b->form);
    FUZZ_CHECK(a->framing == b->framing && a->content_length == b->content_length);
    FUZZ_CHECK(a->keep_alive == b->keep_alive && a->expects_continue == b->expects_continue);
    FUZZ_CHECK(a->field_count == b->field_count && a->repeated == b->repeated);
    FUZZ_CHECK(memcmp(&a->target, &b->target, sizeof a->target) == 0);
    FUZZ_CHECK(memcmp(&a->path, &b->path, sizeof a->path) == 0);
    FUZZ_CHECK(memcmp(&a->query, &b->query, sizeof a->query) == 0);
    FUZZ_CHECK(memcmp(&a->host, &b->host, sizeof a->host) == 0);
    FUZZ_CHECK(memcmp(a->fields, b->fields, a->field_count * sizeof a->fields[0]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tc_http_request scalar;
    static struct tc_http_request vector;
    const struct tc_http_limits *limits = &tc_http_default_limits;
    struct tc_http_hint hint = {0};

    if (size == 0) {
        return 0;
    }
    size_t len = size - 1;
    size_t cut = len * data[0] / 255;
    char *buf = fuzz_copy((const char *)data + 1, len);
    char *part = fuzz_copy(buf, cut);
    ssize_t expected = tc_http_parse_with(TC_HTTP_SCALAR, &scalar, buf, len, limits, NULL);
    FUZZ_CHECK(tc_http_parse(&vector, buf, len, limits, NULL) == expected);
    if (expected > 0) {
        check_request(&scalar, buf, (size_t)expected);
        check_equal(&scalar, &vector);
    }
    ssize_t first = tc_http_parse(&vector, part, cut, limits, &hint);
    FUZZ_CHECK(first == TC_HTTP_INCOMPLETE || first == expected);
    ssize_t second = tc_http_parse(&vector, buf, len, limits, &hint);
    /* Told now, or once the head is complete. */
    FUZZ_CHECK(second == expected || (expected < 0 && second == TC_HTTP_INCOMPLETE));
    if (expected > 0) {
        check_equal(&scalar, &vector);
    }
    free(part);
    free(buf);
    return 0;
}
