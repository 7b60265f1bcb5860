#include "http/static_terms.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "http/chars.h"
#include "http/conditions.h"
#include "http/date.h"

enum { FIELD_BYTES = TC_HTTP_ANSWER_HEAD_BYTES / 2 }; /* what the server writes needs room, too */

static bool is_field(const char *name, const char *word)
{
    return tc_http_is_word(name, strlen(name), word, strlen(word));
}

bool tc__static_is_own_field(const char *name)
{
    static const char *const own[] = {"accept-ranges", "content-encoding", "content-range", "etag",
                                      "last-modified"};

    for (size_t i = 0; i < TC_ARRAY_LEN(own); i++) {
        if (is_field(name, own[i])) {
            return true;
        }
    }
    return false;
}

/* Returns 0 or -EINVAL. */
static int read_field(struct tc_static_terms *terms, const struct tc_http_answer_field *field)
{
    const char *value = field->value;
    size_t len = strlen(value);
    bool is_wrong = false;

    if (is_field(field->name, "etag")) {
        is_wrong = terms->etag != NULL || !tc_http_etag_is_one(value, len);
        terms->etag = value;
    } else if (is_field(field->name, "last-modified")) {
        is_wrong = terms->modified_text != NULL ||
                   tc_http_date_parse(value, len, tc_clock_wall_seconds(), &terms->modified) != 0;
        terms->modified_text = value;
    } else if (is_field(field->name, "accept-ranges")) {
        is_wrong = terms->has_ranges;
        terms->has_ranges = true;
        terms->may_range = tc_http_is_word(value, len, "bytes", 5);
    } else if (is_field(field->name, "content-range")) {
        is_wrong = !terms->is_plain;
    } else if (is_field(field->name, "x-content-type-options")) {
        terms->has_nosniff = true;
    }
    return is_wrong ? -EINVAL : 0;
}

int tc__static_terms_read(struct tc_static_terms *terms)
{
    size_t bytes = 0;

    terms->etag = NULL;
    terms->modified_text = NULL;
    terms->has_ranges = false;
    terms->may_range = true;
    terms->has_nosniff = false;
    if (terms->field_count > TC_STATIC_FIELDS_MAX ||
        (terms->content_type != NULL && strlen(terms->content_type) > TC_STATIC_TYPE_BYTES)) {
        return -E2BIG;
    }
    for (size_t i = 0; i < terms->field_count; i++) {
        const struct tc_http_answer_field *field = &terms->fields[i];
        bytes += strlen(field->name) + strlen(field->value) + 4;
        int rc = read_field(terms, field);
        if (rc != 0) {
            return rc;
        }
    }
    return bytes > FIELD_BYTES ? -E2BIG : 0;
}
