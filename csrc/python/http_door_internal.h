/* python/http_door_internal.h — struct tc_py_door, for http_door.c and http_pending.c: what takes
 * requests to their handlers, and the answers that come at once or later.
 *
 * who may call what: the loop's thread, attached.
 */
#ifndef TC_PYTHON_HTTP_DOOR_INTERNAL_H
#define TC_PYTHON_HTTP_DOOR_INTERNAL_H

#include "python/compat.h"

#include "base/list.h"
#include "python/http_door.h"
#include "python/http_request.h"
#include "python/http_response.h"
#include "python/task.h"

/* The desk and what is needed to reach the loop; plain C, because workers ring. */
struct tc_py_box {
    struct tc_http_desk desk;
    struct tc_py_message message;
    _Atomic uint32_t is_posted; /* DO2 */
    struct tc_py_mailbox *mailbox; /* one reference */
    struct tc_py_door *door; /* DO1; the loop's thread only; NULL: gone */
};

struct tc_py_door {
    struct tc_py_node node; /* in the ready queue while `is_queued` */
    struct tc_list in_loop; /* in loop->doors once the loop knows it */
    struct tc_py_box *box; /* borrowed; NULL: the end has come */
    struct tc_py_loop *loop; /* owned */
    PyObject *routes; /* owned tuple of (handler, names) */
    PyObject *stop; /* owned; called at the end, or NULL */
    PyObject *context; /* owned; what each handler's context is a copy of */
    struct tc_py_task *spare; /* owned; a task that has not begun, or NULL */
    struct tc_link *todo; /* calls taken from the desk, one reference each */
    struct tc_list pending; /* of struct tc_py_pending; DO3 */
    bool is_queued;
};

/* A call whose handler has suspended. It stands in the callbacks of its task. */
struct tc_py_pending {
    struct tc_py_node node;
    struct tc_list in_door; /* while call->user is this */
    struct tc_py_door *door; /* owned */
    struct tc_py_request *request; /* owned */
    struct tc_py_task *task; /* owned */
    PyObject *timer; /* owned; the Handle that will cancel the task, or NULL */
    bool is_feed; /* the handler has answered, and the task feeds the answer's stream */
    bool is_cancelled; /* because the client is gone */
};

static inline struct tc_py_box *tc__py_box_of(struct tc_http_desk *desk)
{
    return tc_container_of(desk, struct tc_py_box, desk);
}

/* Put the door in the ready queue, unless it is there. */
void tc__py_door_queue(struct tc_py_door *door);

/* The clerk's part of the call's stream has moved: send what that has put into the outbox. */
void tc__py_door_touch(struct tc_desk_call *call);

/* Whether `b_loop` is the loop of the request's door. Returns 0, or -1 with RuntimeError set. */
int tc__py_door_check(struct tc_py_request *b_request, struct tc_py_loop *b_loop);

/* Whether it is this process that has the request: in the child of a fork nobody serves its
 * stream, whose lock may be held for ever. Returns 0, or -1 with RuntimeError set. */
int tc__py_door_check_fork(struct tc_py_request *b_request);

/* ---- http_body.c, http_feed.c --------------------------------------------------------------- */

/* Resume whoever waits for the call's body, and return whether somebody did; for room in its
 * answer. */
bool tc__py_body_wake(struct tc_desk_call *call);
void tc__py_feed_wake(struct tc_desk_call *call);

/* A coroutine that feeds the stream of a request's answer. `length`: bytes that it must give, or
 * -1. Returns a new reference, or NULL with an exception set. */
PyObject *tc__py_feed_new(struct tc_py_loop_state *state, struct tc_py_request *b_request,
                          PyObject *b_iterator, int64_t length);

/* Create its types. Returns 0, or -1 with an exception set. */
int tc__py_add_feed(PyObject *module, struct tc_py_loop_state *state);

/* ---- http_pending.c ----------------------------------------------------------------------- */

void tc__py_door_answer_status(struct tc_desk_call *call, int status);

/* Log the pending exception and answer 500. Returns 0, or -1 with what ends the loop's run set. */
int tc__py_door_answer_error(struct tc_py_door *door, struct tc_py_request *b_request);

/* The file that the call was answered with could not be sent: log that. Never raises. */
void tc__py_door_report_file(struct tc_py_door *door, struct tc_desk_call *call, int error);

/* Answer with what a handler returned (owned by the callee; NULL: it raised), in `b_context`.
 * Returns 0, or -1 with what ends the loop's run set. */
int tc__py_door_answer(struct tc_py_door *door, struct tc_py_request *b_request, PyObject *value,
                       PyObject *b_context);

/* Send what was answered. */
void tc__py_door_flush(struct tc_py_door *door);

/* The handler of `b_request` has suspended in `b_task`, or the feed of its answer. Returns 0, or
 * -1 with an exception set. */
int tc__py_door_wait(struct tc_py_door *door, struct tc_py_request *b_request,
                     struct tc_py_task *b_task, bool is_feed);

/* The feed of the call has put something, so it is alive, although the client has ended its
 * side. */
void tc__py_feed_moved(struct tc_desk_call *call);

/* The feed of the request's answer begins to close its iterator: see tc__py_pending_cancel. */
void tc__py_feed_closes(struct tc_py_request *b_request);

/* The door ends: so does the answer, in whatever state it is. */
void tc__py_pending_refuse(struct tc_py_pending *pending);

/* The client is gone: cancel the handler, once; nor an iterator that is being closed already. What
 * they do about it is not to be interrupted. */
void tc__py_pending_cancel(struct tc_py_pending *pending);

/* The client has said its last word, and may be gone or wait for the answer: the handler has some
 * time to find it. */
void tc__py_pending_cancel_later(struct tc_py_pending *pending);

/* DO3: it answers no more. Returns whether it was to. */
bool tc__py_pending_let_go(struct tc_py_pending *self);

/* Create the type. Returns 0, or -1 with an exception set. */
int tc__py_add_pending(PyObject *module, struct tc_py_loop_state *state);

#endif
