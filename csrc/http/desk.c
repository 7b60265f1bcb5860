#include "http/desk.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "http/desk_stream.h"
#include "io/pollfd.h"

enum {
    GATHER_ROUNDS = 4, /* polls that a call may wait for, if each brings others */
    FIRST_BODY_BYTES = 64 * 1024, /* allocated for a longer body at first */
};

static struct tc_desk_call *call_of(struct tc_link *link)
{
    return tc_container_of(link, struct tc_desk_call, link);
}

/* ---- life --------------------------------------------------------------------------------- */

void tc_http_desk_init(struct tc_http_desk *desk, const struct tc_http_desk_ops *ops)
{
    desk->ops = ops;
    tc_atomic_init(&desk->references, 1);
    tc_inbox_init(&desk->calls);
    tc_inbox_init(&desk->gone);
    tc_lock_init(&desk->lock, TC_RANK_HTTP_DESK);
}

void tc_http_desk_acquire(struct tc_http_desk *desk)
{
    (void)tc_fetch_add_relaxed(&desk->references, 1); /* relaxed: the caller has one */
}

void tc_http_desk_release(struct tc_http_desk *desk)
{
    /* release [http-desk-last]: our last use, before the free of whoever is last */
    if (tc_fetch_sub_release(&desk->references, 1) != 1) {
        return;
    }
    /* acquire [http-desk-last]: we are last; what all others did is done */
    (void)tc_load_acquire(&desk->references);
    tc_http_patterns_fini(&desk->patterns);
    tc_mem_free(desk->hatches, desk->hatch_count * sizeof(struct tc_desk_hatch));
    desk->ops->free(desk);
}

static void flush_batch(struct tc_worker *worker, struct tc_message *message);
static void deliver(struct tc_worker *worker, struct tc_message *message);

int tc__http_desk_open(struct tc_http_desk *desk, struct tc_runtime *runtime)
{
    uint32_t count = tc_runtime_workers(runtime);
    size_t bytes = count * sizeof(struct tc_desk_hatch);

    desk->hatches = tc_mem_alloc_aligned(TC_CACHELINE, bytes);
    if (desk->hatches == NULL) {
        return -ENOMEM;
    }
    memset(desk->hatches, 0, bytes);
    desk->hatch_count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct tc_desk_hatch *hatch = &desk->hatches[i];
        hatch->desk = desk;
        hatch->worker = tc_runtime_worker(runtime, i);
        hatch->flush.fn = flush_batch;
        hatch->delivery.fn = deliver;
        tc_fifo_init(&hatch->batch);
        tc_inbox_init(&hatch->outbox);
    }
    return 0;
}

static void set_server(struct tc_http_desk *desk, struct tc_server *server)
{
    tc_lock_acquire(&desk->lock);
    tc_store_relaxed(&desk->server, server); /* relaxed: under the lock */
    tc_lock_release(&desk->lock);
}

static void drop_calls(struct tc_link *link)
{
    while (link != NULL) {
        struct tc_desk_call *call = call_of(link);
        link = link->next;
        tc_desk_call_release(call);
    }
}

/* Let go of what lies on a desk without clerk. */
static void empty(struct tc_http_desk *desk)
{
    struct tc_link *link = tc_inbox_drain(&desk->gone);
    struct tc_desk_call *call;

    while ((call = tc_desk_call_next_gone(&link)) != NULL) {
        tc_desk_call_release(call);
    }
    tc_lock_acquire(&desk->lock); /* DK6 */
    link = tc_inbox_drain(&desk->calls);
    tc_lock_release(&desk->lock);
    drop_calls(link);
}

void tc_http_desk_withdraw(struct tc_http_desk *desk)
{
    set_server(desk, NULL);
    tc_store_seq_cst(&desk->is_detached, 1);
    /* What was kept back has no clerk, and nobody who waits for an answer any more. */
    for (uint32_t i = 0; i < desk->hatch_count; i++) {
        drop_calls(desk->hatches[i].batch.head);
        tc_fifo_init(&desk->hatches[i].batch);
    }
    if (tc_load_seq_cst(&desk->is_closed) != 0) {
        empty(desk); /* nobody else does */
    }
    desk->ops->ring(desk);
    tc_http_desk_release(desk);
}

/* ---- replies ------------------------------------------------------------------------------ */

struct tc_desk_reply *tc_desk_reply_new(size_t head_len, size_t body_len)
{
    size_t size = sizeof(struct tc_desk_reply) + head_len + body_len;
    struct tc_desk_reply *reply = tc_mem_alloc(size);

    if (reply == NULL) {
        return NULL;
    }
    reply->size = size;
    reply->kind = TC_DESK_REPLY_WHOLE;
    reply->length = TC_HTTP_NO_LENGTH;
    reply->file = NULL;
    reply->answer = (struct tc_http_answer){
        .head = (char *)(reply + 1),
        .body = body_len == 0 ? NULL : (char *)(reply + 1) + head_len,
        .head_len = head_len,
        .body_len = body_len,
    };
    return reply;
}

void tc_desk_reply_free(struct tc_desk_reply *reply)
{
    if (reply != NULL) {
        tc_mem_free(reply, reply->size);
    }
}

/* ---- calls -------------------------------------------------------------------------------- */

struct tc_desk_call *tc__desk_call_new(struct tc_http_desk *desk,
                                       const struct tc_http_request *request, const char *buf,
                                       size_t head_len, const char *path, size_t path_len,
                                       const struct tc_http_fit *match)
{
    size_t fields_bytes = request->field_count * sizeof(struct tc_http_field_line);
    size_t params_bytes = match->param_count * sizeof(struct tc_http_span);
    size_t size = sizeof(struct tc_desk_call) + fields_bytes + params_bytes + head_len + path_len;
    struct tc_desk_call *call = tc_mem_alloc(size);

    if (call == NULL) {
        return NULL;
    }
    char *fields = (char *)(call + 1);
    char *params = fields + fields_bytes;
    char *head = params + params_bytes;
    memcpy(fields, request->fields, fields_bytes);
    memcpy(params, match->params, params_bytes);
    memcpy(head, buf, head_len);
    memcpy(head + head_len, path, path_len);
    *call = (struct tc_desk_call){
        .desk = desk,
        .size = size,
        .id = match->id & ~TC_HTTP_DESK_STREAMS,
        .may_stream = (match->id & TC_HTTP_DESK_STREAMS) != 0,
        .method = request->method,
        .minor = request->minor,
        .keep_alive = request->keep_alive,
        .is_chunked = request->framing == TC_HTTP_BODY_CHUNKED,
        .head = head,
        .head_len = (uint32_t)head_len,
        .target = request->target,
        .query = request->query,
        .path = head + head_len,
        .path_len = (uint32_t)path_len,
        .param_count = match->param_count,
        .params = (const struct tc_http_span *)(const void *)params,
        .field_count = request->field_count,
        .fields = (const struct tc_http_field_line *)(const void *)fields,
        .body_left = request->content_length > 0 ? (uint64_t)request->content_length : 0,
    };
    tc_atomic_init(&call->references, 1);
    tc_atomic_init(&call->state, TC_DESK_CALL_COLLECTING);
    tc_http_desk_acquire(desk);
    return call;
}

int tc__desk_call_add(struct tc_desk_call *call, const char *bytes, size_t len)
{
    size_t need = call->body_len + len;

    if (need > call->body_size) {
        size_t size = call->body_size == 0 ? FIRST_BODY_BYTES : call->body_size * 2;
        size_t whole = call->body_len + call->body_left; /* of a Content-Length */
        if (!call->is_chunked && (size > whole || whole <= FIRST_BODY_BYTES)) {
            size = whole;
        }
        size = size < need ? need : size;
        char *body = tc_mem_realloc(call->body, call->body_size, size);
        if (body == NULL) {
            return -ENOMEM;
        }
        call->body = body;
        call->body_size = size;
    }
    memcpy(call->body + call->body_len, bytes, len);
    call->body_len = need;
    return 0;
}

void tc_desk_call_acquire(struct tc_desk_call *call)
{
    (void)tc_fetch_add_relaxed(&call->references, 1); /* relaxed: the caller has one */
}

void tc_desk_call_release(struct tc_desk_call *call)
{
    struct tc_http_desk *desk = call->desk;

    /* release [http-call-last]: our last use, before the free of whoever is last */
    if (tc_fetch_sub_release(&call->references, 1) != 1) {
        return;
    }
    /* acquire [http-call-last]: we are last; what all others did is done */
    (void)tc_load_acquire(&call->references);
    tc_desk_reply_free(call->reply);
    tc__desk_stream_free(call->stream);
    tc_mem_free(call->body, call->body_size);
    tc_mem_free(call, call->size);
    tc_http_desk_release(desk);
}

/* ---- into the outbox ---------------------------------------------------------------------- */

/* DK3. Threads: the clerk, and once it has left any worker */
static void post_delivery(struct tc_desk_hatch *hatch)
{
    struct tc_http_desk *desk = hatch->desk;

    /* acq_rel [http-desk-delivery]: the outbox, before the worker drains it */
    if (tc_exchange_acq_rel(&hatch->delivery_is_posted, 1) != 0) {
        return; /* it comes after what we have put there */
    }
    tc_lock_acquire(&desk->lock);
    struct tc_server *server = tc_load_relaxed(&desk->server); /* relaxed: under the lock */
    bool is_held = server != NULL && tc_server_try_hold(server); /* DK4 */
    tc_lock_release(&desk->lock);
    if (is_held) {
        tc_worker_post(hatch->worker, &hatch->delivery);
    } else {
        tc_store_relaxed(&hatch->delivery_is_posted, 0); /* relaxed: no worker sees it any more */
        drop_calls(tc_inbox_drain(&hatch->outbox)); /* all connections have ended */
    }
}

/* The clerk has left: have the calls that lie there answered with 503. */
static void refuse_calls(struct tc_http_desk *desk)
{
    tc_lock_acquire(&desk->lock); /* DK6 */
    struct tc_link *link = tc_inbox_drain(&desk->calls);
    tc_lock_release(&desk->lock);
    while (link != NULL) {
        struct tc_desk_call *call = call_of(link);
        struct tc_desk_hatch *hatch = &desk->hatches[call->home->index];
        uint32_t state = TC_DESK_CALL_PENDING;
        link = link->next;
        (void)tc_fetch_sub_relaxed(&desk->waiting, 1); /* relaxed: nobody is kept back any more */
        /* relaxed: nothing is published with it */
        if (!tc_cas_relaxed(&call->state, &state, TC_DESK_CALL_REFUSED)) {
            tc_desk_call_release(call);
            continue;
        }
        TC_IGNORE(tc_inbox_push(&hatch->outbox, &call->link)); /* with the clerk's reference */
        post_delivery(hatch);
    }
}

/* ---- worker to clerk ---------------------------------------------------------------------- */

/* Move calls from the batch to the desk, as many as there is room for. */
static void move_batch(struct tc_desk_hatch *hatch)
{
    struct tc_http_desk *desk = hatch->desk;
    bool is_first = false;

    while (!tc_fifo_is_empty(&hatch->batch)) {
        /* relaxed: several workers may overshoot by one each */
        if (tc_load_relaxed(&desk->waiting) >= TC_HTTP_DESK_WAITING &&
            tc_load_seq_cst(&desk->is_closed) == 0) {
            /* seq_cst [http-desk-backlog]: our flag, before our second look; the clerk lowers
             * `waiting`, then looks at the flag. */
            tc_store_seq_cst(&desk->backlog, 1);
            if (tc_load_seq_cst(&desk->waiting) >= TC_HTTP_DESK_WAITING) {
                break;
            }
        }
        (void)tc_fetch_add_relaxed(&desk->waiting, 1); /* relaxed: a count */
        is_first |= tc_inbox_push(&desk->calls, tc_fifo_pop(&hatch->batch));
    }
    if (is_first) {
        desk->ops->ring(desk);
    }
    /* seq_cst [http-desk-close]: what we pushed, before the look; the clerk closes, then drains */
    tc_fence_seq_cst();
    if (tc_load_seq_cst(&desk->is_closed) != 0) {
        refuse_calls(desk);
    }
}

static void flush_batch(struct tc_worker *worker, struct tc_message *message)
{
    struct tc_desk_hatch *hatch = tc_container_of(message, struct tc_desk_hatch, flush);
    struct tc_http_desk *desk = hatch->desk;

    /* While each poll brings more, it pays to poll once more before the clerk is woken. */
    if (hatch->batch.count > hatch->seen && hatch->rounds < GATHER_ROUNDS) {
        hatch->seen = hatch->batch.count;
        hatch->rounds++;
        tc_worker_post(worker, message);
        return;
    }
    hatch->seen = 0;
    hatch->rounds = 0;
    hatch->flush_is_posted = false;
    move_batch(hatch);
    /* relaxed: set before, and constant while held (DK4) */
    tc_server_unhold(tc_load_relaxed(&desk->server), worker);
}

void tc__http_desk_submit(struct tc_desk_call *call, struct tc_conn *conn, struct tc_worker *worker)
{
    struct tc_http_desk *desk = call->desk;
    struct tc_desk_hatch *hatch = &desk->hatches[worker->index];

    call->conn = conn;
    call->slot = tc_conn_stream(conn)->slot;
    call->generation = tc_load_relaxed(&call->slot->generation); /* relaxed: only close moves it */
    call->home = worker;
    (void)tc_fetch_add_relaxed(&call->references, 1); /* relaxed: the clerk's; DK1 */
    tc_store_relaxed(&call->state, TC_DESK_CALL_PENDING); /* relaxed: published by the push */
    tc_fifo_push(&hatch->batch, &call->link);
    if (!hatch->flush_is_posted) {
        struct tc_server *server = tc_conn_server(conn);
        hatch->flush_is_posted = true;
        if (tc_load_relaxed(&desk->server) ==
            NULL) { /* relaxed: the first of each worker at most */
            set_server(desk, server);
        }
        TC_IGNORE(tc_server_try_hold(server)); /* it has a connection: it is not CLOSED */
        tc_worker_post(worker, &hatch->flush);
    }
}

void tc__desk_call_notice(struct tc_desk_call *call)
{
    struct tc_http_desk *desk = call->desk;

    /* acq_rel [http-desk-notice]: what there is to notice, before the clerk lowers the flag and
     * looks */
    if (tc_exchange_acq_rel(&call->is_noticed, 1) != 0) {
        return;
    }
    (void)tc_fetch_add_relaxed(&call->references, 1); /* relaxed: we have one */
    if (tc_inbox_push(&desk->gone, &call->gone_link)) {
        desk->ops->ring(desk);
    }
}

void tc__desk_call_abandon(struct tc_desk_call *call)
{
    uint32_t state = TC_DESK_CALL_PENDING;

    /* relaxed: nothing is published with it */
    if (tc_cas_relaxed(&call->state, &state, TC_DESK_CALL_ABANDONED)) {
        tc__desk_call_notice(call);
    } else if (tc__desk_call_is_answered(call) && call->stream != NULL) {
        tc__desk_stream_close(call, -ECONNRESET);
    }
    tc_desk_call_release(call);
}

void tc__desk_call_end_input(struct tc_desk_call *call)
{
    if (!tc_desk_call_is_ended(call)) {
        tc_store_relaxed(&call->is_ended, 1); /* relaxed: published by the notice */
        tc__desk_call_notice(call);
    }
}

struct tc_link *tc_http_desk_take(struct tc_http_desk *desk)
{
    struct tc_link *first = tc_inbox_drain(&desk->calls);
    uint32_t count = 0;

    for (struct tc_link *at = first; at != NULL; at = at->next) {
        count++;
    }
    if (count == 0) {
        return NULL;
    }
    tc_counter_add(&desk->handled, count);
    tc_counter_add(&desk->batches, 1);
    /* seq_cst [http-desk-backlog]: see move_batch */
    (void)tc_fetch_sub_seq_cst(&desk->waiting, count);
    if (tc_load_seq_cst(&desk->backlog) != 0) {
        tc_store_relaxed(&desk->backlog, 0); /* relaxed: whoever keeps calls back is told now */
        for (uint32_t i = 0; i < desk->hatch_count; i++) {
            desk->hatches[i].is_dirty = true;
        }
        tc_http_desk_flush(desk);
    }
    return first;
}

struct tc_link *tc_http_desk_take_gone(struct tc_http_desk *desk)
{
    return tc_inbox_drain(&desk->gone);
}

struct tc_desk_call *tc_desk_call_next_gone(struct tc_link **list)
{
    struct tc_link *link = *list;

    if (link == NULL) {
        return NULL;
    }
    struct tc_desk_call *call = tc_container_of(link, struct tc_desk_call, gone_link);
    *list = link->next; /* first: from the swap on it may be pushed again */
    /* acq_rel [http-desk-notice]: see notice */
    (void)tc_exchange_acq_rel(&call->is_noticed, 0);
    return call;
}

/* ---- clerk to worker ---------------------------------------------------------------------- */

void tc__desk_call_post(struct tc_desk_call *call)
{
    struct tc_desk_hatch *hatch = &call->desk->hatches[call->home->index];

    /* relaxed: the reference of the outbox, while we have ours */
    (void)tc_fetch_add_relaxed(&call->references, 1);
    if (tc_inbox_push(&hatch->outbox, &call->link)) {
        hatch->is_dirty = true;
    }
}

void tc_desk_call_answer(struct tc_desk_call *call, struct tc_desk_reply *reply)
{
    uint32_t state = TC_DESK_CALL_PENDING;

    call->reply = reply;
    /* release [http-reply]: the reply */
    if (!tc_cas_release(&call->state, &state, TC_DESK_CALL_ANSWERED)) {
        if (call->stream != NULL) {
            tc__desk_stream_close(call, -ECONNRESET); /* nobody has known it */
        }
        return; /* abandoned; the reply goes with the call */
    }
    if (call->stream == NULL) {
        tc__desk_call_post(call);
    } else {
        tc__desk_stream_post(call);
    }
}

void tc_http_desk_flush(struct tc_http_desk *desk)
{
    for (uint32_t i = 0; i < desk->hatch_count; i++) {
        struct tc_desk_hatch *hatch = &desk->hatches[i];
        if (hatch->is_dirty) {
            hatch->is_dirty = false;
            post_delivery(hatch);
        }
    }
}

/* On the home worker, between fibers: wake the connections whose answers have come. */
static void deliver(struct tc_worker *worker, struct tc_message *message)
{
    struct tc_desk_hatch *hatch = tc_container_of(message, struct tc_desk_hatch, delivery);
    struct tc_http_desk *desk = hatch->desk;
    struct tc_server *server = tc_load_relaxed(&desk->server); /* relaxed: as in flush_batch */
    struct tc_link *link;

    /* acq_rel [http-desk-delivery]: first, so that what comes later is posted again */
    (void)tc_exchange_acq_rel(&hatch->delivery_is_posted, 0);
    link = tc_inbox_drain(&hatch->outbox);
    while (link != NULL) {
        struct tc_desk_call *call = call_of(link);
        link = link->next;
        if (call->stream == NULL || !tc__desk_stream_kick(call)) {
            tc_conn_poke(call->conn, call->slot, call->generation, worker);
        }
        tc_desk_call_release(call);
    }
    move_batch(hatch);
    tc_server_unhold(server, worker);
}

void tc_http_desk_close(struct tc_http_desk *desk)
{
    /* seq_cst [http-desk-close]: see move_batch */
    tc_store_seq_cst(&desk->is_closed, 1);
    tc_fence_seq_cst();
    if (tc_load_seq_cst(&desk->is_detached) != 0) {
        empty(desk); /* the server may not have known */
        return;
    }
    refuse_calls(desk);
    for (uint32_t i = 0; i < desk->hatch_count; i++) {
        post_delivery(&desk->hatches[i]); /* what workers keep back comes on, to be refused */
    }
}
