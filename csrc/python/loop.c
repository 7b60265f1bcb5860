/* The loop's turn, its checks and its reports; the Python methods are in loop_type.c. */
#include "python/loop.h"

#include "python/debug.h"
#include "python/errors.h"
#include "python/gil.h"
#include "python/handle.h"
#include "python/process.h"
#include "python/stream.h"
#include "python/task.h"
#include "python/timeout.h"

#include "base/mem.h"
#include "base/sys.h"

#include <errno.h>
#include <math.h>

_Thread_local struct tc_py_thread tc_py_this_thread;

/* ---- checks ----------------------------------------------------------------------------- */

struct tc_py_loop *tc_py_loop_require(void)
{
    struct tc_py_loop *loop = tc_py_loop_running();

    if (loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "no running event loop");
    }
    return loop;
}

int tc_py_loop_check_slow(struct tc_py_loop *loop, const char *what)
{
    unsigned long thread;

    if (loop->generation != tc_py_process_generation()) {
        (void)tc_py_error_forked("event loop");
        return -1;
    }
    thread = tc_load_relaxed(&loop->thread); /* relaxed: only compared with our own number */
    if (thread == 0 || thread == PyThread_get_thread_ident()) {
        return 0;
    }
    PyErr_Format(PyExc_RuntimeError,
                 "%s was called in another thread than its event loop runs in; use "
                 "loop.call_soon_threadsafe() to have it called there",
                 what);
    return -1;
}

int tc_py_loop_check_open(struct tc_py_loop *loop)
{
    /* relaxed: on another thread a hint; whether a post arrives, the mailbox decides. */
    if (tc_unlikely(tc_load_relaxed(&loop->is_closed))) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return -1;
    }
    return 0;
}

/* ---- timers ----------------------------------------------------------------------------- */

int64_t tc_py_ns_from_seconds(double seconds)
{
    double ns = ceil(seconds * (double)TC_NS_PER_SEC);

    /* ±2^63; the comparisons are false for NaN, which callers have refused. */
    if (ns >= 9223372036854775808.0) {
        return TC_NEVER;
    }
    return ns <= -9223372036854775808.0 ? INT64_MIN : (int64_t)ns;
}

int tc_py_loop_arm(struct tc_py_loop *loop, struct tc_py_timer *timer, int64_t when_ns)
{
    if (tc_unlikely(loop->armed != NULL) && tc_py_loop_note_armed(loop, when_ns) < 0) {
        return -1;
    }
    if (tc_heap_push(&loop->timers, when_ns, &timer->node) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

PyObject *tc_py_timer_owned(struct tc_py_timer *timer)
{
    if (timer->fire == tc_py_handle_fire) {
        return (PyObject *)tc_container_of(timer, struct tc_py_handle, timer);
    }
    return timer->fire == tc_py_timeout_fire ? tc_py_timeout_of_timer(timer) : NULL;
}

static void collect_timers(struct tc_py_loop *loop)
{
    int64_t now;

    if (loop->timers.len == 0) {
        return;
    }
    now = tc_py_loop_now_ns(loop);
    while (tc_heap_min_key(&loop->timers) <= now) {
        struct tc_heap_node *node = tc_heap_min(&loop->timers);
        struct tc_py_timer *timer = tc_container_of(node, struct tc_py_timer, node);

        if (node == NULL) {
            return; /* `now` is TC_NEVER only in theory */
        }
        tc_heap_remove(&loop->timers, node);
        timer->fire(timer, loop);
    }
}

/* ---- signals ---------------------------------------------------------------------------- */

/* Take the numbers that the interpreter's handler wrote and tell tinycoro.Loop. */
static int take_signals(struct tc_py_loop *loop)
{
    unsigned char numbers[64];
    ssize_t count = tc_sys_recv(loop->signal_fd, numbers, sizeof(numbers), MSG_DONTWAIT);

    for (ssize_t i = 0; i < count; i++) {
        PyObject *number = PyLong_FromLong(numbers[i]);
        PyObject *result = NULL;

        if (number != NULL) {
            result = PyObject_CallMethodOneArg((PyObject *)loop, loop->state->str__signal_received,
                                               number);
            Py_DECREF(number);
        }
        if (result == NULL) {
            return -1;
        }
        Py_DECREF(result);
    }
    return 0;
}

/* ---- the turn --------------------------------------------------------------------------- */

static int64_t sleep_time(struct tc_py_loop *loop)
{
    int64_t when;

    if (!tc_fifo_is_empty(&loop->ready) || loop->is_stopping || loop->armed != NULL) {
        return 0;
    }
    when = tc_heap_min_key(&loop->timers);
    if (when == TC_NEVER) {
        return TC_NEVER;
    }
    when -= tc_py_loop_now_ns(loop);
    return when > 0 ? when : 0;
}

/* Sleep or look, detached. Returns 0, or -1 with what a signal handler raised. */
static int look(struct tc_py_loop *loop, int64_t timeout_ns)
{
    struct tc_poller_event events[TC_POLLER_BATCH];
    PyThreadState *thread = tc_gil_release();
    int count = tc_py_mailbox_sleep(loop->mailbox, events, timeout_ns);
    bool has_signals = false;

    tc_gil_acquire(thread);
    loop->since_look = 0;
    for (int i = 0; i < count; i++) {
        if (events[i].tag == TC_PY_TAG_SIGNAL) {
            has_signals = true;
        } else if (events[i].tag != TC_PY_TAG_WAKE) {
            tc_py_descriptor_deliver(loop, &events[i]);
        }
    }
    /* Last: a handler may raise, and edges are not reported twice. */
    if (has_signals && take_signals(loop) < 0) {
        return -1;
    }
    return PyErr_CheckSignals();
}

/* Everything that has come from outside. Returns 0, or -1 with an exception set. */
static int gather_work(struct tc_py_loop *loop)
{
    int64_t timeout_ns = sleep_time(loop);

    if (timeout_ns > 0 || loop->since_look >= TC_PY_LOOK_AFTER || loop->is_stopping ||
        tc_fifo_is_empty(&loop->ready)) {
        if (look(loop, timeout_ns) < 0) {
            return -1;
        }
    }
    tc_py_mailbox_drain(loop->mailbox, loop);
    collect_timers(loop);
    return 0;
}

/* Run what is ready now. Returns 0, or -1 with an exception that ends the run. */
static int run_ready(struct tc_py_loop *loop)
{
    size_t count = loop->ready.count;
    int result = 0;

    loop->since_look += (uint32_t)count;
    while (count-- > 0 && result == 0) {
        struct tc_link *link = tc_fifo_pop(&loop->ready);
        struct tc_py_node *node = tc_container_of(link, struct tc_py_node, link);

        if (link == NULL) {
            break; /* somebody closed the loop */
        }
        if (tc_unlikely(loop->is_debug)) {
            result = tc_py_debug_run(loop, node);
        } else {
            result = node->ops->run(node, loop);
        }
        Py_DECREF(node);
    }
    return result;
}

/* An exception ends the run: what streams have written in this turn leaves all the same. */
static void flush_after_failure(struct tc_py_loop *loop)
{
    PyObject *pending = PyErr_GetRaisedException();

    tc_py_streams_flush(loop);
    PyErr_SetRaisedException(pending);
}

int tc_py_loop_run(struct tc_py_loop *loop)
{
    int result;

    do {
        result = gather_work(loop);
        if (result == 0) {
            result = run_ready(loop);
        }
        if (result == 0) {
            tc_py_streams_flush(loop);
        }
        if (tc_unlikely(loop->generation != tc_py_process_generation())) {
            if (result == 0) {
                (void)tc_py_error_forked("event loop");
            }
            return -1;
        }
    } while (result == 0 && !loop->is_stopping && loop->armed == NULL);
    if (tc_unlikely(result < 0)) {
        flush_after_failure(loop);
    }
    return result;
}

struct tc_py_mailbox *tc_py_loop_mailbox(struct tc_py_loop *loop)
{
    struct tc_py_mailbox *mailbox;

    Py_BEGIN_CRITICAL_SECTION(loop);
    mailbox = loop->mailbox;
    if (mailbox != NULL) {
        tc_py_mailbox_acquire(mailbox);
    }
    Py_END_CRITICAL_SECTION();
    return mailbox;
}

/* ---- the end ---------------------------------------------------------------------------- */

void tc_py_loop_drop_all(struct tc_py_loop *loop)
{
    struct tc_link *link;
    struct tc_heap_node *node;

    while ((link = tc_fifo_pop(&loop->ready)) != NULL) {
        Py_DECREF(tc_container_of(link, struct tc_py_node, link));
    }
    while ((node = tc_heap_min(&loop->timers)) != NULL) {
        struct tc_py_timer *timer = tc_container_of(node, struct tc_py_timer, node);

        tc_heap_remove(&loop->timers, node);
        Py_XDECREF(tc_py_timer_owned(timer));
    }
}

/* ---- reports ------------------------------------------------------------------------------ */

/* Set dict[key] = value unless value is NULL. */
static int put(PyObject *dict, PyObject *b_key, PyObject *b_value)
{
    return b_value == NULL ? 0 : PyDict_SetItem(dict, b_key, b_value);
}

/* The context of call_exception_handler; a new reference or NULL. */
static PyObject *report_context(struct tc_py_loop_state *state, PyObject *b_message,
                                PyObject *b_key, PyObject *b_object, PyObject *b_exception)
{
    PyObject *context = PyDict_New();
    PyObject *stack = b_object == NULL ? NULL : tc_py_debug_traceback(state, b_object);

    if (context == NULL || put(context, state->str_message, b_message) < 0 ||
        put(context, state->str_exception, b_exception) < 0 ||
        (b_key != NULL && put(context, b_key, b_object) < 0) ||
        put(context, state->str_source_traceback, stack) < 0) {
        Py_CLEAR(context);
    }
    Py_XDECREF(stack);
    return context;
}

/* Call the handler. Returns 0, or -1 with KeyboardInterrupt or SystemExit set. */
static int call_handler(struct tc_py_loop *loop, PyObject *context)
{
    PyObject *result =
        context == NULL
            ? NULL
            : PyObject_CallMethodOneArg((PyObject *)loop, loop->state->str_call_exception_handler,
                                        context);

    if (result != NULL) {
        Py_DECREF(result);
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
        PyErr_ExceptionMatches(PyExc_SystemExit)) {
        return -1;
    }
    PyErr_WriteUnraisable((PyObject *)loop);
    return 0;
}

int tc_py_loop_report(struct tc_py_loop *loop, PyObject *b_message, PyObject *b_key,
                      PyObject *b_object)
{
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *context = report_context(loop->state, b_message, b_key, b_object, exception);
    int result = call_handler(loop, context);

    Py_XDECREF(context);
    Py_XDECREF(exception);
    return result;
}

struct report_message {
    struct tc_py_message message;
    PyObject *context; /* owned */
};

static void report_deliver(struct tc_py_message *message, struct tc_py_loop *loop)
{
    struct report_message *report = tc_container_of(message, struct report_message, message);

    if (loop != NULL && call_handler(loop, report->context) < 0) {
        PyErr_WriteUnraisable((PyObject *)loop);
    }
    Py_DECREF(report->context);
    tc_mem_free(report, sizeof(*report));
}

void tc_py_loop_report_later(struct tc_py_loop *loop, PyObject *b_message, PyObject *b_key,
                             PyObject *b_object, PyObject *b_exception)
{
    PyObject *context = report_context(loop->state, b_message, b_key, b_object, b_exception);
    unsigned long thread = tc_load_relaxed(&loop->thread); /* relaxed: as in check_slow */
    bool is_foreign = thread != 0 && thread != PyThread_get_thread_ident();
    struct tc_py_mailbox *mailbox = is_foreign ? tc_py_loop_mailbox(loop) : NULL;
    struct report_message *report = mailbox == NULL ? NULL : tc_mem_alloc(sizeof(*report));

    if (context != NULL && report != NULL) {
        report->message.deliver = report_deliver;
        report->context = Py_NewRef(context);
        tc_py_mailbox_post_attached(mailbox, &report->message);
    } else if (report != NULL) {
        tc_mem_free(report, sizeof(*report));
    }
    if (mailbox != NULL) {
        tc_py_mailbox_release(mailbox);
    }
    if (context == NULL) {
        PyErr_WriteUnraisable(b_object);
        return;
    }
    if (report == NULL && call_handler(loop, context) < 0) {
        PyErr_WriteUnraisable(b_object);
    }
    Py_DECREF(context);
}
