/* HTTPServer.statistics(): counters, and the uploads that are on their way. */
#include "python/counters.h"
#include "python/http_server.h"
#include "python/module.h"

#include "base/clock.h"
#include "http/upload_route.h"

/* ---- uploads on their way -------------------------------------------------------------- */

/* What statistics() lists at most: it is made anew each time. */
enum { SHOWN_MAX = 64 };

static PyStructSequence_Field progress_fields[] = {
    {"name", "of the file, as it will be stored"},
    {"received", "bytes so far"},
    {"expected", "bytes in all, None if the client has not said"},
    {"seconds", "since it began"},
    {NULL, NULL},
};

static PyStructSequence_Desc progress_desc = {"tinycoro.UploadProgress",
                                              "A file that is being uploaded.", progress_fields, 4};

static PyObject *progress_record(PyTypeObject *type, const struct tc_upload_progress *progress,
                                 int64_t now_ns)
{
    double seconds = (double)(now_ns - progress->since_ns) / (double)TC_NS_PER_SEC;
    PyObject *record = PyStructSequence_New(type);

    if (record == NULL) {
        return NULL;
    }
    PyStructSequence_SetItem(record, 0, PyUnicode_DecodeFSDefault(progress->name));
    PyStructSequence_SetItem(record, 1, PyLong_FromUnsignedLongLong(progress->bytes));
    PyStructSequence_SetItem(record, 2,
                             progress->total < 0 ? Py_NewRef(Py_None)
                                                 : PyLong_FromLongLong(progress->total));
    PyStructSequence_SetItem(record, 3, PyFloat_FromDouble(seconds));
    for (Py_ssize_t i = 0; i < progress_desc.n_in_sequence; i++) {
        if (PyStructSequence_GetItem(record, i) == NULL) {
            Py_DECREF(record);
            return NULL;
        }
    }
    return record;
}

/* What is being uploaded to a server that runs: a tuple of `type`. Returns a new reference, or NULL
 * with an exception set. */
static PyObject *uploading(PyTypeObject *type, const struct tc_http_server *native)
{
    struct tc_upload_progress *found = PyMem_Malloc(SHOWN_MAX * sizeof(*found));
    int64_t now_ns;
    size_t count;
    PyObject *list;

    if (found == NULL) {
        return PyErr_NoMemory();
    }
    count = tc_http_server_upload_progress(native, found, SHOWN_MAX);
    count = count < SHOWN_MAX ? count : SHOWN_MAX;
    now_ns = tc_clock_now_ns();
    list = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *record = progress_record(type, &found[i], now_ns);

        if (record == NULL) {
            Py_CLEAR(list);
        } else {
            PyTuple_SET_ITEM(list, (Py_ssize_t)i, record);
        }
    }
    PyMem_Free(found);
    return list;
}

/* ---- the record -------------------------------------------------------------------------- */

struct http_look {
    struct tc_server_statistics net;
    struct tc_http_statistics http;
    struct tc_upload_statistics uploads;
    PyObject *uploading; /* owned tuple; NULL with an exception set; so too the next one */
    PyObject *latency;
};

#define NET(field, kind, doc) TC_PY_COUNTER_OF(struct http_look, net.field, field, kind, doc),
#define HTTP(field, kind, doc) TC_PY_COUNTER_OF(struct http_look, http.field, field, kind, doc),
#define UPLOAD(name, field, doc) TC_PY_COUNTER_OF(struct http_look, uploads.field, name, U64, doc),

static const struct tc_py_counter http_fields[] = {
    TC_PY_SERVER_COUNTERS(NET, HTTP(requests, U64, "requests answered, refused ones too"))
        HTTP(refused, U64,
             "of these, messages that broke a rule") HTTP(header_timeouts, U64,
                                                          "of these, heads that came too slowly")
            HTTP(handled, U64, "requests that the loop of the handlers has taken")
                HTTP(batches, U64, "times it took some: all that waited, at one attachment")
                    UPLOAD(uploads, files_in_progress,
                           "files that are being uploaded now") UPLOAD(upload_bytes, bytes_received,
                                                                       "bytes of uploads so far")
                        UPLOAD(uploads_stored, files_stored,
                               "files stored") UPLOAD(uploads_failed, files_failed,
                                                      "files refused, given up or broken off")
                            TC_PY_COUNTER_OF(struct http_look, uploading, uploading, OBJECT,
                                             "of the uploads now the first 64, as UploadProgress"),
    HTTP(log_lines, U64, "lines for the access log")
        HTTP(log_dropped, U64, "lines lost, because it did not keep up or could not be written")
            TC_PY_COUNTER_OF(struct http_look, latency, latency, OBJECT,
                             "of each route that has answered, as RouteLatency")};

static const struct tc_py_counters http_counters = {
    .type_name = "tinycoro.HTTPServerStatistics",
    .doc = "What an HTTP server has done since it was started.",
    .fields = http_fields,
    .count = (int)TC_ARRAY_LEN(http_fields),
};

const char tc_py_http_statistics_doc[] =
    "statistics($self, /)\n"
    "--\n\n"
    "Return what the server has done, as a frozen HTTPServerStatistics: of the run that is on, or of\n"
    "the last one. uploading lists files that are on their way, uploads counts them all. latency has a\n"
    "RouteLatency for every route that has answered, in their order, handlers behind the others, and one\n"
    "with route None for what no route took; they are summed up for each call: some 10 µs a route.\n\n"
    "Blocks: never. Thread-safety: any thread.";

/* Of the last run that ended: nothing is on its way. */
static void look_at_last(struct tc_py_http_server *self, PyTypeObject *latency_type,
                         struct http_look *look)
{
    struct tc_py_http_latencies *list;

    Py_BEGIN_CRITICAL_SECTION(self);
    look->net = self->server.last;
    look->http = self->last_http;
    look->uploads = self->last_uploads;
    list = tc_py_http_latencies_copy(self->last_latencies);
    Py_END_CRITICAL_SECTION();
    look->net.listening = false;
    look->uploading = PyTuple_New(0);
    look->latency = tc_py_http_latency_tuple(latency_type, list);
    PyMem_Free(list);
}

/* Of the run that is on, which the caller holds. */
static void look_at_run(const struct tc_py_native *record, const struct tc_py_state *state,
                        struct http_look *look)
{
    struct tc_py_http_latencies *list = tc_py_http_latencies_of(record->subject);

    tc_server_statistics(record->server, &look->net);
    tc_http_server_statistics(record->subject, &look->http);
    tc_http_server_upload_statistics(record->subject, &look->uploads);
    look->uploading = look->uploads.files_in_progress == 0
                          ? PyTuple_New(0)
                          : uploading(state->upload_progress_type, record->subject);
    look->latency = tc_py_http_latency_tuple(state->route_latency_type, list);
    PyMem_Free(list);
}

PyObject *tc_py_http_statistics(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_http_server *self = tc_py_http_server_of(object);
    struct tc_py_state *state = (struct tc_py_state *)PyType_GetModuleState(Py_TYPE(self));
    struct tc_py_native *record;
    struct http_look look;
    PyObject *result = NULL;

    if (state == NULL || tc_py_server_check(&self->server) < 0) {
        return NULL;
    }
    record = tc_py_server_hold(&self->server);
    if (record == NULL) {
        look_at_last(self, state->route_latency_type, &look);
    } else {
        look_at_run(record, state, &look);
        tc_py_server_release(&self->server, record, false);
    }
    if (look.uploading != NULL && look.latency != NULL) {
        result = tc_py_counters_record(&http_counters, state->http_statistics_type, &look);
    }
    Py_XDECREF(look.uploading);
    Py_XDECREF(look.latency);
    return result;
}

int tc_py_add_http_statistics(PyObject *module)
{
    struct tc_py_state *state = tc_py_state_of(module);

    state->http_statistics_type = tc_py_counters_type(&http_counters);
    state->upload_progress_type = PyStructSequence_NewType(&progress_desc);
    state->route_latency_type = tc_py_http_latency_type();
    if (state->http_statistics_type == NULL || state->upload_progress_type == NULL ||
        state->route_latency_type == NULL ||
        PyModule_AddObjectRef(module, "RouteLatency", (PyObject *)state->route_latency_type) < 0 ||
        PyModule_AddObjectRef(module, "HTTPServerStatistics",
                              (PyObject *)state->http_statistics_type) < 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "UploadProgress", (PyObject *)state->upload_progress_type);
}
