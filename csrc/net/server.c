/* A server's life from outside: start, wait, free, look; and what protocols may ask of a
 * connection. How it ends is in drain.c. */
#include "net/server.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"
#include "net/server_internal.h"

/* ---- start -------------------------------------------------------------------------------- */

static int64_t positive_or(int64_t value, int64_t otherwise)
{
    return value > 0 ? value : otherwise;
}

static int init_parts(struct tc_server *server)
{
    size_t bytes = server->part_count * sizeof(struct tc_server_part);

    server->parts = tc_mem_alloc_aligned(TC_CACHELINE, bytes);
    if (server->parts == NULL) {
        return -ENOMEM;
    }
    memset(server->parts, 0, bytes);
    for (uint32_t i = 0; i < server->part_count; i++) {
        server->parts[i].server = server;
        server->parts[i].message.fn = tc__server_drain_message;
    }
    return 0;
}

static void init_server(struct tc_server *server, struct tc_runtime *runtime,
                        const struct tc_protocol *protocol, const struct tc_server_options *options)
{
    server->runtime = runtime;
    server->protocol = protocol;
    server->spawn = (struct tc_spawn_options){
        .name = protocol->name,
        .site = "net/conn.c",
        .stack_class = protocol->stack_class,
        .detached = true,
        .unrun = tc__conn_unrun,
    };
    server->conn_slab = tc__limits_conn_slab(protocol->conn_bytes);
    server->part_count = tc_runtime_workers(runtime);
    server->deal_count = options->workers != 0 ? options->workers : server->part_count;
    server->max_connections = options->max_connections;
    server->idle_timeout_ns = positive_or(options->idle_timeout_ns, TC_NEVER);
    server->send_timeout_ns = positive_or(options->send_timeout_ns, TC_SERVER_SEND_TIMEOUT_NS);
    server->drain_timeout_ns =
        options->drain_timeout_ns >= 0 ? options->drain_timeout_ns : TC_SERVER_DRAIN_TIMEOUT_NS;
    server->drain_grace_ns = positive_or(options->drain_grace_ns, 0);
    tc_store_relaxed(&server->open, 0);       /* relaxed: not shared yet, as all of these */
    tc_store_relaxed(&server->last_error, 0); /* relaxed: as above */
    tc_store_relaxed(&server->state, TC_SERVER_LISTENING); /* relaxed: as above */
    tc_lock_init(&server->lock, TC_RANK_SERVER);
    tc_list_init(&server->conns);
    tc_list_init(&server->waiters);
    server->holds = 1; /* the listener's */
    server->acks_missing = 0;
    server->is_quiet = false;
    server->is_cancelling = false;
    server->drain_is_armed = false;
    server->is_in_grace = false;
    server->drain.kind = TC_WAITER_CALLBACK;
    server->drain.callback = tc__server_drain_expired;
    server->deal_next = 0;
}

/* Spread the listeners of several servers over the workers, by the connections these have. */
static struct tc_worker *choose_listener_home(struct tc_server *server)
{
    struct tc_worker *best = tc_runtime_worker(server->runtime, 0);

    for (uint32_t i = 1; i < server->deal_count; i++) {
        struct tc_worker *worker = tc_runtime_worker(server->runtime, i);
        /* relaxed: hints */
        if (tc_load_relaxed(&worker->load) < tc_load_relaxed(&best->load)) {
            best = worker;
        }
    }
    return best;
}

/* Returns a descriptor that listens, or -errno. */
static int listening_descriptor(const struct tc_server_options *options)
{
    struct tc_listen_options listen = {
        .backlog = options->backlog,
        .reuse_port = options->reuse_port,
    };
    struct tc_addr wanted;

    if (options->listen_fd != 0) {
        return tc__socket_adopt(options->listen_fd);
    }
    int rc = tc_addr_parse(options->host, options->port, &wanted);
    return rc != 0 ? rc : tc__socket_listen(&wanted, &listen);
}

static int open_listener(struct tc_server *server, const struct tc_server_options *options)
{
    int fd = listening_descriptor(options);

    if (fd < 0) {
        return fd;
    }
    int rc = tc_addr_of_socket(fd, &server->address);
    if (rc == 0) {
        server->acceptor.home = choose_listener_home(server);
        rc = tc__acceptor_open(server, fd);
    }
    if (rc != 0) {
        tc_sys_close(fd);
    }
    return rc;
}

int tc_server_start(struct tc_runtime *runtime, const struct tc_protocol *protocol,
                    const struct tc_server_options *options, struct tc_server **out)
{
    if (options->workers > tc_runtime_workers(runtime) ||
        protocol->conn_bytes > TC_CONN_STATE_MAX) {
        return -EINVAL;
    }
    tc__limits_init();
    struct tc_server *server = tc_slab_alloc(tc__limits_server_slab());
    if (server == NULL) {
        return -ENOMEM;
    }
    init_server(server, runtime, protocol, options);
    int rc = init_parts(server);
    if (rc != 0) {
        goto free_server;
    }
    *out = server; /* before the first client can be served */
    rc = open_listener(server, options);
    if (rc != 0) {
        goto free_parts;
    }
    return 0;

free_parts:
    *out = NULL;
    tc_mem_free(server->parts, server->part_count * sizeof(struct tc_server_part));
free_server:
    tc_slab_free(tc__limits_server_slab(), server);
    return rc;
}

/* ---- wait and free ------------------------------------------------------------------------ */

static bool is_closed(struct tc_server *server)
{
    /* seq_cst, though under the lock or followed by it: this is no hot path */
    return tc_load_seq_cst(&server->state) == TC_SERVER_CLOSED;
}

static bool commit_wait(struct tc_waiter *waiter, uint64_t seq, void *arg)
{
    struct tc_server_waiter *node = arg;
    struct tc_server *server = node->server;

    tc_lock_acquire(&server->lock);
    bool must_wait = !is_closed(server);
    if (must_wait) {
        node->waiter = waiter;
        node->seq = seq;
        tc_list_push_back(&server->waiters, &node->node);
    }
    tc_lock_release(&server->lock);
    return must_wait;
}

static int wait_in_fiber(struct tc_server *server, int64_t deadline_ns)
{
    struct tc_server_waiter node = {.server = server};
    struct tc_park park = {
        .reason = TC_WAIT_SERVER,
        .object = server,
        .deadline_ns = deadline_ns,
        .commit = commit_wait,
        .arg = &node,
    };

    tc_list_init(&node.node);
    int rc = is_closed(server) ? 0 : tc_fiber_park(&park);
    tc_lock_acquire(&server->lock); /* also waits until finish_locked() is through */
    tc_list_remove(&node.node);
    tc_lock_release(&server->lock);
    return is_closed(server) ? 0 : rc;
}

static int wait_in_thread(struct tc_server *server, int64_t deadline_ns)
{
    int rc = 0;

    while (!is_closed(server) && rc != -ETIMEDOUT && rc != -EINTR) {
        uint32_t state = tc_load_seq_cst(&server->state);
        if (state != TC_SERVER_CLOSED) {
            rc = tc_sys_futex_wait(&server->state, state, deadline_ns);
        }
    }
    tc_lock_acquire(&server->lock); /* waits until finish_locked() is through */
    tc_lock_release(&server->lock);
    return is_closed(server) ? 0 : rc;
}

int tc_server_wait(struct tc_server *server, int64_t deadline_ns)
{
    return tc_fiber_current() != NULL ? wait_in_fiber(server, deadline_ns)
                                      : wait_in_thread(server, deadline_ns);
}

int tc_server_wait_start(struct tc_server *server, struct tc_server_waiter *node,
                         struct tc_waiter *waiter)
{
    uint64_t seq = tc_waiter_core_begin(&waiter->word);

    tc_list_init(&node->node);
    node->server = server;
    tc_waiter_core_arm(&waiter->word, seq);
    if (commit_wait(waiter, seq, node)) {
        return -EINPROGRESS;
    }
    bool is_ours = tc_waiter_claim(waiter, seq);
    tc_assert(is_ours); /* nothing was published */
    return 0;
}

bool tc_server_wait_withdraw(struct tc_server_waiter *node)
{
    struct tc_server *server = node->server;

    if (!tc_waiter_claim(node->waiter, node->seq)) {
        return false;
    }
    tc_lock_acquire(&server->lock);
    tc_list_remove(&node->node);
    tc_lock_release(&server->lock);
    return true;
}

void tc_server_free(struct tc_server *server)
{
    tc_assert(is_closed(server));
    tc_lock_acquire(&server->lock); /* waits until finish_locked() is through */
    tc_lock_release(&server->lock);
    tc_mem_free(server->parts, server->part_count * sizeof(struct tc_server_part));
    server->parts = NULL;
    tc_slab_free(tc__limits_server_slab(), server);
}

/* ---- looking ------------------------------------------------------------------------------ */

void tc_server_address(const struct tc_server *server, struct tc_addr *out)
{
    *out = server->address;
}

void tc_server_statistics(struct tc_server *server, struct tc_server_statistics *out)
{
    struct tc_server_part sum = {.server = NULL};

    for (uint32_t i = 0; i < server->part_count; i++) {
        /* relaxed: single-writer counters, summed at leisure */
#define ADD_TALLY(name) \
    tc_counter_add(&sum.name, tc_load_relaxed(&server->parts[i].name)); /* relaxed: see above */
        TC_SERVER_TALLIES(ADD_TALLY)
#undef ADD_TALLY
    }
    uint64_t open = tc_load_relaxed(&server->open);  /* relaxed: a snapshot */
    uint64_t served = tc_load_relaxed(&sum.served); /* relaxed: a snapshot; a moment may differ */
    uint32_t state = tc_load_relaxed(&server->state); /* relaxed: a snapshot */
    memset(out, 0, sizeof *out);
    out->accepted = sum.accepted;
    out->connections = open;
    out->resting = served <= open ? open - served : 0;
    out->bytes_in = sum.bytes_in;
    out->bytes_out = sum.bytes_out;
    out->requests = sum.requests;
    out->idle_closed = sum.idle_closed;
    out->send_timeouts = sum.send_timeouts;
    out->resets = sum.resets;
    out->shed = sum.shed;
    out->accept_pauses = sum.accept_pauses;
    out->cancelled = sum.cancelled;
    out->errors = sum.errors;
    out->last_error = tc_load_relaxed(&server->last_error); /* relaxed: a snapshot */
    out->listening = state == TC_SERVER_LISTENING;
    /* relaxed: a snapshot */
    out->paused = tc_load_relaxed(&server->acceptor.pause) != TC_PAUSE_NONE;
}

/* ---- for protocols ------------------------------------------------------------------------ */

struct tc_stream *tc_conn_stream(struct tc_conn *conn)
{
    return &conn->stream;
}

struct tc_server *tc_conn_server(struct tc_conn *conn)
{
    return conn->server;
}

void *tc_conn_state(struct tc_conn *conn)
{
    return conn->state;
}

const struct tc_protocol *tc_conn_protocol(struct tc_conn *conn)
{
    return conn->server->protocol;
}

int64_t tc_conn_send_deadline(struct tc_conn *conn)
{
    const struct tc_server *server = conn->server;
    int64_t patience = server->send_timeout_ns < server->idle_timeout_ns ? server->send_timeout_ns
                                                                         : server->idle_timeout_ns;

    return tc_deadline_add_ns(tc_worker_clock(tc_worker_current()), patience);
}

void tc_conn_count_in(struct tc_conn *conn, uint64_t bytes)
{
    conn->bytes_in += bytes;
}

void tc_conn_count_out(struct tc_conn *conn, uint64_t bytes)
{
    conn->bytes_out += bytes;
}

void tc_conn_set_active(struct tc_conn *conn, int64_t now_ns)
{
    tc_store_relaxed(&conn->active_ns, now_ns); /* relaxed: a number of its own */
    conn->is_timed = true;
}

bool tc_conn_is_draining(struct tc_conn *conn)
{
    return tc__server_is_draining(conn->server);
}

enum tc_verdict tc_conn_fail(struct tc_conn *conn, int error)
{
    conn->failure = error;
    return TC_CONN_CLOSE;
}
