/* python/waiting_line.h — tasks that stand in line for a lock, an event, a condition or a queue.
 *
 * An object of asyncio's names that tasks wait for is a struct tc_py_bound: it belongs to no loop
 * until somebody has to wait, and to that task's loop from then on. Its lines are lists of struct
 * tc_py_wait, which are the awaited operations themselves: nothing is allocated for a wait beyond
 * what `acquire()` or `get()` returns.
 *
 * asyncio's coroutines wait for a future each. What such a future says is here the operation's
 * state:
 *
 *   future pending      SUSPENDED
 *   done by a wake      WOKEN, and is_woken stays true until the next wait
 *   cancelled           CANCELLED, and not is_woken
 *
 * As there, a cancelled wait keeps its place until its task runs, and a wake that finds it at the
 * head of a lock's line wakes nobody: the order of wake-ups depends on both.
 *
 * INVARIANTS
 *  WL1  A wait in a line is SUSPENDED, WOKEN or CANCELLED; it holds a reference to its owner, the
 *       line none to it.
 *  WL2  `loop` is set before the first wait enters a line, and never changes.
 *
 * who may call what: the thread of the bound loop, attached. An object that is not bound yet is its
 * users' to protect, as in asyncio; the interpreter is safe in any case, since what such objects
 * touch are fields of their own and containers that lock themselves.
 */
#ifndef TC_PYTHON_WAITING_LINE_H
#define TC_PYTHON_WAITING_LINE_H

#include "python/loop.h"
#include "python/operation.h"
#include "python/sync_state.h"
#include "python/task.h"

#include "base/list.h"

/* ---- objects that bind to a loop ------------------------------------------------------------ */

struct tc_py_bound {
    PyObject_HEAD struct tc_py_sync_state
        *state;              /* constant                                                        */
    struct tc_py_loop *loop; /* owned; NULL until the first wait (WL2)                          */
    PyObject *weakrefs;
};

/* Refuse a call of `what` ("Lock.release()") from a foreign thread or after a fork.
 * Returns 0, or -1 with RuntimeError set. */
static inline int tc_py_bound_check(struct tc_py_bound *bound, const char *what)
{
    return tc_likely(bound->loop == NULL) ? 0 : tc_py_loop_check(bound->loop, what);
}

/* Bind to the loop of the running task. Returns 0, or -1 with asyncio's RuntimeError set if it is
 * bound to another one. */
int tc_py_bound_bind(struct tc_py_bound *bound, struct tc_py_loop *loop);

/* tp_new of every such type: an object that is zero but for its state. NULL with an exception
 * set. */
struct tc_py_bound *tc_py_bound_new(PyTypeObject *type);

/* tp_init's arguments: none if `name` is NULL, else one that may be left out; *b_value is borrowed
 * or NULL. What does not fit is refused in the words of a function written in Python.
 * Returns 0, or -1 with TypeError set. */
int tc_py_bound_argument(PyObject *self, PyObject *args, PyObject *kwargs, const char *name,
                         PyObject **b_value);

/* Parts of the types: what the collector visits (a loop clears what it holds, so nothing need be
 * cleared here), the whole or the end of tp_dealloc, and the place of the weak references. */
int tc_py_bound_traverse(PyObject *self, visitproc visit, void *arg);
void tc_py_bound_dealloc(PyObject *self);
extern PyMemberDef tc_py_bound_members[];

/* object.__repr__ with something added: "<tinycoro.Lock object at 0x… [unlocked, waiters:2]>".
 * `state` is a borrowed str or NULL with an exception set. Returns a new reference or NULL. */
PyObject *tc_py_bound_repr(PyObject *self, PyObject *state, const struct tc_list *line);

/* ---- waits -------------------------------------------------------------------------------- */

struct tc_py_wait {
    struct tc_py_operation op;
    struct tc_list place;      /* in a line of the owner, or alone                              */
    struct tc_py_bound *owner; /* owned                                                         */
    PyObject *item;            /* owned; what is put, or NULL                                   */
    bool is_woken;             /* the last wait was ended by the owner, not by a cancel         */
    bool is_finalized; /* the interpreter would not finalize it a second time           */
};

static inline struct tc_py_wait *tc_py_wait_of(struct tc_py_operation *op)
{
    return tc_container_of(op, struct tc_py_wait, op);
}

/* A new operation on `owner`. A new reference, or NULL with MemoryError set. */
struct tc_py_wait *tc_py_wait_new(struct tc_py_bound *owner, const struct tc_py_operation_ops *ops);

/* For start and finish: bind the owner and go to the end of a line. Returns what start returns. */
enum tc_py_outcome tc_py_wait_enter(struct tc_py_wait *wait, struct tc_list *line);

/* ops->withdraw of all waits, for those that are given up without a turn of their task. */
bool tc_py_wait_withdraw(struct tc_py_operation *op);

static inline void tc_py_wait_leave(struct tc_py_wait *wait)
{
    tc_list_remove(&wait->place);
}

static inline bool tc_py_wait_is_pending(const struct tc_py_wait *wait)
{
    return wait->op.state == TC_PY_OPERATION_SUSPENDED;
}

/* Resume a pending wait. */
static inline void tc_py_wait_wake(struct tc_py_wait *wait)
{
    wait->is_woken = true;
    tc_py_operation_wake(&wait->op);
}

/* ---- lines -------------------------------------------------------------------------------- */

static inline struct tc_py_wait *tc_py_wait_at(struct tc_list *place)
{
    return tc_container_of(place, struct tc_py_wait, place);
}

/* Wake up to `most` pending waits; they stay in line until they run. Returns how many. */
Py_ssize_t tc_py_line_wake(struct tc_list *line, Py_ssize_t most);

/* Wake the first pending wait, and take it and all before it out. */
void tc_py_line_release(struct tc_list *line);

/* The same for all waits. */
void tc_py_line_release_all(struct tc_list *line);

/* True if every wait in the line is cancelled. */
bool tc_py_line_is_cancelled(const struct tc_list *line);

Py_ssize_t tc_py_line_length(const struct tc_list *line);

/* Those in line, for people who look: a new list of operations, or NULL with an exception set. */
PyObject *tc_py_line_list(const struct tc_list *line);

/* tc_py_add_type for a type that can be subclassed: messages name it as they name a class written
 * in Python, without the module. */
int tc_py_add_bound_type(PyObject *module, PyType_Spec *spec, PyTypeObject *base,
                         PyTypeObject **out);

#endif
