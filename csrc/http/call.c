#include "http/call.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "http/ledger.h"
#include "sched/fiber.h"
#include "sched/worker.h"

/* ---- making ------------------------------------------------------------------------------- */

/* Cut `size` bytes, aligned for anything, off the tail. */
static void *cut(unsigned char **at, size_t size)
{
    unsigned char *result = *at;

    *at += (size + 15) & ~(size_t)15;
    return result;
}

static struct tc_http_text text_of(const char *base, struct tc_http_span span)
{
    return (struct tc_http_text){base + span.at, span.len};
}

static void fill_request(struct tc_http_call *call, const struct tc_http_request *request)
{
    const char *head = call->head;

    call->method = request->method;
    call->minor = request->minor;
    call->keep_alive = request->keep_alive;
    call->is_chunked = request->framing == TC_HTTP_BODY_CHUNKED;
    call->content_length = request->content_length;
    call->repeated = request->repeated;
    call->query = text_of(head, request->query);
    call->target = text_of(head, request->target);
    call->host = text_of(head, request->host);
    call->field_count = request->field_count;
    call->body_left = request->content_length > 0 ? (uint64_t)request->content_length : 0;
    call->body_is_done = !call->is_chunked && call->body_left == 0;
    call->must_continue = request->expects_continue && !call->body_is_done;
    call->has_no_body = request->method == TC_HTTP_HEAD;
    tc__http_begin_chunked(call->server, &call->chunked);
}

static void fill_params(struct tc_http_call *call, const struct tc_http_found *found)
{
    call->param_count = found->param_count;
    for (uint32_t i = 0; i < found->param_count; i++) {
        bool is_there = tc_http_route_param(found->route, i, &call->param_names[i]);
        tc_assert_debug(is_there);
        (void)is_there;
        call->params[i] = text_of(call->path.at, found->params[i]);
    }
}

struct tc_http_call *tc__http_call_new(struct tc_http_pass *pass,
                                       const struct tc_http_request *request, const char *buf,
                                       size_t head_len, const struct tc_http_found *found,
                                       struct tc_http_text path)
{
    const struct tc_http_route *route = found->route;
    size_t lines = request->field_count * sizeof(struct tc_http_field_line);
    size_t names = (size_t)2 * found->param_count * sizeof(struct tc_http_text);
    size_t pattern = found->param_count == 0 ? 0 : route->path_len;
    size_t size = sizeof(struct tc_http_call) + lines + names + head_len + path.len + pattern +
                  5 * (size_t)16;
    struct tc_http_call *call = tc_mem_alloc(size);

    if (call == NULL) {
        return NULL;
    }
    memset(call, 0, sizeof *call);
    unsigned char *at = call->tail;
    call->size = size;
    call->conn = pass->conn;
    call->state = pass->state;
    call->server = pass->server;
    call->route = route;
    call->route_id = route->id;
    call->fields = memcpy(cut(&at, lines), request->fields, lines);
    call->params = cut(&at, names);
    call->param_names = call->params + found->param_count;
    call->head = memcpy(cut(&at, head_len), buf, head_len);
    call->path.at = memcpy(cut(&at, path.len), path.at, path.len);
    call->path.len = path.len;
    call->rest = tc__http_rest_of(route, call->path);
    fill_request(call, request);
    fill_params(call, found);
    tc_lock_init(&call->lock, TC_RANK_CALL);
    tc_store_relaxed(&call->refs, 1); /* relaxed: not shared yet */
    return call;
}

void tc_http_call_hold(struct tc_http_call *call)
{
    tc_fetch_add_relaxed(&call->refs, 1); /* relaxed: the caller's own reference keeps it alive */
}

void tc_http_call_release(struct tc_http_call *call)
{
    /* release [http-call-refs]: our last use, before the free of whoever is last */
    if (tc_fetch_sub_release(&call->refs, 1) != 1) {
        return;
    }
    /* acquire [http-call-refs]: we are last; what all others did is done */
    (void)tc_load_acquire(&call->refs);
    tc_mem_free(call->pending, call->pending_len);
    tc_mem_free(call, call->size);
}

/* ---- the request -------------------------------------------------------------------------- */

enum tc_http_method tc_http_call_method(const struct tc_http_call *call)
{
    return (enum tc_http_method)call->method;
}

int tc_http_call_minor(const struct tc_http_call *call)
{
    return call->minor;
}

struct tc_http_text tc_http_call_path(const struct tc_http_call *call)
{
    return call->path;
}

struct tc_http_text tc_http_call_rest(const struct tc_http_call *call)
{
    return call->rest;
}

struct tc_http_text tc_http_call_query(const struct tc_http_call *call)
{
    return call->query;
}

struct tc_http_text tc_http_call_target(const struct tc_http_call *call)
{
    return call->target;
}

struct tc_http_text tc_http_call_host(const struct tc_http_call *call)
{
    return call->host;
}

int64_t tc_http_call_content_length(const struct tc_http_call *call)
{
    return call->content_length;
}

bool tc_http_call_is_chunked(const struct tc_http_call *call)
{
    return call->is_chunked;
}

bool tc_http_call_param_at(const struct tc_http_call *call, size_t index, struct tc_http_text *name,
                           struct tc_http_text *value)
{
    if (index >= call->param_count) {
        return false;
    }
    *name = call->param_names[index];
    *value = call->params[index];
    return true;
}

struct tc_http_text tc_http_call_param(const struct tc_http_call *call, const char *name)
{
    size_t len = strlen(name);

    for (uint32_t i = 0; i < call->param_count; i++) {
        if (call->param_names[i].len == len && memcmp(call->param_names[i].at, name, len) == 0) {
            return call->params[i];
        }
    }
    return (struct tc_http_text){"", 0};
}

bool tc_http_call_field_at(const struct tc_http_call *call, size_t index, struct tc_http_text *name,
                           struct tc_http_text *value)
{
    if (index >= call->field_count) {
        return false;
    }
    const struct tc_http_field_line *line = &call->fields[index];
    *name = (struct tc_http_text){call->head + line->name_at, line->name_len};
    *value = text_of(call->head, line->value);
    return true;
}

struct tc_http_lines tc_http_call_lines(const struct tc_http_call *call)
{
    return (struct tc_http_lines){call->head, call->fields, call->field_count};
}

bool tc_http_call_field(const struct tc_http_call *call, enum tc_http_field field,
                        struct tc_http_text *value)
{
    for (uint32_t i = 0; i < call->field_count; i++) {
        if (call->fields[i].field == (unsigned)field) {
            *value = text_of(call->head, call->fields[i].value);
            return true;
        }
    }
    *value = (struct tc_http_text){"", 0};
    return false;
}

bool tc_http_call_is_repeated(const struct tc_http_call *call, enum tc_http_field field)
{
    return (call->repeated >> field & 1) != 0;
}

bool tc_http_call_field_named(const struct tc_http_call *call, const char *name,
                              struct tc_http_text *value)
{
    size_t len = strlen(name);

    for (uint32_t i = 0; i < call->field_count; i++) {
        const struct tc_http_field_line *line = &call->fields[i];
        const char *own = call->head + line->name_at;
        size_t at = 0;
        while (at < len && line->name_len == len && (own[at] | 0x20) == (name[at] | 0x20)) {
            at++;
        }
        if (line->name_len == len && at == len) {
            *value = text_of(call->head, line->value);
            return true;
        }
    }
    *value = (struct tc_http_text){"", 0};
    return false;
}

int tc_http_call_peer(const struct tc_http_call *call, struct tc_addr *out)
{
    return tc_stream_peer_address(tc_conn_stream(call->conn), out);
}

void tc_http_call_set_data(struct tc_http_call *call, void *data)
{
    call->data = data;
}

void *tc_http_call_data(const struct tc_http_call *call)
{
    return call->data;
}

/* ---- detached ----------------------------------------------------------------------------- */

void tc_http_detach(struct tc_http_call *call)
{
    tc_lock_acquire(&call->lock);
    tc_assert(call->phase == TC_HTTP_RUNNING);
    call->phase = TC_HTTP_DETACHED;
    call->waiter = NULL;
    tc_lock_release(&call->lock);
    tc_http_call_hold(call);
}

bool tc_http_resume(struct tc_http_call *call, void (*fn)(struct tc_http_call *call, void *arg),
                    void *arg)
{
    struct tc_waiter *waiter = NULL;
    uint64_t seq = 0;

    tc_lock_acquire(&call->lock);
    bool is_gone = call->phase == TC_HTTP_GONE;
    if (!is_gone) {
        tc_assert(call->phase == TC_HTTP_DETACHED);
        call->phase = TC_HTTP_RESUMED;
        call->resume = fn;
        call->resume_arg = arg;
        waiter = call->waiter;
        seq = call->seq;
    }
    tc_lock_release(&call->lock);
    tc_http_call_release(call);
    if (waiter != NULL && tc_waiter_claim(waiter, seq)) {
        tc_ready(waiter, 0);
    }
    return !is_gone;
}

bool tc_http_call_is_gone(struct tc_http_call *call)
{
    tc_lock_acquire(&call->lock);
    bool is_gone = call->phase == TC_HTTP_GONE;
    tc_lock_release(&call->lock);
    return is_gone;
}

/* What a wait for resume is given: the call, and whether to look out for the client's end
 * besides. */
struct watch {
    struct tc_http_call *call;
    bool is_watching;
};

/* Under the lock until all is published: whoever ends the wait meanwhile, the fiber takes the lock
 * first of all, and so finds the call and the slot still there for us. */
static bool commit_wait(struct tc_waiter *waiter, uint64_t seq, void *arg)
{
    const struct watch *watch = arg;
    struct tc_http_call *call = watch->call;
    bool must_wait = true;

    tc_lock_acquire(&call->lock);
    if (call->phase == TC_HTTP_RESUMED) {
        must_wait = false;
    } else {
        call->waiter = waiter;
        call->seq = seq;
        if (watch->is_watching) {
            must_wait = tc_pollfd_rest(tc_conn_stream(call->conn)->slot, TC_READ, waiter, seq);
        }
    }
    tc_lock_release(&call->lock);
    return must_wait;
}

/* The client has stirred. What it has sent further waits; an end or a reset is told to the holder.
 * Returns 0, or -errno: the connection is gone. *is_watching: whether there is more to look out
 * for. */
static int look(struct tc_http_call *call, bool *is_watching)
{
    struct tc_stream *stream = tc_conn_stream(call->conn);
    struct tc_http_handler *handler = call->route->handler;

    if (!tc_pollfd_consume(stream->slot, TC_READ)) {
        return 0;
    }
    if (call->awaits_body) {
        stream->try_read = true; /* whatever it is, the read will tell */
        handler->ops->stir(handler, call);
        return 0;
    }
    ssize_t n = tc_stream_peek(stream);
    if (n == -EAGAIN || (n > 0 && !tc_pollfd_is_latched(stream->slot))) {
        return 0;
    }
    *is_watching = false;
    if (n >= 0 && handler->ops->disconnect != NULL) {
        handler->ops->disconnect(handler, call);
    }
    return n < 0 ? (int)n : 0;
}

/* The connection ends before the answer. Returns false: it has been resumed in time. */
static bool give_up(struct tc_http_call *call)
{
    struct tc_http_handler *handler = call->route->handler;

    tc_lock_acquire(&call->lock);
    bool is_ours = call->phase == TC_HTTP_DETACHED;
    if (is_ours) {
        call->phase = TC_HTTP_GONE;
    }
    tc_lock_release(&call->lock);
    if (is_ours && handler->ops->disconnect != NULL) {
        handler->ops->disconnect(handler, call);
    }
    return is_ours;
}

/* Wait for resume, for input if there is some to be watched, and no longer than for a body. */
static TC_MAY_PARK int park(struct tc_http_call *call, struct watch *watch)
{
    int64_t before = tc_worker_clock(tc_worker_current());
    struct tc_park park = {
        .reason = TC_WAIT_HANDLER,
        .object = call,
        .deadline_ns = TC_NEVER,
        .commit = commit_wait,
        .arg = watch,
    };

    if (call->awaits_body) {
        park.deadline_ns = tc_deadline_add_ns(before, tc__http_body_patience(call));
    }
    int rc = tc_fiber_park(&park);
    if (call->awaits_body) {
        call->waited_ns += tc_worker_clock(tc_worker_current()) - before;
    }
    return rc;
}

/* Returns 0 once it has been resumed, -errno once it is GONE. */
static TC_MAY_PARK int wait_resume(struct tc_http_call *call)
{
    struct tc_fiber *self = tc_fiber_current();
    struct tc_http_handler *handler = call->route->handler;
    struct watch watch = {.call = call, .is_watching = true};

    for (;;) {
        int rc = park(call, &watch);
        tc_lock_acquire(&call->lock);
        bool is_resumed = call->phase == TC_HTTP_RESUMED;
        call->waiter = NULL;
        tc_lock_release(&call->lock);
        if (watch.is_watching) {
            tc_pollfd_withdraw(tc_conn_stream(call->conn)->slot, TC_READ, &self->waiter);
        }
        if (is_resumed) {
            return 0;
        }
        if (rc == -ETIMEDOUT && call->awaits_body) {
            call->body_error = -ETIME;
            handler->ops->stir(handler, call);
            rc = 0;
        } else if (rc == 0 && watch.is_watching) {
            rc = look(call, &watch.is_watching);
        }
        if (rc != 0 && give_up(call)) {
            return rc;
        }
    }
}

/* ---- running ------------------------------------------------------------------------------ */

int tc__http_body_status(const struct tc_http_call *call)
{
    switch (call->body_error) {
    case -EMSGSIZE:
        return 413;
    case -ETIME:
        return 408;
    case -EPROTO:
        return call->body_status;
    default:
        return 500;
    }
}

/* Serve, and serve on after each detach. */
static TC_MAY_PARK int serve(struct tc_http_call *call)
{
    struct tc_http_handler *handler = call->route->handler;

    handler->ops->serve(handler, call);
    for (;;) {
        tc_lock_acquire(&call->lock);
        bool is_running = call->phase == TC_HTTP_RUNNING;
        tc_lock_release(&call->lock);
        if (is_running) {
            return 0;
        }
        int rc = wait_resume(call);
        if (rc != 0) {
            return rc;
        }
        call->phase = TC_HTTP_RUNNING; /* the holder has let go: nobody else looks at it */
        call->resume(call, call->resume_arg);
    }
}

static TC_MAY_PARK int finish(struct tc_http_call *call)
{
    if (call->send_error != 0) {
        return call->send_error;
    }
    if (call->reply == TC_HTTP_REPLY_NONE) {
        int rc = tc_http_reply_answer(call, tc__http_own_answer(call->server,
                                                                tc__http_body_status(call)));
        if (rc != 0) {
            return rc;
        }
    }
    if (call->reply == TC_HTTP_REPLY_CLOSE) {
        tc_stream_reset_at_close(tc_conn_stream(call->conn)); /* its end is the body's end else */
    }
    if (call->reply != TC_HTTP_REPLY_ENDED) {
        return -ECONNABORTED; /* begun and not ended: only a broken connection says so */
    }
    tc__http_body_abandon(call);
    return 0;
}

void tc__http_call_drop(struct tc_http_state *state)
{
    struct tc_http_call *call = state->call;
    struct tc_http_handler *handler = call->route->handler;

    if (handler->ops->drop != NULL) {
        handler->ops->drop(handler, call);
    }
    state->call = NULL;
    tc_http_call_release(call);
}

int tc__http_call_run(struct tc_conn *conn)
{
    struct tc_http_state *state = tc_conn_state(conn);
    struct tc_http_call *call = state->call;
    int rc = serve(call);

    state->deadline_ns = 0; /* before finish, which sets that of a body to skip */
    if (rc == 0) {
        rc = finish(call);
    }
    tc__http_ledger_settle_call(call, rc == 0);
    state->call = NULL;
    tc_http_call_release(call);
    return rc;
}
