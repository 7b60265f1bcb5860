/* http/json.h — write JSON into a buffer of fixed size.
 *
 * What does not fit is dropped, and `is_full` says so in the end.
 *
 * WHO MAY CALL: any thread, on its own writer; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_JSON_H
#define TC_HTTP_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"

struct tc_json {
    char *text; /* borrowed */
    size_t size;
    size_t len;
    bool is_full;
};

/* Text as it stands. */
void tc_json_raw(struct tc_json *json, const char *text);

/* A string in quotes. What is no UTF-8 becomes U+FFFD, a byte at a time. */
void tc_json_string(struct tc_json *json, const char *text, size_t len);

void tc_json_number(struct tc_json *json, uint64_t number);

#endif
