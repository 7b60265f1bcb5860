/* The type EchoServer. */
#include "python/args.h"
#include "python/module.h"
#include "python/server.h"

#include "net/echo.h"

static int echo_start(void *subject, struct tc_runtime *runtime,
                      const struct tc_server_options *options, struct tc_server **out)
{
    (void)subject; /* there is none */
    return tc_server_start(runtime, &tc_echo_protocol, options, out);
}

static void echo_free(void *subject, struct tc_server *server)
{
    (void)subject;
    if (server != NULL) {
        tc_server_free(server);
    }
}

static const struct tc_py_server_kind echo_kind = {
    .native = {.start = echo_start, .free = echo_free},
    .prepare = NULL,
    .needs_loop = NULL,
    .keep_last = NULL,
};

static PyObject *echo_server_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {
        "host",    "port",       "workers", "max_connections", "idle_timeout", "drain_timeout",
        "backlog", "reuse_port", NULL};
    struct tc_py_server_args b_args = {NULL};
    struct tc_py_server *self;
    PyObject *b_idle_timeout = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO$OOOOOO:EchoServer", names, &b_args.host,
                                     &b_args.port, &b_args.workers, &b_args.max_connections,
                                     &b_idle_timeout, &b_args.drain_timeout, &b_args.backlog,
                                     &b_args.reuse_port)) {
        return NULL;
    }
    self = tc_py_server_new(type, &echo_kind, &b_args);
    if (self == NULL) {
        return NULL;
    }
    self->options.idle_timeout_ns = TC_NEVER;
    if (tc_py_seconds(b_idle_timeout, "idle_timeout", true, &self->options.idle_timeout_ns) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

PyDoc_STRVAR(
    echo_server_doc,
    "EchoServer(host='127.0.0.1', port=0, *, workers=None, max_connections=None,\n"
    "           idle_timeout=None, drain_timeout=30, backlog=None, reuse_port=False)\n"
    "--\n\n"
    "A TCP server that sends back what it receives, served by native threads.\n\n"
    "host is a numeric address or 'localhost'; port 0 takes any free port (see address).\n"
    "workers says to how many of the runtime's workers connections are dealt (None: all).\n"
    "max_connections limits this server (None: as many as leave all servers of the process\n"
    "together within 0.8 of the descriptor limit). idle_timeout closes a connection so many seconds after\n"
    "its last byte in or out; drain_timeout is what connections that are being served get after\n"
    "close(); both are seconds, None means no limit. backlog is the length of the kernel's\n"
    "queue (None: 4096 or the system's limit). reuse_port lets several processes listen on one\n"
    "port.\n\n"
    "with EchoServer() as server: starts it, and closes and waits at the end; in a task, async\n"
    "with, serve_forever() and wait_closed() do. A server that is\n"
    "dropped while it runs is ended with a ResourceWarning.\n"
    "Thread-safety: every method from any thread. After fork() the child must make its own.\n"
    "Raises: TypeError and ValueError, naming the parameter and its limits.");

static PyType_Slot echo_server_slots[] = {
    {Py_tp_doc, (void *)echo_server_doc},    {Py_tp_new, echo_server_new},
    {Py_tp_traverse, tc_py_server_traverse}, {Py_tp_clear, tc_py_server_clear},
    {Py_tp_dealloc, tc_py_server_dealloc},   {0, NULL},
};

static PyType_Spec echo_server_spec = {
    .name = "tinycoro.EchoServer",
    .basicsize = sizeof(struct tc_py_server),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = echo_server_slots,
};

int tc_py_add_echo_server(PyObject *module)
{
    struct tc_py_state *state = tc_py_state_of(module);

    state->echo_server_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &echo_server_spec,
                                                 (PyObject *)state->native_server_type);
    return state->echo_server_type == NULL ? -1 : PyModule_AddType(module, state->echo_server_type);
}
