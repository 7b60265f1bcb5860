/* http/static_terms.h — what is said of a file beside what it is: a status, a content type, fields.
 *
 * The fields go with 200, 206 and 304, and come before those that the server would write by itself:
 * an ETag or Last-Modified among them is what conditions are held against, Accept-Ranges decides
 * whether there are ranges.
 *
 * WHO MAY CALL: any thread, on its own terms; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_STATIC_TERMS_H
#define TC_HTTP_STATIC_TERMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/response.h"

enum {
    TC_STATIC_FIELDS_MAX = 32,
    TC_STATIC_TYPE_BYTES = 255, /* of a content type; it also stands in each part of several */
};

struct tc_static_terms {
    int status; /* of the whole file */
    bool is_plain; /* the whole file, whatever the request says, and no word on conditions */
    bool is_typed; /* by content_type, else by the file's name */
    const char *content_type; /* borrowed; NULL: none */
    const struct tc_http_answer_field *fields; /* borrowed */
    size_t field_count;
    /* What is among the fields, by tc__static_terms_read: */
    const char *etag; /* NULL: no ETag */
    const char *modified_text; /* NULL: no Last-Modified */
    int64_t modified; /* that, in seconds since 1970 */
    bool has_ranges; /* Accept-Ranges */
    bool may_range; /* it says bytes, or is not there */
    bool has_nosniff; /* X-Content-Type-Options */
};

/* Read the fields. Each of them is one that tc_http_answer_may_have, and so is the type.
 * Returns 0; -EINVAL: two of what there can be one of, an ETag or a Last-Modified that is none, or
 * Content-Range where ranges are answered; -E2BIG: too many or too long. */
TC_NODISCARD int tc__static_terms_read(struct tc_static_terms *terms);

/* True if a file's answer has this field by itself. */
bool tc__static_is_own_field(const char *name);

#endif
