/* The base of the types of native servers: what Python sees of struct tc_py_server. */
#include "python/counters.h"
#include "python/debug.h"
#include "python/gil.h"
#include "python/module.h"
#include "python/server.h"

#include "base/clock.h"

/* ---- statistics ------------------------------------------------------------------------- */

#define COUNTER(field, kind, doc) \
    TC_PY_COUNTER_OF(struct tc_server_statistics, field, field, kind, doc),

static const struct tc_py_counter server_fields[] = {
    TC_PY_SERVER_COUNTERS(COUNTER, COUNTER(requests, U64, "times a connection was served"))};

static const struct tc_py_counters server_counters = {
    .type_name = "tinycoro.ServerStatistics",
    .doc = "What a server has done since it was started.",
    .fields = server_fields,
    .count = (int)TC_ARRAY_LEN(server_fields),
};

/* ---- looking at it ---------------------------------------------------------------------- */

PyDoc_STRVAR(statistics_doc,
             "statistics($self, /)\n"
             "--\n\n"
             "Return what the server has done, as a frozen ServerStatistics: of the run that is\n"
             "on, or of the last one.\n\n"
             "Blocks: never. Thread-safety: any thread.");

static PyObject *server_statistics(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_server *self = tc_py_server_of(object);
    struct tc_py_state *state = (struct tc_py_state *)PyType_GetModuleState(Py_TYPE(self));
    struct tc_server_statistics statistics;

    if (state == NULL || tc_py_server_check(self) < 0) {
        return NULL;
    }
    tc_py_server_look(self, &statistics);
    return tc_py_counters_record(&server_counters, state->server_statistics_type, &statistics);
}

static PyObject *server_get_address(PyObject *object, void *Py_UNUSED(closure))
{
    struct tc_py_server *self = tc_py_server_of(object);
    PyObject *address;

    if (tc_py_server_check(self) < 0) {
        return NULL;
    }
    Py_BEGIN_CRITICAL_SECTION(self);
    address = Py_XNewRef(self->address);
    Py_END_CRITICAL_SECTION();
    if (address == NULL) {
        PyErr_Format(PyExc_RuntimeError, "%R has no address before it is started", self);
    }
    return address;
}

static PyObject *server_get_listening(PyObject *object, void *Py_UNUSED(closure))
{
    struct tc_py_server *self = tc_py_server_of(object);
    struct tc_server_statistics statistics;

    if (tc_py_server_check(self) < 0) {
        return NULL;
    }
    tc_py_server_look(self, &statistics);
    return PyBool_FromLong(statistics.listening);
}

static PyObject *server_get_closed(PyObject *object, void *Py_UNUSED(closure))
{
    struct tc_py_server *self = tc_py_server_of(object);

    if (tc_py_server_check(self) < 0) {
        return NULL;
    }
    return PyBool_FromLong(tc_py_server_has_started(self) && !tc_py_server_is_running(self));
}

static const char *server_state_name(struct tc_py_server *self,
                                     const struct tc_server_statistics *now)
{
    if (!tc_py_server_has_started(self)) {
        return "not started";
    }
    if (now->listening) {
        return now->paused ? "listening, paused at a limit" : "listening";
    }
    return tc_py_server_is_running(self) ? "draining" : "closed";
}

static PyObject *server_repr(PyObject *object)
{
    struct tc_py_server *self = tc_py_server_of(object);
    struct tc_server_statistics now;
    char endpoint[TC_PY_ENDPOINT_BYTES];

    if (self->generation != tc_py_process_generation()) {
        tc_py_server_wanted(self, endpoint, sizeof(endpoint));
        return PyUnicode_FromFormat("<%s %s, of the parent process>", Py_TYPE(self)->tp_name,
                                    endpoint);
    }
    tc_py_server_endpoint(self, endpoint, sizeof(endpoint));
    tc_py_server_look(self, &now);
    return PyUnicode_FromFormat("<%s %s, %s, connections=%llu accepted=%llu>",
                                Py_TYPE(self)->tp_name, endpoint, server_state_name(self, &now),
                                (unsigned long long)now.connections,
                                (unsigned long long)now.accepted);
}

/* ---- the collector ---------------------------------------------------------------------- */

int tc_py_server_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct tc_py_server *self = tc_py_server_of(object);

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->host);
    Py_VISIT(self->address);
    return 0;
}

int tc_py_server_clear(PyObject *object)
{
    struct tc_py_server *self = tc_py_server_of(object);

    Py_CLEAR(self->address); /* host stays: options.host points into it, and str has no cycles */
    return 0;
}

/* A server that is dropped while it runs is ended, not left behind. */
static void server_finalize(PyObject *object)
{
    struct tc_py_server *self = tc_py_server_of(object);
    struct tc_py_native *record;
    PyObject *error;
    bool is_closed;

    if (self->generation != tc_py_process_generation() || tc_py_process_is_exiting()) {
        return;
    }
    record = tc_py_server_hold(self);
    if (record == NULL) {
        return;
    }
    error = PyErr_GetRaisedException();
    is_closed = tc_py_native_ends_by(record->server, 0);
    if (!is_closed) {
        PyThreadState *thread;

        PyObject *place = tc_py_debug_server_text(object);

        if (PyErr_ResourceWarning(object, 1, "unclosed %R%V", object, place, "") < 0) {
            PyErr_WriteUnraisable(object);
        }
        Py_XDECREF(place);
        thread = tc_gil_release();
        tc_server_abort(record->server);
        is_closed = tc_py_native_ends_by(record->server, tc_deadline_after_ns(TC_PY_ABORT_NS));
        tc_gil_acquire(thread);
    }
    tc_py_server_release(self, record,
                         is_closed); /* one that does not end is left to the exit hook */
    PyErr_SetRaisedException(error);
}

void tc_py_server_dealloc(PyObject *object)
{
    struct tc_py_server *self = tc_py_server_of(object);
    PyTypeObject *type = Py_TYPE(object);

    if (PyObject_CallFinalizerFromDealloc(object) < 0) {
        return; /* somebody took a new reference, for instance from the warning */
    }
    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    (void)tc_py_server_clear(object); /* cannot fail */
    tc_py_debug_forget_quietly(object);
    Py_CLEAR(self->host);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- documentation ---------------------------------------------------------------------- */

PyDoc_STRVAR(start_doc,
             "start($self, /)\n"
             "--\n\n"
             "Bind, listen and start serving; clients can connect when it returns.\n\n"
             "A server that was closed and waited for can be started again; with port=0 it then\n"
             "gets another port. The first server of a process starts the workers.\n"
             "Blocks: for the time it takes to start the workers. Thread-safety: any thread.\n"
             "Raises: OSError with the address if it cannot listen; RuntimeError if it runs\n"
             "already; ValueError if workers is more than the runtime has.");

PyDoc_STRVAR(close_doc, "close($self, /)\n"
                        "--\n\n"
                        "Stop listening and begin the drain: idle connections are closed, the\n"
                        "others may finish within drain_timeout. wait() waits for that.\n\n"
                        "Blocks: never. Thread-safety: any thread; again is harmless.");

PyDoc_STRVAR(abort_doc, "abort($self, /)\n"
                        "--\n\n"
                        "Like close(), with a drain that is over at once: every connection is\n"
                        "ended.\n\n"
                        "Blocks: never. Thread-safety: any thread; again is harmless.");

PyDoc_STRVAR(wait_doc,
             "wait($self, /, timeout=None)\n"
             "--\n\n"
             "Block this thread until the server has stopped: closed and drained.\n\n"
             "Returns at once if it has stopped already. timeout is in seconds; None waits for\n"
             "ever, 0 or less only looks. Signal handlers run meanwhile. When the last server of\n"
             "the process has stopped, so have the workers.\n"
             "Blocks: yes. Thread-safety: any thread, several at once.\n"
             "Raises: TimeoutError; RuntimeError if it was never started; OSError if a worker\n"
             "failed while serving. A shortage of descriptors or memory that it survived is\n"
             "counted in statistics().shed and .errors, and not raised.");

PyDoc_STRVAR(enter_doc, "__enter__($self, /)\n"
                        "--\n\n"
                        "Start the server.");

PyDoc_STRVAR(exit_doc,
             "__exit__($self, /, exc_type, exc_value, traceback)\n"
             "--\n\n"
             "Close the server and wait for it. An exception meanwhile, such as a second\n"
             "KeyboardInterrupt, ends the drain at once.");

PyDoc_STRVAR(wait_closed_doc,
             "wait_closed($self, /)\n"
             "--\n\n"
             "Wait until the server has stopped, in a task: the awaitable form of wait().\n\n"
             "Cancelling the wait does not touch the server. Raises: as wait().");

PyDoc_STRVAR(
    serve_forever_doc,
    "serve_forever($self, /)\n"
    "--\n\n"
    "Start the server unless it runs, and wait until it has stopped, in a task.\n\n"
    "Cancelling it closes the server: the drain ends first, then CancelledError is raised;\n"
    "a second cancel ends the drain at once. Raises: as start() and wait().");

PyDoc_STRVAR(aenter_doc, "__aenter__($self, /)\n"
                         "--\n\n"
                         "Start the server.");

PyDoc_STRVAR(aexit_doc,
             "__aexit__($self, /, exc_type, exc_value, traceback)\n"
             "--\n\n"
             "Close the server and wait for it. Cancelling that ends the drain at once.");

/* ---- the type --------------------------------------------------------------------------- */

static PyMethodDef server_methods[] = {
    {"start", tc_py_server_start, METH_NOARGS, start_doc},
    {"close", tc_py_server_close, METH_NOARGS, close_doc},
    {"abort", tc_py_server_abort, METH_NOARGS, abort_doc},
    {"wait", TC_PY_KEYWORD_FUNCTION(tc_py_server_wait), METH_FASTCALL | METH_KEYWORDS, wait_doc},
    {"statistics", server_statistics, METH_NOARGS, statistics_doc},
    {"__enter__", tc_py_server_enter, METH_NOARGS, enter_doc},
    {"__exit__", TC_PY_KEYWORD_FUNCTION(tc_py_server_exit), METH_FASTCALL, exit_doc},
    {"wait_closed", tc_py_server_wait_closed, METH_NOARGS, wait_closed_doc},
    {"serve_forever", tc_py_server_serve_forever, METH_NOARGS, serve_forever_doc},
    {"__aenter__", tc_py_server_aenter, METH_NOARGS, aenter_doc},
    {"__aexit__", TC_PY_KEYWORD_FUNCTION(tc_py_server_aexit), METH_FASTCALL, aexit_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef server_getset[] = {
    {"address", server_get_address, NULL,
     PyDoc_STR("(host, port) on which it listens, or listened last; RuntimeError before start()."),
     NULL},
    {"listening", server_get_listening, NULL, PyDoc_STR("Whether clients can connect."), NULL},
    {"closed", server_get_closed, NULL,
     PyDoc_STR("Whether it was started and has stopped, its connections with it."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef server_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(struct tc_py_server, weakrefs), Py_READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(server_doc, "What the native servers have in common.");

static PyType_Slot server_slots[] = {
    {Py_tp_doc, (void *)server_doc},       {Py_tp_repr, server_repr},
    {Py_tp_methods, server_methods},       {Py_tp_getset, server_getset},
    {Py_tp_members, server_members},       {Py_tp_traverse, tc_py_server_traverse},
    {Py_tp_clear, tc_py_server_clear},     {Py_tp_finalize, server_finalize},
    {Py_tp_dealloc, tc_py_server_dealloc}, {0, NULL},
};

static PyType_Spec server_spec = {
    .name = "tinycoro._NativeServer",
    .basicsize = sizeof(struct tc_py_server),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = server_slots,
};

int tc_py_add_servers(PyObject *module)
{
    struct tc_py_state *state = tc_py_state_of(module);

    state->server_statistics_type = tc_py_counters_type(&server_counters);
    if (state->server_statistics_type == NULL ||
        PyModule_AddObjectRef(module, "ServerStatistics",
                              (PyObject *)state->server_statistics_type) < 0) {
        return -1;
    }
    state->native_server_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &server_spec, NULL);
    if (state->native_server_type == NULL ||
        PyModule_AddType(module, state->native_server_type) < 0) {
        return -1;
    }
    return tc_py_add_echo_server(module) < 0 ? -1 : tc_py_add_http_server(module);
}
