/* Accepting connections of a loop, and the base of tinycoro.Server. */
#include "python/stream_server.h"

#include "python/errors.h"
#include "python/reader.h"
#include "python/stream.h"
#include "python/task.h"
#include "python/writer.h"

#include "base/sys.h"

#include <errno.h>
#include <string.h>

static struct tc_py_stream_server *server_of(PyObject *self)
{
    return (struct tc_py_stream_server *)self;
}

/* ---- listeners -------------------------------------------------------------------------- */

static void listener_stop(struct tc_py_listener *self)
{
    if (tc_list_is_empty(&self->in_loop)) {
        return;
    }
    tc_py_descriptor_remove(self->loop, &self->descriptor);
    tc_py_loop_disarm(self->loop, &self->rest);
    tc_list_remove(&self->in_server);
    tc_list_remove(&self->in_loop);
    Py_DECREF(self); /* SS1 */
}

static void listener_event(struct tc_py_descriptor *descriptor, struct tc_py_loop *loop,
                           uint32_t bits)
{
    struct tc_py_listener *self = tc_container_of(descriptor, struct tc_py_listener, descriptor);

    (void)bits;
    if (!self->is_queued) {
        self->is_queued = true;
        tc_py_loop_ready(loop, &self->node);
    }
}

/* The child of a fork shares the listening socket with its parent: give up our copy. */
static void listener_forget(struct tc_py_descriptor *descriptor)
{
    struct tc_py_listener *self = tc_container_of(descriptor, struct tc_py_listener, descriptor);
    PyObject *result = PyObject_CallMethod(self->socket, "close", NULL);

    if (result == NULL) {
        PyErr_WriteUnraisable(self->socket);
    }
    Py_XDECREF(result);
}

/* The user has closed the listening socket, and its number is wanted. */
static void listener_make_way(struct tc_py_descriptor *descriptor, struct tc_py_loop *loop)
{
    struct tc_py_listener *self = tc_container_of(descriptor, struct tc_py_listener, descriptor);

    Py_INCREF(self);
    if (!tc_py_descriptor_is_of(descriptor, loop, self->socket)) {
        listener_stop(self);
    }
    Py_DECREF(self);
}

static const struct tc_py_descriptor_ops listener_descriptor_ops = {
    .event = listener_event,
    .forget = listener_forget,
    .make_way = listener_make_way,
};

static void rest_is_over(struct tc_py_timer *timer, struct tc_py_loop *loop)
{
    struct tc_py_listener *self = tc_container_of(timer, struct tc_py_listener, rest);

    TC_IGNORE(tc_py_descriptor_enable(loop, &self->descriptor, true)); /* it is registered */
}

/* Hand the pending exception to the loop's handler. Returns 0, or -1 with what ends its run set. */
static int report(struct tc_py_loop *loop, const char *text, PyObject *b_key, PyObject *b_object)
{
    PyObject *error;
    PyObject *message;
    int result;

    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
        PyErr_ExceptionMatches(PyExc_SystemExit)) {
        return -1;
    }
    error = PyErr_GetRaisedException();
    message = PyUnicode_FromString(text);
    if (message == NULL) {
        PyErr_Clear(); /* the exception says it as well */
    }
    PyErr_SetRaisedException(error);
    result = tc_py_loop_report(loop, message, b_key, b_object);
    Py_XDECREF(message);
    return result;
}

/* accept4 failed for want of something: try again later. Returns 0, or -1 with an exception set. */
static int listener_rest(struct tc_py_listener *self, int error)
{
    struct tc_py_loop *loop = self->loop;
    int64_t when = tc_py_loop_now_ns(loop) + TC_PY_ACCEPT_REST_NS;

    TC_IGNORE(tc_py_descriptor_enable(loop, &self->descriptor, false)); /* it is registered */
    if (!tc_heap_node_is_queued(&self->rest.node) && tc_py_loop_arm(loop, &self->rest, when) < 0) {
        PyErr_Clear();
        TC_IGNORE(tc_py_descriptor_enable(loop, &self->descriptor, true)); /* as above */
    }
    PyErr_SetRaisedException(PyObject_CallFunction(PyExc_OSError, "is", -error, strerror(-error)));
    return report(loop, "socket.accept() out of system resource", loop->state->str_socket,
                  self->socket);
}

/* ---- a connection begins ------------------------------------------------------------------ */

/* Make the task of a handler. Returns 0, or -1 with an exception set. */
static int start_handler(struct tc_py_stream *stream, PyObject *b_coroutine)
{
    PyObject *task = tc_py_create_task(stream->loop, &b_coroutine, 1, NULL);
    int result = task == NULL ? -1 : tc_py_stream_watch_handler(stream, task);

    Py_XDECREF(task);
    return result;
}

/* Call the callback with a reader and a writer. Returns 0, or -1 with an exception set. */
static int call_back(struct tc_py_stream_server *self, struct tc_py_stream *stream)
{
    PyObject *arguments[2] = {(PyObject *)tc_py_reader_new(stream, self->limit), NULL};
    PyObject *outcome = NULL;
    int result = -1;

    if (arguments[0] != NULL) {
        arguments[1] = (PyObject *)tc_py_writer_new(stream, (struct tc_py_reader *)arguments[0]);
    }
    if (arguments[1] != NULL && PyContext_Enter(self->context) == 0) {
        outcome = PyObject_Vectorcall(self->callback, arguments, 2, NULL);
        result = outcome == NULL ? -1 : tc_py_is_coroutine(self->loop->state, outcome);
        if (result > 0) {
            result = start_handler(stream, outcome);
        }
        (void)PyContext_Exit(self->context); /* we are in it: it cannot fail */
    }
    if (result < 0) {
        PyObject *error = PyErr_GetRaisedException();

        if (arguments[1] != NULL) {
            tc_py_stream_close(stream);
        } else {
            tc_py_stream_abort(stream); /* no writer will close it, and its reader keeps it */
        }
        PyErr_SetRaisedException(error);
    }
    Py_XDECREF(outcome);
    Py_XDECREF(arguments[1]);
    Py_XDECREF(arguments[0]);
    return result;
}

/* An accepted connection. Returns 0, or -1 with what ends the loop's run set. */
static int connected(struct tc_py_listener *self, int fd, const struct sockaddr *peer,
                     socklen_t length)
{
    struct tc_py_loop *loop = self->loop;
    struct tc_py_stream *stream = tc_py_stream_new(loop, fd, NULL, peer, length);
    int result = 0;

    if (stream == NULL) {
        tc_sys_close(fd);
        return report(loop, "Error on transport creation for incoming connection", NULL, NULL);
    }
    stream->server = (struct tc_py_stream_server *)Py_NewRef((PyObject *)self->server);
    tc_list_push_back(&self->server->streams, &stream->in_server);
    if (call_back(self->server, stream) < 0) {
        result = report(loop, "Unhandled exception in client_connected_cb",
                        loop->state->str_transport, (PyObject *)stream);
    }
    Py_DECREF(stream);
    return result;
}

/* Errors of one connection, or of the network, that accept4 passes on: the next may be well. */
static bool is_passing(int error)
{
    switch (-error) {
    case ECONNABORTED:
    case EINTR:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:
        return true;
    default:
        return false;
    }
}

static int listener_run(struct tc_py_node *node, struct tc_py_loop *loop)
{
    struct tc_py_listener *self = tc_container_of(node, struct tc_py_listener, node);
    int result = 0;

    (void)loop;
    self->is_queued = false;
    /* The callback may stop us. */
    for (int i = 0; i < TC_PY_ACCEPT_BATCH && result == 0 && !tc_list_is_empty(&self->in_loop);
         i++) {
        struct sockaddr_storage peer;
        socklen_t length = sizeof(peer);
        int fd = tc_sys_accept4(self->descriptor.fd, (struct sockaddr *)&peer, &length,
                                SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd == -EAGAIN) {
            break;
        }
        if (fd >= 0) {
            result = connected(self, fd, (struct sockaddr *)&peer, length);
        } else if (!is_passing(fd)) {
            return listener_rest(self, fd);
        }
    }
    return result;
}

static const struct tc_py_node_ops listener_node_ops = {
    .run = listener_run,
    .future_done = NULL,
    .cancel_wait = NULL,
};

static int listener_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct tc_py_listener *self = (struct tc_py_listener *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->loop);
    Py_VISIT(self->server);
    Py_VISIT(self->socket);
    return 0;
}

/* In no list any more: the lists own it. */
static void listener_dealloc(PyObject *object)
{
    struct tc_py_listener *self = (struct tc_py_listener *)object;
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    Py_CLEAR(self->server);
    Py_CLEAR(self->socket);
    Py_CLEAR(self->loop);
    type->tp_free(object);
    Py_DECREF(type);
}

void tc_py_listeners_drop(struct tc_py_loop *loop)
{
    while (!tc_list_is_empty(&loop->listeners)) {
        listener_stop(tc_container_of(loop->listeners.next, struct tc_py_listener, in_loop));
    }
}

int tc_py_listeners_traverse(struct tc_py_loop *loop, visitproc visit, void *arg)
{
    struct tc_list *at;

    TC_LIST_FOR_EACH (at, &loop->listeners) {
        Py_VISIT(tc_container_of(at, struct tc_py_listener, in_loop));
    }
    return 0;
}

/* ---- the server ----------------------------------------------------------------------------- */

/* Refuse a foreign thread, a fork's child, an object without __init__. Returns 0 or -1. */
static int check(struct tc_py_stream_server *self, const char *what)
{
    if (self->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "ServerBase.__init__() was not called");
        return -1;
    }
    return tc_py_loop_check(self->loop, what);
}

/* Stopped, and no stream is left: wake who waits for that, if the loop still can. No method is
 * called by its name: the interpreter's last collections may have emptied the class already. */
static void server_end(struct tc_py_stream_server *self)
{
    PyObject *waiters = self->waiters;

    self->waiters = NULL;
    bool can_wake =
        waiters != NULL && check(self, "") == 0 && tc_py_loop_check_open(self->loop) == 0;
    for (Py_ssize_t i = 0; can_wake && i < PyList_GET_SIZE(waiters); i++) {
        struct tc_py_future *waiter = (struct tc_py_future *)PyList_GET_ITEM(waiters, i);

        if (!tc_py_future_is_done(waiter)) {
            tc_py_future_end(waiter, TC_PY_FUTURE_FINISHED, Py_NewRef(Py_None));
        }
    }
    PyErr_Clear(); /* it could not; nobody is there to be told */
    Py_XDECREF(waiters);
}

void tc_py_stream_server_forget(struct tc_py_stream *stream)
{
    struct tc_py_stream_server *self = stream->server;

    stream->server = NULL;
    tc_list_remove(&stream->in_server);
    if (self->is_stopped && tc_list_is_empty(&self->streams)) {
        PyObject *pending = PyErr_GetRaisedException();

        server_end(self);
        PyErr_SetRaisedException(pending);
    }
    Py_DECREF(self);
}

static PyObject *server_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                            PyObject *Py_UNUSED(keywords))
{
    struct tc_py_stream_server *self = (struct tc_py_stream_server *)type->tp_alloc(type, 0);

    if (self != NULL) {
        tc_list_init(&self->listeners);
        tc_list_init(&self->streams);
    }
    return (PyObject *)self;
}

static int server_init(PyObject *object, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"loop", "callback", "limit", NULL};
    struct tc_py_stream_server *self = server_of(object);
    PyObject *b_loop;
    PyObject *b_callback;
    Py_ssize_t limit;
    struct tc_py_loop *loop;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OOn:ServerBase", names, &b_loop, &b_callback,
                                     &limit)) {
        return -1;
    }
    loop = tc_py_loop_cast(b_loop);
    if (loop == NULL || tc_py_loop_check(loop, "Server()") < 0) {
        return -1;
    }
    if (self->loop != NULL || limit <= 0) {
        PyErr_SetString(PyExc_ValueError, limit <= 0 ? "Limit cannot be <= 0"
                                                     : "ServerBase.__init__() was called before");
        return -1;
    }
    self->context = PyContext_CopyCurrent();
    self->waiters = PyList_New(0);
    if (self->context == NULL || self->waiters == NULL) {
        Py_CLEAR(self->context);
        Py_CLEAR(self->waiters);
        return -1;
    }
    self->loop = (struct tc_py_loop *)Py_NewRef((PyObject *)loop);
    self->callback = Py_NewRef(b_callback);
    self->limit = (size_t)limit;
    return 0;
}

static int server_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(server_of(object)->loop);
    Py_VISIT(server_of(object)->callback);
    Py_VISIT(server_of(object)->context);
    Py_VISIT(server_of(object)->waiters);
    return 0;
}

static int server_clear(PyObject *object)
{
    Py_CLEAR(server_of(object)->callback);
    Py_CLEAR(server_of(object)->context);
    Py_CLEAR(server_of(object)->waiters);
    return 0;
}

/* Streams and listeners hold the server: both lists are empty. */
static void server_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    (void)server_clear(object); /* cannot fail */
    Py_CLEAR(server_of(object)->loop);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(listen_doc, "_listen($self, sock, /)\n--\n\n"
                         "Accept the connections of a socket that listens and does not block.");

static PyObject *server_listen(PyObject *object, PyObject *b_socket)
{
    struct tc_py_stream_server *self = server_of(object);
    struct tc_py_listener *listener;
    PyTypeObject *type;
    int fd;
    int error;

    if (check(self, "Server.start_serving()") < 0 || tc_py_loop_check_open(self->loop) < 0) {
        return NULL;
    }
    fd = PyObject_AsFileDescriptor(b_socket);
    if (fd < 0) {
        return NULL;
    }
    type = self->loop->state->listener_type;
    listener = (struct tc_py_listener *)type->tp_alloc(type, 0);
    if (listener == NULL) {
        return NULL;
    }
    listener->node.ops = &listener_node_ops;
    listener->descriptor.fd = -1;
    listener->descriptor.ops = &listener_descriptor_ops;
    tc_heap_node_init(&listener->rest.node);
    listener->rest.fire = rest_is_over;
    listener->loop = (struct tc_py_loop *)Py_NewRef((PyObject *)self->loop);
    listener->server = (struct tc_py_stream_server *)Py_NewRef(object);
    listener->socket = Py_NewRef(b_socket);
    tc_list_init(&listener->in_loop);
    tc_list_init(&listener->in_server);
    error = tc_py_descriptor_add_level(self->loop, &listener->descriptor, fd);
    if (error < 0) {
        Py_DECREF(listener);
        return tc_py_error_os(error, "cannot watch the listening socket", NULL);
    }
    tc_list_push_back(&self->loop->listeners, &listener->in_loop); /* takes the reference (SS1) */
    tc_list_push_back(&self->listeners, &listener->in_server);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stop_doc, "_stop($self, /)\n--\n\n"
                       "Accept no more.");

static PyObject *server_stop(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_stream_server *self = server_of(object);

    if (check(self, "Server.close()") < 0) {
        return NULL;
    }
    while (!tc_list_is_empty(&self->listeners)) {
        listener_stop(tc_container_of(self->listeners.next, struct tc_py_listener, in_server));
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(end_doc, "_end($self, /)\n--\n\n"
                      "After _stop(): the server is over as soon as no connection is left.");

static PyObject *server_end_by_itself(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_stream_server *self = server_of(object);

    if (check(self, "Server.close()") < 0) {
        return NULL;
    }
    self->is_stopped = true;
    if (tc_list_is_empty(&self->streams)) {
        server_end(self);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(waiter_doc, "_waiter($self, /)\n--\n\n"
                         "Return a future that is done once the server is over; None if it is.");

static PyObject *server_waiter(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_stream_server *self = server_of(object);
    PyObject *waiter;

    if (check(self, "Server.wait_closed()") < 0) {
        return NULL;
    }
    if (self->waiters == NULL) {
        Py_RETURN_NONE;
    }
    waiter =
        (PyObject *)tc_py_future_new(self->loop, self->loop->state->future_type, &tc_py_future_ops);
    if (waiter != NULL && PyList_Append(self->waiters, waiter) < 0) {
        Py_CLEAR(waiter);
    }
    return waiter;
}

/* asyncio's name, for which CPython's tests ask: None once the server is over. */
static PyObject *server_waiters(PyObject *object, void *Py_UNUSED(closure))
{
    PyObject *waiters = server_of(object)->waiters;

    return Py_NewRef(waiters == NULL ? Py_None : waiters);
}

PyDoc_STRVAR(transports_doc, "_transports($self, /)\n--\n\n"
                             "Return the transports of the connections that are not closed.");

static PyObject *server_transports(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_stream_server *self = server_of(object);
    struct tc_list *at;
    PyObject *list = check(self, "Server.close_clients()") < 0 ? NULL : PyList_New(0);

    if (list == NULL) {
        return NULL;
    }
    for (at = self->streams.next; at != &self->streams; at = at->next) {
        if (PyList_Append(list, (PyObject *)tc_container_of(at, struct tc_py_stream, in_server)) <
            0) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

PyDoc_STRVAR(get_loop_doc, "get_loop($self, /)\n--\n\nReturn the loop of the server.");

static PyObject *server_get_loop(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    PyObject *b_loop = (PyObject *)server_of(object)->loop;

    return Py_NewRef(b_loop == NULL ? Py_None : b_loop);
}

/* ---- the types -------------------------------------------------------------------------- */

static PyMethodDef server_methods[] = {
    {"_listen", server_listen, METH_O, listen_doc},
    {"_stop", server_stop, METH_NOARGS, stop_doc},
    {"_end", server_end_by_itself, METH_NOARGS, end_doc},
    {"_waiter", server_waiter, METH_NOARGS, waiter_doc},
    {"_transports", server_transports, METH_NOARGS, transports_doc},
    {"get_loop", server_get_loop, METH_NOARGS, get_loop_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef server_getset[] = {
    {"_waiters", server_waiters, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(server_doc, "ServerBase(loop, callback, limit)\n--\n\n"
                         "The part of tinycoro.Server that is written in C.");

static PyType_Slot server_slots[] = {
    {Py_tp_doc, (void *)server_doc}, {Py_tp_new, server_new},           {Py_tp_init, server_init},
    {Py_tp_dealloc, server_dealloc}, {Py_tp_traverse, server_traverse}, {Py_tp_clear, server_clear},
    {Py_tp_methods, server_methods}, {Py_tp_getset, server_getset},     {0, NULL},
};

static PyType_Spec server_spec = {
    .name = "tinycoro.ServerBase",
    .basicsize = sizeof(struct tc_py_stream_server),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = server_slots,
};

static PyType_Slot listener_slots[] = {
    {Py_tp_dealloc, listener_dealloc},
    {Py_tp_traverse, listener_traverse},
    {0, NULL},
};

static PyType_Spec listener_spec = {
    .name = "tinycoro._Listener",
    .basicsize = sizeof(struct tc_py_listener),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = listener_slots,
};

int tc_py_add_stream_server(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_type(module, &server_spec, NULL, &state->stream_server_type) < 0) {
        return -1;
    }
    return tc_py_add_type(module, &listener_spec, NULL, &state->listener_type);
}
