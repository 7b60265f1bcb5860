/* tests/model/readiness.c — an owner waits for an edge; a source delivers one; a timer ends the
 * wait on its own account at any moment. The owner then waits again, with the next sequence.
 *
 * Checked: a source that meets a waiter reads the fields of the wait that was installed; the edge
 * is not consumed by the dead wait: afterwards it was either used by the owner or is still READY;
 * what the source wrote before the edge is visible to who consumes it.
 *
 * Shapes: message passing ([readiness-wait], [readiness-ready]); reuse of plain fields
 * ([readiness-unlock]).
 * TC_WEAKEN: a source that meets a waiter leaves IDLE behind: the edge goes with the waiter, dead
 * or alive. Visible everywhere. (With a relaxed CAS in park instead, TSan reports the fields.)
 */
#include "base/atomic.h"
#include "sched/readiness_core.h"
#include "sched/waiter_core.h"

#include "model.h"

enum { WAITS = TC_WEAKEN ? 1 : 2 }; /* a second wait for a lost edge would not end */

struct tc_waiter {
    struct tc_waiter_word word;
};

static struct tc_readiness readiness;
static struct tc_waiter waiter;
static _Atomic uint64_t timer_seq;  /* wait that the timer was armed for; 0: none */
static _Atomic uint64_t woken_seq;  /* wait that was claimed, as ready() would tell the owner */
static int latched;                 /* plain: written by the source before its edge */
static bool edge_used;              /* owner only */

static void ready(uint64_t seq)
{
    tc_store_release(&woken_seq, seq); /* release: stands for the run queue */
}

/* One wait: returns once somebody claimed it, or at once on an edge. */
static void wait_once(void)
{
    uint64_t seq = tc_waiter_core_begin(&waiter.word);
    unsigned spins = 0;

    tc_waiter_core_arm(&waiter.word, seq);
    tc_store_release(&timer_seq, seq); /* release: stands for the timer heap */
    if (!tc_readiness_park(&readiness, &waiter, seq)) {
        if (tc_waiter_core_claim(&waiter.word, seq)) {
            return;
        }
    }
    while (tc_load_acquire(&woken_seq) != seq) { /* acquire: stands for the run queue */
        model_await(&spins);
    }
}

static void owner(void)
{
    for (int i = 0; i < WAITS && !edge_used; i++) {
        wait_once();
        tc_readiness_withdraw(&readiness, &waiter);
        if (tc_readiness_is_ready(&readiness) && tc_readiness_consume(&readiness)) {
            MODEL_CHECK(latched == 1);
            edge_used = true;
        }
    }
}

static void source(void)
{
    struct tc_waiter *found;
    uint64_t seq;

    latched = 1;
    if (tc_readiness_notify(&readiness, &found, &seq)) {
        bool won = tc_waiter_core_claim(&found->word, seq);

        tc_readiness_unlock(&readiness);
        if (TC_WEAKEN) {
            tc_store_release(&readiness.state, TC_READINESS_IDLE);
        }
        if (won) {
            ready(seq);
        }
    }
}

/* May end one wait or two, or come too early. The source's edge ends what is left. */
static void timer(void)
{
    uint64_t ended = 0;

    for (int i = 0; i < 2; i++) {
        uint64_t seq = tc_load_acquire(&timer_seq); /* acquire: stands for the timer heap */

        if (seq != 0 && seq != ended && tc_waiter_core_claim(&waiter.word, seq)) {
            ready(seq);
        }
        ended = seq;
    }
}

static void setup(void)
{
    tc_readiness_init(&readiness, false);
    tc_waiter_core_init(&waiter.word);
    tc_atomic_init(&timer_seq, 0);
    tc_atomic_init(&woken_seq, 0);
    latched = 0;
    edge_used = false;
}

static void check(void)
{
    MODEL_CHECK(edge_used || tc_readiness_is_ready(&readiness));
}

int main(int argc, char **argv)
{
    static const struct model model = {"readiness", 3, setup, {owner, source, timer}, check};

    return model_main(&model, argc, argv);
}
