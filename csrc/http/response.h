/* http/response.h — answers that are made once and sent many times.
 *
 * The head is ready but for the date and the word on the connection, which go between its fields
 * and the body; so an answer is three copies into the output.
 *
 * INVARIANTS
 *  RS1  No field of the caller's holds CR, LF or NUL, or breaks the head otherwise.
 *
 * WHO MAY CALL: any thread, on its own answer; nothing parks.
 */
#ifndef TC_HTTP_RESPONSE_H
#define TC_HTTP_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/defs.h"

enum { TC_HTTP_ANSWER_HEAD_BYTES = 4096 };

struct tc_http_answer_field {
    const char *name;
    const char *value;
};

/* What to answer. Text is copied. */
struct tc_http_response {
    int status; /* 200 to 599 */
    const char *content_type; /* NULL: none */
    const struct tc_http_answer_field *fields; /* further ones; not Content-Length, Date, ... */
    size_t field_count;
    const void *body;
    size_t body_len;
};

struct tc_http_answer {
    char *head; /* owned: status line and fields, each with CRLF */
    char *body; /* owned; NULL if empty */
    size_t head_len;
    size_t body_len;
    int status;
};

/* "Not Found" for 404, "Unknown" for a status that is not known. */
const char *tc_http_reason(int status);

/* Whether a field or a content type may be in an answer (RS1, and see below). */
bool tc_http_answer_may_have(const char *name, const char *value);
bool tc_http_answer_may_have_type(const char *content_type);

/* Make an answer. Owns: copies of everything, until fini
 * Returns 0, -EINVAL (status, a field that RS1 forbids or that the server writes itself, or a body
 * where the status allows none), -E2BIG (head), -ENOMEM; *answer is empty then. */
TC_NODISCARD int tc_http_answer_init(struct tc_http_answer *answer,
                                     const struct tc_http_response *response);

enum { TC_HTTP_NO_LENGTH = -1 };

/* Write the status line and the fields, each with CRLF, but neither date nor empty line. `length`
 * goes into Content-Length, unless it is TC_HTTP_NO_LENGTH or the status allows no body.
 * Returns the bytes written, -EINVAL, or -E2BIG if they are more than `size`. */
TC_NODISCARD ssize_t tc_http_head_write(const struct tc_http_response *response, int64_t length,
                                        char *out, size_t size);

/* False for 1xx, 204 and 304, whose messages end with their head. */
static inline bool tc_http_status_has_body(int status)
{
    return status >= 200 && status != 204 && status != 304;
}

/* Free what it owns; harmless for one that is all zero. */
void tc_http_answer_fini(struct tc_http_answer *answer);

#endif
