#include "http/parser.h"

#include "base/assert.h"
#include "http/scan.h"

const struct tc_http_limits tc_http_default_limits = {
    .line_bytes = TC_HTTP_LINE_BYTES,
    .head_bytes = TC_HTTP_HEAD_BYTES,
    .fields = TC_HTTP_FIELDS_MAX,
};

_Static_assert(TC_HTTP_FIELDS_MAX < 255, "tc_http_request.first holds 1 + index in a byte");
_Static_assert(TC_HTTP_FIELD_COUNT <= 64, "tc_http_request.repeated has a bit for each field");

/* The window that is parsed ends where the bytes end or where a limit is reached, whatever comes
 * first: so a limit is found at the same place however the bytes were split (HP1). */
struct window {
    const char *end;
    bool is_cut; /* a message that is incomplete here is too long, ... */
    int too_long; /* ... which is this error */
};

static TC_ALWAYS_INLINE int run_out(const struct window *window)
{
    return window->is_cut ? window->too_long : TC_HTTP_INCOMPLETE;
}

static TC_ALWAYS_INLINE struct window window_of(const char *buf, size_t len, size_t limit,
                                                int too_long)
{
    return (struct window){buf + (len < limit ? len : limit), len >= limit, too_long};
}

/* At the end of a line: returns 2, the length of CRLF, or what is wrong. */
static TC_ALWAYS_INLINE int read_crlf(const struct window *window, const char *at, int otherwise)
{
    if (tc_likely(window->end - at >= 2 && at[0] == '\r' && at[1] == '\n')) {
        return 2;
    }
    if (at == window->end || (*at == '\r' && at + 1 == window->end)) {
        return run_out(window);
    }
    if (*at == '\r') {
        return TC_HTTP_E_BARE_CR;
    }
    return *at == '\n' ? TC_HTTP_E_BARE_LF : otherwise;
}

/* ---- request line ------------------------------------------------------------------------- */

/* Returns the length of method and space. */
static TC_ALWAYS_INLINE int read_method(struct tc_http_request *request,
                                        const struct window *window, const char *at,
                                        const struct tc_http_scanner *scan)
{
    const char *end = scan->token(at, window->end);
    size_t len = (size_t)(end - at);

    if (tc_unlikely(len > TC_HTTP_METHOD_LONGEST)) {
        return TC_HTTP_E_METHOD_UNKNOWN;
    }
    if (tc_unlikely(end == window->end)) {
        return run_out(window);
    }
    if (tc_unlikely(*end != ' ' || len == 0)) {
        return TC_HTTP_E_METHOD_INVALID;
    }
    if (tc_likely(len == 3 && memcmp(at, "GET", 3) == 0)) {
        request->method = TC_HTTP_GET;
        return 4;
    }
    request->method = (uint8_t)tc_http_method_find(at, len);
    if (tc_unlikely(request->method == TC_HTTP_METHOD_COUNT)) {
        return TC_HTTP_E_METHOD_UNKNOWN;
    }
    return (int)len + 1;
}

/* The long way: any version, or a part of one. Returns its length, 8. */
static int read_other_version(struct tc_http_request *request, const struct window *window,
                              const char *at)
{
    static const char pattern[8] = {'H', 'T', 'T', 'P', '/', '1', '.', '1'}; /* 1: any digit */

    for (size_t i = 0; i < sizeof pattern; i++) {
        if (at + i == window->end) {
            return run_out(window);
        }
        if (pattern[i] == '1' ? !tc_http_is(at[i], TC_HTTP_DIGIT) : at[i] != pattern[i]) {
            return TC_HTTP_E_VERSION_INVALID;
        }
    }
    if (at[5] != '1' || (at[7] != '0' && at[7] != '1')) {
        return TC_HTTP_E_VERSION_UNSUPPORTED;
    }
    request->minor = (uint8_t)(at[7] - '0');
    return sizeof pattern;
}

/* Returns the length of version and CRLF. */
static TC_ALWAYS_INLINE int read_version(struct tc_http_request *request,
                                         const struct window *window, const char *at)
{
    if (tc_likely(window->end - at >= 10 && memcmp(at, "HTTP/1.1\r\n", 10) == 0)) {
        request->minor = 1;
        return 10;
    }
    int len = read_other_version(request, window, at);
    if (len <= 0) {
        return len;
    }
    int crlf = read_crlf(window, at + len, TC_HTTP_E_VERSION_INVALID);
    return crlf <= 0 ? crlf : len + crlf;
}

/* Returns the length of the line with CRLF; `start` is its offset in the buffer. */
static TC_ALWAYS_INLINE int read_request_line(struct tc_http_request *request, const char *buf,
                                              uint32_t start, const struct window *window,
                                              const struct tc_http_scanner *scan)
{
    int method_len = read_method(request, window, buf + start, scan);

    if (tc_unlikely(method_len <= 0)) {
        return method_len;
    }
    const char *target = buf + start + method_len;
    const char *end = scan->target(target, window->end);
    if (tc_unlikely(end == window->end)) {
        return run_out(window);
    }
    if (tc_unlikely(*end != ' ' || end == target)) {
        bool is_line_end = (*end == '\r' || *end == '\n') && end != target;
        return is_line_end ? TC_HTTP_E_VERSION_INVALID : TC_HTTP_E_TARGET_INVALID;
    }
    request->target.at = (uint32_t)(target - buf);
    request->target.len = (uint32_t)(end - target);
    int rc = tc__http_read_target(request, buf);
    if (tc_unlikely(rc != 0)) {
        return rc;
    }
    int version_len = read_version(request, window, end + 1);
    if (tc_unlikely(version_len <= 0)) {
        return version_len;
    }
    return (int)(end + 1 + version_len - buf) - (int)start;
}

/* ---- field lines -------------------------------------------------------------------------- */

/* What is wrong with a line whose name is not followed by a colon. */
static TC_COLD int name_error(char found, bool is_empty, bool is_first)
{
    bool is_space = found == ' ' || found == '\t';

    if (is_empty && is_space) {
        return is_first ? TC_HTTP_E_SPACE_BEFORE_FIELD : TC_HTTP_E_LINE_FOLDED;
    }
    if (is_empty && found == '\n') {
        return TC_HTTP_E_BARE_LF;
    }
    return is_space ? TC_HTTP_E_SPACE_BEFORE_COLON : TC_HTTP_E_NAME_INVALID;
}

static TC_ALWAYS_INLINE void note_field(struct tc_http_request *request, const char *buf,
                                        const char *name, size_t name_len, const char *value,
                                        size_t value_len)
{
    enum tc_http_field field = tc_http_field_find(name, name_len);
    struct tc_http_field_line *line = &request->fields[request->field_count++];

    line->name_at = (uint32_t)(name - buf);
    line->name_len = (uint32_t)name_len & 0xffffff;
    line->field = field;
    line->value.at = (uint32_t)(value - buf);
    line->value.len = (uint32_t)value_len;
    if (field != TC_HTTP_FIELD_OTHER) {
        if (tc_likely(request->first[field] == 0)) {
            request->first[field] = (uint8_t)request->field_count;
        } else {
            request->repeated |= UINT64_C(1) << field;
        }
    }
}

/* Returns the length of the line with CRLF. */
static TC_ALWAYS_INLINE int read_field_line(struct tc_http_request *request, const char *buf,
                                            const char *at, const struct window *window,
                                            uint32_t max_fields, const struct tc_http_scanner *scan)
{
    const char *name_end = scan->token(at, window->end);

    if (tc_unlikely(name_end == window->end)) {
        return run_out(window);
    }
    if (tc_unlikely(*name_end != ':' || name_end == at)) {
        return name_error(*name_end, name_end == at, request->field_count == 0);
    }
    if (tc_unlikely(request->field_count == max_fields)) {
        return TC_HTTP_E_TOO_MANY_FIELDS;
    }
    const char *value = name_end + 1;
    while (value < window->end && (*value == ' ' || *value == '\t')) {
        value++;
    }
    const char *line_end = scan->value(value, window->end);
    int crlf = read_crlf(window, line_end, TC_HTTP_E_VALUE_INVALID);
    if (tc_unlikely(crlf <= 0)) {
        return crlf;
    }
    const char *value_end = line_end;
    while (value_end > value && (value_end[-1] == ' ' || value_end[-1] == '\t')) {
        value_end--;
    }
    note_field(request, buf, at, (size_t)(name_end - at), value, (size_t)(value_end - value));
    return (int)(line_end - at) + crlf;
}

/* ---- the head ----------------------------------------------------------------------------- */

/* The blank line that may come before a request. Returns 0 or 2, its length, or an error; 1: it may
 * yet become one. */
static TC_ALWAYS_INLINE int read_blank_line(const char *buf, size_t len)
{
    if (tc_likely(len == 0 || (*buf != '\r' && *buf != '\n'))) {
        return 0;
    }
    if (*buf == '\n') {
        return TC_HTTP_E_BARE_LF;
    }
    if (len == 1) {
        return 1;
    }
    return buf[1] == '\n' ? 2 : TC_HTTP_E_BARE_CR;
}

static TC_ALWAYS_INLINE ssize_t read_head(struct tc_http_request *request, const char *buf,
                                          size_t len, const struct tc_http_limits *limits,
                                          bool *has_line, const struct tc_http_scanner *scan)
{
    int start = read_blank_line(buf, len);

    if (tc_unlikely(start == 1 || start < 0)) {
        return start < 0 ? start : TC_HTTP_INCOMPLETE;
    }
    request->field_count = 0;
    request->repeated = 0;
    memset(request->first, 0, sizeof request->first);

    size_t line_limit = (size_t)start + limits->line_bytes + 2;
    struct window head = window_of(buf, len, limits->head_bytes, TC_HTTP_E_HEAD_TOO_LARGE);
    struct window line = window_of(buf, len, line_limit, TC_HTTP_E_LINE_TOO_LONG);
    if (line_limit > limits->head_bytes) {
        line = head;
    }
    int rc = read_request_line(request, buf, (uint32_t)start, &line, scan);
    if (tc_unlikely(rc <= 0)) {
        return rc;
    }
    *has_line = true;
    const char *at = buf + start + rc;
    for (;;) {
        if (at < head.end && *at == '\r') {
            rc = read_crlf(&head, at, 0);
            break;
        }
        rc = read_field_line(request, buf, at, &head, limits->fields, scan);
        if (tc_unlikely(rc <= 0)) {
            return rc;
        }
        at += rc;
    }
    if (tc_unlikely(rc <= 0)) {
        return rc;
    }
    rc = tc__http_interpret(request, buf);
    return tc_unlikely(rc != 0) ? rc : at + 2 - buf;
}

/* Look at the bytes that are new: false if the head is surely incomplete and without a new error.
 * What needs a closer look: the end of the first line, an empty line, anything that no line may
 * contain, and a limit reached. */
static TC_ALWAYS_INLINE bool has_news(const char *buf, size_t len,
                                      const struct tc_http_limits *limits,
                                      struct tc_http_hint *hint, const struct tc_http_scanner *scan)
{
    const char *end = buf + len;
    const char *at = buf + hint->scanned;

    if (len >= limits->head_bytes || (!hint->has_line && len >= limits->line_bytes + 2)) {
        return true;
    }
    at -= at[-1] == '\r';
    hint->examined += (uint32_t)(end - at);
    for (;;) {
        at = scan->value(at, end);
        if (at == end || (*at == '\r' && at + 1 == end)) {
            hint->scanned = (uint32_t)len;
            return false;
        }
        if (!hint->has_line || at[0] != '\r' || at[1] != '\n' || at[-1] == '\n') {
            return true;
        }
        at += 2;
    }
}

static TC_ALWAYS_INLINE ssize_t parse(struct tc_http_request *request, const char *buf, size_t len,
                                      const struct tc_http_limits *limits,
                                      struct tc_http_hint *hint, const struct tc_http_scanner *scan)
{
    bool has_line = false;

    if (hint != NULL && hint->scanned != 0 && !has_news(buf, len, limits, hint, scan)) {
        return TC_HTTP_INCOMPLETE;
    }
    ssize_t result = read_head(request, buf, len, limits, &has_line, scan);
    if (tc_likely(result != TC_HTTP_INCOMPLETE) || hint == NULL) {
        return result;
    }
    hint->scanned = (uint32_t)len;
    hint->has_line = has_line;
    hint->examined += (uint32_t)len;
    return result;
}

/* ---- one parser per instruction set ------------------------------------------------------- */

static ssize_t parse_scalar(struct tc_http_request *request, const char *buf, size_t len,
                            const struct tc_http_limits *limits, struct tc_http_hint *hint)
{
    const struct tc_http_scanner scan = {tc__scan_token, tc__scan_target, tc__scan_value};

    return parse(request, buf, len, limits, hint, &scan);
}

#if defined(__x86_64__)

TC__SSE42 static ssize_t parse_sse42(struct tc_http_request *request, const char *buf, size_t len,
                                     const struct tc_http_limits *limits, struct tc_http_hint *hint)
{
    const struct tc_http_scanner scan = {tc__scan_token_sse42, tc__scan_target_sse42,
                                         tc__scan_value_sse42};

    return parse(request, buf, len, limits, hint, &scan);
}

TC__AVX2 static ssize_t parse_avx2(struct tc_http_request *request, const char *buf, size_t len,
                                   const struct tc_http_limits *limits, struct tc_http_hint *hint)
{
    const struct tc_http_scanner scan = {tc__scan_token_avx2, tc__scan_target_avx2,
                                         tc__scan_value_avx2};

    return parse(request, buf, len, limits, hint, &scan);
}

enum tc_http_simd tc_http_best_simd(void)
{
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi")) {
        return TC_HTTP_AVX2;
    }
    return __builtin_cpu_supports("sse4.2") ? TC_HTTP_SSE42 : TC_HTTP_SCALAR;
}

#else

static ssize_t parse_neon(struct tc_http_request *request, const char *buf, size_t len,
                          const struct tc_http_limits *limits, struct tc_http_hint *hint)
{
    const struct tc_http_scanner scan = {tc__scan_token_neon, tc__scan_target_neon,
                                         tc__scan_value_neon};

    return parse(request, buf, len, limits, hint, &scan);
}

enum tc_http_simd tc_http_best_simd(void)
{
    return TC_HTTP_NEON; /* part of every 64-bit ARM */
}

#endif

ssize_t tc_http_parse_with(enum tc_http_simd simd, struct tc_http_request *request, const char *buf,
                           size_t len, const struct tc_http_limits *limits,
                           struct tc_http_hint *hint)
{
    tc_assert_debug(limits->head_bytes < TC_HTTP_HEAD_BYTES_MAX &&
                    limits->line_bytes < TC_HTTP_HEAD_BYTES_MAX &&
                    limits->fields <= TC_HTTP_FIELDS_MAX);
    switch (simd) {
#if defined(__x86_64__)
    case TC_HTTP_AVX2:
        return parse_avx2(request, buf, len, limits, hint);
    case TC_HTTP_SSE42:
        return parse_sse42(request, buf, len, limits, hint);
#else
    case TC_HTTP_NEON:
        return parse_neon(request, buf, len, limits, hint);
#endif
    default:
        return parse_scalar(request, buf, len, limits, hint);
    }
}

ssize_t tc_http_parse(struct tc_http_request *request, const char *buf, size_t len,
                      const struct tc_http_limits *limits, struct tc_http_hint *hint)
{
    return tc_http_parse_with(tc_http_best_simd(), request, buf, len, limits, hint);
}
