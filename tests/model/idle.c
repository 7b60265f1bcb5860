/* tests/model/idle.c — two workers go to sleep while a thread that is no worker submits work: the
 * work is found by somebody, whoever held the searching token meanwhile.
 *
 * The threads do what sched/idle.c does around idle_core.h: count, set the bit, look at the queue;
 * the submitter pushes, takes the token, looks for a bit. "Asleep" is a worker that would block: it
 * then waits for its token of the parker, here a flag. After the submitter is done, either the work
 * is taken, or a worker that is awake has yet to look (it does so in check), never neither.
 *
 * Shape: store buffering, twice ([idle-submit]: bit against queue; token against queue).
 * TC_WEAKEN: the submitter that finds nobody to give the token to goes away without a second look.
 * Then the other submitter, who found the token taken, has relied on nobody. Visible on x86-64.
 */
#include "base/atomic.h"
#include "sched/idle_core.h"

#include "model.h"

enum { WORKERS = 1 };

static struct tc_idle_word idle;
static _Atomic uint64_t parked_bits;
static _Atomic uint32_t queued; /* stands for the inject queue's length */
static _Atomic uint32_t notified; /* the parker's token */
static bool asleep; /* the worker would block; written by it, read in check */

static bool take_bit(void)
{
    return (tc_fetch_and_seq_cst(&parked_bits, ~(uint64_t)1) & 1) != 0;
}

/* A worker runs dry: enter_park() and, if there is something, tc_worker_awake(). */
static void worker(void)
{
    (void)tc_idle_park(&idle, 0, WORKERS, false);
    tc_fetch_or_seq_cst(&parked_bits, 1); /* seq_cst: as in enter_park */
    tc_fence_seq_cst(); /* [idle-submit] */
    if (tc_load_relaxed(&queued) != 0) { /* relaxed: after the fence */
        (void)tc_idle_leave(&idle, 0, take_bit());
        return;
    }
    asleep = true;
}

static void wake_one(void)
{
    while (tc_idle_claim_wake(&idle)) {
        if ((tc_load_relaxed(&parked_bits) & 1) != 0 && take_bit()) { /* relaxed: take decides */
            tc_idle_uncount(&idle);
            tc_store_release(&notified, 1); /* release: stands for the parker */
            return;
        }
        if (TC_WEAKEN) {
            sched_yield(); /* gives the others time; no step of the protocol */
            tc_idle_stop_search(&idle);
            return;
        }
        tc_idle_stop_search(&idle);
        tc_fence_seq_cst(); /* [idle-submit] */
        if (tc_load_relaxed(&queued) == 0) { /* relaxed: after the fence */
            return;
        }
        model_await_any();
    }
}

static void submitter(void)
{
    tc_fetch_add_relaxed(&queued, 1); /* relaxed: the fence orders it */
    tc_fence_seq_cst(); /* [idle-submit] */
    wake_one();
}

/* Somebody who wakes without a submission of his own, as for I2. */
static void guard(void)
{
    wake_one();
}

static void setup(void)
{
    tc_atomic_init(&idle.bits, 0);
    tc_atomic_init(&parked_bits, 0);
    tc_atomic_init(&queued, 0);
    tc_atomic_init(&notified, 0);
    asleep = false;
}

static void check(void)
{
    uint64_t bits = tc_idle_peek(&idle);

    MODEL_CHECK(tc_load_relaxed(&queued) == 1); /* relaxed: threads are done */
    /* Asleep only if the wake-up is on its way: the waker has uncounted it and left it the
     * token. */
    MODEL_CHECK(!asleep || tc_load_relaxed(&notified) == 1); /* relaxed: as above */
    MODEL_CHECK(tc_idle_parked(bits) == 0);
    MODEL_CHECK(tc_idle_searching(bits) == tc_load_relaxed(&notified)); /* relaxed: as above */
    MODEL_CHECK(tc_load_relaxed(&parked_bits) == 0); /* relaxed: as above */
}

int main(int argc, char **argv)
{
    static const struct model model = {"idle", 3, setup, {worker, submitter, guard}, check};

    return model_main(&model, argc, argv);
}
