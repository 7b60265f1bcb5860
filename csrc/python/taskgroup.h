/* python/taskgroup.h — tasks that end together: asyncio.TaskGroup, with cancel().
 *
 * asyncio runs a callback for every child that ends. Here the group is a node in the callbacks of
 * its children, and a child that ends without an error only leaves the table; the last one gives
 * the group a place in the ready queue, where its callback would stand. A child that failed has a
 * handle of its own there. So everything happens in asyncio's order.
 *
 * INVARIANTS
 *  TG1  `tasks` holds the children that are not done, and those that are no exact Task until their
 *       callback has run. `late` counts the ended children whose handle has not run, `is_queued`
 *       stands for those that have none. The group is empty when all three are.
 *  TG2  `exit` is the operation that waits for the group to be empty, while it is SUSPENDED.
 *
 * who may call what: the thread of the loop, attached.
 */
#ifndef TC_PYTHON_TASKGROUP_H
#define TC_PYTHON_TASKGROUP_H

#include "python/task.h"

struct tc_py_taskgroup {
    struct tc_py_node node;
    PyObject *weakrefs;
    struct tc_py_loop_state *state; /* constant                                                 */
    struct tc_py_loop *loop;      /* owned, from enter on                                       */
    struct tc_py_task *parent;    /* owned, from enter to the end of exit                       */
    PyObject *tasks;              /* owned; a dict whose keys they are, in the order in which they
                                   * were made and are cancelled (TG1)                          */
    PyObject *errors;             /* owned; a list of exceptions, or NULL                       */
    PyObject *base_error;         /* owned; the first KeyboardInterrupt or SystemExit, or NULL  */
    struct tc_py_operation *exit; /* borrowed; TG2                                              */
    uint32_t late;                /* TG1                                                        */
    bool is_queued;               /* TG1; the node is in the ready queue                        */
    bool is_entered;
    bool is_exiting;
    bool is_aborting;             /* the children have been cancelled                           */
    bool has_cancelled_parent;    /* one cancel() of the parent is ours, to be uncancelled      */
    bool cancels_on_enter;        /* cancel() came before enter                                 */
};

static inline bool tc_py_taskgroup_is_empty(const struct tc_py_taskgroup *group)
{
    return PyDict_GET_SIZE(group->tasks) == 0 && group->late == 0 && !group->is_queued;
}

/* Cancel the children that are not done. Returns 0, or -1 with an exception set. */
int tc_py_taskgroup_abort(struct tc_py_taskgroup *group);

/* Keep an exception for the end. Returns 0, or -1 with MemoryError set. */
int tc_py_taskgroup_add_error(struct tc_py_taskgroup *group, PyObject *b_error);

/* True for KeyboardInterrupt and SystemExit. */
bool tc_py_is_base_error(PyObject *b_error);

/* __aexit__: an operation that ends when the group does (taskgroup_exit.c). Arguments may be None.
 * Returns a new reference, or NULL with an exception set. */
PyObject *tc_py_taskgroup_exit(struct tc_py_taskgroup *group, PyObject *b_type,
                               PyObject *b_exception);

#endif
