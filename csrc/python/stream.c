/* Streams: how they begin, what events do to them, and how they end. The Python type is in
 * stream_type.c. */
#include "python/stream.h"

#include "python/errors.h"
#include "python/future.h"
#include "python/loop.h"
#include "python/process.h"
#include "python/reader.h"
#include "python/stream_server.h"
#include "python/writer.h"

#include "base/mem.h"
#include "base/sys.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

enum { DISCARD_PIECE = 8 * 1024 }; /* bytes of one system call, on the stack                    */

static struct tc_py_stream *stream_of(struct tc_py_node *node)
{
    return tc_container_of(node, struct tc_py_stream, node);
}

int tc_py_stream_check(struct tc_py_stream *self, const char *what)
{
    return tc_py_loop_check(self->loop, what);
}

/* ---- events ------------------------------------------------------------------------------- */

bool tc_py_stream_is_receiving(const struct tc_py_stream *self)
{
    return self->reader != NULL && self->reader->waiter != NULL &&
           !(self->flags & (TC_PY_STREAM_HELD | TC_PY_STREAM_CLOSING));
}

void tc_py_stream_hold(struct tc_py_stream *self, bool held)
{
    if (self->flags & TC_PY_STREAM_CLOSING) {
        return;
    }
    if (held) {
        self->flags |= TC_PY_STREAM_HELD;
        return;
    }
    self->flags &= ~(uint32_t)TC_PY_STREAM_HELD;
    if (self->flags & TC_PY_STREAM_READABLE && tc_py_stream_is_receiving(self)) {
        tc_py_reader_wake(self->reader, false);
    }
}

/* The peer has hung up and nobody reads: was it a reset? */
static void check_error(struct tc_py_stream *self)
{
    int error = 0;
    socklen_t length = sizeof(error);

    if (tc_py_stream_has_number(self) &&
        tc_sys_getsockopt(self->descriptor.fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 &&
        error != 0) {
        tc_py_stream_lose(self, -error);
    }
}

static void stream_event(struct tc_py_descriptor *descriptor, struct tc_py_loop *loop,
                         uint32_t bits)
{
    struct tc_py_stream *self = tc_container_of(descriptor, struct tc_py_stream, descriptor);

    (void)loop;
    Py_INCREF(self);
    if (bits & TC_POLLER_READ) {
        self->flags |= TC_PY_STREAM_READABLE;
        if (tc_unlikely(bits & TC_POLLER_HANGUP)) {
            self->flags |= TC_PY_STREAM_HUNG_UP;
        }
        if (tc_py_stream_is_receiving(self)) {
            tc_py_reader_wake(self->reader, false);
        } else if (tc_unlikely(bits & TC_POLLER_HANGUP)) {
            check_error(self);
        }
    }
    if (bits & TC_POLLER_WRITE) {
        self->flags |= TC_PY_STREAM_WRITABLE;
        if (tc_unlikely(self->output.count > 0)) {
            tc_py_stream_flush(self);
        }
    }
    Py_DECREF(self);
}

/* ---- the end ---------------------------------------------------------------------------- */

void tc_py_stream_end_soon(struct tc_py_stream *self)
{
    if (!(self->flags & TC_PY_STREAM_QUEUED)) {
        self->flags |= TC_PY_STREAM_QUEUED;
        tc_py_loop_ready(self->loop, &self->node);
    }
}

static void close_descriptor(struct tc_py_descriptor *descriptor)
{
    struct tc_py_stream *self = tc_container_of(descriptor, struct tc_py_stream, descriptor);
    PyObject *socket = self->socket;
    int fd = descriptor->fd;

    descriptor->fd = -1;
    if (socket == NULL) {
        tc_sys_close(fd);
    } else {
        PyObject *pending = PyErr_GetRaisedException();
        PyObject *result = PyObject_CallMethod(socket, "close", NULL);

        if (result == NULL) {
            PyErr_WriteUnraisable(socket);
        }
        Py_XDECREF(result);
        PyErr_SetRaisedException(pending);
    }
}

/* Forget the number if the Python socket has lost it, closed or detached by its user: it may mean
 * another file by now. Returns whether that is so. */
static bool forget_lost(struct tc_py_stream *self)
{
    if (self->descriptor.fd < 0 || !(self->flags & TC_PY_STREAM_SHARED) ||
        tc_py_descriptor_is_of(&self->descriptor, self->loop, self->socket)) {
        return false;
    }
    tc_py_descriptor_remove(self->loop, &self->descriptor);
    close_descriptor(&self->descriptor); /* by the socket, which knows what it still has */
    return true;
}

void tc_py_stream_check_socket(struct tc_py_stream *self)
{
    if (forget_lost(self) && (!(self->flags & TC_PY_STREAM_CLOSING) || self->output.count > 0)) {
        tc_py_stream_lose(self, -EBADF);
    }
}

static void stream_make_way(struct tc_py_descriptor *descriptor, struct tc_py_loop *loop)
{
    struct tc_py_stream *self = tc_container_of(descriptor, struct tc_py_stream, descriptor);

    (void)loop;
    Py_INCREF(self);
    tc_py_stream_check_socket(self);
    Py_DECREF(self);
}

static const struct tc_py_descriptor_ops stream_descriptor_ops = {
    .event = stream_event,
    .forget = close_descriptor,
    .make_way = stream_make_way,
};

/* Read what has arrived and nobody wants. After the shutdown no more comes over a Unix socket. */
static void discard_input(struct tc_py_stream *self)
{
    char buffer[DISCARD_PIECE];

    if (self->reader != NULL && self->reader->is_eof) {
        return; /* there is nothing behind the end */
    }
    for (size_t left = TC_PY_STREAM_DISCARD; left > 0;) {
        ssize_t count = tc_sys_recv(self->descriptor.fd, buffer, sizeof(buffer), MSG_DONTWAIT);

        if (count <= 0) {
            return;
        }
        left -= left < (size_t)count ? left : (size_t)count;
    }
}

/* Give the descriptor back. */
static void release_descriptor(struct tc_py_stream *self)
{
    if (self->descriptor.fd < 0) {
        return;
    }
    /* First: what fileno() runs must not find us in the table when we are dying. */
    tc_py_descriptor_remove(self->loop, &self->descriptor);
    if (forget_lost(self)) {
        return;
    }
    if (self->loop->generation == tc_py_process_generation()) {
        /* A child of a fork may hold the connection too: end it for both. */
        TC_IGNORE(tc_sys_shutdown(self->descriptor.fd, SHUT_RDWR));
        if (self->flags & TC_PY_STREAM_GRACEFUL && self->error == 0) {
            discard_input(self);
        }
    }
    close_descriptor(&self->descriptor);
}

/* CLOSING → CLOSED: asyncio's connection_lost. */
static void end(struct tc_py_stream *self)
{
    PyObject *exception = tc_py_stream_exception(self);

    self->flags |= TC_PY_STREAM_CLOSED;
    (void)forget_lost(self);
    tc_py_stream_note_name(self);
    release_descriptor(self);
    if (self->reader != NULL) {
        tc_py_reader_end(self->reader, exception);
        Py_CLEAR(self->reader);
    }
    Py_XDECREF(exception);
    tc_py_stream_wake(self, true);
    if (self->server != NULL) {
        tc_py_stream_server_forget(self);
    }
}

/* The handler of this connection has failed or was cancelled. Returns 0, or -1 with an exception
 * that ends the loop's run. */
static int tell_handler(struct tc_py_stream *self)
{
    struct tc_py_future *future = (struct tc_py_future *)self->handler;
    PyObject *b_exception;
    PyObject *message;
    int result = 0;

    self->handler = NULL;
    b_exception = tc_py_future_seen_exception(future);
    if (b_exception != NULL) {
        message = PyUnicode_FromString("Unhandled exception in client_connected_cb");
        if (message == NULL) {
            PyErr_Clear(); /* the context names the transport all the same */
        }
        PyErr_SetRaisedException(Py_NewRef(b_exception));
        result = tc_py_loop_report(self->loop, message, self->loop->state->str_transport,
                                   (PyObject *)self);
        Py_XDECREF(message);
    }
    Py_DECREF(future);
    tc_py_stream_close(self);
    return result;
}

static int stream_run(struct tc_py_node *node, struct tc_py_loop *loop)
{
    struct tc_py_stream *self = stream_of(node);
    int result = 0;

    (void)loop;
    self->flags &= ~(uint32_t)TC_PY_STREAM_QUEUED;
    if (self->handler != NULL) {
        result = tell_handler(self);
    }
    if ((self->flags & (TC_PY_STREAM_CLOSING | TC_PY_STREAM_CLOSED)) == TC_PY_STREAM_CLOSING &&
        self->output.count == 0 && !(self->flags & TC_PY_STREAM_QUEUED)) {
        end(self);
    }
    return result;
}

/* Called when the handler's task is done. */
static void stream_future_done(struct tc_py_node *node, struct tc_py_future *b_future)
{
    struct tc_py_stream *self = stream_of(node);

    if (!(b_future->flags & TC_PY_FUTURE_FINISHED) && self->handler == NULL) {
        self->handler = Py_NewRef((PyObject *)b_future);
        tc_py_stream_end_soon(self);
    }
}

static const struct tc_py_node_ops stream_node_ops = {
    .run = stream_run,
    .future_done = stream_future_done,
    .cancel_wait = NULL,
};

int tc_py_stream_watch_handler(struct tc_py_stream *self, PyObject *b_task)
{
    struct tc_py_future *future = (struct tc_py_future *)b_task;

    if (!tc_py_is_future(self->loop->state, b_task)) {
        return 0; /* made by a task factory: its own business */
    }
    if (tc_py_future_is_done(future)) {
        stream_future_done(&self->node, future);
        return 0;
    }
    return tc_py_future_add_node(future, &self->node);
}

void tc_py_stream_close(struct tc_py_stream *self)
{
    if (self->flags & TC_PY_STREAM_CLOSING) {
        return;
    }
    self->flags |= TC_PY_STREAM_CLOSING | TC_PY_STREAM_GRACEFUL;
    tc_py_stream_check_socket(self);
    tc_py_stream_flush(self); /* sees to the end when everything is sent */
}

/* Nothing more is sent. */
static void cut_off(struct tc_py_stream *self)
{
    if (!(self->flags & TC_PY_STREAM_CLOSED)) {
        self->flags |= TC_PY_STREAM_CLOSING;
        tc_py_output_clear(&self->output);
        tc_py_stream_flush(self);
    }
}

void tc_py_stream_abort(struct tc_py_stream *self)
{
    if (!(self->flags & TC_PY_STREAM_CLOSED)) {
        self->flags &= ~(uint32_t)TC_PY_STREAM_GRACEFUL;
        tc_py_stream_flush(self); /* what was put off has not been offered to the socket yet */
        cut_off(self);
    }
}

void tc_py_stream_lose(struct tc_py_stream *self, int error)
{
    if (self->error == 0) {
        self->error = error;
    }
    cut_off(self);
}

PyObject *tc_py_stream_exception(struct tc_py_stream *self)
{
    if (self->exception == NULL && self->error != 0) {
        self->exception =
            PyObject_CallFunction(PyExc_OSError, "is", -self->error, strerror(-self->error));
        if (self->exception == NULL) {
            self->exception = PyErr_GetRaisedException(); /* MemoryError does as well */
        }
    }
    return Py_XNewRef(self->exception);
}

struct abandon_message {
    struct tc_py_message message;
    struct tc_py_stream *stream; /* owned */
};

static void abandon_deliver(struct tc_py_message *message, struct tc_py_loop *loop)
{
    struct abandon_message *abandon = tc_container_of(message, struct abandon_message, message);

    if (loop != NULL) {
        tc_py_stream_close(abandon->stream);
    }
    Py_DECREF(abandon->stream);
    tc_mem_free(abandon, sizeof(*abandon));
}

void tc_py_stream_abandon(struct tc_py_stream *self)
{
    struct tc_py_loop *loop = self->loop;
    unsigned long thread = tc_load_relaxed(&loop->thread); /* relaxed: as in tc_py_loop_check */
    struct tc_py_mailbox *mailbox;
    struct abandon_message *abandon;

    if (loop->is_closed || loop->generation != tc_py_process_generation()) {
        Py_CLEAR(self->reader);
        return; /* the descriptor is closed when the object goes */
    }
    if (thread == 0 || thread == PyThread_get_thread_ident()) {
        tc_py_stream_close(self);
        return;
    }
    mailbox = tc_py_loop_mailbox(loop);
    abandon = mailbox == NULL ? NULL : tc_mem_alloc(sizeof(*abandon));
    if (abandon != NULL) {
        abandon->message.deliver = abandon_deliver;
        abandon->stream = (struct tc_py_stream *)Py_NewRef((PyObject *)self);
        tc_py_mailbox_post_attached(mailbox, &abandon->message);
    }
    if (mailbox != NULL) {
        tc_py_mailbox_release(mailbox);
    }
}

/* ---- the beginning ---------------------------------------------------------------------- */

/* Small writes go out at once; what is no TCP socket refuses, and does not need it. */
static void set_nodelay(int fd)
{
    int one = 1;

    TC_IGNORE(tc_sys_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
}

/* Ask the Python socket for its names, unless they are plain. Returns 0, or -1 with an
 * exception. */
static int ask_socket(struct tc_py_stream *self, PyObject *b_socket)
{
    static const char *const methods[2] = {"getsockname", "getpeername"};

    for (int i = 0; i < 2; i++) {
        self->names[i] = PyObject_CallMethod(b_socket, methods[i], NULL);
        if (self->names[i] == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_OSError)) {
                return -1;
            }
            PyErr_Clear(); /* not connected, or no longer */
            self->names[i] = Py_NewRef(Py_None);
        }
    }
    return 0;
}

struct tc_py_stream *tc_py_stream_new(struct tc_py_loop *loop, int fd, PyObject *b_socket,
                                      const struct sockaddr *peer, socklen_t peer_length)
{
    PyTypeObject *type = loop->state->stream_type;
    struct tc_py_stream *self = (struct tc_py_stream *)type->tp_alloc(type, 0);
    int error;

    if (self == NULL) {
        return NULL;
    }
    self->node.ops = &stream_node_ops;
    self->descriptor.fd = -1;
    self->descriptor.ops = &stream_descriptor_ops;
    self->flags = TC_PY_STREAM_READABLE | TC_PY_STREAM_WRITABLE;
    self->loop = (struct tc_py_loop *)Py_NewRef((PyObject *)loop);
    tc_list_init(&self->in_server);
    tc_list_init(&self->in_loop);
    tc_list_init(&self->waiters);
    self->output.items = self->output.inline_items;
    self->output.capacity = TC_PY_OUTPUT_INLINE;
    self->high = TC_PY_STREAM_HIGH;
    self->low = TC_PY_STREAM_LOW;
    if (b_socket != NULL && ask_socket(self, b_socket) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    if (peer != NULL) {
        (void)tc_py_stream_keep_address(self, 1, peer, peer_length);
    }
    if (peer == NULL || peer->sa_family != AF_UNIX) {
        set_nodelay(fd);
    }
    error = tc_py_descriptor_add(loop, &self->descriptor, fd);
    if (error < 0) {
        Py_DECREF(self);
        return (struct tc_py_stream *)tc_py_error_os(error, "cannot watch the connection", NULL);
    }
    self->socket = Py_XNewRef(b_socket);
    return self;
}

void tc_py_stream_disown(struct tc_py_stream *self)
{
    self->flags |= TC_PY_STREAM_CLOSING | TC_PY_STREAM_CLOSED;
    tc_py_descriptor_remove(self->loop, &self->descriptor);
    self->descriptor.fd = -1;
    Py_CLEAR(self->socket); /* not the last: the caller has it */
    Py_CLEAR(self->reader);
}

/* ---- the object's own end ------------------------------------------------------------------ */

int tc_py_stream_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct tc_py_stream *self = (struct tc_py_stream *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->loop);
    Py_VISIT(self->reader);
    Py_VISIT(self->server);
    Py_VISIT(self->exception);
    Py_VISIT(self->handler);
    /* Not the socket: the collector would have it close the descriptor before we are through with
     * it. */
    return 0;
}

int tc_py_stream_clear(PyObject *object)
{
    struct tc_py_stream *self = (struct tc_py_stream *)object;

    Py_CLEAR(self->reader);
    Py_CLEAR(self->exception);
    Py_CLEAR(self->handler);
    return 0;
}

void tc_py_stream_dealloc(PyObject *object)
{
    struct tc_py_stream *self = (struct tc_py_stream *)object;
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    if (self->server != NULL) {
        tc_py_stream_server_forget(self); /* before anything that may run Python code */
    }
    release_descriptor(self);
    tc_py_output_clear(&self->output);
    (void)tc_py_stream_clear(object); /* cannot fail */
    Py_CLEAR(self->socket);
    Py_CLEAR(self->names[0]);
    Py_CLEAR(self->names[1]);
    Py_CLEAR(self->loop);
    type->tp_free(object);
    Py_DECREF(type);
}
