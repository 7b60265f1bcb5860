/* The end of a server: drain, the last connection. How the drain is made known is at the head of
 * server_internal.h; in order:
 *
 *   close      state DRAINING; one message to every worker
 *   message    the first closes the listener; the last makes the server quiet and begins the sweep,
 *              or the grace before it
 *   grace      connections at rest stay, and are served if input arrives; its end, or abort, begins
 *              the sweep
 *   sweep      connections at rest are claimed, a slice at a time, and closed (served once more if
 *              input has arrived); then the drain deadline is armed
 *   deadline   the fibers that still serve are cancelled
 *   last hold  CLOSED, waiters wake up
 */
#include <limits.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/sys.h"
#include "net/server_internal.h"

enum {
    SWEEP_CLAIM = 64,  /* connections closed per message                                       */
    SWEEP_LOOK = 1024, /* connections looked at per message                                    */
};

/* ---- the last hold ------------------------------------------------------------------------ */

/* The drain deadline has nothing left to watch. Claiming it first keeps it from firing
 * meanwhile. */
static void give_up_drain_deadline_locked(struct tc_server *server, struct tc_worker *worker)
{
    if (tc_waiter_claim(&server->drain, tc_waiter_core_seq(&server->drain.word))) {
        worker->driver->disarm(worker, &server->drain_deadline);
        server->drain_is_armed = false;
        server->holds--;
    }
}

/* Waiters cannot return before this lock is released, so the server outlives the call. */
static void finish_locked(struct tc_server *server)
{
    struct tc_list *it;

    tc_assert(tc_list_is_empty(&server->conns));
    tc_store_seq_cst(&server->state, TC_SERVER_CLOSED);
    while ((it = tc_list_pop_front(&server->waiters)) != NULL) {
        struct tc_server_waiter *node = tc_container_of(it, struct tc_server_waiter, node);
        if (tc_waiter_claim(node->waiter, node->seq)) {
            tc_ready(node->waiter, 0);
        }
    }
    tc_sys_futex_wake(&server->state, INT_MAX);
}

static void release_locked(struct tc_server *server, struct tc_worker *worker)
{
    server->holds--;
    if (server->holds == 1 && server->drain_is_armed) {
        give_up_drain_deadline_locked(server, worker);
    }
    if (server->holds == 0) {
        finish_locked(server);
    }
}

void tc__server_release(struct tc_server *server, struct tc_worker *worker)
{
    tc_lock_acquire(&server->lock);
    release_locked(server, worker);
    tc_lock_release(&server->lock);
}

bool tc_server_try_hold(struct tc_server *server)
{
    tc_lock_acquire(&server->lock);
    bool is_open =
        tc_load_relaxed(&server->state) != TC_SERVER_CLOSED; /* relaxed: under the lock */
    server->holds += is_open ? 1 : 0;
    tc_lock_release(&server->lock);
    return is_open;
}

void tc_server_unhold(struct tc_server *server, struct tc_worker *worker)
{
    tc__server_release(server, worker);
}

/* ---- drain -------------------------------------------------------------------------------- */

/* Once quiet, a connection in the list with a fiber noted has that fiber alive. A fiber that
 * has not run yet finds is_cancelling when it does. */
static void cancel_all_locked(struct tc_server *server)
{
    struct tc_list *it;

    server->is_cancelling = true;
    TC_LIST_FOR_EACH (it, &server->conns) {
        struct tc_conn *conn = tc_container_of(it, struct tc_conn, node);
        struct tc_fiber *fiber = tc_load_relaxed(&conn->fiber); /* relaxed: under the lock */
        if (fiber != NULL) {
            tc_fiber_cancel(fiber);
        }
    }
}

/* Returns false if there is no memory for a timer. */
static bool arm_locked(struct tc_server *server, struct tc_worker *worker, int64_t when_ns)
{
    uint64_t seq = tc_waiter_core_begin(&server->drain.word);

    tc_waiter_core_arm(&server->drain.word, seq);
    if (worker->driver->arm(worker, &server->drain, seq, when_ns, &server->drain_deadline) == 0) {
        server->drain_is_armed = true;
        return true;
    }
    TC_IGNORE(tc_waiter_claim(&server->drain, seq)); /* no timer knows of it */
    return false;
}

/* Nothing rests any more: now the served ones have until the drain deadline. */
static void end_sweep_locked(struct tc_server *server, struct tc_worker *worker)
{
    if (!server->is_cancelling && !tc_list_is_empty(&server->conns)) {
        if (arm_locked(server, worker, server->drain_at_ns)) {
            server->holds++;
        } else {
            server->is_cancelling = true; /* without a deadline the drain might never end */
        }
    }
    if (server->is_cancelling) {
        cancel_all_locked(server);
    }
    release_locked(server, worker); /* the message's hold */
}

/* Claim up to SWEEP_CLAIM resting connections. The list is turned round, so that the next slice
 * begins where this one ends. */
static size_t claim_slice_locked(struct tc_server *server, struct tc_server_part *part,
                                 struct tc_conn **out)
{
    size_t count = 0;

    for (int looked = 0; looked < SWEEP_LOOK && count < SWEEP_CLAIM; looked++) {
        struct tc_list *node = part->sweep_left != 0 ? tc_list_pop_front(&server->conns) : NULL;
        if (node == NULL) {
            part->sweep_left = 0;
            break;
        }
        part->sweep_left--;
        tc_list_push_back(&server->conns, node);
        struct tc_conn *conn = tc_container_of(node, struct tc_conn, node);
        if (tc__conn_claim_quiet(conn)) {
            out[count++] = conn;
        }
    }
    return count;
}

static void sweep(struct tc_worker *worker, struct tc_message *message)
{
    struct tc_server_part *part = tc_container_of(message, struct tc_server_part, message);
    struct tc_server *server = part->server;
    struct tc_conn *claimed[SWEEP_CLAIM];

    tc_lock_acquire(&server->lock);
    size_t count = claim_slice_locked(server, part, claimed);
    tc_lock_release(&server->lock);
    for (size_t i = 0; i < count; i++) {
        tc__conn_drain(claimed[i], worker);
    }
    if (part->sweep_left != 0) {
        tc_worker_post(worker, message);
        return;
    }
    tc_lock_acquire(&server->lock);
    end_sweep_locked(server, worker);
    tc_lock_release(&server->lock);
}

/* The part's message, which has run, becomes that of the sweep. */
static void prepare_sweep_locked(struct tc_server *server, struct tc_server_part *part)
{
    part->sweep_left = tc_load_relaxed(&server->open); /* relaxed: an upper bound by now */
    part->message.fn = sweep;
}

/* The grace begins, if there is one and somebody to have it. The message's hold becomes the
 * timer's, so that the last connection ends it. */
static bool begin_grace_locked(struct tc_server *server, struct tc_worker *worker)
{
    if (server->drain_grace_ns == 0 || server->is_cancelling || tc_list_is_empty(&server->conns) ||
        !arm_locked(server, worker, server->grace_at_ns)) {
        return false;
    }
    server->is_in_grace = true;
    server->grace_part = worker->index;
    return true;
}

/* Abort has ended the grace; the timer, which will not fire any more, is this worker's. */
static void cut_grace(struct tc_worker *worker, struct tc_message *message)
{
    struct tc_server_part *part = tc_container_of(message, struct tc_server_part, message);
    struct tc_server *server = part->server;

    tc_lock_acquire(&server->lock);
    worker->driver->disarm(worker, &server->drain_deadline);
    prepare_sweep_locked(server, part);
    tc_lock_release(&server->lock);
    sweep(worker, message);
}

/* Returns the worker that is to run cut_grace, NULL: there is no grace to end, or it ends just
 * now. */
static struct tc_worker *end_grace_locked(struct tc_server *server)
{
    if (!server->is_in_grace ||
        !tc_waiter_claim(&server->drain, tc_waiter_core_seq(&server->drain.word))) {
        return NULL;
    }
    server->is_in_grace = false;
    server->drain_is_armed = false;
    server->parts[server->grace_part].message.fn = cut_grace;
    return tc_runtime_worker(server->runtime, server->grace_part);
}

/* The grace is over, or the drain deadline has passed. */
void tc__server_drain_expired(struct tc_waiter *waiter, struct tc_worker *worker)
{
    struct tc_server *server = tc_container_of(waiter, struct tc_server, drain);
    struct tc_server_part *part = tc__server_part(server, worker);

    tc_lock_acquire(&server->lock);
    bool was_grace = server->is_in_grace;
    server->drain_is_armed = false;
    server->is_in_grace = false;
    if (was_grace) {
        prepare_sweep_locked(server, part);
    } else {
        cancel_all_locked(server);
        release_locked(server, worker);
    }
    tc_lock_release(&server->lock);
    if (was_grace) {
        sweep(worker, &part->message);
    }
}

/* The drain reaches one worker, between two of its fibers. */
void tc__server_drain_message(struct tc_worker *worker, struct tc_message *message)
{
    struct tc_server_part *part = tc_container_of(message, struct tc_server_part, message);
    struct tc_server *server = part->server;

    tc__acceptor_close(server, worker);
    tc_lock_acquire(&server->lock);
    bool is_last = --server->acks_missing == 0;
    bool must_sweep = false;
    if (is_last) {
        server->is_quiet = true;
        must_sweep = !begin_grace_locked(server, worker);
    } else {
        release_locked(server, worker);
    }
    if (must_sweep) {
        prepare_sweep_locked(server, part);
    }
    tc_lock_release(&server->lock);
    if (must_sweep) {
        sweep(worker, message);
    }
}

static void begin_drain(struct tc_server *server, bool at_once)
{
    uint32_t part_count = server->part_count;
    struct tc_worker *sweeper = NULL;

    tc_lock_acquire(&server->lock);
    uint32_t state = tc_load_relaxed(&server->state); /* relaxed: written under the lock */
    bool is_first = state == TC_SERVER_LISTENING;
    if (is_first) {
        int64_t grace_ns = server->drain_grace_ns;
        server->drain_at_ns = tc_deadline_after_ns(server->drain_timeout_ns);
        server->grace_at_ns =
            tc_deadline_after_ns(grace_ns < server->drain_timeout_ns ? grace_ns
                                                                     : server->drain_timeout_ns);
        server->acks_missing = part_count;
        server->holds += part_count;
        /* seq_cst [waiter-cancel]: whoever makes a wait claimable afterwards sees it. Also the
         * release of [server-drain]. */
        tc_store_seq_cst(&server->state, TC_SERVER_DRAINING);
    }
    if (at_once && state != TC_SERVER_CLOSED) {
        server->is_cancelling = true;
        if (server->is_quiet) {
            cancel_all_locked(server);
        }
        sweeper = end_grace_locked(server);
    }
    tc_lock_release(&server->lock);
    if (sweeper != NULL) { /* the message has a hold */
        tc_worker_post(sweeper, &server->parts[sweeper->index].message);
    }
    if (is_first) {
        /* Each message's hold keeps the server alive until it is posted; the last one does not. */
        for (uint32_t i = 0; i < part_count; i++) {
            struct tc_worker *worker = tc_runtime_worker(server->runtime, i);
            tc_worker_post(worker, &server->parts[i].message);
        }
    }
}

void tc_server_close(struct tc_server *server)
{
    begin_drain(server, false);
}

void tc_server_abort(struct tc_server *server)
{
    begin_drain(server, true);
}
