#include "http/path.h"

#include <errno.h>
#include <string.h>

#include "http/chars.h"

/* The byte at text[*i], decoded; *i moves to its last byte. Returns -1 for what no path may
 * hold. */
static int path_byte(const char *text, size_t len, size_t *i)
{
    unsigned char c = (unsigned char)text[*i];
    bool is_escaped = c == '%';

    if (is_escaped) {
        if (len - *i < 3 || !tc_http_is(text[*i + 1], TC_HTTP_HEX) ||
            !tc_http_is(text[*i + 2], TC_HTTP_HEX)) {
            return -1;
        }
        c = (unsigned char)(tc_http_hex(text[*i + 1]) << 4 | tc_http_hex(text[*i + 2]));
        *i += 2;
    }
    if (c < 0x20 || c == 0x7f || c == '\\' || (is_escaped && c == '/')) {
        return -1;
    }
    return c;
}

/* A segment has been written behind the '/' at out[from]: drop it if it is empty, "." or "..".
 * Returns the new length, or -EINVAL above the root. */
static ssize_t close_segment(const char *out, size_t from, size_t len)
{
    size_t segment = len - from - 1;

    if (segment == 0 || (segment == 1 && out[len - 1] == '.')) {
        return (ssize_t)from;
    }
    if (segment != 2 || out[len - 1] != '.' || out[len - 2] != '.') {
        return (ssize_t)len;
    }
    if (from == 0) {
        return -EINVAL;
    }
    do {
        from--;
    } while (out[from] != '/');
    return (ssize_t)from;
}

ssize_t tc_http_path_decode(const char *path, size_t len, char *out, size_t size)
{
    size_t used = 0; /* of out: whole segments, each with the '/' before it */
    size_t i = 0;

    if (len != 0 && path[0] != '/') {
        return -EINVAL;
    }
    if (size == 0) {
        return -ENOSPC;
    }
    while (i < len) {
        size_t from = used;
        out[used++] = '/';
        for (i++;; i++) {
            size_t stop = len - i < size - used ? len : i + (size - used);
            while (i < stop && tc_http_is(path[i], TC_HTTP_SEGMENT)) {
                out[used++] = path[i++];
            }
            if (i == len || path[i] == '/') {
                break;
            }
            int c = path_byte(path, len, &i);
            if (c < 0) {
                return -EINVAL;
            }
            if (used == size) {
                return -ENOSPC;
            }
            out[used++] = (char)c;
        }
        ssize_t closed = close_segment(out, from, used);
        if (closed < 0) {
            return closed;
        }
        bool is_dropped = (size_t)closed != used;
        used = (size_t)closed;
        if (used == size && (i < len || is_dropped)) {
            return -ENOSPC;
        }
        if (i == len && is_dropped) {
            out[used++] = '/'; /* "/a/", "/a/.", "/a/b/..": a directory */
        }
    }
    if (used == 0) {
        out[used++] = '/';
    }
    return (ssize_t)used;
}

size_t tc_http_path_encode(const char *path, size_t len, char *out)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t used = 0;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)path[i];
        bool is_plain = c == '/' || (tc_http_is(path[i], TC_HTTP_TOKEN) && c != '%' && c != '^' &&
                                     c != '`' && c != '|' && c != '#');
        if (is_plain) {
            out[used++] = path[i];
        } else {
            out[used++] = '%';
            out[used++] = digits[c >> 4];
            out[used++] = digits[c & 15];
        }
    }
    return used;
}

/* The multiplier is Knuth's, 2^64 over the golden ratio (The Art of Computer Programming 6.4). */
static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 32;
}

uint64_t tc_http_path_hash(const char *path, size_t len)
{
    uint64_t hash = len;
    uint64_t word;

    for (; len >= sizeof word; path += sizeof word, len -= sizeof word) {
        memcpy(&word, path, sizeof word);
        hash = mix(hash, word);
    }
    word = 0;
    for (size_t i = 0; i < len; i++) {
        word = word << 8 | (unsigned char)path[i];
    }
    return mix(mix(hash, word), 0); /* one alone brings too little of the last bytes down */
}

bool tc_http_path_has_dotfile(const char *path, size_t len)
{
    for (size_t i = 1; i < len; i++) {
        if (path[i] == '.' && path[i - 1] == '/') {
            return true;
        }
    }
    return false;
}

bool tc_http_query_next(const char **at, const char *end, struct tc_http_pair *pair)
{
    const char *from = *at;

    while (from < end && *from == '&') {
        from++;
    }
    if (from >= end) {
        *at = end;
        return false;
    }
    const char *to = memchr(from, '&', (size_t)(end - from));
    if (to == NULL) {
        to = end;
    }
    const char *equals = memchr(from, '=', (size_t)(to - from));
    pair->name = from;
    pair->name_len = (size_t)((equals == NULL ? to : equals) - from);
    pair->value = equals == NULL ? to : equals + 1;
    pair->value_len = (size_t)(to - pair->value);
    *at = to;
    return true;
}

size_t tc_http_form_decode(const char *text, size_t len, char *out)
{
    size_t used = 0;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '+') {
            c = ' ';
        } else if (c == '%' && len - i >= 3 && tc_http_is(text[i + 1], TC_HTTP_HEX) &&
                   tc_http_is(text[i + 2], TC_HTTP_HEX)) {
            c = (char)(tc_http_hex(text[i + 1]) << 4 | tc_http_hex(text[i + 2]));
            i += 2;
        }
        out[used++] = c;
    }
    return used;
}
