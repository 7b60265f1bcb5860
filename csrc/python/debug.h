/* python/debug.h — debug mode: where objects were made, and which steps took long.
 *
 * In debug mode a loop notes for every future, task, handle and operation the stack that made it,
 * and times whatever it runs. The stacks lie in one table of the module, under the addresses of the
 * objects; an object carries one bit that says whether it is there. So without debug mode nothing
 * grows, and the cost is one predictable branch: in the making of an object, and in the running of
 * a node.
 *
 * INVARIANTS
 *  DB1  An entry of the table belongs to a living object, which forgets it before its memory goes.
 *  DB2  tc_py_debug_loops counts the loops whose is_debug is set.
 *
 * who may call what: attached threads; the table does its own locking.
 */
#ifndef TC_PYTHON_DEBUG_H
#define TC_PYTHON_DEBUG_H

#include "python/loop.h"
#include "python/loop_state.h"
#include "python/operation.h"

#include <stdbool.h>
#include <stdint.h>

extern _Atomic uint32_t tc_py_debug_loops;

/* True if some loop of the process is in debug mode: for what is made without knowing its loop. */
static inline bool tc_py_debug_is_possible(void)
{
    /* relaxed: a thread sees its own loop's change, and no other matters to it. */
    return tc_unlikely(tc_load_relaxed(&tc_py_debug_loops) != 0);
}

/* Switch debug mode of a loop. Threads: the loop's */
void tc_py_debug_set(struct tc_py_loop *loop, bool is_debug);

/* Note the present stack for `b_object`, innermost frame last. Returns 0, or -1 with an exception
 * set. */
int tc_py_debug_trace(struct tc_py_loop_state *state, PyObject *b_object);

/* The same for what is made without a loop at hand: only if the loop of this thread is in debug
 * mode. Never fails. Returns whether a stack was noted. */
bool tc_py_debug_trace_quietly(PyObject *b_object);

/* Drop what was noted. Leaves a pending exception alone. */
void tc_py_debug_forget(struct tc_py_loop_state *state, PyObject *b_object);

/* The same for an object of a final type, from which the state is found. */
void tc_py_debug_forget_quietly(PyObject *b_object);

/* What was noted, a list of traceback.FrameSummary: a new reference, or NULL without exception. */
PyObject *tc_py_debug_traceback(struct tc_py_loop_state *state, PyObject *b_object);

/* The same as the value of an attribute: None if nothing was noted. */
PyObject *tc_py_debug_attribute(struct tc_py_loop_state *state, PyObject *b_object);

/* The same as text: `title`, a colon, the lines; empty if nothing was noted. A new reference, or
 * NULL with an exception set. */
PyObject *tc_py_debug_text(struct tc_py_loop_state *state, PyObject *b_object, const char *title);

/* Warn that the operation `self`, called `name`, was never awaited, with the stack that made it if
 * debug mode knows it. Leaves a pending exception alone; for a finalizer. */
void tc_py_warn_never_awaited(PyObject *self, const char *name);

/* Note where a server is started, if that is wanted; the stack as text, NULL if it is not known or
 * on an error. Neither leaves an exception. */
void tc_py_debug_trace_server(PyObject *b_server);
PyObject *tc_py_debug_server_text(PyObject *b_server);

/* Keep a repr of an object whose parts are about to go, and get it back: a new reference, or NULL
 * without exception. */
void tc_py_debug_keep_repr(struct tc_py_loop_state *state, PyObject *b_object);
PyObject *tc_py_debug_kept_repr(struct tc_py_loop_state *state, PyObject *b_object);

/* Run a node and tell the loop if that took long. Returns as node->ops->run does. */
int tc_py_debug_run(struct tc_py_loop *loop, struct tc_py_node *node);

#endif
