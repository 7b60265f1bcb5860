#include "http/upload_route.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "http/handler.h"
#include "http/origin.h"
#include "http/path.h"
#include "http/server_internal.h"
#include "http/upload.h"

struct upload_route {
    struct tc_http_handler handler;
    struct tc_upload_dir *dir; /* owned */
    size_t bytes; /* of this struct */
    char prefix[]; /* as it is written in a Location, without a slash at its end */
};

/* What is too large for a fiber's stack. */
struct answer {
    struct tc_http_upload_result result;
    char location[TC_HTTP_ANSWER_HEAD_BYTES];
};

static ssize_t read_body(void *arg, void *buf, size_t len)
{
    return tc_http_body_read(arg, buf, len, TC_NEVER);
}

/* The answer. An error of sending is the connection's, which ends for it; what is stored stays. */
static void send_answer(struct upload_route *route, struct tc_http_call *call,
                        struct answer *answer)
{
    const struct tc_http_upload_result *result = &answer->result;
    char text[64];
    const struct tc_http_answer_field fields[] = {{"Location", answer->location}};
    struct tc_http_response response = {.status = result->status};

    if (result->status == 200 || result->status == 201) {
        response.content_type = "application/json";
        response.body = result->json;
        response.body_len = result->json_len;
    } else {
        (void)snprintf(text, sizeof text, "%d %s\n", result->status,
                       tc_http_reason(result->status));
        response.content_type = "text/plain";
        response.body = text;
        response.body_len = strlen(text);
    }
    if (result->id[0] != '\0') {
        (void)snprintf(answer->location, sizeof answer->location, "%s/%s", route->prefix,
                       result->id);
        response.fields = fields;
        response.field_count = 1;
    }
    if (result->status == 400 || result->status == 403) {
        tc_http_reply_is_last(call);
    }
    TC_IGNORE(tc_http_reply(call, &response)); /* see above */
}

static void upload_serve(struct tc_http_handler *handler, struct tc_http_call *call)
{
    struct upload_route *route = tc_container_of(handler, struct upload_route, handler);
    struct tc_http_text rest = tc_http_call_rest(call);
    struct tc_http_source source = tc_http_source_of(call);
    struct tc_http_text type;
    bool has_type = tc_http_call_field(call, TC_HTTP_FIELD_CONTENT_TYPE, &type);
    int64_t length = tc_http_call_content_length(call);
    bool has_name = rest.len > 1; /* behind the slash */
    struct tc_http_upload_request request = {
        .method = (int)tc_http_call_method(call),
        .is_foreign = tc_http_source_is_foreign(&source, route->dir->options.origins),
        .name = has_name ? rest.at + 1 : NULL,
        .name_len = has_name ? rest.len - 1 : 0,
        .content_type = has_type ? type.at : NULL,
        .content_type_len = type.len,
        .has_body = length >= 0 || tc_http_call_is_chunked(call),
        .content_length = length,
        .read = read_body,
        .arg = call,
    };
    struct answer *answer = tc_mem_alloc(sizeof *answer);

    if (answer == NULL) {
        return; /* 500 */
    }
    tc_http_upload(route->dir, &request, &answer->result);
    if (answer->result.read_error == 0) { /* or else the server knows what to say */
        send_answer(route, call, answer);
    }
    tc_mem_free(answer, sizeof *answer);
}

static void upload_free(struct tc_http_handler *handler)
{
    struct upload_route *route = tc_container_of(handler, struct upload_route, handler);

    tc_upload_dir_close(route->dir);
    tc_mem_free(route, route->bytes);
}

static const struct tc_http_handler_ops upload_ops = {
    .name = "upload",
    .serve = upload_serve,
    .free = upload_free,
};

static int make_route(const char *prefix, struct tc_upload_dir *dir, struct upload_route **out)
{
    size_t len = strlen(prefix);
    size_t bytes = sizeof(struct upload_route) + 3 * len + 1;
    char decoded[TC_HTTP_ANSWER_HEAD_BYTES / 4];

    if (len == 0 || len > sizeof decoded) {
        return -EINVAL;
    }
    ssize_t n = tc_http_path_decode(prefix, len, decoded, sizeof decoded);
    if (n < 0) {
        return (int)n;
    }
    if (decoded[n - 1] == '/') {
        n--;
    }
    struct upload_route *route = tc_mem_alloc(bytes);
    if (route == NULL) {
        return -ENOMEM;
    }
    route->handler.ops = &upload_ops;
    route->bytes = bytes;
    route->prefix[tc_http_path_encode(decoded, (size_t)n, route->prefix)] = '\0';
    route->dir = dir;
    *out = route;
    return 0;
}

int tc_http_server_upload_dir(struct tc_http_server *server, const char *prefix,
                              struct tc_upload_dir *dir)
{
    struct tc_http_route_options route_options = {
        .methods = TC_HTTP_METHOD_BIT(TC_HTTP_PUT) | TC_HTTP_METHOD_BIT(TC_HTTP_POST),
        .max_body = TC_NEVER, /* a file has its limit, and a form its own */
        .match = TC_HTTP_MATCH_PREFIX,
    };
    struct upload_route *route;
    int rc = make_route(prefix, dir, &route);

    if (rc != 0) {
        return rc;
    }
    route_options.path = route->prefix[0] == '\0' ? "/" : route->prefix;
    rc = tc_http_server_route(server, &route_options, &route->handler);
    if (rc != 0) {
        tc_mem_free(route, route->bytes);
        return rc;
    }
    dir->next = server->uploads;
    server->uploads = dir;
    return 0;
}

int tc_http_server_upload(struct tc_http_server *server, const char *prefix, const char *directory,
                          const struct tc_upload_options *options, struct tc_upload_dir **out)
{
    struct tc_upload_dir *dir;
    int rc = tc_upload_dir_open(directory, options, &dir);

    if (rc != 0) {
        return rc;
    }
    rc = tc_http_server_upload_dir(server, prefix, dir);
    if (rc != 0) {
        tc_upload_dir_close(dir);
        return rc;
    }
    if (out != NULL) {
        *out = dir;
    }
    return 0;
}

size_t tc_http_server_upload_progress(const struct tc_http_server *server,
                                      struct tc_upload_progress *out, size_t max)
{
    size_t in_progress = 0;

    for (struct tc_upload_dir *dir = server->uploads; dir != NULL; dir = dir->next) {
        size_t shown = in_progress < max ? in_progress : max;
        in_progress += tc_upload_dir_progress(dir, out + shown, max - shown);
    }
    return in_progress;
}

void tc_http_server_upload_statistics(const struct tc_http_server *server,
                                      struct tc_upload_statistics *out)
{
    memset(out, 0, sizeof *out);
    for (struct tc_upload_dir *dir = server->uploads; dir != NULL; dir = dir->next) {
        struct tc_upload_statistics one;
        tc_upload_dir_statistics(dir, &one);
        out->bytes_received += one.bytes_received;
        out->files_in_progress += one.files_in_progress;
        out->files_stored += one.files_stored;
        out->files_failed += one.files_failed;
    }
}
