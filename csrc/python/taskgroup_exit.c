/* The end of a TaskGroup's block: wait for the tasks, then raise what is to be raised. */
#include "python/taskgroup.h"

struct exit_operation {
    struct tc_py_operation op;
    struct tc_py_taskgroup *group; /* owned                                                     */
    PyObject *type;                /* owned; of the exception that ended the block, or NULL     */
    PyObject *exception;           /* owned; that exception, or NULL                            */
    PyObject *propagate;           /* owned; the CancelledError to be raised, or NULL           */
    PyObject *pending;             /* owned; the last one met while waiting, or NULL            */
};

static struct exit_operation *exit_of(void *self)
{
    return self;
}

static bool is_cancel(struct exit_operation *self)
{
    return self->type != NULL &&
           PyErr_GivenExceptionMatches(self->type, self->group->state->cancelled_error);
}

/* ---- what is raised ------------------------------------------------------------------------ */

/* raise b_error, with what is being handled as its context. */
static enum tc_py_outcome raise_error(PyObject *b_error)
{
    PyErr_SetObject((PyObject *)Py_TYPE(b_error), b_error);
    return TC_PY_ERROR;
}

/* raise BaseExceptionGroup(...) from None. */
static enum tc_py_outcome raise_group(struct tc_py_taskgroup *group)
{
    PyObject *error = PyObject_CallFunction(group->state->base_exception_group, "sO",
                                            "unhandled errors in a TaskGroup", group->errors);

    if (error != NULL) {
        PyException_SetCause(error, NULL);
        (void)raise_error(error);
        Py_DECREF(error);
    }
    return TC_PY_ERROR;
}

/* A cancel of the parent from outside stays counted and pending. Returns 0, or -1 with an exception
 * set. */
static int cancel_again(struct tc_py_taskgroup *group)
{
    long cancels = tc_py_task_cancelling(group->parent);

    if (cancels <= 0) {
        return (int)cancels;
    }
    if (tc_py_task_uncancel(group->parent) < 0) {
        return -1;
    }
    return tc_py_cancel_object(group->state, (PyObject *)group->parent, NULL) < 0 ? -1 : 0;
}

/* Our cancel of the parent is answered; if it was the only one, no CancelledError is raised.
 * Returns 0, or -1 with an exception set. */
static int settle_cancel(struct exit_operation *self)
{
    long left = tc_py_task_uncancel(self->group->parent);

    if (left == 0) {
        Py_CLEAR(self->propagate);
    } else if (left > 0 && self->propagate == NULL) {
        self->propagate = Py_XNewRef(self->pending);
    }
    return left < 0 ? -1 : 0;
}

/* All tasks have ended. */
static enum tc_py_outcome conclude(struct exit_operation *self, PyObject **value)
{
    struct tc_py_taskgroup *group = self->group;

    if (group->base_error != NULL) {
        return raise_error(group->base_error);
    }
    if (group->has_cancelled_parent && settle_cancel(self) < 0) {
        return TC_PY_ERROR;
    }
    if (self->propagate != NULL && group->errors == NULL) {
        return raise_error(self->propagate);
    }
    if (self->exception != NULL && !is_cancel(self) &&
        tc_py_taskgroup_add_error(group, self->exception) < 0) {
        return TC_PY_ERROR;
    }
    if (group->errors != NULL) {
        return cancel_again(group) < 0 ? TC_PY_ERROR : raise_group(group);
    }
    *value = Py_NewRef(Py_True); /* nothing that has been raised deserves to be seen */
    return TC_PY_DONE;
}

/* Suspend until the group is empty, or end. A failed `step` on the way here ends it too. */
static enum tc_py_outcome go_on(struct exit_operation *self, int step, PyObject **value)
{
    struct tc_py_taskgroup *group = self->group;
    enum tc_py_outcome outcome;

    if (step == 0 && !tc_py_taskgroup_is_empty(group)) {
        group->exit = &self->op;
        return TC_PY_SUSPEND;
    }
    outcome = step < 0 ? TC_PY_ERROR : conclude(self, value);
    Py_CLEAR(group->parent);
    Py_CLEAR(group->errors);
    Py_CLEAR(group->base_error);
    return outcome;
}

/* ---- the operation ------------------------------------------------------------------------ */

static enum tc_py_outcome exit_start(struct tc_py_operation *op, PyObject **value)
{
    struct exit_operation *self = exit_of(op);
    struct tc_py_taskgroup *group = self->group;

    if (group->parent == NULL) {
        PyErr_Format(PyExc_RuntimeError, "TaskGroup %R is not entered", group);
        return TC_PY_ERROR;
    }
    if (tc_py_loop_check(group->loop, "TaskGroup.__aexit__()") < 0) {
        return TC_PY_ERROR;
    }
    group->is_exiting = true;
    if (self->exception != NULL && group->base_error == NULL &&
        tc_py_is_base_error(self->exception)) {
        group->base_error = Py_NewRef(self->exception);
    }
    if (is_cancel(self)) {
        self->propagate = Py_XNewRef(self->exception);
    }
    if (self->type != NULL && !group->is_aborting) {
        return go_on(self, tc_py_taskgroup_abort(group), value);
    }
    return go_on(self, 0, value);
}

static enum tc_py_outcome exit_finish(struct tc_py_operation *op, PyObject **value)
{
    exit_of(op)->group->exit = NULL;
    return go_on(exit_of(op), 0, value);
}

/* The parent was cancelled while it waited: cancel the tasks, and go on waiting for them. */
static enum tc_py_outcome exit_cancelled(struct tc_py_operation *op, PyObject **value)
{
    struct exit_operation *self = exit_of(op);
    PyObject *error = tc_py_operation_cancelled_error(op);

    self->group->exit = NULL;
    if (error == NULL) {
        return go_on(self, -1, value);
    }
    Py_XSETREF(self->pending, error);
    if (self->group->is_aborting) {
        return go_on(self, 0, value);
    }
    Py_XSETREF(self->propagate, Py_NewRef(error));
    return go_on(self, tc_py_taskgroup_abort(self->group), value);
}

static bool exit_withdraw(struct tc_py_operation *op)
{
    if (exit_of(op)->group != NULL && exit_of(op)->group->exit == op) {
        exit_of(op)->group->exit = NULL;
    }
    return true;
}

static const struct tc_py_operation_ops exit_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "TaskGroup.__aexit__",
    .delivery_wins = false,
    .start = exit_start,
    .finish = exit_finish,
    .withdraw = exit_withdraw,
    .give_back = NULL,
    .cancelled = exit_cancelled,
};

PyObject *tc_py_taskgroup_exit(struct tc_py_taskgroup *group, PyObject *b_type,
                               PyObject *b_exception)
{
    PyTypeObject *type = group->state->taskgroup_exit_type;
    struct exit_operation *self = exit_of(type->tp_alloc(type, 0));

    if (self == NULL) {
        return NULL;
    }
    tc_py_operation_init(&self->op, &exit_ops);
    self->group = (struct tc_py_taskgroup *)Py_NewRef(group);
    self->type = b_type == Py_None ? NULL : Py_NewRef(b_type);
    self->exception = b_exception == Py_None ? NULL : Py_NewRef(b_exception);
    return (PyObject *)self;
}

/* ---- life ------------------------------------------------------------------------------- */

static int exit_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct exit_operation *self = exit_of(object);

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->group);
    Py_VISIT(self->type);
    Py_VISIT(self->exception);
    Py_VISIT(self->propagate);
    Py_VISIT(self->pending);
    Py_VISIT(self->op.message);
    return 0;
}

static int exit_clear(PyObject *object)
{
    struct exit_operation *self = exit_of(object);

    tc_py_operation_clear(&self->op);
    Py_CLEAR(self->group);
    Py_CLEAR(self->type);
    Py_CLEAR(self->exception);
    Py_CLEAR(self->propagate);
    Py_CLEAR(self->pending);
    return 0;
}

static PyType_Slot exit_slots[] = {
    {Py_tp_dealloc, tc_py_operation_dealloc},
    {Py_tp_finalize, tc_py_operation_finalize},
    {Py_tp_traverse, exit_traverse},
    {Py_tp_clear, exit_clear},
    {0, NULL},
};

static PyType_Spec exit_spec = {
    .name = "tinycoro._TaskGroupExit",
    .basicsize = sizeof(struct exit_operation),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = exit_slots,
};

int tc_py_add_taskgroup_exit(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_type(module, &exit_spec, state->operation_type, &state->taskgroup_exit_type) <
        0) {
        return -1;
    }
    return tc_py_register_coroutine(state, state->taskgroup_exit_type);
}
