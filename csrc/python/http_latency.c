/* HTTPServer.statistics().latency: how long the requests of each route took. */
#include "python/http_latency.h"

#include "http/method.h"

#include <string.h>

struct item {
    size_t path_at; /* in the list's text                                                       */
    size_t path_len;
    bool has_path;
    uint64_t methods;
    struct tc_histogram_summary took;
};

struct tc_py_http_latencies {
    size_t size; /* of the block: the items, then the text of their paths                       */
    size_t count;
    struct item items[];
};

/* ---- the list --------------------------------------------------------------------------- */

struct tc_py_http_latencies *tc_py_http_latencies_of(struct tc_http_server *native)
{
    size_t room = tc_http_server_latencies(native, NULL, 0);
    struct tc_http_route_latency *found = PyMem_Malloc((room + 1) * sizeof(*found));
    size_t count = found == NULL ? 0 : tc_http_server_latencies(native, found, room);
    size_t size = sizeof(struct tc_py_http_latencies);
    struct tc_py_http_latencies *list;
    char *text;

    count = count < room ? count : room; /* there may be more by now */
    size += count * sizeof(struct item);
    for (size_t i = 0; i < count; i++) {
        size += found[i].path_len;
    }
    list = PyMem_Calloc(1, size);
    if (list == NULL || found == NULL) {
        PyMem_Free(list);
        PyMem_Free(found);
        return NULL;
    }
    list->size = size;
    list->count = count;
    text = (char *)(list->items + count);
    for (size_t i = 0, at = 0; i < count; i++) {
        list->items[i] = (struct item){
            .path_at = at,
            .path_len = found[i].path_len,
            .has_path = found[i].path != NULL,
            .methods = found[i].methods,
            .took = found[i].took,
        };
        if (found[i].path_len != 0) {
            memcpy(text + at, found[i].path, found[i].path_len);
        }
        at += found[i].path_len;
    }
    PyMem_Free(found);
    return list;
}

struct tc_py_http_latencies *tc_py_http_latencies_copy(const struct tc_py_http_latencies *b_list)
{
    struct tc_py_http_latencies *list = b_list == NULL ? NULL : PyMem_Malloc(b_list->size);

    return list == NULL ? NULL : memcpy(list, b_list, b_list->size);
}

/* ---- the record ------------------------------------------------------------------------- */

static PyStructSequence_Field fields[] = {
    {"route", "its path, pattern or prefix; None: what no route took"},
    {"methods", "that it serves, a tuple of str"},
    {"count", "requests answered"},
    {"sum", "of their times, in seconds"},
    {"p50", "half of them took no longer, in seconds"},
    {"p90", "the same of 90 %"},
    {"p99", "of 99 %"},
    {"p999", "of 99.9 %"},
    {"max", "the longest time, in seconds"},
    {NULL, NULL},
};

static PyStructSequence_Desc desc = {
    "tinycoro.RouteLatency",
    "How long the requests of one route took, from the receive that brought the first byte of a\n"
    "request's head to the send that took the last byte of its answer. A request sent ahead while\n"
    "another was being served counts from when its turn came; answers that clients did not take are\n"
    "not counted. Percentiles are at most 1/32, or 64 ns, too high, and never too low.",
    fields, 9};

/* The names of a mask. */
static PyObject *method_names(uint64_t methods)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)__builtin_popcountll(methods));
    Py_ssize_t at = 0;

    for (int method = 0; tuple != NULL && method < TC_HTTP_METHOD_COUNT; method++) {
        PyObject *name;

        if ((methods & TC_HTTP_METHOD_BIT(method)) == 0) {
            continue;
        }
        name = PyUnicode_FromString(tc_http_method_name((enum tc_http_method)method));
        if (name == NULL) {
            Py_CLEAR(tuple);
        } else {
            PyTuple_SET_ITEM(tuple, at++, name);
        }
    }
    return tuple;
}

static PyObject *seconds(uint64_t ns)
{
    return PyFloat_FromDouble((double)ns / (double)TC_NS_PER_SEC);
}

static PyObject *record_of(PyTypeObject *type, const struct item *item, const char *text)
{
    const struct tc_histogram_summary *took = &item->took;
    const uint64_t times[] = {took->sum, took->p50, took->p90, took->p99, took->p999, took->max};
    PyObject *record = PyStructSequence_New(type);

    if (record == NULL) {
        return NULL;
    }
    PyStructSequence_SetItem(record, 0,
                             item->has_path ? PyUnicode_DecodeUTF8(text + item->path_at,
                                                                   (Py_ssize_t)item->path_len,
                                                                   "surrogateescape")
                                            : Py_NewRef(Py_None));
    PyStructSequence_SetItem(record, 1, method_names(item->methods));
    PyStructSequence_SetItem(record, 2, PyLong_FromUnsignedLongLong(took->count));
    for (Py_ssize_t i = 0; i < (Py_ssize_t)TC_ARRAY_LEN(times); i++) {
        PyStructSequence_SetItem(record, 3 + i, seconds(times[i]));
    }
    for (Py_ssize_t i = 0; i < desc.n_in_sequence; i++) {
        if (PyStructSequence_GetItem(record, i) == NULL) {
            Py_DECREF(record);
            return NULL;
        }
    }
    return record;
}

PyObject *tc_py_http_latency_tuple(PyTypeObject *type, const struct tc_py_http_latencies *b_list)
{
    size_t count = b_list == NULL ? 0 : b_list->count;
    PyObject *tuple = PyTuple_New((Py_ssize_t)count);

    for (size_t i = 0; tuple != NULL && i < count; i++) {
        PyObject *record =
            record_of(type, &b_list->items[i], (const char *)(b_list->items + count));

        if (record == NULL) {
            Py_CLEAR(tuple);
        } else {
            PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, record);
        }
    }
    return tuple;
}

PyTypeObject *tc_py_http_latency_type(void)
{
    return PyStructSequence_NewType(&desc);
}
