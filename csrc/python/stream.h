/* python/stream.h — one connection of a loop: descriptor, gathered output, and how it ends.
 *
 * The object behind a StreamReader and a StreamWriter, which Python sees as writer.transport. All
 * its input and output happens on the loop's thread. Nothing is read ahead of demand: a reader that
 * lacks bytes receives by itself (reader_buffer.c), and waits for an edge once a read came back
 * short. Output is gathered until the end of the turn and leaves in one system call; it leaves at
 * once in write_eof, close and abort, when TC_PY_STREAM_AT_ONCE bytes are gathered, when the socket
 * is asked for, and in drain, unless it is less than TC_PY_STREAM_LITTLE and other tasks are ready.
 * A drain that sends at once sends first what other streams have gathered before. No more than
 * TC_PY_STREAM_GROUP streams wait: where as many do and another one writes, theirs is sent first.
 * What an exception ends is a turn, too; and what is written while the loop does not run leaves
 * when it runs again, or is closed.
 *
 *            close, abort, an error              output sent, next turn
 *   OPEN ─────────────────────────────► CLOSING ───────────────────────► CLOSED
 *
 *   state     descriptor   reads            writes         leaves it
 *   OPEN      registered   receive          are gathered   tc_py_stream_close, _abort, _lose
 *   CLOSING   registered   the buffer only  are dropped    run (the node in the ready queue)
 *   CLOSED    gone         the buffer only  are dropped    nothing
 *
 * INVARIANTS
 *  SM1  A stream with unsent output is in loop->unsent (to be sent by the end of this turn) or in
 *       loop->blocked (the socket takes no more); either list owns a reference.
 *  SM2  PAUSED is set when output exceeds `high`, and cleared when it is down to `low`; who drains
 *       waits while it is set.
 *  SM3  After CLOSED nobody waits in `waiters`, and the reader has seen the end or the error.
 *  SM4  Output holds exact bytes objects only, whose end runs no Python code.
 *
 * who may call what: the loop's thread, attached. Functions that end a connection may drop the
 * list's reference: the caller has one of its own.
 */
#ifndef TC_PYTHON_STREAM_H
#define TC_PYTHON_STREAM_H

#include "python/compat.h"
#include "python/descriptor.h"
#include "python/operation.h"

#include "base/list.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct tc_py_loop;
struct tc_py_loop_state;
struct tc_py_reader;
struct tc_py_stream_server;

enum {
    TC_PY_STREAM_AT_ONCE = 64 * 1024, /* bytes gathered that do not wait for the turn's end     */
    TC_PY_STREAM_LITTLE = 16 * 1024,  /* bytes that drain leaves to the turn's end              */
    TC_PY_STREAM_GROUP = 28,          /* streams whose output waits, at most                    */
    TC_PY_STREAM_HIGH = 64 * 1024,    /* water marks, as asyncio's                              */
    TC_PY_STREAM_LOW = 16 * 1024,
    TC_PY_STREAM_DISCARD = 256 * 1024, /* bytes of unread input discarded at the end, at most   */
    TC_PY_OUTPUT_INLINE = 2,
};

enum tc_py_stream_flags {
    TC_PY_STREAM_READABLE = 1 << 0, /* no read has come back short since the last edge          */
    TC_PY_STREAM_WRITABLE = 1 << 1, /* the same of writes                                       */
    TC_PY_STREAM_HUNG_UP = 1 << 2,  /* the peer has closed or reset; until a read returns 0     */
    TC_PY_STREAM_PAUSED = 1 << 3,   /* SM2                                                      */
    TC_PY_STREAM_EOF = 1 << 4,      /* write_eof() was called                                   */
    TC_PY_STREAM_EOF_SENT = 1 << 5,
    TC_PY_STREAM_CLOSING = 1 << 6,  /* states, see above                                        */
    TC_PY_STREAM_CLOSED = 1 << 7,
    TC_PY_STREAM_QUEUED = 1 << 8,   /* its node is in the ready queue                           */
    TC_PY_STREAM_LARGE = 1 << 9,    /* a read was large: receive without the scratch            */
    TC_PY_STREAM_HELD = 1 << 10,    /* pause_reading(): reads have the buffer only              */
    TC_PY_STREAM_GRACEFUL = 1 << 11, /* closed, not aborted: unread input is discarded          */
    TC_PY_STREAM_SHARED = 1 << 12,   /* its user has the socket, too, and may close it          */
    TC_PY_STREAM_WAS_LARGE = 1 << 13, /* the last one was                                       */
};

/* Bytes objects on their way out. */
struct tc_py_output {
    PyObject **items; /* owned; those at [head, head + count) are owned too                     */
    uint32_t head;
    uint32_t count;
    uint32_t capacity; /* TC_PY_OUTPUT_INLINE: `items` is `inline_items`                        */
    size_t offset;     /* bytes of items[head] that have been sent                              */
    size_t bytes;      /* not sent                                                              */
    PyObject *inline_items[TC_PY_OUTPUT_INLINE];
};

struct tc_py_stream {
    struct tc_py_node node; /* runs the end of the connection and of its handler               */
    struct tc_py_descriptor descriptor;
    uint32_t flags; /* enum tc_py_stream_flags                                       */
    int error; /* -errno of what broke the connection, or 0                     */
    struct tc_py_loop *loop; /* owned                                                         */
    struct tc_py_reader *reader; /* owned until CLOSED: it may not go on another thread before */
    struct tc_py_stream_server
        *server; /* owned; NULL for a client's                                    */
    struct tc_list in_server; /* in server->streams while not CLOSED                           */
    struct tc_list in_loop; /* SM1                                                           */
    struct tc_list waiters; /* of struct tc_py_stream_wait: drain, wait_closed               */
    struct tc_py_output output;
    size_t high; /* water marks in bytes                                          */
    size_t low;
    PyObject *exception; /* owned; made of `error` when somebody asks, or NULL            */
    PyObject *socket; /* owned; who owns the descriptor, NULL: we do                   */
    PyObject *handler; /* owned; the future of a handler that has failed, or NULL       */
    PyObject *names[2]; /* owned; local and remote address where they are not below      */
    struct sockaddr_in6
        addresses[2]; /* the same, IPv4 or IPv6; a family of 0: not known              */
};

/* What a task waits for in drain() or wait_closed(): embedded in the operation. */
struct tc_py_stream_wait {
    struct tc_py_operation op;
    struct tc_list link; /* in stream->waiters while SUSPENDED                          */
    struct tc_py_stream *stream; /* owned until the operation has ended                         */
    bool is_drain;
};

/* ---- life ---------------------------------------------------------------------------------- */

/* Make a stream of a connected, non-blocking socket: either of the descriptor `fd`, or of the
 * Python socket `b_socket`. `peer` (may be NULL) is its remote address.
 * Owns: fd on success only   Returns a new reference, or NULL with an exception set. */
struct tc_py_stream *tc_py_stream_new(struct tc_py_loop *loop, int fd, PyObject *b_socket,
                                      const struct sockaddr *peer, socklen_t peer_length);

/* A new stream whose reader or writer could not be made: leave the descriptor to the socket that it
 * came with, open, and let the reader go, so that nothing keeps the stream. Keeps the pending
 * exception. */
void tc_py_stream_disown(struct tc_py_stream *self);

/* Refuse a call of `what` on a foreign thread or after a fork. Threads: attached
 * Returns 0, or -1 with RuntimeError set. */
int tc_py_stream_check(struct tc_py_stream *self, const char *what);

/* Receive nothing more until `held` is false again; a read that waits goes on then. */
void tc_py_stream_hold(struct tc_py_stream *self, bool held);

/* Whether bytes are received as they come: a read waits for them, and nothing holds it. */
bool tc_py_stream_is_receiving(const struct tc_py_stream *self);

/* Send what is gathered, then close; what has arrived unread is discarded first, since the kernel
 * would make a reset of it, and drop what it has not delivered. Does nothing if that was asked
 * before. */
void tc_py_stream_close(struct tc_py_stream *self);

/* Close; what the socket does not take at once is lost. */
void tc_py_stream_abort(struct tc_py_stream *self);

/* The connection is broken, for the reason `error` (-errno). */
void tc_py_stream_lose(struct tc_py_stream *self, int error);

/* Before acting on the descriptor out of the ordinary: if the user has closed or detached the
 * Python socket, the connection is broken, unless it is closing with nothing unsent. May run Python
 * code. */
void tc_py_stream_check_socket(struct tc_py_stream *self);

/* The same before every use of the descriptor: false if it is gone. */
static inline bool tc_py_stream_has_number(struct tc_py_stream *self)
{
    if (tc_unlikely(self->flags & TC_PY_STREAM_SHARED)) {
        tc_py_stream_check_socket(self);
    }
    return self->descriptor.fd >= 0;
}

/* Have the end run in the next turn, the output being sent or dropped. */
void tc_py_stream_end_soon(struct tc_py_stream *self);

/* The last user has gone without a close: do so on the loop's thread. Threads: attached, any */
void tc_py_stream_abandon(struct tc_py_stream *self);

/* What broke the connection: a new reference; NULL without an exception set: nothing did. */
PyObject *tc_py_stream_exception(struct tc_py_stream *self);

/* Have the handler's failure reported and the connection closed when `task` ends badly. Returns 0,
 * or -1 with an exception set. */
int tc_py_stream_watch_handler(struct tc_py_stream *self, PyObject *b_task);

/* ---- output (stream_output.c) ---------------------------------------------------------------- */

/* Gather bytes, a bytearray or a memoryview. Returns 0, or -1 with TypeError, RuntimeError after
 * write_eof(), or MemoryError set. */
int tc_py_stream_write(struct tc_py_stream *self, PyObject *b_data);

/* The same for each item of an iterable, of which nothing is gathered if this fails. */
int tc_py_stream_writelines(struct tc_py_stream *self, PyObject *b_lines);

/* End our side once everything is sent. */
void tc_py_stream_write_eof(struct tc_py_stream *self);

/* Send as much as the socket takes. */
void tc_py_stream_flush(struct tc_py_stream *self);

/* Set the water marks. Returns 0, or -1 with ValueError set. */
int tc_py_stream_set_limits(struct tc_py_stream *self, PyObject *b_high, PyObject *b_low);

/* Forget all output, without telling anybody. */
void tc_py_output_clear(struct tc_py_output *output);

/* At the end of a turn: send what was gathered in it. */
void tc_py_streams_flush(struct tc_py_loop *loop);

/* The loop ends: forget all unsent output. */
void tc_py_streams_drop(struct tc_py_loop *loop);

/* The collector's hook for the two lists of the loop. */
int tc_py_streams_traverse(struct tc_py_loop *loop, visitproc visit, void *arg);

/* ---- waits (stream_wait.c) ------------------------------------------------------------------- */

/* drain() and wait_closed(): a new operation, or `*spare` again if nobody else holds it. Returns a
 * new reference, or NULL with MemoryError set. */
PyObject *tc_py_stream_wait_new(struct tc_py_stream *self, PyObject **spare, bool is_drain);

/* Wake who drains, or everybody. */
void tc_py_stream_wake(struct tc_py_stream *self, bool everybody);

/* ---- addresses (stream_info.c) ------------------------------------------------------------- */

/* Remember the local address before the descriptor goes. */
void tc_py_stream_note_name(struct tc_py_stream *self);

/* get_extra_info(): a new reference; `b_default` for what we do not know; NULL with an
 * exception. */
PyObject *tc_py_stream_info(struct tc_py_stream *self, PyObject *b_name, PyObject *b_default);

/* Keep `address` as local (0) or remote (1) one, if it is IPv4 or IPv6. Returns whether it is. */
bool tc_py_stream_keep_address(struct tc_py_stream *self, int which, const struct sockaddr *address,
                               socklen_t length);

#endif
