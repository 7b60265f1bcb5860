/* python/loop.h — the loop of one thread: ready queue, timers, mailbox, and the turn over them.
 *
 * A turn is: wait in the poller (or only look, if something is ready) with the thread detached;
 * attach once; handle signals; deliver the whole batch of messages; collect the timers that are
 * due; run what is ready by now, and nothing that becomes ready meanwhile. That is asyncio's order.
 *
 * The look costs a system call and is left out in most turns of a busy loop: messages need only one
 * load, timers one reading of the clock; descriptors and signals are looked for after every
 * TC_PY_LOOK_AFTER nodes.
 *
 * The Python class tinycoro.Loop derives from LoopBase here and from asyncio.AbstractEventLoop;
 * what runs once per program is written there, what runs per callback or per task here.
 *
 * INVARIANTS
 *  L1  The ready queue owns one reference to each node in it; a node is in it at most once.
 *  L2  Live tasks are in `tasks`, which owns a reference to each, until the loop is closed.
 *  L3  While `thread` is not 0, only that thread touches anything but mailbox and constants.
 *  L4  A timer in the heap is owned by whoever armed it, who takes it out before it dies; or by the
 *      heap (tc_py_timer_owned).
 *  L5  The clock is read by tc_py_loop_now_ns alone, so that tests can hold it (loop_time.c).
 *
 * who may call what: the loop's thread, attached, unless it says otherwise.
 */
#ifndef TC_PYTHON_LOOP_H
#define TC_PYTHON_LOOP_H

#include "python/compat.h"
#include "python/descriptor.h"
#include "python/loop_state.h"
#include "python/mailbox.h"
#include "python/operation.h"

#include "base/atomic.h"
#include "base/clock.h"
#include "base/heap.h"
#include "base/list.h"

#include <stdbool.h>

enum {
    TC_PY_LOOK_AFTER = 128, /* nodes run between two looks at descriptors and signals           */
    TC_PY_TASK_NUMBERS = TC_PY_FREE_THREADED ? 256 : 1, /* of "Task-N", taken at once             */
    TC_PY_FAST_MAX = 64, /* operations of a step that may end at once before one yields     */
    TC_PY_TAG_WAKE = 0, /* poller tags                                                      */
    TC_PY_TAG_SIGNAL = 1,
};

struct tc_py_timer {
    struct tc_heap_node node;
    /* The deadline has passed; the timer is out of the heap. */
    void (*fire)(struct tc_py_timer *timer, struct tc_py_loop *loop);
};

struct tc_py_loop {
    PyObject_HEAD struct tc_py_loop_state
        *state; /* constant                                                 */
    PyObject *module; /* owned; it holds `state`, which tasks ask until they die  */
    struct tc_fifo ready; /* of struct tc_py_node (L1)                                */
    struct tc_heap timers; /* of struct tc_py_timer (L4)                               */
    struct tc_list tasks; /* of struct tc_py_task (L2)                                */
    struct tc_list unsent; /* of struct tc_py_stream (SM1)                             */
    uint32_t unsent_count; /* entered there in this turn, or since all was last sent    */
    struct tc_list blocked; /* the same                                                 */
    struct tc_list listeners; /* of struct tc_py_listener (SS1)                           */
    struct tc_list doors; /* of http_door.c: HTTP servers that it answers for         */
    char *scratch; /* owned; all its streams receive into it; NULL: not yet    */
    struct tc_py_descriptors descriptors; /* what it polls                                      */
    struct tc_py_task *current; /* borrowed; whose step runs now                            */
    struct tc_py_mailbox *mailbox; /* one reference; NULL once closed                          */
    PyObject *stop_iteration; /* owned; reused by tc_py_stop, or NULL                     */
    PyObject *task_factory; /* owned; a callable, or NULL                               */
    struct tc_py_node *debug_node; /* borrowed; what runs now, in debug mode                   */
    double slow_callback_duration; /* seconds; what runs longer is logged, in debug mode       */
    PyObject *spare_operation; /* owned; a finished operation of channels for reuse, or NULL */
    PyObject *armed; /* owned; a list of deadlines while the time is held, or NULL */
    int64_t held_ns; /* that time                                                */
    uint64_t task_number; /* the last "Task-N" of this loop                           */
    uint64_t task_number_end; /* the last that is ours to give                            */
    _Atomic unsigned long thread; /* who runs it, 0 while nobody does                         */
    uint32_t generation; /* of forks, when it was made                               */
    uint32_t since_look; /* nodes run since the last look                            */
    uint32_t fast; /* operations of channels and streams that the present step did not wait for */
    int signal_fd; /* our end of the wake-up socket, -1: none                  */
    int signal_write_fd; /* the end for signal.set_wakeup_fd                         */
    bool is_stopping;
    _Atomic bool is_closed; /* written by the owner's thread                            */
    bool is_debug; /* see python/debug.h                                       */
    bool has_stop_value; /* stop_iteration holds a value to be dropped               */
};

/* What a thread knows of itself. Loops run on threads that Python made, never on fibers. */
struct tc_py_thread {
    struct tc_py_loop *running; /* borrowed; the loop that runs on this thread                  */
    uint32_t fast; /* as in the loop, for tasks of loops that are not ours         */
};

extern _Thread_local struct tc_py_thread tc_py_this_thread;

/* ---- whose turn --------------------------------------------------------------------------- */

/* The loop that runs on the calling thread, borrowed, or NULL. Threads: any */
static inline struct tc_py_loop *tc_py_loop_running(void)
{
    return tc_py_this_thread.running;
}

/* `b_object` as a loop, borrowed, or NULL with TypeError set. Threads: attached */
struct tc_py_loop *tc_py_loop_cast(PyObject *b_object);

/* The running loop, with RuntimeError set instead of NULL. Threads: attached */
struct tc_py_loop *tc_py_loop_require(void);

/* What set_event_loop() was given in this thread, borrowed from it; NULL with an exception set:
 * there is none, or it is not ours. Threads: attached */
struct tc_py_loop *tc_py_loop_current(void);

/* The same as set_event_loop() left it, borrowed, or NULL, with an exception set only without
 * memory; and its setter, for which None is none (returns 0 or -1). Threads: attached */
PyObject *tc_py_loop_get_current(void);
int tc_py_loop_set_current(PyObject *b_loop);

/* The task whose step runs on the calling thread, borrowed, or NULL. Threads: any */
static inline struct tc_py_task *tc_py_task_running(void)
{
    struct tc_py_loop *loop = tc_py_this_thread.running;

    return loop == NULL ? NULL : loop->current;
}

/* The slow part of tc_py_loop_check. Threads: attached */
int tc_py_loop_check_slow(struct tc_py_loop *loop, const char *what);

/* Refuse a call of `what` ("Task.cancel()") from a foreign thread or after a fork.
 * Threads: attached   Returns 0, or -1 with RuntimeError set. */
static inline int tc_py_loop_check(struct tc_py_loop *loop, const char *what)
{
    return tc_likely(tc_py_this_thread.running == loop) ? 0 : tc_py_loop_check_slow(loop, what);
}

/* Refuse a closed loop. Threads: attached   Returns 0, or -1 with RuntimeError set. */
int tc_py_loop_check_open(struct tc_py_loop *loop);

/* Whether the running task has to yield, because so many operations of its step did not wait; to be
 * asked once by each. One that waits ends the step, and so begins anew. */
static inline bool tc_py_loop_must_yield(struct tc_py_loop *loop)
{
    if (tc_unlikely(loop->fast >= TC_PY_FAST_MAX)) {
        loop->fast = 0;
        return true;
    }
    loop->fast++;
    return false;
}

/* ---- ready queue and timers ------------------------------------------------------------------ */

/* Append a node that is not in the queue. */
static inline void tc_py_loop_ready(struct tc_py_loop *loop, struct tc_py_node *node)
{
    Py_INCREF(node);
    tc_fifo_push(&loop->ready, &node->link);
}

/* The time that deadlines are compared with: CLOCK_MONOTONIC, unless a test holds it (L5). */
static inline int64_t tc_py_loop_now_ns(const struct tc_py_loop *loop)
{
    return tc_unlikely(loop->armed != NULL) ? loop->held_ns : tc_clock_now_ns();
}

/* Arm a timer that is not armed. Returns 0, or -1 with MemoryError set. */
int tc_py_loop_arm(struct tc_py_loop *loop, struct tc_py_timer *timer, int64_t when_ns);

/* Disarm a timer, armed or not. */
static inline void tc_py_loop_disarm(struct tc_py_loop *loop, struct tc_py_timer *timer)
{
    if (tc_heap_node_is_queued(&timer->node)) {
        tc_heap_remove(&loop->timers, &timer->node);
    }
}

/* Note a deadline for the test that holds the time (loop_time.c).
 * Returns 0, or -1 with MemoryError set. */
int tc_py_loop_note_armed(struct tc_py_loop *loop, int64_t when_ns);

/* The object of which the heap owns a reference while this timer is in it, borrowed, or NULL: other
 * timers are owned by whoever armed them. */
PyObject *tc_py_timer_owned(struct tc_py_timer *timer);

/* Convert a deadline in seconds of loop.time(), or a delay, to nanoseconds; rounds up,
 * saturates. */
int64_t tc_py_ns_from_seconds(double seconds);

/* ---- running ---------------------------------------------------------------------------- */

/* Run turns until stop() or an exception that ends the run; one turn while the time is held.
 * Returns 0, or -1 with the exception set. */
int tc_py_loop_run(struct tc_py_loop *loop);

/* Drop everything that waits, without running it. */
void tc_py_loop_drop_all(struct tc_py_loop *loop);

/* The mailbox with a reference for the caller, or NULL if the loop is closed. Threads: attached,
 * any
 * Owns: the caller releases it */
struct tc_py_mailbox *tc_py_loop_mailbox(struct tc_py_loop *loop);

/* ---- reports ------------------------------------------------------------------------------ */

/* Hand the pending exception to loop.call_exception_handler with `message` and the object that it
 * concerns under `key` (may be NULL). Nothing is pending afterwards, unless the handler was ended
 * by KeyboardInterrupt or SystemExit. Returns 0, or -1 with that set. */
int tc_py_loop_report(struct tc_py_loop *loop, PyObject *b_message, PyObject *b_key,
                      PyObject *b_object);

/* The same for an exception that is not pending and may be NULL; from a finalizer, on any thread:
 * on a foreign one the report is posted to the loop. Never raises. Threads: attached */
void tc_py_loop_report_later(struct tc_py_loop *loop, PyObject *b_message, PyObject *b_key,
                             PyObject *b_object, PyObject *b_exception);

#endif
