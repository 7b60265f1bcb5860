/* python/server.h — a native server as a Python object, whatever its protocol.
 *
 * The object holds the configuration and, while it runs, one struct tc_py_native. Its methods may be
 * called from any thread: each takes a reference to that record under the object's critical section
 * (the GIL, where there is one) and works on it outside. Whoever finds the server CLOSED detaches
 * the record from the object; whoever drops the last reference gives it back, which may end the
 * runtime.
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

struct tc_py_server {
    PyObject ob_base;                   /* what PyObject_HEAD stands for                        */
    PyObject *weakrefs;                 /* CPython's                                            */
    const struct tc_protocol *protocol; /* constant                                             */
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

/* "127.0.0.1:8000": where it listens, or listened last, or would listen. */
void tc_py_server_endpoint(struct tc_py_server *self, char *text, size_t size);

/* Read what every server type takes. *host receives the owned object that options->host points into,
 * NULL if it is the default. */
TC_NODISCARD int tc_py_server_parse(PyObject *args, PyObject *kwargs,
                                    struct tc_server_options *options, struct tc_addr *wanted,
                                    PyObject **host);

/* Raise what went wrong on the workers during the last run. Returns 0, or -1 with OSError set. */
TC_NODISCARD int tc_py_server_raise_failure(struct tc_py_server *self);

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
