/* http/log_line.h — what the access log says of a request; its form is at the head of http/log.h.
 *
 * WHO MAY CALL: a worker, for a connection that it owns; nothing parks.
 */
#ifndef TC_HTTP_LOG_LINE_H
#define TC_HTTP_LOG_LINE_H

#include "http/server_internal.h"

/* What a line is made of. */
struct tc_http_remark {
    int method; /* enum tc_http_method; -1: the request could not be read, nor is the rest of it */
    int minor;
    struct tc_http_text target;
    struct tc_http_lines lines;
    int status; /* 0: there was no answer */
    uint64_t body_bytes;
};

/* Write a line, without what comes behind the User-Agent, into TC_HTTP_LOG_LINE_BYTES. Returns its
 * length, so that TC_HTTP_LOG_TAIL_BYTES are left. */
size_t tc__http_log_line(struct tc_http_part *part, struct tc_conn *conn,
                         const struct tc_http_remark *remark, char *out);

enum { TC_HTTP_LOG_TAIL_BYTES = 32 };

/* Write the rest of a line. `took_ns` < 0: the client did not take all of the answer. Returns its
 * length. */
size_t tc__http_log_tail(int64_t took_ns, char out[TC_HTTP_LOG_TAIL_BYTES]);

#endif
