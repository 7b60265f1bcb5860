#include "http/ledger.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "http/call.h"
#include "http/latency.h"
#include "sched/worker.h"

static struct tc_http_entry *entries_of(const struct tc_http_pass *pass)
{
    return (struct tc_http_entry *)(void *)(pass->scratch + TC_HTTP_LEDGER_AT);
}

static size_t size_of(uint32_t count)
{
    return sizeof(struct tc_http_ledger) + count * sizeof(struct tc_http_entry);
}

void tc__http_ledger_note(struct tc_http_pass *pass, uint32_t route)
{
    struct tc_http_state *state = pass->state;

    tc_assert_debug(!tc__http_ledger_is_full(pass));
    entries_of(pass)[pass->noted++] = (struct tc_http_entry){
        .begun_ns = state->begun_ns,
        .route = route,
    };
    state->begun_ns = 0; /* LG1 */
}

/* The answers have been taken by the system, now. */
static void settle(struct tc_conn *conn, const struct tc_http_entry *entries, uint32_t count)
{
    struct tc_worker *worker = tc_worker_current();
    struct tc_http_part *part = tc__http_part_of(tc__http_server_of(conn), worker);
    int64_t now = tc_worker_clock(worker);

    for (uint32_t i = 0; i < count; i++) {
        tc_http_latency_record(&part->latencies, entries[i].route, now - entries[i].begun_ns);
    }
    tc_conn_set_active(conn, now);
}

void tc__http_ledger_settle(struct tc_http_pass *pass)
{
    settle(pass->conn, entries_of(pass), pass->noted);
    pass->noted = 0;
}

int tc__http_ledger_keep(struct tc_http_pass *pass)
{
    struct tc_http_state *state = pass->state;
    struct tc_http_ledger *ledger = pass->noted == 0 ? NULL : tc_mem_alloc(size_of(pass->noted));

    if (pass->noted == 0) {
        return 0;
    }
    tc_assert(state->ledger == NULL); /* its output has been sent: nothing else was read before */
    if (ledger == NULL) {
        return -ENOMEM;
    }
    ledger->count = pass->noted;
    memcpy(ledger->entries, entries_of(pass), pass->noted * sizeof(struct tc_http_entry));
    state->ledger = ledger;
    pass->noted = 0;
    return 0;
}

void tc__http_ledger_settle_kept(struct tc_conn *conn)
{
    struct tc_http_state *state = tc_conn_state(conn);

    if (state->ledger != NULL) {
        settle(conn, state->ledger->entries, state->ledger->count);
        tc__http_ledger_drop(state);
    }
}

void tc__http_ledger_settle_call(struct tc_http_call *call, bool is_sent)
{
    struct tc_http_state *state = call->state;
    struct tc_http_entry entry = {.begun_ns = state->begun_ns, .route = call->route->id};

    state->begun_ns = 0; /* LG1 */
    if (is_sent) {
        settle(call->conn, &entry, 1);
    }
}

void tc__http_ledger_drop(struct tc_http_state *state)
{
    if (state->ledger != NULL) {
        tc_mem_free(state->ledger, size_of(state->ledger->count));
        state->ledger = NULL;
    }
}
