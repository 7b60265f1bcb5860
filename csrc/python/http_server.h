/* python/http_server.h — tinycoro.HTTPServer: limits, and routes that are fixed while it runs.
 *
 * The object keeps its routes as a list; each start makes a native server of them. The native
 * server that checked the routes as they came is used for the first start.
 *
 * INVARIANTS
 *  HS1  `model` has every fixed answer of `routes`, `files` and `uploads`, and was never started;
 *       NULL: to be made again.
 *  HS2  Routes change only while no run is on or beginning.
 *
 * who may call what: attached threads; `routes`, `model` and `last_http` in the object's critical
 * section. Functions return 0 or a new reference, and -1 or NULL with an exception set.
 */
#ifndef TC_PYTHON_HTTP_SERVER_H
#define TC_PYTHON_HTTP_SERVER_H

#include "http/pattern.h"
#include "http/server.h"
#include "http/upload_dir.h"
#include "python/http_latency.h"
#include "python/server.h"

struct tc_py_http_server {
    struct tc_py_server server;
    struct tc_http_options http; /* constant, but for `net`, which a start fills in             */
    PyObject *routes;            /* owned list of (path, answer, handler, methods)              */
    PyObject *files;             /* owned list: http_static.c                                   */
    PyObject *uploads;           /* owned list: http_upload.c                                   */
    PyObject *access_log;        /* owned, constant; what to open, None: nothing                */
    uint32_t handler_count;      /* of the routes                                               */
    size_t max_body;             /* of a request for a handler; constant                        */
    int64_t body_timeout_ns;     /* the same                                                    */
    struct tc_http_server *model; /* owned; HS1                                                 */
    struct tc_http_statistics last_http; /* of the last run that ended                          */
    struct tc_upload_statistics last_uploads; /* the same                                       */
    struct tc_py_http_latencies *last_latencies; /* the same; owned, or NULL                    */
};

static inline struct tc_py_http_server *tc_py_http_server_of(PyObject *self)
{
    return (struct tc_py_http_server *)(void *)self;
}

/* HS2. Returns 0, or -1 with RuntimeError set (http_server.c). */
int tc_py_http_check_idle(struct tc_py_http_server *self);

/* The path of a route, checked. Returns a new reference to `b_path` (http_server.c). */
PyObject *tc_py_http_check_path(PyObject *b_path);

/* Say why a route was not added. Returns -1 (http_server.c). */
int tc_py_http_route_error(int error, PyObject *b_path);

/* HS1: the model there is, or a new one, borrowed; NULL with an exception set. In the critical
 * section, which it may leave to make one: what was found in it before may have changed
 * (http_server.c). */
struct tc_http_server *tc_py_http_model(struct tc_py_http_server *self);

/* HS1: add an item that the model has got to its list, or else drop the model. In the critical
 * section, which has not been left since the model got it (http_server.c). */
int tc_py_http_keep(struct tc_py_http_server *self, PyObject *b_list, PyObject *b_item);

/* ---- http_log.c --------------------------------------------------------------------------- */

/* Check and keep what access_log= was given; NULL: None. Returns 0, or -1 with TypeError or
 * ValueError set. */
int tc_py_http_keep_log(struct tc_py_http_server *self, PyObject *b_log);

/* Give `native` a log, if there is to be one; opens a file, detached. Returns 0, or -1 with an
 * exception set. */
int tc_py_http_open_log(struct tc_py_http_server *self, struct tc_http_server *native);

/* ---- http_options.c ----------------------------------------------------------------------- */

/* Make an object of what HTTPServer() was called with, with no routes. Returns a new reference, or
 * NULL with an exception set. */
struct tc_py_http_server *tc_py_http_server_make(PyTypeObject *type,
                                                 const struct tc_py_server_kind *kind,
                                                 PyObject *args, PyObject *kwargs);

/* Create _http_limits(). */
int tc_py_add_http_options(PyObject *module);

/* ---- http_respond.c ----------------------------------------------------------------------- */

extern const char tc_py_http_respond_doc[];

PyObject *tc_py_http_respond(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames);

/* Give `native` what an item of `routes` says if it is an answer, and not a handler. Returns 0, or
 * -1 with an exception set. */
int tc_py_http_add_answer(struct tc_http_server *native, PyObject *b_item);

/* Point to a tuple of fields. Returns an array from PyMem_Malloc, or NULL with MemoryError. */
struct tc_http_answer_field *tc_py_http_field_array(PyObject *b_fields);

/* ---- http_static.c ------------------------------------------------------------------------ */

extern const char tc_py_http_static_doc[];

PyObject *tc_py_http_static(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames);

/* Give `native` what an item of `files` says. Returns 0, or -1 with an exception set. */
int tc_py_http_add_files(struct tc_http_server *native, PyObject *b_item);

/* ---- http_upload.c ------------------------------------------------------------------------ */

extern const char tc_py_http_upload_doc[];

PyObject *tc_py_http_upload(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames);

/* Give `native` what an item of `uploads` says; detaches meanwhile. Returns 0, or -1 with an
 * exception set. */
int tc_py_http_add_uploads(struct tc_http_server *native, PyObject *b_item);

/* ---- http_statistics.c -------------------------------------------------------------------- */

extern const char tc_py_http_statistics_doc[];

PyObject *tc_py_http_statistics(PyObject *object, PyObject *ignored);

/* Create the types HTTPServerStatistics and UploadProgress. */
int tc_py_add_http_statistics(PyObject *module);

/* ---- http_routes.c ------------------------------------------------------------------------ */

PyObject *tc_py_http_get(PyObject *object, PyObject *b_path);
PyObject *tc_py_http_post(PyObject *object, PyObject *b_path);
PyObject *tc_py_http_route(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames);

/* Add the patterns of the handlers to an empty table. Returns 0, or -1 with MemoryError set. */
int tc_py_http_fill(struct tc_py_http_server *self, struct tc_http_patterns *patterns);

/* A desk with all handlers, for a run that begins; its clerk is the running loop, or one in a
 * thread of its own. Returns one reference, or NULL with an exception set. */
struct tc_http_desk *tc_py_http_desk(struct tc_py_http_server *self);

/* Create _set_loop_thread(). */
int tc_py_add_http_routes(PyObject *module);

#endif
