#include "http/disposition.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* Text that has room to grow. */
struct writer {
    char *at;
    size_t len;
};

static void put(struct writer *writer, const char *text)
{
    size_t len = strlen(text);

    memcpy(writer->at + writer->len, text, len);
    writer->len += len;
}

static bool is_control(unsigned char c)
{
    return c < 0x20 || c == 0x7f;
}

/* What may be in a quoted string so that every client reads it the same way: some take a backslash
 * for itself, some decode an escape (RFC 6266 appendix D). */
static bool is_plain(unsigned char c)
{
    return c < 0x80 && c != '"' && c != '\\' && c != '%';
}

/* RFC 8187 3.2.1: attr-char. */
static bool is_attribute(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c != '\0' && strchr("!#$&+-.^_`|~", c) != NULL);
}

static void put_escaped(struct writer *writer, unsigned char c)
{
    static const char digits[] = "0123456789ABCDEF";

    if (is_attribute(c)) {
        writer->at[writer->len++] = (char)c;
    } else {
        writer->at[writer->len++] = '%';
        writer->at[writer->len++] = digits[c >> 4];
        writer->at[writer->len++] = digits[c & 15];
    }
}

ssize_t tc_http_disposition_write(const char *name, size_t len, char *out)
{
    struct writer writer = {.at = out};
    bool all_plain = true;

    if (len == 0) {
        return -EINVAL;
    }
    put(&writer, "attachment; filename=\"");
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c == '/' || is_control(c)) {
            return -EINVAL;
        }
        all_plain = all_plain && is_plain(c);
        if ((c & 0xc0) != 0x80) { /* the first byte of a character */
            out[writer.len++] = is_plain(c) ? (char)c : '_';
        }
    }
    put(&writer, "\"");
    if (!all_plain) {
        put(&writer, "; filename*=UTF-8''");
        for (size_t i = 0; i < len; i++) {
            put_escaped(&writer, (unsigned char)name[i]);
        }
    }
    out[writer.len] = '\0';
    return (ssize_t)writer.len;
}
