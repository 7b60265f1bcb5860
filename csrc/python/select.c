/* select(), for tasks, and select_blocking(), for threads. */
#include "python/cases.h"

#include "python/blocking.h"
#include "python/gil.h"
#include "python/guest.h"
#include "python/loop.h"
#include "python/module.h"
#include "python/task.h"

#include "base/clock.h"

#include <errno.h>

struct select_operation {
    struct tc_py_operation op;
    struct tc_py_cases cases;
    struct tc_py_timer timer; /* in the loop's heap while SUSPENDED with a timeout            */
    PyObject *timer_handle; /* owned; the same of a guest's loop, or NULL                   */
    struct tc_py_wakeup *wakeup; /* of the wait, until it has arrived or was given up            */
    int winner; /* the case that took place, once it has arrived; -1: too late  */
};

static struct select_operation *select_of(struct tc_py_operation *op)
{
    return tc_container_of(op, struct select_operation, op);
}

static struct select_operation *select_of_object(PyObject *object)
{
    return (struct select_operation *)object;
}

/* ---- the timeout ------------------------------------------------------------------------ */

static void cancel_guest_timer(struct select_operation *self)
{
    PyObject *handle = self->timer_handle;
    PyObject *result;

    if (handle == NULL) {
        return;
    }
    self->timer_handle = NULL;
    PyObject *pending = PyErr_GetRaisedException();
    result = PyObject_CallMethod(handle, "cancel", NULL);
    if (result == NULL) {
        PyErr_WriteUnraisable(handle);
    }
    Py_XDECREF(result);
    Py_DECREF(handle);
    PyErr_SetRaisedException(pending);
}

static void stop_timer(struct select_operation *self)
{
    if (self->op.task != NULL) {
        tc_py_loop_disarm(self->op.task->future.loop, &self->timer);
    } else {
        cancel_guest_timer(self);
    }
}

/* The time is over, unless a case was faster. */
static void select_expire(struct select_operation *self)
{
    if (self->op.state == TC_PY_OPERATION_SUSPENDED && self->op.ops->withdraw(&self->op)) {
        self->winner = -1;
        tc_py_operation_wake(&self->op);
    }
}

static void select_fire(struct tc_py_timer *timer, struct tc_py_loop *loop)
{
    (void)loop;
    select_expire(tc_container_of(timer, struct select_operation, timer));
}

static PyObject *select_timeout(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    select_expire(select_of_object(object));
    Py_RETURN_NONE;
}

static PyMethodDef select_timeout_def = {"_timeout", select_timeout, METH_NOARGS, NULL};

/* Begin the timeout of a guest. Returns 0, or -1 with an exception set. */
static int start_guest_timer(struct select_operation *self)
{
    PyObject *callback = PyCFunction_New(&select_timeout_def, (PyObject *)self);
    double delay = (double)self->cases.timeout_ns / (double)TC_NS_PER_SEC;

    if (callback == NULL) {
        return -1;
    }
    Py_XSETREF(self->timer_handle, tc_py_guest_call_later(&self->op, delay, callback));
    Py_DECREF(callback);
    return self->timer_handle == NULL ? -1 : 0;
}

/* Returns 0, or -1 with an exception set. */
static int start_timer(struct select_operation *self)
{
    if (self->cases.timeout_ns == TC_NEVER) {
        return 0;
    }
    if (self->op.task == NULL) {
        return start_guest_timer(self);
    }
    struct tc_py_loop *loop = self->op.task->future.loop;
    int64_t now = tc_py_loop_now_ns(loop);
    int64_t timeout = self->cases.timeout_ns;

    return tc_py_loop_arm(loop, &self->timer, timeout < TC_NEVER - now ? now + timeout : TC_NEVER);
}

/* ---- the operation ---------------------------------------------------------------------- */

/* It has ended with *value, or an exception. */
static enum tc_py_outcome ended(struct select_operation *self, PyObject *result, PyObject **value)
{
    self->cases.is_entered = false;
    stop_timer(self);
    tc_py_cases_clear(&self->cases, false);
    *value = result;
    return result == NULL ? TC_PY_ERROR : TC_PY_DONE;
}

/* A case has won. No Python here, but for a guest, to whom this comes from his loop. */
static void select_arrived(struct tc_py_operation *op, struct tc_py_wakeup *wakeup)
{
    struct select_operation *self = select_of(op);

    (void)wakeup;
    self->wakeup = NULL;
    self->winner = tc_select_finish(self->cases.cases, self->cases.count);
    stop_timer(self);
    if (op->state == TC_PY_OPERATION_SUSPENDED) {
        tc_py_operation_wake(op);
    }
}

/* Enter the queues of all channels. Returns an index, -EINPROGRESS, or -ECANCELED with an exception
 * set. */
static int enter(struct select_operation *self)
{
    struct tc_py_mailbox *mailbox = tc_py_operation_mailbox(&self->op);
    struct tc_py_wakeup *wakeup;
    int result;

    if (mailbox == NULL) {
        return -ECANCELED;
    }
    if (self->cases.active == 0) {
        return -EINPROGRESS; /* for the timeout only */
    }
    wakeup = tc_py_wakeup_new(mailbox, &self->op, select_arrived);
    if (wakeup == NULL) {
        return -ECANCELED;
    }
    self->cases.is_entered = true;
    result = tc_select_start(self->cases.cases, self->cases.count, &wakeup->waiter);
    if (result == -EINPROGRESS) {
        self->wakeup = wakeup;
    } else {
        self->cases.is_entered = false;
        tc_py_wakeup_free(wakeup);
    }
    return result;
}

/* Try, then wait. */
static enum tc_py_outcome attempt(struct select_operation *self, PyObject **value)
{
    int index = tc_py_cases_try(&self->cases);

    if (index == -EAGAIN) {
        if (self->cases.default_value != NULL || self->cases.timeout_ns <= 0) {
            return ended(self, tc_py_cases_nothing(&self->cases), value);
        }
        index = enter(self);
    }
    if (index >= 0) {
        return ended(self, tc_py_cases_result(&self->cases, index), value);
    }
    if (index != -EINPROGRESS) {
        return ended(self, NULL, value);
    }
    if (start_timer(self) < 0) {
        if (self->op.ops->withdraw(&self->op)) {
            return ended(self, NULL, value);
        }
        PyErr_Clear(); /* a case was faster: no timeout is needed */
    }
    *tc_py_channel_fast(&self->op) = 0;
    return TC_PY_SUSPEND;
}

static enum tc_py_outcome select_start(struct tc_py_operation *op, PyObject **value)
{
    uint32_t *fast = tc_py_channel_fast(op);

    if (tc_unlikely(*fast >= TC_PY_FAST_MAX)) {
        *fast = 0;
        return TC_PY_YIELD; /* as in channel_wait.c */
    }
    ++*fast;
    return attempt(select_of(op), value);
}

static enum tc_py_outcome select_finish(struct tc_py_operation *op, PyObject **value)
{
    struct select_operation *self = select_of(op);

    if (op->state == TC_PY_OPERATION_YIELDED) {
        return attempt(self, value);
    }
    return ended(self,
                 self->winner < 0 ? tc_py_cases_nothing(&self->cases)
                                  : tc_py_cases_result(&self->cases, self->winner),
                 value);
}

static bool select_withdraw(struct tc_py_operation *op)
{
    struct select_operation *self = select_of(op);

    stop_timer(self);
    if (self->wakeup == NULL) {
        return true; /* no channel: it waits for the timeout */
    }
    if (tc_py_cases_are_lost(&self->cases)) {
        self->wakeup = NULL; /* leaked, and the cases with it */
        self->cases.cases = NULL;
        self->cases.count = 0;
        return true;
    }
    if (!tc_select_withdraw(self->cases.cases, self->cases.count)) {
        return false;
    }
    self->cases.is_entered = false;
    tc_py_wakeup_free(self->wakeup);
    self->wakeup = NULL;
    return true;
}

/* The await was closed although a case had taken place. */
static void select_drop(struct tc_py_operation *op)
{
    struct select_operation *self = select_of(op);
    struct tc_py_wakeup *wakeup = self->wakeup;

    if (self->cases.cases == NULL) {
        return;
    }
    if (wakeup != NULL) { /* still under way */
        self->winner = tc_select_finish(self->cases.cases, self->cases.count);
        self->wakeup = NULL;
        wakeup->memory = self->cases.cases; /* its nodes may still be looked at */
        wakeup->size = tc_py_cases_size(&self->cases);
    }
    if (self->cases.is_entered && self->winner >= 0) {
        struct tc_select_case *c = &self->cases.cases[self->winner];

        if (c->kind == TC_SELECT_SEND && c->result == 0) {
            c->value.kind = TC_VALUE_NONE; /* it has moved */
        }
    }
    self->cases.is_entered = false;
    tc_py_cases_clear(&self->cases, wakeup != NULL);
    if (wakeup != NULL) {
        tc_py_wakeup_abandon(wakeup);
    }
}

static const struct tc_py_operation_ops select_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "select",
    .delivery_wins = true,
    .has_guests = true,
    .start = select_start,
    .finish = select_finish,
    .withdraw = select_withdraw,
    .give_back = select_drop,
};

/* ---- the object ------------------------------------------------------------------------- */

static int select_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct select_operation *self = select_of_object(object);

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->timer_handle);
    Py_VISIT(self->op.message);
    Py_VISIT(self->op.guest);
    return tc_py_cases_traverse(&self->cases, visit, arg);
}

static int select_clear(PyObject *object)
{
    struct select_operation *self = select_of_object(object);

    Py_CLEAR(self->timer_handle); /* the loop that has it holds us: it is garbage too */
    tc_py_operation_clear(&self->op);
    select_drop(&self->op);
    tc_py_cases_clear(&self->cases, false);
    tc_py_guest_leave(&self->op);
    return 0;
}

/* By way of the trashcan, as in channel_wait.c. */
static void select_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    if (select_of_object(object)->op.state == TC_PY_OPERATION_NEW &&
        PyObject_CallFinalizerFromDealloc(object) < 0) {
        return; /* somebody holds it again */
    }
    PyObject_GC_UnTrack(object);
    Py_TRASHCAN_BEGIN(object, select_dealloc);
    (void)select_clear(object); /* cannot fail */
    type->tp_free(object);
    Py_DECREF(type);
    Py_TRASHCAN_END;
}

static PyType_Slot select_slots[] = {
    {Py_tp_dealloc, select_dealloc},
    {Py_tp_finalize, tc_py_operation_finalize},
    {Py_tp_traverse, select_traverse},
    {Py_tp_clear, select_clear},
    {0, NULL},
};

static PyType_Spec select_spec = {
    .name = "tinycoro._Select",
    .basicsize = sizeof(struct select_operation),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = select_slots,
};

/* ---- the functions ---------------------------------------------------------------------- */

PyDoc_STRVAR(
    select_doc,
    "select($module, /, *cases, timeout=None, default=...)\n--\n\n"
    "Let one of several sends and receives take place, the first that can.\n\n"
    "A case is channel.recv() or channel.send(item), not awaited, or None, which is skipped\n"
    "but keeps its number. The awaitable returns (number, item received or None); among\n"
    "cases that are ready any may be taken, all equally often. timeout is in seconds.\n"
    "With a default it does not wait: (-1, default) if nothing is ready.\n"
    "If the task is cancelled and a case took place already, delivery wins, as in\n"
    "Channel.send().\n"
    "Raises: ChannelClosed with .index and .channel; TimeoutError; ValueError if it would\n"
    "wait for ever; TypeError.");

static PyObject *select_function(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *names)
{
    struct tc_py_loop_state *state = tc_py_loop_state_of(module);
    PyTypeObject *type = state->select_type;
    struct select_operation *self = select_of_object(type->tp_alloc(type, 0));

    if (self == NULL) {
        return NULL;
    }
    tc_heap_node_init(&self->timer.node);
    self->timer.fire = select_fire;
    self->winner = -1;
    tc_py_operation_init(&self->op, &select_ops);
    /* Until it has its cases: nothing to warn about, and nothing to await for the user's code that
     * reading the arguments may run, and that finds the object by way of the collector. */
    self->op.state = TC_PY_OPERATION_FINISHED;
    if (tc_py_cases_parse(&self->cases, state, "select", args, nargs, names) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->op.state = TC_PY_OPERATION_NEW;
    return (PyObject *)self;
}

/* Sleep until a case has won. Returns its index, -EAGAIN too late, or -ECANCELED with an
 * exception. */
static int select_asleep(struct tc_py_cases *cases)
{
    int64_t deadline_ns = tc_deadline_after_ns(cases->timeout_ns);
    struct tc_py_sleeper *sleeper = tc_py_sleeper_new();
    int ended;
    int index;

    if (sleeper == NULL) {
        return -ECANCELED;
    }
    if (cases->active == 0) {
        do { /* for the timeout, and signals; a fork makes no difference */
            ended = tc_py_sleeper_wait(sleeper, deadline_ns);
        } while (ended == 0 && tc_clock_now_ns() < deadline_ns);
        tc_py_sleeper_free(sleeper);
        return ended == 0 ? -EAGAIN : -ECANCELED;
    }
    index = tc_select_start(cases->cases, cases->count, &sleeper->waiter);
    if (index == -EINPROGRESS) {
        ended = tc_py_sleeper_wait(sleeper, deadline_ns);
        if (ended <= 0 && tc_py_cases_are_lost(cases)) {
            /* a handler has forked, and we are the child: closed, and leaked */
            index = ended == 0 ? tc_py_cases_try(cases) : -ECANCELED;
            cases->cases = NULL;
            cases->count = 0;
        } else if (ended <= 0 && tc_select_withdraw(cases->cases, cases->count)) {
            index = ended == 0 ? -EAGAIN : -ECANCELED;
        } else {
            if (ended <= 0) {
                tc_py_sleeper_finish(sleeper);
            }
            index = tc_select_finish(cases->cases, cases->count);
        }
    }
    tc_py_sleeper_free(sleeper);
    return index;
}

PyDoc_STRVAR(select_blocking_doc,
             "select_blocking($module, /, *cases, timeout=None, default=...)\n--\n\n"
             "The same as select(), for a thread that runs no loop.\n\n"
             "Blocks: yes. Thread-safety: any thread without a running loop; signal handlers run\n"
             "meanwhile. Raises: as select(); RuntimeError in a thread with a running loop.");

static PyObject *select_blocking(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *names)
{
    struct tc_py_loop_state *state = tc_py_loop_state_of(module);
    struct tc_py_cases cases = {.cases = NULL};
    PyObject *result = NULL;
    int index = -EPIPE;

    if (tc_py_blocking_check(state, "select_blocking") == 0 &&
        tc_py_cases_parse(&cases, state, "select_blocking", args, nargs, names) == 0) {
        index = tc_py_cases_try(&cases);
        if (index == -EAGAIN && cases.default_value == NULL && cases.timeout_ns > 0) {
            index = select_asleep(&cases);
        }
    }
    if (index >= 0) {
        PyObject *raised = PyErr_GetRaisedException(); /* by a signal handler: it wins */

        result = tc_py_cases_result(&cases, index);
        if (raised != NULL) {
            Py_CLEAR(result);
            PyErr_SetRaisedException(raised);
        }
    } else if (index == -EAGAIN) {
        result = tc_py_cases_nothing(&cases);
    }
    tc_py_cases_clear(&cases, false);
    return result;
}

static PyMethodDef select_functions[] = {
    {"select", TC_PY_KEYWORD_FUNCTION(select_function), METH_FASTCALL | METH_KEYWORDS, select_doc},
    {"select_blocking", TC_PY_KEYWORD_FUNCTION(select_blocking), METH_FASTCALL | METH_KEYWORDS,
     select_blocking_doc},
    {NULL, NULL, 0, NULL},
};

int tc_py_add_select(PyObject *module, struct tc_py_loop_state *state)
{
    tc_py_blocking_setup();
    if (tc_py_add_type(module, &select_spec, state->operation_type, &state->select_type) < 0 ||
        tc_py_register_coroutine(state, state->select_type) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, select_functions);
}
