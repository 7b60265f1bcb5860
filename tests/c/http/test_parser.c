#include "base/rand.h"
#include "support.h"

/* ---- helpers ------------------------------------------------------------------------------ */

static struct tc_http_request request;

static ssize_t parse(const char *text)
{
    size_t len = strlen(text);

    return tc_http_parse(&request, at_edge(text, len), len, &tc_http_default_limits, NULL);
}

static bool span_is(const char *buf, struct tc_http_span span, const char *text)
{
    return span.len == strlen(text) && memcmp(buf + span.at, text, span.len) == 0;
}

static bool value_is(const char *buf, enum tc_http_field field, const char *text)
{
    const struct tc_http_field_line *line = tc_http_request_field(&request, field);

    return line != NULL && span_is(buf, line->value, text);
}

/* ---- what a request says ------------------------------------------------------------------ */

TC_TEST(test_parser_request_gives_its_parts)
{
    const char *text = "POST /a/b?x=1&y HTTP/1.1\r\nhOST: example.com:80\r\nX-Other:v\r\n"
                       "Accept: \t text/html , */* \t\r\nContent-Length: 5\r\nEmpty:\r\n\r\nhello";

    TC_CHECK_EQ(parse(text), strlen(text) - 5);
    TC_CHECK_EQ(request.method, TC_HTTP_POST);
    TC_CHECK_EQ(request.minor, 1);
    TC_CHECK_EQ(request.form, TC_HTTP_ORIGIN);
    TC_CHECK(span_is(text, request.target, "/a/b?x=1&y"));
    TC_CHECK(span_is(text, request.path, "/a/b"));
    TC_CHECK(span_is(text, request.query, "x=1&y"));
    TC_CHECK(span_is(text, request.host, "example.com:80"));
    TC_CHECK_EQ(request.field_count, 5);
    TC_CHECK(value_is(text, TC_HTTP_FIELD_ACCEPT, "text/html , */*"));
    TC_CHECK(span_is(text, request.fields[1].value, "v"));
    TC_CHECK_EQ(request.fields[1].field, TC_HTTP_FIELD_OTHER);
    TC_CHECK_EQ(request.fields[4].value.len, 0);
    TC_CHECK(tc_http_request_field(&request, TC_HTTP_FIELD_COOKIE) == NULL);
    TC_CHECK_EQ(request.framing, TC_HTTP_BODY_LENGTH);
    TC_CHECK_EQ(request.content_length, 5);
    TC_CHECK(request.keep_alive);
    TC_CHECK(!request.expects_continue);
}

TC_TEST(test_parser_target_forms_are_taken_apart)
{
    const char *text = "GET HTTP://user.example:8080?q HTTP/1.1\r\nHost: other\r\n\r\n";

    TC_CHECK(parse(text) > 0);
    TC_CHECK_EQ(request.form, TC_HTTP_ABSOLUTE);
    TC_CHECK(span_is(text, request.host, "user.example:8080"));
    TC_CHECK_EQ(request.path.len, 0);
    TC_CHECK(span_is(text, request.query, "q"));

    text = "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n";
    TC_CHECK(parse(text) > 0);
    TC_CHECK_EQ(request.form, TC_HTTP_ASTERISK);
    TC_CHECK_EQ(request.path.len, 0);
    TC_CHECK(span_is(text, request.host, "h"));

    text = "CONNECT [::1]:443 HTTP/1.1\r\nHost: h\r\n\r\n";
    TC_CHECK(parse(text) > 0);
    TC_CHECK_EQ(request.form, TC_HTTP_AUTHORITY);
    TC_CHECK(span_is(text, request.host, "[::1]:443"));
}

TC_TEST(test_parser_persistence_follows_version_and_options)
{
    static const struct {
        const char *text;
        bool keep_alive;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", true},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: h\r\nConnection: foo,, CLOSE\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: h\r\nConnection: a\r\nX: y\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: h\r\nConnection: closed\r\n\r\n", true},
    };

    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        TC_CHECK(parse(cases[i].text) > 0);
        TC_CHECK_EQ(request.keep_alive, cases[i].keep_alive);
    }
    TC_CHECK(parse("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n") > 0);
    TC_CHECK(request.wants_upgrade);
    TC_CHECK(parse("GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\n\r\n") > 0);
    TC_CHECK(request.expects_continue);
    TC_CHECK(parse("GET / HTTP/1.0\r\nHost: h\r\nExpect: 100-Continue\r\n\r\n") > 0);
    TC_CHECK(!request.expects_continue);
}

/* HP3 */
TC_TEST(test_parser_second_request_is_left_alone)
{
    const char *first = "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n";
    char both[128];

    snprintf(both, sizeof both, "%s%s", first, "\1\2 anything");
    TC_CHECK_EQ(parse(both), strlen(first));
}

/* ---- limits ------------------------------------------------------------------------------- */

static ssize_t parse_limited(const char *text, struct tc_http_limits limits)
{
    size_t len = strlen(text);

    return tc_http_parse(&request, at_edge(text, len), len, &limits, NULL);
}

TC_TEST(test_parser_limits_are_met_exactly)
{
    struct tc_http_limits limits = {.line_bytes = 14, .head_bytes = 38, .fields = 2};
    const char *text = "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\nc:d\r\n\r\n";

    TC_CHECK_EQ(parse_limited(text, limits), TC_HTTP_E_TOO_MANY_FIELDS);
    limits.fields = 3;
    TC_CHECK_EQ(parse_limited(text, limits), 38);
    limits.head_bytes = 37;
    TC_CHECK_EQ(parse_limited(text, limits), TC_HTTP_E_HEAD_TOO_LARGE);
    limits.head_bytes = 38;
    limits.line_bytes = 13;
    TC_CHECK_EQ(parse_limited(text, limits), TC_HTTP_E_LINE_TOO_LONG);
    limits.head_bytes = 14; /* smaller than the line may be */
    limits.line_bytes = 100;
    TC_CHECK_EQ(parse_limited(text, limits), TC_HTTP_E_HEAD_TOO_LARGE);
}

/* ---- the corpus --------------------------------------------------------------------------- */

static bool outcomes_are_equal(const struct outcome *a, const struct outcome *b)
{
    return a->messages == b->messages && a->error == b->error && a->is_at_rest == b->is_at_rest &&
           (a->error != 0 || a->digest == b->digest);
}

static const char *verdict_of(const struct outcome *outcome)
{
    if (outcome->error != 0) {
        return tc_http_error_name(outcome->error);
    }
    return outcome->is_at_rest && outcome->messages > 0 ? "ok" : "more";
}

/* At every split point if the case is short, at about 64 of them otherwise. */
static void check_splits(const struct corpus_case *one, enum tc_http_simd simd,
                         const struct outcome *whole)
{
    uint64_t examined = 0;
    size_t stride = one->len < 2048 ? 1 : one->len / 64;

    for (size_t first = 0; first < one->len; first += stride) {
        struct outcome split = read_stream(simd, one->bytes, one->len, first, one->len, &examined);
        if (!outcomes_are_equal(whole, &split)) {
            tc_test_failf("%s: split at %zu: %s, not %s", one->name, first, verdict_of(&split),
                          verdict_of(whole));
        }
    }
    /* Byte by byte. O(n): a head is looked at about twice, and once more at the end of its first
     * line. */
    examined = 0;
    struct outcome bytewise = read_stream(simd, one->bytes, one->len, 1, 1, &examined);
    if (!outcomes_are_equal(whole, &bytewise)) {
        tc_test_failf("%s: byte by byte: %s, not %s", one->name, verdict_of(&bytewise),
                      verdict_of(whole));
    }
    TC_CHECK(examined <= 4 * one->len + 64);
}

/* HP1, HP2, HP3: each verdict is the expected one with every instruction set, at every split. */
TC_TEST(test_parser_corpus_gets_its_verdict_however_it_is_split)
{
    static struct corpus_case one;
    FILE *file = corpus_open();
    enum tc_http_simd levels[4];
    unsigned level_count = simd_levels(levels);
    unsigned cases = 0;

    while (corpus_next(file, &one)) {
        uint64_t examined = 0;
        struct outcome first;
        for (unsigned i = 0; i < level_count; i++) {
            struct outcome whole =
                read_stream(levels[i], one.bytes, one.len, one.len, one.len, &examined);
            if (strcmp(verdict_of(&whole), one.verdict) != 0) {
                tc_test_failf("%s: %s, not %s", one.name, verdict_of(&whole), one.verdict);
            }
            first = i == 0 ? whole : first;
            TC_CHECK(outcomes_are_equal(&first, &whole));
            check_splits(&one, levels[i], &whole);
        }
        cases++;
    }
    fclose(file);
    TC_CHECK(cases >= 400);
}

/* The vector forms agree with the scalar one on bytes that are nearly right. */
TC_TEST(test_parser_random_changes_give_the_same_with_every_instruction_set)
{
    static struct corpus_case one;
    struct tc_rand random;
    enum tc_http_simd levels[4];
    unsigned level_count = simd_levels(levels);
    FILE *file = corpus_open();
    uint64_t examined = 0;

    tc_rand_init(&random, tc_test_seed());
    while (corpus_next(file, &one)) {
        for (int round = 0; round < 40 && one.len > 0 && one.len < 4096; round++) {
            size_t at = tc_rand_below(&random, (uint32_t)one.len);
            char was = one.bytes[at];
            one.bytes[at] = (char)tc_rand_below(&random, 256);
            struct outcome scalar =
                read_stream(TC_HTTP_SCALAR, one.bytes, one.len, one.len, one.len, &examined);
            for (unsigned i = 1; i < level_count; i++) {
                struct outcome vector =
                    read_stream(levels[i], one.bytes, one.len, one.len, one.len, &examined);
                TC_CHECK(outcomes_are_equal(&scalar, &vector));
            }
            one.bytes[at] = round % 4 == 0 ? one.bytes[at] : was; /* some changes stay */
        }
    }
    fclose(file);
}

/* A name, a target and a value that end at each distance from the edge of the page, with each byte
 * behind them. */
TC_TEST(test_scan_every_length_and_stop_byte_agrees_with_the_table)
{
    enum tc_http_simd levels[4];
    unsigned level_count = simd_levels(levels);
    char text[256];

    for (size_t run = 1; run < 80; run++) {
        for (int stop = 0; stop < 256; stop++) {
            int n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: h\r\n");
            memset(text + n, 'a', run);
            text[(size_t)n + run] = (char)stop;
            ssize_t scalar = 0;
            for (unsigned i = 0; i < level_count; i++) {
                size_t len = (size_t)n + run + 1;
                ssize_t rc = tc_http_parse_with(levels[i], &request, at_edge(text, len), len,
                                                &tc_http_default_limits, NULL);
                scalar = i == 0 ? rc : scalar;
                TC_CHECK_EQ(rc, scalar);
            }
            bool goes_on = stop == ':' || tc_http_is((char)stop, TC_HTTP_TOKEN);
            TC_CHECK_EQ(scalar == TC_HTTP_INCOMPLETE, goes_on);
        }
    }
}
