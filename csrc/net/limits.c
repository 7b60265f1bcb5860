/* What all servers of the process share: the count of connections and its cap, the listeners
 * that are off at a limit, and the slabs (type-stable, hence never freed). */
#include <string.h>

#include "base/assert.h"
#include "base/sys.h"
#include "net/server_internal.h"

enum {
    CLASS_BYTES = 64, /* step of the sizes of protocol state                                    */
    CLASS_COUNT = TC_CONN_STATE_MAX / CLASS_BYTES + 1,
    DEFAULT_DESCRIPTORS = 1024, /* assumed if the kernel will not say                           */
};

enum { UNPREPARED, PREPARING, PREPARED };

static struct {
    _Atomic uint32_t prepared;     /* UNPREPARED, PREPARING, PREPARED                           */
    _Atomic uint64_t cap;          /* of `connections`; refreshed when it is met                */
    _Atomic uint64_t connections;  /* of all servers, now                                       */
    _Atomic uint64_t closes;       /* so far; see tc__limits_connection_closed                  */
    _Atomic uint32_t paused_count; /* listeners in `paused`; written under the lock             */
    struct tc_lock lock;           /* TC_RANK_LISTENER; guards `paused`                         */
    struct tc_list paused;         /* of tc_acceptor.node                                       */
    struct tc_slab servers;
    struct tc_slab conns[CLASS_COUNT];
} limits;

/* ---- preparation -------------------------------------------------------------------------- */

static void refresh_cap(void)
{
    struct rlimit limit;
    uint64_t descriptors = DEFAULT_DESCRIPTORS;

    if (tc_sys_getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        descriptors = limit.rlim_cur;
    }
    tc_store_relaxed(&limits.cap, descriptors / 5 * 4); /* relaxed: a number of its own */
}

static void construct_server(void *object)
{
    struct tc_server *server = object;

    memset(server, 0, sizeof *server);
    tc_waiter_core_init(&server->drain.word);
    tc__acceptor_construct(&server->acceptor);
}

static void prepare(void)
{
    tc_lock_init(&limits.lock, TC_RANK_LISTENER);
    tc_list_init(&limits.paused);
    tc_slab_init(&limits.servers, "servers", sizeof(struct tc_server), _Alignof(struct tc_server),
                 construct_server);
    for (size_t i = 0; i < CLASS_COUNT; i++) {
        tc_slab_init(&limits.conns[i], "connections", sizeof(struct tc_conn) + i * CLASS_BYTES,
                     _Alignof(struct tc_conn), tc__conn_construct);
    }
}

void tc__limits_init(void)
{
    uint32_t found = UNPREPARED;

    refresh_cap();
    /* acquire [limits-prepared]: what prepare() wrote. */
    if (tc_load_acquire(&limits.prepared) == PREPARED) {
        return;
    }
    if (tc_cas_acquire(&limits.prepared, &found, PREPARING)) { /* acquire [limits-prepared] */
        prepare();
        tc_store_release(&limits.prepared, PREPARED); /* release [limits-prepared] */
        return;
    }
    while (tc_load_acquire(&limits.prepared) != PREPARED) { /* acquire [limits-prepared] */
        tc_sys_sched_yield();
    }
}

struct tc_slab *tc__limits_server_slab(void)
{
    return &limits.servers;
}

struct tc_slab *tc__limits_conn_slab(size_t conn_bytes)
{
    tc_assert(conn_bytes <= TC_CONN_STATE_MAX);
    return &limits.conns[(conn_bytes + CLASS_BYTES - 1) / CLASS_BYTES];
}

/* ---- the count ---------------------------------------------------------------------------- */

static bool is_at_cap(void)
{
    /* relaxed, both: counts on which no other data depends. A close that this misses is found
     * by the re-check of a pause. */
    return tc_load_relaxed(&limits.connections) >= tc_load_relaxed(&limits.cap);
}

bool tc__limits_is_full(struct tc_server *server)
{
    if (server->max_connections != 0) {
        return tc_load_relaxed(&server->open) >= server->max_connections; /* relaxed: as above */
    }
    if (tc_likely(!is_at_cap())) {
        return false;
    }
    refresh_cap();
    return is_at_cap();
}

void tc__limits_connection_opened(void)
{
    tc_fetch_add_relaxed(&limits.connections, 1); /* relaxed: a count */
}

uint64_t tc__limits_closes(void)
{
    return tc_load_seq_cst(&limits.closes); /* seq_cst [limits-pause] */
}

/* ---- paused listeners --------------------------------------------------------------------- */

/* A listener pauses while descriptors become free: store buffering [limits-pause].
 *
 *   pausing                                   closing
 *     note `closes`; accept: no room            close the descriptor
 *     enter the list, count it                  closes + 1
 *     let others claim the wait                 anybody paused? claim, and tell its worker
 *     closes has moved? claim it back
 *
 * Both sides write, then read what the other wrote, all seq_cst: one of them sees the other. */

static TC_NOINLINE void resume_slow(void)
{
    struct tc_list *it;

    tc_lock_acquire(&limits.lock);
    TC_LIST_FOR_EACH (it, &limits.paused) {
        struct tc_acceptor *acceptor = tc_container_of(it, struct tc_acceptor, node);
        struct tc_server *server = tc_container_of(acceptor, struct tc_server, acceptor);
        /* relaxed: written before it entered the list, under this lock */
        bool at_cap = tc_load_relaxed(&acceptor->pause) == TC_PAUSE_CAP;
        if (!(at_cap && tc__limits_is_full(server)) && tc__waiter_claim_any(&acceptor->waiter)) {
            tc_worker_post(acceptor->home, &acceptor->message);
        }
    }
    tc_lock_release(&limits.lock);
}

void tc__limits_connection_closed(void)
{
    tc_fetch_sub_relaxed(&limits.connections, 1); /* relaxed: ordered by the next line */
    tc_fetch_add_seq_cst(&limits.closes, 1);      /* seq_cst [limits-pause] */
    if (tc_unlikely(tc_load_seq_cst(&limits.paused_count) != 0)) { /* seq_cst [limits-pause] */
        resume_slow();
    }
}

void tc__limits_pause(struct tc_acceptor *acceptor)
{
    tc_lock_acquire(&limits.lock);
    tc_list_push_back(&limits.paused, &acceptor->node);
    tc_fetch_add_seq_cst(&limits.paused_count, 1); /* seq_cst [limits-pause] */
    tc_lock_release(&limits.lock);
}

void tc__limits_unpause(struct tc_acceptor *acceptor)
{
    tc_lock_acquire(&limits.lock);
    if (!tc_list_is_empty(&acceptor->node)) {
        tc_list_remove(&acceptor->node);
        tc_fetch_sub_seq_cst(&limits.paused_count, 1); /* seq_cst: as in pause */
    }
    tc_lock_release(&limits.lock);
}

/* ---- fork --------------------------------------------------------------------------------- */

static void close_reserve(void *object, void *arg)
{
    struct tc_server *server = object;

    (void)arg;
    if (server->acceptor.reserve_fd >= 0) {
        tc_sys_close(server->acceptor.reserve_fd);
        server->acceptor.reserve_fd = -1;
    }
}

void tc_server_after_fork_child(void)
{
    if (tc_load_relaxed(&limits.prepared) == PREPARED) { /* relaxed: the child has one thread */
        tc_slab_for_each(&limits.servers, close_reserve, NULL);
    }
    memset(&limits, 0, sizeof limits);
}
