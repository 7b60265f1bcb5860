/* tests/model/waiter_cancel.c — a fiber commits a wait while somebody cancels it and a source that
 * was handed the wait claims it. Exactly one of the three resumes it, and it is resumed even if the
 * source never comes (odd iterations).
 *
 * Shapes: store buffering (the parker's CANCELLABLE against the canceller's flag, [waiter-cancel]);
 * message passing (the record written before arm, read by the claimer, [waiter-arm]).
 * TC_WEAKEN: the parker stores CANCELLABLE and reads the flag with nothing in between. Visible on
 * x86-64: neither side sees the other, and the wait never ends.
 */
#include "base/atomic.h"
#include "sched/waiter_core.h"

#define MODEL_VARIANTS 2
#include "model.h"

static struct tc_waiter_word word;
static _Atomic uint32_t cancelled;
static _Atomic uint64_t handed_over; /* the sequence, as a source gets it; 0: not yet */
static _Atomic int resumed;
static int record; /* plain: written before arm, read by who claims */
static bool has_source; /* this iteration's source comes; set in setup */
static uint64_t next_seq;

static void resume(void)
{
    MODEL_CHECK(record == 1);
    tc_fetch_add_relaxed(&resumed, 1); /* relaxed: read after the threads joined */
}

static bool allow_cancel(uint64_t seq)
{
    if (!TC_WEAKEN) {
        return tc_waiter_core_allow_cancel(&word, seq, &cancelled);
    }
    tc_store_release(&word.value, tc_waiter_core_pack(seq, TC_WAITER_CANCELLABLE));
    return tc_load_relaxed(&cancelled) != 0 && tc_waiter_core_claim(&word, seq);
}

static void parker(void)
{
    uint64_t seq = tc_waiter_core_begin(&word);

    record = 1;
    tc_waiter_core_arm(&word, seq);
    if (has_source) {
        tc_store_release(&handed_over, seq); /* release: stands for a readiness word or a lock */
    }
    if (allow_cancel(seq)) {
        resume();
    }
}

static void canceller(void)
{
    if (tc_waiter_core_cancel(&word, &cancelled)) {
        resume();
    }
}

static void source(void)
{
    uint64_t seq = tc_load_acquire(&handed_over); /* acquire: as above */

    if (seq != 0 && tc_waiter_core_claim(&word, seq)) {
        resume();
    }
}

static void setup(void)
{
    /* The sequence goes on over the iterations, as it does when a fiber struct is used again. */
    tc_atomic_init(&word.value, tc_waiter_core_pack(next_seq, TC_WAITER_CLAIMED));
    next_seq += !TC_MODEL_EXPLORE; /* an execution must be the same when it is repeated */
    has_source = TC_WEAKEN == 0 && model_variant() == 0;
    tc_atomic_init(&cancelled, 0);
    tc_atomic_init(&handed_over, 0);
    tc_atomic_init(&resumed, 0);
    record = 0;
}

static void check(void)
{
    MODEL_CHECK(tc_load_relaxed(&resumed) == 1); /* relaxed: threads are done */
    MODEL_CHECK(tc_waiter_core_state(&word) == TC_WAITER_CLAIMED);
    MODEL_CHECK(!tc_waiter_core_claim(&word, next_seq - 1)); /* stale */
}

int main(int argc, char **argv)
{
    static const struct model model = {
        "waiter_cancel", TC_WEAKEN ? 2 : 3, setup, {parker, canceller, source}, check};

    return model_main(&model, argc, argv);
}
