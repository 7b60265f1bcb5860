#include "python/taskgroup.h"

#include "python/args.h"
#include "python/deferred.h"
#include "python/handle.h"
#include "python/watch.h"

#include <stddef.h>

static struct tc_py_taskgroup *group_of(void *self)
{
    return self;
}

/* ---- cancelling ------------------------------------------------------------------------- */

int tc_py_taskgroup_abort(struct tc_py_taskgroup *group)
{
    struct tc_py_loop_state *state = group->state;
    PyObject *tasks = PyDict_Keys(group->tasks); /* a cancel may run anything */
    int result = tasks == NULL ? -1 : 0;

    group->is_aborting = true;
    for (Py_ssize_t i = 0; result >= 0 && i < PyList_GET_SIZE(tasks); i++) {
        PyObject *b_task = PyList_GET_ITEM(tasks, i);

        result = tc_py_ask_done(state, b_task);
        if (result == 0) {
            result = tc_py_cancel_object(state, b_task, NULL);
        }
    }
    Py_XDECREF(tasks);
    return result < 0 ? -1 : 0;
}

/* Returns 0, or -1 with an exception set. */
static int cancel_parent(struct tc_py_taskgroup *group)
{
    group->has_cancelled_parent = true;
    return tc_py_cancel_object(group->state, (PyObject *)group->parent, NULL) < 0 ? -1 : 0;
}

PyDoc_STRVAR(cancel_doc,
             "cancel($self, /)\n--\n\n"
             "End the group without an error: cancel its tasks and the block itself.\n\n"
             "Before the block is entered, it is cancelled at its first await. Once all is over,\n"
             "nothing happens.");

static PyObject *group_cancel(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_taskgroup *group = group_of(self);

    if (!group->is_entered) {
        group->cancels_on_enter = true;
        Py_RETURN_NONE;
    }
    if (tc_py_loop_check(group->loop, "TaskGroup.cancel()") < 0) {
        return NULL;
    }
    if ((group->is_exiting && tc_py_taskgroup_is_empty(group)) || group->is_aborting) {
        Py_RETURN_NONE;
    }
    if (tc_py_taskgroup_abort(group) < 0) {
        return NULL;
    }
    if (group->parent != NULL && !group->has_cancelled_parent && cancel_parent(group) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- children that end ---------------------------------------------------------------------- */

bool tc_py_is_base_error(PyObject *b_error)
{
    return PyErr_GivenExceptionMatches(b_error, PyExc_KeyboardInterrupt) ||
           PyErr_GivenExceptionMatches(b_error, PyExc_SystemExit);
}

int tc_py_taskgroup_add_error(struct tc_py_taskgroup *group, PyObject *b_error)
{
    if (group->errors == NULL) {
        group->errors = PyList_New(0);
    }
    return group->errors == NULL ? -1 : PyList_Append(group->errors, b_error);
}

/* Wake whoever waits in __aexit__, if the group is empty. */
static void wake_if_empty(struct tc_py_taskgroup *group)
{
    if (group->exit != NULL && group->exit->state == TC_PY_OPERATION_SUSPENDED &&
        tc_py_taskgroup_is_empty(group)) {
        tc_py_operation_wake(group->exit);
    }
}

/* The group's turn, for children that ended without an error. */
static int group_run(struct tc_py_node *self, struct tc_py_loop *loop)
{
    (void)loop;
    group_of(self)->is_queued = false;
    wake_if_empty(group_of(self));
    return 0;
}

/* A child failed after all was over: nobody is left to be told but the loop. Returns 0, or -1 with
 * an exception set. */
static int report_orphan(struct tc_py_taskgroup *group, PyObject *b_task, PyObject *b_error)
{
    PyObject *message =
        PyUnicode_FromFormat("Task %R has errored out but its parent task %S is already completed",
                             b_task, group->parent == NULL ? Py_None : (PyObject *)group->parent);
    int result;

    if (message == NULL) {
        return -1;
    }
    PyErr_SetRaisedException(Py_NewRef(b_error));
    result = tc_py_loop_report(group->loop, message, group->state->str_task, b_task);
    Py_DECREF(message);
    return result;
}

/* Returns 0, or -1 with an exception set. */
static int child_failed(struct tc_py_taskgroup *group, PyObject *b_task, PyObject *b_error)
{
    if (tc_py_taskgroup_add_error(group, b_error) < 0) {
        return -1;
    }
    if (group->base_error == NULL && tc_py_is_base_error(b_error)) {
        group->base_error = Py_NewRef(b_error);
    }
    if (group->parent == NULL || tc_py_future_is_done(&group->parent->future)) {
        return report_orphan(group, b_task, b_error);
    }
    if (group->is_aborting || group->has_cancelled_parent) {
        return 0;
    }
    if (tc_py_taskgroup_abort(group) < 0) {
        return -1;
    }
    return cancel_parent(group);
}

/* A child's turn. Returns 0, or -1 with an exception set. */
static int child_ended(struct tc_py_taskgroup *group, PyObject *b_task)
{
    struct tc_py_ending ending;
    int result = 0;

    wake_if_empty(group);
    if (tc_py_ask_ending(group->state, b_task, &ending) < 0) {
        return -1;
    }
    if (ending.kind == TC_PY_FUTURE_FAILED) {
        result = child_failed(group, b_task, ending.value);
    }
    Py_DECREF(ending.value);
    return result;
}

static PyObject *late_child(PyObject *self, PyObject *b_task)
{
    group_of(self)->late--;
    if (child_ended(group_of(self), b_task) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef late_child_def = {"_on_task_done", late_child, METH_O, NULL};

static PyObject *foreign_child(PyObject *self, PyObject *b_task)
{
    if (PyDict_DelItem(group_of(self)->tasks, b_task) < 0 ||
        child_ended(group_of(self), b_task) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef foreign_child_def = {"_on_task_done", foreign_child, METH_O, NULL};

/* Give a child that is done a place of its own in the ready queue. Returns 0, or -1 with an
 * exception set. */
static int queue_late(struct tc_py_taskgroup *group, PyObject *b_task)
{
    PyObject *callback = PyCFunction_New(&late_child_def, (PyObject *)group);
    int result = -1;

    if (callback != NULL) {
        result = tc_py_loop_call(group->loop, callback, b_task, NULL);
        Py_DECREF(callback);
    }
    group->late += result == 0;
    return result;
}

/* The same for one that has failed, which must not be lost: without memory for a place, its turn is
 * now. */
static void fail_later(struct tc_py_taskgroup *group, PyObject *b_task)
{
    if (queue_late(group, b_task) == 0) {
        return;
    }
    PyErr_Clear();
    if (!group->loop->is_closed && child_ended(group, b_task) < 0) {
        PyErr_WriteUnraisable((PyObject *)group);
    }
}

static void group_future_done(struct tc_py_node *self, struct tc_py_future *b_future)
{
    struct tc_py_taskgroup *group = group_of(self);

    if (tc_unlikely(PyDict_DelItem(group->tasks, (PyObject *)b_future) < 0)) {
        PyErr_Clear(); /* the collector has emptied it */
    }
    if (tc_unlikely(b_future->flags & TC_PY_FUTURE_FAILED)) {
        fail_later(group, (PyObject *)b_future);
        return;
    }
    if (PyDict_GET_SIZE(group->tasks) == 0 && !group->is_queued && !group->loop->is_closed) {
        group->is_queued = true;
        tc_py_loop_ready(group->loop, &group->node);
    }
}

static const struct tc_py_node_ops group_ops = {
    .run = group_run,
    .future_done = group_future_done,
    .cancel_wait = NULL,
};

/* ---- create_task ------------------------------------------------------------------------ */

PyDoc_STRVAR(create_task_doc,
             "create_task($self, coro, /, *, name=None, context=None, eager_start=None)\n--\n\n"
             "Return a Task of this group that runs the coroutine.\n\n"
             "Raises: RuntimeError before the block is entered, after its end, and once the group\n"
             "is being cancelled; the coroutine is closed then.");

/* Close the coroutine and raise RuntimeError. Returns NULL. */
static PyObject *refuse(struct tc_py_taskgroup *group, struct tc_py_loop_state *state,
                        PyObject *b_coro, const char *why)
{
    PyObject *closed = PyObject_CallMethodNoArgs(b_coro, state->str_close);

    if (closed == NULL) {
        return NULL;
    }
    Py_DECREF(closed);
    return PyErr_Format(PyExc_RuntimeError, "TaskGroup %R %s", group, why);
}

/* Make the group's child of a task. Returns 0, or -1 with an exception set. */
static int adopt(struct tc_py_taskgroup *group, PyObject *b_task)
{
    struct tc_py_loop_state *state = group->state;
    int is_done;

    if (tc_likely(tc_py_is_native(state, b_task)) &&
        tc_py_future_is_done((struct tc_py_future *)b_task)) {
        return queue_late(group, b_task);
    }
    if (PyDict_SetItem(group->tasks, b_task, Py_None) < 0 ||
        tc_py_watch(state, b_task, &group->node, &foreign_child_def) < 0) {
        return -1;
    }
    if (tc_likely(!group->is_aborting)) {
        return 0;
    }
    is_done = tc_py_ask_done(state, b_task); /* its eager start has cancelled the group */
    return is_done != 0 ? is_done : tc_py_cancel_object(state, b_task, NULL);
}

static PyObject *group_create_task(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                   PyObject *names)
{
    struct tc_py_taskgroup *group = group_of(self);
    struct tc_py_loop *loop = group->is_entered ? group->loop : tc_py_loop_require();
    PyObject *task;

    if (loop == NULL || tc_py_loop_check(loop, "TaskGroup.create_task()") < 0) {
        return NULL;
    }
    if (nargs != 1) {
        return PyErr_Format(PyExc_TypeError, "create_task() takes one coroutine, %zd given", nargs);
    }
    if (!group->is_entered) {
        return refuse(group, loop->state, args[0], "has not been entered");
    }
    if (group->is_exiting && tc_py_taskgroup_is_empty(group)) {
        return refuse(group, loop->state, args[0], "is finished");
    }
    if (group->is_aborting) {
        return refuse(group, loop->state, args[0], "is shutting down");
    }
    task = tc_py_create_task(loop, args, 1, names);
    if (task != NULL && adopt(group, task) < 0) {
        Py_CLEAR(task);
    }
    return task;
}

/* ---- enter and exit --------------------------------------------------------------------- */

PyDoc_STRVAR(enter_doc, "__aenter__($self, /)\n--\n\nMake the current task the parent.");

static PyObject *enter_awaited(PyObject *self, PyObject *Py_UNUSED(first),
                               PyObject *Py_UNUSED(second))
{
    struct tc_py_taskgroup *group = group_of(self);
    struct tc_py_loop *loop;

    if (group->is_entered) {
        return PyErr_Format(PyExc_RuntimeError, "TaskGroup %R has already been entered", group);
    }
    loop = tc_py_loop_require();
    if (loop == NULL) {
        return NULL;
    }
    if (loop->current == NULL) {
        return PyErr_Format(PyExc_RuntimeError, "TaskGroup %R cannot determine the parent task",
                            group);
    }
    group->loop = (struct tc_py_loop *)Py_NewRef(loop);
    group->parent = (struct tc_py_task *)Py_NewRef(loop->current);
    group->is_entered = true;
    if (group->cancels_on_enter) {
        group->is_aborting = true; /* it has no children yet */
        if (cancel_parent(group) < 0) {
            return NULL;
        }
    }
    return Py_NewRef(self);
}

static PyObject *group_enter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return tc_py_deferred(group_of(self)->state, enter_awaited, self, NULL, NULL);
}

PyDoc_STRVAR(exit_doc, "__aexit__($self, exc_type, exc_value, traceback, /)\n--\n\n"
                       "Wait until all tasks have ended; raise what they raised, in a group.");

static PyObject *group_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct tc_py_taskgroup *group = group_of(self);

    if (nargs != 3) {
        return PyErr_Format(PyExc_TypeError, "__aexit__() takes 3 arguments, %zd given", nargs);
    }
    return tc_py_taskgroup_exit(group, args[0], args[1]);
}

/* ---- life ------------------------------------------------------------------------------- */

static void group_dealloc(PyObject *self);

/* The type that this file made, below whatever class `type` is. */
static PyTypeObject *own_type(PyTypeObject *type)
{
    while (type->tp_dealloc != group_dealloc) {
        type = type->tp_base;
    }
    return type;
}

static PyObject *group_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                           PyObject *Py_UNUSED(kwargs))
{
    struct tc_py_taskgroup *group = group_of(type->tp_alloc(type, 0));

    if (group == NULL) {
        return NULL;
    }
    group->state = tc_py_loop_state_of(PyType_GetModule(own_type(type)));
    group->node.ops = &group_ops;
    group->tasks = PyDict_New();
    if (group->tasks == NULL) {
        Py_DECREF(group);
        return NULL;
    }
    return (PyObject *)group;
}

static int group_init(PyObject *Py_UNUSED(self), PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) > 0 || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)) {
        PyErr_SetString(PyExc_TypeError, "TaskGroup() takes no arguments");
        return -1;
    }
    return 0;
}

static int group_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct tc_py_taskgroup *group = group_of(self);

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(group->loop);
    Py_VISIT(group->parent);
    Py_VISIT(group->tasks);
    Py_VISIT(group->errors);
    Py_VISIT(group->base_error);
    return 0;
}

/* The loop and the set stay until the end: methods of a cleared group still look at them. */
static int group_clear(PyObject *self)
{
    struct tc_py_taskgroup *group = group_of(self);

    Py_CLEAR(group->parent);
    if (group->tasks != NULL) {
        PyDict_Clear(group->tasks);
    }
    Py_CLEAR(group->errors);
    Py_CLEAR(group->base_error);
    return 0;
}

static void group_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (group_of(self)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    (void)group_clear(self); /* cannot fail */
    Py_CLEAR(group_of(self)->tasks);
    Py_CLEAR(group_of(self)->loop);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *group_repr(PyObject *self)
{
    struct tc_py_taskgroup *group = group_of(self);
    Py_ssize_t tasks =
        PyDict_GET_SIZE(group->tasks) + (Py_ssize_t)group->late + (group->is_queued ? 1 : 0);
    Py_ssize_t errors = group->errors == NULL ? 0 : PyList_GET_SIZE(group->errors);
    char text[96] = "";
    int length = 0;

    if (tasks > 0) {
        length += PyOS_snprintf(text, sizeof(text), " tasks=%zd", tasks);
    }
    if (errors > 0) {
        length +=
            PyOS_snprintf(text + length, sizeof(text) - (size_t)length, " errors=%zd", errors);
    }
    return PyUnicode_FromFormat("<TaskGroup%s%s>", text,
                                group->is_aborting  ? " cancelling"
                                : group->is_entered ? " entered"
                                                    : "");
}

/* ---- the type --------------------------------------------------------------------------- */

PyDoc_STRVAR(group_doc,
             "TaskGroup()\n--\n\n"
             "An async context manager that waits for the tasks made by its create_task().\n\n"
             "The first that fails cancels the others and the block; then all that was raised is\n"
             "raised as an ExceptionGroup. cancel() ends the group without an error.");

static PyMethodDef group_methods[] = {
    {"__aenter__", group_enter, METH_NOARGS, enter_doc},
    {"__aexit__", (PyCFunction)(void (*)(void))group_exit, METH_FASTCALL, exit_doc},
    {"create_task", TC_PY_KEYWORD_FUNCTION(group_create_task), METH_FASTCALL | METH_KEYWORDS,
     create_task_doc},
    {"cancel", group_cancel, METH_NOARGS, cancel_doc},
    {NULL, NULL, 0, NULL},
};

/* What asyncio keeps under this name; for tests. */
static PyObject *get_tasks(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(group_of(self)->tasks);
}

static PyGetSetDef group_attributes[] = {
    {"_tasks", get_tasks, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef group_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(struct tc_py_taskgroup, weakrefs), Py_READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot group_slots[] = {
    {Py_tp_doc, (void *)group_doc},
    {Py_tp_new, group_new},
    {Py_tp_init, group_init},
    {Py_tp_dealloc, group_dealloc},
    {Py_tp_traverse, group_traverse},
    {Py_tp_clear, group_clear},
    {Py_tp_repr, group_repr},
    {Py_tp_methods, group_methods},
    {Py_tp_members, group_members},
    {Py_tp_getset, group_attributes},
    {0, NULL},
};

static PyType_Spec group_spec = {
    .name = "tinycoro.TaskGroup",
    .basicsize = sizeof(struct tc_py_taskgroup),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = group_slots,
};

int tc_py_add_taskgroup(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_taskgroup_exit(module, state) < 0) {
        return -1;
    }
    return tc_py_add_type(module, &group_spec, NULL, &state->taskgroup_type);
}
