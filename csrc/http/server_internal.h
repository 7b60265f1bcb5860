/* http/server_internal.h — struct tc_http_server, for server.c, exchange.c, connection.c and
 * the files of a call.
 *
 * WHO MAY CALL: what is here is constant once the server has started, but for the parts, each of
 * which belongs to one worker, and the routes (http/router.h).
 */
#ifndef TC_HTTP_SERVER_INTERNAL_H
#define TC_HTTP_SERVER_INTERNAL_H

#include "arch/cpu.h"
#include "base/atomic.h"
#include "base/lock.h"
#include "http/date.h"
#include "http/desk.h"
#include "http/latency.h"
#include "http/log.h"
#include "http/router.h"
#include "http/server.h"
#include "sched/worker.h"

enum { TC_HTTP_DATE_LINE_BYTES = 8 + TC_HTTP_DATE_BYTES }; /* "Date: ...\r\n" */

/* What one worker keeps for one server. */
struct tc_http_part {
    TC_ALIGNED(TC_CACHELINE) _Atomic uint64_t requests; /* its worker writes, anyone sums */
    _Atomic uint64_t refused;
    _Atomic uint64_t header_timeouts;
    int64_t date_until_ns; /* by the monotonic clock; the worker's, like the line */
    char date_line[TC_HTTP_DATE_LINE_BYTES];
    int64_t log_seconds; /* the worker's, like the date */
    char log_date[TC_HTTP_LOG_DATE_BYTES];
    struct tc_http_latencies latencies; /* its worker writes, anyone sums */
};

/* Statuses that the server answers with by itself. */
#define TC_HTTP_OWN_STATUSES(X) \
    X(204) X(400) X(404) X(405) X(408) X(413) X(414) X(417) X(431) X(500) X(501) X(503) X(505)

enum {
#define TC_HTTP_OWN_INDEX(status) TC_HTTP_OWN_##status,
    TC_HTTP_OWN_STATUSES(TC_HTTP_OWN_INDEX)
#undef TC_HTTP_OWN_INDEX
        TC_HTTP_OWN_COUNT,
};

struct tc_http_server {
    struct tc_protocol protocol; /* what conn leads to; see tc__http_server_of */
    struct tc_server_options net_options;
    struct tc_http_limits limits;
    int64_t header_timeout_ns;
    int64_t body_timeout_ns; /* TC_NEVER: none */
    int64_t body_grace_ns;
    uint64_t body_rate; /* bytes a second */
    int64_t max_body; /* TC_NEVER: no limit */
    int64_t skip_timeout_ns; /* TC_NEVER: none */
    uint64_t skip_bytes; /* of a body that nobody wants */
    uint16_t chunk_extension_bytes;
    struct tc_runtime *runtime; /* NULL before start */
    struct tc_lock lock; /* TC_RANK_CALL; held to add a route */
    struct tc_http_router router;
    uint32_t route_count; /* of them: the id of the next one; under the lock */
    struct tc_http_desk *desk; /* one reference, or NULL */
    struct tc_http_log *log; /* owned; NULL: none */
    struct tc_http_handler desk_handler; /* of its calls that a fiber serves, and their route */
    struct tc_http_route desk_route;
    struct tc_upload_dir *uploads; /* borrowed from routes, by `next`; constant once it runs */
    struct tc_http_answer own[TC_HTTP_OWN_COUNT];
    struct tc_http_part *parts; /* owned; one per worker */
    uint32_t part_count;
    struct tc_server *net; /* owned; NULL before start */
};

static inline struct tc_http_server *tc__http_server_of(struct tc_conn *conn)
{
    const struct tc_protocol *protocol = tc_conn_protocol(conn);

    return tc_container_of(protocol, struct tc_http_server, protocol);
}

static inline struct tc_http_part *tc__http_part_of(struct tc_http_server *server,
                                                    const struct tc_worker *worker)
{
    return &server->parts[worker->index];
}

/* exchange.c: "Date: ...\r\n", made once a second (RFC 9110 6.6.1), good at `now_ns` of the
 * monotonic clock; it follows a jump of the date within a second. Threads: the part's worker */
const char *tc__http_date_line(struct tc_http_part *part, int64_t now_ns);

/* exchange.c: the server's own answer of this status, which must be one of them, else 400. */
const struct tc_http_answer *tc__http_own_answer(const struct tc_http_server *server, int status);

/* connection.c: what a connection does; each server has a copy of its own. */
extern const struct tc_protocol tc__http_protocol;

#endif
