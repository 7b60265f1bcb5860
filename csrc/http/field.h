/* http/field.h — the fields that a server knows by number, and how a name becomes one.
 *
 * One multiplication-free hash of length, first and last byte leads to the only candidate; the name
 * is then compared eight bytes at a time. Setting bit 5 of every byte folds the case: among tchars
 * no two bytes but the two cases of a letter become the same letter or '-' by that.
 *
 * WHO MAY CALL: any thread; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_FIELD_H
#define TC_HTTP_FIELD_H

#include <stdint.h>
#include <string.h>

#include "http/chars.h"

/* name, spelling, first byte, last byte */
#define TC_HTTP_FIELDS(X) \
    X(ACCEPT, "accept", 'a', 't') \
    X(ACCEPT_ENCODING, "accept-encoding", 'a', 'g') \
    X(ACCEPT_LANGUAGE, "accept-language", 'a', 'e') \
    X(AUTHORIZATION, "authorization", 'a', 'n') \
    X(CACHE_CONTROL, "cache-control", 'c', 'l') \
    X(CONNECTION, "connection", 'c', 'n') \
    X(CONTENT_DISPOSITION, "content-disposition", 'c', 'n') \
    X(CONTENT_ENCODING, "content-encoding", 'c', 'g') \
    X(CONTENT_LENGTH, "content-length", 'c', 'h') \
    X(CONTENT_TYPE, "content-type", 'c', 'e') \
    X(COOKIE, "cookie", 'c', 'e') \
    X(DATE, "date", 'd', 'e') \
    X(EXPECT, "expect", 'e', 't') \
    X(FORWARDED, "forwarded", 'f', 'd') \
    X(HOST, "host", 'h', 't') \
    X(IF_MATCH, "if-match", 'i', 'h') \
    X(IF_MODIFIED_SINCE, "if-modified-since", 'i', 'e') \
    X(IF_NONE_MATCH, "if-none-match", 'i', 'h') \
    X(IF_RANGE, "if-range", 'i', 'e') \
    X(IF_UNMODIFIED_SINCE, "if-unmodified-since", 'i', 'e') \
    X(KEEP_ALIVE, "keep-alive", 'k', 'e') \
    X(ORIGIN, "origin", 'o', 'n') \
    X(PRAGMA, "pragma", 'p', 'a') \
    X(RANGE, "range", 'r', 'e') \
    X(REFERER, "referer", 'r', 'r') \
    X(TE, "te", 't', 'e') \
    X(TRAILER, "trailer", 't', 'r') \
    X(TRANSFER_ENCODING, "transfer-encoding", 't', 'g') \
    X(UPGRADE, "upgrade", 'u', 'e') \
    X(USER_AGENT, "user-agent", 'u', 't') \
    X(VIA, "via", 'v', 'a') \
    X(X_FORWARDED_FOR, "x-forwarded-for", 'x', 'r') \
    X(X_FORWARDED_HOST, "x-forwarded-host", 'x', 't') \
    X(X_FORWARDED_PROTO, "x-forwarded-proto", 'x', 'o') \
    X(X_REQUEST_ID, "x-request-id", 'x', 'd')

enum tc_http_field {
    TC_HTTP_FIELD_OTHER, /* a name that is not in the list */
#define TC_HTTP_FIELD_VALUE(name, spelling, first, last) TC_HTTP_FIELD_##name,
    TC_HTTP_FIELDS(TC_HTTP_FIELD_VALUE)
#undef TC_HTTP_FIELD_VALUE
        TC_HTTP_FIELD_COUNT,
};

/* A spelling and its length; entry 0 is empty. */
struct tc_http_field_name {
    const char *text; /* in lower case */
    uint32_t len;
};

extern const struct tc_http_field_name tc_http_field_names[TC_HTTP_FIELD_COUNT];

enum { TC_HTTP_FIELD_SLOTS = 128 };

/* Which field can be meant by a name of this length, first and last byte; both in lower case. Two
 * fields in one slot are a compile-time error in field.c. */
#define TC_HTTP_FIELD_SLOT(len, first, last) \
    (((unsigned)(len) + 3U * (unsigned)(first) + 35U * (unsigned)(last)) & \
     (TC_HTTP_FIELD_SLOTS - 1))

extern const uint8_t tc_http_field_slots[TC_HTTP_FIELD_SLOTS]; /* of enum tc_http_field */

static inline uint64_t tc__http_fold_8(const char *text)
{
    uint64_t bytes;

    memcpy(&bytes, text, sizeof bytes);
    return bytes | UINT64_C(0x2020202020202020);
}

static inline bool tc__http_is_field(const char *name, size_t len, const char *spelling)
{
    if (len < 8) {
        for (size_t i = 0; i < len; i++) {
            if ((name[i] | 0x20) != spelling[i]) {
                return false;
            }
        }
        return true;
    }
    uint64_t differ = tc__http_fold_8(name + len - 8) ^ tc__http_fold_8(spelling + len - 8);
    for (size_t i = 0; i + 8 < len; i += 8) {
        differ |= tc__http_fold_8(name + i) ^ tc__http_fold_8(spelling + i);
    }
    return differ == 0;
}

/* The number of a field name, which must be a token of at least one byte. */
static inline enum tc_http_field tc_http_field_find(const char *name, size_t len)
{
    unsigned slot = TC_HTTP_FIELD_SLOT(len, name[0] | 0x20, name[len - 1] | 0x20);
    const struct tc_http_field_name *known = &tc_http_field_names[tc_http_field_slots[slot]];

    if (known->len != len || !tc__http_is_field(name, len, known->text)) {
        return TC_HTTP_FIELD_OTHER;
    }
    return (enum tc_http_field)tc_http_field_slots[slot];
}

#endif
