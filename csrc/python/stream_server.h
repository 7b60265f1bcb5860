/* python/stream_server.h — what start_server() makes: listening sockets of a loop, and their
 * streams.
 *
 * A listening socket is watched level-triggered. Its node accepts, in its turn, at most
 * TC_PY_ACCEPT_BATCH connections, calls the server's callback for each, in the context in which the
 * server was started, and makes a task of the coroutine that it returns. When descriptors or memory
 * run out it rests for TC_PY_ACCEPT_REST_NS.
 *
 * The Python class tinycoro.Server derives from ServerBase here.
 *
 * INVARIANTS
 *  SS1  A listener that listens is in loop->listeners, which owns a reference to it: a server whose
 *       object nobody holds goes on serving, as in asyncio.
 *  SS2  `streams` holds the streams of the server that are not CLOSED; each owns a reference to the
 *       server, the list none to them.
 *  SS3  `waiters` are those of wait_closed(), all pending or cancelled; NULL once the server is
 *       over: stopped, with no stream left. As in asyncio a cancelled one stays until then.
 *
 * who may call what: the loop's thread, attached.
 */
#ifndef TC_PYTHON_STREAM_SERVER_H
#define TC_PYTHON_STREAM_SERVER_H

#include "python/compat.h"
#include "python/loop.h"

#include "base/list.h"

#include <stdbool.h>

struct tc_py_stream;

enum { TC_PY_ACCEPT_BATCH = 64 };

#define TC_PY_ACCEPT_REST_NS TC_NS_PER_SEC

struct tc_py_stream_server {
    PyObject_HEAD struct tc_py_loop *loop; /* owned; NULL before __init__                       */
    PyObject *callback; /* owned                                             */
    PyObject *context; /* owned; of the callback and the tasks              */
    struct tc_list listeners; /* of struct tc_py_listener                          */
    struct tc_list streams; /* SS2                                               */
    size_t limit; /* of the readers, in bytes                          */
    PyObject *waiters; /* owned list of futures, or NULL; SS3               */
    bool is_stopped; /* over when the last stream has gone                */
};

struct tc_py_listener {
    struct tc_py_node node; /* accepts                                                 */
    struct tc_py_descriptor descriptor;
    struct tc_py_timer rest; /* armed while it does not accept                          */
    struct tc_py_loop *loop; /* owned                                                   */
    struct tc_py_stream_server
        *server; /* owned                                                   */
    PyObject *socket; /* owned; owns the descriptor                              */
    struct tc_list in_loop; /* SS1                                                     */
    struct tc_list in_server;
    bool is_queued;
};

/* A stream of a server is CLOSED or dies: take it out of the list. */
void tc_py_stream_server_forget(struct tc_py_stream *stream);

/* The loop ends: stop all listeners, without closing their sockets. */
void tc_py_listeners_drop(struct tc_py_loop *loop);

/* The collector's hook for loop->listeners. */
int tc_py_listeners_traverse(struct tc_py_loop *loop, visitproc visit, void *arg);

#endif
