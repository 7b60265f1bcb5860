/* python/handle.h — a callback with its arguments and its context, in the ready queue or the heap.
 *
 * Handle and TimerHandle are one struct. One argument, the common case, is stored without a tuple.
 *
 * INVARIANTS
 *  H1  A handle is referenced by the ready queue, or by the heap, while it is there.
 *  H2  A cancelled or finished handle holds neither callback nor arguments.
 *
 * who may call what: the thread of the handle's loop, attached, unless it says otherwise.
 */
#ifndef TC_PYTHON_HANDLE_H
#define TC_PYTHON_HANDLE_H

#include "python/loop.h"

struct tc_py_handle {
    struct tc_py_node node;
    struct tc_py_timer timer;
    struct tc_py_loop *loop; /* owned                                                          */
    PyObject *callback; /* owned; NULL (H2)                                               */
    PyObject *context; /* owned                                                          */
    PyObject *arguments; /* owned; NULL: none; a tuple; or, if is_single, the argument     */
    double when; /* of a TimerHandle, as it was given                              */
    bool is_traced; /* in the table of python/debug.h                                 */
    bool is_single;
    bool is_cancelled;
    bool is_queued; /* of add_reader and add_writer: in the ready queue               */
};

/* Make a handle. `b_context` NULL: a copy of the current one, as for call_soon. Threads: attached
 * Returns a new reference, or NULL with an exception set. */
struct tc_py_handle *tc_py_handle_new(struct tc_py_loop *loop, PyTypeObject *type,
                                      PyObject *b_callback, PyObject *const *b_arguments,
                                      Py_ssize_t count, PyObject *b_context);

/* Make the handle of an add_done_callback: it goes into the ready queue when the future that has it
 * in its callbacks is done, with that as its argument. Returns a new reference, or NULL with an
 * exception set. */
struct tc_py_handle *tc_py_handle_new_later(struct tc_py_loop *loop, PyObject *b_callback,
                                            PyObject *b_context);

/* call_soon(callback, argument, context=context) from C. Returns 0, or -1 with an exception. */
int tc_py_loop_call(struct tc_py_loop *loop, PyObject *b_callback, PyObject *b_argument,
                    PyObject *b_context);

/* Handle.cancel() without the checks. */
void tc_py_handle_cancel(struct tc_py_handle *handle);

/* What a handle's timer does. The loop tells handles in its heap by it. */
void tc_py_handle_fire(struct tc_py_timer *timer, struct tc_py_loop *loop);

/* Start the timer of a TimerHandle. Returns 0, or -1 with MemoryError set. */
int tc_py_handle_arm(struct tc_py_handle *handle);

#endif
