/* net/server.h — accept, limit, deal out, drain: everything about serving but the protocol.
 *
 * A server owns one listening socket and the connections accepted from it. The worker that has the
 * listener accepts (level-triggered, at most 64 a turn) and deals each connection to the least
 * loaded of the server's workers by registering it with that worker's poller; no message is sent.
 * A connection at rest owns no stack and no fiber: a callback waiter lies in the read word of its
 * descriptor slot. Whoever claims that waiter (readiness, idle deadline, drain) acts alone:
 * readiness lets the protocol `react` on the spot, and attaches a fiber that runs its `serve` only
 * for what may have to wait.
 *
 *   LISTENING ──close──► DRAINING ──last connection gone──► CLOSED ──wait──► free
 *                           └──drain deadline: cancel fibers, close all──┘
 *
 *  state      listener      resting connections         served connections
 *  LISTENING  registered    stay                        stay
 *  DRAINING   closed        are closed when the grace   may finish until the drain deadline; done
 *                           ends, at once without one   when silent for 100 ms, and the grace is
 *                                                       over
 *  CLOSED     closed        none                        none
 *
 * The grace is for protocols that can tell a client that its connection ends (tc_conn_is_draining):
 * a client that hears of it in an answer loses no request to the close.
 *
 * INVARIANTS
 *  S1  A connection is in the server's list from accept to close.
 *  S2  Exactly one party owns a connection at any time: its waiter's claimer or its fiber.
 *  S3  Every descriptor the server opened is closed before it is CLOSED.
 *  S4  At a descriptor limit the listener is off; it never spins. Closing any connection of the
 *      process turns it on again at once, a timer (10 to 50 ms) only serves descriptors that are
 *      not ours.
 *
 *                close   abort   wait   statistics   free     -  safe together
 *   free           X       X      X        X           X      X  caller must exclude
 */
#ifndef TC_NET_SERVER_H
#define TC_NET_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/list.h"
#include "net/addr.h"
#include "net/stream.h"
#include "sched/runtime.h"

struct tc_waiter;
struct tc_worker;

struct tc_conn;
struct tc_server;

/* What `react` and `serve` say when they return. */
enum tc_verdict {
    TC_CONN_REST,  /* nothing more to do until there is input */
    TC_CONN_CLOSE, /* done with this connection */
    TC_CONN_SERVE, /* from `react` only: go on in `serve`, on a fiber */
    /* Wait for tc_conn_poke, or for input: like TC_CONN_REST, but counted as served: the idle
     * deadline does not end it, and a drain leaves it the time that served connections have. */
    TC_CONN_HOLD,
    /* From `react` only: tc_conn_go_on is called before the batch of events ends
     * (tc_io_put_off). */
    TC_CONN_LATER,
};

struct tc_protocol {
    const char *name;                /* "echo"; names the fibers */
    enum tc_stack_class stack_class; /* for the fibers that run `serve` */
    size_t conn_bytes;               /* protocol state at the end of struct tc_conn, zeroed */
    /* Runs when the connection is readable, on the worker that found out, between two fibers. Must
     * not park: what cannot be done at once is noted in the connection's state and left to `serve`.
     * A request that needs no more costs no fiber. May be NULL: then every request is served. */
    enum tc_verdict (*react)(struct tc_conn *conn, struct tc_worker *worker);
    /* Runs on a fiber: after `react` said so, when more is readable at once than `react` may handle
     * in one turn, and while the server drains. May park. */
    enum tc_verdict (*serve)(struct tc_conn *conn);
    /* Frees what the protocol state owns; never parks. May be NULL. */
    void (*release)(struct tc_conn *conn);
};

/* Defaults of struct tc_server_options. */
#define TC_SERVER_SEND_TIMEOUT_NS (30 * TC_NS_PER_SEC)
#define TC_SERVER_DRAIN_TIMEOUT_NS (30 * TC_NS_PER_SEC)

struct tc_server_options {
    const char *host; /* numeric IPv4 or IPv6 address, or "localhost"; NULL: 127.0.0.1 */
    uint16_t port; /* 0: any free one, see tc_server_address */
    uint32_t workers; /* connections are dealt to this many workers; 0: all */
    uint32_t max_connections; /* of this server; 0: as many as leave all servers of the process
                               * together at most 0.8 × RLIMIT_NOFILE */
    int64_t idle_timeout_ns; /* from the last byte in or out; 0 or TC_NEVER: none */
    int64_t send_timeout_ns; /* a peer that takes nothing for so long is reset; 0: 30 s */
    int64_t drain_timeout_ns; /* after close, for connections being served; < 0: 30 s */
    int64_t drain_grace_ns; /* after close, for connections at rest, and no longer than
                             * drain_timeout_ns; 0 or less: none */
    int backlog; /* 0: min(4096, somaxconn) */
    bool reuse_port; /* SO_REUSEPORT */
    int listen_fd; /* not 0: a stream socket that listens already, which the server copies; host,
                    * port, backlog and reuse_port are not looked at. It is made non-blocking, for
                    * everybody who shares it */
};

struct tc_server_statistics {
    uint64_t accepted;
    uint64_t connections; /* open now */
    uint64_t resting; /* of these, without a fiber */
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t requests; /* times react or serve moved bytes */
    uint64_t idle_closed; /* closed by idle_timeout */
    uint64_t send_timeouts;
    uint64_t resets; /* ended by an error of the peer */
    uint64_t shed; /* accepted and closed at once at a descriptor or memory limit */
    uint64_t accept_pauses; /* times the listener was switched off at a limit */
    uint64_t cancelled; /* ended by the drain deadline or abort */
    uint64_t errors; /* failures of our own side: registration, memory */
    int32_t last_error; /* the latest of them as -errno, 0 if none */
    bool listening;
    bool paused; /* the listener is off at a limit */
};

/* Bind, listen, register. Once it returns 0, clients can connect.
 * Parks: never   Threads: any   Owns: *out is the caller's until tc_server_free
 * Returns 0, -EINVAL (bad host, more workers than exist, listen_fd does not listen), -EADDRINUSE,
 * -EACCES, -ENOMEM, ... */
TC_NODISCARD int tc_server_start(struct tc_runtime *runtime, const struct tc_protocol *protocol,
                                 const struct tc_server_options *options, struct tc_server **out);

/* Stop listening and begin the drain. Idempotent. Parks: never   Threads: any */
void tc_server_close(struct tc_server *server);

/* The same with a drain deadline of now: served connections are cancelled. */
void tc_server_abort(struct tc_server *server);

/* Wait until the server is CLOSED. From a plain thread it blocks the thread, from a fiber it parks.
 * Returns 0, -ETIMEDOUT, -EINTR (plain threads only), -ECANCELED (fibers only). */
TC_MAY_PARK TC_NODISCARD int tc_server_wait(struct tc_server *server, int64_t deadline_ns);

/* One wait of tc_server_wait_start, in memory of the caller's; touched under the server's lock
 * only. */
struct tc_server_waiter {
    struct tc_list node; /* in the server's list while it waits                                 */
    struct tc_server *server;
    struct tc_waiter *waiter;
    uint64_t seq;
};

/* The same with a callback waiter, which must not be waiting: it will be claimed and readied with
 * 0.
 * Parks: never   Threads: one at a time for each waiter
 * Owns: `node` and `waiter` are the server's until the callback, or until withdrawn
 * Returns 0: CLOSED already, no callback; -EINPROGRESS. */
TC_NODISCARD int tc_server_wait_start(struct tc_server *server, struct tc_server_waiter *node,
                                      struct tc_waiter *waiter);

/* End a wait that was started. Parks: never   Threads: one at a time for each waiter
 * Returns true: it is over. False: the callback has been called or is about to be. */
TC_NODISCARD bool tc_server_wait_withdraw(struct tc_server_waiter *node);

/* Where it listens (also after it was closed). */
void tc_server_address(const struct tc_server *server, struct tc_addr *out);

void tc_server_statistics(struct tc_server *server, struct tc_server_statistics *out);

/* Free a CLOSED server. */
void tc_server_free(struct tc_server *server);

/* ---- for protocols: messages -------------------------------------------------------------- */

/* Keep the server from becoming CLOSED, while a message of the protocol's is under way to a worker.
 * Parks: never   Threads: any   Returns false if it is CLOSED already. */
TC_NODISCARD bool tc_server_try_hold(struct tc_server *server);

/* Give the hold back. Parks: never   Threads: a worker. The server may be gone afterwards. */
void tc_server_unhold(struct tc_server *server, struct tc_worker *worker);

/* Have a connection that is held looked at, by react() or serve(). It may have ended: `slot` and
 * `generation` are those of its stream when it was held, and tell.
 * Parks: never   Threads: a worker, between fibers, while the server cannot be CLOSED */
void tc_conn_poke(struct tc_conn *conn, struct tc_pollfd *slot, uint16_t generation,
                  struct tc_worker *worker);

/* What `react` has put off is done, and this is its verdict.
 * Parks: never   Threads: the worker that reacts */
void tc_conn_go_on(struct tc_conn *conn, struct tc_worker *worker, enum tc_verdict verdict);

/* ---- for protocols: the connection that `react` or `serve` was given ------------------------ */

struct tc_stream *tc_conn_stream(struct tc_conn *conn);
struct tc_server *tc_conn_server(struct tc_conn *conn);
void *tc_conn_state(struct tc_conn *conn); /* conn_bytes of the protocol's own */
const struct tc_protocol *tc_conn_protocol(struct tc_conn
                                               *conn); /* as given to tc_server_start   */
int64_t tc_conn_send_deadline(struct tc_conn *conn); /* now + send_timeout                       */
void tc_conn_count_in(struct tc_conn *conn, uint64_t bytes); /* statistics and idle deadline    */
void tc_conn_count_out(struct tc_conn *conn, uint64_t bytes);
bool tc_conn_is_draining(struct tc_conn *conn);

/* The last byte in or out went at `now_ns`, which spares a look at the clock when react or serve
 * returns. */
void tc_conn_set_active(struct tc_conn *conn, int64_t now_ns);

/* Say why the connection ends; `error` is -errno, counted when it is closed. Returns TC_CONN_CLOSE,
 * for `return tc_conn_fail(conn, rc)`. */
enum tc_verdict tc_conn_fail(struct tc_conn *conn, int error);

/* ---- fork ---------------------------------------------------------------------------------- */

/* In the child of a fork: forget every server of the parent, without touching a lock. Their memory
 * is leaked; their sockets are closed by the runtime's own handler. Async-signal-safe. */
void tc_server_after_fork_child(void);

#endif
