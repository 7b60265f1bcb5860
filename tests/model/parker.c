/* tests/model/parker.c — the owner holds an old token; a waker writes data and unparks. Either the
 * owner sees the data after its first park, or a token is left for its second park, which then
 * really sleeps until the wake hook was called.
 *
 * Shape: store buffering ([parker-token]): the waker writes data and meets the old token while the
 * owner takes that token and looks for data.
 * TC_WEAKEN: unpark looks first and skips the swap when a token is there. Visible on x86-64: the
 * data is still in the waker's store buffer when it reads the word.
 */
#include "base/atomic.h"
#include "base/parker_core.h"

#include "model.h"

static struct tc_parker_core parker;
static _Atomic int data;
static _Atomic bool woken;
static bool data_seen; /* owner only */

static int block(_Atomic uint32_t *state, int64_t deadline_ns, void *arg)
{
    unsigned spins = 0;

    (void)state;
    (void)deadline_ns;
    (void)arg;
    while (!tc_load_acquire(&woken)) { /* acquire: stands for the kernel's wake */
        model_await(&spins);
    }
    return 0;
}

static void wake(_Atomic uint32_t *state, void *arg)
{
    (void)state;
    (void)arg;
    tc_store_release(&woken, true); /* release: stands for the kernel's wake */
}

static void unpark(void)
{
    if (TC_WEAKEN && tc_load_relaxed(&parker.state) == TC_PARKER_NOTIFIED) {
        return;
    }
    tc_parker_core_unpark(&parker, wake, NULL);
}

static void owner(void)
{
    MODEL_CHECK(tc_parker_core_park(&parker, 0, block, NULL) == 0); /* the old token */
    data_seen = tc_load_relaxed(&data) == 1; /* relaxed: the parker must order it */
    if (!data_seen && !TC_WEAKEN) {
        MODEL_CHECK(tc_parker_core_park(&parker, 0, block, NULL) == 0);
        MODEL_CHECK(tc_load_relaxed(&data) == 1); /* relaxed: as above */
        data_seen = true;
    }
}

static void waker(void)
{
    tc_store_relaxed(&data, 1); /* relaxed: the parker must order it */
    unpark();
}

static void setup(void)
{
    tc_atomic_init(&parker.state, TC_PARKER_NOTIFIED);
    tc_atomic_init(&data, 0);
    tc_atomic_init(&woken, false);
    data_seen = false;
}

static void check(void)
{
    /* relaxed: threads are done. The weakened program stops here instead of sleeping for ever. */
    MODEL_CHECK(data_seen || tc_load_relaxed(&parker.state) == TC_PARKER_NOTIFIED);
}

int main(int argc, char **argv)
{
    static const struct model model = {"parker", 2, setup, {owner, waker, NULL}, check};

    return model_main(&model, argc, argv);
}
