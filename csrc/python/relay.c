/* _testing.relay: a C fiber that receives from one channel and sends to another. */
#include "python/args.h"
#include "python/channel.h"
#include "python/errors.h"
#include "python/gil.h"
#include "python/module.h"
#include "python/process.h"
#include "python/runtime.h"

#include "base/clock.h"
#include "base/mem.h"
#include "sched/fiber.h"

#include <errno.h>

struct relay {
    PyObject_HEAD struct tc_fiber *fiber; /* joinable, or NULL                                   */
    uint32_t generation; /* of forks, when it was made                          */
};

/* What the fiber needs: owned by it. */
struct relay_ends {
    struct tc_channel *from; /* one reference each                                              */
    struct tc_channel *to;
};

static void relay_main(void *arg)
{
    struct relay_ends *ends = arg;
    struct tc_value value;
    int result = 0;

    while (result == 0 && tc_channel_recv(ends->from, &value, TC_NEVER) == 0) {
        result = tc_channel_send(ends->to, value, TC_NEVER);
        if (result != 0) {
            tc_value_release(value, NULL);
        }
    }
    (void)tc_channel_close(ends->to);
    tc_channel_release(ends->from);
    tc_channel_release(ends->to);
    tc_mem_free(ends, sizeof(*ends));
}

/* ---- the object ------------------------------------------------------------------------- */

/* Wait for the fiber and give the runtime back. Returns 0, -ETIMEDOUT, -EINTR. */
static int relay_join(struct relay *self, int64_t deadline_ns)
{
    struct tc_fiber *fiber = self->fiber;
    PyThreadState *thread;
    int result;

    if (fiber == NULL || self->generation != tc_py_process_generation()) {
        return 0;
    }
    thread = tc_gil_release();
    result = tc_fiber_join(fiber, deadline_ns);
    if (result == 0) {
        tc_py_process_let_go();
    }
    tc_gil_acquire(thread);
    if (result == 0) {
        self->fiber = NULL;
    }
    return result;
}

PyDoc_STRVAR(wait_doc, "wait($self, /, timeout=None)\n--\n\n"
                       "Block until the fiber has ended: one of its channels was closed.");

static PyObject *relay_wait(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *names)
{
    static const char *const parameters[] = {"timeout", NULL};
    static const struct tc_py_params params = {"wait", parameters, 1};
    PyObject *b_timeout = NULL;
    int64_t timeout_ns = TC_NEVER;
    int64_t deadline_ns;
    int result;

    if (tc_py_bind(&params, args, nargs, names, &b_timeout) < 0 ||
        tc_py_timeout(b_timeout, "timeout", &timeout_ns) < 0) {
        return NULL;
    }
    deadline_ns = tc_deadline_after_ns(timeout_ns);
    do {
        result = relay_join((struct relay *)object, deadline_ns);
        if (result == -EINTR && PyErr_CheckSignals() < 0) {
            return NULL;
        }
    } while (result == -EINTR);
    if (result == -ETIMEDOUT) {
        return PyErr_Format(PyExc_TimeoutError, "the relay still runs");
    }
    Py_RETURN_NONE;
}

/* One that nobody waited for ends now. */
static void relay_dealloc(PyObject *object)
{
    struct relay *self = (struct relay *)object;
    PyTypeObject *type = Py_TYPE(object);

    if (self->fiber != NULL && self->generation == tc_py_process_generation() &&
        !tc_py_process_is_exiting()) {
        tc_fiber_cancel(self->fiber);
        while (relay_join(self, TC_NEVER) == -EINTR) { /* its parks return at once now */
        }
    }
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef relay_methods[] = {
    {"wait", TC_PY_KEYWORD_FUNCTION(relay_wait), METH_FASTCALL | METH_KEYWORDS, wait_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot relay_slots[] = {
    {Py_tp_dealloc, relay_dealloc},
    {Py_tp_methods, relay_methods},
    {0, NULL},
};

static PyType_Spec relay_spec = {
    .name = "tinycoro._Relay",
    .basicsize = sizeof(struct relay),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = relay_slots,
};

/* ---- the function ----------------------------------------------------------------------- */

/* Hold the runtime and start the fiber; detached. Returns 0 or -errno; then `ends` is the
 * caller's. */
static int relay_begin(struct relay *self, struct relay_ends *ends, uint32_t workers)
{
    struct tc_spawn_options options = {.name = "relay", .site = "python/relay.c"};
    struct tc_runtime *runtime = NULL;
    int error = tc_py_process_hold(workers, &runtime);

    if (error < 0) {
        return error;
    }
    error = tc_fiber_spawn(runtime, relay_main, ends, &options, &self->fiber);
    if (error < 0) {
        tc_py_process_let_go();
    }
    return error;
}

/* The channel of an argument, with a reference for a fiber; NULL with an exception set. */
static struct tc_channel *shared_channel(struct tc_py_loop_state *state, PyObject *b_object)
{
    struct tc_py_channel *channel = tc_py_channel_cast(state, b_object);

    if (channel == NULL) {
        return NULL;
    }
    if (channel->items == TC_PY_ITEMS_OBJECT) {
        PyErr_Format(PyExc_TypeError,
                     "%R holds Python objects, which C fibers cannot touch; make it with "
                     "items=bytes, int or float",
                     b_object);
        return NULL;
    }
    if (tc_py_channel_is_lost(channel)) {
        return (struct tc_channel *)tc_py_error_forked("channel");
    }
    return tc_channel_acquire(channel->channel);
}

PyDoc_STRVAR(relay_doc, "relay($module, a, b, /)\n--\n\n"
                        "Start a C fiber that moves items from `a` to `b` until `a` is closed and\n"
                        "drained; then it closes `b`. Both are channels of bytes, int or float.");

static PyObject *start_relay(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    struct tc_py_state *state = tc_py_state_of(module);
    struct relay_ends *ends;
    struct relay *self;
    PyThreadState *thread;
    uint32_t workers = 0;
    int error;

    if (nargs != 2) {
        return PyErr_Format(PyExc_TypeError, "relay() takes two channels");
    }
    if (tc_py_workers_wanted(&workers) < 0) {
        return NULL;
    }
    self = (struct relay *)state->relay_type->tp_alloc(state->relay_type, 0);
    ends = self == NULL ? NULL : tc_mem_zalloc(sizeof(*ends));
    if (ends == NULL) {
        Py_XDECREF(self);
        return PyErr_NoMemory();
    }
    self->generation = tc_py_process_generation();
    ends->from = shared_channel(&state->loop, args[0]);
    ends->to = ends->from == NULL ? NULL : shared_channel(&state->loop, args[1]);
    if (ends->to != NULL) {
        thread = tc_gil_release();
        error = relay_begin(self, ends, workers);
        tc_gil_acquire(thread);
        if (error == 0) {
            return (PyObject *)self;
        }
        (void)tc_py_error_os(error, "cannot start a relay", "fiber");
    }
    tc_channel_release(ends->from);
    tc_channel_release(ends->to);
    tc_mem_free(ends, sizeof(*ends));
    Py_DECREF(self);
    return NULL;
}

static PyMethodDef relay_def = {"relay", TC_PY_KEYWORD_FUNCTION(start_relay), METH_FASTCALL,
                                relay_doc};

int tc_py_add_relay(PyObject *module)
{
    struct tc_py_state *state = tc_py_state_of(module);
    PyObject *testing = PyModule_New("tinycoro._core._testing");
    PyObject *function = PyCFunction_New(&relay_def, module);
    int result = -1;

    state->relay_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &relay_spec, NULL);
    if (testing != NULL && function != NULL && state->relay_type != NULL &&
        PyModule_AddObjectRef(testing, "relay", function) == 0) {
        result = PyModule_AddObjectRef(module, "_testing", testing);
    }
    Py_XDECREF(testing);
    Py_XDECREF(function);
    return result;
}
