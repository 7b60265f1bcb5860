/* http/ledger.h — requests that have been answered, until their answers have been sent. For
 * exchange.c, errand.c, call.c and connection.c.
 *
 * A pass notes each request that it answers, in the worker's scratch, with its line for the access
 * log if there is one. With the flush that sends all of it the notes are settled: the time each
 * took is counted (http/latency.h), and its line is handed to the log (http/log.h). What the client
 * does not take goes, with the output, to the connection's state, and is settled when that has been
 * sent. A call (http/call.h) sends its answer itself and is settled by its end.
 *
 * INVARIANTS
 *  LG1  state->begun_ns is when the request began that is being read or served; 0: there is none.
 *  LG2  Notes go only where their output goes: settled with it, kept with it, dropped with it.
 *
 * WHO MAY CALL: the owner of the connection, on a worker; nothing parks.
 */
#ifndef TC_HTTP_LEDGER_H
#define TC_HTTP_LEDGER_H

#include "http/exchange.h"

struct tc_http_entry {
    int64_t begun_ns;
    uint32_t route; /* see http/latency.h */
    uint32_t text_at; /* the line, but for its end; from where the entries' text begins */
    uint32_t text_len; /* 0: it is not logged */
};

/* Entries that are kept, and behind them their text, in one block. */
struct tc_http_ledger {
    uint32_t count;
    uint32_t text_len;
    struct tc_http_entry entries[];
};

enum { TC_HTTP_LEDGER_ENTRIES = TC_HTTP_LEDGER_BYTES / sizeof(struct tc_http_entry) };

static inline bool tc__http_ledger_is_full(const struct tc_http_pass *pass)
{
    return pass->noted == TC_HTTP_LEDGER_ENTRIES ||
           TC_HTTP_LOG_BYTES - pass->log_len < TC_HTTP_LOG_LINE_BYTES;
}

/* Note the request that began at state->begun_ns, pass->request if it could be read, whose answer
 * is about to be put, with so many bytes of a body. There must be room. */
void tc__http_ledger_note(struct tc_http_pass *pass, uint32_t route, int status,
                          uint64_t body_bytes);

/* The same of one that was on the desk. */
void tc__http_ledger_note_errand(struct tc_http_pass *pass, const struct tc_desk_call *call,
                                 int status, uint64_t body_bytes);

/* All output of the pass has been sent. */
void tc__http_ledger_settle(struct tc_http_pass *pass);

/* Nothing more of it will be. */
void tc__http_ledger_lose(struct tc_http_pass *pass);

/* It has not, and the rest has gone to the state. Returns 0 or -ENOMEM. */
TC_NODISCARD int tc__http_ledger_keep(struct tc_http_pass *pass);

/* What was kept has been sent. */
void tc__http_ledger_settle_kept(struct tc_conn *conn);

/* The call of the connection is over; `is_sent`: with an answer. */
void tc__http_ledger_settle_call(struct tc_http_call *call, bool is_sent);

/* The connection ends, with all that was kept and the request on the desk. */
void tc__http_ledger_drop(struct tc_conn *conn);

#endif
