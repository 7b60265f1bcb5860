/* python/module.h — the state of tinycoro._core and the parts that fill it.
 *
 * One module object per process, in the main interpreter only: the runtime behind it is one per
 * process (python/runtime.h). Every Python object the C code keeps lies in struct tc_py_state,
 * which the collector can see; there are no static PyObject pointers.
 *
 * INVARIANTS
 *  M1  tp_traverse, tp_clear and m_free name every field of struct tc_py_state.
 *  M2  Types are final and immutable, so that PyType_GetModuleState(Py_TYPE(self)) is the state.
 *
 * who may call what: everything here wants an attached thread and returns 0, or -1 with an
 * exception set, unless it says otherwise.
 */
#ifndef TC_PYTHON_MODULE_H
#define TC_PYTHON_MODULE_H

#include "python/compat.h"
#include "python/loop_state.h"
#include "python/sync_state.h"

#include <stdbool.h>

struct tc_py_state {
    PyObject *tinycoro_error; /* owned; TinycoroError                             */
    PyTypeObject *runtime_statistics_type; /* owned; a structseq                               */
    PyTypeObject *server_statistics_type; /* owned; a structseq                               */
    PyTypeObject *native_server_type; /* owned; the base of the next two                */
    PyTypeObject *echo_server_type; /* owned                                            */
    PyTypeObject *http_server_type; /* owned                                            */
    PyTypeObject *http_statistics_type; /* owned; a structseq                           */
    PyTypeObject *upload_progress_type; /* owned; a structseq                           */
    PyTypeObject *route_latency_type; /* the same                                      */
    PyTypeObject *relay_type;       /* owned                                            */
    struct tc_py_loop_state loop;   /* loops, tasks, futures                           */
    struct tc_py_sync_state sync;   /* locks, events, queues                           */
    bool is_the_module; /* this object holds the process's only place       */
};

static inline struct tc_py_state *tc_py_state_of(PyObject *module)
{
    return (struct tc_py_state *)PyModule_GetState(module);
}

/* The module, borrowed, from one of its types or a class derived from it; NULL with TypeError
 * set. */
PyObject *tc_py_module_of_type(PyTypeObject *type);

/* An object of another module that a part of the state keeps. */
struct tc_py_import {
    const char *module;
    const char *name;
    size_t field;     /* where in the part: a PyObject *, owned                           */
    bool is_optional; /* NULL if the module does not have it                              */
};

/* Fill `part` by a table. */
int tc_py_import_objects(const struct tc_py_import *imports, size_t count, void *part);

/* Create the exceptions that are ours (errors.c). */
int tc_py_add_errors(PyObject *module);

/* Create the statistics types and the functions configure, statistics, … (runtime.c). */
int tc_py_add_runtime(PyObject *module);

/* Create the server types (servers.c). */
int tc_py_add_servers(PyObject *module);

/* Create the private functions that tests use: fault injection, dump (testing.c). */
int tc_py_add_testing(PyObject *module);
int tc_py_add_testing_http(PyObject *module);
int tc_py_add_testing_memory(PyObject *module);

/* Create _testing.relay, a C fiber between two channels (relay.c). */
int tc_py_add_relay(PyObject *module);

#endif
