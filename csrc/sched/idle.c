#include "sched/idle.h"

#include "base/assert.h"
#include "base/chaos.h"
#include "base/sys.h"
#include "sched/runtime_internal.h"

/* ---- waking -------------------------------------------------------------------------------- */

/* Take worker `index` out of the set of parked ones; true for exactly one caller per park. */
static bool take_parked(struct tc_runtime *runtime, uint32_t index)
{
    uint64_t bit = (uint64_t)1 << (index % 64);
    /* seq_cst: one order with the parked worker's own attempt. */
    return (tc_fetch_and_seq_cst(&runtime->parked[index / 64], ~bit) & bit) != 0;
}

/* Any parked worker, taken out of the set; NULL if there is none left. */
static struct tc_worker *pick_parked(struct tc_runtime *runtime)
{
    for (uint32_t word = 0; word * 64 < runtime->worker_count; word++) {
        uint64_t bits = tc_load_relaxed(&runtime->parked[word]); /* relaxed: take_parked decides */
        while (bits != 0) {
            uint32_t index = word * 64 + (uint32_t)__builtin_ctzll(bits);
            if (take_parked(runtime, index)) {
                return &runtime->workers[index];
            }
            bits &= bits - 1;
        }
    }
    return NULL;
}

/* Has anybody a reason to wake a worker that he may have left to the holder of the token? */
static bool is_wake_owed(struct tc_runtime *runtime)
{
    return tc_injectq_len(&runtime->inject) != 0 ||
           tc_idle_is_unguarded(tc_idle_peek(&runtime->idle), runtime->worker_count);
}

void tc__idle_wake_one(struct tc_runtime *runtime)
{
    while (tc_idle_claim_wake(&runtime->idle)) {
        struct tc_worker *worker = pick_parked(runtime);
        if (worker != NULL) {
            tc_idle_uncount(&runtime->idle);
            tc_fetch_add_relaxed(&runtime->wakeups, 1); /* relaxed: statistics */
            tc__worker_unpark(worker);
            return;
        }
        /* Who is counted has not set his bit yet, or has taken it back: he looks at the queues
         * himself. But somebody else may have come while we had the token, found it taken, and gone
         * away in the belief that its holder looks at the queues. We are no worker, perhaps. */
        tc_idle_stop_search(&runtime->idle);
        tc_fence_seq_cst(); /* [idle-submit]: submissions made while the token was ours are seen */
        if (!is_wake_owed(runtime)) {
            return;
        }
        tc_sys_sched_yield(); /* between count and bit there are a few instructions */
    }
}

void tc__idle_wake_all(struct tc_runtime *runtime)
{
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        tc__worker_unpark(&runtime->workers[i]);
    }
}

void tc_worker_delivered(struct tc_worker *worker)
{
    if (worker->runtime->worker_count > 1 && tc_deque_len(&worker->deque) > 1) {
        tc__idle_wake_one(worker->runtime);
    }
}

/* Has this worker something to do besides the events of its poller? */
static bool is_waited_for(struct tc_worker *worker)
{
    return tc_deque_len(&worker->deque) != 0 ||
           tc_load_relaxed(&worker->next) != NULL || /* relaxed: only the owner fills the slot */
           !tc_inbox_is_empty(&worker->inbox) || tc_injectq_len(&worker->runtime->inject) != 0;
}

/* Has any worker fibers that it has not begun to run? */
static bool is_anything_queued(struct tc_runtime *runtime)
{
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        if (tc_deque_len(&runtime->workers[i].deque) != 0) {
            return true;
        }
    }
    return false;
}

bool tc_worker_should_defer(struct tc_worker *worker)
{
    struct tc_runtime *runtime = worker->runtime;

    if (worker->rescuing || is_waited_for(worker) ||
        tc_idle_parked(tc_idle_peek(&runtime->idle)) != 0) {
        return true;
    }
    int64_t now_ns = worker->driver->now(worker);
    tc_worker_note_clock(worker, now_ns);
    return worker->driver->next_deadline(worker) <= now_ns;
}

/* ---- searching ----------------------------------------------------------------------------- */

/* Move up to half of the victim's deque to ours. True if there was anything. */
static bool steal_from(struct tc_worker *worker, struct tc_worker *victim)
{
    void *loot[16];
    /* chaos: others were faster */
    size_t count = tc_chaos(4) ? 0 : tc_deque_steal(&victim->deque, loot, TC_ARRAY_LEN(loot));

    for (size_t i = 0; i < count; i++) {
        tc__worker_push(worker, loot[i]);
    }
    tc_counter_add(&worker->counters.steals, count);
    return count != 0;
}

/* Four passes over all others from a random start. On success the victim may have more. */
static struct tc_worker *search(struct tc_worker *worker)
{
    struct tc_runtime *runtime = worker->runtime;
    uint32_t count = runtime->worker_count;

    tc_counter_add(&worker->counters.searches, 1);
    for (int pass = 0; pass < 4; pass++) {
        uint32_t start = tc_rand_below(&worker->rand, count);
        for (uint32_t i = 0; i < count; i++) {
            struct tc_worker *victim = &runtime->workers[(start + i) % count];
            if (victim != worker && tc_deque_len(&victim->deque) != 0 &&
                steal_from(worker, victim)) {
                return victim;
            }
        }
    }
    return NULL;
}

/* Give the token back; whoever submitted while we held it may have relied on us. */
static void stop_searching(struct tc_worker *worker)
{
    worker->searching = false;
    tc_idle_stop_search(&worker->runtime->idle);
}

/* Doze in the own poller, then steal. True if there may be something to run now; the token is then
 * still held, and given back by tc__idle_found_work(). */
static bool doze_and_search(struct tc_worker *worker, bool doze)
{
    if (doze) {
        int64_t limit = TC_DOZE_NS;
        int64_t next = worker->driver->next_deadline(worker);
        if (next != TC_NEVER && next - tc_worker_clock(worker) < limit) {
            limit = next - tc_worker_clock(worker);
        }
        if (limit > 0) {
            /* Announced, so that a message or a stop ends the doze; but not in the set of parked
             * workers, since who submits relies on the searcher that we are. */
            if (!tc_parker_core_begin(&worker->parker)) {
                return true;
            }
            worker->dozing = true;
            worker->polled = true;
            worker->vain_dozes++; /* unless there is a theft afterwards */
            int events = worker->driver->poll(worker, worker, limit);
            tc_worker_awake(worker);
            if (events != 0 || tc_deque_len(&worker->deque) != 0 ||
                !tc_inbox_is_empty(&worker->inbox)) {
                return true;
            }
        }
    }
    struct tc_worker *victim = search(worker);
    if (victim != NULL) {
        size_t left = tc_deque_len(&victim->deque);
        worker->saw_more = left != 0;
        worker->saw_plenty = left >= TC_STEAL_PLENTY;
        worker->vain_dozes = 0;
        return true;
    }
    stop_searching(worker);
    return false;
}

/* ---- the sentinel -------------------------------------------------------------------------- */

enum { RESCUE_POLLS = 32 }; /* batches of a stalled worker's events taken over per look */

/* Take over what a stalled worker cannot attend to. */
static void rescue(struct tc_worker *worker, struct tc_worker *victim)
{
    /* acquire [next-slot]: the fiber was handed to the slot by its filler. */
    struct tc_fiber *fiber = tc_exchange_acquire(&victim->next, NULL);

    if (fiber != NULL) {
        tc__worker_push(worker, fiber);
    }
    while (steal_from(worker, victim)) {
    }
    /* More than one batch may have piled up, and the next look is a millisecond away. A source that
     * is reported for as long as nobody attends to it must not keep us here. */
    worker->rescuing = true;
    for (int i = 0; i < RESCUE_POLLS && worker->driver->poll(worker, victim, 0) > 0; i++) {
    }
    worker->rescuing = false;
    tc_counter_add(&worker->counters.rescues, 1);
}

/* Look at every other worker: has its turn moved since the last look, has it work to share? */
static void look_around(struct tc_worker *worker)
{
    struct tc_runtime *runtime = worker->runtime;
    bool work = false;

    worker->saw_activity = false;
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        struct tc_worker *other = &runtime->workers[i];
        if (other == worker) {
            continue;
        }
        uint64_t turn = tc_load_relaxed(&other->turn); /* relaxed: compared with itself only */
        if (turn != tc_load_relaxed(&other->seen_turn)) { /* relaxed: only the sentinel's own */
            tc_store_relaxed(&other->seen_turn, turn); /* relaxed: same */
            worker->saw_activity = true;
            work |= tc_deque_len(&other->deque) != 0;
        } else if (!tc_parker_core_is_parked(&other->parker)) {
            worker->saw_activity = true;
            rescue(worker, other);
        }
    }
    if (work && tc_deque_len(&worker->deque) == 0 && tc_idle_start_search(&runtime->idle)) {
        worker->searching = true;
        (void)doze_and_search(worker, false);
    }
}

/* ---- parking ------------------------------------------------------------------------------- */

/* Anything that another thread may have submitted before it could see that we park? */
static bool has_submissions(struct tc_worker *worker)
{
    struct tc_runtime *runtime = worker->runtime;

    return tc_injectq_len(&runtime->inject) != 0 || !tc_inbox_is_empty(&worker->inbox) ||
           tc__runtime_is_leaving(runtime) || is_anything_queued(runtime);
}

/* Enter the set of parked workers and announce the sleep. False: there is something to do. */
static bool enter_park(struct tc_worker *worker)
{
    struct tc_runtime *runtime = worker->runtime;

    if (!tc_parker_core_begin(&worker->parker)) {
        return false;
    }
    worker->parked = true;
    if (runtime->worker_count == 1) {
        return true; /* who submits unparks this worker without looking; see submitted */
    }
    worker->sentinel =
        tc_idle_park(&runtime->idle, worker->index, runtime->worker_count, worker->saw_activity);
    tc_chaos_yield(4); /* chaos: a waker finds the count without the bit */
    /* seq_cst: the bit follows the count, so that a waker never uncounts what is not there. */
    tc_fetch_or_seq_cst(&runtime->parked[worker->index / 64], (uint64_t)1 << (worker->index % 64));
    tc_fence_seq_cst(); /* [idle-submit]: submissions made before a waker looked are seen below */
    if (has_submissions(worker)) {
        tc_worker_awake(worker);
        return false;
    }
    tc_ebr_offline(worker->ebr);
    worker->offline = true;
    return true;
}

void tc_worker_awake(struct tc_worker *worker)
{
    struct tc_runtime *runtime = worker->runtime;

    if (worker->dozing) {
        worker->dozing = false;
        (void)tc_parker_core_end(&worker->parker);
        return;
    }
    if (!worker->parked) {
        return;
    }
    worker->parked = false;
    (void)tc_parker_core_end(&worker->parker);
    if (runtime->worker_count == 1) {
        return;
    }
    if (worker->offline) {
        worker->offline = false;
        tc_ebr_online(worker->ebr);
    }
    tc_chaos_yield(4); /* chaos: a waker picks a worker that is awake already */
    bool counted = take_parked(runtime, worker->index);
    (void)tc_idle_leave(&runtime->idle, worker->index, counted);
    /* Who took us out of the set gave us the searching token. */
    worker->searching = !counted;
    worker->unguarded = true; /* I2: to be looked at before we run anything */
}

/* Have the sleep of a sentinel end in time. False: it needs a limit of its own. */
static bool has_tick(struct tc_worker *worker)
{
    const struct tc_driver *driver = worker->driver;

    return driver->tick != NULL && driver->tick(worker, TC_SENTINEL_NS) == 0;
}

static void park(struct tc_worker *worker)
{
    struct tc_runtime *runtime = worker->runtime;
    int64_t timeout = TC_NEVER;

    if (!enter_park(worker)) {
        return;
    }
    int64_t next = worker->driver->next_deadline(worker);
    if (next != TC_NEVER) {
        int64_t now = tc_worker_clock(worker);
        timeout = next > now ? next - now : 0;
    }
    if (worker->sentinel && timeout > TC_SENTINEL_NS && !has_tick(worker)) {
        timeout = TC_SENTINEL_NS;
    }
    bool shortage = tc_load_relaxed(&runtime->shortage_count) != 0; /* relaxed: looked at again */
    if (shortage && timeout > TC_SHORTAGE_NS) {
        timeout = TC_SHORTAGE_NS;
    }
    tc_chaos_yield(4); /* chaos: the wake-up comes before the sleep */
    int events = worker->driver->poll(worker, worker, timeout);
    tc_worker_awake(worker);
    if (shortage && events == 0) {
        tc__runtime_stack_returned(worker);
    }
    worker->polled = true;
    if (worker->sentinel) {
        /* By the clock, not by the time-out: events of our own may end every sleep before it. */
        int64_t now = tc_worker_clock(worker);
        if (now - worker->looked_ns >= TC_SENTINEL_NS) {
            worker->looked_ns = now;
            look_around(worker);
        }
        worker->sentinel = false;
    }
}

void tc__idle_found_work(struct tc_worker *worker)
{
    struct tc_runtime *runtime = worker->runtime;
    bool more = false;

    if (worker->searching) {
        more = worker->saw_more || tc_deque_len(&worker->deque) != 0;
        stop_searching(worker);
    }
    worker->saw_more = false;
    worker->unguarded = false;
    if (more || tc_idle_is_unguarded(tc_idle_peek(&runtime->idle), runtime->worker_count)) {
        tc__idle_wake_one(runtime); /* I2: somebody must look after us */
    }
}

void tc__idle_submitted(struct tc_runtime *runtime)
{
    if (runtime->worker_count == 1) {
        tc__worker_unpark(&runtime->workers[0]);
        return;
    }
    /* [idle-submit]: the submission is visible before the look for a parked one */
    tc_fence_seq_cst();
    tc__idle_wake_one(runtime);
}

void tc__idle(struct tc_worker *worker)
{
    struct tc_runtime *runtime = worker->runtime;

    if (tc_injectq_len(&runtime->inject) != 0 || !tc_inbox_is_empty(&worker->inbox)) {
        return; /* the next turn takes them */
    }
    bool woken = worker->searching;
    bool is_vain = worker->vain_dozes >= TC_DOZE_VAIN && !woken && !is_anything_queued(runtime);
    if (runtime->worker_count > 1 && !is_vain) {
        if (woken || tc_idle_start_search(&runtime->idle)) {
            worker->searching = true;
            bool doze = !woken && !worker->saw_plenty && tc_sys_has_precise_epoll();
            worker->saw_plenty = false;
            if (doze_and_search(worker, doze)) {
                return;
            }
        }
    }
    park(worker);
}
