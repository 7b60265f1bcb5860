/* http/chars.h — which byte may stand where: one table of classes, and comparing without case.
 *
 * WHO MAY CALL: any thread; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_CHARS_H
#define TC_HTTP_CHARS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TC_HTTP_TOKEN = 1 << 0,  /* RFC 9110 5.6.2: tchar                                           */
    TC_HTTP_TARGET = 1 << 1, /* visible ASCII without '#'                                       */
    TC_HTTP_VALUE = 1 << 2,  /* RFC 9110 5.5: HTAB, SP, VCHAR, obs-text                         */
    TC_HTTP_HEX = 1 << 3,
    TC_HTTP_HOST = 1 << 4, /* RFC 3986 3.2.2: reg-name, with '%'                              */
    TC_HTTP_DIGIT = 1 << 5,
    TC_HTTP_SEGMENT = 1 << 6, /* in a path as itself: not '/', '\\', '%', nor a control        */
};

extern const uint8_t tc_http_classes[256]; /* of the bits above */

static inline bool tc_http_is(char c, int classes)
{
    return (tc_http_classes[(unsigned char)c] & classes) != 0;
}

/* The value of a hexadecimal digit; the caller has checked TC_HTTP_HEX. */
static inline unsigned tc_http_hex(char c)
{
    return ((unsigned)c & 15) + ((unsigned)c >> 6 & 1) * 9;
}

static inline char tc_http_lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

/* True if `text` is `word` but for the case of ASCII letters. `word` is in lower case. */
bool tc_http_is_word(const char *text, size_t len, const char *word, size_t word_len);

#endif
