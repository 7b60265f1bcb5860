/* The table of descriptors, and the callbacks of add_reader and add_writer. */
#include "python/descriptor.h"

#include "python/errors.h"
#include "python/handle.h"
#include "python/loop.h"
#include "python/process.h"

#include "base/mem.h"
#include "base/sys.h"

#include <errno.h>
#include <string.h>

enum { TABLE_MIN = 64 };

/* A descriptor with callbacks. */
struct callbacks {
    struct tc_py_descriptor descriptor;
    struct tc_py_handle *handles[2]; /* owned; for reading, for writing; NULL: none           */
};

static struct callbacks *callbacks_of(struct tc_py_descriptor *descriptor)
{
    return descriptor == NULL || descriptor->ops != NULL
               ? NULL
               : tc_container_of(descriptor, struct callbacks, descriptor);
}

/* ---- the table -------------------------------------------------------------------------- */

static struct tc_py_descriptor *find(struct tc_py_loop *loop, int fd)
{
    return (size_t)fd < loop->descriptors.size ? loop->descriptors.table[fd] : NULL;
}

/* The same when the number is wanted: a stream or listener that has lost it makes way. May run
 * Python code. */
static struct tc_py_descriptor *find_occupant(struct tc_py_loop *loop, int fd)
{
    struct tc_py_descriptor *found = find(loop, fd);

    if (found == NULL || found->ops == NULL) {
        return found;
    }
    found->ops->make_way(found, loop);
    return find(loop, fd);
}

static uint64_t tag_of(const struct tc_py_descriptor *self)
{
    return (uint64_t)self->generation << 32 | (uint32_t)self->fd;
}

/* Make room for `fd`. Returns 0 or -ENOMEM. */
static int grow(struct tc_py_descriptors *all, int fd)
{
    size_t size = all->size == 0 ? TABLE_MIN : all->size;
    struct tc_py_descriptor **table;

    while (size <= (size_t)fd) {
        size *= 2;
    }
    table = tc_mem_realloc(all->table, all->size * sizeof(*table), size * sizeof(*table));
    if (table == NULL) {
        return -ENOMEM;
    }
    memset(table + all->size, 0, (size - all->size) * sizeof(*table));
    all->table = table;
    all->size = size;
    return 0;
}

/* Give a record its place. Returns 0, -EEXIST, -ENOMEM, -EBADF. */
static int enter(struct tc_py_loop *loop, struct tc_py_descriptor *self, int fd)
{
    struct tc_py_descriptors *all = &loop->descriptors;

    if (find_occupant(loop, fd) != NULL) {
        return -EEXIST;
    }
    if (loop->mailbox == NULL) {
        return -EBADF;
    }
    if ((size_t)fd >= all->size && grow(all, fd) < 0) {
        return -ENOMEM;
    }
    if (++all->generation == 0) {
        all->generation = 1; /* a tag of a generation 0 would be one of the loop's own */
    }
    self->fd = fd;
    self->generation = all->generation;
    all->table[fd] = self;
    return 0;
}

static void leave(struct tc_py_loop *loop, struct tc_py_descriptor *self)
{
    loop->descriptors.table[self->fd] = NULL;
    self->generation = 0;
}

static int add(struct tc_py_loop *loop, struct tc_py_descriptor *self, int fd, bool level)
{
    int error = enter(loop, self, fd);

    if (error == 0) {
        error = tc_poller_add(&loop->mailbox->poller, fd, tag_of(self), level);
        if (error < 0) {
            leave(loop, self);
            self->fd = -1;
        }
    }
    return error;
}

int tc_py_descriptor_add(struct tc_py_loop *loop, struct tc_py_descriptor *self, int fd)
{
    return add(loop, self, fd, false);
}

int tc_py_descriptor_add_level(struct tc_py_loop *loop, struct tc_py_descriptor *self, int fd)
{
    return add(loop, self, fd, true);
}

int tc_py_descriptor_enable(struct tc_py_loop *loop, struct tc_py_descriptor *self, bool enabled)
{
    return tc_poller_enable(&loop->mailbox->poller, self->fd, tag_of(self), enabled);
}

void tc_py_descriptor_remove(struct tc_py_loop *loop, struct tc_py_descriptor *self)
{
    if (self->generation == 0) {
        return;
    }
    leave(loop, self);
    /* A child of a fork shares the poller's kernel object with its parent. */
    if (loop->mailbox != NULL && loop->generation == tc_py_process_generation()) {
        tc_poller_remove(&loop->mailbox->poller, self->fd);
    }
}

bool tc_py_descriptor_is_of(const struct tc_py_descriptor *self, struct tc_py_loop *loop,
                            PyObject *b_object)
{
    PyObject *pending = PyErr_GetRaisedException();
    long number = self->fd;
    PyObject *found = PyObject_CallMethodNoArgs(b_object, loop->state->str_fileno);

    if (found != NULL && PyLong_Check(found)) {
        number = PyLong_AsLong(found);
    }
    Py_XDECREF(found);
    if (PyErr_Occurred() == NULL) {
        /* it has said it */
    } else if (PyErr_ExceptionMatches(PyExc_OSError) || PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
        number = -1; /* so says what is no socket of Python's */
    } else { /* it does not say, for want of stack or memory perhaps */
        PyErr_WriteUnraisable(b_object);
        number = self->fd;
    }
    PyErr_SetRaisedException(pending);
    return number == self->fd;
}

/* ---- callbacks -------------------------------------------------------------------------- */

static const uint32_t direction_bits[2] = {TC_POLLER_READ, TC_POLLER_WRITE};

static uint32_t wanted_bits(const struct callbacks *self)
{
    return (self->handles[0] == NULL ? 0 : TC_POLLER_READ) |
           (self->handles[1] == NULL ? 0 : TC_POLLER_WRITE);
}

/* Forget the record if it has no callback left, else tell the poller what is still wanted. */
static void settle(struct tc_py_loop *loop, struct callbacks *self)
{
    uint32_t bits = wanted_bits(self);

    if (bits == 0) {
        tc_py_descriptor_remove(loop, &self->descriptor);
        tc_mem_free(self, sizeof(*self));
        return;
    }
    /* A failure means that the number was closed behind our back: no event comes then either. */
    TC_IGNORE(tc_poller_watch(&loop->mailbox->poller, self->descriptor.fd,
                              tag_of(&self->descriptor), bits, false));
}

/* Stop the callback of one direction and drop it. Returns whether there was one. */
static bool drop_handle(struct tc_py_loop *loop, struct callbacks *self, int direction)
{
    struct tc_py_handle *handle = self->handles[direction];

    if (handle == NULL) {
        return false;
    }
    self->handles[direction] = NULL;
    settle(loop, self);
    tc_py_handle_cancel(handle);
    Py_DECREF(handle);
    return true;
}

/* An event: each direction that is ready has its callback called in this turn. */
static void callbacks_event(struct callbacks *self, struct tc_py_loop *loop, uint32_t bits)
{
    for (int i = 0; i < 2; i++) {
        struct tc_py_handle *handle = self->handles[i];

        if (handle == NULL || !(bits & direction_bits[i])) {
            continue;
        }
        if (handle->is_cancelled) { /* by its own cancel() */
            bool is_last = self->handles[1 - i] == NULL;

            (void)drop_handle(loop, self, i);
            if (is_last) {
                return;
            }
        } else if (!handle->is_queued) {
            handle->is_queued = true;
            tc_py_loop_ready(loop, &handle->node);
        }
    }
}

void tc_py_descriptor_deliver(struct tc_py_loop *loop, const struct tc_poller_event *event)
{
    struct tc_py_descriptor *self = find(loop, (int)(uint32_t)event->tag);

    if (self == NULL || self->generation != event->tag >> 32) {
        return; /* closed since the poller reported it */
    }
    if (self->ops == NULL) {
        callbacks_event(callbacks_of(self), loop, event->bits);
    } else {
        self->ops->event(self, loop, event->bits);
    }
}

/* ---- the methods ------------------------------------------------------------------------ */

/* The number of a descriptor or of an object with fileno(), or -1 with an exception set. */
static int descriptor_number(PyObject *b_fd)
{
    long number;
    PyObject *index;

    if (!PyLong_Check(b_fd)) {
        PyObject *fileno = PyObject_CallMethod(b_fd, "fileno", NULL);

        if (fileno == NULL || !PyLong_Check(fileno)) {
            if (fileno != NULL || PyErr_ExceptionMatches(PyExc_AttributeError)) {
                PyErr_Format(PyExc_ValueError, "Invalid file object: %R", b_fd);
            }
            Py_XDECREF(fileno);
            return -1;
        }
        index = fileno;
    } else {
        index = Py_NewRef(b_fd);
    }
    number = PyLong_AsLong(index);
    if ((number == -1 && PyErr_Occurred()) || number < 0 || number > INT32_MAX) {
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %R", index);
        number = -1;
    }
    Py_DECREF(index);
    return (int)number;
}

/* The record of `fd` for callbacks, made if need be; NULL with an exception set. */
static struct callbacks *callbacks_for(struct tc_py_loop *loop, int fd)
{
    struct tc_py_descriptor *found = find_occupant(loop, fd);
    struct callbacks *self = callbacks_of(found);
    int error;

    if (self != NULL) {
        return self;
    }
    if (found != NULL) {
        PyErr_Format(PyExc_RuntimeError, "File descriptor %d is used by a stream or a server", fd);
        return NULL;
    }
    self = tc_mem_zalloc(sizeof(*self));
    error = self == NULL ? -ENOMEM : enter(loop, &self->descriptor, fd);
    if (error < 0) {
        tc_mem_free(self, sizeof(*self));
        return (struct callbacks *)tc_py_error_os(error, "cannot watch the descriptor", NULL);
    }
    return self;
}

/* Put `handle` (taken) in the place for `direction`. Returns 0, or -1 with an exception set. */
static int install(struct tc_py_loop *loop, int fd, int direction, struct tc_py_handle *handle)
{
    struct callbacks *self = callbacks_for(loop, fd);
    struct tc_py_handle *old;
    uint32_t bits;
    int error = 0;

    if (self == NULL) {
        Py_DECREF(handle);
        return -1;
    }
    old = self->handles[direction];
    bits = wanted_bits(self);
    self->handles[direction] = handle;
    /* Also if nothing changes: the number may mean another file by now. */
    error = tc_poller_watch(&loop->mailbox->poller, fd, tag_of(&self->descriptor),
                            wanted_bits(self), bits == 0);
    if (error < 0) {
        self->handles[direction] = old;
        if (bits == 0) {
            leave(loop, &self->descriptor);
            tc_mem_free(self, sizeof(*self));
        }
        Py_DECREF(handle);
        (void)tc_py_error_os(error, "cannot watch the descriptor", NULL);
        return -1;
    }
    if (old != NULL) {
        tc_py_handle_cancel(old);
        Py_DECREF(old);
    }
    return 0;
}

static PyObject *add_callback(PyObject *object, const char *function, int direction,
                              PyObject *const *args, Py_ssize_t nargs)
{
    struct tc_py_loop *loop = (struct tc_py_loop *)object;
    struct tc_py_handle *handle;
    int fd;

    if (tc_py_loop_check(loop, function) < 0 || tc_py_loop_check_open(loop) < 0) {
        return NULL;
    }
    if (nargs < 2) {
        return PyErr_Format(PyExc_TypeError, "%s needs a descriptor and a callback", function);
    }
    if (!PyCallable_Check(args[1])) {
        return PyErr_Format(PyExc_TypeError, "a callable object was expected by %s, got %R",
                            function, args[1]);
    }
    fd = descriptor_number(args[0]);
    if (fd < 0) {
        return NULL;
    }
    handle = tc_py_handle_new(loop, loop->state->handle_type, args[1], args + 2, nargs - 2, NULL);
    if (handle == NULL || install(loop, fd, direction, handle) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *remove_callback(PyObject *object, const char *function, int direction,
                                 PyObject *b_fd)
{
    struct tc_py_loop *loop = (struct tc_py_loop *)object;
    struct tc_py_descriptor *found;
    struct callbacks *self;
    int fd;

    if (tc_py_loop_check(loop, function) < 0) {
        return NULL;
    }
    fd = descriptor_number(b_fd);
    if (fd < 0) {
        return NULL;
    }
    found = find_occupant(loop, fd);
    self = callbacks_of(found);
    if (found != NULL && self == NULL) {
        return PyErr_Format(PyExc_RuntimeError,
                            "File descriptor %d is used by a stream or a server", fd);
    }
    return PyBool_FromLong(self != NULL && drop_handle(loop, self, direction));
}

PyObject *tc_py_loop_add_reader(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return add_callback(self, "Loop.add_reader()", 0, args, nargs);
}

PyObject *tc_py_loop_remove_reader(PyObject *self, PyObject *b_fd)
{
    return remove_callback(self, "Loop.remove_reader()", 0, b_fd);
}

PyObject *tc_py_loop_add_writer(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return add_callback(self, "Loop.add_writer()", 1, args, nargs);
}

PyObject *tc_py_loop_remove_writer(PyObject *self, PyObject *b_fd)
{
    return remove_callback(self, "Loop.remove_writer()", 1, b_fd);
}

/* ---- the collector and the end ------------------------------------------------------------ */

int tc_py_descriptors_traverse(struct tc_py_loop *loop, visitproc visit, void *arg)
{
    for (size_t fd = 0; fd < loop->descriptors.size; fd++) {
        struct callbacks *self = callbacks_of(loop->descriptors.table[fd]);

        if (self != NULL) {
            Py_VISIT(self->handles[0]);
            Py_VISIT(self->handles[1]);
        }
    }
    return 0;
}

void tc_py_descriptors_clear(struct tc_py_loop *loop)
{
    struct tc_py_descriptors *all = &loop->descriptors;

    for (size_t fd = 0; fd < all->size; fd++) {
        struct tc_py_descriptor *descriptor = all->table[fd];
        struct callbacks *self = callbacks_of(descriptor);
        struct tc_py_handle *handles[2];

        if (descriptor == NULL) {
            continue;
        }
        if (self == NULL) {
            tc_py_descriptor_remove(loop, descriptor); /* its object closes the descriptor */
            continue;
        }
        memcpy(handles, self->handles, sizeof(handles));
        tc_py_descriptor_remove(loop, descriptor);
        tc_mem_free(self, sizeof(*self));
        Py_XDECREF(handles[0]);
        Py_XDECREF(handles[1]);
    }
    tc_mem_free(all->table, all->size * sizeof(*all->table));
    all->table = NULL;
    all->size = 0;
}

void tc_py_descriptors_forget(struct tc_py_loop *loop)
{
    for (size_t fd = 0; fd < loop->descriptors.size; fd++) {
        struct tc_py_descriptor *self = loop->descriptors.table[fd];

        if (self != NULL && self->ops != NULL) {
            leave(loop, self);
            self->ops->forget(self);
            self->fd = -1;
        }
    }
}
