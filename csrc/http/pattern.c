#include "http/pattern.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

static const char rest_suffix[] = ":path";

enum { REST_SUFFIX_BYTES = sizeof rest_suffix - 1 };

/* ---- adding ------------------------------------------------------------------------------- */

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

/* Count the holes of a pattern. Returns -EINVAL if it is none. */
static int count_holes(const char *text, size_t len)
{
    int holes = 0;

    for (size_t at = 0; at < len;) {
        const char *segment = text + at + 1;
        const char *slash = text[at] != '/' ? NULL : memchr(segment, '/', len - at - 1);
        size_t size = slash == NULL ? len - at - 1 : (size_t)(slash - segment);
        if (text[at] != '/') {
            return -EINVAL;
        }
        at += size + 1;
        if (memchr(segment, '{', size) == NULL && memchr(segment, '}', size) == NULL) {
            continue;
        }
        size_t name_len = size < 2 ? 0 : size - 2;
        if (is_rest(segment, size)) {
            name_len -= REST_SUFFIX_BYTES;
            if (at < len) {
                return -EINVAL; /* nothing can follow */
            }
        }
        if (size < 2 || segment[0] != '{' || segment[size - 1] != '}' ||
            !is_name(segment + 1, name_len) || ++holes > TC_HTTP_PARAMS_MAX) {
            return -EINVAL;
        }
    }
    return len == 0 ? -EINVAL : holes;
}

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
    int holes = count_holes(text, len);

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

/* The length of the segment behind the '/' at `at`. */
static size_t segment_at(const char *text, size_t len, size_t at)
{
    const char *slash = memchr(text + at + 1, '/', len - at - 1);

    return slash == NULL ? len - at - 1 : (size_t)(slash - (text + at + 1));
}

/* Compare a pattern that has holes. */
static bool fits(const struct tc_http_pattern *pattern, const char *path, size_t len,
                 struct tc_http_span *params)
{
    const char *text = pattern->text;
    size_t at = 0;
    size_t from = 0;
    size_t hole = 0;

    while (at < pattern->len && from < len) {
        size_t want = segment_at(text, pattern->len, at);
        size_t have = segment_at(path, len, from);
        const char *segment = text + at + 1;
        if (want != 0 && segment[0] == '{') {
            if (is_rest(segment, want)) {
                have = len - from - 1;
            }
            if (have == 0) {
                return false;
            }
            params[hole++] = (struct tc_http_span){(uint32_t)from + 1, (uint32_t)have};
        } else if (want != have || memcmp(segment, path + from + 1, want) != 0) {
            return false;
        }
        at += want + 1;
        from += have + 1;
    }
    return at == pattern->len && from == len;
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
        if (pattern->hole_count != 0 && fits(pattern, path, len, match->params)) {
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
