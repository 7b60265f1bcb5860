/* python/http_request.h — tinycoro.Request: what a handler is given.
 *
 * The object is a reference to the call (http/desk.h), a block of memory without Python; what is
 * asked for is made from that when it is asked for.
 *
 * who may call what: attached threads.
 */
#ifndef TC_PYTHON_HTTP_REQUEST_H
#define TC_PYTHON_HTTP_REQUEST_H

#include "python/compat.h"

#include "http/desk_stream.h"
#include "python/loop_state.h"

struct tc_py_request {
    PyObject_HEAD struct tc_desk_call *call; /* one reference; constant                          */
    PyObject *names; /* owned tuple: the holes of its route; constant                          */
    PyObject *body; /* owned; all of a body that came in pieces, once it has been read; or NULL */
    PyObject *parts; /* owned list; what body() has of it so far, or NULL                       */
    uint32_t generation; /* of forks, when it was made; constant                                */
    bool is_streamed; /* stream() has begun to give it out                                       */
    bool is_closing; /* the iterator of its answer is being closed, or has ended                 */
};

/* Make one. Owns: takes the reference to `call`. Returns NULL with MemoryError set. */
struct tc_py_request *tc_py_request_new(struct tc_py_loop_state *state, struct tc_desk_call *call,
                                        PyObject *b_names);

/* ---- http_body.c: methods of the type ------------------------------------------------------ */

PyObject *tc__py_request_body(PyObject *self, PyObject *ignored);
PyObject *tc__py_request_json(PyObject *self, PyObject *ignored);
PyObject *tc__py_request_stream(PyObject *self, PyObject *ignored);
extern const char tc__py_request_body_doc[];
extern const char tc__py_request_json_doc[];
extern const char tc__py_request_stream_doc[];

/* Create its types. Returns 0, or -1 with an exception set. */
int tc__py_add_body(PyObject *module, struct tc_py_loop_state *state);

/* Create the types. Returns 0, or -1 with an exception set. */
int tc_py_add_request(PyObject *module, struct tc_py_loop_state *state);

#endif
