#include "http/static.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"
#include "http/path.h"
#include "http/static_cache.h"
#include "http/static_file.h"
#include "http/static_send.h"
#include "sched/worker.h"

enum { LOCATION_BYTES = TC_HTTP_ANSWER_HEAD_BYTES - 512 };

struct tc_static {
    struct tc_http_handler handler;
    struct tc_static_root root;
    struct tc_http_answer_field fields[TC_STATIC_FIELDS_MAX]; /* owned text; root.terms.fields */
    int64_t recheck_ns;
    _Atomic uint64_t lookups;
    _Atomic uint64_t offloads;
    struct tc_static_cache cache;
};

static struct tc_static *route_of(struct tc_http_handler *handler)
{
    return tc_container_of(handler, struct tc_static, handler);
}

/* ---- without a fiber ---------------------------------------------------------------------- */

/* True if the file may be sent as it is remembered: it was looked at lately, or is being looked
 * at. */
static bool is_fresh(const struct tc_static *route, const struct tc_static_file *file,
                     int64_t now_ns)
{
    /* relaxed: times; the file itself is constant */
    int64_t until_ns = tc_load_relaxed(&file->fresh_until_ns);

    return now_ns < until_ns || (now_ns < tc_deadline_add_ns(until_ns, route->recheck_ns) &&
                                 tc_load_relaxed(&file->is_checking)); /* relaxed: see above */
}

/* What only serve looks at. */
static bool is_plain(const struct tc_http_request *request)
{
    return request->first[TC_HTTP_FIELD_RANGE] == 0 &&
           request->first[TC_HTTP_FIELD_IF_MATCH] == 0 &&
           request->first[TC_HTTP_FIELD_IF_UNMODIFIED_SINCE] == 0;
}

static const struct tc_http_answer *static_glance(struct tc_http_handler *handler,
                                                  const struct tc_http_glimpse *glimpse)
{
    struct tc_static *route = route_of(handler);
    const struct tc_http_request *request = glimpse->request;
    struct tc_http_text rest = glimpse->rest;
    uint64_t hash = tc_http_path_hash(rest.at, rest.len);
    struct tc_static_file *file = tc__static_cache_find(&route->cache, hash, rest.at, rest.len);

    if (file == NULL || !is_plain(request) || !is_fresh(route, file, glimpse->now_ns)) {
        return NULL;
    }
    struct tc_http_lines lines = {glimpse->buf, request->fields, request->field_count};
    const struct tc_static_body *body = tc__static_choose(file, &lines);
    if ((request->first[TC_HTTP_FIELD_IF_NONE_MATCH] != 0 ||
         request->first[TC_HTTP_FIELD_IF_MODIFIED_SINCE] != 0) &&
        tc_http_conditions_check(&lines, &body->validators, tc_clock_wall_seconds()) == 304) {
        return &body->unchanged;
    }
    bool is_small = body->fd < 0 && body->whole.body_len <= TC_HTTP_GLANCE_BODY;
    return is_small || request->method == TC_HTTP_HEAD ? &body->whole : NULL;
}

/* ---- on a fiber --------------------------------------------------------------------------- */

/* RFC 9110 15.4.2: to the same with a slash, so that what the page links to is found. */
static TC_MAY_PARK void redirect(struct tc_http_call *call)
{
    struct tc_http_text path = tc_http_call_path(call);
    struct tc_http_text query = tc_http_call_query(call);
    char *location = NULL;
    size_t size = 3 * path.len + query.len + 3;

    if (size <= LOCATION_BYTES) {
        location = tc_mem_alloc(size);
    }
    if (location == NULL) {
        tc__static_refuse(call, size <= LOCATION_BYTES ? 503 : 414, NULL, NULL);
        return;
    }
    size_t len = tc_http_path_encode(path.at, path.len, location);
    location[len++] = '/';
    if (query.len != 0) {
        location[len++] = '?';
        memcpy(location + len, query.at, query.len);
        len += query.len;
    }
    location[len] = '\0';
    tc__static_refuse(call, 301, "Location", location);
    tc_mem_free(location, size);
}

static TC_MAY_PARK void send_listing(struct tc_http_call *call, struct tc_static_lookup *lookup)
{
    static const struct tc_http_answer_field nosniff = {"X-Content-Type-Options", "nosniff"};
    struct tc_http_response response = {
        .status = 200,
        .content_type = "text/html; charset=utf-8",
        .fields = &nosniff,
        .field_count = 1,
        .body = lookup->page,
        .body_len = lookup->page_len,
    };

    TC_IGNORE(tc_http_reply(call, &response)); /* an error is the connection's, which ends */
    tc_mem_free(lookup->page, lookup->page_size);
}

/* Send what is looked up, and remember it. `known`: what was remembered and has been held. */
static TC_MAY_PARK void send_found(struct tc_static *route, struct tc_http_call *call,
                                   struct tc_static_lookup *lookup, struct tc_static_file *known)
{
    struct tc_worker *worker = tc_worker_current();
    struct tc_static_file *file = lookup->kind == TC_STATIC_SAME ? known : lookup->file;

    if (file != NULL) {
        tc_store_relaxed(&file->fresh_until_ns, /* relaxed: see is_fresh */
                         tc_deadline_after_ns(route->recheck_ns));
    }
    if (lookup->kind == TC_STATIC_FILE && route->recheck_ns > 0) {
        tc__static_cache_add(&route->cache, worker->ebr, file);
    } else if (lookup->kind != TC_STATIC_SAME && known != NULL) {
        tc__static_cache_drop(&route->cache, worker->ebr, known);
    }
    switch (lookup->kind) {
    case TC_STATIC_FILE:
    case TC_STATIC_SAME:
        tc__static_send(&route->root, call, file, &route->offloads);
        break;
    case TC_STATIC_DIRECTORY:
        redirect(call);
        break;
    case TC_STATIC_LISTING:
        send_listing(call, lookup);
        break;
    default:
        tc__static_refuse(call, tc__static_status(lookup->error), NULL, NULL);
    }
    if (lookup->file != NULL) {
        tc__static_release(lookup->file);
    }
}

/* Look up and send. `known` is held, and may be NULL. */
static TC_MAY_PARK void look_and_send(struct tc_static *route, struct tc_http_call *call,
                                      struct tc_http_text rest, uint64_t hash,
                                      struct tc_static_file *known)
{
    struct tc_static_lookup *lookup = tc_mem_alloc(sizeof *lookup);

    if (lookup == NULL) {
        tc__static_refuse(call, 503, NULL, NULL);
        return;
    }
    lookup->root = &route->root;
    lookup->known = known;
    lookup->hash = hash;
    lookup->path_len = rest.len;
    memcpy(lookup->path, rest.at, rest.len);
    lookup->path[rest.len] = '\0';
    tc_fetch_add_relaxed(&route->lookups, 1); /* relaxed: a statistic */
    int rc = tc__static_look(lookup, &route->offloads);
    if (known != NULL) {
        tc_store_relaxed(&known->is_checking, false); /* relaxed: see is_fresh */
    }
    if (rc == 0) {
        send_found(route, call, lookup, known);
    } else {
        tc__static_refuse(call, tc__static_status(rc), NULL, NULL);
    }
    tc_mem_free(lookup, sizeof *lookup);
}

static TC_MAY_PARK void serve_file(struct tc_static *route, struct tc_http_call *call,
                                   struct tc_http_text rest)
{
    uint64_t hash = tc_http_path_hash(rest.at, rest.len);
    struct tc_static_file *file = tc__static_cache_find(&route->cache, hash, rest.at, rest.len);

    if (file == NULL) {
        look_and_send(route, call, rest, hash, NULL);
        return;
    }
    tc__static_hold(file);
    if (is_fresh(route, file, tc_clock_now_ns())) {
        tc__static_send(&route->root, call, file, &route->offloads);
    } else {
        /* From now on others are content with it, for a while. relaxed: see is_fresh */
        tc_store_relaxed(&file->is_checking, true);
        look_and_send(route, call, rest, hash, file);
    }
    tc__static_release(file);
}

static void static_serve(struct tc_http_handler *handler, struct tc_http_call *call)
{
    struct tc_static *route = route_of(handler);
    struct tc_http_text rest = tc_http_call_rest(call);

    if (rest.len == 0) {
        redirect(call);
    } else if (rest.len >= TC_STATIC_PATH_BYTES ||
               (!route->root.dotfiles && tc_http_path_has_dotfile(rest.at, rest.len))) {
        tc__static_refuse(call, 404, NULL, NULL);
    } else {
        serve_file(route, call, rest);
    }
}

/* ---- making ------------------------------------------------------------------------------- */

static void free_text(const char *text)
{
    tc_mem_free((void *)(uintptr_t)text, text == NULL ? 0 : strlen(text) + 1);
}

static const char *copy_text(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = tc_mem_alloc(size);

    return copy == NULL ? NULL : memcpy(copy, text, size);
}

static void static_free(struct tc_http_handler *handler)
{
    struct tc_static *route = route_of(handler);

    tc__static_cache_fini(&route->cache);
    for (size_t i = 0; i < route->root.terms.field_count; i++) {
        free_text(route->fields[i].name);
        free_text(route->fields[i].value);
    }
    if (route->root.fd >= 0) {
        (void)tc_sys_close(route->root.fd); /* nothing was written */
    }
    tc_mem_free(route, sizeof *route);
}

static const struct tc_http_handler_ops static_ops = {
    .name = "static",
    .glance = static_glance,
    .serve = static_serve,
    .free = static_free,
};

static int copy_fields(struct tc_static *route, const struct tc_static_options *options)
{
    struct tc_static_terms *terms = &route->root.terms;

    terms->status = 200;
    terms->fields = route->fields;
    if (options->field_count > TC_STATIC_FIELDS_MAX) {
        return -E2BIG;
    }
    for (size_t i = 0; i < options->field_count; i++) {
        const struct tc_http_answer_field *field = &options->fields[i];
        if (!tc_http_answer_may_have(field->name, field->value) ||
            tc__static_is_own_field(field->name)) {
            return -EINVAL;
        }
        struct tc_http_answer_field *copy = &route->fields[terms->field_count++];
        copy->name = copy_text(field->name);
        copy->value = copy_text(field->value);
        if (copy->name == NULL || copy->value == NULL) {
            return -ENOMEM;
        }
    }
    return tc__static_terms_read(terms);
}

/* Find out what the kernel's openat2 can do. An older one, or a filter, may know nothing of it. */
static void probe(struct tc_static_root *root)
{
    root->has_openat2 = true;
    root->has_cached = true;
    for (int i = 0; i < 2; i++) {
        int fd = tc__static_open(root, ".", i == 0);
        if (fd >= 0) {
            (void)tc_sys_close(fd); /* nothing was written */
        } else if (i == 0) {
            root->has_openat2 = fd != -ENOSYS && fd != -EPERM && fd != -EINVAL;
            root->has_cached = root->has_openat2;
        } else {
            root->has_cached = root->has_cached && fd == -EAGAIN;
        }
    }
}

static int fill_root(struct tc_static *route, const char *directory,
                     const struct tc_static_options *options)
{
    struct tc_static_root *root = &route->root;
    size_t index_len = options->index == NULL ? 0 : strlen(options->index);

    if (index_len >= sizeof root->index ||
        (index_len != 0 && memchr(options->index, '/', index_len) != NULL)) {
        return -EINVAL;
    }
    memcpy(root->index, options->index == NULL ? "" : options->index, index_len);
    root->follow_links = options->follow_links;
    root->dotfiles = options->dotfiles;
    root->listing = options->listing;
    root->precompressed = options->precompressed;
    root->content_bytes = TC_STATIC_CONTENT_BYTES;
    int rc = copy_fields(route, options);
    if (rc != 0) {
        return rc;
    }
    root->fd = tc_sys_open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (root->fd < 0) {
        return root->fd;
    }
    probe(root);
    return 0;
}

/* Decode a prefix and encode it again, without a slash at its end. Returns 0 or -EINVAL. */
static int normalise(const char *prefix, char *decoded, char *out)
{
    ssize_t len = tc_http_path_decode(prefix, strlen(prefix), decoded, strlen(prefix) + 1);

    if (prefix[0] == '\0' || len < 0) {
        return -EINVAL;
    }
    if (len > 1 && decoded[len - 1] == '/') {
        len--;
    }
    out[tc_http_path_encode(decoded, (size_t)len, out)] = '\0';
    return 0;
}

static int add_route(struct tc_http_server *server, const char *prefix, struct tc_static *route)
{
    size_t size = strlen(prefix) + 1;
    char *buf = tc_mem_alloc(4 * size);
    struct tc_http_route_options options = {
        .path = buf + size,
        .methods = TC_HTTP_METHOD_BIT(TC_HTTP_GET),
        .match = TC_HTTP_MATCH_PREFIX,
    };

    if (buf == NULL) {
        return -ENOMEM;
    }
    int rc = normalise(prefix, buf, buf + size);
    if (rc == 0) {
        rc = tc_http_server_route(server, &options, &route->handler);
    }
    tc_mem_free(buf, 4 * size);
    return rc;
}

int tc_http_server_static(struct tc_http_server *server, const char *prefix, const char *directory,
                          const struct tc_static_options *options, struct tc_static **out)
{
    if (options->recheck_ns < 0) {
        return -EINVAL;
    }
    struct tc_static *route = tc_mem_zalloc(sizeof *route);
    if (route == NULL) {
        return -ENOMEM;
    }
    route->handler.ops = &static_ops;
    route->recheck_ns = options->recheck_ns;
    route->root.fd = -1;
    tc__static_cache_init(&route->cache, options->cache_bytes);
    int rc = fill_root(route, directory, options);
    if (rc == 0) {
        rc = add_route(server, prefix, route);
    }
    if (rc != 0) {
        static_free(&route->handler);
    } else if (out != NULL) {
        *out = route;
    }
    return rc;
}

void tc_static_statistics(struct tc_static *route, struct tc_static_statistics *out)
{
    out->lookups = tc_load_relaxed(&route->lookups); /* relaxed: a statistic */
    out->offloads = tc_load_relaxed(&route->offloads); /* relaxed: a statistic */
    tc_lock_acquire(&route->cache.lock);
    out->files = route->cache.files;
    out->bytes = route->cache.bytes;
    out->descriptors = route->cache.descriptors;
    tc_lock_release(&route->cache.lock);
}
