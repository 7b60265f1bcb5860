/* http/server.h — an HTTP/1.1 server: requests in, by route, answers out.
 *
 * The connections, their limits and the drain are net/server.h's. Here a connection reads requests
 * (http/parser.h), finds the route by path and method (http/router.h), and sends what the route
 * says: an answer that is always the same, or what a handler makes of the request (http/handler.h).
 * Fixed answers to requests that have arrived together are sent by one call and cost no fiber; a
 * fiber runs handlers, waits for the rest of a request that came in part, for a peer that does not
 * take its answers, and before a connection is closed on input that nobody has read.
 *
 *   method            a route has it      the path's routes do not     no route has the path
 *   HEAD              as GET, no body     405 with Allow               404
 *   OPTIONS           the route           204 with Allow               404; `*`: 204 with Allow
 *   any other         the route           405 with Allow               404
 *
 * A path that has no answer may be one of the desk's patterns (http/desk.h): then the request goes
 * there, with its body, and the answer comes from there.
 *
 * A body that nobody wants is skipped up to skip_bytes; a longer one, or one that the client holds
 * back until it is told to continue, ends the connection behind the answer. A request that cannot
 * be read is answered with the status of its error (http/error.h), and the connection is closed.
 *
 *   deadline              from                                  then
 *   header_timeout_ns     the first byte of a request, absolute 408, close
 *   body_timeout_ns       the last byte of a body, while a      408, or as the handler says; close
 *                         handler waits for it
 *   body_rate             body_grace_ns of such waiting; less   the same
 *                         in all of it
 *   skip_timeout_ns       the start of a skipped body, absolute close
 *   desk->body_timeout_ns the last byte of a body for the desk  408, close; also below body_rate
 *                                                               after body_grace_ns
 *   idle_timeout_ns       the last byte in or out, at rest      close
 *   net.drain_grace_ns    tc_server_close, for connections at   close; what is answered meanwhile
 *                         rest                                  says Connection: close
 *   send_timeout_ns       the last byte the peer took           reset
 *
 *                start   add a route   net's calls   statistics   free     -  safe together
 *   start          X          X             X             X         X      X  caller must exclude
 *   add a route    X          -             -             -         X
 *   free           X          X             X             X         X
 */
#ifndef TC_HTTP_SERVER_H
#define TC_HTTP_SERVER_H

#include "base/histogram.h"
#include "http/handler.h"
#include "http/parser.h"
#include "http/response.h"
#include "net/server.h"

enum {
    TC_HTTP_ROUTES_MAX = 4096,
    TC_HTTP_SERVER_HEAD_BYTES_MAX = 64 * 1024,
};

/* Defaults of struct tc_http_options. */
enum {
    TC_HTTP_BODY_RATE = 500,
    TC_HTTP_MAX_BODY = 1024 * 1024,
    TC_HTTP_SKIP_BYTES = 64 * 1024,
};
#define TC_HTTP_HEADER_TIMEOUT_NS (10 * TC_NS_PER_SEC)
#define TC_HTTP_KEEP_ALIVE_NS (30 * TC_NS_PER_SEC)
#define TC_HTTP_BODY_TIMEOUT_NS (30 * TC_NS_PER_SEC)
#define TC_HTTP_BODY_GRACE_NS (10 * TC_NS_PER_SEC)
#define TC_HTTP_SKIP_TIMEOUT_NS (5 * TC_NS_PER_SEC)
#define TC_HTTP_DRAIN_GRACE_NS (1 * TC_NS_PER_SEC)

struct tc_http_desk;
struct tc_http_log;
struct tc_http_server;

struct tc_http_options {
    struct tc_server_options net; /* idle_timeout_ns 0: 30 s, the time a connection is kept alive;
                                   * drain_grace_ns 0: 1 s, less than 0: none */
    int64_t header_timeout_ns; /* 0: 10 s; TC_NEVER: none */
    int64_t body_timeout_ns; /* 0: 30 s; TC_NEVER: none */
    int64_t body_grace_ns; /* 0: 10 s; TC_NEVER: any rate will do */
    uint64_t body_rate; /* bytes a second, over the whole body; 0: 500 */
    int64_t max_body; /* bytes, unless a route says otherwise; 0: 1 MiB; TC_NEVER: no limit */
    int64_t skip_timeout_ns; /* 0: 5 s; TC_NEVER: none */
    uint64_t skip_bytes; /* of a body that nobody wants; 0: 64 KiB */
    uint32_t chunk_extension_bytes; /* a chunk, at most 4096; 0: 256 */
    struct tc_http_limits limits; /* each 0: its default */
    struct tc_http_desk *desk; /* NULL: none; see http/desk.h. The server takes a reference. */
};

struct tc_http_statistics {
    uint64_t requests; /* answered, refused ones included */
    uint64_t refused; /* of these, messages that broke a rule */
    uint64_t header_timeouts; /* of these, heads that came too slowly */
    uint64_t handled; /* requests that the clerk of the desk has taken */
    uint64_t batches; /* times it took some */
    uint64_t log_lines; /* of the access log, without those dropped */
    uint64_t log_dropped; /* no room, or they could not be written */
};

/* Make a server without routes. `options` is copied, but not the text of options->net.host.
 * Parks: never   Threads: any   Owns: *out until tc_http_server_free
 * Returns 0, -EINVAL (limits), -ENOMEM. */
TC_NODISCARD int tc_http_server_new(const struct tc_http_options *options,
                                    struct tc_http_server **out);

/* Answer GET and HEAD of `path` always in the same way. It is decoded and normalised like the path
 * of a request, so that "/a b", "/a%20b" and "/x/../a%20b" are one route.
 * Parks: never   Threads: any   Owns: copies
 * Returns 0, -EEXIST, -EINVAL (a path that no request can have, or see
 * tc_http_answer_init), -ENOSPC (too many routes), -E2BIG, -ENOMEM. */
TC_NODISCARD int tc_http_server_respond(struct tc_http_server *server, const char *path,
                                        const struct tc_http_response *response);

/* Let a handler serve the requests of a route. Routes may be added while the server runs, and stay.
 * Parks: never   Threads: any
 * Owns: copies of the options; the handler, which is for one route, is the server's on 0 only, and
 * freed with it
 * Returns 0, -EEXIST, -EINVAL (path, methods, limit), -ENOSPC, -ENOMEM. */
TC_NODISCARD int tc_http_server_route(struct tc_http_server *server,
                                      const struct tc_http_route_options *options,
                                      struct tc_http_handler *handler);

/* Keep an access log (http/log.h), before start and once only.
 * Parks: never   Threads: any   Owns: takes the log */
void tc_http_server_set_log(struct tc_http_server *server, struct tc_http_log *log);

/* Bind, listen, serve. Once only.
 * Parks: never   Threads: any   Returns what tc_server_start returns, or -EBUSY. */
TC_NODISCARD int tc_http_server_start(struct tc_http_server *server, struct tc_runtime *runtime);

/* To close, abort, wait for, look at; not to free. NULL before start. Threads: any */
struct tc_server *tc_http_server_net(const struct tc_http_server *server);

/* Parks: never   Threads: any */
void tc_http_server_statistics(const struct tc_http_server *server, struct tc_http_statistics *out);

/* How long the requests of one route took; see http/latency.h for what is measured. */
struct tc_http_route_latency {
    const char *path; /* of the route, the server's, not terminated; NULL: of what no route took */
    size_t path_len;
    uint64_t methods; /* TC_HTTP_METHOD_BITs; 0 if path is NULL */
    struct tc_histogram_summary took; /* ns; count > 0 */
};

/* Sum up what all workers have of every route that has answered: routes as they were added, then
 * those of the desk, then what no route took. Looks at 8 KiB for each of them and each worker.
 * Parks: never   Threads: any, while the server is not freed
 * Returns how many there are, of which the first `max` are in `out`. */
size_t tc_http_server_latencies(struct tc_http_server *server, struct tc_http_route_latency *out,
                                size_t max);

/* The server is CLOSED: write what is left of its access log, so that the statistics know what is
 * lost.
 * Parks: never, but blocks with an access log, see tc_http_log_end
 * Threads: any, several at once */
void tc_http_server_end_log(struct tc_http_server *server);

/* Free a server that is CLOSED or was never started, and its net server.
 * Parks: never, but blocks with an access log that has not ended, see tc_http_log_end */
void tc_http_server_free(struct tc_http_server *server);

#endif
