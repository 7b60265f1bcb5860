#include "http/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void put(struct tc_json *json, const char *text, size_t len)
{
    if (json->is_full || len > json->size - json->len) {
        json->is_full = true;
        return;
    }
    memcpy(json->text + json->len, text, len);
    json->len += len;
}

void tc_json_raw(struct tc_json *json, const char *text)
{
    put(json, text, strlen(text));
}

void tc_json_number(struct tc_json *json, uint64_t number)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, number);

    put(json, digits, (size_t)len);
}

/* RFC 3629 4: the length of the character that begins here, 0 if none does. */
static size_t utf8_length(const unsigned char *at, size_t len)
{
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t need;

    if (at[0] < 0x80) {
        return 1;
    }
    if (at[0] < 0xc2 || at[0] > 0xf4) {
        return 0;
    }
    need = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (at[0] == 0xe0) {
        low = 0xa0;
    } else if (at[0] == 0xed) {
        high = 0x9f;
    } else if (at[0] == 0xf0) {
        low = 0x90;
    } else if (at[0] == 0xf4) {
        high = 0x8f;
    }
    if (len < need || at[1] < low || at[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < need; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return need;
}

void tc_json_string(struct tc_json *json, const char *text, size_t len)
{
    const unsigned char *at = (const unsigned char *)text;
    char escape[8];

    put(json, "\"", 1);
    while (len > 0) {
        size_t n = utf8_length(at, len);
        if (n == 0) {
            put(json, "\\ufffd", 6);
            n = 1;
        } else if (at[0] == '"' || at[0] == '\\') {
            escape[0] = '\\';
            escape[1] = (char)at[0];
            put(json, escape, 2);
        } else if (at[0] < 0x20) {
            int used = snprintf(escape, sizeof escape, "\\u%04x", at[0]);
            put(json, escape, (size_t)used);
        } else {
            put(json, (const char *)at, n);
        }
        at += n;
        len -= n;
    }
    put(json, "\"", 1);
}
