#include "http/server.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "http/chunked.h"
#include "http/desk_stream.h"
#include "http/log.h"
#include "http/path.h"
#include "http/server_internal.h"
#include "sched/runtime_internal.h"

/* ---- making ------------------------------------------------------------------------------- */

static int make_own_answers(struct tc_http_server *server)
{
    static const int statuses[] = {
#define OWN_STATUS(status) status,
        TC_HTTP_OWN_STATUSES(OWN_STATUS)
#undef OWN_STATUS
    };
    for (size_t i = 0; i < TC_ARRAY_LEN(statuses); i++) {
        char text[64];
        bool is_empty = statuses[i] == 204;
        int len = snprintf(text, sizeof text, "%d %s\n", statuses[i], tc_http_reason(statuses[i]));
        struct tc_http_response response = {
            .status = statuses[i],
            .content_type = is_empty ? NULL : "text/plain",
            .body = text,
            .body_len = is_empty ? 0 : (size_t)len,
        };
        int rc = tc_http_answer_init(&server->own[i], &response);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int64_t value_or(int64_t value, int64_t otherwise)
{
    return value == 0 ? otherwise : value;
}

static void set_patience(struct tc_http_server *server, const struct tc_http_options *options)
{
    server->header_timeout_ns = value_or(options->header_timeout_ns, TC_HTTP_HEADER_TIMEOUT_NS);
    server->body_timeout_ns = value_or(options->body_timeout_ns, TC_HTTP_BODY_TIMEOUT_NS);
    server->body_grace_ns = value_or(options->body_grace_ns, TC_HTTP_BODY_GRACE_NS);
    server->body_rate = options->body_rate == 0 ? TC_HTTP_BODY_RATE : options->body_rate;
    server->max_body = value_or(options->max_body, TC_HTTP_MAX_BODY);
    server->skip_timeout_ns = value_or(options->skip_timeout_ns, TC_HTTP_SKIP_TIMEOUT_NS);
    server->skip_bytes = options->skip_bytes == 0 ? TC_HTTP_SKIP_BYTES : options->skip_bytes;
    server->chunk_extension_bytes =
        (uint16_t)value_or(options->chunk_extension_bytes, TC_CHUNKED_EXTENSION_BYTES);
    server->net_options.idle_timeout_ns =
        value_or(options->net.idle_timeout_ns, TC_HTTP_KEEP_ALIVE_NS);
    server->net_options.drain_grace_ns =
        value_or(options->net.drain_grace_ns, TC_HTTP_DRAIN_GRACE_NS);
}

int tc_http_server_new(const struct tc_http_options *options, struct tc_http_server **out)
{
    struct tc_http_limits limits = options->limits;

    limits.line_bytes = limits.line_bytes == 0 ? TC_HTTP_LINE_BYTES : limits.line_bytes;
    limits.head_bytes = limits.head_bytes == 0 ? TC_HTTP_HEAD_BYTES : limits.head_bytes;
    limits.fields = limits.fields == 0 ? TC_HTTP_FIELDS_MAX : limits.fields;
    if (limits.line_bytes > TC_HTTP_SERVER_HEAD_BYTES_MAX ||
        limits.head_bytes > TC_HTTP_SERVER_HEAD_BYTES_MAX || limits.fields > TC_HTTP_FIELDS_MAX ||
        options->header_timeout_ns < 0 || options->body_timeout_ns < 0 ||
        options->body_grace_ns < 0 || options->max_body < 0 || options->skip_timeout_ns < 0 ||
        options->chunk_extension_bytes > TC_CHUNKED_EXTENSIONS_BYTES) {
        return -EINVAL;
    }
    struct tc_http_server *server = tc_mem_zalloc(sizeof *server);
    if (server == NULL) {
        return -ENOMEM;
    }
    server->protocol = tc__http_protocol;
    server->net_options = options->net;
    server->limits = limits;
    tc_lock_init(&server->lock, TC_RANK_CALL);
    set_patience(server, options);
    server->desk = options->desk;
    if (server->desk != NULL) {
        tc_http_desk_acquire(server->desk);
        server->desk_handler.ops = &tc__desk_handler_ops;
        server->desk_route = (struct tc_http_route){
            .max_body = (int64_t)server->desk->max_body,
            .match = TC_HTTP_MATCH_EXACT,
            .handler = &server->desk_handler,
        };
    }
    int rc = make_own_answers(server);
    if (rc != 0) {
        tc_http_server_free(server);
        return rc;
    }
    *out = server;
    return 0;
}

/* ---- routes ------------------------------------------------------------------------------- */

/* Readers may still hold the table that was replaced, once there are readers. */
static void retire_table(struct tc_http_server *server, struct tc_http_table *table)
{
    if (table == NULL) {
        return;
    }
    if (server->runtime == NULL) {
        tc_http_table_free(&table->retired);
    } else {
        tc_ebr_retire_orphan(&server->runtime->ebr, &table->retired, tc_http_table_free);
    }
}

/* Add a route to `path`, which is decoded first. What `route` owns besides is taken on 0 only. */
static int add_route(struct tc_http_server *server, const char *path, struct tc_http_route *route)
{
    struct tc_http_table *old = NULL;
    size_t len = strlen(path);
    char *decoded = tc_mem_alloc(len + 1);

    if (decoded == NULL) {
        return -ENOMEM;
    }
    ssize_t n = len == 0 ? -EINVAL : tc_http_path_decode(path, len, decoded, len);
    int rc = n < 0 ? (int)n : 0;
    if (rc == 0) {
        route->path_len = (size_t)n;
        route->path = tc_mem_alloc(route->path_len);
        rc = route->path == NULL ? -ENOMEM : 0;
    }
    if (rc == 0) {
        memcpy(route->path, decoded, route->path_len);
        tc_lock_acquire(&server->lock);
        route->id = server->route_count;
        rc = tc_http_router_add(&server->router, route, TC_HTTP_ROUTES_MAX, &old);
        server->route_count += rc == 0 ? 1 : 0;
        tc_lock_release(&server->lock);
        if (rc != 0) {
            tc_mem_free(route->path, route->path_len);
        }
        retire_table(server, old);
    }
    tc_mem_free(decoded, len + 1);
    return rc;
}

int tc_http_server_respond(struct tc_http_server *server, const char *path,
                           const struct tc_http_response *response)
{
    struct tc_http_route route = {
        .methods = TC_HTTP_METHOD_BIT(TC_HTTP_GET),
        .match = TC_HTTP_MATCH_EXACT,
    };
    int rc = tc_http_answer_init(&route.answer, response);

    if (rc == 0) {
        rc = add_route(server, path, &route);
        if (rc != 0) {
            tc_http_answer_fini(&route.answer);
        }
    }
    return rc;
}

int tc_http_server_route(struct tc_http_server *server, const struct tc_http_route_options *options,
                         struct tc_http_handler *handler)
{
    struct tc_http_route route = {
        .methods = options->methods,
        .max_body = options->max_body == 0 ? server->max_body : options->max_body,
        .match = options->match,
        .handler = handler,
    };

    if (options->methods == 0 || options->methods >> TC_HTTP_METHOD_COUNT != 0 ||
        options->match > TC_HTTP_MATCH_PATTERN || options->max_body < 0) {
        return -EINVAL;
    }
    return add_route(server, options->path, &route);
}

/* ---- life --------------------------------------------------------------------------------- */

int tc_http_server_start(struct tc_http_server *server, struct tc_runtime *runtime)
{
    if (server->net != NULL) {
        return -EBUSY;
    }
    uint32_t count = tc_runtime_workers(runtime);
    size_t bytes = count * sizeof(struct tc_http_part);
    server->parts = tc_mem_alloc_aligned(TC_CACHELINE, bytes);
    if (server->parts == NULL) {
        return -ENOMEM;
    }
    memset(server->parts, 0, bytes);
    server->part_count = count;
    for (uint32_t i = 0; i < count; i++) {
        server->parts[i].date_until_ns = INT64_MIN;
        server->parts[i].log_seconds = INT64_MIN;
    }
    server->runtime = runtime;
    int rc = server->desk == NULL ? 0 : tc__http_desk_open(server->desk, runtime);
    if (rc == 0 && server->log != NULL) {
        rc = tc__http_log_start(server->log, count);
    }
    if (rc == 0) {
        rc = tc_server_start(runtime, &server->protocol, &server->net_options, &server->net);
    }
    if (rc != 0) {
        tc_mem_free(server->parts, bytes);
        server->parts = NULL;
        server->part_count = 0;
        server->net = NULL;
        server->runtime = NULL;
    }
    return rc;
}

void tc_http_server_set_log(struct tc_http_server *server, struct tc_http_log *log)
{
    tc_assert(server->net == NULL && server->log == NULL);
    server->log = log;
}

struct tc_server *tc_http_server_net(const struct tc_http_server *server)
{
    return server->net;
}

void tc_http_server_statistics(const struct tc_http_server *server, struct tc_http_statistics *out)
{
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < server->part_count; i++) {
        const struct tc_http_part *part = &server->parts[i];
        /* relaxed: single-writer counters, summed at leisure */
        out->requests += tc_load_relaxed(&part->requests);
        out->refused += tc_load_relaxed(&part->refused); /* relaxed: see above */
        out->header_timeouts += tc_load_relaxed(&part->header_timeouts); /* relaxed: see above */
    }
    if (server->log != NULL) {
        tc_http_log_counts(server->log, &out->log_lines, &out->log_dropped);
    }
    if (server->desk != NULL) {
        out->handled = tc_load_relaxed(&server->desk->handled); /* relaxed: see above */
        out->batches = tc_load_relaxed(&server->desk->batches); /* relaxed: see above */
    }
}

void tc_http_server_end_log(struct tc_http_server *server)
{
    if (server->log != NULL) {
        tc_http_log_end(server->log);
    }
}

void tc_http_server_free(struct tc_http_server *server)
{
    if (server->net != NULL) {
        tc_server_free(server->net);
    }
    tc_http_log_free(server->log);
    if (server->desk != NULL) {
        tc_http_desk_withdraw(server->desk);
    }
    tc_http_router_fini(&server->router);
    for (size_t i = 0; i < TC_HTTP_OWN_COUNT; i++) {
        tc_http_answer_fini(&server->own[i]);
    }
    for (uint32_t i = 0; i < server->part_count; i++) {
        tc_http_latency_fini(&server->parts[i].latencies);
    }
    tc_mem_free(server->parts, server->part_count * sizeof(struct tc_http_part));
    tc_mem_free(server, sizeof *server);
}
