/* The parameters of HTTPServer(): one table of limits, with their defaults and what they may be. */
#include "python/args.h"
#include "python/http_server.h"
#include "python/module.h"

#include "http/chunked.h"

enum kind {
    SECONDS, /* above 0, or None: no limit */
    PATIENCE, /* the same, but 0 is a time too */
    NUMBER,
};

/* name, kind, lowest and highest number, default in nanoseconds or as a number */
#define LIMITS(X) \
    X(keep_alive_timeout, SECONDS, 0, 0, TC_HTTP_KEEP_ALIVE_NS) \
    X(header_timeout, SECONDS, 0, 0, TC_HTTP_HEADER_TIMEOUT_NS) \
    X(body_timeout, SECONDS, 0, 0, TC_HTTP_BODY_TIMEOUT_NS) \
    X(body_grace, SECONDS, 0, 0, TC_HTTP_BODY_GRACE_NS) \
    X(min_body_rate, NUMBER, 1, UINT32_MAX, TC_HTTP_BODY_RATE) \
    X(send_timeout, SECONDS, 0, 0, TC_SERVER_SEND_TIMEOUT_NS) \
    X(skip_timeout, SECONDS, 0, 0, TC_HTTP_SKIP_TIMEOUT_NS) \
    X(max_header_size, NUMBER, 256, TC_HTTP_SERVER_HEAD_BYTES_MAX, TC_HTTP_HEAD_BYTES) \
    X(max_request_line, NUMBER, 64, TC_HTTP_SERVER_HEAD_BYTES_MAX, TC_HTTP_LINE_BYTES) \
    X(max_headers, NUMBER, 1, TC_HTTP_FIELDS_MAX, TC_HTTP_FIELDS_MAX) \
    X(max_body, NUMBER, 0, PY_SSIZE_T_MAX / 4, TC_HTTP_MAX_BODY) \
    X(max_skipped_body, NUMBER, 1, UINT32_MAX, TC_HTTP_SKIP_BYTES) \
    X(max_chunk_extension, NUMBER, 1, TC_CHUNKED_EXTENSIONS_BYTES, TC_CHUNKED_EXTENSION_BYTES) \
    X(drain_timeout, PATIENCE, 0, 0, TC_SERVER_DRAIN_TIMEOUT_NS) \
    X(drain_grace, PATIENCE, 0, 0, TC_HTTP_DRAIN_GRACE_NS)

enum limit {
#define LIMIT_INDEX(name, kind, low, high, normal) LIMIT_##name,
    LIMITS(LIMIT_INDEX)
#undef LIMIT_INDEX
        LIMIT_COUNT,
};

static const struct {
    const char *name;
    enum kind kind;
    int64_t low;
    int64_t high;
    int64_t normal;
} limits[] = {
#define LIMIT_ROW(name_, kind_, low_, high_, normal_) \
    {.name = #name_, .kind = kind_, .low = low_, .high = high_, .normal = normal_},
    LIMITS(LIMIT_ROW)
#undef LIMIT_ROW
};

/* ---- parameters ------------------------------------------------------------------------- */

/* The others come first. */
enum { HOST, PORT, WORKERS, MAX_CONNECTIONS, BACKLOG, REUSE_PORT, FD, ACCESS_LOG, FIRST_LIMIT };
enum { PARAM_COUNT = (int)FIRST_LIMIT + (int)LIMIT_COUNT };

static const char *const names[] = {
    "host",
    "port",
    "workers",
    "max_connections",
    "backlog",
    "reuse_port",
    "fd",
    "access_log",
#define LIMIT_NAME(name, kind, low, high, normal) #name,
    LIMITS(LIMIT_NAME)
#undef LIMIT_NAME
        NULL,
};

static const struct tc_py_params params = {"HTTPServer", names, 2};

/* Bind what a constructor was called with. `b_values` has PARAM_COUNT items. */
static int bind_all(PyObject *args, PyObject *kwargs, PyObject **b_values)
{
    Py_ssize_t given = PyTuple_GET_SIZE(args);
    Py_ssize_t named = kwargs == NULL ? 0 : PyDict_GET_SIZE(kwargs);
    PyObject **b_all = PyMem_Malloc((size_t)(given + named + 1) * sizeof(PyObject *));
    PyObject *kwnames = b_all == NULL ? NULL : PyTuple_New(named);
    PyObject *b_name, *b_value;
    Py_ssize_t at = 0;
    int result = -1;

    for (Py_ssize_t i = 0; b_all != NULL && i < given; i++) {
        b_all[i] = PyTuple_GET_ITEM(args, i);
    }
    if (kwnames != NULL) {
        for (Py_ssize_t i = 0; i < named && PyDict_Next(kwargs, &at, &b_name, &b_value); i++) {
            PyTuple_SET_ITEM(kwnames, i, Py_NewRef(b_name));
            b_all[given + i] = b_value;
        }
        result = tc_py_bind(&params, b_all, given, kwnames, b_values);
    }
    if (b_all == NULL) {
        PyErr_NoMemory();
    }
    Py_XDECREF(kwnames);
    PyMem_Free(b_all);
    return result;
}

/* Convert the limits that were given; the others are as usual. */
static int convert(PyObject *const *b_values, int64_t *out)
{
    for (int i = 0; i < LIMIT_COUNT; i++) {
        PyObject *b_value = b_values[i];
        int result;

        out[i] = limits[i].normal;
        if (limits[i].kind == NUMBER) {
            result = tc_py_integer(b_value, limits[i].name, false, limits[i].low, limits[i].high,
                                   &out[i]);
        } else {
            result = tc_py_seconds(b_value, limits[i].name, limits[i].kind == SECONDS, &out[i]);
        }
        if (result < 0) {
            return -1;
        }
    }
    return 0;
}

/* No request line is longer than the head that it begins. */
static uint32_t line_bytes(const int64_t *values)
{
    int64_t head = values[LIMIT_max_header_size];
    int64_t line = values[LIMIT_max_request_line];

    return (uint32_t)(head < line ? head : line);
}

static void apply(struct tc_py_http_server *self, const int64_t *values)
{
    self->server.options.idle_timeout_ns = values[LIMIT_keep_alive_timeout];
    self->server.options.send_timeout_ns = values[LIMIT_send_timeout];
    self->server.options.drain_timeout_ns = values[LIMIT_drain_timeout];
    self->server.options.drain_grace_ns =
        values[LIMIT_drain_grace] == 0 ? -1 : values[LIMIT_drain_grace]; /* 0: as usual */
    self->http = (struct tc_http_options){
        .header_timeout_ns = values[LIMIT_header_timeout],
        .body_timeout_ns = values[LIMIT_body_timeout],
        .body_grace_ns = values[LIMIT_body_grace],
        .body_rate = (uint64_t)values[LIMIT_min_body_rate],
        .max_body = values[LIMIT_max_body], /* 0: no route of C wants a body but upload() */
        .skip_timeout_ns = values[LIMIT_skip_timeout],
        .skip_bytes = (uint64_t)values[LIMIT_max_skipped_body],
        .chunk_extension_bytes = (uint32_t)values[LIMIT_max_chunk_extension],
        .limits =
            {
                .line_bytes = line_bytes(values),
                .head_bytes = (uint32_t)values[LIMIT_max_header_size],
                .fields = (uint32_t)values[LIMIT_max_headers],
            },
    };
    self->max_body = (size_t)values[LIMIT_max_body];
    self->body_timeout_ns = values[LIMIT_body_timeout];
}

struct tc_py_http_server *tc_py_http_server_make(PyTypeObject *type,
                                                 const struct tc_py_server_kind *kind,
                                                 PyObject *args, PyObject *kwargs)
{
    PyObject *b_values[PARAM_COUNT];
    int64_t values[LIMIT_COUNT];
    struct tc_py_server *self;

    if (bind_all(args, kwargs, b_values) < 0 || convert(b_values + FIRST_LIMIT, values) < 0) {
        return NULL;
    }
    self = tc_py_server_new(type, kind,
                            &(struct tc_py_server_args){
                                .host = b_values[HOST],
                                .port = b_values[PORT],
                                .workers = b_values[WORKERS],
                                .max_connections = b_values[MAX_CONNECTIONS],
                                .backlog = b_values[BACKLOG],
                                .reuse_port = b_values[REUSE_PORT],
                                .fd = b_values[FD],
                            });
    if (self != NULL) {
        apply(tc_py_http_server_of((PyObject *)self), values);
        if (tc_py_http_keep_log(tc_py_http_server_of((PyObject *)self), b_values[ACCESS_LOG]) < 0) {
            Py_CLEAR(self);
        }
    }
    return self == NULL ? NULL : tc_py_http_server_of((PyObject *)self);
}

/* ---- for the documentation -------------------------------------------------------------- */

PyDoc_STRVAR(http_limits_doc,
             "_http_limits($module, /)\n--\n\n"
             "The limits of HTTPServer and their defaults: seconds as float, numbers as int.");

static PyObject *http_limits(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *result = PyDict_New();

    for (int i = 0; result != NULL && i < LIMIT_COUNT; i++) {
        PyObject *value =
            limits[i].kind == NUMBER
                ? PyLong_FromLongLong(limits[i].normal)
                : PyFloat_FromDouble((double)limits[i].normal / (double)TC_NS_PER_SEC);

        if (value == NULL || PyDict_SetItemString(result, limits[i].name, value) < 0) {
            Py_CLEAR(result);
        }
        Py_XDECREF(value);
    }
    return result;
}

static PyMethodDef functions[] = {
    {"_http_limits", http_limits, METH_NOARGS, http_limits_doc},
    {NULL, NULL, 0, NULL},
};

int tc_py_add_http_options(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
