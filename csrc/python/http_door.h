/* python/http_door.h — where requests enter Python: the clerk of a desk (http/desk.h) on a loop.
 *
 * The first ring posts a message to the loop's mailbox; the loop takes all requests that wait by
 * then at one attachment, calls a handler for each, and sends the answers of the batch together. A
 * handler that is a coroutine function is run at once, up to its first suspension, in a task that
 * is only there in case it suspends: one that ends without costs no task, and the same one serves
 * the next request.
 *
 *   desk box (C) ──one reference──► door (Python): handlers, loop
 *
 * INVARIANTS
 *  DO1  The desk box owns the door from its making to the end: the server is freed, or the loop
 *       closed.
 *  DO2  The message is posted at most once at a time, and holds a reference to the desk meanwhile.
 *  DO3  A call whose handler suspended has a struct tc_py_pending in call->user until it is
 *       answered.
 *
 * who may call what: the loop's thread, attached, but for tc_py_door_new.
 */
#ifndef TC_PYTHON_HTTP_DOOR_H
#define TC_PYTHON_HTTP_DOOR_H

#include "python/compat.h"

#include "http/desk.h"
#include "python/loop.h"

/* A desk whose clerk is `loop`, with one reference for the caller. `b_routes` is a tuple of
 * (handler, names), by the id of the pattern; `b_stop` is called when the server is gone, or NULL.
 * Threads: attached, any   Returns NULL with an exception set. */
struct tc_http_desk *tc_py_door_new(struct tc_py_loop *loop, PyObject *b_routes, PyObject *b_stop);

/* The loop is closed: answer 503 to what there is, and to what comes. */
void tc_py_doors_drop(struct tc_py_loop *loop);
int tc_py_doors_traverse(struct tc_py_loop *loop, visitproc visit, void *arg);

/* Create the types. Returns 0, or -1 with an exception set. */
int tc_py_add_door(PyObject *module, struct tc_py_loop_state *state);

#endif
