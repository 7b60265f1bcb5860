/* get_extra_info(): addresses, and the socket for those who want to set an option. */
#include "python/loop.h"
#include "python/process.h"
#include "python/stream.h"

#include "base/sys.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/un.h>

enum { LOCAL, REMOTE };

bool tc_py_stream_keep_address(struct tc_py_stream *self, int which, const struct sockaddr *address,
                               socklen_t length)
{
    if ((address->sa_family != AF_INET && address->sa_family != AF_INET6) ||
        length > sizeof(self->addresses[which])) {
        return false;
    }
    memcpy(&self->addresses[which], address, length);
    return true;
}

/* A kept address as the socket module shows it: a new reference or NULL. */
static PyObject *internet_name(const struct sockaddr_in6 *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
    char text[INET6_ADDRSTRLEN] = "";

    if (address->sin6_family == AF_INET) {
        (void)inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text)); /* it fits */
        return Py_BuildValue("(sI)", text, (unsigned)ntohs(v4->sin_port));
    }
    (void)inet_ntop(AF_INET6, &address->sin6_addr, text, sizeof(text)); /* it fits */
    return Py_BuildValue("(sIII)", text, (unsigned)ntohs(address->sin6_port),
                         (unsigned)ntohl(address->sin6_flowinfo), (unsigned)address->sin6_scope_id);
}

/* The name of a unix socket: text, bytes in the abstract namespace, '' without a name. */
static PyObject *unix_name(const struct sockaddr_un *address, socklen_t length)
{
    size_t bytes = length - offsetof(struct sockaddr_un, sun_path);

    if (length <= offsetof(struct sockaddr_un, sun_path)) {
        return PyUnicode_FromString("");
    }
    if (address->sun_path[0] == '\0') {
        return PyBytes_FromStringAndSize(address->sun_path, (Py_ssize_t)bytes);
    }
    return PyUnicode_DecodeFSDefaultAndSize(address->sun_path,
                                            (Py_ssize_t)strnlen(address->sun_path, bytes));
}

/* Ask the kernel for an address that was not kept. Without a descriptor there is none. */
static PyObject *ask_kernel(struct tc_py_stream *self, int which)
{
    union {
        struct sockaddr any;
        struct sockaddr_un local;
        struct sockaddr_storage storage;
    } address;
    socklen_t length = sizeof(address);
    int fd = self->descriptor.fd;
    int error = fd < 0           ? -1
                : which == LOCAL ? tc_sys_getsockname(fd, &address.any, &length)
                                 : tc_sys_getpeername(fd, &address.any, &length);

    if (error < 0) {
        Py_RETURN_NONE;
    }
    if (tc_py_stream_keep_address(self, which, &address.any, length)) {
        return internet_name(&self->addresses[which]);
    }
    if (address.any.sa_family == AF_UNIX) {
        return unix_name(&address.local, length);
    }
    Py_RETURN_NONE;
}

/* A new reference or NULL. */
static PyObject *name_of(struct tc_py_stream *self, int which)
{
    if (self->names[which] == NULL) {
        self->names[which] = self->addresses[which].sin6_family != AF_UNSPEC
                                 ? internet_name(&self->addresses[which])
                                 : ask_kernel(self, which);
    }
    return Py_XNewRef(self->names[which]);
}

void tc_py_stream_note_name(struct tc_py_stream *self)
{
    union {
        struct sockaddr any;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    } address;
    socklen_t length = sizeof(address);

    if (self->names[LOCAL] == NULL && self->addresses[LOCAL].sin6_family == AF_UNSPEC &&
        tc_sys_getsockname(self->descriptor.fd, &address.any, &length) == 0 &&
        !tc_py_stream_keep_address(self, LOCAL, &address.any, length)) {
        self->names[LOCAL] = unix_name(&address.local, length);
        if (self->names[LOCAL] == NULL) {
            PyErr_Clear(); /* nobody has asked yet, and then it will be None */
        }
    }
}

/* The Python socket that owns the descriptor from now on, borrowed; or NULL with an exception. */
static PyObject *own_socket(struct tc_py_stream *self)
{
    PyObject *module;
    PyObject *type;
    PyObject *arguments;

    if (self->socket != NULL) {
        return self->socket;
    }
    module = PyImport_ImportModule("socket");
    type = module == NULL ? NULL : PyObject_GetAttrString(module, "socket");
    arguments = Py_BuildValue("{si}", "fileno", self->descriptor.fd);
    if (type != NULL && arguments != NULL) {
        PyObject *none = PyTuple_New(0);

        if (none != NULL) {
            self->socket = PyObject_Call(type, none, arguments);
            Py_DECREF(none);
        }
    }
    Py_XDECREF(module);
    Py_XDECREF(type);
    Py_XDECREF(arguments);
    return self->socket;
}

/* What was written before belongs before what the user does to the socket, shutdown() say. */
static void send_put_off(struct tc_py_stream *self)
{
    struct tc_py_loop *loop = self->loop;
    unsigned long thread = tc_load_relaxed(&loop->thread); /* relaxed: as in tc_py_loop_check */

    /* relaxed: written by this thread, if we are the loop's */
    if (self->output.count > 0 && !tc_load_relaxed(&loop->is_closed) &&
        loop->generation == tc_py_process_generation() &&
        (thread == 0 || thread == PyThread_get_thread_ident())) {
        tc_py_stream_flush(self);
    }
}

/* asyncio's wrapper, which hides what would disturb the loop: a new reference or NULL. */
static PyObject *socket_info(struct tc_py_stream *self)
{
    PyObject *b_socket = own_socket(self);
    PyObject *module;
    PyObject *result = NULL;

    if (b_socket == NULL) {
        return NULL;
    }
    send_put_off(self);
    module = PyImport_ImportModule("asyncio.trsock");
    if (module != NULL) {
        result = PyObject_CallMethod(module, "TransportSocket", "O", b_socket);
        Py_DECREF(module);
    }
    return result;
}

PyObject *tc_py_stream_info(struct tc_py_stream *self, PyObject *b_name, PyObject *b_default)
{
    if (PyUnicode_Check(b_name)) {
        if (PyUnicode_CompareWithASCIIString(b_name, "peername") == 0) {
            return name_of(self, REMOTE);
        }
        if (PyUnicode_CompareWithASCIIString(b_name, "sockname") == 0) {
            return name_of(self, LOCAL);
        }
        if (PyUnicode_CompareWithASCIIString(b_name, "socket") == 0 &&
            (self->socket != NULL || self->descriptor.fd >= 0)) {
            return socket_info(self);
        }
    }
    return Py_NewRef(b_default);
}
