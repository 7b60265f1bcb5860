#include "python/server.h"

#include "python/args.h"
#include "python/errors.h"
#include "python/gil.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* ---- the record behind the object ------------------------------------------------------- */

/* The type's name without its module. */
const char *tc_py_server_type_name(const struct tc_py_server *self)
{
    const char *dot = strrchr(Py_TYPE(self)->tp_name, '.');

    return dot == NULL ? Py_TYPE(self)->tp_name : dot + 1;
}

/* Refuse objects of the parent process. Returns 0, or -1 with RuntimeError set. */
int tc_py_server_check(const struct tc_py_server *self)
{
    if (self->generation == tc_py_process_generation()) {
        return 0;
    }
    (void)tc_py_error_forked(tc_py_server_type_name(self));
    return -1;
}

/* Take a reference to the record; NULL if the server does not run. */
struct tc_py_native *tc_py_server_hold(struct tc_py_server *self)
{
    struct tc_py_native *record;

    Py_BEGIN_CRITICAL_SECTION(self);
    record = self->native;
    if (record != NULL) {
        record->references++;
    }
    Py_END_CRITICAL_SECTION();
    return record;
}

/* Drop a reference. `is_closed` says that the caller saw the server CLOSED: then the object lets go
 * of the record too. The last one out frees it, detached, because that may join the workers. */
void tc_py_server_release(struct tc_py_server *self, struct tc_py_native *record, bool is_closed)
{
    PyThreadState *thread;
    bool is_last;

    if (is_closed && self->kind->finish != NULL) {
        thread = tc_gil_release();
        self->kind->finish(record);
        tc_gil_acquire(thread);
    }
    Py_BEGIN_CRITICAL_SECTION(self);
    if (is_closed && self->native == record) {
        tc_server_statistics(record->server, &self->last);
        if (self->kind->keep_last != NULL) {
            self->kind->keep_last(self, record);
        }
        self->native = NULL;
        record->references--;
    }
    record->references--;
    is_last = record->references == 0;
    Py_END_CRITICAL_SECTION();
    if (is_last) {
        thread = tc_gil_release();
        tc_py_native_give_back(record);
        tc_gil_acquire(thread);
    }
}

/* Let go of a server that has ended although nobody waited for it. Returns whether one still
 * runs. */
bool tc_py_server_is_running(struct tc_py_server *self)
{
    struct tc_py_native *record = tc_py_server_hold(self);
    bool is_closed;

    if (record == NULL) {
        return false;
    }
    is_closed = tc_py_native_ends_by(record->server, 0);
    tc_py_server_release(self, record, is_closed);
    return !is_closed;
}

/* Statistics of the run that is on, or of the last one. */
void tc_py_server_look(struct tc_py_server *self, struct tc_server_statistics *out)
{
    struct tc_py_native *record = tc_py_server_hold(self);

    if (record == NULL) {
        Py_BEGIN_CRITICAL_SECTION(self);
        *out = self->last;
        Py_END_CRITICAL_SECTION();
        out->listening = false;
        return;
    }
    tc_server_statistics(record->server, out);
    tc_py_server_release(self, record, false);
}

void tc_py_server_wanted(const struct tc_py_server *self, char *text, size_t size)
{
    if (self->options.listen_fd != 0) {
        (void)snprintf(text, size, "fd %d", self->options.listen_fd);
    } else {
        (void)tc_addr_format(&self->wanted, text, size);
    }
}

/* "127.0.0.1:8000": where it listens, or listened last, or would listen. */
void tc_py_server_endpoint(struct tc_py_server *self, char *text, size_t size)
{
    struct tc_addr bound;
    bool has_started;

    Py_BEGIN_CRITICAL_SECTION(self);
    has_started = self->has_started;
    bound = self->bound;
    Py_END_CRITICAL_SECTION();
    if (has_started) {
        (void)tc_addr_format(&bound, text, size);
    } else {
        tc_py_server_wanted(self, text, size);
    }
}

bool tc_py_server_has_started(struct tc_py_server *self)
{
    bool has_started;

    Py_BEGIN_CRITICAL_SECTION(self);
    has_started = self->has_started;
    Py_END_CRITICAL_SECTION();
    return has_started;
}

/* ---- construction ----------------------------------------------------------------------- */

/* Returns the text of `b_host`, which lives as long as it, or NULL with an exception set. */
static const char *parse_host(PyObject *b_host)
{
    Py_ssize_t length = 0;
    struct tc_addr addr;
    const char *host;

    if (!PyUnicode_Check(b_host)) {
        PyErr_Format(PyExc_TypeError, "host must be a str, not %.100s", Py_TYPE(b_host)->tp_name);
        return NULL;
    }
    host = PyUnicode_AsUTF8AndSize(b_host, &length);
    if (host == NULL) {
        return NULL;
    }
    /* Elsewhere an empty host means every interface, in net/addr.h it means none but this one. */
    if (length == 0 || (size_t)length != strlen(host) || tc_addr_parse(host, 0, &addr) < 0) {
        PyErr_Format(PyExc_ValueError,
                     "host=%R: it must be a numeric IPv4 or IPv6 address, or 'localhost'", b_host);
        return NULL;
    }
    return host;
}

/* The integers among the options. Returns 0, or -1 with an exception set. */
static int parse_numbers(struct tc_server_options *options, const struct tc_py_server_args *b_args)
{
    int64_t port = 0;
    int64_t workers = 0;
    int64_t max_connections = 0;
    int64_t backlog = 0;
    int64_t fd = 0;

    if (tc_py_integer(b_args->port, "port", false, 0, UINT16_MAX, &port) < 0 ||
        tc_py_integer(b_args->workers, "workers", true, 1, TC_WORKERS_MAX, &workers) < 0 ||
        tc_py_integer(b_args->max_connections, "max_connections", true, 1, UINT32_MAX,
                      &max_connections) < 0 ||
        tc_py_integer(b_args->backlog, "backlog", true, 1, INT_MAX, &backlog) < 0 ||
        tc_py_integer(b_args->fd, "fd", true, 3, INT_MAX, &fd) < 0) {
        return -1;
    }
    options->listen_fd = (int)fd;
    options->port = (uint16_t)port;
    options->workers = (uint32_t)workers;
    options->max_connections = (uint32_t)max_connections;
    options->backlog = (int)backlog;
    return 0;
}

/* Returns 0, or -1 with an exception set. */
static int parse(const struct tc_py_server_args *b_args, struct tc_py_server *self)
{
    struct tc_server_options *options = &self->options;
    int reuse_port = b_args->reuse_port == NULL ? 0 : PyObject_IsTrue(b_args->reuse_port);

    options->host = "127.0.0.1";
    options->drain_timeout_ns = TC_SERVER_DRAIN_TIMEOUT_NS;
    if (reuse_port < 0 ||
        (b_args->host != NULL && (options->host = parse_host(b_args->host)) == NULL) ||
        parse_numbers(options, b_args) < 0 ||
        tc_py_seconds(b_args->drain_timeout, "drain_timeout", false, &options->drain_timeout_ns) <
            0) {
        return -1;
    }
    options->reuse_port = reuse_port > 0;
    self->host = Py_XNewRef(b_args->host); /* keeps options->host alive */
    return tc_addr_parse(options->host, options->port, &self->wanted);
}

struct tc_py_server *tc_py_server_new(PyTypeObject *type, const struct tc_py_server_kind *kind,
                                      const struct tc_py_server_args *b_args)
{
    struct tc_py_server *self = tc_py_server_of(type->tp_alloc(type, 0));

    if (self == NULL) {
        return NULL;
    }
    self->kind = kind;
    self->generation = tc_py_process_generation();
    if (parse(b_args, self) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}
