/* What a request head means: target, host, framing, persistence, expectation. */
#include <arpa/inet.h>

#include "http/parser.h"

/* ---- target ------------------------------------------------------------------------------- */

/* RFC 3986 3.2.2: an IPv6 address in brackets. Returns its length or 0. */
static size_t ip_literal_len(const char *text, size_t len)
{
    char address[INET6_ADDRSTRLEN];
    const char *close = memchr(text, ']', len);
    struct in6_addr ignored;

    if (close == NULL || (size_t)(close - text) > sizeof address) {
        return 0;
    }
    size_t inner = (size_t)(close - text) - 1;
    memcpy(address, text + 1, inner);
    address[inner] = '\0';
    return inet_pton(AF_INET6, address, &ignored) == 1 ? inner + 2 : 0;
}

/* RFC 3986 3.2.2: the longest reg-name or IPv4 address; a bad escape ends it. */
static size_t reg_name_len(const char *text, size_t len)
{
    size_t i = 0;

    while (i < len && tc_http_is(text[i], TC_HTTP_HOST)) {
        if (text[i] == '%') {
            if (len - i < 3 || !tc_http_is(text[i + 1], TC_HTTP_HEX) ||
                !tc_http_is(text[i + 2], TC_HTTP_HEX)) {
                return i;
            }
            i += 2;
        }
        i++;
    }
    return i;
}

/* uri-host [ ":" port ]. Returns how long the host is, or -1 if this is not an authority. */
static ssize_t read_authority(const char *text, size_t len, bool needs_port)
{
    bool is_literal = len > 0 && text[0] == '[';
    size_t host = is_literal ? ip_literal_len(text, len) : reg_name_len(text, len);
    unsigned port = 0;

    if (is_literal && host == 0) {
        return -1;
    }
    if (host == len) {
        return needs_port ? -1 : (ssize_t)host;
    }
    if (text[host] != ':' || (needs_port && host + 1 == len)) {
        return -1;
    }
    for (size_t i = host + 1; i < len; i++) {
        if (!tc_http_is(text[i], TC_HTTP_DIGIT)) {
            return -1;
        }
        port = port * 10 + (unsigned)(text[i] - '0');
        if (port > UINT16_MAX) {
            return -1;
        }
    }
    return (ssize_t)host;
}

/* Split what stands at `at`, to the end of the target, into path and query. */
static void split_path(struct tc_http_request *request, const char *buf, uint32_t at)
{
    uint32_t end = request->target.at + request->target.len;
    const char *mark = memchr(buf + at, '?', end - at);
    uint32_t path_end = mark == NULL ? end : (uint32_t)(mark - buf);

    request->path = (struct tc_http_span){at, path_end - at};
    request->query = (struct tc_http_span){mark == NULL ? end : path_end + 1, 0};
    request->query.len = end - request->query.at;
}

/* RFC 9112 3.2.2. The scheme must be one that an origin server of HTTP has. */
static int read_absolute(struct tc_http_request *request, const char *buf)
{
    const char *target = buf + request->target.at;
    uint32_t len = request->target.len;
    uint32_t scheme = 7;

    if (len < 8 || !tc_http_is_word(target, 7, "http://", 7)) {
        scheme = 8;
        if (len < 9 || !tc_http_is_word(target, 8, "https://", 8)) {
            return TC_HTTP_E_TARGET_FORM;
        }
    }
    uint32_t end = scheme;
    while (end < len && target[end] != '/' && target[end] != '?') {
        end++;
    }
    if (read_authority(target + scheme, end - scheme, false) <= 0) {
        return TC_HTTP_E_AUTHORITY_INVALID;
    }
    request->form = TC_HTTP_ABSOLUTE;
    request->host = (struct tc_http_span){request->target.at + scheme, end - scheme};
    split_path(request, buf, request->target.at + end);
    return 0;
}

int tc__http_read_target(struct tc_http_request *request, const char *buf)
{
    const char *target = buf + request->target.at;
    struct tc_http_span empty = {request->target.at + request->target.len, 0};

    if (tc_unlikely(request->method == TC_HTTP_CONNECT)) {
        if (read_authority(target, request->target.len, true) <= 0) {
            return TC_HTTP_E_TARGET_FORM;
        }
        request->form = TC_HTTP_AUTHORITY;
        request->host = request->target;
        request->path = empty;
        request->query = empty;
        return 0;
    }
    if (tc_likely(target[0] == '/')) {
        request->form = TC_HTTP_ORIGIN;
        split_path(request, buf, request->target.at);
        return 0;
    }
    if (target[0] == '*' && request->target.len == 1) {
        request->form = TC_HTTP_ASTERISK;
        request->path = empty;
        request->query = empty;
        return request->method == TC_HTTP_OPTIONS ? 0 : TC_HTTP_E_TARGET_FORM;
    }
    return read_absolute(request, buf);
}

/* ---- lists -------------------------------------------------------------------------------- */

/* Next element of a comma-separated list (RFC 9110 5.6.1), without whitespace around it; empty ones
 * are passed over. Moves *at; returns its length, 0 at the end. */
static size_t next_element(const char **at, const char *end, const char **element)
{
    const char *from = *at;

    while (from < end && (*from == ',' || *from == ' ' || *from == '\t')) {
        from++;
    }
    const char *to = from;
    while (to < end && *to != ',') {
        to++;
    }
    *at = to;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t')) {
        to--;
    }
    *element = from;
    return (size_t)(to - from);
}

static bool is_value(const char *buf, const struct tc_http_field_line *line, const char *word,
                     size_t word_len)
{
    return tc_http_is_word(buf + line->value.at, line->value.len, word, word_len);
}

/* ---- host --------------------------------------------------------------------------------- */

/* RFC 9112 3.2. The field is checked even where the target overrules it (3.2.2). */
static int read_host(struct tc_http_request *request, const char *buf)
{
    const struct tc_http_field_line *line = tc_http_request_field(request, TC_HTTP_FIELD_HOST);
    bool is_in_target = request->form == TC_HTTP_ABSOLUTE || request->form == TC_HTTP_AUTHORITY;

    if (tc_unlikely(line == NULL)) {
        if (!is_in_target) {
            request->host = (struct tc_http_span){0, 0};
        }
        return request->minor == 0 ? 0 : TC_HTTP_E_HOST_MISSING;
    }
    if (tc_unlikely((request->repeated & (UINT64_C(1) << TC_HTTP_FIELD_HOST)) != 0)) {
        return TC_HTTP_E_HOST_REPEATED;
    }
    if (tc_unlikely(read_authority(buf + line->value.at, line->value.len, false) < 0)) {
        return TC_HTTP_E_HOST_INVALID;
    }
    if (tc_likely(!is_in_target)) {
        request->host = line->value;
    }
    return 0;
}

/* ---- framing ------------------------------------------------------------------------------ */

/* Why a Transfer-Encoding that is not "chunked" is refused: with codings before a final chunked the
 * message has an end, but we cannot read it; otherwise it has none. A list of chunked and empty
 * elements, which RFC 9110 5.6.1.2 lets pass, is what nobody sends but to be read in two ways. */
static TC_COLD int coding_error(const char *value, size_t len)
{
    const char *at = value;
    const char *element;
    bool is_final = false;
    unsigned count = 0;
    size_t element_len = next_element(&at, value + len, &element);

    while (element_len != 0) {
        if (is_final) {
            return TC_HTTP_E_CODING_INVALID;
        }
        for (size_t i = 0; i < element_len; i++) {
            if (!tc_http_is(element[i], TC_HTTP_TOKEN)) {
                return TC_HTTP_E_CODING_INVALID; /* no coding that is registered has parameters */
            }
        }
        is_final = tc_http_is_word(element, element_len, "chunked", 7);
        count++;
        element_len = next_element(&at, value + len, &element);
    }
    return is_final && count > 1 ? TC_HTTP_E_CODING_UNSUPPORTED : TC_HTTP_E_CODING_INVALID;
}

/* Whether a tab stands between the value and the end of its line. RFC 9110 5.6.3 lets it, and some
 * parsers take it for a part of the coding: a body that two of us would end at different places. */
static bool ends_in_tab(const char *buf, const struct tc_http_field_line *line)
{
    const char *at = buf + line->value.at + line->value.len;

    while (*at == ' ') {
        at++;
    }
    return *at == '\t';
}

static int read_coding(struct tc_http_request *request, const char *buf,
                       const struct tc_http_field_line *line)
{
    if (request->first[TC_HTTP_FIELD_CONTENT_LENGTH] != 0) {
        return TC_HTTP_E_LENGTH_AND_CODING;
    }
    if (request->minor == 0) {
        return TC_HTTP_E_CODING_IN_1_0;
    }
    if ((request->repeated & (UINT64_C(1) << TC_HTTP_FIELD_TRANSFER_ENCODING)) != 0) {
        return TC_HTTP_E_CODING_REPEATED;
    }
    if (!is_value(buf, line, "chunked", 7)) {
        return coding_error(buf + line->value.at, line->value.len);
    }
    if (tc_unlikely(ends_in_tab(buf, line))) {
        return TC_HTTP_E_CODING_INVALID;
    }
    request->framing = TC_HTTP_BODY_CHUNKED;
    return 0;
}

static int read_length(struct tc_http_request *request, const char *buf,
                       const struct tc_http_field_line *line)
{
    const char *digits = buf + line->value.at;
    uint64_t length = 0;

    if ((request->repeated & (UINT64_C(1) << TC_HTTP_FIELD_CONTENT_LENGTH)) != 0) {
        return TC_HTTP_E_LENGTH_REPEATED;
    }
    if (line->value.len == 0 || line->value.len > 19) { /* 2^63 - 1 has 19 */
        return TC_HTTP_E_LENGTH_INVALID;
    }
    for (uint32_t i = 0; i < line->value.len; i++) {
        if (!tc_http_is(digits[i], TC_HTTP_DIGIT)) {
            return TC_HTTP_E_LENGTH_INVALID;
        }
        length = length * 10 + (unsigned)(digits[i] - '0');
    }
    if (length > INT64_MAX) {
        return TC_HTTP_E_LENGTH_INVALID;
    }
    request->framing = TC_HTTP_BODY_LENGTH;
    request->content_length = (int64_t)length;
    return 0;
}

static int read_framing(struct tc_http_request *request, const char *buf)
{
    const struct tc_http_field_line *coding =
        tc_http_request_field(request, TC_HTTP_FIELD_TRANSFER_ENCODING);
    const struct tc_http_field_line *length =
        tc_http_request_field(request, TC_HTTP_FIELD_CONTENT_LENGTH);

    request->framing = TC_HTTP_BODY_NONE;
    request->content_length = -1;
    if (tc_unlikely(coding != NULL)) {
        return read_coding(request, buf, coding);
    }
    return length != NULL ? read_length(request, buf, length) : 0;
}

/* ---- connection and expectation ----------------------------------------------------------- */

enum { OPTION_CLOSE = 1, OPTION_KEEP_ALIVE = 2, OPTION_UPGRADE = 4 };

static int connection_options(const char *buf, const struct tc_http_field_line *line)
{
    const char *at = buf + line->value.at;
    const char *end = at + line->value.len;
    const char *element;
    int options = 0;

    for (size_t len; (len = next_element(&at, end, &element)) != 0;) {
        if (tc_http_is_word(element, len, "close", 5)) {
            options |= OPTION_CLOSE;
        } else if (tc_http_is_word(element, len, "keep-alive", 10)) {
            options |= OPTION_KEEP_ALIVE;
        } else if (tc_http_is_word(element, len, "upgrade", 7)) {
            options |= OPTION_UPGRADE;
        }
    }
    return options;
}

/* RFC 9112 9.3: close has precedence; HTTP/1.1 persists otherwise, HTTP/1.0 if asked to. */
static void read_connection(struct tc_http_request *request, const char *buf)
{
    uint32_t first = request->first[TC_HTTP_FIELD_CONNECTION];
    int options = 0;

    for (uint32_t i = first; i != 0 && i <= request->field_count; i++) {
        if (request->fields[i - 1].field == TC_HTTP_FIELD_CONNECTION) {
            options |= connection_options(buf, &request->fields[i - 1]);
        }
        if ((request->repeated & (UINT64_C(1) << TC_HTTP_FIELD_CONNECTION)) == 0) {
            break;
        }
    }
    request->keep_alive = (options & OPTION_CLOSE) == 0 &&
                          (request->minor == 1 || (options & OPTION_KEEP_ALIVE) != 0);
    request->wants_upgrade =
        (options & OPTION_UPGRADE) != 0 && request->first[TC_HTTP_FIELD_UPGRADE] != 0;
}

/* RFC 9110 10.1.1: HTTP/1.0 has no expectations. */
static int read_expectation(struct tc_http_request *request, const char *buf)
{
    const struct tc_http_field_line *line = tc_http_request_field(request, TC_HTTP_FIELD_EXPECT);

    request->expects_continue = false;
    if (tc_likely(line == NULL) || request->minor == 0) {
        return 0;
    }
    if ((request->repeated & (UINT64_C(1) << TC_HTTP_FIELD_EXPECT)) != 0 ||
        !is_value(buf, line, "100-continue", 12)) {
        return TC_HTTP_E_EXPECTATION;
    }
    request->expects_continue = true;
    return 0;
}

int tc__http_interpret(struct tc_http_request *request, const char *buf)
{
    int rc = read_host(request, buf);

    if (tc_unlikely(rc != 0)) {
        return rc;
    }
    rc = read_framing(request, buf);
    if (tc_unlikely(rc != 0)) {
        return rc;
    }
    read_connection(request, buf);
    return read_expectation(request, buf);
}
