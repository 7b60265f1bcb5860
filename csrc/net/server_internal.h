/* net/server_internal.h — struct tc_server and struct tc_conn, for server.c, drain.c,
 * acceptor.c, conn.c and limits.c alone.
 *
 * WHO TELLS WHOM THAT THE SERVER DRAINS The path of a request takes no lock and makes no full
 * fence, so it learns of the drain by one relaxed load of `state`. What makes that enough:
 * close() posts a message to every worker, and a worker runs it between two fibers and two
 * events. A fiber, or react(), looks at `state` and then rests, or notes itself in its
 * connection, without parking in between; so after a worker has run the message (an *ack*, given
 * under the lock) nothing on it acts on the old state any more. After the last ack the server is
 * *quiet*: no connection begins to rest, every rest is complete and may be claimed by anybody,
 * and a connection's fiber pointer changes under the lock only, which makes cancelling it safe.
 *
 * WHO MAY CLAIM A WAIT
 *   source                   finds the waiter in             may claim
 *   readiness                the slot's word                 ARMED, CANCELLABLE
 *   deadline of the wait     its timer node                  ARMED, CANCELLABLE
 *   idle deadline, drain's   the connection, the server      CANCELLABLE: the owner has finished
 *   close, resume                                            handing the wait out
 *   sweep                    the connection                  both: the server is quiet
 *
 * LIFE OF A CONNECTION'S MEMORY Objects come from slabs of the process and keep their waiters'
 * sequences for ever, because a poller or a timer may hold a waiter's address a little longer
 * than the connection lives (W1). The idle deadline belongs to the *keeper*, the worker that
 * accepted: it alone arms, fires and disarms it. So a connection that is closed elsewhere
 * travels to its keeper once, to be retired. Without idle timeout it is retired where it is
 * closed.
 */
#ifndef TC_NET_SERVER_INTERNAL_H
#define TC_NET_SERVER_INTERNAL_H

#include "base/list.h"
#include "base/lock.h"
#include "base/slab.h"
#include "net/server.h"
#include "net/tcp.h"
#include "sched/worker.h"

enum {
    TC_ACCEPT_BATCH = 64,        /* connections accepted per turn */
    TC_REACT_BYTES = 128 * 1024, /* handled without a fiber, per turn, while somebody waits */
    TC_CONN_STATE_MAX = 1024,    /* largest conn_bytes of a protocol */
};

enum tc_server_state {
    TC_SERVER_LISTENING, /* 0: `state` serves as the flag of tc_waiter_core_allow_cancel        */
    TC_SERVER_DRAINING,
    TC_SERVER_CLOSED,
};

/* ---- types -------------------------------------------------------------------------------- */

struct tc_conn {
    /* First line: what waking up touches. */
    TC_ALIGNED(64) struct tc_waiter rest; /* armed while at rest */
    /* The owner's (S2): whoever claimed `rest`, or the fiber. */
    struct tc_stream stream;
    struct tc_server *server;
    _Atomic(struct tc_fiber *) fiber; /* serving it; its own store, under the lock once draining */

    /* Second line: what serving touches besides. */
    uint64_t bytes_in; /* since the last tally */
    uint64_t bytes_out;
    _Atomic int64_t active_ns; /* last byte in or out; owner writes, keeper reads */
    int32_t failure; /* why it ends, -errno; 0: as it should */
    bool is_served; /* counted in `served` */
    bool is_timed; /* active_ns was set for what has not been tallied yet */
    _Atomic bool is_held; /* at rest, but for its protocol: TC_CONN_HOLD */

    struct tc_list node; /* in server->conns; under the lock (S1) */

    /* The keeper's; unused without idle timeout. */
    struct tc_waiter idle;
    struct tc_deadline deadline;
    struct tc_worker *keeper; /* constant */
    struct tc_message message; /* to the keeper: retire; to a worker: never got a fiber */

    /* The protocol's. */
    _Alignas(16) unsigned char state[];
};

/* Why a listener is off. */
enum tc_pause {
    TC_PAUSE_NONE,
    TC_PAUSE_CAP, /* as many connections as allowed: only a close can help */
    TC_PAUSE_ERROR, /* no descriptors, no memory, or something unknown: a timer tries again */
};

/* The listening socket. Owned by whoever claimed `waiter`; see acceptor.c. */
struct tc_acceptor {
    struct tc_waiter waiter; /* armed while it waits for connections or, paused, for room */
    struct tc_pollfd *slot;
    struct tc_worker *home; /* constant */
    struct tc_deadline deadline; /* of a pause */
    struct tc_message message; /* to home: there may be room */
    int reserve_fd; /* -1, or a descriptor to give up for shedding one client */
    bool is_enabled; /* the poller reports it */
    uint32_t false_alarms; /* reports in a row that nobody was behind */
    int64_t backoff_ns; /* length of the last pause; 0 after a success */
    struct tc_list node; /* in the list of paused ones; under the limits' lock */
    _Atomic uint8_t pause; /* enum tc_pause; owner writes, statistics and limits read */
};

/* Counters of one worker for one server. */
#define TC_SERVER_TALLIES(X) \
    X(accepted) \
    X(served) \
    X(bytes_in) \
    X(bytes_out) \
    X(requests) \
    X(idle_closed) \
    X(send_timeouts) \
    X(resets) \
    X(shed) \
    X(accept_pauses) \
    X(cancelled) \
    X(errors)

/* What a server keeps per worker of the runtime. `served` counts a fiber that begins +1, rest or
 * close -1, each on the worker where it happens; only the sum over the workers means something. */
struct tc_server_part {
#define TC_SERVER_TALLY_FIELD(name) _Atomic uint64_t name; /* owner worker writes, anyone sums */
    TC_ALIGNED(TC_CACHELINE)
    TC_SERVER_TALLIES(TC_SERVER_TALLY_FIELD)
#undef TC_SERVER_TALLY_FIELD
    struct tc_message message; /* the drain has begun */
    struct tc_server *server; /* constant */
    uint64_t react_turn; /* the turn that react_bytes counts for; this worker's */
    uint64_t react_bytes;
    size_t sweep_left; /* connections the sweep has not looked at; this worker's */
};

struct tc_server {
    struct tc_runtime *runtime; /* constant, like everything up to `state` */
    const struct tc_protocol *protocol;
    struct tc_spawn_options spawn;
    struct tc_slab *conn_slab;
    struct tc_server_part *parts; /* owned; one per worker */
    uint32_t part_count;
    uint32_t deal_count; /* connections go to the first so many workers */
    uint32_t max_connections; /* 0: the process-wide cap */
    int64_t idle_timeout_ns; /* TC_NEVER: none */
    int64_t send_timeout_ns;
    int64_t drain_timeout_ns;
    int64_t drain_grace_ns;
    struct tc_addr address;

    _Atomic uint32_t state; /* enum tc_server_state; written under the lock; futex word */
    _Atomic uint32_t open; /* connections now */
    _Atomic int32_t last_error; /* see tc_server_statistics */

    struct tc_lock lock; /* TC_RANK_SERVER; guards what follows */
    struct tc_list conns; /* of tc_conn.node */
    size_t holds; /* connections, messages, listener, timer: what must end */
    uint32_t acks_missing; /* drain messages not yet run */
    bool is_quiet; /* see the head */
    bool is_cancelling; /* the drain deadline has passed, or abort */
    bool drain_is_armed; /* `drain` holds one of `holds` */
    bool is_in_grace; /* armed for grace_at_ns; the sweep comes then */
    uint32_t grace_part; /* the part whose worker armed it */
    int64_t grace_at_ns; /* when connections at rest are closed */
    int64_t drain_at_ns; /* when patience ends */
    struct tc_waiter drain; /* of the grace, then of the drain deadline */
    struct tc_deadline drain_deadline;
    struct tc_list waiters; /* of struct tc_server_waiter: fibers, callbacks */

    struct tc_acceptor acceptor;
    uint32_t deal_next; /* where the search for the least loaded begins; acceptor's */
};

/* ---- small helpers ------------------------------------------------------------------------ */

static inline struct tc_server_part *tc__server_part(struct tc_server *server,
                                                     const struct tc_worker *worker)
{
    return &server->parts[worker->index];
}

static inline bool tc__server_is_draining(struct tc_server *server)
{
    /* relaxed: see the head of this file */
    return tc_load_relaxed(&server->state) != TC_SERVER_LISTENING;
}

/* Claim a wait whose owner has finished handing it out, without having been given its sequence. */
static inline bool tc__waiter_claim_any(struct tc_waiter *waiter)
{
    uint64_t value = tc_load_relaxed(&waiter->word.value); /* relaxed: the claim's CAS decides */

    return tc_waiter_core_state_of(value) == TC_WAITER_CANCELLABLE &&
           tc_waiter_claim(waiter, tc_waiter_core_seq_of(value));
}

/* Count one failure of our own side. */
static inline void tc__server_count_error(struct tc_server *server, struct tc_worker *worker,
                                          int error)
{
    tc_counter_add(&tc__server_part(server, worker)->errors, 1);
    tc_store_relaxed(&server->last_error, error); /* relaxed: statistics */
}

/* ---- drain.c ------------------------------------------------------------------------------ */

/* Give up one of `holds`; the last one makes the server CLOSED and it must not be touched again. */
void tc__server_release(struct tc_server *server, struct tc_worker *worker);

/* What a part's message and the drain deadline's waiter run. */
void tc__server_drain_message(struct tc_worker *worker, struct tc_message *message);
void tc__server_drain_expired(struct tc_waiter *waiter, struct tc_worker *worker);

/* ---- acceptor.c --------------------------------------------------------------------------- */

void tc__acceptor_construct(struct tc_acceptor *acceptor);

/* Register the listening descriptor. Owns: listen_fd on 0 only. */
TC_NODISCARD int tc__acceptor_open(struct tc_server *server, int listen_fd);

/* The server drains: close the listener now, unless its owner is about to. */
void tc__acceptor_close(struct tc_server *server, struct tc_worker *worker);

/* ---- conn.c ------------------------------------------------------------------------------- */

void tc__conn_construct(void *conn);

/* Put a waiter into the read word of a slot that is not registered yet, before the first event can
 * come; from now on anybody may claim it. */
void tc__waiter_install(struct tc_pollfd *slot, struct tc_waiter *waiter);

/* Take over an accepted descriptor. Owns: fd on 0 only   Returns 0, -ENOMEM, -ENOSPC, ... */
TC_NODISCARD int tc__conn_open(struct tc_server *server, struct tc_worker *worker, int fd);

/* What to do with a connection whose fiber never got a stack; for tc_spawn_options. */
void tc__conn_unrun(void *conn);

/* Claim a connection at rest. Threads: the server is quiet */
TC_NODISCARD bool tc__conn_claim_quiet(struct tc_conn *conn);

/* Serve what has arrived for a connection just claimed, or else close it. */
void tc__conn_drain(struct tc_conn *conn, struct tc_worker *worker);

/* ---- limits.c ----------------------------------------------------------------------------- */

/* Prepare what all servers of the process share; free to call again. */
void tc__limits_init(void);

struct tc_slab *tc__limits_server_slab(void);

/* The slab for connections with so many bytes of protocol state. */
struct tc_slab *tc__limits_conn_slab(size_t conn_bytes);

/* True if `server` may not accept another connection now. */
bool tc__limits_is_full(struct tc_server *server);

void tc__limits_connection_opened(void);

/* Call after the descriptor is closed: wakes every paused listener that may go on. */
void tc__limits_connection_closed(void);

/* A number that moves with every close of a connection [limits-pause]. */
uint64_t tc__limits_closes(void);

/* Put a listener on the list of paused ones, take it off (harmless if it is not on it). */
void tc__limits_pause(struct tc_acceptor *acceptor);
void tc__limits_unpause(struct tc_acceptor *acceptor);

#endif
