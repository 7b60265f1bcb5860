/* A connection's way round: at rest without a fiber, claimed by one source, answered, at rest
 * again.
 *
 *   RESTING ──readable──► REACTING ──nothing left──► RESTING
 *      │                     │ └─done, failed──► CLOSED
 *      │                     └─would wait, or more came
 *      │                           ▼
 *      ├──readable, not now──► ATTACHED ──first run──► SERVED ──nothing left──► RESTING
 *      │                           ▲                      └──done, failed, cancelled──► CLOSED
 *      └──idle deadline, sweep──► input? ──none──► CLOSED ──to the keeper──► retired, in the slab
 *
 *   state      owner (S2)                 `rest` is    serving fiber
 *   RESTING    nobody                     open         none
 *   REACTING   who polled, in react()     claimed      none
 *              or with it put off
 *   ATTACHED   the fiber in a run queue   claimed      spawned; `fiber` is NULL until it runs
 *   SERVED     the fiber                  claimed      `fiber`
 *   CLOSED     the keeper, by message     claimed      none
 */
#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "net/server_internal.h"

/* How soon the keeper looks again at a connection whose idle deadline has passed while a fiber
 * holds it: nothing tells the keeper when the fiber lets go. */
#define IDLE_RECHECK_NS (50 * TC_NS_PER_MS)

/* How long a connection that was being served when the drain began must be silent to be done. */
#define DRAIN_QUIET_NS (100 * TC_NS_PER_MS)

/* ---- the end ------------------------------------------------------------------------------ */

static void count_failure(struct tc_conn *conn, struct tc_server_part *part,
                          struct tc_worker *worker)
{
    switch (conn->failure) {
    case 0:
        break;
    case -ETIMEDOUT:
        tc_counter_add(&part->send_timeouts, 1);
        break;
    case -ECANCELED:
        tc_counter_add(&part->cancelled, 1);
        break;
    case -ENOMEM:
    case -EAGAIN: /* of spawn: too many fibers */
    case -ESHUTDOWN:
        tc_counter_add(&part->shed, 1);
        tc__server_count_error(conn->server, worker, conn->failure);
        break;
    default:
        tc_counter_add(&part->resets, 1);
        break;
    }
}

/* Last act, on the keeper if there is an idle deadline: give the memory back. */
static void retire(struct tc_conn *conn, struct tc_worker *worker)
{
    struct tc_server *server = conn->server;

    if (conn->deadline.timer != NULL) {
        /* On its own thread a timer is not firing now, and this claim keeps it from ever doing
         * so. */
        TC_IGNORE(tc_waiter_claim(&conn->idle, tc_waiter_core_seq(&conn->idle.word)));
        worker->driver->disarm(worker, &conn->deadline);
        conn->deadline.timer = NULL;
    }
    tc_slab_free(server->conn_slab, conn);
    tc__server_release(server, worker);
}

static void retire_message(struct tc_worker *worker, struct tc_message *message)
{
    retire(tc_container_of(message, struct tc_conn, message), worker);
}

static void count_served(struct tc_conn *conn, struct tc_worker *worker, bool is_served)
{
    if (conn->is_served != is_served) {
        conn->is_served = is_served;
        tc_counter_add(&tc__server_part(conn->server, worker)->served,
                       is_served ? 1 : (uint64_t)-1);
    }
}

/* The caller owns `conn`, and does no longer. */
static void close_conn(struct tc_conn *conn, struct tc_worker *worker)
{
    struct tc_server *server = conn->server;
    struct tc_worker *home = conn->stream.slot->home;

    count_failure(conn, tc__server_part(server, worker), worker);
    count_served(conn, worker, false);
    if (server->protocol->release != NULL) {
        server->protocol->release(conn);
    }
    tc_lock_acquire(&server->lock);
    tc_list_remove(&conn->node); /* from here on nobody cancels the fiber or touches the stream */
    tc_lock_release(&server->lock);
    if (conn->failure == -ETIMEDOUT) {
        tc_stream_close_hard(&conn->stream);
    }
    tc_stream_close(&conn->stream);
    tc_fetch_sub_relaxed(&home->load, 1); /* relaxed: a hint for dealing */
    tc_fetch_sub_relaxed(&server->open, 1); /* relaxed: ordered by the next line */
    tc__limits_connection_closed();
    if (server->idle_timeout_ns != TC_NEVER && conn->keeper != worker) {
        conn->message.fn = retire_message;
        tc_worker_post(conn->keeper, &conn->message);
    } else {
        retire(conn, worker);
    }
}

/* ---- being served ------------------------------------------------------------------------- */

/* Note who serves, for those who may want to cancel; see the head of server_internal.h. */
static void begin_serving(struct tc_conn *conn, struct tc_worker *worker)
{
    struct tc_server *server = conn->server;
    struct tc_fiber *self = worker->current;

    count_served(conn, worker, true);
    if (tc_likely(!tc__server_is_draining(server))) {
        tc_store_relaxed(&conn->fiber, self); /* relaxed: read after this worker's ack */
        return;
    }
    tc_lock_acquire(&server->lock);
    tc_store_relaxed(&conn->fiber, self); /* relaxed: under the lock */
    bool is_cancelling = server->is_cancelling;
    tc_lock_release(&server->lock);
    if (is_cancelling) {
        tc_fiber_cancel(self);
    }
}

/* Move what was counted on the connection to the worker's tally. */
static void settle(struct tc_conn *conn, struct tc_worker *worker)
{
    struct tc_server_part *part = tc__server_part(conn->server, worker);

    if (tc_unlikely((conn->bytes_in | conn->bytes_out) == 0)) {
        return;
    }
    tc_counter_add(&part->requests, 1);
    tc_counter_add(&part->bytes_in, conn->bytes_in);
    tc_counter_add(&part->bytes_out, conn->bytes_out);
    conn->bytes_in = 0;
    conn->bytes_out = 0;
    if (conn->is_timed) {
        conn->is_timed = false;
    } else if (conn->server->idle_timeout_ns != TC_NEVER) {
        /* relaxed: a number of its own. Not the turn's clock, which may be late: a deadline that is
         * counted from it would come early. */
        tc_store_relaxed(&conn->active_ns, tc_worker_clock(worker));
    }
}

static bool is_held(struct tc_conn *conn)
{
    return tc_load_relaxed(&conn->is_held); /* relaxed: the owner's, else a hint */
}

/* The protocol has no more to do. Let the connection rest: true, it is not ours any more.
 * False: there is input, or the drain came in between, and it is ours still. */
static bool try_rest(struct tc_conn *conn, struct tc_worker *worker, bool is_held)
{
    struct tc_server *server = conn->server;
    struct tc_waiter *rest = &conn->rest;
    struct tc_pollfd *slot = conn->stream.slot;
    bool is_claimable = is_held || server->idle_timeout_ns != TC_NEVER;

    if (conn->stream.try_read && !is_held) {
        return false;
    }
    tc_store_relaxed(&conn->is_held, is_held); /* relaxed: a hint to the keeper */
    if (conn->is_served || is_held) {
        count_served(conn, worker, is_held);
        tc_store_relaxed(&conn->fiber, NULL); /* relaxed: read after this worker's ack */
    }
    uint64_t seq = tc_waiter_core_begin(&rest->word);
    tc_waiter_core_arm(&rest->word, seq);
    if (tc_likely(tc_pollfd_rest(slot, TC_READ, rest, seq))) {
        if (!is_claimable || !tc_waiter_core_allow_cancel(&rest->word, seq, &server->state)) {
            return true;
        }
        tc_pollfd_withdraw(slot, TC_READ, rest);
    } else if (!tc_waiter_claim(rest, seq)) {
        return true;
    }
    return false;
}

/* The server drains and the protocol has no more to do. What the peer has sent is still served,
 * until the drain deadline; and not all of it need have arrived: while the receive queue was full,
 * the rest waited in the peer's system, which is told only now that there is room. So a connection
 * ends when nothing has come for a while, and the grace is over. Parks. */
static TC_MAY_PARK bool may_stay(struct tc_conn *conn)
{
    struct tc_server *server = conn->server;

    tc_lock_acquire(&server->lock);
    bool is_cancelling = server->is_cancelling;
    int64_t grace_at_ns = server->grace_at_ns;
    tc_lock_release(&server->lock);
    if (is_cancelling) {
        conn->failure = -ECANCELED;
        return false;
    }
    int64_t deadline_ns = tc_deadline_after_ns(DRAIN_QUIET_NS);
    int rc =
        tc_stream_wait_input(&conn->stream, grace_at_ns > deadline_ns ? grace_at_ns : deadline_ns);
    if (rc == -ECANCELED) {
        conn->failure = rc;
    }
    return rc == 0;
}

/* The protocol waits for a poke, on its fiber because the server drains: nothing is put to rest
 * then.
 * Returns whether it is to go on. */
static TC_MAY_PARK bool hold(struct tc_conn *conn)
{
    conn->failure = tc_pollfd_wait(conn->stream.slot, TC_READ, TC_NEVER, TC_WAIT_READ);
    return conn->failure == 0;
}

/* The body of a serving fiber. */
static void serve_conn(void *arg)
{
    struct tc_conn *conn = arg;
    struct tc_server *server = conn->server;
    struct tc_worker *worker = tc_worker_current();

    begin_serving(conn, worker);
    for (;;) {
        enum tc_verdict verdict = server->protocol->serve(conn);
        worker = tc_worker_current();
        settle(conn, worker);
        if (verdict == TC_CONN_CLOSE) {
            break;
        }
        if (tc_likely(!tc__server_is_draining(server))) {
            if (tc_likely(try_rest(conn, worker, verdict == TC_CONN_HOLD))) {
                return;
            }
            begin_serving(conn, worker);
        } else if (verdict == TC_CONN_HOLD ? !hold(conn) : !may_stay(conn)) {
            break;
        }
        tc_fiber_yield(); /* a peer that never pauses must not keep the others waiting */
    }
    close_conn(conn, tc_worker_current()); /* may_stay parks */
}

/* ---- being attached ----------------------------------------------------------------------- */

static void unrun_message(struct tc_worker *worker, struct tc_message *message)
{
    struct tc_conn *conn = tc_container_of(message, struct tc_conn, message);

    conn->failure = -ENOMEM;
    close_conn(conn, worker);
}

/* No stack could be had. Runs in the middle of a switch, so it only asks for a better moment. */
void tc__conn_unrun(void *arg)
{
    struct tc_conn *conn = arg;

    conn->message.fn = unrun_message;
    tc_worker_post(tc_worker_current(), &conn->message);
}

/* The caller has claimed `conn`: give it a fiber, or shed it. */
static void attach(struct tc_conn *conn, struct tc_worker *worker)
{
    int rc = tc_fiber_spawn(conn->server->runtime, serve_conn, conn, &conn->server->spawn, NULL);

    if (tc_unlikely(rc != 0)) {
        conn->failure = rc;
        close_conn(conn, worker);
    }
}

/* May the protocol handle this on the spot? Not while the server drains, which is left to the
 * fiber's loop, and not when a turn's worth of bytes has been handled so already and somebody waits
 * for the worker. If nobody does, it goes on: fibers for the rest of a batch would have the events
 * of the next poll served before them, and most connections would wait longer than their turn. */
static bool may_react(struct tc_conn *conn, struct tc_worker *worker)
{
    struct tc_server *server = conn->server;

    if (server->protocol->react == NULL || worker == NULL || worker->current != NULL ||
        tc__server_is_draining(server)) {
        return false;
    }
    struct tc_server_part *part = tc__server_part(server, worker);
    uint64_t turn = tc_load_relaxed(&worker->turn); /* relaxed: our own */
    if (part->react_turn != turn) {
        part->react_turn = turn;
        part->react_bytes = 0;
    }
    return part->react_bytes < TC_REACT_BYTES || !tc_worker_should_defer(worker);
}

void tc_conn_go_on(struct tc_conn *conn, struct tc_worker *worker, enum tc_verdict verdict)
{
    settle(conn, worker);
    if (tc_likely(verdict == TC_CONN_REST || verdict == TC_CONN_HOLD)) {
        if (tc_unlikely(!try_rest(conn, worker, verdict == TC_CONN_HOLD))) {
            attach(conn, worker); /* more has arrived: the others come first */
        }
    } else if (verdict == TC_CONN_SERVE) {
        attach(conn, worker);
    } else {
        close_conn(conn, worker);
    }
}

static void react(struct tc_conn *conn, struct tc_worker *worker)
{
    struct tc_server *server = conn->server;

    __builtin_prefetch(&conn->bytes_in, 1); /* the second line arrives while recv runs */
    enum tc_verdict verdict = server->protocol->react(conn, worker);

    tc__server_part(server, worker)->react_bytes += conn->bytes_in;
    if (verdict != TC_CONN_LATER) {
        tc_conn_go_on(conn, worker, verdict);
    }
}

static void conn_readable(struct tc_waiter *waiter, struct tc_worker *worker)
{
    struct tc_conn *conn = tc_container_of(waiter, struct tc_conn, rest);

    if (may_react(conn, worker)) {
        react(conn, worker);
    } else {
        attach(conn, worker);
    }
}

void tc_conn_poke(struct tc_conn *conn, struct tc_pollfd *slot, uint16_t generation,
                  struct tc_worker *worker)
{
    /* acquire [slot-generation]: a connection that ended is left alone. One that ends just now, or
     * another in its place, looks at its input in vain. */
    if (tc_load_acquire(&slot->generation) != generation) {
        return;
    }
    if (tc__waiter_claim_any(&conn->rest)) {
        tc_pollfd_withdraw(conn->stream.slot, TC_READ, &conn->rest);
        conn_readable(&conn->rest, worker);
    } else {
        tc_pollfd_poke(worker, slot); /* its owner finds it READY */
    }
}

bool tc__conn_claim_quiet(struct tc_conn *conn)
{
    return tc_waiter_claim(&conn->rest, tc_waiter_core_seq(&conn->rest.word));
}

void tc__conn_drain(struct tc_conn *conn, struct tc_worker *worker)
{
    tc_pollfd_withdraw(conn->stream.slot, TC_READ, &conn->rest);
    if (is_held(conn) || tc_stream_has_input(&conn->stream)) {
        attach(conn, worker);
    } else {
        close_conn(conn, worker);
    }
}

/* ---- the idle deadline: the keeper's ------------------------------------------------------ */

static int arm_idle(struct tc_conn *conn, struct tc_worker *worker, int64_t when_ns)
{
    uint64_t seq = tc_waiter_core_begin(&conn->idle.word);

    tc_waiter_core_arm(&conn->idle.word, seq);
    int rc = worker->driver->arm(worker, &conn->idle, seq, when_ns, &conn->deadline);
    if (rc != 0) {
        TC_IGNORE(tc_waiter_claim(&conn->idle, seq)); /* no timer knows of it */
        conn->deadline.timer = NULL;
    }
    return rc;
}

/* No timer is left to watch the connection, so it ends now. */
static void break_conn(struct tc_conn *conn, struct tc_worker *worker, int error)
{
    struct tc_server *server = conn->server;

    tc__server_count_error(server, worker, error);
    tc_lock_acquire(&server->lock);
    if (!tc_list_is_empty(&conn->node)) {
        tc_stream_abort(&conn->stream);
    }
    tc_lock_release(&server->lock);
}

/* The deadline that was armed has passed. Bytes since then only moved `active_ns`; the timer
 * catches up with it here. A connection that somebody owns is left alone. */
static void conn_idle(struct tc_waiter *waiter, struct tc_worker *worker)
{
    struct tc_conn *conn = tc_container_of(waiter, struct tc_conn, idle);
    int64_t now = tc_worker_clock(worker);
    int64_t active = tc_load_relaxed(&conn->active_ns); /* relaxed: a number of its own */
    int64_t due = tc_deadline_add_ns(active, conn->server->idle_timeout_ns);

    bool is_ours = due <= now && !is_held(conn) && tc__waiter_claim_any(&conn->rest);

    conn->deadline.timer = NULL;
    if (is_ours) {
        tc_pollfd_withdraw(conn->stream.slot, TC_READ, &conn->rest);
        if (!is_held(conn) && !tc_stream_has_input(&conn->stream)) {
            tc_counter_add(&tc__server_part(conn->server, worker)->idle_closed, 1);
            close_conn(conn, worker);
            return;
        }
    }
    int rc = arm_idle(conn, worker, due > now ? due : now + IDLE_RECHECK_NS);
    if (rc != 0) {
        break_conn(conn, worker, rc);
    }
    if (is_ours) {
        attach(conn, worker); /* last: a connection that cannot be attached is retired at once */
    }
}

/* ---- the beginning ------------------------------------------------------------------------ */

void tc__conn_construct(void *object)
{
    struct tc_conn *conn = object;

    memset(conn, 0, sizeof *conn);
    tc_waiter_core_init(&conn->rest.word);
    conn->rest.kind = TC_WAITER_CALLBACK;
    conn->rest.callback = conn_readable;
    tc_waiter_core_init(&conn->idle.word);
    conn->idle.kind = TC_WAITER_CALLBACK;
    conn->idle.callback = conn_idle;
    tc_list_init(&conn->node);
}

/* The least loaded of the workers that connections are dealt to. The search begins behind the last
 * one chosen, so that equals take turns. */
static struct tc_worker *choose_home(struct tc_server *server)
{
    uint32_t first = server->deal_next % server->deal_count;
    struct tc_worker *best = tc_runtime_worker(server->runtime, first);
    int64_t best_load = tc_load_relaxed(&best->load); /* relaxed: a hint */

    for (uint32_t i = 1; i < server->deal_count; i++) {
        uint32_t index = (server->deal_next + i) % server->deal_count;
        struct tc_worker *worker = tc_runtime_worker(server->runtime, index);
        int64_t load = tc_load_relaxed(&worker->load); /* relaxed: a hint */
        if (load < best_load) {
            best_load = load;
            best = worker;
        }
    }
    server->deal_next = best->index + 1;
    return best;
}

void tc__waiter_install(struct tc_pollfd *slot, struct tc_waiter *waiter)
{
    static const _Atomic uint32_t never_set; /* the flag that allow_cancel wants */
    uint64_t seq = tc_waiter_core_begin(&waiter->word);

    tc_waiter_core_arm(&waiter->word, seq);
    while (!tc_pollfd_rest(slot, TC_READ, waiter, seq)) {
        /* A late event of the slot's last descriptor; ours cannot have any yet. */
        TC_IGNORE(tc_pollfd_consume(slot, TC_READ));
    }
    TC_IGNORE(tc_waiter_core_allow_cancel(&waiter->word, seq, &never_set));
}

static void install(struct tc_pollfd *slot, void *arg)
{
    struct tc_conn *conn = arg;

    tc_stream_init(&conn->stream, slot);
    tc__waiter_install(slot, &conn->rest);
}

static void init_conn(struct tc_conn *conn, struct tc_server *server, struct tc_worker *worker)
{
    conn->server = server;
    conn->stream.slot = NULL;
    conn->bytes_in = 0;
    conn->bytes_out = 0;
    conn->failure = 0;
    conn->is_served = false;
    conn->is_timed = false;
    conn->keeper = worker;
    conn->deadline = (struct tc_deadline){.timer = NULL, .seq = 0};
    tc_store_relaxed(&conn->fiber, NULL); /* relaxed: not shared yet */
    tc_store_relaxed(&conn->active_ns, tc_worker_clock(worker)); /* relaxed: not shared yet */
    memset(conn->state, 0, server->protocol->conn_bytes);
}

/* Enter the lists and the poller. The lock keeps whoever is quick to close the connection, on
 * another worker, from doing so before registration is complete. */
static int publish(struct tc_conn *conn, struct tc_worker *home, int fd)
{
    struct tc_server *server = conn->server;
    struct tc_pollfd *slot;

    tc_lock_acquire(&server->lock);
    tc_list_push_back(&server->conns, &conn->node);
    server->holds++;
    int rc = tc_pollfd_open(home, fd, TC_POLLFD_REST, install, conn, &slot);
    if (rc != 0) {
        tc_list_remove(&conn->node);
        server->holds--;
    }
    tc_lock_release(&server->lock);
    return rc;
}

int tc__conn_open(struct tc_server *server, struct tc_worker *worker, int fd)
{
    struct tc_conn *conn = tc_slab_alloc(server->conn_slab);
    struct tc_worker *home = choose_home(server);
    int rc = 0;

    if (conn == NULL) {
        return -ENOMEM;
    }
    init_conn(conn, server, worker);
    if (server->idle_timeout_ns != TC_NEVER) {
        rc = arm_idle(conn, worker,
                      tc_deadline_add_ns(tc_worker_now(worker), server->idle_timeout_ns));
        if (rc != 0) {
            goto free_conn;
        }
    }
    tc_fetch_add_relaxed(&home->load, 1); /* relaxed: a hint for dealing */
    tc_fetch_add_relaxed(&server->open, 1); /* relaxed: a count */
    tc__limits_connection_opened();
    rc = publish(conn, home, fd);
    if (rc != 0) {
        goto uncount;
    }
    return 0;

uncount:
    tc_fetch_sub_relaxed(&home->load, 1); /* relaxed: a hint for dealing */
    tc_fetch_sub_relaxed(&server->open, 1); /* relaxed: a count */
    tc__limits_connection_closed();
    TC_IGNORE(tc__waiter_claim_any(&conn->rest)); /* no slot knows of it any more */
    if (conn->deadline.timer != NULL) {
        TC_IGNORE(tc_waiter_claim(&conn->idle, tc_waiter_core_seq(&conn->idle.word)));
        worker->driver->disarm(worker, &conn->deadline);
    }
free_conn:
    tc_slab_free(server->conn_slab, conn);
    return rc;
}
