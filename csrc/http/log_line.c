#include "http/log_line.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "net/addr.h"

enum { TARGET_BYTES = 4096, REFERER_BYTES = 1024, AGENT_BYTES = 512, WORDS_BYTES = 160 };

_Static_assert((int)TC_ADDR_TEXT_BYTES + (int)TC_HTTP_LOG_DATE_BYTES + (int)TARGET_BYTES +
                       (int)REFERER_BYTES + (int)AGENT_BYTES + (int)WORDS_BYTES +
                       (int)TC_HTTP_LOG_TAIL_BYTES <
                   (int)TC_HTTP_LOG_LINE_BYTES,
               "the longest line must fit");

/* "25/Nov/2026:21:20:01 +0000", made once a second, out of "Wed, 25 Nov 2026 21:20:01 GMT". */
static const char *date_of(struct tc_http_part *part)
{
    static const char zone[6] = {' ', '+', '0', '0', '0', '0'};
    int64_t now = tc_clock_wall_seconds();
    char date[TC_HTTP_DATE_BYTES];
    char *out = part->log_date;

    if (part->log_seconds != now) {
        part->log_seconds = now;
        tc_http_date_format(now, date);
        memcpy(out, date + 5, 2);
        out[2] = '/';
        memcpy(out + 3, date + 8, 3);
        out[6] = '/';
        memcpy(out + 7, date + 12, 4);
        out[11] = ':';
        memcpy(out + 12, date + 17, 8);
        memcpy(out + 20, zone, sizeof zone);
    }
    return out;
}

static size_t put(char *out, const char *text, size_t len)
{
    memcpy(out, text, len);
    return len;
}

static size_t put_text(char *out, const char *text)
{
    return put(out, text, strlen(text));
}

/* The first line of a field, quoted; "-" if there is none. */
static size_t put_field(const struct tc_http_remark *remark, enum tc_http_field field, char *out,
                        size_t max)
{
    uint32_t index = 0;
    const struct tc_http_field_line *line = tc_http_lines_next(&remark->lines, field, &index);

    if (line == NULL) {
        return put_text(out, " \"-\"");
    }
    size_t at = put_text(out, " \"");
    at += tc_http_log_escape(remark->lines.base + line->value.at, line->value.len, out + at, max);
    return at + put_text(out + at, "\"");
}

static size_t put_request(const struct tc_http_remark *remark, char *out)
{
    size_t at = put_text(out, "] \"");

    if (remark->method < 0) {
        return at + put_text(out + at, "-\"");
    }
    at += put_text(out + at, tc_http_method_name((enum tc_http_method)remark->method));
    at += put_text(out + at, " ");
    at += tc_http_log_escape(remark->target.at, remark->target.len, out + at, TARGET_BYTES);
    return at + put_text(out + at, remark->minor == 0 ? " HTTP/1.0\"" : " HTTP/1.1\"");
}

size_t tc__http_log_line(struct tc_http_part *part, struct tc_conn *conn,
                         const struct tc_http_remark *remark, char *out)
{
    struct tc_addr peer;
    size_t at;

    if (tc_stream_peer_address(tc_conn_stream(conn), &peer) == 0) {
        at = tc_addr_format_host(&peer, out, TC_ADDR_TEXT_BYTES);
    } else {
        at = put_text(out, "-"); /* it has gone */
    }
    at += put_text(out + at, " - - [");
    at += put(out + at, date_of(part), TC_HTTP_LOG_DATE_BYTES);
    at += put_request(remark, out + at);
    if (remark->status == 0) {
        at += put_text(out + at, " - 0");
    } else {
        at += (size_t)snprintf(out + at, 32, " %d %llu", remark->status,
                               (unsigned long long)remark->body_bytes);
    }
    at += put_field(remark, TC_HTTP_FIELD_REFERER, out + at, REFERER_BYTES);
    at += put_field(remark, TC_HTTP_FIELD_USER_AGENT, out + at, AGENT_BYTES);
    return at;
}

size_t tc__http_log_tail(int64_t took_ns, char out[TC_HTTP_LOG_TAIL_BYTES])
{
    if (took_ns < 0) {
        return put_text(out, " -\n");
    }
    int64_t us = (took_ns + 999) / 1000;
    return (size_t)snprintf(out, TC_HTTP_LOG_TAIL_BYTES, " %lld.%06lld\n",
                            (long long)(us / 1000000), (long long)(us % 1000000));
}
