#include "http/multipart.h"

#include <string.h>

#include "base/assert.h"
#include "http/chars.h"

enum state {
    PREAMBLE,  /* before the first delimiter: dropped */
    DELIMITED, /* behind a delimiter: CR or '-' */
    DELIMITED_LF,
    DELIMITED_DASH,
    HEAD, /* collecting the fields */
    BODY,
    EPILOGUE, /* behind the closing delimiter: dropped */
};

/* ---- parameters of a field ---------------------------------------------------------------- */

/* A token or quoted string. Moves *at behind it; a quoted one is unescaped where it stands, if
 * `text` may be written. RFC 7578 4.2 and browsers: only \" is an escape, a lone backslash is
 * itself. */
static bool read_value(char *text, size_t len, size_t *at, struct tc_multipart_text *value)
{
    size_t from = *at;
    size_t used;

    if (from < len && text[from] != '"') {
        while (*at < len && tc_http_is(text[*at], TC_HTTP_TOKEN)) {
            ++*at;
        }
        *value = (struct tc_multipart_text){text + from, *at - from};
        return *at > from;
    }
    used = ++from;
    for (size_t i = from; i < len; i++) {
        if (text[i] == '"') {
            *value = (struct tc_multipart_text){text + from, used - from};
            *at = i + 1;
            return true;
        }
        if (text[i] == '\\' && i + 1 < len && text[i + 1] == '"') {
            i++;
        }
        text[used++] = text[i];
    }
    return false;
}

static size_t skip_space(const char *text, size_t len, size_t at)
{
    while (at < len && (text[at] == ' ' || text[at] == '\t')) {
        at++;
    }
    return at;
}

/* The next `; name=value`. Returns 1, 0 at the end, or -1. */
static int next_parameter(char *text, size_t len, size_t *at, struct tc_multipart_text *name,
                          struct tc_multipart_text *value)
{
    size_t i = skip_space(text, len, *at);

    if (i == len) {
        return 0;
    }
    if (text[i] != ';') {
        return -1;
    }
    i = skip_space(text, len, i + 1);
    if (i == len) {
        *at = i;
        return 0;
    }
    size_t from = i;
    while (i < len && tc_http_is(text[i], TC_HTTP_TOKEN)) {
        i++;
    }
    *name = (struct tc_multipart_text){text + from, i - from};
    if (i == from || i == len || text[i] != '=') {
        return -1;
    }
    *at = i + 1;
    return read_value(text, len, at, value) ? 1 : -1;
}

static bool is_name(const struct tc_multipart_text *text, const char *word)
{
    return tc_http_is_word(text->at, text->len, word, strlen(word));
}

/* ---- boundary ----------------------------------------------------------------------------- */

/* RFC 2046 5.1.1: bcharsnospace, and a space that is not the last. */
static bool is_boundary(const struct tc_multipart_text *text)
{
    if (text->len == 0 || text->len > TC_MULTIPART_BOUNDARY_BYTES ||
        text->at[text->len - 1] == ' ') {
        return false;
    }
    for (size_t i = 0; i < text->len; i++) {
        char c = text->at[i];
        bool is_alnum =
            (tc_http_lower(c) >= 'a' && tc_http_lower(c) <= 'z') || tc_http_is(c, TC_HTTP_DIGIT);
        if (!is_alnum && (c == '\0' || strchr("'()+_,-./:=? ", c) == NULL)) {
            return false;
        }
    }
    return true;
}

int tc_multipart_init(struct tc_multipart *multipart, const char *content_type, size_t len)
{
    static const char type[] = "multipart/form-data";
    struct tc_multipart_text boundary = {NULL, 0};
    struct tc_multipart_text name;
    struct tc_multipart_text value;
    char *text = multipart->head; /* a place to work in */
    size_t at = sizeof type - 1;

    if (len < at || len > sizeof multipart->head || !tc_http_is_word(content_type, at, type, at)) {
        return TC_HTTP_E_BOUNDARY_INVALID;
    }
    memcpy(text, content_type, len);
    int rc;
    while ((rc = next_parameter(text, len, &at, &name, &value)) == 1) {
        if (is_name(&name, "boundary")) {
            if (boundary.at != NULL) {
                return TC_HTTP_E_BOUNDARY_INVALID;
            }
            boundary = value;
        }
    }
    if (rc < 0 || boundary.at == NULL || !is_boundary(&boundary)) {
        return TC_HTTP_E_BOUNDARY_INVALID;
    }
    memcpy(multipart->delimiter, "\r\n--", 4);
    memcpy(multipart->delimiter + 4, boundary.at, boundary.len);
    multipart->delimiter_len = (uint8_t)(boundary.len + 4);
    multipart->matched = 2; /* the first delimiter needs no CRLF before it */
    multipart->state = PREAMBLE;
    multipart->head_len = 0;
    return 0;
}

/* ---- the fields of a part ----------------------------------------------------------------- */

static int read_disposition(struct tc_multipart *multipart, char *value, size_t len)
{
    struct tc_multipart_text name;
    struct tc_multipart_text text;
    size_t at = 9;
    int rc;

    if (len < at || !tc_http_is_word(value, at, "form-data", at) || multipart->name.at != NULL) {
        return TC_HTTP_E_PART_INVALID;
    }
    while ((rc = next_parameter(value, len, &at, &name, &text)) == 1) {
        struct tc_multipart_text *slot = is_name(&name, "name")       ? &multipart->name
                                         : is_name(&name, "filename") ? &multipart->filename
                                                                      : NULL;
        if (slot == NULL) {
            continue;
        }
        if (slot->at != NULL) {
            return TC_HTTP_E_PART_INVALID;
        }
        *slot = text;
    }
    return rc == 0 ? 0 : TC_HTTP_E_PART_INVALID;
}

/* One line without its CRLF. */
static int read_line(struct tc_multipart *multipart, char *line, size_t len)
{
    size_t name = 0;

    while (name < len && tc_http_is(line[name], TC_HTTP_TOKEN)) {
        name++;
    }
    if (name == 0 || name == len || line[name] != ':') {
        return TC_HTTP_E_PART_INVALID;
    }
    for (size_t i = name; i < len; i++) {
        if (!tc_http_is(line[i], TC_HTTP_VALUE)) {
            return TC_HTTP_E_PART_INVALID;
        }
    }
    size_t from = skip_space(line, len, name + 1);
    while (len > from && (line[len - 1] == ' ' || line[len - 1] == '\t')) {
        len--;
    }
    if (tc_http_is_word(line, name, "content-disposition", 19)) {
        return read_disposition(multipart, line + from, len - from);
    }
    if (tc_http_is_word(line, name, "content-type", 12)) {
        multipart->content_type = (struct tc_multipart_text){line + from, len - from};
    }
    return 0;
}

/* `head` holds whole lines, each with its CRLF, and the empty one. */
static int read_head(struct tc_multipart *multipart)
{
    const struct tc_multipart_text absent = {NULL, 0};
    char *line = multipart->head;
    char *end = line + multipart->head_len - 2;

    multipart->name = absent;
    multipart->filename = absent;
    multipart->content_type = absent;
    while (line < end) {
        char *line_end = memchr(line, '\r', (size_t)(end - line));
        if (line_end == NULL || line_end[1] != '\n') {
            return TC_HTTP_E_PART_INVALID;
        }
        int rc = read_line(multipart, line, (size_t)(line_end - line));
        if (rc != 0) {
            return rc;
        }
        line = line_end + 2;
    }
    return multipart->name.at == NULL ? TC_HTTP_E_PART_INVALID : TC_MULTIPART_PART;
}

/* Take one byte of the fields. Returns PART when they are complete, MORE, or an error. */
static int step_head(struct tc_multipart *multipart, char c)
{
    if (multipart->head_len == sizeof multipart->head) {
        return TC_HTTP_E_PART_HEAD_TOO_LARGE;
    }
    multipart->head[multipart->head_len++] = c;
    size_t len = multipart->head_len;
    bool is_empty_line = c == '\n' && len >= 2 &&
                         memcmp(multipart->head + len - 2, "\r\n", 2) == 0 &&
                         (len == 2 || multipart->head[len - 3] == '\n');
    return is_empty_line ? read_head(multipart) : TC_MULTIPART_MORE;
}

/* ---- delimiters --------------------------------------------------------------------------- */

/* Behind a delimiter: CRLF begins a part, "--" ends the message. */
static int step_delimited(struct tc_multipart *multipart, char c)
{
    switch (multipart->state) {
    case DELIMITED:
        multipart->state = c == '\r' ? DELIMITED_LF : DELIMITED_DASH;
        return c == '\r' || c == '-' ? TC_MULTIPART_MORE : TC_HTTP_E_DELIMITER_INVALID;
    case DELIMITED_LF:
        multipart->state = HEAD;
        multipart->head_len = 0;
        return c == '\n' ? TC_MULTIPART_MORE : TC_HTTP_E_DELIMITER_INVALID;
    default:
        multipart->state = EPILOGUE;
        return c == '-' ? TC_MULTIPART_END : TC_HTTP_E_DELIMITER_INVALID;
    }
}

/* How much of the delimiter stands at `at`. */
static size_t match(const struct tc_multipart *multipart, const char *at, size_t len, size_t from)
{
    size_t i = from;

    while (i < multipart->delimiter_len && i - from < len &&
           at[i - from] == multipart->delimiter[i]) {
        i++;
    }
    return i;
}

static int delimiter_found(struct tc_multipart *multipart)
{
    bool was_part = multipart->state == BODY;

    multipart->state = DELIMITED;
    multipart->matched = 0;
    return was_part ? TC_MULTIPART_PART_END : TC_MULTIPART_MORE;
}

/* Content or preamble. *used may be less than `len` with MORE: then call again. */
static int take_content(struct tc_multipart *multipart, const char *buf, size_t len, size_t *used,
                        struct tc_multipart_text *data)
{
    size_t matched = multipart->matched;

    if (matched != 0) {
        size_t now = match(multipart, buf, len, matched);
        *used = now - matched;
        if (now == multipart->delimiter_len) {
            return delimiter_found(multipart);
        }
        multipart->matched = (uint8_t)now;
        if (*used == len) {
            return TC_MULTIPART_MORE;
        }
        multipart->matched = 0;
        *data = (struct tc_multipart_text){multipart->delimiter, now};
        return multipart->state == BODY ? TC_MULTIPART_DATA : TC_MULTIPART_MORE;
    }
    size_t end = len; /* of the content */
    for (size_t i = 0; i < len; i++) {
        const char *cr = memchr(buf + i, '\r', len - i);
        if (cr == NULL) {
            break;
        }
        i = (size_t)(cr - buf);
        matched = match(multipart, cr, len - i, 0);
        if (matched == multipart->delimiter_len || i + matched == len) {
            end = i;
            break;
        }
    }
    if (end == 0) { /* at the beginning, as a whole or as far as it goes */
        *used = matched;
        multipart->matched = (uint8_t)matched;
        return matched == multipart->delimiter_len ? delimiter_found(multipart) : TC_MULTIPART_MORE;
    }
    *used = end;
    *data = (struct tc_multipart_text){buf, end};
    return multipart->state == BODY ? TC_MULTIPART_DATA : TC_MULTIPART_MORE;
}

int tc_multipart_next(struct tc_multipart *multipart, const char *buf, size_t len, size_t *used,
                      struct tc_multipart_text *data)
{
    size_t at = 0;

    tc_assert_debug(multipart->state <= EPILOGUE);
    while (at < len) {
        size_t step = 1;
        int event;
        switch (multipart->state) {
        case PREAMBLE:
        case BODY:
            event = take_content(multipart, buf + at, len - at, &step, data);
            break;
        case HEAD:
            event = step_head(multipart, buf[at]);
            if (event == TC_MULTIPART_PART) {
                multipart->state = BODY;
            }
            break;
        case EPILOGUE:
            event = TC_MULTIPART_MORE;
            step = len - at;
            break;
        default:
            event = step_delimited(multipart, buf[at]);
            break;
        }
        at += event < 0 ? 0 : step;
        if (event != TC_MULTIPART_MORE) {
            *used = at;
            return event;
        }
    }
    *used = len;
    return multipart->state == EPILOGUE ? TC_MULTIPART_END : TC_MULTIPART_MORE;
}
