/* python/loop_state.h — the part of the module's state that loops, tasks and futures use.
 *
 * One list names every object, and struct, traverse and clear are made from it, so none can be
 * forgotten. A loop keeps a pointer to this struct; whatever belongs to a loop finds it there,
 * since types that can be subclassed do not lead to the module (python/module.h, M2).
 *
 * who may call what: attached threads.
 */
#ifndef TC_PYTHON_LOOP_STATE_H
#define TC_PYTHON_LOOP_STATE_H

#include "python/compat.h"

#include "base/atomic.h"

#include <stdbool.h>
#include <stdint.h>

/* type, name, what it is */
#define TC_PY_LOOP_OBJECTS(X) \
    X(PyTypeObject, loop_type) \
    X(PyTypeObject, handle_type) \
    X(PyTypeObject, timer_handle_type) \
    X(PyTypeObject, future_type) \
    X(PyTypeObject, future_iterator_type) \
    X(PyTypeObject, task_type) \
    X(PyTypeObject, gather_type) \
    X(PyTypeObject, operation_type) \
    X(PyTypeObject, sleep_type) \
    X(PyTypeObject, yield_type) \
    X(PyTypeObject, channel_type) \
    X(PyTypeObject, channel_operation_type) \
    X(PyTypeObject, channel_statistics_type) \
    X(PyTypeObject, select_type) \
    X(PyTypeObject, guest_type) \
    X(PyTypeObject, server_wait_type) \
    X(PyTypeObject, inbox_type) \
    X(PyObject, channel_closed)           /* ChannelClosed */ \
    X(PyObject, would_block)              /* WouldBlock */ \
    X(PyObject, inboxes)                  /* of other loops: a WeakKeyDictionary */ \
    X(PyTypeObject, stream_type) \
    X(PyTypeObject, stream_wait_type) \
    X(PyTypeObject, reader_type) \
    X(PyTypeObject, read_type) \
    X(PyTypeObject, writer_type) \
    X(PyTypeObject, stream_server_type) \
    X(PyTypeObject, listener_type) \
    X(PyTypeObject, deferred_type) \
    X(PyTypeObject, timeout_type) \
    X(PyTypeObject, taskgroup_type) \
    X(PyTypeObject, taskgroup_exit_type) \
    X(PyTypeObject, wait_type) \
    X(PyTypeObject, shield_type) \
    X(PyTypeObject, as_completed_type) \
    X(PyTypeObject, as_completed_next_type) \
    X(PyTypeObject, door_type) \
    X(PyTypeObject, pending_type) \
    X(PyTypeObject, request_type) \
    X(PyTypeObject, headers_type) \
    X(PyTypeObject, pieces_type) \
    X(PyTypeObject, body_wait_type) \
    X(PyTypeObject, feed_type) \
    X(PyTypeObject, room_wait_type) \
    X(PyTypeObject, response_type) \
    X(PyObject, loop_thread)              /* a function: see HTTPServer.start() */ \
    X(PyObject, cancelled_error)          /* asyncio's */ \
    X(PyObject, invalid_state_error)      /* asyncio's */ \
    X(PyObject, incomplete_read_error)    /* asyncio's */ \
    X(PyObject, limit_overrun_error)      /* asyncio's */ \
    X(PyObject, coroutine_abc)            /* collections.abc.Coroutine */ \
    X(PyObject, set_running_loop)         /* asyncio's running loop of this thread */ \
    X(PyObject, get_running_loop)         /* the same, or None */ \
    X(PyObject, future_repr)              /* asyncio.base_futures */ \
    X(PyObject, task_repr)                /* asyncio.base_tasks */ \
    X(PyObject, task_get_stack) \
    X(PyObject, task_print_stack) \
    X(PyObject, format_callback)          /* asyncio.format_helpers */ \
    X(PyObject, exception_group)          /* the builtin ones */ \
    X(PyObject, base_exception_group) \
    X(PyObject, timeout_message)          /* texts of reports */ \
    X(PyObject, shield_message) \
    X(PyObject, wrap_awaitable)           /* a coroutine around an awaitable */ \
    X(PyObject, extract_stack)            /* asyncio.format_helpers */ \
    X(PyObject, format_list)              /* traceback */ \
    X(PyObject, traces)                   /* a dict; see python/debug.h */

#define TC_PY_LOOP_STRINGS(X) \
    X(__class__) \
    X(_asyncio_future_blocking) \
    X(_loop) \
    X(_signal_received) \
    X(add_done_callback) \
    X(close) \
    X(cancelling) \
    X(done) \
    X(remove_done_callback) \
    X(uncancel) \
    X(call_exception_handler) \
    X(cancel) \
    X(debug) \
    X(exception) \
    X(exceptions) \
    X(fileno) \
    X(future) \
    X(get_loop) \
    X(handle) \
    X(message) \
    X(msg) \
    X(result) \
    X(socket) \
    X(source_traceback) \
    X(task) \
    X(throw) \
    X(transport)

enum { TC_PY_SPARE_YIELDS = TC_PY_FREE_THREADED ? 0 : 64 };

struct tc_py_loop_state {
#define TC_PY_FIELD(type, name) type *name;
    TC_PY_LOOP_OBJECTS(TC_PY_FIELD)
#undef TC_PY_FIELD
#define TC_PY_FIELD(name) PyObject *str_##name;
    TC_PY_LOOP_STRINGS(TC_PY_FIELD)
#undef TC_PY_FIELD
    /* Memory of sleep(0) objects for reuse. On builds without the GIL the array has no slot. */
    PyObject *spare_yields[TC_PY_SPARE_YIELDS + 1];
    int spare_yield_count;
    bool formats_debug; /* format_callback takes debug=, and shows no arguments without it    */
    _Atomic bool traces_servers; /* note where native servers are started                         */
    _Atomic uint64_t task_names; /* how many numbers of "Task-N" the loops have taken            */
};

/* Create the loop's types and functions and add them to the module.
 * Parks: never   Threads: attached   Returns 0, or -1 with an exception set. */
int tc_py_add_loop(PyObject *module);

/* The loop's part of the state of the module. Parks: never   Threads: attached */
struct tc_py_loop_state *tc_py_loop_state_of(PyObject *module);

/* The same, from a final type of this module; NULL while the interpreter goes.
 * Parks: never   Threads: attached */
struct tc_py_loop_state *tc_py_loop_state_of_type(PyTypeObject *type);

/* The collector's two hooks and the end, called from those of the module. The strings stay until
 * the end: no cycle leads through them, and what outlives the collector's visit looks names up by
 * them. Parks: never   Threads: attached */
int tc_py_loop_state_traverse(struct tc_py_loop_state *state, visitproc visit, void *arg);
void tc_py_loop_state_clear(struct tc_py_loop_state *state);
void tc_py_loop_state_free(struct tc_py_loop_state *state);

/* Steps of tc_py_add_loop, one per file. Each returns 0, or -1 with an exception set. */
int tc_py_add_loop_type(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_handle_types(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_future_type(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_future_iterator(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_task_type(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_gather(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_sleep(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_guest(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_channel(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_channel_operation(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_select(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_server_wait(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_deferred(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_timeout(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_taskgroup(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_taskgroup_exit(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_wait(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_shield(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_as_completed(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_operation_type(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_debug(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_stream_type(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_stream_wait(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_reader_type(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_read(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_writer_type(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_stream_server(PyObject *module, struct tc_py_loop_state *state);
int tc_py_add_task_functions(PyObject *module, struct tc_py_loop_state *state);

/* Free the spare objects of sleep(0) (sleep.c). */
void tc_py_sleep_free_spares(struct tc_py_loop_state *state);

/* Free-threaded: stop counting references to the values of a dict that lives as long as the process
 * (python/compat.h). */
void tc_py_immortalize_values(PyObject *b_dict);

/* Create a type, store it, and add it to the module under its last name unless that begins with an
 * underscore. Returns 0, or -1 with an exception set. */
int tc_py_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject *base, PyTypeObject **out);

#endif
