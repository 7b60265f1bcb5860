#include "sched/thread.h"

#include "base/assert.h"
#include "base/clock.h"
#include "sched/worker.h"

struct thread_record {
    struct tc_thread_waiter wait;
    struct tc_rand rand;
    bool is_seeded;
};

/* Zero is a waiter word whose wait 0 was never armed, and a parker without a token. */
static _Thread_local struct thread_record thread_record = {
    .wait = {.waiter = {.kind = TC_WAITER_THREAD}},
};

static TC_NOINLINE struct thread_record *this_thread(void)
{
    return &thread_record;
}

int tc_thread_park(const struct tc_park *park)
{
    struct tc_thread_waiter *self = &this_thread()->wait;

    tc_assert(tc_worker_current() == NULL);
    uint64_t seq = tc_waiter_core_begin(&self->waiter.word);
    tc_waiter_core_arm(&self->waiter.word, seq);
    if (!park->commit(&self->waiter, seq, park->arg)) {
        bool is_ours = tc_waiter_claim(&self->waiter, seq);
        tc_assert(is_ours); /* nothing was published */
        return 0;
    }
    int rc = tc_parker_park(&self->parker, park->deadline_ns);
    if (rc != 0 && tc_waiter_claim(&self->waiter, seq)) {
        return rc;
    }
    while (rc != 0) {
        /* A source claimed first: its wake-up is on the way and must be received. */
        rc = tc_parker_park(&self->parker, TC_NEVER);
    }
    return self->waiter.result;
}

void tc_thread_seed(uint64_t seed)
{
    struct thread_record *self = this_thread();

    tc_rand_init(&self->rand, seed);
    self->is_seeded = true;
}

uint64_t tc_thread_random(void)
{
    struct thread_record *self = this_thread();

    if (!self->is_seeded) {
        tc_thread_seed((uint64_t)tc_clock_now_ns() ^ (uintptr_t)self);
    }
    return tc_rand_next(&self->rand);
}
