/* call_soon, call_later and their like. */
#include "python/loop_calls.h"

#include "python/errors.h"
#include "python/handle.h"
#include "python/loop.h"
#include "python/process.h"

#include "base/mem.h"

#include <math.h>

static struct tc_py_loop *loop_of(PyObject *self)
{
    return (struct tc_py_loop *)self;
}

/* ---- arguments -------------------------------------------------------------------------- */

/* Take `context=` out of the keyword arguments of call_soon and its like. */
static int bind_context(const char *function, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *names, PyObject **b_context)
{
    Py_ssize_t count = names == NULL ? 0 : PyTuple_GET_SIZE(names);

    *b_context = NULL;
    if (count == 0) {
        return 0;
    }
    if (count > 1 || PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "context") != 0) {
        PyErr_Format(PyExc_TypeError, "%s() takes no keyword argument but context", function);
        return -1;
    }
    *b_context = args[nargs];
    return 0;
}

/* Refuse what is no callback. */
static int check_callback(const char *function, PyObject *b_callback)
{
    if (PyCoro_CheckExact(b_callback)) {
        PyErr_Format(PyExc_TypeError, "coroutines cannot be used with %s()", function);
        return -1;
    }
    if (!PyCallable_Check(b_callback)) {
        PyErr_Format(PyExc_TypeError, "a callable object was expected by %s(), got %R", function,
                     b_callback);
        return -1;
    }
    return 0;
}

/* What call_soon and call_soon_threadsafe share: a handle for args[0](*args[1:]). */
static struct tc_py_handle *soon_handle(struct tc_py_loop *loop, const char *function,
                                        PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    PyObject *b_context;

    if (nargs < 1) {
        return (struct tc_py_handle *)PyErr_Format(PyExc_TypeError, "%s() needs a callback",
                                                   function);
    }
    if (tc_py_loop_check_open(loop) < 0 ||
        bind_context(function, args, nargs, names, &b_context) < 0 ||
        check_callback(function, args[0]) < 0) {
        return NULL;
    }
    return tc_py_handle_new(loop, loop->state->handle_type, args[0], args + 1, nargs - 1,
                            b_context);
}

PyObject *tc_py_loop_call_soon(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *names)
{
    struct tc_py_loop *loop = loop_of(self);
    struct tc_py_handle *handle;

    if (tc_py_loop_check(loop, "Loop.call_soon()") < 0) {
        return NULL;
    }
    handle = soon_handle(loop, "call_soon", args, nargs, names);
    if (handle != NULL) {
        tc_py_loop_ready(loop, &handle->node);
    }
    return (PyObject *)handle;
}

struct call_message {
    struct tc_py_message message;
    struct tc_py_handle *handle; /* owned */
};

static void call_deliver(struct tc_py_message *message, struct tc_py_loop *loop)
{
    struct call_message *call = tc_container_of(message, struct call_message, message);

    if (loop != NULL) {
        tc_py_loop_ready(loop, &call->handle->node);
    }
    Py_DECREF(call->handle);
    tc_mem_free(call, sizeof(*call));
}

/* Post a handle to the loop. Returns 0, or -1 with an exception set. */
static int post_handle(struct tc_py_loop *loop, struct tc_py_handle *handle)
{
    struct tc_py_mailbox *mailbox = tc_py_loop_mailbox(loop);
    struct call_message *call;

    if (mailbox == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return -1;
    }
    call = tc_mem_alloc(sizeof(*call));
    if (call == NULL) {
        PyErr_NoMemory();
    } else {
        call->message.deliver = call_deliver;
        call->handle = (struct tc_py_handle *)Py_NewRef(handle);
        tc_py_mailbox_post_attached(mailbox, &call->message);
    }
    tc_py_mailbox_release(mailbox);
    return call == NULL ? -1 : 0;
}

PyObject *tc_py_loop_call_soon_threadsafe(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                          PyObject *names)
{
    struct tc_py_loop *loop = loop_of(self);
    struct tc_py_handle *handle;

    if (loop->generation != tc_py_process_generation()) {
        return tc_py_error_forked("event loop");
    }
    handle = soon_handle(loop, "call_soon_threadsafe", args, nargs, names);
    if (handle == NULL) {
        return NULL;
    }
    if (tc_py_loop_running() == loop && loop->mailbox != NULL) {
        tc_py_loop_ready(loop, &handle->node);
        /* From a signal handler the loop may be about to sleep: then the look must not. */
        tc_py_mailbox_interrupt(loop->mailbox);
    } else if (post_handle(loop, handle) < 0) {
        Py_CLEAR(handle);
    }
    return (PyObject *)handle;
}

/* The number of seconds args[0], not NaN. Returns 0, or -1 with an exception set. */
static int bind_seconds(const char *function, PyObject *const *args, Py_ssize_t nargs, double *out)
{
    if (nargs < 2) {
        PyErr_Format(PyExc_TypeError, "%s() needs a time and a callback", function);
        return -1;
    }
    *out = PyFloat_AsDouble(args[0]);
    if (*out == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (isnan(*out)) {
        PyErr_Format(PyExc_ValueError, "%s(): the time must not be NaN", function);
        return -1;
    }
    return check_callback(function, args[1]);
}

static PyObject *call_at(struct tc_py_loop *loop, const char *function, double base,
                         PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    struct tc_py_handle *handle;
    PyObject *b_context;
    double seconds = 0;

    if (tc_py_loop_check_open(loop) < 0 || bind_seconds(function, args, nargs, &seconds) < 0 ||
        bind_context(function, args, nargs, names, &b_context) < 0) {
        return NULL;
    }
    handle = tc_py_handle_new(loop, loop->state->timer_handle_type, args[1], args + 2, nargs - 2,
                              b_context);
    if (handle == NULL) {
        return NULL;
    }
    handle->when = base + seconds;
    if (tc_py_handle_arm(handle) < 0) {
        Py_CLEAR(handle);
    }
    return (PyObject *)handle;
}

static double time_now(struct tc_py_loop *loop)
{
    return (double)tc_py_loop_now_ns(loop) / (double)TC_NS_PER_SEC;
}

PyObject *tc_py_loop_call_later(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *names)
{
    if (tc_py_loop_check(loop_of(self), "Loop.call_later()") < 0) {
        return NULL;
    }
    return call_at(loop_of(self), "call_later", time_now(loop_of(self)), args, nargs, names);
}

PyObject *tc_py_loop_call_at(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *names)
{
    if (tc_py_loop_check(loop_of(self), "Loop.call_at()") < 0) {
        return NULL;
    }
    return call_at(loop_of(self), "call_at", 0, args, nargs, names);
}

PyObject *tc_py_loop_time(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyFloat_FromDouble(time_now(loop_of(self)));
}
