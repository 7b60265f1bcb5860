/* python/server.h — a native server as a Python object, whatever its protocol.
 *
 * The object holds the configuration and, while it runs, one struct tc_py_native. Its methods may
 * be called from any thread: each takes a reference to that record under the object's critical
 * section (the GIL, where there is one) and works on it outside. Whoever finds the server CLOSED
 * detaches the record from the object; whoever drops the last reference gives it back, which may
 * end the runtime.
 *
 *   new ──start──► running ──close──► draining ──last connection──► CLOSED ──somebody looks──► idle
 *                     ▲        native != NULL                                  native == NULL    │
 *                     └─────────────────────────────────start────────────────────────────────────┘
 *
 * INVARIANTS
 *  O1  `native` holds one reference of its record; every thread that uses the record holds another.
 *  O2  An object of another process generation is refused before anything else (python/process.h).
 *
 * who may call what: attached threads, and no critical section of the object may be held. Functions
 * that can fail return 0 or a new reference, and -1 or NULL with an exception set.
 */
#ifndef TC_PYTHON_SERVER_H
#define TC_PYTHON_SERVER_H

#include "python/compat.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "net/addr.h"
#include "net/server.h"
#include "python/process.h"

enum { TC_PY_ENDPOINT_BYTES = 72 }; /* "[address%scope]:port" with its NUL                     */

/* For a server that was dropped, or whose `with` block was interrupted a second time. */
#define TC_PY_ABORT_NS (1 * TC_NS_PER_SEC)

struct tc_py_server;

/* What a type of servers adds. */
struct tc_py_server_kind {
    struct tc_py_native_kind native;
    /* The subject of a run that begins; attached. Returns NULL with an exception set. NULL:
     * none. */
    void *(*prepare)(struct tc_py_server *self);
    /* Whether requests need a loop thread. NULL: never. */
    bool (*needs_loop)(struct tc_py_server *self);
    /* The run has ended: do what is left to do, detached; several threads may at once. May be
     * NULL. */
    void (*finish)(struct tc_py_native *record);
    /* Keep what should be known of a run that ended; in the object's critical section. May be
     * NULL. */
    void (*keep_last)(struct tc_py_server *self, struct tc_py_native *record);
};

struct tc_py_server {
    PyObject ob_base;                   /* what PyObject_HEAD stands for                        */
    PyObject *weakrefs;                 /* CPython's                                            */
    const struct tc_py_server_kind *kind; /* constant                                           */
    PyObject *host;                     /* owned str, constant; options.host points into it     */
    struct tc_server_options options;   /* constant                                             */
    struct tc_addr wanted;              /* constant; the host and port of the options           */
    uint32_t generation;                /* constant; of the process that made it                */
    /* The rest under the object's critical section. */
    PyObject *address;                  /* owned (host, port) of `bound`, or NULL               */
    struct tc_addr bound;               /* where the last start listens                         */
    struct tc_py_native *native;        /* O1; NULL unless running or draining                  */
    struct tc_server_statistics last;   /* of the last run that ended                           */
    bool is_starting;
    bool has_started;
};

static inline struct tc_py_server *tc_py_server_of(PyObject *self)
{
    return (struct tc_py_server *)(void *)self;
}

/* ---- the object (server.c) -------------------------------------------------------------- */

/* The type's name without its module. */
const char *tc_py_server_type_name(const struct tc_py_server *self);

/* O2. Returns 0, or -1 with RuntimeError set. */
TC_NODISCARD int tc_py_server_check(const struct tc_py_server *self);

/* Take a reference to the record; NULL if the server does not run. */
TC_NODISCARD struct tc_py_native *tc_py_server_hold(struct tc_py_server *self);

/* Drop a reference. `is_closed` says that the caller saw the server CLOSED: then the object lets go
 * of the record too. The last one out frees it, detached, because that may join the workers. */
void tc_py_server_release(struct tc_py_server *self, struct tc_py_native *record, bool is_closed);

/* Whether it runs or drains; lets go of a server that has ended although nobody waited for it. */
bool tc_py_server_is_running(struct tc_py_server *self);

/* Whether start() ever succeeded. */
bool tc_py_server_has_started(struct tc_py_server *self);

/* Statistics of the run that is on, or of the last one. */
void tc_py_server_look(struct tc_py_server *self, struct tc_server_statistics *out);

/* "127.0.0.1:8000", or "fd 3": where it would listen. */
void tc_py_server_wanted(const struct tc_py_server *self, char *text, size_t size);

/* "127.0.0.1:8000": where it listens, or listened last, or would listen. */
void tc_py_server_endpoint(struct tc_py_server *self, char *text, size_t size);

/* Arguments that every server type takes; borrowed, NULL: not given. */
struct tc_py_server_args {
    PyObject *host;
    PyObject *port;
    PyObject *workers;
    PyObject *max_connections;
    PyObject *drain_timeout;
    PyObject *backlog;
    PyObject *reuse_port;
    PyObject *fd; /* a socket that listens already, in place of host and port */
};

/* Allocate an object of `type`. Returns NULL with an exception set. */
TC_NODISCARD struct tc_py_server *tc_py_server_new(PyTypeObject *type,
                                                   const struct tc_py_server_kind *kind,
                                                   const struct tc_py_server_args *b_args);

/* The slots of a server type, for types that add to them (servers.c). */
int tc_py_server_traverse(PyObject *object, visitproc visit, void *arg);
int tc_py_server_clear(PyObject *object);
void tc_py_server_dealloc(PyObject *object);

/* Create the type EchoServer (echo_server.c) and HTTPServer (http_server.c). */
TC_NODISCARD int tc_py_add_echo_server(PyObject *module);
TC_NODISCARD int tc_py_add_http_server(PyObject *module);

/* Raise what went wrong on the workers during the last run. Returns 0, or -1 with OSError set. */
TC_NODISCARD int tc_py_server_raise_failure(struct tc_py_server *self);

/* ---- statistics --------------------------------------------------------------------------- */

/* field, kind, what it is; the one that each type counts in its own way is given as `requests` */
#define TC_PY_SERVER_COUNTERS(X, requests) \
    X(accepted, U64, "connections accepted") \
    X(connections, U64, "connections open now") \
    X(resting, U64, "of these, waiting for input and holding no stack") \
    X(bytes_in, U64, "bytes received") \
    X(bytes_out, U64, "bytes sent") \
    requests X(idle_closed, U64, "connections closed by the idle or keep-alive timeout") \
        X(send_timeouts, U64, "connections closed because the peer took nothing") \
            X(resets, U64, "connections ended by an error of the peer") \
                X(shed, U64, "connections refused at a limit of descriptors or memory") \
                    X(accept_pauses, U64, "times accepting stopped at a limit") \
                        X(cancelled, U64, "connections ended by the drain deadline or abort()") \
                            X(errors, U64, "failures on our side") \
                                X(last_error, ERRNO, "errno of the latest of these, 0 if none") \
                                    X(listening, BOOL, "whether clients can connect") \
                                        X(paused, BOOL, \
                                          "whether accepting has stopped at a limit")

/* ---- awaitables (server_wait.c) ----------------------------------------------------------- */

PyObject *tc_py_server_wait_closed(PyObject *object, PyObject *ignored);
PyObject *tc_py_server_serve_forever(PyObject *object, PyObject *ignored);
PyObject *tc_py_server_aenter(PyObject *object, PyObject *ignored);
PyObject *tc_py_server_aexit(PyObject *object, PyObject *const *args, Py_ssize_t nargs);

/* ---- methods (server_run.c); their documentation is in servers.c ------------------------ */

PyObject *tc_py_server_start(PyObject *object, PyObject *ignored);
PyObject *tc_py_server_close(PyObject *object, PyObject *ignored);
PyObject *tc_py_server_abort(PyObject *object, PyObject *ignored);
PyObject *tc_py_server_wait(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames);
PyObject *tc_py_server_enter(PyObject *object, PyObject *ignored);
PyObject *tc_py_server_exit(PyObject *object, PyObject *const *args, Py_ssize_t nargs);

#endif
