/* The Python type LoopBase: what tinycoro.Loop has in C. */
#include "python/debug.h"
#include "python/errors.h"
#include "python/handle.h"
#include "python/http_door.h"
#include "python/loop.h"
#include "python/loop_calls.h"
#include "python/process.h"
#include "python/reader.h"
#include "python/stream.h"
#include "python/stream_server.h"
#include "python/task.h"

#include "base/mem.h"
#include "base/sys.h"

#include <fcntl.h>
#include <stddef.h>

static struct tc_py_loop *loop_of(PyObject *self)
{
    return (struct tc_py_loop *)self;
}

/* ---- life ------------------------------------------------------------------------------- */

static void loop_dealloc(PyObject *self);

/* The type that this file made, below whatever class `type` is; or NULL. */
static PyTypeObject *own_type(PyTypeObject *type)
{
    while (type != NULL && type->tp_dealloc != loop_dealloc) {
        type = type->tp_base;
    }
    return type;
}

struct tc_py_loop *tc_py_loop_cast(PyObject *b_object)
{
    if (own_type(Py_TYPE(b_object)) == NULL) {
        PyErr_Format(PyExc_TypeError, "loop must be a tinycoro.Loop, not %.100s",
                     Py_TYPE(b_object)->tp_name);
        return NULL;
    }
    return loop_of(b_object);
}

/* A socket pair for signal.set_wakeup_fd: an eventfd would refuse the single bytes that the
 * interpreter writes. */
static int open_signal_sockets(struct tc_py_loop *loop)
{
    int fds[2];
    int error = tc_sys_socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds);

    if (error < 0) {
        return error;
    }
    error = tc_poller_add(&loop->mailbox->poller, fds[0], TC_PY_TAG_SIGNAL, true);
    if (error < 0) {
        tc_sys_close(fds[0]);
        tc_sys_close(fds[1]);
        return error;
    }
    loop->signal_fd = fds[0];
    loop->signal_write_fd = fds[1];
    return 0;
}

static PyObject *loop_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                          PyObject *Py_UNUSED(kwargs))
{
    struct tc_py_loop *loop = (struct tc_py_loop *)type->tp_alloc(type, 0);
    int error;

    if (loop == NULL) {
        return NULL;
    }
    loop->module = Py_NewRef(PyType_GetModule(own_type(type)));
    loop->state = tc_py_loop_state_of(loop->module);
    tc_fifo_init(&loop->ready);
    tc_heap_init(&loop->timers);
    tc_list_init(&loop->tasks);
    tc_list_init(&loop->unsent);
    tc_list_init(&loop->blocked);
    tc_list_init(&loop->listeners);
    tc_list_init(&loop->doors);
    loop->signal_fd = loop->signal_write_fd = -1;
    loop->generation = tc_py_process_generation();
    loop->slow_callback_duration = 0.1;
    error = tc_py_mailbox_new(&loop->mailbox);
    if (error < 0) {
        tc_atomic_init(&loop->is_closed, true);
        Py_DECREF(loop);
        return tc_py_error_os(error, "cannot create an event loop", NULL);
    }
    return (PyObject *)loop;
}

static int loop_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct tc_py_loop *loop = loop_of(self);
    struct tc_list *at;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(loop->module);
    Py_VISIT(loop->stop_iteration);
    Py_VISIT(loop->task_factory);
    Py_VISIT(loop->spare_operation);
    Py_VISIT(loop->armed);
    if (tc_py_descriptors_traverse(loop, visit, arg) != 0) {
        return -1;
    }
    if (loop->state != NULL && (tc_py_streams_traverse(loop, visit, arg) != 0 ||
                                tc_py_listeners_traverse(loop, visit, arg) != 0 ||
                                tc_py_doors_traverse(loop, visit, arg) != 0)) {
        return -1;
    }
    for (struct tc_link *link = loop->ready.head; link != NULL; link = link->next) {
        Py_VISIT(tc_container_of(link, struct tc_py_node, link));
    }
    for (uint32_t i = 0; i < loop->timers.len; i++) {
        struct tc_py_timer *timer =
            tc_container_of(loop->timers.entries[i].node, struct tc_py_timer, node);

        Py_VISIT(tc_py_timer_owned(timer));
    }
    if (loop->state != NULL) {
        TC_LIST_FOR_EACH (at, &loop->tasks) {
            Py_VISIT(tc_container_of(at, struct tc_py_task, all));
        }
    }
    return 0;
}

static void drop_tasks(struct tc_py_loop *loop)
{
    struct tc_list *at;

    while ((at = tc_list_pop_front(&loop->tasks)) != NULL) {
        struct tc_py_task *task = tc_container_of(at, struct tc_py_task, all);

        task->future.flags &= ~(uint32_t)TC_PY_TASK_LISTED;
        Py_DECREF(task); /* L2 */
    }
}

static int loop_clear(PyObject *self)
{
    struct tc_py_loop *loop = loop_of(self);

    if (loop->state == NULL) {
        return 0; /* never finished */
    }
    tc_py_loop_drop_all(loop);
    tc_py_listeners_drop(loop);
    tc_py_doors_drop(loop);
    tc_py_streams_drop(loop);
    tc_py_descriptors_clear(loop);
    drop_tasks(loop);
    Py_CLEAR(loop->stop_iteration);
    Py_CLEAR(loop->task_factory);
    Py_CLEAR(loop->spare_operation);
    Py_CLEAR(loop->armed);
    return 0;
}

/* Give back descriptors and mailbox. Does nothing the second time. */
static void release_mailbox(struct tc_py_loop *loop)
{
    struct tc_py_mailbox *mailbox;

    Py_BEGIN_CRITICAL_SECTION(loop);
    mailbox = loop->mailbox;
    loop->mailbox = NULL;
    Py_END_CRITICAL_SECTION();
    if (mailbox == NULL) {
        return;
    }
    tc_py_mailbox_close(mailbox);
    if (loop->signal_fd >= 0) {
        /* A child of a fork shares the poller's kernel object with its parent. */
        if (loop->generation == tc_py_process_generation()) {
            tc_poller_remove(&mailbox->poller, loop->signal_fd);
        }
        tc_sys_close(loop->signal_fd);
        tc_sys_close(loop->signal_write_fd);
        loop->signal_fd = loop->signal_write_fd = -1;
    }
    tc_py_mailbox_release(mailbox);
}

static void loop_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    (void)loop_clear(self); /* cannot fail */
    tc_py_debug_set(loop_of(self), false);
    release_mailbox(loop_of(self));
    tc_heap_fini(&loop_of(self)->timers);
    tc_mem_free(loop_of(self)->scratch, TC_PY_READER_SCRATCH);
    Py_XDECREF(loop_of(self)->module); /* last: what was dropped above has asked its state */
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- scheduling: python/loop_calls.c ------------------------------------------------------ */

PyDoc_STRVAR(call_soon_doc, "call_soon($self, callback, /, *args, context=None)\n--\n\n"
                            "Have callback(*args) called in the next turn.");

PyDoc_STRVAR(call_soon_threadsafe_doc,
             "call_soon_threadsafe($self, callback, /, *args, context=None)\n--\n\n"
             "Have callback(*args) called by the loop, which is woken if it sleeps.\n\n"
             "Thread-safety: any thread.");

PyDoc_STRVAR(call_later_doc, "call_later($self, delay, callback, /, *args, context=None)\n--\n\n"
                             "Have callback(*args) called in `delay` seconds.");

PyDoc_STRVAR(call_at_doc, "call_at($self, when, callback, /, *args, context=None)\n--\n\n"
                          "Have callback(*args) called at the time `when` of loop.time().");

PyDoc_STRVAR(
    hold_time_doc,
    "_hold_time($self, now, /)\n--\n\n"
    "From now on the loop's time stands at `now` seconds, until the next call; for tests.\n\n"
    "Deadlines are then compared with that, the loop never sleeps, and _run() returns\n"
    "after one turn.");

PyDoc_STRVAR(take_armed_doc,
             "_take_armed($self, /)\n--\n\n"
             "Return the deadlines of the timers that were armed since the last call, in seconds.");

PyDoc_STRVAR(ready_count_doc, "_ready_count($self, /)\n--\n\n"
                              "Return how much is ready to run in the next turn; for tests.");

PyDoc_STRVAR(time_doc, "time($self, /)\n--\n\nReturn the monotonic time in seconds.");

/* ---- descriptors: python/descriptor.c ------------------------------------------------------ */

PyDoc_STRVAR(add_reader_doc,
             "add_reader($self, fd, callback, /, *args)\n--\n\n"
             "Have callback(*args) called in each turn in which `fd` is readable.\n\n"
             "Raises: RuntimeError if a stream owns the descriptor; OSError if it\n"
             "cannot be polled.");

PyDoc_STRVAR(remove_reader_doc, "remove_reader($self, fd, /)\n--\n\n"
                                "Stop that; return whether there was a callback.");

PyDoc_STRVAR(add_writer_doc,
             "add_writer($self, fd, callback, /, *args)\n--\n\n"
             "Have callback(*args) called in each turn in which `fd` is writable.\n\n"
             "Raises: as add_reader.");

PyDoc_STRVAR(remove_writer_doc, "remove_writer($self, fd, /)\n--\n\n"
                                "Stop that; return whether there was a callback.");

/* ---- futures and tasks ------------------------------------------------------------------- */

PyDoc_STRVAR(create_future_doc, "create_future($self, /)\n--\n\nReturn a new Future of this loop.");

static PyObject *loop_create_future(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_loop *loop = loop_of(self);

    if (tc_py_loop_check(loop, "Loop.create_future()") < 0) {
        return NULL;
    }
    return (PyObject *)tc_py_future_new(loop, loop->state->future_type, &tc_py_future_ops);
}

PyDoc_STRVAR(create_task_doc,
             "create_task($self, coro, /, *, name=None, context=None, eager_start=None)\n--\n\n"
             "Return a Task that runs the coroutine, or what the task factory makes of it.");

static PyObject *loop_create_task(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *names)
{
    struct tc_py_loop *loop = loop_of(self);

    if (tc_py_loop_check(loop, "Loop.create_task()") < 0) {
        return NULL;
    }
    return tc_py_create_task(loop, args, nargs, names);
}

PyDoc_STRVAR(set_task_factory_doc,
             "set_task_factory($self, factory, /)\n--\n\n"
             "Have tasks made by factory(loop, coro, **options); None: by Task itself.");

static PyObject *loop_set_task_factory(PyObject *self, PyObject *b_factory)
{
    if (tc_py_loop_check(loop_of(self), "Loop.set_task_factory()") < 0) {
        return NULL;
    }
    if (b_factory != Py_None && !PyCallable_Check(b_factory)) {
        PyErr_SetString(PyExc_TypeError, "task factory must be a callable or None");
        return NULL;
    }
    Py_XSETREF(loop_of(self)->task_factory, b_factory == Py_None ? NULL : Py_NewRef(b_factory));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(get_task_factory_doc, "get_task_factory($self, /)\n--\n\n"
                                   "Return the task factory, or None.");

static PyObject *loop_get_task_factory(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *b_factory = loop_of(self)->task_factory;

    return Py_NewRef(b_factory == NULL ? Py_None : b_factory);
}

/* ---- running ---------------------------------------------------------------------------- */

/* Refuse to run. Returns 0, or -1 with RuntimeError set. */
static int check_may_run(struct tc_py_loop *loop)
{
    PyObject *running;
    bool is_none;

    if (loop->generation != tc_py_process_generation()) {
        (void)tc_py_error_forked("event loop");
        return -1;
    }
    if (tc_py_loop_check_open(loop) < 0) {
        return -1;
    }
    if (tc_load_relaxed(&loop->thread) != 0) { /* relaxed: a hint; the claim below decides */
        PyErr_SetString(PyExc_RuntimeError, "This event loop is already running");
        return -1;
    }
    running = PyObject_CallNoArgs(loop->state->get_running_loop);
    if (running == NULL) {
        return -1;
    }
    /* One of ours that does not run: see reset_asyncio_loop. */
    is_none = running == Py_None || own_type(Py_TYPE(running)) != NULL;
    Py_DECREF(running);
    if (!is_none || tc_py_loop_running() != NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "Cannot run the event loop while another loop is running");
        return -1;
    }
    return 0;
}

static int set_asyncio_loop(struct tc_py_loop *loop, PyObject *b_loop)
{
    PyObject *result = PyObject_CallOneArg(loop->state->set_running_loop, b_loop);

    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Nothing runs on this thread any more. asyncio wants memory to note that: without any it gets the
 * blocks that were kept for sleep(), which have the size of its note. Should that fail too, the
 * next run sees that the loop which asyncio names does not run. Returns 0, or -1 with MemoryError
 * set. */
static int reset_asyncio_loop(struct tc_py_loop *loop)
{
    if (tc_likely(set_asyncio_loop(loop, Py_None) == 0)) {
        return 0;
    }
    PyErr_Clear();
    tc_py_sleep_free_spares(loop->state);
    return set_asyncio_loop(loop, Py_None);
}

PyDoc_STRVAR(run_doc,
             "_run($self, /)\n--\n\nRun turns until stop(); run_forever() surrounds this.");

static PyObject *loop_run(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_loop *loop = loop_of(self);
    unsigned long nobody = 0;
    PyObject *error = NULL;

    if (check_may_run(loop) < 0) {
        return NULL;
    }
    /* acquire [loop-thread]: what the thread that ran it before has left. */
    if (!tc_cas_acquire(&loop->thread, &nobody, PyThread_get_thread_ident())) {
        PyErr_SetString(PyExc_RuntimeError, "This event loop is already running");
        return NULL;
    }
    tc_py_this_thread.running = loop;
    if (set_asyncio_loop(loop, self) < 0 || tc_py_loop_run(loop) < 0) {
        error = PyErr_GetRaisedException();
    }
    loop->is_stopping = false;
    tc_py_this_thread.running = NULL;
    /* release [loop-thread]: publishes the loop to the thread that runs it next. */
    tc_store_release(&loop->thread, 0);
    if (reset_asyncio_loop(loop) < 0 && error != NULL) {
        PyErr_Clear(); /* the first error is the one to tell */
    }
    if (error != NULL) {
        PyErr_SetRaisedException(error);
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stop_doc, "stop($self, /)\n--\n\nEnd run_forever() after the present turn.");

static PyObject *loop_stop(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tc_py_loop_check(loop_of(self), "Loop.stop()") < 0) {
        return NULL;
    }
    loop_of(self)->is_stopping = true;
    Py_RETURN_NONE;
}

/* Tasks that never run again must not take from a channel: end the waits of all operations. */
static void withdraw_all(struct tc_py_loop *loop)
{
    struct tc_list *at;

    TC_LIST_FOR_EACH (at, &loop->tasks) {
        struct tc_py_task *task = tc_container_of(at, struct tc_py_task, all);

        if (task->waiting != NULL &&
            Py_TYPE(task->waiting)->tp_base == loop->state->operation_type) {
            tc_py_operation_clear((struct tc_py_operation *)task->waiting);
        }
    }
}

PyDoc_STRVAR(close_doc, "_close($self, /)\n--\n\n"
                        "Drop what waits and close the descriptors; close() surrounds this.");

static PyObject *loop_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_loop *loop = loop_of(self);

    if (loop->generation != tc_py_process_generation()) {
        return tc_py_error_forked("event loop");
    }
    if (tc_load_relaxed(&loop->thread) != 0) { /* relaxed: another thread's run is a user's race */
        PyErr_SetString(PyExc_RuntimeError, "Cannot close a running event loop");
        return NULL;
    }
    /* relaxed: written by the thread that owns the loop; see check_open. */
    if (!tc_load_relaxed(&loop->is_closed)) {
        tc_py_streams_flush(loop); /* what was written while the loop did not run */
        tc_store_relaxed(&loop->is_closed, true); /* relaxed: likewise */
        withdraw_all(loop);
        tc_py_loop_drop_all(loop);
        tc_py_listeners_drop(loop);
        tc_py_doors_drop(loop);
        tc_py_streams_drop(loop);
        tc_py_descriptors_clear(loop);
        release_mailbox(loop);
        drop_tasks(loop); /* last: what they leave behind may look at the loop */
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(is_running_doc, "is_running($self, /)\n--\n\nReturn True while run_forever() runs.");

static PyObject *loop_is_running(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_loop *loop = loop_of(self);

    /* relaxed: a snapshot. */
    return PyBool_FromLong(tc_load_relaxed(&loop->thread) != 0 &&
                           loop->generation == tc_py_process_generation());
}

PyDoc_STRVAR(is_closed_doc, "is_closed($self, /)\n--\n\nReturn True after close().");

static PyObject *loop_is_closed(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(tc_load_relaxed(&loop_of(self)->is_closed)); /* relaxed: a snapshot */
}

PyDoc_STRVAR(signal_fd_doc, "_signal_fd($self, /)\n--\n\n"
                            "Return the descriptor for signal.set_wakeup_fd().");

static PyObject *loop_signal_fd(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_loop *loop = loop_of(self);
    int error = 0;

    if (tc_py_loop_check_open(loop) < 0) {
        return NULL;
    }
    if (loop->signal_fd < 0) {
        error = open_signal_sockets(loop);
    }
    if (error < 0) {
        return tc_py_error_os(error, "cannot watch for signals", NULL);
    }
    return PyLong_FromLong(loop->signal_write_fd);
}

/* ---- debug mode ------------------------------------------------------------------------- */

static PyObject *get_debug(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(loop_of(self)->is_debug);
}

static int set_debug(PyObject *self, PyObject *b_value, void *Py_UNUSED(closure))
{
    int truth = b_value == NULL ? 0 : PyObject_IsTrue(b_value);

    if (truth < 0 || tc_py_loop_check(loop_of(self), "Loop.set_debug()") < 0) {
        return -1;
    }
    tc_py_debug_set(loop_of(self), truth > 0);
    return 0;
}

/* The handle, task or operation that runs now, if debug mode knows it; else, and elsewhere,
 * None. */
static PyObject *get_debug_node(PyObject *self, void *Py_UNUSED(closure))
{
    struct tc_py_loop *loop = loop_of(self);
    struct tc_py_node *node = tc_py_loop_running() == loop ? loop->debug_node : NULL;

    return Py_NewRef(node == NULL ? Py_None : (PyObject *)node);
}

static PyGetSetDef loop_attributes[] = {
    {"_is_debug", get_debug, set_debug, NULL, NULL},
    {"_current_handle", get_debug_node, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef loop_members[] = {
    {"slow_callback_duration", Py_T_DOUBLE, offsetof(struct tc_py_loop, slow_callback_duration), 0,
     PyDoc_STR("In debug mode, what runs for so many seconds is logged.")},
    {NULL, 0, 0, 0, NULL},
};

/* ---- the type --------------------------------------------------------------------------- */

#define KEYWORDS(function) TC_PY_KEYWORD_FUNCTION(function), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef loop_methods[] = {
    {"call_soon", KEYWORDS(tc_py_loop_call_soon), call_soon_doc},
    {"call_soon_threadsafe", KEYWORDS(tc_py_loop_call_soon_threadsafe), call_soon_threadsafe_doc},
    {"call_later", KEYWORDS(tc_py_loop_call_later), call_later_doc},
    {"call_at", KEYWORDS(tc_py_loop_call_at), call_at_doc},
    {"time", tc_py_loop_time, METH_NOARGS, time_doc},
    {"add_reader", TC_PY_FAST_FUNCTION(tc_py_loop_add_reader), METH_FASTCALL, add_reader_doc},
    {"remove_reader", tc_py_loop_remove_reader, METH_O, remove_reader_doc},
    {"add_writer", TC_PY_FAST_FUNCTION(tc_py_loop_add_writer), METH_FASTCALL, add_writer_doc},
    {"remove_writer", tc_py_loop_remove_writer, METH_O, remove_writer_doc},
    {"create_future", loop_create_future, METH_NOARGS, create_future_doc},
    {"create_task", KEYWORDS(loop_create_task), create_task_doc},
    {"set_task_factory", loop_set_task_factory, METH_O, set_task_factory_doc},
    {"get_task_factory", loop_get_task_factory, METH_NOARGS, get_task_factory_doc},
    {"stop", loop_stop, METH_NOARGS, stop_doc},
    {"is_running", loop_is_running, METH_NOARGS, is_running_doc},
    {"is_closed", loop_is_closed, METH_NOARGS, is_closed_doc},
    {"_run", loop_run, METH_NOARGS, run_doc},
    {"_close", loop_close, METH_NOARGS, close_doc},
    {"_signal_fd", loop_signal_fd, METH_NOARGS, signal_fd_doc},
    {"_hold_time", tc_py_loop_hold_time, METH_O, hold_time_doc},
    {"_take_armed", tc_py_loop_take_armed, METH_NOARGS, take_armed_doc},
    {"_ready_count", tc_py_loop_ready_count, METH_NOARGS, ready_count_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(loop_doc, "The part of tinycoro.Loop that is written in C.");

static PyType_Slot loop_slots[] = {
    {Py_tp_doc, (void *)loop_doc},   {Py_tp_new, loop_new},         {Py_tp_dealloc, loop_dealloc},
    {Py_tp_traverse, loop_traverse}, {Py_tp_clear, loop_clear},     {Py_tp_methods, loop_methods},
    {Py_tp_getset, loop_attributes}, {Py_tp_members, loop_members}, {0, NULL},
};

static PyType_Spec loop_spec = {
    .name = "tinycoro.LoopBase",
    .basicsize = sizeof(struct tc_py_loop),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = loop_slots,
};

int tc_py_add_loop_type(PyObject *module, struct tc_py_loop_state *state)
{
    return tc_py_add_type(module, &loop_spec, NULL, &state->loop_type);
}
