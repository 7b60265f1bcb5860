/* python/http_response.h — what a route answers, read from Python values and checked.
 *
 * A body is bytes-like, a str (sent as UTF-8), a dict or list (sent as JSON) or None. What it is
 * also says the content type, unless that is given. Fields come as a mapping or as pairs.
 *
 * who may call what: attached threads. Functions return 0 or a new reference, and -1 or NULL with
 * TypeError or ValueError set, which names the parameter.
 */
#ifndef TC_PYTHON_HTTP_RESPONSE_H
#define TC_PYTHON_HTTP_RESPONSE_H

#include "python/compat.h"

#include "base/defs.h"
#include "http/desk.h"
#include "python/loop_state.h"

#define TC_PY_TYPE_TEXT "text/plain; charset=utf-8"
#define TC_PY_TYPE_JSON "application/json"
#define TC_PY_TYPE_BYTES "application/octet-stream"

/* Encode a body. Returns bytes; *type receives the content type that goes with it, NULL for
 * None. */
TC_NODISCARD PyObject *tc_py_http_body(PyObject *b_body, const char **type);

/* Further fields, a mapping or pairs, NULL or None for none, as a tuple of (name, value), both
 * bytes. */
TC_NODISCARD PyObject *tc_py_http_fields(PyObject *b_headers);

/* An answer that is complete before it is asked for: (status, type, fields, body) where type is
 * bytes or None, fields a tuple of (name, value), both bytes, and body bytes. Arguments that are
 * NULL were not given; a content type of None means: none. */
TC_NODISCARD PyObject *tc_py_http_answer(PyObject *b_body, PyObject *b_status,
                                         PyObject *b_content_type, PyObject *b_headers);

/* The iterator of a body that comes in pieces: a new reference. Returns NULL without an exception:
 * it is no such body; or NULL with one set. */
PyObject *tc__py_http_stream(PyObject *b_body);

/* As tc_py_http_answer, for such a body; *length receives that of a Content-Length among the
 * headers. */
TC_NODISCARD PyObject *tc__py_http_stream_answer(PyObject *b_status, PyObject *b_content_type,
                                                 PyObject *b_headers, int64_t *length);

/* tinycoro.Response: what such an answer consists of. */
struct tc_py_response {
    PyObject_HEAD int status;
    PyObject *type; /* owned; bytes or None; constant, as all of it                             */
    PyObject *fields; /* owned tuple                                                            */
    PyObject *body; /* owned bytes; empty with a stream or a path                               */
    PyObject *path; /* owned bytes; of the file that is the body, or NULL                       */
    PyObject *stream; /* owned; the iterator that yields the body, or NULL                       */
    int64_t length; /* of what it yields, -1: unknown                                            */
};

/* A response of the type, with what tc_py_http_answer gave, and a stream, or NULL, which it takes
 * over. Returns NULL with MemoryError set. */
TC_NODISCARD struct tc_py_response *tc__py_response_new(PyTypeObject *type, PyObject *b_answer,
                                                        PyObject *stream);

/* http_file.c: Response.file(), and the reply of a response with a path. The latter returns NULL
 * without memory, without an exception. */
extern const char tc__py_http_file_doc[];
PyObject *tc__py_http_file(PyObject *type, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames);
TC_NODISCARD struct tc_desk_reply *tc__py_http_file_reply(struct tc_py_response *b_response);

/* The reply of a handler that returned `b_value`: a Response, or its body. One of the kind STREAM
 * is a Response's with a stream. Returns NULL with an exception set. */
TC_NODISCARD struct tc_desk_reply *tc_py_http_reply(struct tc_py_loop_state *state,
                                                    PyObject *b_value);

/* A reply with a status and its name as text. Returns NULL without memory, without an exception. */
TC_NODISCARD struct tc_desk_reply *tc_py_http_status_reply(int status);

/* Create the type. Returns 0, or -1 with an exception set. */
int tc_py_add_response(PyObject *module, struct tc_py_loop_state *state);

#endif
