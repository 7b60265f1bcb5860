/* python/watch.h — futures of every kind, for functions that wait for several.
 *
 * A future whose type is exactly one of ours is native: nothing of it can be overridden, so nodes
 * may stand in its callbacks and its flags tell everything. Any other (asyncio's, or a class
 * derived from ours or from asyncio's) is asked through its methods, as asyncio asks, and tells its
 * end to a function bound to the node.
 *
 * who may call what: the thread of the futures' loop, attached.
 */
#ifndef TC_PYTHON_WATCH_H
#define TC_PYTHON_WATCH_H

#include "python/future.h"

/* How a future has ended. */
struct tc_py_ending {
    uint32_t kind;   /* one of the three done flags                                             */
    PyObject *value; /* owned: the result, the exception or the CancelledError                  */
};

/* Have `node` told of the end of `b_future`: through node->ops->future_done if that is native, else
 * by add_done_callback() with `def` bound to the node. Nothing is registered with a native one that
 * is done. Returns 1 for such a one, 0, or -1 with an exception set. */
int tc_py_watch(struct tc_py_loop_state *state, PyObject *b_future, struct tc_py_node *node,
                PyMethodDef *def);

/* Take that back, registered or not. Returns 0, or -1 with an exception set. */
int tc_py_unwatch(struct tc_py_loop_state *state, PyObject *b_future, struct tc_py_node *node,
                  PyMethodDef *def);

/* True if it is done. Returns 1, 0, or -1 with an exception set. */
int tc_py_ask_done(struct tc_py_loop_state *state, PyObject *b_future);

/* How it ended; an exception counts as seen. Returns 0, or -1 with an exception set. */
int tc_py_ask_ending(struct tc_py_loop_state *state, PyObject *b_future, struct tc_py_ending *out);

#endif
