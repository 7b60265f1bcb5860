#include "sched/fiber.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/chaos.h"
#include "base/lock.h"
#include "sched/idle.h"
#include "sched/runtime_internal.h"
#include "sched/thread.h"

/* ---- per-fiber storage: the keys ----------------------------------------------------------- */

static _Atomic uint32_t key_count;
static _Atomic(void (*)(void *)) key_destructors[TC_FIBER_STORAGE_SLOTS];

int tc_fiber_key_new(void (*destructor)(void *value))
{
    uint32_t key = tc_load_relaxed(&key_count); /* relaxed: the CAS decides */
    do {
        if (key == TC_FIBER_STORAGE_SLOTS) {
            return -ENOSPC;
        }
        /* relaxed: a number is taken; the destructor below is what is published */
    } while (!tc_cas_relaxed(&key_count, &key, key + 1));
    tc_store_release(&key_destructors[key], destructor); /* [fiber-key]: with run_destructors */
    return (int)key;
}

void *tc_fiber_get(int key)
{
    return tc_worker_current()->current->storage[key];
}

void tc_fiber_set(int key, void *value)
{
    tc_worker_current()->current->storage[key] = value;
}

static void run_destructors(struct tc_fiber *fiber)
{
    for (int key = 0; key < TC_FIBER_STORAGE_SLOTS; key++) {
        void *value = fiber->storage[key];
        fiber->storage[key] = NULL;
        if (value != NULL) {
            /* acquire [fiber-key]: the destructor that was stored with the key */
            void (*destructor)(void *) = tc_load_acquire(&key_destructors[key]);
            if (destructor != NULL) {
                destructor(value);
            }
        }
    }
}

/* ---- spawn --------------------------------------------------------------------------------- */

static const struct tc_spawn_options default_options = {
    .name = NULL,
    .site = NULL,
    .stack_class = TC_STACK_DEFAULT,
    .detached = false,
};

static void fiber_free(struct tc_worker *worker, struct tc_fiber *fiber)
{
    struct tc_runtime *runtime = fiber->runtime;

    tc_store_relaxed(&fiber->id, 0);               /* relaxed: for the census */
    tc_store_relaxed(&fiber->state, TC_FIBER_FREE); /* relaxed: for the census */
    if (runtime->max_fibers != 0) {
        tc_fetch_sub_relaxed(&runtime->live, 1); /* relaxed: a count, no data depends on it */
    }
    if (worker != NULL && worker->runtime == runtime) {
        tc_slab_cache_free(&worker->fibers, fiber);
    } else {
        tc_slab_free(&runtime->fibers, fiber);
    }
}

static struct tc_fiber *fiber_alloc(struct tc_runtime *runtime, struct tc_worker *worker, int *rc)
{
    if (runtime->max_fibers != 0 &&
        tc_fetch_add_relaxed(&runtime->live, 1) >= runtime->max_fibers) { /* relaxed: a count */
        tc_fetch_sub_relaxed(&runtime->live, 1);                          /* relaxed: a count */
        *rc = -EAGAIN;
        return NULL;
    }
    struct tc_fiber *fiber =
        worker != NULL ? tc_slab_cache_alloc(&worker->fibers) : tc_slab_alloc(&runtime->fibers);
    if (fiber == NULL) {
        if (runtime->max_fibers != 0) {
            tc_fetch_sub_relaxed(&runtime->live, 1); /* relaxed: a count */
        }
        *rc = -ENOMEM;
    }
    return fiber;
}

static uint64_t fiber_new_id(struct tc_runtime *runtime, struct tc_worker *worker)
{
    uint64_t stride = (uint64_t)runtime->worker_count + 1;
    if (worker != NULL) {
        worker->next_id += stride;
        return worker->next_id;
    }
    /* relaxed: only uniqueness matters */
    return (tc_fetch_add_relaxed(&runtime->next_id_outside, 1) + 1) * stride;
}

static void copy_name(struct tc_fiber *fiber, const char *name)
{
    uint64_t words[TC_ARRAY_LEN(fiber->name)] = {0};
    memcpy(words, name, strnlen(name, TC_FIBER_NAME_BYTES - 1));
    for (size_t i = 0; i < TC_ARRAY_LEN(words); i++) {
        tc_store_relaxed(&fiber->name[i], words[i]); /* relaxed: for reports */
    }
}

/* Hand a new fiber over to the workers, from a thread that is none of them. Either stop() sees the
 * count and waits for the fiber, or we see that it has begun. */
static int submit_outside(struct tc_runtime *runtime, struct tc_fiber *fiber)
{
    /* seq_cst [stop-spawn]: counted before the look at the state */
    tc_fetch_add_seq_cst(&runtime->spawned_outside, 1);
    /* seq_cst [stop-spawn]: the look */
    if (tc_unlikely(tc_load_seq_cst(&runtime->state) >= TC_RUNTIME_STOPPING)) {
        tc_fetch_sub_relaxed(&runtime->spawned_outside, 1); /* relaxed: stop() looks repeatedly */
        fiber_free(NULL, fiber);
        return -ESHUTDOWN;
    }
    tc_injectq_push(&runtime->inject, &fiber->link);
    tc__idle_submitted(runtime);
    return 0;
}

int tc_fiber_spawn(struct tc_runtime *runtime, void (*entry)(void *), void *arg,
                   const struct tc_spawn_options *options, struct tc_fiber **out)
{
    struct tc_worker *worker = tc_worker_current();
    int rc = 0;

    if (options == NULL) {
        options = &default_options;
    }
    if (worker != NULL && tc_unlikely(worker->runtime != runtime)) {
        worker = NULL;
    }
    uint32_t state = tc_load_relaxed(&runtime->state); /* relaxed: stop() cancels in a loop */
    if (tc_unlikely(state >= TC_RUNTIME_STOPPING) &&
        (worker == NULL || state >= TC_RUNTIME_LEAVING)) {
        return -ESHUTDOWN;
    }
    struct tc_fiber *fiber = fiber_alloc(runtime, worker, &rc);
    if (fiber == NULL) {
        return rc;
    }
    fiber->runtime = runtime;
    fiber->entry = entry;
    fiber->arg = arg;
    fiber->stack_class = (uint8_t)options->stack_class;
    fiber->shield = 0;
    fiber->failure = 0;
    fiber->detached = options->detached;
    fiber->unrun = options->unrun;
    memset(fiber->storage, 0, sizeof fiber->storage);
    tc_readiness_init(&fiber->done, false);
    copy_name(fiber, options->name != NULL ? options->name : "fiber");
    /* relaxed: published by the run queue; the census takes what it finds */
    tc_store_relaxed(&fiber->cancelled, state == TC_RUNTIME_STOPPING);
    tc_store_relaxed(&fiber->reason, TC_WAIT_NONE); /* relaxed: as above */
    tc_store_relaxed(&fiber->object, NULL);         /* relaxed: as above */
    tc_store_relaxed(&fiber->site, options->site);  /* relaxed: as above */
    tc_store_relaxed(&fiber->since_ns, worker != NULL ? worker->now_ns : 0); /* relaxed: as above */
    tc_store_relaxed(&fiber->state, TC_FIBER_NEW); /* relaxed: as above */
    tc_store_relaxed(&fiber->id, fiber_new_id(runtime, worker)); /* relaxed: as above */
    if (!options->detached) {
        *out = fiber;
    }
    if (worker == NULL) {
        return submit_outside(runtime, fiber);
    }
    tc_counter_add(&worker->counters.spawned, 1);
    tc__worker_push(worker, fiber);
    if (runtime->worker_count > 1) {
        tc__idle_wake_one(runtime);
    }
    return 0;
}

void tc__fiber_main(void *user, void *arg)
{
    struct tc_fiber *fiber = user;

    tc__after_switch(arg);
    fiber->entry(fiber->arg);
    run_destructors(fiber);
    tc_store_relaxed(&fiber->state, TC_FIBER_DEAD); /* relaxed: for the census */
    tc__switch_exit(fiber->worker, fiber);
}

/* ---- the end: join, detach ----------------------------------------------------------------- */

/* `done` is a readiness word with two peculiar uses: IDLE → READY is death, and a registered waiter
 * of NULL means "detached, free it". So one arbiter serves exit, join and detach, F3 follows from
 * the word's own protocol, and a joiner that is woken by something else withdraws as from any
 * other wait. */
void tc__fiber_finish(struct tc_worker *worker, struct tc_fiber *fiber)
{
    struct tc_waiter *joiner;
    uint64_t seq;

    if (fiber->detached) {
        if (fiber->failure != 0) {
            tc_counter_add(&worker->counters.errors, 1);
            if (fiber->unrun != NULL) {
                fiber->unrun(fiber->arg);
            }
        }
        fiber_free(worker, fiber);
        return;
    }
    if (!tc_readiness_notify(&fiber->done, &joiner, &seq)) {
        return;
    }
    if (joiner == NULL) {
        tc_readiness_unlock(&fiber->done);
        fiber_free(worker, fiber);
        return;
    }
    bool claimed = tc_waiter_claim(joiner, seq);
    tc_chaos_yield(8); /* chaos: the joiner's deadline or cancel comes while the word is LOCKED */
    tc_readiness_unlock(&fiber->done); /* the joiner may free the fiber from here on */
    if (claimed) {
        tc_ready_from(worker, joiner, 0);
    }
}

void tc_fiber_detach(struct tc_fiber *fiber)
{
    if (!tc_readiness_park(&fiber->done, NULL, 0)) {
        /* A look that acquires, which park's was not: the fiber's last steps are over. */
        bool is_dead = tc_readiness_is_ready(&fiber->done);
        tc_assert(is_dead);
        fiber_free(tc_worker_current(), fiber);
    }
}

static bool commit_to_readiness(struct tc_waiter *waiter, uint64_t seq, void *arg)
{
    return tc_readiness_park(arg, waiter, seq);
}

int tc__fiber_wait_readiness(struct tc_readiness *word, enum tc_wait_reason reason,
                             const void *object, int64_t deadline_ns)
{
    struct tc_fiber *self = tc_worker_current()->current;
    struct tc_park park = {
        .reason = reason,
        .object = object,
        .deadline_ns = deadline_ns,
        .commit = commit_to_readiness,
        .arg = word,
    };
    int rc = tc_fiber_park(&park);
    if (rc != 0) {
        tc_readiness_withdraw(word, &self->waiter);
    }
    return rc;
}

/* The same for a plain thread. */
static int thread_wait_readiness(struct tc_readiness *word, const void *object, int64_t deadline_ns)
{
    struct tc_park park = {
        .reason = TC_WAIT_JOIN,
        .object = object,
        .deadline_ns = deadline_ns,
        .commit = commit_to_readiness,
        .arg = word,
    };
    int rc = tc_thread_park(&park);
    if (rc != 0) {
        tc_readiness_withdraw(word, word->waiter); /* as we left it: only the owner writes it */
    }
    return rc;
}

int tc_fiber_join(struct tc_fiber *fiber, int64_t deadline_ns)
{
    struct tc_worker *worker = tc_worker_current();
    int rc = 0;

    if (!tc_readiness_is_ready(&fiber->done)) {
        if (worker != NULL && worker->current != NULL) {
            rc = tc__fiber_wait_readiness(&fiber->done, TC_WAIT_JOIN, fiber, deadline_ns);
            worker = tc_worker_current();
        } else {
            rc = thread_wait_readiness(&fiber->done, fiber, deadline_ns);
        }
        /* Looked at after success too: a wait that found the word READY has not acquired it. */
        if (!tc_readiness_is_ready(&fiber->done)) {
            tc_assert(rc != 0);
            return rc;
        }
    }
    rc = fiber->failure;
    fiber_free(worker, fiber);
    return rc;
}

/* ---- cancel -------------------------------------------------------------------------------- */

void tc_fiber_cancel(struct tc_fiber *fiber)
{
    if (tc_waiter_core_cancel(&fiber->waiter.word, &fiber->cancelled)) {
        tc_ready(&fiber->waiter, -ECANCELED);
    }
}

static bool cancel_pending(struct tc_fiber *fiber)
{
    /* relaxed: an early look; allow_cancel looks again in order */
    return tc_load_relaxed(&fiber->cancelled) != 0 && fiber->shield == 0;
}

bool tc_fiber_is_cancelled(void)
{
    return cancel_pending(tc_worker_current()->current);
}

void tc_fiber_shield(void)
{
    struct tc_fiber *self = tc_worker_current()->current;
    tc_assert(self->shield < UINT8_MAX);
    self->shield++;
}

void tc_fiber_unshield(void)
{
    struct tc_fiber *self = tc_worker_current()->current;
    tc_assert(self->shield > 0);
    self->shield--;
}

/* ---- park ---------------------------------------------------------------------------------- */

struct park_commit {
    const struct tc_park *park;
    uint64_t seq;
};

static void commit_park(struct tc_worker *worker, struct tc_fiber *fiber, void *arg)
{
    const struct park_commit *commit = arg;
    const struct tc_park *park = commit->park;
    uint64_t seq = commit->seq;
    bool shielded = fiber->shield != 0;

    tc_store_relaxed(&fiber->state, TC_FIBER_PARKED); /* relaxed: for the census */
    tc_waiter_core_arm(&fiber->waiter.word, seq);
    tc_chaos_yield(8); /* chaos: the deadline, or the event, comes before the commit */
    bool is_waiting = park->commit(&fiber->waiter, seq, park->arg);
    tc_chaos_yield(8); /* chaos: the fiber runs on, or ends, before the last step */
    tc_assert_debug(tc_lock_held_count() == 0);
    if (!is_waiting) {
        if (tc_waiter_claim(&fiber->waiter, seq)) {
            tc_ready_from(worker, &fiber->waiter, 0);
        }
        return;
    }
    /* From here on the fiber may run elsewhere: nothing on its stack is read any more (K3), and in
     * its struct, which is type-stable, only words that tolerate being the next fiber's. */
    if (!shielded && tc_waiter_core_allow_cancel(&fiber->waiter.word, seq, &fiber->cancelled)) {
        tc_ready_from(worker, &fiber->waiter, -ECANCELED);
    }
}

int tc_fiber_park(const struct tc_park *park)
{
    struct tc_worker *worker = tc_worker_current();
    struct tc_fiber *self = worker->current;
    struct tc_deadline deadline = {.timer = NULL, .seq = 0};

    tc_assert_debug(TC_DEBUG == 0 || tc_lock_held_count() == (int)park->locks);
    if (tc_unlikely(cancel_pending(self))) {
        return -ECANCELED;
    }
    struct park_commit commit = {.park = park, .seq = tc_waiter_core_begin(&self->waiter.word)};
    if (park->deadline_ns != TC_NEVER) {
        int rc =
            worker->driver->arm(worker, &self->waiter, commit.seq, park->deadline_ns, &deadline);
        if (rc != 0) {
            return rc;
        }
    }
    tc_store_relaxed(&self->reason, (uint8_t)park->reason); /* relaxed: for the census */
    tc_store_relaxed(&self->object, park->object); /* relaxed: for the census */
    tc_store_relaxed(&self->since_ns, worker->now_ns); /* relaxed: for the census */
    tc_counter_add(&worker->counters.parks, 1);
    worker = tc__switch_away(worker, self, commit_park, &commit);
    tc_store_relaxed(&self->reason, TC_WAIT_NONE); /* relaxed: for the census */
    if (deadline.timer != NULL) {
        worker->driver->disarm(worker, &deadline);
    }
    return self->waiter.result;
}

static bool commit_sleep(struct tc_waiter *waiter, uint64_t seq, void *arg)
{
    (void)waiter;
    (void)seq;
    (void)arg;
    return true; /* the timer and cancel are the only sources, and both are published already */
}

int tc_fiber_sleep_until(int64_t deadline_ns)
{
    struct tc_worker *worker = tc_worker_current();
    struct tc_park park = {
        .reason = TC_WAIT_SLEEP,
        .object = NULL,
        .deadline_ns = deadline_ns,
        .commit = commit_sleep,
        .arg = NULL,
    };
    if (deadline_ns <= tc_worker_clock(worker)) {
        return cancel_pending(worker->current) ? -ECANCELED : 0;
    }
    int rc = tc_fiber_park(&park);
    return rc == -ETIMEDOUT ? 0 : rc;
}

/* ---- looking at oneself -------------------------------------------------------------------- */

struct tc_fiber *tc_fiber_current(void)
{
    struct tc_worker *worker = tc_worker_current();
    return worker != NULL ? worker->current : NULL;
}

size_t tc_fiber_stack_remaining(void)
{
    struct tc_fiber *self = tc_fiber_current();
    if (self == NULL) {
        return 0;
    }
    return (size_t)((char *)__builtin_frame_address(0) - (char *)self->stack.lo);
}

void tc_fiber_set_name(const char *name)
{
    copy_name(tc_worker_current()->current, name);
}

static const char *const reason_names[] = {
#define REASON_NAME(id, text) [TC_WAIT_##id] = text,
    TC_WAIT_REASONS(REASON_NAME)
#undef REASON_NAME
};

const char *tc_wait_reason_name(enum tc_wait_reason reason)
{
    return (unsigned)reason < TC_ARRAY_LEN(reason_names) ? reason_names[reason] : "?";
}
