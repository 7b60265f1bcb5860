#include "python/blocking.h"

#include "python/gil.h"
#include "python/loop.h"

#include "base/clock.h"
#include "base/slab.h"

#include <errno.h>

/* A signal that arrives just before the thread sleeps does not wake it. It is seen so much
 * later. */
#define SIGNAL_LOOK_NS (TC_NS_PER_SEC / 2)

/* As for wakeups: type-stable, one per process. */
static struct tc_slab sleeper_slab;

int tc_py_blocking_check(struct tc_py_loop_state *state, const char *function)
{
    PyObject *loop;
    bool is_running = tc_py_loop_running() != NULL;

    if (!is_running) {
        loop = PyObject_CallNoArgs(state->get_running_loop);
        if (loop == NULL) {
            return -1;
        }
        is_running = loop != Py_None;
        Py_DECREF(loop);
    }
    if (is_running) {
        PyErr_Format(PyExc_RuntimeError,
                     "%s() would block the event loop that runs on this thread; await the method "
                     "without _blocking",
                     function);
    }
    return is_running ? -1 : 0;
}

/* ---- sleepers --------------------------------------------------------------------------- */

static void sleeper_claimed(struct tc_waiter *waiter, struct tc_worker *worker)
{
    struct tc_py_sleeper *sleeper = tc_container_of(waiter, struct tc_py_sleeper, waiter);

    (void)worker;
    tc_parker_unpark(&sleeper->parker);
}

static void sleeper_construct(void *object)
{
    struct tc_py_sleeper *sleeper = object;

    tc_waiter_core_init(&sleeper->waiter.word);
    sleeper->waiter.kind = TC_WAITER_CALLBACK;
    sleeper->waiter.callback = sleeper_claimed;
    tc_parker_init(&sleeper->parker);
}

void tc_py_blocking_setup(void)
{
    void *first;

    if (sleeper_slab.name != NULL) {
        return;
    }
    tc_slab_init(&sleeper_slab, "python sleepers", sizeof(struct tc_py_sleeper),
                 _Alignof(struct tc_py_sleeper), sleeper_construct);
    first = tc_slab_alloc(&sleeper_slab); /* as for wakeups */
    if (first != NULL) {
        tc_slab_free(&sleeper_slab, first);
    }
}

struct tc_py_sleeper *tc_py_sleeper_new(void)
{
    struct tc_py_sleeper *sleeper = tc_slab_alloc(&sleeper_slab);

    if (sleeper == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    sleeper->waiter.result = 0;
    return sleeper;
}

void tc_py_sleeper_free(struct tc_py_sleeper *sleeper)
{
    tc_slab_free(&sleeper_slab, sleeper);
}

int tc_py_sleeper_wait(struct tc_py_sleeper *sleeper, int64_t deadline_ns)
{
    uint32_t generation = tc_py_process_generation();

    for (;;) {
        int64_t look = tc_deadline_after_ns(SIGNAL_LOOK_NS);
        PyThreadState *thread = tc_gil_release();
        int result = tc_parker_park(&sleeper->parker, look < deadline_ns ? look : deadline_ns);

        tc_gil_acquire(thread);
        if (result == 0) {
            return 1;
        }
        if (PyErr_CheckSignals() < 0) {
            return -1;
        }
        if ((result == -ETIMEDOUT && tc_clock_now_ns() >= deadline_ns) ||
            generation != tc_py_process_generation()) {
            return 0;
        }
    }
}

void tc_py_sleeper_finish(struct tc_py_sleeper *sleeper)
{
    PyThreadState *thread = tc_gil_release();

    while (tc_parker_park(&sleeper->parker, TC_NEVER) != 0) { /* a signal: it will come */
    }
    tc_gil_acquire(thread);
}

/* ---- one channel ------------------------------------------------------------------------ */

static void set_timeout(struct tc_py_channel *channel, const char *what)
{
    PyErr_Format(PyExc_TimeoutError, "%s %R within the timeout", what, channel);
}

/* Wait in the channel, whose queue the sleeper stands in. Returns true if the wait ended there;
 * false with an exception set if it was withdrawn. */
static bool sleep_in(struct tc_py_channel *channel, struct tc_py_sleeper *sleeper,
                     int64_t deadline_ns, const char *what)
{
    int ended = tc_py_sleeper_wait(sleeper, deadline_ns);

    if (ended > 0) {
        return true;
    }
    if (tc_py_channel_is_lost(channel)) {
        if (ended == 0) { /* a handler has forked, and we are the child: nobody will come */
            tc_py_channel_set_closed(channel, -1);
        }
        return false;
    }
    if (tc_channel_withdraw(channel->channel, &sleeper->node)) {
        if (ended == 0) {
            set_timeout(channel, what);
        }
        return false;
    }
    tc_py_sleeper_finish(sleeper);
    return true;
}

/* The rest of a send that found no room. Returns 0, -EPIPE, or -ECANCELED with an exception set;
 * *value is the caller's again unless 0. */
static int send_slow(struct tc_py_channel *channel, struct tc_value *value, int64_t timeout_ns)
{
    int64_t deadline_ns = tc_deadline_after_ns(timeout_ns);
    struct tc_py_sleeper *sleeper = tc_py_sleeper_new();
    int result;

    if (sleeper == NULL) {
        return -ECANCELED;
    }
    result = tc_channel_send_start(channel->channel, *value, &sleeper->node, &sleeper->waiter);
    if (result == -EINPROGRESS) {
        result = sleep_in(channel, sleeper, deadline_ns, "could not send to") ? sleeper->node.result
                                                                              : -ECANCELED;
    }
    tc_py_sleeper_free(sleeper);
    return result;
}

PyObject *tc_py_blocking_send(struct tc_py_channel *channel, struct tc_value value,
                              int64_t timeout_ns)
{
    int result = -EPIPE;

    if (!tc_py_channel_is_lost(channel)) {
        tc_py_channel_approach(channel);
        result = tc_channel_try_send(channel->channel, value);
        if (result == -EAGAIN && timeout_ns > 0) {
            result = send_slow(channel, &value, timeout_ns);
        }
    }
    if (result == 0) { /* it has moved, whatever a signal handler raised */
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    if (result == -EAGAIN) {
        set_timeout(channel, "could not send to");
    } else if (result == -EPIPE && !PyErr_Occurred()) {
        tc_py_channel_set_closed(channel, -1);
    }
    tc_py_item_clear(&value);
    return NULL;
}

/* The rest of a receive that found nothing. Results as send_slow's. */
static int recv_slow(struct tc_py_channel *channel, struct tc_value *value, int64_t timeout_ns)
{
    int64_t deadline_ns = tc_deadline_after_ns(timeout_ns);
    struct tc_py_sleeper *sleeper = tc_py_sleeper_new();
    int result;

    if (sleeper == NULL) {
        return -ECANCELED;
    }
    result = tc_channel_recv_start(channel->channel, value, &sleeper->node, &sleeper->waiter);
    if (result == -EINPROGRESS) {
        result = -ECANCELED;
        if (sleep_in(channel, sleeper, deadline_ns, "received nothing from")) {
            result = sleeper->node.result;
            *value = sleeper->node.value;
        }
    }
    tc_py_sleeper_free(sleeper);
    return result;
}

PyObject *tc_py_blocking_recv(struct tc_py_channel *channel, int64_t timeout_ns)
{
    struct tc_value value = tc_value_none();
    int result = -EPIPE;

    if (!tc_py_channel_is_lost(channel)) {
        tc_py_channel_approach(channel);
        result = tc_channel_try_recv(channel->channel, &value);
        if (result == -EAGAIN && timeout_ns > 0) {
            result = recv_slow(channel, &value, timeout_ns);
        }
    }
    if (result == 0 && !PyErr_Occurred()) {
        return tc_py_item_decode(value);
    }
    if (result == 0) {
        tc_py_item_clear(&value); /* a signal handler has raised: see the header */
    } else if (result == -EAGAIN) {
        set_timeout(channel, "received nothing from");
    } else if (result == -EPIPE && !PyErr_Occurred()) {
        tc_py_channel_set_closed(channel, -1);
    }
    return NULL;
}
