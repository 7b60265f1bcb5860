/* The type HTTPServer. */
#include "python/http_server.h"

#include "python/errors.h"
#include "python/module.h"

#include "http/desk.h"
#include "http/path.h"
#include "http/upload_route.h"

#include <errno.h>
#include <string.h>

/* ---- routes ----------------------------------------------------------------------------- */

int tc_py_http_route_error(int error, PyObject *b_path)
{
    switch (error) {
    case -EEXIST:
        PyErr_Format(PyExc_ValueError, "path=%R has a route already", b_path);
        break;
    case -ENOSPC:
        PyErr_Format(PyExc_ValueError, "path=%R: there are %d routes, the most there may be",
                     b_path, TC_HTTP_ROUTES_MAX);
        break;
    case -E2BIG:
        PyErr_Format(PyExc_ValueError, "path=%R: the headers are longer than %d bytes", b_path,
                     TC_HTTP_ANSWER_HEAD_BYTES);
        break;
    default:
        (void)tc_py_error_os(error, "cannot add a route", PyUnicode_AsUTF8(b_path));
        break;
    }
    return -1;
}

/* Give `native` each item of a list, which may detach meanwhile. */
static int add_all(struct tc_http_server *native, PyObject *b_list,
                   int (*add)(struct tc_http_server *native, PyObject *b_item))
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(b_list); i++) {
        PyObject *item = Py_NewRef(PyList_GET_ITEM(b_list, i)); /* while others run */
        int result = add(native, item);

        Py_DECREF(item);
        if (result < 0) {
            return -1;
        }
    }
    return 0;
}

/* Make a native server of the answers there are, with a desk for the rest, or without (NULL). */
static struct tc_http_server *make_native(struct tc_py_http_server *self, struct tc_http_desk *desk)
{
    struct tc_http_options options = self->http;
    struct tc_http_server *native = NULL;
    int error;

    options.net = self->server.options;
    options.desk = desk;
    error = tc_http_server_new(&options, &native);
    if (error < 0) {
        (void)tc_py_error_os(error, "cannot make a server", "HTTPServer");
        return NULL;
    }
    if (add_all(native, self->routes, tc_py_http_add_answer) < 0 ||
        add_all(native, self->files, tc_py_http_add_files) < 0 ||
        add_all(native, self->uploads, tc_py_http_add_uploads) < 0) {
        tc_http_server_free(native);
        return NULL;
    }
    return native;
}

/* How many routes there are: each one that is added makes them more. */
static Py_ssize_t count_routes(const struct tc_py_http_server *self)
{
    return PyList_GET_SIZE(self->routes) + PyList_GET_SIZE(self->files) +
           PyList_GET_SIZE(self->uploads);
}

struct tc_http_server *tc_py_http_model(struct tc_py_http_server *self)
{
    while (self->model == NULL) {
        Py_ssize_t count = count_routes(self);
        struct tc_http_server *native = make_native(self, NULL);

        if (native == NULL) {
            return NULL;
        }
        /* Meanwhile others may have made one too, added a route, and started it. */
        if (self->model == NULL && count_routes(self) == count) {
            self->model = native;
        } else {
            tc_http_server_free(native);
        }
    }
    return self->model;
}

int tc_py_http_keep(struct tc_py_http_server *self, PyObject *b_list, PyObject *b_item)
{
    if (PyList_Append(b_list, b_item) < 0) {
        tc_http_server_free(self->model);
        self->model = NULL; /* HS1 */
        return -1;
    }
    return 0;
}

PyObject *tc_py_http_check_path(PyObject *b_path)
{
    Py_ssize_t size = 0;
    const char *path;
    char *decoded;
    bool is_path;

    if (!PyUnicode_Check(b_path)) {
        return PyErr_Format(PyExc_TypeError, "path must be a str, not %.100s",
                            Py_TYPE(b_path)->tp_name);
    }
    path = PyUnicode_AsUTF8AndSize(b_path, &size);
    decoded = path == NULL ? NULL : PyMem_Malloc((size_t)size + 1);
    if (decoded == NULL) {
        return path == NULL ? NULL : PyErr_NoMemory();
    }
    is_path = size != 0 && path[0] == '/' && strlen(path) == (size_t)size &&
              tc_http_path_decode(path, (size_t)size, decoded, (size_t)size) > 0;
    PyMem_Free(decoded);
    if (!is_path) {
        return PyErr_Format(PyExc_ValueError,
                            "path=%R: it must begin with '/', and be one that a request can have",
                            b_path);
    }
    return Py_NewRef(b_path);
}

int tc_py_http_check_idle(struct tc_py_http_server *self)
{
    if (tc_py_server_check(&self->server) < 0) {
        return -1;
    }
    if (self->server.is_starting || tc_py_server_is_running(&self->server)) {
        PyErr_Format(PyExc_RuntimeError, "%R: its routes are fixed while it runs", self);
        return -1;
    }
    return 0;
}

/* ---- runs ------------------------------------------------------------------------------- */

static bool http_needs_loop(struct tc_py_server *server)
{
    return tc_py_http_server_of((PyObject *)server)->handler_count != 0;
}

/* With handlers a run has a native server of its own, which knows their desk. */
static struct tc_http_server *make_with_desk(struct tc_py_http_server *self)
{
    struct tc_http_desk *desk = tc_py_http_desk(self);
    struct tc_http_server *native = desk == NULL ? NULL : make_native(self, desk);

    if (native == NULL && desk != NULL) {
        tc_http_desk_withdraw(desk);
    } else if (desk != NULL) {
        tc_http_desk_release(desk); /* the server has one of its own */
    }
    return native;
}

static void drop_model(struct tc_py_http_server *self)
{
    struct tc_http_server *model;

    Py_BEGIN_CRITICAL_SECTION(self);
    model = self->model;
    self->model = NULL; /* HS1 */
    Py_END_CRITICAL_SECTION();
    if (model != NULL) {
        tc_http_server_free(model);
    }
}

static void *http_prepare(struct tc_py_server *server)
{
    struct tc_py_http_server *self = tc_py_http_server_of((PyObject *)server);
    struct tc_http_server *native;

    if (http_needs_loop(server)) {
        drop_model(self); /* it knows no desk */
        native = make_with_desk(self);
    } else {
        Py_BEGIN_CRITICAL_SECTION(self);
        native = tc_py_http_model(self);
        self->model = NULL; /* HS1; if there is none, it is NULL already */
        Py_END_CRITICAL_SECTION();
    }
    if (native != NULL && tc_py_http_open_log(self, native) < 0) {
        tc_http_server_free(native);
        return NULL;
    }
    return native;
}

static int http_start(void *subject, struct tc_runtime *runtime,
                      const struct tc_server_options *options, struct tc_server **out)
{
    int error = tc_http_server_start(subject, runtime);

    (void)options; /* it has them */
    if (error == 0) {
        *out = tc_http_server_net(subject);
    }
    return error;
}

static void http_free(void *subject, struct tc_server *server)
{
    (void)server; /* the subject's */
    if (subject != NULL) {
        tc_http_server_free(subject);
    }
}

static void http_finish(struct tc_py_native *record)
{
    tc_http_server_end_log(record->subject);
}

static void http_keep_last(struct tc_py_server *server, struct tc_py_native *record)
{
    struct tc_py_http_server *self = tc_py_http_server_of((PyObject *)server);

    tc_http_server_statistics(record->subject, &self->last_http);
    tc_http_server_upload_statistics(record->subject, &self->last_uploads);
    PyMem_Free(self->last_latencies);
    self->last_latencies = tc_py_http_latencies_of(record->subject);
}

static const struct tc_py_server_kind http_kind = {
    .native = {.start = http_start, .free = http_free},
    .prepare = http_prepare,
    .needs_loop = http_needs_loop,
    .finish = http_finish,
    .keep_last = http_keep_last,
};

/* ---- making ----------------------------------------------------------------------------- */

static PyObject *http_server_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct tc_py_http_server *self = tc_py_http_server_make(type, &http_kind, args, kwargs);

    if (self == NULL) {
        return NULL;
    }
    self->routes = PyList_New(0);
    self->files = PyList_New(0);
    self->uploads = PyList_New(0);
    if (self->routes == NULL || self->files == NULL || self->uploads == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* ---- the collector ---------------------------------------------------------------------- */

static int http_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(tc_py_http_server_of(object)->routes);
    Py_VISIT(tc_py_http_server_of(object)->files);
    Py_VISIT(tc_py_http_server_of(object)->uploads);
    Py_VISIT(tc_py_http_server_of(object)->access_log);
    return tc_py_server_traverse(object, visit, arg);
}

static void http_dealloc(PyObject *object)
{
    struct tc_py_http_server *self = tc_py_http_server_of(object);

    if (PyObject_CallFinalizerFromDealloc(object) < 0) {
        return; /* somebody took a new reference, for instance from the warning */
    }
    drop_model(self);
    PyObject_GC_UnTrack(object);
    Py_CLEAR(self->routes);
    Py_CLEAR(self->files);
    Py_CLEAR(self->uploads);
    Py_CLEAR(self->access_log);
    PyMem_Free(self->last_latencies);
    tc_py_server_dealloc(object);
}

/* ---- the type --------------------------------------------------------------------------- */

PyDoc_STRVAR(
    http_server_doc,
    "HTTPServer(host='127.0.0.1', port=0, *, workers=None, max_connections=None, backlog=None,\n"
    "           reuse_port=False, fd=None, access_log=None, keep_alive_timeout=30, header_timeout=10,\n"
    "           body_timeout=30, body_grace=10, min_body_rate=500, send_timeout=30, skip_timeout=5,\n"
    "           max_header_size=16384, max_request_line=8192, max_headers=100, max_body=1048576,\n"
    "           max_skipped_body=65536, max_chunk_extension=256, drain_timeout=30,\n"
    "           drain_grace=1)\n"
    "--\n\n"
    "An HTTP/1.1 server, served by native threads.\n\n"
    "Routes are added before it starts: respond() for fixed answers, static() for files, upload() for\n"
    "files that clients send, get(), post() and route() for handlers in Python. A path without one is\n"
    "answered with 404, another method with 405, HEAD\n"
    "like GET without the body. Handlers run on the loop in whose thread the server was started,\n"
    "else on one that the server starts in a thread of its own.\n"
    "host is a numeric address or 'localhost'; port 0 takes any free port (see address).\n"
    "workers says to how many of the runtime's workers connections are dealt (None: all).\n"
    "max_connections limits this server (None: as many as leave all servers of the process\n"
    "together within 0.8 of the descriptor limit). backlog is the length of the kernel's queue (None:\n"
    "4096 or the system's limit). reuse_port lets several processes listen on one port. fd, 3 or more, is\n"
    "a TCP socket that listens already, of which start() takes a copy; host, port, backlog and reuse_port\n"
    "mean nothing then. Of servers that share one, the next can start before the last one drains.\n\n"
    "access_log takes a line for each request: a path, which is appended to; a descriptor; or a file such\n"
    "as sys.stderr, whose descriptor is used. It is opened by start(), which may raise OSError, and written\n"
    "by a thread of its own; a log that does not keep up loses lines (log_dropped) but delays nobody. When\n"
    "the server has ended, what is left is written before wait() returns: for a second at most, and no\n"
    "longer than 0.2 s in which a pipe takes nothing. What is lost then counts as log_dropped, too.\n\n"
    "Times are in seconds, None is no limit; sizes are in bytes. keep_alive_timeout closes a connection\n"
    "so long after its last byte in or out. header_timeout is what a client has for the head of a\n"
    "request, from its first byte on (then 408). The body of a request may pause for body_timeout, and\n"
    "after body_grace must have come at min_body_rate bytes a second (then 408). send_timeout ends a\n"
    "connection whose client takes nothing for so long. A head above max_header_size (256 to 65536) is\n"
    "answered with 431, so are more than max_headers fields (1 to 100); a request line above\n"
    "max_request_line with 414; a body for a handler above max_body with 413. A body that nobody wants\n"
    "is skipped up to max_skipped_body within skip_timeout, else the connection ends behind the answer.\n"
    "The extensions of a chunk may have max_chunk_extension (1 to 4096; then 400). drain_timeout is what\n"
    "connections that are being served get after close(); for drain_grace of it those at rest stay, and\n"
    "an answer tells the client that its connection ends.\n\n"
    "with HTTPServer() as server: starts it, and closes and waits at the end; in a task, async\n"
    "with, serve_forever() and wait_closed() do. A server that is\n"
    "dropped while it runs is ended with a ResourceWarning.\n"
    "Thread-safety: every method from any thread. After fork() the child must make its own.\n"
    "Raises: TypeError and ValueError, naming the parameter and its limits.");

PyDoc_STRVAR(
    route_doc,
    "route($self, /, path, *, methods=('GET',))\n"
    "--\n\n"
    "Return a decorator that makes a function the handler of path.\n\n"
    "A segment of path that is {name} stands for any one segment, {name:path} at its end for all that\n"
    "is left; request.path_params has what they stood for. A path without such comes first, then the\n"
    "one that was added first. The handler, def or async def, is called with a Request and returns a\n"
    "Response or just a body: str, bytes, dict or list. A def runs on the loop's thread: what blocks\n"
    "belongs into to_thread(). What a handler raises is logged and answered with 500. If the client\n"
    "goes away, an async def is cancelled.\n"
    "Blocks: never. Thread-safety: any thread.\n"
    "Raises: RuntimeError while the server runs; TypeError and ValueError, naming the parameter.");

PyDoc_STRVAR(get_doc, "get($self, path, /)\n--\n\nThe same as route(path, methods=['GET']).");
PyDoc_STRVAR(post_doc, "post($self, path, /)\n--\n\nThe same as route(path, methods=['POST']).");

static PyMethodDef http_methods[] = {
    {"get", tc_py_http_get, METH_O, get_doc},
    {"post", tc_py_http_post, METH_O, post_doc},
    {"route", TC_PY_KEYWORD_FUNCTION(tc_py_http_route), METH_FASTCALL | METH_KEYWORDS, route_doc},
    {"respond", TC_PY_KEYWORD_FUNCTION(tc_py_http_respond), METH_FASTCALL | METH_KEYWORDS,
     tc_py_http_respond_doc},
    {"static", TC_PY_KEYWORD_FUNCTION(tc_py_http_static), METH_FASTCALL | METH_KEYWORDS,
     tc_py_http_static_doc},
    {"upload", TC_PY_KEYWORD_FUNCTION(tc_py_http_upload), METH_FASTCALL | METH_KEYWORDS,
     tc_py_http_upload_doc},
    {"statistics", tc_py_http_statistics, METH_NOARGS, tc_py_http_statistics_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot http_server_slots[] = {
    {Py_tp_doc, (void *)http_server_doc},
    {Py_tp_new, http_server_new},
    {Py_tp_methods, http_methods},
    {Py_tp_traverse, http_traverse},
    {Py_tp_clear, tc_py_server_clear},
    {Py_tp_dealloc, http_dealloc},
    {0, NULL},
};

static PyType_Spec http_server_spec = {
    .name = "tinycoro.HTTPServer",
    .basicsize = sizeof(struct tc_py_http_server),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = http_server_slots,
};

int tc_py_add_http_server(PyObject *module)
{
    struct tc_py_state *state = tc_py_state_of(module);

    state->http_server_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &http_server_spec,
                                                 (PyObject *)state->native_server_type);
    if (state->http_server_type == NULL || tc_py_add_http_statistics(module) < 0 ||
        tc_py_add_http_routes(module) < 0 || tc_py_add_http_options(module) < 0) {
        return -1;
    }
    return PyModule_AddType(module, state->http_server_type);
}
