/* python/http_latency.h — how long the requests of each route took, as records of Python.
 *
 * A list is a block of memory without pointers, which outlives the server that it tells of.
 *
 * who may call what: attached threads; taking and copying a list runs no Python.
 */
#ifndef TC_PYTHON_HTTP_LATENCY_H
#define TC_PYTHON_HTTP_LATENCY_H

#include "python/compat.h"

#include "http/server.h"

struct tc_py_http_latencies;

/* What there is now; to be freed by PyMem_Free. Returns NULL, without an exception, if there is no
 * memory. */
struct tc_py_http_latencies *tc_py_http_latencies_of(struct tc_http_server *native);

/* The same, of a copy; NULL of NULL. */
struct tc_py_http_latencies *tc_py_http_latencies_copy(const struct tc_py_http_latencies *b_list);

/* A tuple of `type`, empty of NULL. Returns a new reference, or NULL with an exception set. */
PyObject *tc_py_http_latency_tuple(PyTypeObject *type, const struct tc_py_http_latencies *b_list);

/* Create the type RouteLatency. Returns a new reference, or NULL with an exception set. */
PyTypeObject *tc_py_http_latency_type(void);

#endif
