/* http/server.h — an HTTP/1.1 server: what it answers is fixed before it starts.
 *
 * The connections, their limits and the drain are net/server.h's. Here a connection reads requests
 * (http/parser.h), finds the answer by path, and sends it. All requests that have arrived together
 * are answered by one send. What can be answered at once costs no fiber; a fiber waits for the rest
 * of a request that came in part, for a peer that does not take its answers, and before a connection
 * is closed on input that nobody has read.
 *
 *   method            path known                 path not known
 *   GET, HEAD         the answer                 404
 *   OPTIONS           204 with Allow             404; `*`: 204 with Allow
 *   any other         405 with Allow             404
 *
 * A path that has no answer may be one of the desk's patterns (http/desk.h): then the request goes there,
 * with its body, and the answer comes from there.
 *
 * A body that nobody wants is skipped up to 64 KiB; a longer one, or one that the client holds back
 * until it is told to continue, ends the connection behind the answer. A request that cannot be
 * read is answered with the status of its error (http/error.h), and the connection is closed.
 *
 *   deadline              from                                  then
 *   header_timeout_ns     the first byte of a request, absolute 408, close
 *   TC_HTTP_SKIP_NS       the start of a skipped body, absolute close
 *   desk->body_timeout_ns the last byte of a collected body     408, close; also below TC_HTTP_BODY_RATE
 *                                                               after TC_HTTP_BODY_GRACE_NS
 *   idle_timeout_ns       the last byte in or out, at rest      close
 *   send_timeout_ns       the last byte the peer took           close
 *
 *                start   add a route   net's calls   statistics   free     -  safe together
 *   start          X          X             X             X         X      X  caller must exclude
 *   add a route    X          X             X             -         X
 *   free           X          X             X             X         X
 */
#ifndef TC_HTTP_SERVER_H
#define TC_HTTP_SERVER_H

#include "http/parser.h"
#include "http/response.h"
#include "net/server.h"

enum {
    TC_HTTP_SKIP_BYTES = 64 * 1024, /* of a body that nobody wants */
    TC_HTTP_ROUTES_MAX = 4096,
    TC_HTTP_SERVER_HEAD_BYTES_MAX = 64 * 1024,
    TC_HTTP_BODY_RATE = 500, /* bytes a second, after the grace */
};
#define TC_HTTP_SKIP_NS (5 * TC_NS_PER_SEC)
#define TC_HTTP_BODY_GRACE_NS (10 * TC_NS_PER_SEC)

struct tc_http_desk;
struct tc_http_server;

struct tc_http_options {
    struct tc_server_options net; /* idle_timeout_ns 0: 30 s, the time a connection is kept alive */
    int64_t header_timeout_ns; /* 0: 10 s; TC_NEVER: none */
    struct tc_http_limits limits; /* each 0: its default */
    struct tc_http_desk *desk; /* NULL: none; see http/desk.h. The server takes a reference. */
};

struct tc_http_statistics {
    uint64_t requests; /* answered, refused ones included */
    uint64_t refused; /* of these, messages that broke a rule */
    uint64_t header_timeouts; /* of these, heads that came too slowly */
    uint64_t handled; /* requests that the clerk of the desk has taken */
    uint64_t batches; /* times it took some */
};

/* Make a server without routes. `options` is copied, but not the text of options->net.host.
 * Parks: never   Threads: any   Owns: *out until tc_http_server_free
 * Returns 0, -EINVAL (limits), -ENOMEM. */
TC_NODISCARD int tc_http_server_new(const struct tc_http_options *options,
                                    struct tc_http_server **out);

/* Answer GET and HEAD of `path` always in the same way. It is decoded and normalised like the path of
 * a request, so that "/a b", "/a%20b" and "/x/../a%20b" are one route.
 * Parks: never   Threads: any, before start   Owns: copies
 * Returns 0, -EBUSY (it has been started), -EEXIST, -EINVAL (a path that no request can have, or see
 * tc_http_answer_init), -ENOSPC (too many routes), -E2BIG, -ENOMEM. */
TC_NODISCARD int tc_http_server_respond(struct tc_http_server *server, const char *path,
                                        const struct tc_http_response *response);

/* Bind, listen, serve. Once only.
 * Parks: never   Threads: any   Returns what tc_server_start returns, or -EBUSY. */
TC_NODISCARD int tc_http_server_start(struct tc_http_server *server, struct tc_runtime *runtime);

/* To close, abort, wait for, look at; not to free. NULL before start. Threads: any */
struct tc_server *tc_http_server_net(const struct tc_http_server *server);

/* Parks: never   Threads: any */
void tc_http_server_statistics(const struct tc_http_server *server, struct tc_http_statistics *out);

/* Free a server that is CLOSED or was never started, and its net server. Parks: never */
void tc_http_server_free(struct tc_http_server *server);

#endif
