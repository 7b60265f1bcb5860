#include "http/response.h"

#include <errno.h>
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
    char *text;
    size_t len;
    size_t size;
};

static void add(struct head *head, const char *text, size_t len)
{
    if (len <= head->size - head->len) {
        memcpy(head->text + head->len, text, len);
        head->len += len;
    } else {
        head->size = head->len; /* full: nothing more fits */
    }
}

static void add_field(struct head *head, const char *name, const char *value)
{
    add(head, name, strlen(name));
    add(head, ": ", 2);
    add(head, value, strlen(value));
    add(head, "\r\n", 2);
}

static void add_number(struct head *head, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    add(head, digits + at, sizeof digits - at);
}

static int add_fields(struct head *head, const struct tc_http_response *response)
{
    if (response->content_type != NULL) {
        if (!is_field_value(response->content_type)) {
            return -EINVAL;
        }
        add_field(head, "Content-Type", response->content_type);
    }
    for (size_t i = 0; i < response->field_count; i++) {
        const struct tc_http_answer_field *field = &response->fields[i];
        if (!is_field_name(field->name) || !is_field_value(field->value)) {
            return -EINVAL;
        }
        add_field(head, field->name, field->value);
    }
    return 0;
}

ssize_t tc_http_head_write(const struct tc_http_response *response, int64_t length, char *out,
                           size_t size)
{
    struct head head = {.text = out, .size = size};
    const char *reason = tc_http_reason(response->status);

    if (response->status < 200 || response->status > 599) {
        return -EINVAL;
    }
    add(&head, "HTTP/1.1 ", 9);
    add_number(&head, (uint64_t)response->status);
    add(&head, " ", 1);
    add(&head, reason, strlen(reason));
    add(&head, "\r\n", 2);
    int rc = add_fields(&head, response);
    if (rc != 0) {
        return rc;
    }
    if (length >= 0 && tc_http_status_has_body(response->status)) { /* RFC 9110 8.6 */
        add(&head, "Content-Length: ", 16);
        add_number(&head, (uint64_t)length);
        add(&head, "\r\n", 2);
    }
    return head.size != size ? -E2BIG : (ssize_t)head.len;
}

int tc_http_answer_init(struct tc_http_answer *answer, const struct tc_http_response *response)
{
    char head[TC_HTTP_ANSWER_HEAD_BYTES];

    memset(answer, 0, sizeof *answer);
    if (!tc_http_status_has_body(response->status) && response->body_len != 0) {
        return -EINVAL;
    }
    ssize_t len = tc_http_head_write(response, (int64_t)response->body_len, head, sizeof head);
    if (len < 0) {
        return (int)len;
    }
    answer->head = tc_mem_alloc((size_t)len);
    if (answer->head == NULL) {
        return -ENOMEM;
    }
    memcpy(answer->head, head, (size_t)len);
    answer->head_len = (size_t)len;
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
