#include "python/process.h"

#include "base/atomic.h"
#include "base/clock.h"
#include "base/mem.h"
#include "http/log.h"
#include "io/io.h"
#include "python/gil.h"

#include <errno.h>
#include <string.h>

enum {
    EXIT_LABELS = 8,           /* servers that are named at exit; more are only counted         */
    DUMP_PATIENCE_US = 500000, /* for the lock, before a dump looks without it                  */
};

#define EXIT_NS (1 * TC_NS_PER_SEC)      /* for all servers together                            */
#define EXIT_JOIN_NS (TC_NS_PER_SEC / 4) /* at least so long for the workers after that         */
#define STOP_NS (10 * TC_NS_PER_SEC)     /* no fiber is left, so this is a guard against bugs   */

/* The runtime is one per process whatever the module system does: hence the only static state of
 * this layer. Everything is under `lock`, except as said. */
static struct {
    PyThread_type_lock lock; /* set once                                                        */
    struct tc_runtime *runtime;
    struct tc_list servers;  /* of struct tc_py_native                                          */
    uint32_t holders;        /* tc_py_process_hold calls not yet taken back                     */
    uint32_t workers;        /* configured; 0: none                                             */
    bool has_started;        /* a worker has started in this process                            */
    _Atomic bool is_exiting; /* written under `lock`                                            */
    bool is_claimed;         /* by a module object; attached threads only, import lock held     */
    uint32_t generation;     /* written in the child of a fork, while it has one thread         */
} process;

static void process_lock(void)
{
    (void)PyThread_acquire_lock(process.lock, WAIT_LOCK); /* without a timeout it cannot fail */
}

static void process_unlock(void)
{
    PyThread_release_lock(process.lock);
}

bool tc_py_process_is_exiting(void)
{
    /* relaxed: under the lock, or in a finalizer of the thread that exits. */
    return tc_load_relaxed(&process.is_exiting);
}

/* ---- the runtime ------------------------------------------------------------------------ */

static int runtime_start_locked(uint32_t workers)
{
    struct tc_runtime_options options = {.workers = workers, .driver = &tc_io_driver};
    struct tc_runtime *runtime = NULL;
    int error = tc_runtime_new(&options, &runtime);

    if (error < 0) {
        return error;
    }
    error = tc_runtime_start(runtime);
    if (error < 0) {
        tc_runtime_free(runtime);
        return error;
    }
    process.runtime = runtime;
    process.has_started = true;
    return 0;
}

static bool is_idle_locked(void)
{
    return tc_list_is_empty(&process.servers) && process.holders == 0; /* P1 */
}

static void runtime_stop_locked(void)
{
    if (tc_runtime_stop(process.runtime, tc_deadline_after_ns(STOP_NS)) == 0) {
        tc_runtime_free(process.runtime);
    }
    /* Otherwise fibers are still on their stacks: the memory must stay. */
    process.runtime = NULL;
}

/* ---- servers ---------------------------------------------------------------------------- */

static int server_open_locked(const struct tc_server_options *options, struct tc_py_native *record)
{
    int error;

    if (options->workers > tc_runtime_workers(process.runtime)) {
        return -ERANGE;
    }
    error = record->kind->start(record->subject, process.runtime, options, &record->server);
    if (error < 0) {
        return error;
    }
    record->references = 1;
    tc_list_push_back(&process.servers, &record->link);
    return 0;
}

int tc_py_native_open(const struct tc_py_native_kind *kind, void *subject,
                      const struct tc_server_options *options, uint32_t workers,
                      struct tc_py_native **out)
{
    struct tc_py_native *record = tc_mem_zalloc(sizeof(*record));
    int error = 0;

    if (record == NULL) {
        kind->free(subject, NULL);
        return -ENOMEM;
    }
    record->kind = kind;
    record->subject = subject;
    process_lock();
    if (tc_py_process_is_exiting()) {
        error = -ESHUTDOWN;
    } else if (process.runtime == NULL) {
        error = runtime_start_locked(workers);
    }
    if (error == 0) {
        error = server_open_locked(options, record);
        if (error < 0 && is_idle_locked()) {
            runtime_stop_locked();
        }
    }
    process_unlock();
    if (error < 0) {
        kind->free(subject, NULL);
        tc_mem_free(record, sizeof(*record));
        return error;
    }
    *out = record;
    return 0;
}

void tc_py_native_give_back(struct tc_py_native *record)
{
    process_lock();
    if (!tc_py_process_is_exiting()) {
        tc_list_remove(&record->link);
        record->kind->free(record->subject, record->server);
        tc_mem_free(record, sizeof(*record));
        if (is_idle_locked()) {
            runtime_stop_locked();
        }
    }
    process_unlock();
}

bool tc_py_native_ends_by(struct tc_server *server, int64_t deadline_ns)
{
    int result;

    do {
        result = tc_server_wait(server, deadline_ns);
    } while (result == -EINTR);
    return result == 0;
}

/* ---- others that need workers ---------------------------------------------------------------- */

int tc_py_process_hold(uint32_t workers, struct tc_runtime **out)
{
    int error = 0;

    process_lock();
    if (tc_py_process_is_exiting()) {
        error = -ESHUTDOWN;
    } else if (process.runtime == NULL) {
        error = runtime_start_locked(workers);
    }
    if (error == 0) {
        process.holders++;
        *out = process.runtime;
    }
    process_unlock();
    return error;
}

void tc_py_process_let_go(void)
{
    process_lock();
    if (!tc_py_process_is_exiting()) {
        process.holders--;
        if (is_idle_locked()) {
            runtime_stop_locked();
        }
    }
    process_unlock();
}

/* ---- looking and configuring ------------------------------------------------------------ */

void tc_py_process_statistics(struct tc_runtime_statistics *out)
{
    memset(out, 0, sizeof(*out));
    process_lock();
    if (process.runtime != NULL) {
        tc_runtime_statistics(process.runtime, out);
    }
    process_unlock();
    /* Descriptor slots and the like are pooled for the whole process, runtime or not. */
    out->bytes_in_use = tc_mem_bytes_in_use();
    out->bytes_reserved = tc_mem_bytes_reserved();
}

void tc_py_process_dump(int fd)
{
    PyLockStatus status = PyThread_acquire_lock_timed(process.lock, DUMP_PATIENCE_US, 0);

    /* A thread that hangs while it starts or stops the runtime holds the lock, and is then what
     * the reader of the dump wants to know about: better a racy look than none. */
    if (process.runtime != NULL) {
        tc_runtime_dump(process.runtime, fd);
    }
    if (status == PY_LOCK_ACQUIRED) {
        process_unlock();
    }
}

int tc_py_process_configure(uint32_t workers)
{
    int error = 0;

    process_lock();
    if (process.has_started) {
        error = -EBUSY;
    } else {
        process.workers = workers;
    }
    process_unlock();
    return error;
}

uint32_t tc_py_process_configured(void)
{
    uint32_t workers;

    process_lock();
    workers = process.workers;
    process_unlock();
    return workers;
}

uint32_t tc_py_process_workers(void)
{
    uint32_t workers = 0;

    process_lock();
    if (process.runtime != NULL) {
        workers = tc_runtime_workers(process.runtime);
    }
    process_unlock();
    return workers;
}

uint32_t tc_py_process_generation(void)
{
    return process.generation;
}

/* ---- fork ------------------------------------------------------------------------------- */

static PyObject *before_fork(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    PyThreadState *thread = tc_gil_release();

    process_lock();
    tc_gil_acquire(thread);
    Py_RETURN_NONE;
}

static PyObject *after_fork_in_parent(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    process_unlock();
    Py_RETURN_NONE;
}

/* The lock is this thread's own, taken before the fork: it is released, not made anew. */
static PyObject *after_fork_in_child(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    if (process.runtime != NULL) {
        tc_runtime_after_fork_child(process.runtime);
        process.runtime = NULL;
    }
    tc_server_after_fork_child();
    tc_http_log_after_fork_child();
    tc_list_init(&process.servers);
    process.holders = 0;
    process.has_started = false;
    process.generation++;
    process_unlock();
    Py_RETURN_NONE;
}

/* ---- exit ------------------------------------------------------------------------------- */

struct exit_report {
    int count; /* servers that were running                                                     */
    char labels[EXIT_LABELS][TC_PY_LABEL_BYTES];
};

/* End every server. The records stay: a daemon thread may still look at one. */
static void servers_end_locked(struct exit_report *report)
{
    int64_t deadline = tc_deadline_after_ns(EXIT_NS);
    struct tc_list *at;

    TC_LIST_FOR_EACH (at, &process.servers) {
        struct tc_py_native *record = tc_container_of(at, struct tc_py_native, link);

        if (tc_py_native_ends_by(record->server, 0)) {
            continue;
        }
        if (report->count < EXIT_LABELS) {
            memcpy(report->labels[report->count], record->label, sizeof(record->label));
        }
        report->count++;
        tc_server_abort(record->server);
    }
    TC_LIST_FOR_EACH (at, &process.servers) {
        struct tc_py_native *record = tc_container_of(at, struct tc_py_native, link);

        (void)tc_py_native_ends_by(record->server, deadline); /* late ones die with the process */
    }
    if (process.runtime != NULL) {
        int64_t least = tc_deadline_after_ns(EXIT_JOIN_NS);

        /* likewise */
        TC_IGNORE(tc_runtime_stop(process.runtime, deadline > least ? deadline : least));
    }
    tc_http_log_at_exit();
}

static PyObject *at_exit(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    struct exit_report report = {.count = 0};
    PyThreadState *thread = tc_gil_release();

    process_lock();
    tc_store_relaxed(&process.is_exiting, true); /* relaxed: readers who act on it hold the lock */
    servers_end_locked(&report);
    /* Leaked: a daemon thread may be on its way out of a wait. */
    process.runtime = NULL;
    tc_list_init(&process.servers);
    process_unlock();
    tc_gil_acquire(thread);
    for (int i = 0; i < report.count && i < EXIT_LABELS; i++) {
        if (PyErr_WarnFormat(PyExc_ResourceWarning, 1, "%s was running at interpreter exit",
                             report.labels[i]) < 0) {
            PyErr_WriteUnraisable(NULL); /* warnings are errors here, and nobody can catch it */
        }
    }
    if (report.count > EXIT_LABELS &&
        PyErr_WarnFormat(PyExc_ResourceWarning, 1, "%d more servers were running at exit",
                         report.count - EXIT_LABELS) < 0) {
        PyErr_WriteUnraisable(NULL);
    }
    Py_RETURN_NONE;
}

/* ---- the module's claim ----------------------------------------------------------------- */

static PyMethodDef before_fork_def = {"_before_fork", before_fork, METH_NOARGS, NULL};
static PyMethodDef after_parent_def = {"_after_fork_in_parent", after_fork_in_parent, METH_NOARGS,
                                       NULL};
static PyMethodDef after_child_def = {"_after_fork_in_child", after_fork_in_child, METH_NOARGS,
                                      NULL};
static PyMethodDef at_exit_def = {"_at_exit", at_exit, METH_NOARGS, NULL};

static int register_fork_hooks(void)
{
    PyObject *os = PyImport_ImportModule("os");
    PyObject *method = NULL;
    PyObject *none = NULL;
    PyObject *hooks = NULL;
    PyObject *result = NULL;

    if (os == NULL) {
        return -1;
    }
    hooks = Py_BuildValue("{sN sN sN}", "before", PyCFunction_New(&before_fork_def, NULL),
                          "after_in_parent", PyCFunction_New(&after_parent_def, NULL),
                          "after_in_child", PyCFunction_New(&after_child_def, NULL));
    method = PyObject_GetAttrString(os, "register_at_fork");
    none = PyTuple_New(0);
    if (hooks != NULL && method != NULL && none != NULL) {
        result = PyObject_Call(method, none, hooks);
    }
    Py_DECREF(os);
    Py_XDECREF(method);
    Py_XDECREF(none);
    Py_XDECREF(hooks);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int register_exit_hook(void)
{
    PyObject *atexit = PyImport_ImportModule("atexit");
    PyObject *result;

    if (atexit == NULL) {
        return -1;
    }
    result = PyObject_CallMethod(atexit, "register", "N", PyCFunction_New(&at_exit_def, NULL));
    Py_DECREF(atexit);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int tc_py_process_check(void)
{
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError,
                        "tinycoro runs in the main interpreter only, not in a subinterpreter");
        return -1;
    }
    if (process.is_claimed) {
        PyErr_SetString(PyExc_ImportError,
                        "tinycoro._core is loaded already: its runtime is one per process, so a "
                        "second module object cannot be made");
        return -1;
    }
    return 0;
}

int tc_py_process_claim(void)
{
    if (process.lock == NULL) {
        process.lock = PyThread_allocate_lock();
        if (process.lock == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        tc_list_init(&process.servers);
    }
    if (register_exit_hook() < 0 || register_fork_hooks() < 0) {
        return -1;
    }
    /* An embedding program may finalize Python and start it again.  relaxed: as in at_exit */
    tc_store_relaxed(&process.is_exiting, false);
    process.is_claimed = true;
    return 0;
}

void tc_py_process_unclaim(void)
{
    process.is_claimed = false;
}
