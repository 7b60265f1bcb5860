/* python/http_request.h — tinycoro.Request: what a handler is given.
 *
 * The object is a reference to the call (http/desk.h), a block of memory without Python; what is asked
 * for is made from that when it is asked for.
 *
 * who may call what: attached threads.
 */
#ifndef TC_PYTHON_HTTP_REQUEST_H
#define TC_PYTHON_HTTP_REQUEST_H

#include "python/compat.h"

#include "http/desk.h"
#include "python/loop_state.h"

struct tc_py_request {
    PyObject_HEAD struct tc_desk_call *call; /* one reference; constant                          */
    PyObject *names; /* owned tuple: the holes of its route; constant                          */
};

/* Make one. Owns: takes the reference to `call`. Returns NULL with MemoryError set. */
struct tc_py_request *tc_py_request_new(struct tc_py_loop_state *state, struct tc_desk_call *call,
                                        PyObject *b_names);

/* Create the types. Returns 0, or -1 with an exception set. */
int tc_py_add_request(PyObject *module, struct tc_py_loop_state *state);

#endif
