#include "http/conditions.h"

#include <string.h>

#include "http/date.h"

/* ---- entity tags -------------------------------------------------------------------------- */

struct tag {
    const char *at; /* with its quotes, without W/ */
    size_t len;
    bool is_weak;
};

/* Read the tag at the beginning of a text. Returns the bytes it takes; 0: there is none. */
static size_t read_tag(const char *text, size_t len, struct tag *out)
{
    size_t prefix = len >= 2 && text[0] == 'W' && text[1] == '/' ? 2 : 0;

    if (len == prefix || text[prefix] != '"') {
        return 0;
    }
    const char *end = memchr(text + prefix + 1, '"', len - prefix - 1);
    if (end == NULL) {
        return 0;
    }
    out->at = text + prefix;
    out->len = (size_t)(end + 1 - out->at);
    out->is_weak = prefix != 0;
    return prefix + out->len;
}

static bool is_same_tag(const struct tag *a, const struct tag *b, bool is_strong)
{
    return a->len == b->len && memcmp(a->at, b->at, a->len) == 0 &&
           !(is_strong && (a->is_weak || b->is_weak));
}

bool tc_http_etag_is_one(const char *text, size_t len)
{
    struct tag tag;

    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f) {
            return false;
        }
    }
    return len != 0 && read_tag(text, len, &tag) == len;
}

bool tc_http_etag_is_in(const char *list, size_t len, const struct tc_http_validators *validators,
                        bool is_strong)
{
    struct tag own;
    struct tag tag;

    if (len == 1 && list[0] == '*') {
        return true;
    }
    if (read_tag(validators->etag, validators->etag_len, &own) == 0) {
        return false;
    }
    for (size_t at = 0; at < len;) {
        if (list[at] == ',' || list[at] == ' ' || list[at] == '\t') {
            at++;
            continue;
        }
        size_t used = read_tag(list + at, len - at, &tag);
        if (used == 0) {
            return false; /* what follows cannot be told from it */
        }
        if (is_same_tag(&tag, &own, is_strong)) {
            return true;
        }
        at += used;
    }
    return false;
}

/* ---- fields ------------------------------------------------------------------------------- */

enum answer { NO, YES, ABSENT };

static enum answer names_tag(const struct tc_http_lines *lines, enum tc_http_field field,
                             const struct tc_http_validators *validators, bool is_strong)
{
    const struct tc_http_field_line *line;
    enum answer answer = ABSENT;
    uint32_t index = 0;

    while (answer != YES && (line = tc_http_lines_next(lines, field, &index)) != NULL) {
        bool is_named = tc_http_etag_is_in(lines->base + line->value.at, line->value.len,
                                           validators, is_strong);
        answer = is_named ? YES : NO;
    }
    return answer;
}

/* The date of a field. False: none, or not one. */
static bool read_date(const struct tc_http_lines *lines, enum tc_http_field field, int64_t now,
                      int64_t *seconds)
{
    uint32_t index = 0;
    const struct tc_http_field_line *line = tc_http_lines_next(lines, field, &index);

    return line != NULL && tc_http_lines_next(lines, field, &index) == NULL &&
           tc_http_date_parse(lines->base + line->value.at, line->value.len, now, seconds) == 0;
}

int tc_http_conditions_check(const struct tc_http_lines *lines,
                             const struct tc_http_validators *validators, int64_t now)
{
    int64_t date;
    enum answer match = names_tag(lines, TC_HTTP_FIELD_IF_MATCH, validators, true);

    if (match == NO ||
        (match == ABSENT && read_date(lines, TC_HTTP_FIELD_IF_UNMODIFIED_SINCE, now, &date) &&
         validators->modified > date)) {
        return 412;
    }
    enum answer none_match = names_tag(lines, TC_HTTP_FIELD_IF_NONE_MATCH, validators, false);
    if (none_match == YES ||
        (none_match == ABSENT && read_date(lines, TC_HTTP_FIELD_IF_MODIFIED_SINCE, now, &date) &&
         validators->modified <= date)) {
        return 304;
    }
    return 0;
}

bool tc_http_conditions_may_range(const struct tc_http_lines *lines,
                                  const struct tc_http_validators *validators, int64_t now)
{
    struct tag tag;
    struct tag own;
    uint32_t index = 0;
    const struct tc_http_field_line *line =
        tc_http_lines_next(lines, TC_HTTP_FIELD_IF_RANGE, &index);

    if (line == NULL) {
        return true;
    }
    const char *text = lines->base + line->value.at;
    if (tc_http_lines_next(lines, TC_HTTP_FIELD_IF_RANGE, &index) != NULL ||
        read_tag(validators->etag, validators->etag_len, &own) == 0) {
        return false;
    }
    size_t used = read_tag(text, line->value.len, &tag);
    if (used != 0 && used == line->value.len) {
        return is_same_tag(&tag, &own, true);
    }
    /* A date is as strong as our tag: both are weak while the file is younger than a second. */
    int64_t date;
    return tc_http_date_parse(text, line->value.len, now, &date) == 0 && !own.is_weak &&
           date == validators->modified;
}
