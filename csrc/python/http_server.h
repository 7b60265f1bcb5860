/* python/http_server.h — tinycoro.HTTPServer: limits, and routes that are fixed while it runs.
 *
 * The object keeps its routes as a list; each start makes a native server of them. The native server
 * that checked the routes as they came is used for the first start.
 *
 * INVARIANTS
 *  HS1  `model` has every route of `routes` and was never started; NULL: to be made again.
 *  HS2  Routes change only while no run is on or beginning.
 *
 * who may call what: attached threads; `routes`, `model` and `last_http` in the object's critical
 * section. Functions return 0 or a new reference, and -1 or NULL with an exception set.
 */
#ifndef TC_PYTHON_HTTP_SERVER_H
#define TC_PYTHON_HTTP_SERVER_H

#include "http/server.h"
#include "python/server.h"

struct tc_py_http_server {
    struct tc_py_server server;
    struct tc_http_options http; /* constant, but for `net`, which a start fills in             */
    PyObject *routes;            /* owned list of struct tc_py_http_route                       */
    struct tc_http_server *model; /* owned; HS1                                                 */
    struct tc_http_statistics last_http; /* of the last run that ended                          */
};

static inline struct tc_py_http_server *tc_py_http_server_of(PyObject *self)
{
    return (struct tc_py_http_server *)(void *)self;
}

#endif
