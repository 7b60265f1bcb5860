/* tests/c/http/support.h — buffers that end where the next page is missing, the corpus, and
 * what is to be in an answer. */
#ifndef TC_TESTS_HTTP_SUPPORT_H
#define TC_TESTS_HTTP_SUPPORT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"
#include "http/chunked.h"
#include "http/parser.h"

enum { EDGE_BYTES = 128 * 1024, CASE_BYTES = 64 * 1024 };

/* The last byte of a mapping: to read one byte more is to die. */
static inline char *edge_end(void)
{
    static char *end;

    if (end == NULL) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        char *map = mmap(NULL, EDGE_BYTES + page, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        TC_CHECK(map != MAP_FAILED);
        TC_CHECK_EQ(mprotect(map + EDGE_BYTES, page, PROT_NONE), 0);
        end = map + EDGE_BYTES;
    }
    return end;
}

/* Copy `len` bytes to the end of the page. */
static inline char *at_edge(const char *bytes, size_t len)
{
    TC_CHECK(len <= EDGE_BYTES);
    char *copy = edge_end() - len;
    memmove(copy, bytes, len);
    return copy;
}

/* Every parser that this processor can run. */
static inline unsigned simd_levels(enum tc_http_simd levels[4])
{
    unsigned count = 0;

    levels[count++] = TC_HTTP_SCALAR;
#if defined(__x86_64__)
    if (tc_http_best_simd() != TC_HTTP_SCALAR) {
        levels[count++] = TC_HTTP_SSE42;
    }
    if (tc_http_best_simd() == TC_HTTP_AVX2) {
        levels[count++] = TC_HTTP_AVX2;
    }
#else
    levels[count++] = TC_HTTP_NEON;
#endif
    return count;
}

/* ---- answers ------------------------------------------------------------------------------ */

static inline void check_heard(const char *heard, const char *const *parts)
{
    const char *at = heard;

    for (; *parts != NULL; parts++) {
        at = strstr(at, *parts);
        if (at == NULL) {
            tc_test_failf("no '%s' in its place in: %s", *parts, heard);
        }
        at += strlen(*parts);
    }
}

#define CHECK_HEARD(heard, ...) check_heard(heard, (const char *const[]){__VA_ARGS__, NULL})

/* ---- a stream of requests ----------------------------------------------------------------- */

/* What came out of a stream: how many messages, how it ends, and a digest of everything read. */
struct outcome {
    unsigned messages;
    int error; /* 0, or the error that ended it */
    bool is_at_rest; /* no message has begun and not ended */
    uint64_t digest;
};

/* Reads a stream that arrives in pieces. `buf` holds what has arrived and is not consumed. */
struct reader {
    enum tc_http_simd simd;
    struct outcome outcome;
    struct tc_http_hint hint;
    struct tc_chunked chunked;
    bool in_body;
    bool is_chunked;
    int64_t body_left;
    struct tc_http_request request;
};

static inline void digest_bytes(struct outcome *outcome, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        outcome->digest = (outcome->digest ^ (unsigned char)bytes[i]) * UINT64_C(1099511628211);
    }
}

static inline void digest_span(struct outcome *outcome, const char *buf, struct tc_http_span span)
{
    digest_bytes(outcome, buf + span.at, span.len);
    digest_bytes(outcome, "|", 1);
}

static inline void digest_head(struct reader *reader, const char *buf)
{
    struct tc_http_request *request = &reader->request;
    struct outcome *outcome = &reader->outcome;
    const char facts[] = {(char)request->method,       (char)request->minor,
                          (char)request->form,         (char)request->framing,
                          (char)request->keep_alive,   (char)request->expects_continue,
                          (char)request->wants_upgrade};

    digest_bytes(outcome, facts, sizeof facts);
    digest_span(outcome, buf, request->target);
    digest_span(outcome, buf, request->path);
    digest_span(outcome, buf, request->query);
    digest_span(outcome, buf, request->host);
    for (uint32_t i = 0; i < request->field_count; i++) {
        struct tc_http_field_line *line = &request->fields[i];
        char field = (char)line->field;
        digest_bytes(outcome, &field, 1);
        digest_span(outcome, buf, (struct tc_http_span){line->name_at, line->name_len});
        digest_span(outcome, buf, line->value);
    }
}

/* Take a part of the body. Returns the bytes used; 0: no more can be done. */
static inline size_t read_body(struct reader *reader, const char *buf, size_t len)
{
    struct tc_chunked_data data;
    size_t used = 0;

    if (reader->is_chunked) {
        int event = tc_chunked_next(&reader->chunked, buf, len, &used, &data);
        if (event < 0) {
            reader->outcome.error = event;
        } else if (event == TC_CHUNKED_DATA) {
            digest_bytes(&reader->outcome, data.at, data.len);
        }
        reader->in_body = event != TC_CHUNKED_END;
        return used;
    }
    used = (uint64_t)reader->body_left < len ? (size_t)reader->body_left : len;
    digest_bytes(&reader->outcome, buf, used);
    reader->body_left -= (int64_t)used;
    reader->in_body = reader->body_left > 0;
    return used;
}

/* Take what there is of `len` bytes. Returns the bytes consumed. */
static inline size_t reader_feed(struct reader *reader, const char *buf, size_t len)
{
    size_t at = 0;

    while (reader->outcome.error == 0 && at < len) {
        if (reader->in_body) {
            at += read_body(reader, buf + at, len - at);
            continue;
        }
        ssize_t n = tc_http_parse_with(reader->simd, &reader->request, buf + at, len - at,
                                       &tc_http_default_limits, &reader->hint);
        if (n <= 0) {
            reader->outcome.error = (int)n;
            break;
        }
        digest_head(reader, buf + at);
        reader->hint = (struct tc_http_hint){0};
        reader->chunked = (struct tc_chunked){0};
        reader->outcome.messages++;
        reader->is_chunked = reader->request.framing == TC_HTTP_BODY_CHUNKED;
        reader->body_left = reader->request.content_length;
        reader->in_body = reader->is_chunked || reader->body_left > 0;
        at += (size_t)n;
    }
    reader->outcome.is_at_rest = !reader->in_body && at == len && reader->outcome.error == 0;
    return at;
}

/* Read a stream that arrives in the pieces [0, first), then `step` bytes at a time; each time, what
 * is left lies at the edge of a page. Adds what the hint counted to *examined. */
static inline struct outcome read_stream(enum tc_http_simd simd, const char *bytes, size_t len,
                                         size_t first, size_t step, uint64_t *examined)
{
    struct reader reader = {.simd = simd};
    size_t done = 0;

    for (size_t arrived = first < len ? first : len;;
         arrived += arrived + step > len ? len - arrived : step) {
        const char *buf = at_edge(bytes + done, arrived - done);
        uint32_t before = reader.hint.examined;
        done += reader_feed(&reader, buf, arrived - done);
        *examined += reader.hint.examined > before ? reader.hint.examined - before : 0;
        if (arrived == len || reader.outcome.error != 0) {
            return reader.outcome;
        }
    }
}

/* ---- the corpus --------------------------------------------------------------------------- */

struct corpus_case {
    char name[128];
    char verdict[32]; /* "ok", "more", or the name of an error */
    char bytes[CASE_BYTES];
    size_t len;
};

/* Copies text with its escapes resolved: \r \n \t \\ \" \xHH, and \*N{text} for N copies of text.
 * Returns the text behind it. */
static inline const char *unescape(const char *text, char end, struct corpus_case *out)
{
    while (*text != end && *text != '\0' && *text != '\n') {
        TC_CHECK(out->len < CASE_BYTES);
        if (*text != '\\') {
            out->bytes[out->len++] = *text++;
            continue;
        }
        text++;
        if (*text == '*') {
            char *open;
            long copies = strtol(text + 1, &open, 10);
            size_t from = out->len;
            text = unescape(open + 1, '}', out) + 1;
            size_t n = out->len - from;
            TC_CHECK(out->len + n * (size_t)copies <= CASE_BYTES);
            for (long i = 1; i < copies; i++) {
                memcpy(out->bytes + out->len, out->bytes + from, n);
                out->len += n;
            }
            continue;
        }
        if (*text == 'x') {
            char digits[3] = {text[1], text[2], '\0'};
            out->bytes[out->len++] = (char)strtol(digits, NULL, 16);
            text += 3;
            continue;
        }
        char c = *text++;
        out->bytes[out->len++] = c == 'r' ? '\r' : c == 'n' ? '\n' : c == 't' ? '\t' : c;
    }
    return text;
}

/* Reads the next case: NAME VERDICT BYTES on one line; '#' begins a comment. */
static inline bool corpus_next(FILE *file, struct corpus_case *out)
{
    static char line[CASE_BYTES];
    int at;

    while (fgets(line, sizeof line, file) != NULL) {
        if (line[0] == '#' || line[0] == '\n') {
            continue;
        }
        out->len = 0;
        TC_CHECK_EQ(sscanf(line, "%127s %31s %n", out->name, out->verdict, &at), 2);
        unescape(line + at, '\0', out);
        return true;
    }
    return false;
}

static inline FILE *corpus_open(void)
{
    FILE *file = fopen(TC_TEST_HTTP "/requests.txt", "r");

    TC_CHECK(file != NULL);
    return file;
}

#endif
