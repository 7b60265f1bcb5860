#include "http/origin.h"

#include <string.h>

#include "http/chars.h"

static bool is_text(struct tc_http_text text, const char *wanted)
{
    return text.len == strlen(wanted) && memcmp(text.at, wanted, text.len) == 0;
}

/* What stands behind "://"; empty if there is no such thing. */
static struct tc_http_text authority_of(struct tc_http_text origin)
{
    const char *mark = memchr(origin.at, ':', origin.len);
    size_t scheme = mark == NULL ? origin.len : (size_t)(mark - origin.at);

    if (scheme == 0 || origin.len - scheme < 3 || memcmp(origin.at + scheme, "://", 3) != 0) {
        return (struct tc_http_text){"", 0};
    }
    return (struct tc_http_text){origin.at + scheme + 3, origin.len - scheme - 3};
}

static bool is_same_host(struct tc_http_text origin, struct tc_http_text host)
{
    struct tc_http_text own = authority_of(origin);

    if (own.len == 0 || own.len != host.len) {
        return false;
    }
    for (size_t i = 0; i < own.len; i++) {
        if (tc_http_lower(own.at[i]) != tc_http_lower(host.at[i])) {
            return false;
        }
    }
    return true;
}

/* True if it is one of the words of `allowed`. None of these has a space, so one that has is
 * none. */
static bool is_allowed(struct tc_http_text origin, const char *allowed)
{
    for (const char *at = allowed; origin.len != 0 && *at != '\0';) {
        size_t len = strcspn(at, " ");
        if (len == origin.len && memcmp(at, origin.at, len) == 0) {
            return true;
        }
        at += len + (at[len] == ' ' ? 1 : 0);
    }
    return false;
}

struct tc_http_source tc_http_source_of(const struct tc_http_call *call)
{
    struct tc_http_source source = {.host = tc_http_call_host(call)};

    (void)tc_http_call_field_named(call, "sec-fetch-site", &source.site); /* empty without */
    (void)tc_http_call_field(call, TC_HTTP_FIELD_ORIGIN, &source.origin); /* the same */
    if (tc_http_call_is_repeated(call, TC_HTTP_FIELD_ORIGIN)) {
        source.origin = (struct tc_http_text){"null", 4};
    }
    return source;
}

bool tc_http_source_is_foreign(const struct tc_http_source *source, const char *allowed)
{
    if (is_allowed(source->origin, allowed)) {
        return false;
    }
    if (source->site.len != 0) {
        return !is_text(source->site, "same-origin") && !is_text(source->site, "none");
    }
    return source->origin.len != 0 && !is_same_host(source->origin, source->host);
}

/* ---- origins that are allowed ------------------------------------------------------------- */

static bool ends_with(struct tc_http_text text, const char *end)
{
    size_t len = strlen(end);

    return text.len > len && memcmp(text.at + text.len - len, end, len) == 0;
}

bool tc_http_origin_is_valid(const char *text, size_t len)
{
    struct tc_http_text host = authority_of((struct tc_http_text){text, len});
    size_t scheme = len - host.len - 3;
    bool is_default;

    if (host.len == 0) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool is_mark = i < scheme ? c == '+' || c == '-' || c == '.'
                                  : strchr("-._~:[]", c) != NULL && c != '\0';
        bool is_letter = c >= 'a' && c <= 'z';
        bool is_slash = i == scheme + 1 || i == scheme + 2;
        if (!is_letter && !tc_http_is(c, TC_HTTP_DIGIT) && !is_mark && !is_slash) {
            return false;
        }
    }
    is_default = (scheme == 4 && memcmp(text, "http", 4) == 0 && ends_with(host, ":80")) ||
                 (scheme == 5 && memcmp(text, "https", 5) == 0 && ends_with(host, ":443"));
    return !is_default && host.at[host.len - 1] != ':' && host.at[0] != ':';
}
