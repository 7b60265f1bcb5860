#include "http/ledger.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "http/call.h"
#include "http/latency.h"
#include "http/log_line.h"
#include "io/io.h"
#include "sched/worker.h"

static struct tc_http_entry *entries_of(const struct tc_http_pass *pass)
{
    return (struct tc_http_entry *)(void *)(pass->scratch + TC_HTTP_LEDGER_AT);
}

static char *text_of(const struct tc_http_pass *pass)
{
    return (char *)pass->scratch + TC_HTTP_LOG_AT;
}

static size_t size_of(uint32_t count, uint32_t text_len)
{
    return sizeof(struct tc_http_ledger) + count * sizeof(struct tc_http_entry) + text_len;
}

/* ---- noting ------------------------------------------------------------------------------- */

static struct tc_http_remark about_errand(const struct tc_desk_call *call)
{
    return (struct tc_http_remark){
        .method = call->method,
        .minor = call->minor,
        .target = {call->head + call->target.at, call->target.len},
        .lines = {call->head, call->fields, call->field_count},
    };
}

static void note(struct tc_http_pass *pass, uint32_t route, const struct tc_http_remark *remark)
{
    struct tc_http_state *state = pass->state;
    struct tc_http_entry *entry = &entries_of(pass)[pass->noted];

    tc_assert_debug(!tc__http_ledger_is_full(pass));
    *entry = (struct tc_http_entry){
        .begun_ns = state->begun_ns != 0 ? state->begun_ns : tc_clock_now_ns(),
        .route = route,
        .text_at = pass->log_len,
    };
    if (remark != NULL) {
        char *out = text_of(pass) + pass->log_len;
        entry->text_len = (uint32_t)tc__http_log_line(pass->part, pass->conn, remark, out);
        pass->log_len += entry->text_len;
    }
    pass->noted++;
    state->begun_ns = 0; /* LG1 */
}

void tc__http_ledger_note(struct tc_http_pass *pass, uint32_t route, int status,
                          uint64_t body_bytes)
{
    const struct tc_http_request *request = pass->request;
    struct tc_http_remark remark = {.method = -1, .lines = {"", NULL, 0}};

    if (tc_likely(pass->server->log == NULL)) {
        note(pass, route, NULL);
        return;
    }
    if (request != NULL) {
        remark = (struct tc_http_remark){
            .method = request->method,
            .minor = request->minor,
            .target = {pass->head + request->target.at, request->target.len},
            .lines = {pass->head, request->fields, request->field_count},
        };
    } else if (pass->errand != NULL) {
        remark = about_errand(pass->errand);
    }
    remark.status = status;
    remark.body_bytes = body_bytes;
    note(pass, route, &remark);
}

void tc__http_ledger_note_errand(struct tc_http_pass *pass, const struct tc_desk_call *call,
                                 int status, uint64_t body_bytes)
{
    struct tc_http_remark remark = about_errand(call);

    remark.status = status;
    remark.body_bytes = body_bytes;
    note(pass, tc_http_desk_route(call->id), pass->server->log == NULL ? NULL : &remark);
}

/* ---- settling ----------------------------------------------------------------------------- */

/* Hand a line to the log, with its end. */
static void log_entry(struct tc_http_log *log, const struct tc_worker *worker,
                      const struct tc_http_entry *entry, const char *text, int64_t took_ns)
{
    char tail[TC_HTTP_LOG_TAIL_BYTES];
    struct iovec parts[2] = {
        {.iov_base = (void *)(uintptr_t)(text + entry->text_at), .iov_len = entry->text_len},
        {.iov_base = tail, .iov_len = tc__http_log_tail(took_ns, tail)},
    };

    TC_IGNORE(tc_http_log_push(log, worker->index, parts, 2)); /* it counts */
}

/* The answers have been taken by the system, now; or they never will be. */
static void settle(struct tc_conn *conn, const struct tc_http_entry *entries, uint32_t count,
                   const char *text, bool is_sent)
{
    struct tc_worker *worker = tc_worker_current();
    struct tc_http_server *server = tc__http_server_of(conn);
    struct tc_http_part *part = tc__http_part_of(server, worker);
    int64_t now = tc_worker_clock(worker);

    tc_worker_note_clock(worker, now);
    for (uint32_t i = 0; i < count; i++) {
        int64_t took_ns = now > entries[i].begun_ns ? now - entries[i].begun_ns : 0;
        if (is_sent) {
            tc_http_latency_record(&part->latencies, entries[i].route, took_ns);
        }
        if (tc_unlikely(entries[i].text_len != 0)) {
            log_entry(server->log, worker, &entries[i], text, is_sent ? took_ns : -1);
        }
    }
    tc_conn_set_active(conn, now);
}

void tc__http_ledger_settle(struct tc_http_pass *pass)
{
    settle(pass->conn, entries_of(pass), pass->noted, text_of(pass), true);
    pass->noted = 0;
    pass->log_len = 0;
}

void tc__http_ledger_lose(struct tc_http_pass *pass)
{
    settle(pass->conn, entries_of(pass), pass->noted, text_of(pass), false);
    pass->noted = 0;
    pass->log_len = 0;
}

int tc__http_ledger_keep(struct tc_http_pass *pass)
{
    struct tc_http_state *state = pass->state;

    if (pass->noted == 0) {
        return 0;
    }
    tc_assert(state->ledger == NULL); /* its output has been sent: nothing else was read before */
    struct tc_http_ledger *ledger = tc_mem_alloc(size_of(pass->noted, pass->log_len));
    if (ledger == NULL) {
        tc__http_ledger_lose(pass);
        return -ENOMEM;
    }
    ledger->count = pass->noted;
    ledger->text_len = pass->log_len;
    memcpy(ledger->entries, entries_of(pass), pass->noted * sizeof(struct tc_http_entry));
    memcpy(ledger->entries + ledger->count, text_of(pass), pass->log_len);
    state->ledger = ledger;
    pass->noted = 0;
    pass->log_len = 0;
    return 0;
}

static void settle_kept(struct tc_conn *conn, bool is_sent)
{
    struct tc_http_state *state = tc_conn_state(conn);
    struct tc_http_ledger *ledger = state->ledger;

    if (ledger != NULL) {
        settle(conn, ledger->entries, ledger->count, (char *)(ledger->entries + ledger->count),
               is_sent);
        tc_mem_free(ledger, size_of(ledger->count, ledger->text_len));
        state->ledger = NULL;
    }
}

void tc__http_ledger_settle_kept(struct tc_conn *conn)
{
    settle_kept(conn, true);
}

/* Log and count one request now. */
static void settle_one(struct tc_conn *conn, uint32_t route, const struct tc_http_remark *remark,
                       bool is_sent)
{
    struct tc_worker *worker = tc_worker_current();
    struct tc_http_server *server = tc__http_server_of(conn);
    struct tc_http_state *state = tc_conn_state(conn);
    char *scratch = server->log == NULL ? NULL : (char *)tc_io_scratch(worker);
    char *text = scratch == NULL ? NULL : scratch + TC_HTTP_LOG_AT;
    struct tc_http_entry entry = {.begun_ns = state->begun_ns, .route = route};

    if (text != NULL) {
        struct tc_http_part *part = tc__http_part_of(server, worker);
        entry.text_len = (uint32_t)tc__http_log_line(part, conn, remark, text);
    }
    state->begun_ns = 0; /* LG1 */
    settle(conn, &entry, 1, text, is_sent);
}

void tc__http_ledger_settle_call(struct tc_http_call *call, bool is_sent)
{
    struct tc_http_remark remark = {
        .method = call->method,
        .minor = call->minor,
        .target = call->target,
        .lines = tc_http_call_lines(call),
        .status = call->status,
        .body_bytes = call->reply_bytes,
    };

    settle_one(call->conn, call->route_id, &remark, is_sent);
}

void tc__http_ledger_drop(struct tc_conn *conn)
{
    struct tc_http_state *state = tc_conn_state(conn);

    settle_kept(conn, false);
    if (state->errand != NULL) {
        struct tc_http_remark remark = about_errand(state->errand);
        settle_one(conn, TC_HTTP_NO_ROUTE, &remark, false);
    }
}
