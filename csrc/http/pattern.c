#include "http/pattern.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

static const char rest_suffix[] = ":path";

enum { REST_SUFFIX_BYTES = sizeof rest_suffix - 1 };

/* ---- one pattern -------------------------------------------------------------------------- */

/* The length of the segment behind the '/' at `at`. */
static size_t segment_at(const char *text, size_t len, size_t at)
{
    const char *slash = memchr(text + at + 1, '/', len - at - 1);

    return slash == NULL ? len - at - 1 : (size_t)(slash - (text + at + 1));
}

static bool is_name(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!is_letter && (i == 0 || c < '0' || c > '9')) {
            return false;
        }
    }
    return len != 0;
}

/* "{name:path}" */
static bool is_rest(const char *hole, size_t len)
{
    return len > REST_SUFFIX_BYTES + 2 &&
           memcmp(hole + len - 1 - REST_SUFFIX_BYTES, rest_suffix, REST_SUFFIX_BYTES) == 0;
}

/* The length of the name of a hole, which is all of a segment. */
static size_t name_length(const char *hole, size_t len)
{
    return len - 2 - (is_rest(hole, len) ? (size_t)REST_SUFFIX_BYTES : 0);
}

static bool is_hole(const char *segment, size_t len)
{
    return len != 0 && segment[0] == '{';
}

int tc_http_pattern_check(const char *text, size_t len)
{
    int holes = 0;

    for (size_t at = 0; at < len;) {
        if (text[at] != '/') {
            return -EINVAL;
        }
        const char *segment = text + at + 1;
        size_t size = segment_at(text, len, at);
        at += size + 1;
        if (memchr(segment, '{', size) == NULL && memchr(segment, '}', size) == NULL) {
            continue;
        }
        if (size < 2 || segment[0] != '{' || segment[size - 1] != '}' ||
            !is_name(segment + 1, name_length(segment, size)) ||
            (is_rest(segment, size) && at < len) || /* nothing can follow */
            ++holes > TC_HTTP_PARAMS_MAX) {
            return -EINVAL;
        }
    }
    return len == 0 ? -EINVAL : holes;
}

bool tc_http_pattern_hole(const char *text, size_t len, size_t index, struct tc_http_span *name)
{
    size_t size;

    for (size_t at = 0; at < len; at += size + 1) {
        const char *segment = text + at + 1;
        size = segment_at(text, len, at);
        if (is_hole(segment, size) && index-- == 0) {
            *name = (struct tc_http_span){(uint32_t)at + 2, (uint32_t)name_length(segment, size)};
            return true;
        }
    }
    return false;
}

int tc_http_pattern_match(const char *text, size_t text_len, const char *path, size_t len,
                          struct tc_http_span params[TC_HTTP_PARAMS_MAX])
{
    size_t at = 0;
    size_t from = 0;
    int holes = 0;

    while (at < text_len && from < len) {
        size_t want = segment_at(text, text_len, at);
        size_t have = segment_at(path, len, from);
        const char *segment = text + at + 1;
        if (is_hole(segment, want)) {
            if (is_rest(segment, want)) {
                have = len - from - 1;
            }
            if (have == 0) {
                return -1;
            }
            params[holes++] = (struct tc_http_span){(uint32_t)from + 1, (uint32_t)have};
        } else if (want != have || memcmp(segment, path + from + 1, want) != 0) {
            return -1;
        }
        at += want + 1;
        from += have + 1;
    }
    return at == text_len && from == len ? holes : -1;
}

/* ---- adding ------------------------------------------------------------------------------- */

static int grow(struct tc_http_patterns *patterns)
{
    uint32_t size = patterns->size == 0 ? 8 : patterns->size * 2;
    struct tc_http_pattern *items =
        tc_mem_realloc(patterns->items, patterns->size * sizeof(struct tc_http_pattern),
                       size * sizeof(struct tc_http_pattern));

    if (items == NULL) {
        return -ENOMEM;
    }
    patterns->items = items;
    patterns->size = size;
    return 0;
}

int tc_http_patterns_add(struct tc_http_patterns *patterns, const char *text, size_t len,
                         uint64_t methods, uint32_t id)
{
    int holes = tc_http_pattern_check(text, len);

    if (holes < 0) {
        return holes;
    }
    if (methods & UINT64_C(1) << TC_HTTP_GET) {
        methods |= UINT64_C(1) << TC_HTTP_HEAD;
    }
    for (uint32_t i = 0; i < patterns->count; i++) {
        const struct tc_http_pattern *other = &patterns->items[i];
        if (other->len == len && memcmp(other->text, text, len) == 0 &&
            (other->methods & methods) != 0) {
            return -EEXIST;
        }
    }
    if (patterns->count == patterns->size && grow(patterns) != 0) {
        return -ENOMEM;
    }
    char *copy = tc_mem_alloc(len);
    if (copy == NULL) {
        return -ENOMEM;
    }
    memcpy(copy, text, len);
    patterns->items[patterns->count++] = (struct tc_http_pattern){
        .text = copy, .len = len, .methods = methods, .id = id, .hole_count = (uint32_t)holes};
    return 0;
}

void tc_http_patterns_fini(struct tc_http_patterns *patterns)
{
    for (uint32_t i = 0; i < patterns->count; i++) {
        tc_mem_free(patterns->items[i].text, patterns->items[i].len);
    }
    tc_mem_free(patterns->items, patterns->size * sizeof(struct tc_http_pattern));
    memset(patterns, 0, sizeof *patterns);
}

/* ---- finding ------------------------------------------------------------------------------ */

static bool is_same(const struct tc_http_pattern *pattern, const char *path, size_t len)
{
    return pattern->len == len && memcmp(pattern->text, path, len) == 0;
}

bool tc_http_patterns_find(const struct tc_http_patterns *patterns, const char *path, size_t len,
                           enum tc_http_method method, struct tc_http_fit *match)
{
    uint64_t bit = UINT64_C(1) << method;

    match->allowed = 0;
    match->param_count = 0;
    for (uint32_t i = 0; i < patterns->count; i++) {
        const struct tc_http_pattern *pattern = &patterns->items[i];
        if (pattern->hole_count == 0 && is_same(pattern, path, len)) {
            match->allowed |= pattern->methods;
            if (pattern->methods & bit) {
                match->id = pattern->id;
                return true;
            }
        }
    }
    for (uint32_t i = 0; i < patterns->count; i++) {
        const struct tc_http_pattern *pattern = &patterns->items[i];
        if (pattern->hole_count != 0 &&
            tc_http_pattern_match(pattern->text, pattern->len, path, len, match->params) >= 0) {
            match->allowed |= pattern->methods;
            if (pattern->methods & bit) {
                match->id = pattern->id;
                match->param_count = pattern->hole_count;
                return true;
            }
        }
    }
    return false;
}

bool tc_http_patterns_has(const struct tc_http_patterns *patterns, const char *path, size_t len,
                          enum tc_http_method method)
{
    for (uint32_t i = 0; i < patterns->count; i++) {
        const struct tc_http_pattern *pattern = &patterns->items[i];
        if (pattern->hole_count == 0 && (pattern->methods & UINT64_C(1) << method) != 0 &&
            is_same(pattern, path, len)) {
            return true;
        }
    }
    return false;
}
