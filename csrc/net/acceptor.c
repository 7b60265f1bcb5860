/* The accept loop, and what it does when it may not or cannot accept.
 *
 * One waiter stands for the listener in all its states, so that exactly one party owns it:
 *
 *   WAITING ──event──────────► ACCEPTING ──queue empty, or a batch done──► WAITING
 *   PAUSED  ──timer, resume──►     │ └────────no room, or an error───────► PAUSED
 *   WAITING, PAUSED ──drain──►     └──────────server drains──────────────► CLOSED
 *
 *   state      waiter is in                           poller reports    owner
 *   WAITING    the slot's read word                   yes               nobody
 *   PAUSED     the paused list, maybe a timer node    no                nobody
 *   ACCEPTING  nowhere                                yes or no         who claimed the waiter
 *   CLOSED     nowhere                                -                 nobody, ever again
 */
#include <errno.h>
#include <sys/eventfd.h>

#include "base/assert.h"
#include "base/chaos.h"
#include "base/clock.h"
#include "base/sys.h"
#include "net/server_internal.h"

#define PAUSE_FIRST_NS (10 * TC_NS_PER_MS)
#define PAUSE_LAST_NS (50 * TC_NS_PER_MS)

enum { FALSE_ALARMS_MAX = 1000 };

enum outcome {
    ACCEPT_EMPTY, /* nobody is waiting                                                          */
    ACCEPT_BATCH, /* enough for this turn                                                       */
    ACCEPT_CAP,   /* more connections are not allowed                                           */
    ACCEPT_ERROR, /* the kernel has no room, or says something unknown                          */
};

/* ---- shedding ----------------------------------------------------------------------------- */

/* An eventfd is the cheapest descriptor and needs no file system. */
static void open_reserve(struct tc_acceptor *acceptor)
{
    if (acceptor->reserve_fd < 0) {
        int fd = tc_sys_eventfd(0, EFD_CLOEXEC);
        acceptor->reserve_fd = fd >= 0 ? fd : -1; /* tried again at the next pause */
    }
}

static void close_reserve(struct tc_acceptor *acceptor)
{
    if (acceptor->reserve_fd >= 0) {
        tc_sys_close(acceptor->reserve_fd);
        acceptor->reserve_fd = -1;
    }
}

static int accept_one(struct tc_acceptor *acceptor)
{
    int fd = tc_load_relaxed(&acceptor->slot->fd); /* relaxed: constant while we own the slot */

    return tc_sys_accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* Take one client out of the queue and turn it away, so that it learns of the trouble now. */
static void shed_one(struct tc_server *server, struct tc_worker *worker)
{
    struct tc_acceptor *acceptor = &server->acceptor;

    close_reserve(acceptor);
    int fd = accept_one(acceptor);
    if (fd >= 0) {
        tc_counter_add(&tc__server_part(server, worker)->shed, 1);
        tc_sys_close(fd);
    }
    open_reserve(acceptor);
}

/* ---- accepting ---------------------------------------------------------------------------- */

static bool is_exhaustion(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS;
}

static void take_over(struct tc_server *server, struct tc_worker *worker, int fd)
{
    struct tc_server_part *part = tc__server_part(server, worker);
    int rc = tc__conn_open(server, worker, fd);

    tc_counter_add(&part->accepted, 1);
    if (rc != 0) {
        tc_counter_add(&part->shed, 1); /* before the close: the client may ask why */
        tc__server_count_error(server, worker, rc);
        tc_sys_close(fd);
    }
}

/* A report without a client happens when one vanishes in time. A run of them is a poller that
 * reports for ever, and must not be believed for ever. */
static enum outcome count_false_alarm(struct tc_acceptor *acceptor, int accepted)
{
    acceptor->false_alarms = accepted != 0 ? 0 : acceptor->false_alarms + 1;
    if (acceptor->false_alarms < FALSE_ALARMS_MAX) {
        return ACCEPT_EMPTY;
    }
    acceptor->false_alarms = 0;
    return ACCEPT_ERROR;
}

static enum outcome accept_batch(struct tc_server *server, struct tc_worker *worker, bool may_shed)
{
    int dead = 0;

    for (int i = 0; i < TC_ACCEPT_BATCH; i++) {
        if (tc__limits_is_full(server)) {
            return ACCEPT_CAP;
        }
        /* chaos: the client went away again; if not, the level-triggered poller comes back to it */
        int fd = tc_chaos(8) ? -EAGAIN : accept_one(&server->acceptor);
        if (tc_likely(fd >= 0)) {
            take_over(server, worker, fd);
        } else if (fd == -EAGAIN) {
            return count_false_alarm(&server->acceptor, i);
        } else if (tc__accept_is_transient(fd)) {
            dead++;
        } else {
            tc__server_count_error(server, worker, fd);
            if (may_shed && is_exhaustion(fd)) {
                shed_one(server, worker);
            }
            return ACCEPT_ERROR;
        }
    }
    /* Nothing but errors, even of the harmless kind, must not be repeated without a rest. */
    return dead == TC_ACCEPT_BATCH ? ACCEPT_ERROR : ACCEPT_BATCH;
}

/* ---- WAITING ------------------------------------------------------------------------------ */

static int set_enabled(struct tc_acceptor *acceptor, bool enabled)
{
    int rc = 0;

    if (acceptor->is_enabled != enabled) {
        rc = tc_pollfd_set_enabled(acceptor->slot, enabled);
        if (rc == 0) {
            acceptor->is_enabled = enabled;
        }
    }
    return rc;
}

/* Hand the waiter to the slot. False: an event or the drain came first, and we still own it. */
static bool wait_for_event(struct tc_server *server)
{
    struct tc_acceptor *acceptor = &server->acceptor;

    /* The slot is level-triggered: an event that is dropped here comes again. */
    TC_IGNORE(tc_pollfd_consume(acceptor->slot, TC_READ));
    uint64_t seq = tc_waiter_core_begin(&acceptor->waiter.word);
    tc_waiter_core_arm(&acceptor->waiter.word, seq);
    if (!tc_pollfd_rest(acceptor->slot, TC_READ, &acceptor->waiter, seq)) {
        return !tc_waiter_claim(&acceptor->waiter, seq);
    }
    return !tc_waiter_core_allow_cancel(&acceptor->waiter.word, seq, &server->state);
}

/* ---- PAUSED ------------------------------------------------------------------------------- */

/* Set the timer that ends a pause nobody else ends. */
static int arm_retry(struct tc_acceptor *acceptor, struct tc_worker *worker, uint64_t seq)
{
    int64_t pause = acceptor->backoff_ns == 0 ? PAUSE_FIRST_NS : 2 * acceptor->backoff_ns;

    acceptor->backoff_ns = pause < PAUSE_LAST_NS ? pause : PAUSE_LAST_NS;
    return worker->driver->arm(worker, &acceptor->waiter, seq,
                               tc_worker_clock(worker) + acceptor->backoff_ns, &acceptor->deadline);
}

/* Without the means to pause (the poller refuses, or there is no timer) the listener stays on; what
 * then keeps it from spinning is that each round takes a client out of the queue. */
static bool stay_on(struct tc_server *server, struct tc_worker *worker)
{
    /* If this fails too, three things have failed at once; the next close of a connection helps. */
    TC_IGNORE(set_enabled(&server->acceptor, true));
    shed_one(server, worker);
    return wait_for_event(server);
}

/* Switch the listener off until a connection is closed, or for a while. `closes` was sampled
 * before the attempt that failed. False: there may be room again already, and we still own the
 * listener. */
static bool pause_listener(struct tc_server *server, struct tc_worker *worker, enum tc_pause why,
                           uint64_t closes)
{
    struct tc_acceptor *acceptor = &server->acceptor;

    if (set_enabled(acceptor, false) != 0) {
        return stay_on(server, worker);
    }
    open_reserve(acceptor);
    uint64_t seq = tc_waiter_core_begin(&acceptor->waiter.word);
    tc_waiter_core_arm(&acceptor->waiter.word, seq);
    if (why == TC_PAUSE_ERROR && arm_retry(acceptor, worker, seq) != 0) {
        TC_IGNORE(tc_waiter_claim(&acceptor->waiter, seq)); /* nobody was told of it */
        return stay_on(server, worker);
    }
    tc_store_relaxed(&acceptor->pause, (uint8_t)why); /* relaxed: published by the list's lock */
    tc_counter_add(&tc__server_part(server, worker)->accept_pauses, 1);
    tc__limits_pause(acceptor);
    if (tc_waiter_core_allow_cancel(&acceptor->waiter.word, seq, &server->state)) {
        return false;
    }
    return tc__limits_closes() == closes || !tc_waiter_claim(&acceptor->waiter, seq);
}

static void end_pause(struct tc_acceptor *acceptor, struct tc_worker *worker)
{
    if (tc_load_relaxed(&acceptor->pause) != TC_PAUSE_NONE) { /* relaxed: ours */
        tc__limits_unpause(acceptor);
        tc_store_relaxed(&acceptor->pause, TC_PAUSE_NONE); /* relaxed: ours; statistics */
    }
    if (acceptor->deadline.timer != NULL) {
        worker->driver->disarm(worker, &acceptor->deadline);
        acceptor->deadline.timer = NULL;
    }
}

/* ---- the owner's loop --------------------------------------------------------------------- */

static void close_listener(struct tc_server *server, struct tc_worker *worker)
{
    struct tc_acceptor *acceptor = &server->acceptor;

    tc_pollfd_close(acceptor->slot);
    acceptor->slot = NULL;
    close_reserve(acceptor);
    tc__server_release(server, worker);
}

/* We own the listener. Give it up in one of its three states, after which it, and the server,
 * may be somebody else's. Who was called because a connection was closed does not shed:
 * descriptors are coming back, and a client that waits a little longer will have one. */
static void run_acceptor(struct tc_server *server, struct tc_worker *worker, bool may_shed)
{
    struct tc_acceptor *acceptor = &server->acceptor;

    tc_pollfd_withdraw(acceptor->slot, TC_READ, &acceptor->waiter);
    for (;;) {
        end_pause(acceptor, worker);
        /* acquire [server-drain]: whoever began the drain comes after tc_server_start, in which
         * another thread registered the descriptor that we close. */
        if (tc_load_acquire(&server->state) != TC_SERVER_LISTENING) {
            close_listener(server, worker);
            return;
        }
        uint64_t closes = tc__limits_closes();
        enum outcome outcome = accept_batch(server, worker, may_shed);
        if (outcome == ACCEPT_EMPTY || outcome == ACCEPT_BATCH) {
            acceptor->backoff_ns = 0;
            if (set_enabled(acceptor, true) != 0) {
                outcome = ACCEPT_ERROR; /* stays off; the timer tries again */
            }
        }
        bool given_up;
        if (outcome == ACCEPT_CAP || outcome == ACCEPT_ERROR) {
            enum tc_pause why = outcome == ACCEPT_CAP ? TC_PAUSE_CAP : TC_PAUSE_ERROR;
            given_up = pause_listener(server, worker, why, closes);
        } else {
            given_up = wait_for_event(server);
        }
        if (given_up) {
            return;
        }
        tc_pollfd_withdraw(acceptor->slot, TC_READ, &acceptor->waiter);
    }
}

static void listener_ready(struct tc_waiter *waiter, struct tc_worker *worker)
{
    struct tc_acceptor *acceptor = tc_container_of(waiter, struct tc_acceptor, waiter);

    run_acceptor(tc_container_of(acceptor, struct tc_server, acceptor), worker, true);
}

static void listener_message(struct tc_worker *worker, struct tc_message *message)
{
    struct tc_acceptor *acceptor = tc_container_of(message, struct tc_acceptor, message);

    run_acceptor(tc_container_of(acceptor, struct tc_server, acceptor), worker, false);
}

/* ---- life --------------------------------------------------------------------------------- */

void tc__acceptor_construct(struct tc_acceptor *acceptor)
{
    tc_waiter_core_init(&acceptor->waiter.word);
    acceptor->waiter.kind = TC_WAITER_CALLBACK;
    acceptor->waiter.callback = listener_ready;
    acceptor->message.fn = listener_message;
    acceptor->reserve_fd = -1;
    tc_list_init(&acceptor->node);
}

static void install(struct tc_pollfd *slot, void *arg)
{
    struct tc_acceptor *acceptor = arg;

    acceptor->slot = slot;
    tc__waiter_install(slot, &acceptor->waiter);
}

int tc__acceptor_open(struct tc_server *server, int listen_fd)
{
    struct tc_acceptor *acceptor = &server->acceptor;
    struct tc_pollfd *slot;

    acceptor->deadline = (struct tc_deadline){.timer = NULL, .seq = 0};
    acceptor->is_enabled = true;
    acceptor->false_alarms = 0;
    acceptor->backoff_ns = 0;
    tc_store_relaxed(&acceptor->pause, TC_PAUSE_NONE); /* relaxed: not shared yet */
    open_reserve(acceptor);
    int rc = tc_pollfd_open(acceptor->home, listen_fd, TC_POLLFD_LEVEL, install, acceptor, &slot);
    if (rc != 0) {
        bool claimed = tc__waiter_claim_any(&acceptor->waiter);
        (void)claimed; /* false if it failed before install */
        acceptor->slot = NULL;
        close_reserve(acceptor);
    }
    return rc;
}

void tc__acceptor_close(struct tc_server *server, struct tc_worker *worker)
{
    if (tc__waiter_claim_any(&server->acceptor.waiter)) {
        run_acceptor(server, worker, false);
    }
}
