/* configure, statistics and what the package says of its own build. */
#include "python/runtime.h"
#include "python/args.h"
#include "python/counters.h"
#include "python/gil.h"
#include "python/module.h"
#include "python/process.h"

#include <stdlib.h>

/* ---- statistics ------------------------------------------------------------------------- */

#define COUNTER(field, kind_, doc_) \
    {.name = #field, \
     .doc = doc_, \
     .offset = offsetof(struct tc_runtime_statistics, field), \
     .kind = TC_PY_COUNTER_##kind_}

static const struct tc_py_counter runtime_fields[] = {
    COUNTER(workers, U32, "worker threads, 0 while nothing is served"),
    COUNTER(workers_parked, U32, "of these, asleep now"),
    COUNTER(fibers, U64, "fibers alive now"),
    COUNTER(spawned, U64, "fibers started"),
    COUNTER(finished, U64, "fibers ended"),
    COUNTER(switches, U64, "times a fiber was resumed"),
    COUNTER(parks, U64, "times a fiber waited"),
    COUNTER(turns, U64, "rounds of the workers' loops"),
    COUNTER(polls, U64, "looks at the descriptors"),
    COUNTER(events, U64, "events that these found"),
    COUNTER(steals, U64, "fibers taken from another worker"),
    COUNTER(searches, U64, "times a worker looked for fibers to steal"),
    COUNTER(wakeups, U64, "workers woken by another thread"),
    COUNTER(rescues, U64, "times a sleeping worker took over from a stalled one"),
    COUNTER(timers, U64, "deadlines armed now"),
    COUNTER(descriptors, U64, "descriptors watched now"),
    COUNTER(errors, U64, "fibers that never ran for want of memory"),
    COUNTER(stacks_in_use, U64, "stacks that fibers run on"),
    COUNTER(stack_bytes_in_use, U64, "bytes of these"),
    COUNTER(stack_bytes_cached, U64, "bytes of stacks kept for the next fibers"),
    COUNTER(bytes_in_use, U64, "heap memory of the library"),
    COUNTER(bytes_reserved, U64, "of it, held by pools, in use or not"),
    COUNTER(retired, U64, "objects waiting until no worker can read them"),
    COUNTER(blocking_threads, U64, "threads for calls that cannot be polled"),
};

static const struct tc_py_counters runtime_counters = {
    .type_name = "tinycoro.RuntimeStatistics",
    .doc = "What is alive in the runtime, and what it has done since it started.",
    .fields = runtime_fields,
    .count = (int)TC_ARRAY_LEN(runtime_fields),
};

PyDoc_STRVAR(statistics_doc,
             "statistics($module, /)\n"
             "--\n\n"
             "Return what is alive in the runtime now, as a frozen RuntimeStatistics.\n\n"
             "All zeros, but for the heap memory, while no server runs.\n"
             "Blocks: never. Thread-safety: any thread.");

static PyObject *runtime_statistics(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct tc_runtime_statistics statistics;
    PyThreadState *thread = tc_gil_release();

    tc_py_process_statistics(&statistics);
    tc_gil_acquire(thread);
    return tc_py_counters_record(&runtime_counters, tc_py_state_of(module)->runtime_statistics_type,
                                 &statistics);
}

/* ---- how many workers ------------------------------------------------------------------- */

/* Read TINYCORO_WORKERS; 0 in *out if it is not set. */
static int workers_from_environment(uint32_t *out)
{
    const char *text = getenv("TINYCORO_WORKERS");
    char *end = NULL;
    long number;

    *out = 0;
    if (text == NULL || text[0] == '\0') {
        return 0;
    }
    number = strtol(text, &end, 10);
    if (end == text || *end != '\0' || number < 1 || number > TC_WORKERS_MAX) {
        PyErr_Format(PyExc_ValueError,
                     "the environment has TINYCORO_WORKERS=%s: it must be an integer between 1 and "
                     "%d",
                     text, TC_WORKERS_MAX);
        return -1;
    }
    *out = (uint32_t)number;
    return 0;
}

/* `spared` processors are left to others, if nobody has said how many workers there are to be. */
static int workers_wanted(uint32_t spared, uint32_t *out)
{
    PyThreadState *thread = tc_gil_release();
    uint32_t workers = tc_py_process_configured();

    tc_gil_acquire(thread);
    if (workers == 0 && workers_from_environment(&workers) < 0) {
        return -1;
    }
    if (workers == 0) {
        workers = tc_workers_available();
        workers = workers > spared ? workers - spared : 1;
    }
    *out = workers;
    return 0;
}

int tc_py_workers_wanted(uint32_t *out)
{
    return workers_wanted(0, out);
}

int tc_py_workers_wanted_beside_loop(uint32_t *out)
{
    return workers_wanted(1, out);
}

PyDoc_STRVAR(configure_doc,
             "configure($module, /, *, workers=None)\n"
             "--\n\n"
             "Say how many worker threads this process will have.\n\n"
             "None leaves the choice to TINYCORO_WORKERS in the environment, else to the\n"
             "processors that the process may use (affinity and control group).\n"
             "Blocks: never. Thread-safety: any thread.\n"
             "Raises: ValueError outside 1 to 256; RuntimeError once a worker has started,\n"
             "that is after the first server was started.");

static PyObject *runtime_configure(PyObject *Py_UNUSED(module), PyObject *const *args,
                                   Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"workers", NULL};
    static const struct tc_py_params params = {"configure", names, 0};
    PyObject *b_workers = NULL;
    PyThreadState *thread;
    int64_t workers = 0;
    int error;

    if (tc_py_bind(&params, args, nargs, kwnames, &b_workers) < 0 ||
        tc_py_integer(b_workers, "workers", true, 1, TC_WORKERS_MAX, &workers) < 0) {
        return NULL;
    }
    thread = tc_gil_release();
    error = tc_py_process_configure((uint32_t)workers);
    tc_gil_acquire(thread);
    if (error < 0) {
        PyErr_SetString(PyExc_RuntimeError,
                        "configure() comes too late: the workers of this process have started, and "
                        "their number is fixed from then on");
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- the build -------------------------------------------------------------------------- */

PyDoc_STRVAR(workers_doc, "_workers($module, /)\n"
                          "--\n\n"
                          "Return how many workers the runtime has or would start with.");

static PyObject *runtime_workers(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyThreadState *thread = tc_gil_release();
    uint32_t workers = tc_py_process_workers();

    tc_gil_acquire(thread);
    if (workers == 0 && tc_py_workers_wanted(&workers) < 0) {
        return NULL;
    }
    return PyLong_FromUnsignedLong(workers);
}

static PyMethodDef runtime_functions[] = {
    {"configure", TC_PY_KEYWORD_FUNCTION(runtime_configure), METH_FASTCALL | METH_KEYWORDS,
     configure_doc},
    {"statistics", runtime_statistics, METH_NOARGS, statistics_doc},
    {"_workers", runtime_workers, METH_NOARGS, workers_doc},
    {NULL, NULL, 0, NULL},
};

int tc_py_add_runtime(PyObject *module)
{
    struct tc_py_state *state = tc_py_state_of(module);

    state->runtime_statistics_type = tc_py_counters_type(&runtime_counters);
    if (state->runtime_statistics_type == NULL ||
        PyModule_AddObjectRef(module, "RuntimeStatistics",
                              (PyObject *)state->runtime_statistics_type) < 0 ||
        PyModule_AddFunctions(module, runtime_functions) < 0) {
        return -1;
    }
    return 0;
}
