/* tests/model/timer_handoff.c — the owner fires a timer while another thread cancels it
 * (io/timer.c, T3): the arm is ended by one of them, and the canceller never touches what the owner
 * has recycled.
 *
 * The program repeats the three steps of io/timer.c over one node: end_arm, the canceller's use of
 * the heap that it read from the node, the owner's recycling (queued_in is NULL then). It stands
 * for the header that timer.c has not, because the protocol is one CAS.
 *
 * Shape: load buffering ([timer-stale]: the canceller's read of queued_in, then its CAS; the
 * owner's read of the odd sequence, then its store of queued_in).
 * TC_WEAKEN: all relaxed, and the canceller reads the node after its CAS, which is what the release
 * forbids. Visible on x86-64: it finds NULL.
 */
#include "base/atomic.h"

#include "model.h"

struct heap {
    _Atomic int32_t stale;
};

static struct heap home;
static _Atomic(struct heap *) queued_in;
static _Atomic uint64_t sequence;
static bool fired; /* by the owner */
static bool dropped; /* by the owner */
static bool cancelled; /* by the canceller */

static bool end_arm(uint64_t step)
{
    uint64_t seq = 0;

    if (TC_WEAKEN) {
        return tc_cas_relaxed(&sequence, &seq, seq + step);
    }
    return tc_cas_release(&sequence, &seq, seq + step); /* release [timer-stale]: as timer.c */
}

static void canceller(void)
{
    struct heap *heap = tc_load_relaxed(&queued_in); /* relaxed: as timer.c */

    if (end_arm(1)) {
        if (TC_WEAKEN) {
            sched_yield(); /* gives the owner time; no step of the protocol */
            heap = tc_load_relaxed(&queued_in); /* relaxed: where the weak order lets it sink */
        }
        MODEL_CHECK(heap == &home);
        tc_fetch_add_relaxed(&heap->stale, 1); /* relaxed: a count */
        cancelled = true;
    }
}

static void owner(void)
{
    if (end_arm(2)) {
        fired = true;
    } else {
        MODEL_CHECK((tc_load_acquire(&sequence) & 1) != 0); /* acquire [timer-stale]: as timer.c */
        tc_store_relaxed(&sequence, 2); /* relaxed: as drop_stale */
        tc_fetch_sub_relaxed(&home.stale, 1); /* relaxed: a count; may come before its increment */
        dropped = true;
    }
    tc_store_relaxed(&queued_in, NULL); /* relaxed: as retire */
}

static void setup(void)
{
    tc_atomic_init(&home.stale, 0);
    tc_atomic_init(&queued_in, &home);
    tc_atomic_init(&sequence, 0);
    fired = dropped = cancelled = false;
}

static void check(void)
{
    MODEL_CHECK(fired != cancelled);
    MODEL_CHECK(dropped == cancelled);
    MODEL_CHECK(tc_load_relaxed(&sequence) == 2); /* relaxed: threads are done */
    MODEL_CHECK(tc_load_relaxed(&home.stale) == 0); /* relaxed: as above */
}

int main(int argc, char **argv)
{
    static const struct model model = {"timer_handoff", 2, setup, {owner, canceller}, check};

    return model_main(&model, argc, argv);
}
