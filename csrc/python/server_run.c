/* The life of a server object: start, close, abort, wait, and `with`. */
#include "python/args.h"
#include "python/debug.h"
#include "python/errors.h"
#include "python/gil.h"
#include "python/runtime.h"
#include "python/server.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A signal that arrives just before the thread sleeps does not wake it. It is seen so much
 * later. */
#define SIGNAL_LOOK_NS (TC_NS_PER_SEC / 2)

/* ---- start ------------------------------------------------------------------------------ */

static PyObject *start_error(const struct tc_py_server *self, int error, uint32_t workers)
{
    char endpoint[TC_PY_ENDPOINT_BYTES];

    tc_py_server_wanted(self, endpoint, sizeof(endpoint));
    if (error == -ERANGE) {
        return PyErr_Format(PyExc_ValueError,
                            "workers=%u: the runtime has %u; see tinycoro.configure(workers=)",
                            (unsigned)self->options.workers, (unsigned)workers);
    }
    if (error == -ESHUTDOWN) {
        return PyErr_Format(PyExc_RuntimeError,
                            "cannot start a server on %s: the interpreter is exiting", endpoint);
    }
    return tc_py_error_os(error, "cannot listen", endpoint);
}

/* Claim the right to start. Returns 0, or -1 with RuntimeError set. */
static int server_begin_start(struct tc_py_server *self)
{
    bool may_start;

    if (tc_py_server_check(self) < 0) {
        return -1;
    }
    if (tc_py_server_is_running(self)) {
        struct tc_server_statistics statistics;

        tc_py_server_look(self, &statistics);
        PyErr_Format(PyExc_RuntimeError,
                     statistics.listening ? "%R is running already"
                                          : "%R has been closed but has not ended: wait() for it "
                                            "before you start it again",
                     self);
        return -1;
    }
    Py_BEGIN_CRITICAL_SECTION(self);
    may_start = !self->is_starting && self->native == NULL;
    if (may_start) {
        self->is_starting = true;
    }
    Py_END_CRITICAL_SECTION();
    if (!may_start) {
        PyErr_Format(PyExc_RuntimeError, "%R is being started by another thread", self);
        return -1;
    }
    return 0;
}

/* Publish the started server, or, with `record` NULL, that there is none. */
static void server_end_start(struct tc_py_server *self, struct tc_py_native *record,
                             PyObject *address)
{
    PyObject *old = NULL;

    Py_BEGIN_CRITICAL_SECTION(self);
    self->is_starting = false;
    if (record != NULL) {
        old = self->address;
        self->address = address;
        self->native = record;
        self->has_started = true;
        tc_server_address(record->server, &self->bound);
        memset(&self->last, 0, sizeof(self->last));
    }
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(old);
}

/* The (host, port) of a server, and its record's label. */
static PyObject *server_describe(const struct tc_py_server *self, struct tc_py_native *record)
{
    struct tc_addr addr;
    char text[TC_PY_ENDPOINT_BYTES];

    tc_server_address(record->server, &addr);
    (void)tc_addr_format(&addr, text, sizeof(text));
    (void)snprintf(record->label, sizeof(record->label), "%s on %s", tc_py_server_type_name(self),
                   text);
    (void)tc_addr_format_host(&addr, text, sizeof(text));
    return Py_BuildValue("(sI)", text, (unsigned)tc_addr_port(&addr));
}

PyObject *tc_py_server_start(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_server *self = tc_py_server_of(object);
    struct tc_py_native *record = NULL;
    const struct tc_py_server_kind *kind = self->kind;
    PyThreadState *thread;
    PyObject *address;
    void *subject = NULL;
    uint32_t workers = 0;
    int error;

    if (server_begin_start(self) < 0) {
        return NULL;
    }
    if ((kind->needs_loop != NULL && kind->needs_loop(self)
             ? tc_py_workers_wanted_beside_loop(&workers)
             : tc_py_workers_wanted(&workers)) < 0 ||
        (kind->prepare != NULL && (subject = kind->prepare(self)) == NULL)) {
        server_end_start(self, NULL, NULL);
        return NULL;
    }
    thread = tc_gil_release();
    error = tc_py_native_open(&kind->native, subject, &self->options, workers, &record);
    if (error == -ERANGE) {
        uint32_t running = tc_py_process_workers();

        workers = running == 0 ? workers : running;
    }
    tc_gil_acquire(thread);
    if (error < 0) {
        server_end_start(self, NULL, NULL);
        return start_error(self, error, workers);
    }
    address = server_describe(self, record);
    server_end_start(self, record, address);
    if (address == NULL) {
        return NULL; /* no memory for a tuple; the server runs, and close() and wait() work */
    }
    tc_py_debug_trace_server(object);
    Py_RETURN_NONE;
}

/* ---- close and wait --------------------------------------------------------------------- */

PyObject *tc_py_server_close(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_server *self = tc_py_server_of(object);
    struct tc_py_native *record;

    if (tc_py_server_check(self) < 0) {
        return NULL;
    }
    record = tc_py_server_hold(self);
    if (record != NULL) {
        tc_server_close(record->server);
        tc_py_server_release(self, record, false);
    }
    Py_RETURN_NONE;
}

PyObject *tc_py_server_abort(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_server *self = tc_py_server_of(object);
    struct tc_py_native *record;

    if (tc_py_server_check(self) < 0) {
        return NULL;
    }
    record = tc_py_server_hold(self);
    if (record != NULL) {
        tc_server_abort(record->server);
        tc_py_server_release(self, record, false);
    }
    Py_RETURN_NONE;
}

/* Sleep until the server is CLOSED or the deadline has passed, running Python's signal handlers
 * meanwhile. Returns 1 closed, 0 too late, -1 a handler raised. */
static int server_await(struct tc_py_native *record, int64_t deadline_ns)
{
    for (;;) {
        int64_t look = tc_deadline_after_ns(SIGNAL_LOOK_NS);
        PyThreadState *thread = tc_gil_release();
        int result = tc_server_wait(record->server, look < deadline_ns ? look : deadline_ns);

        tc_gil_acquire(thread);
        if (PyErr_CheckSignals() < 0) {
            return -1;
        }
        if (result == 0) {
            return 1;
        }
        if (result == -ETIMEDOUT && tc_clock_now_ns() >= deadline_ns) {
            return 0;
        }
    }
}

/* A limit that was met and survived: a client was shed or had to wait, and the counters say so. */
static bool is_exhaustion(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM ||
           error == -EAGAIN;
}

int tc_py_server_raise_failure(struct tc_py_server *self)
{
    struct tc_server_statistics statistics;
    char endpoint[TC_PY_ENDPOINT_BYTES];
    char attempt[64];

    tc_py_server_look(self, &statistics);
    if (statistics.last_error == 0 || is_exhaustion(statistics.last_error)) {
        return 0;
    }
    tc_py_server_endpoint(self, endpoint, sizeof(endpoint));
    (void)snprintf(attempt, sizeof(attempt), "%llu failure(s) while serving, the last",
                   (unsigned long long)statistics.errors);
    (void)tc_py_error_os(statistics.last_error, attempt, endpoint);
    return -1;
}

PyObject *tc_py_server_wait(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames)
{
    static const char *const names[] = {"timeout", NULL};
    static const struct tc_py_params params = {"wait", names, 1};
    struct tc_py_server *self = tc_py_server_of(object);
    struct tc_py_native *record;
    PyObject *b_timeout = NULL;
    int64_t timeout_ns = TC_NEVER;
    int ended;

    if (tc_py_server_check(self) < 0 || tc_py_bind(&params, args, nargs, kwnames, &b_timeout) < 0 ||
        tc_py_timeout(b_timeout, "timeout", &timeout_ns) < 0) {
        return NULL;
    }
    record = tc_py_server_hold(self);
    if (record == NULL) {
        if (!tc_py_server_has_started(self)) {
            return PyErr_Format(PyExc_RuntimeError, "%R was never started", self);
        }
        return tc_py_server_raise_failure(self) < 0 ? NULL : Py_NewRef(Py_None);
    }
    ended = server_await(record, tc_deadline_after_ns(timeout_ns));
    tc_py_server_release(self, record, ended > 0);
    if (ended < 0) {
        return NULL;
    }
    if (ended == 0) {
        return PyErr_Format(PyExc_TimeoutError, "%R has not stopped after %S seconds", self,
                            b_timeout);
    }
    return tc_py_server_raise_failure(self) < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---- with ------------------------------------------------------------------------------- */

PyObject *tc_py_server_enter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *result = tc_py_server_start(self, NULL);

    if (result == NULL) {
        return NULL;
    }
    Py_DECREF(result);
    return Py_NewRef(self);
}

PyObject *tc_py_server_exit(PyObject *object, PyObject *const *Py_UNUSED(args),
                            Py_ssize_t Py_UNUSED(nargs))
{
    struct tc_py_server *self = tc_py_server_of(object);
    struct tc_py_native *record;
    int ended;

    if (tc_py_server_check(self) < 0) {
        return NULL;
    }
    record = tc_py_server_hold(self);
    if (record == NULL) {
        Py_RETURN_NONE; /* somebody has closed it and waited for it */
    }
    tc_server_close(record->server);
    ended = server_await(record, TC_NEVER);
    if (ended < 0) {
        PyObject *error = PyErr_GetRaisedException();
        PyThreadState *thread = tc_gil_release();
        bool is_closed;

        tc_server_abort(record->server);
        is_closed = tc_py_native_ends_by(record->server, tc_deadline_after_ns(TC_PY_ABORT_NS));
        tc_gil_acquire(thread);
        tc_py_server_release(self, record, is_closed);
        PyErr_SetRaisedException(error);
        return NULL;
    }
    tc_py_server_release(self, record, true);
    return tc_py_server_raise_failure(self) < 0 ? NULL : Py_NewRef(Py_None);
}
