#include "http/response.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "http/chars.h"
#include "http/field.h"

const char *tc_http_reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };

    for (size_t i = 0; i < TC_ARRAY_LEN(reasons); i++) {
        if (reasons[i].status == status) {
            return reasons[i].text;
        }
    }
    return "Unknown";
}

/* ---- fields ------------------------------------------------------------------------------- */

/* RFC 9110 5.5: a value, without whitespace around it. */
static bool is_field_value(const char *value)
{
    size_t len = strlen(value);

    for (size_t i = 0; i < len; i++) {
        if (!tc_http_is(value[i], TC_HTTP_VALUE)) {
            return false;
        }
    }
    return len == 0 ||
           (value[0] != ' ' && value[0] != '\t' && value[len - 1] != ' ' && value[len - 1] != '\t');
}

static bool is_field_name(const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < len; i++) {
        if (!tc_http_is(name[i], TC_HTTP_TOKEN)) {
            return false;
        }
    }
    if (len == 0) {
        return false;
    }
    switch (tc_http_field_find(name, len)) {
    case TC_HTTP_FIELD_CONNECTION: /* the server's own business */
    case TC_HTTP_FIELD_CONTENT_LENGTH:
    case TC_HTTP_FIELD_CONTENT_TYPE:
    case TC_HTTP_FIELD_DATE:
    case TC_HTTP_FIELD_KEEP_ALIVE:
    case TC_HTTP_FIELD_TRAILER:
    case TC_HTTP_FIELD_TRANSFER_ENCODING:
    case TC_HTTP_FIELD_UPGRADE:
        return false;
    default:
        return true;
    }
}

bool tc_http_answer_may_have(const char *name, const char *value)
{
    return is_field_name(name) && is_field_value(value);
}

bool tc_http_answer_may_have_type(const char *content_type)
{
    return is_field_value(content_type);
}

/* ---- the head ----------------------------------------------------------------------------- */

struct head {
    char text[TC_HTTP_ANSWER_HEAD_BYTES];
    size_t len;
    bool is_full;
};

TC_PRINTF(2, 3) static void add(struct head *head, const char *format, ...)
{
    va_list args;
    size_t room = sizeof head->text - head->len;

    va_start(args, format);
    int n = vsnprintf(head->text + head->len, room, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= room) {
        head->is_full = true;
    } else {
        head->len += (size_t)n;
    }
}

static int write_head(struct head *head, const struct tc_http_response *response)
{
    add(head, "HTTP/1.1 %d %s\r\n", response->status, tc_http_reason(response->status));
    if (response->content_type != NULL) {
        if (!is_field_value(response->content_type)) {
            return -EINVAL;
        }
        add(head, "Content-Type: %s\r\n", response->content_type);
    }
    for (size_t i = 0; i < response->field_count; i++) {
        const struct tc_http_answer_field *field = &response->fields[i];
        if (!is_field_name(field->name) || !is_field_value(field->value)) {
            return -EINVAL;
        }
        add(head, "%s: %s\r\n", field->name, field->value);
    }
    if (response->status != 204 && response->status != 304) { /* RFC 9110 8.6 */
        add(head, "Content-Length: %zu\r\n", response->body_len);
    }
    return head->is_full ? -E2BIG : 0;
}

int tc_http_answer_init(struct tc_http_answer *answer, const struct tc_http_response *response)
{
    struct head head = {.len = 0};
    bool has_no_body = response->status == 204 || response->status == 304;

    memset(answer, 0, sizeof *answer);
    if (response->status < 200 || response->status > 599 ||
        (has_no_body && response->body_len != 0)) {
        return -EINVAL;
    }
    int rc = write_head(&head, response);
    if (rc != 0) {
        return rc;
    }
    answer->head = tc_mem_alloc(head.len);
    if (answer->head == NULL) {
        return -ENOMEM;
    }
    memcpy(answer->head, head.text, head.len);
    answer->head_len = head.len;
    answer->status = response->status;
    if (response->body_len != 0) {
        answer->body = tc_mem_alloc(response->body_len);
        if (answer->body == NULL) {
            tc_http_answer_fini(answer);
            return -ENOMEM;
        }
        memcpy(answer->body, response->body, response->body_len);
        answer->body_len = response->body_len;
    }
    return 0;
}

void tc_http_answer_fini(struct tc_http_answer *answer)
{
    tc_mem_free(answer->head, answer->head_len);
    tc_mem_free(answer->body, answer->body_len);
    memset(answer, 0, sizeof *answer);
}
