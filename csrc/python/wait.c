/* wait(): the futures of a set, until one or all of them are done or time is up.
 *
 * As in gather, the end of a future only counts; the operation takes its place in the ready queue
 * once, where the callback would stand that releases asyncio's waiter. */
#include "python/args.h"
#include "python/task.h"
#include "python/watch.h"

#include <math.h>

enum wait_mode { ALL, FIRST, FAILURE };

struct wait_operation {
    struct tc_py_operation op;
    struct tc_py_timer
        timer; /* in the loop's heap while SUSPENDED with a timeout, until it fires */
    PyObject *fs;             /* owned; the argument, until the wait begins                     */
    PyObject *return_when;    /* owned; the argument, or NULL                                   */
    PyObject *timeout;        /* owned; the argument, or NULL                                   */
    PyObject *futures;        /* owned; a tuple of those waited for, from start on              */
    Py_ssize_t remaining;     /* of them, not done                                              */
    Py_ssize_t watched;       /* of them, the first that know of the wait                       */
    uint8_t mode;             /* enum wait_mode                                                 */
    bool is_queued;           /* the operation is in the ready queue, or was                    */
};

static struct wait_operation *wait_of(void *self)
{
    return self;
}

/* ---- what ends the wait ------------------------------------------------------------------- */

/* Take a place in the ready queue, once. */
static void release(struct wait_operation *self, struct tc_py_loop *loop)
{
    if (!self->is_queued) {
        self->is_queued = true;
        tc_py_loop_ready(loop, &self->op.node);
    }
}

static void wait_fire(struct tc_py_timer *timer, struct tc_py_loop *loop)
{
    release(tc_container_of(timer, struct wait_operation, timer), loop);
}

/* True if the end of this future ends the wait as a failure. Returns 1, 0, or -1 with an
 * exception. */
static int has_failed(struct tc_py_loop_state *state, PyObject *b_future)
{
    struct tc_py_ending ending;

    if (tc_py_ask_ending(state, b_future, &ending) < 0) {
        return -1;
    }
    Py_DECREF(ending.value);
    return ending.kind == TC_PY_FUTURE_FAILED;
}

/* One more future is done. Returns 0, or -1 with an exception set. */
static int count_done(struct wait_operation *self, PyObject *b_future)
{
    struct tc_py_task *task = self->op.task;
    int ends;

    if (task == NULL) {
        return 0; /* the wait is over */
    }
    self->remaining--;
    ends = self->remaining <= 0 || self->mode == FIRST;
    if (!ends && self->mode == FAILURE) {
        ends = has_failed(task->future.loop->state, b_future);
    }
    if (ends > 0) {
        tc_py_loop_disarm(task->future.loop, &self->timer);
        release(self, task->future.loop);
    }
    return ends < 0 ? -1 : 0;
}

static void wait_future_done(struct tc_py_node *node, struct tc_py_future *b_future)
{
    if (count_done(wait_of(node), (PyObject *)b_future) < 0) {
        PyErr_WriteUnraisable((PyObject *)node); /* no memory */
    }
}

static PyObject *foreign_done(PyObject *self, PyObject *b_future)
{
    if (count_done(wait_of(self), b_future) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef foreign_done_def = {"_on_completion", foreign_done, METH_O, NULL};

/* ---- beginning ---------------------------------------------------------------------------- */

/* Read return_when. Returns 0, or -1 with an exception set. */
static int read_mode(struct wait_operation *self)
{
    static const char *const names[] = {"ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"};

    if (self->return_when == NULL) {
        return 0;
    }
    for (uint8_t i = 0; PyUnicode_Check(self->return_when) && i < TC_ARRAY_LEN(names); i++) {
        if (PyUnicode_CompareWithASCIIString(self->return_when, names[i]) == 0) {
            self->mode = i;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "Invalid return_when value: %S", self->return_when);
    return -1;
}

/* Refuse what is no set of futures. Returns 0, or -1 with an exception set. */
static int check_argument(struct tc_py_loop_state *state, struct wait_operation *self)
{
    int is_single = tc_py_is_any_future(state, self->fs) ? 1 : tc_py_is_coroutine(state, self->fs);
    int is_full;

    if (is_single > 0) {
        PyErr_Format(PyExc_TypeError, "expect a list of futures, not %s",
                     _PyType_Name(Py_TYPE(self->fs)));
    }
    if (is_single != 0) {
        return -1;
    }
    is_full = PyObject_IsTrue(self->fs);
    if (is_full == 0) {
        PyErr_SetString(PyExc_ValueError, "Set of Tasks/Futures is empty.");
    }
    return is_full > 0 ? read_mode(self) : -1;
}

/* Fill self->futures. Returns 0, or -1 with an exception set. */
static int take_futures(struct tc_py_loop_state *state, struct wait_operation *self)
{
    PyObject *set = PySet_New(self->fs);
    PyObject *futures = set == NULL ? NULL : PySequence_Tuple(set);
    int result = futures == NULL ? -1 : 0;

    Py_XDECREF(set);
    for (Py_ssize_t i = 0; result == 0 && i < PyTuple_GET_SIZE(futures); i++) {
        PyObject *b_future = PyTuple_GET_ITEM(futures, i);

        result = tc_py_is_native(state, b_future) ? 0 : tc_py_is_coroutine(state, b_future);
        if (result > 0) {
            PyErr_SetString(PyExc_TypeError,
                            "Passing coroutines is forbidden, use tasks explicitly.");
            result = -1;
        }
    }
    if (result < 0) {
        Py_XDECREF(futures);
        return -1;
    }
    self->futures = futures;
    self->remaining = PyTuple_GET_SIZE(futures);
    return 0;
}

/* Returns 0, or -1 with an exception set. */
static int arm(struct wait_operation *self, struct tc_py_loop *loop)
{
    double delay;

    if (self->timeout == NULL) {
        return 0;
    }
    delay = PyFloat_AsDouble(self->timeout);
    if (delay == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (isnan(delay)) {
        PyErr_SetString(PyExc_ValueError, "the timeout must not be NaN");
        return -1;
    }
    return tc_py_loop_arm(loop, &self->timer,
                          tc_deadline_add_ns(tc_py_loop_now_ns(loop),
                                             tc_py_ns_from_seconds(delay)));
}

/* Leave the futures and the timer. Returns 0, or -1 with an exception set. */
static int leave(struct wait_operation *self)
{
    struct tc_py_loop *loop = self->op.task->future.loop;
    int result = 0;

    tc_py_loop_disarm(loop, &self->timer);
    for (Py_ssize_t i = 0; i < self->watched; i++) {
        if (tc_py_unwatch(loop->state, PyTuple_GET_ITEM(self->futures, i), &self->op.node,
                          &foreign_done_def) < 0) {
            result = -1;
        }
    }
    return result;
}

/* The same, while an exception is to be kept. */
static void leave_quietly(struct wait_operation *self)
{
    PyObject *pending = PyErr_GetRaisedException();

    if (leave(self) < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    PyErr_SetRaisedException(pending);
}

static enum tc_py_outcome wait_start(struct tc_py_operation *op, PyObject **value)
{
    struct wait_operation *self = wait_of(op);
    struct tc_py_loop *loop = op->task->future.loop;
    int is_done = 0;

    (void)value;
    if (check_argument(loop->state, self) < 0 || take_futures(loop->state, self) < 0 ||
        arm(self, loop) < 0) {
        return TC_PY_ERROR;
    }
    for (Py_ssize_t i = 0; is_done >= 0 && i < PyTuple_GET_SIZE(self->futures); i++) {
        PyObject *b_future = PyTuple_GET_ITEM(self->futures, i);

        is_done = tc_py_watch(loop->state, b_future, &op->node, &foreign_done_def);
        self->watched += is_done >= 0;
        if (is_done > 0) {
            is_done = count_done(self, b_future);
        }
    }
    if (is_done < 0) {
        leave_quietly(self);
        return TC_PY_ERROR;
    }
    return TC_PY_SUSPEND;
}

/* ---- the end ---------------------------------------------------------------------------- */

/* Put each future in the set of those that are done, or in the other. Returns 0, or -1 with an
 * exception set. */
static int sort(struct wait_operation *self, PyObject *done, PyObject *pending)
{
    struct tc_py_loop_state *state = self->op.task->future.loop->state;

    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(self->futures); i++) {
        PyObject *b_future = PyTuple_GET_ITEM(self->futures, i);
        int is_done = tc_py_ask_done(state, b_future);

        if (is_done < 0 || PySet_Add(is_done ? done : pending, b_future) < 0) {
            return -1;
        }
    }
    return 0;
}

static enum tc_py_outcome wait_finish(struct tc_py_operation *op, PyObject **value)
{
    struct wait_operation *self = wait_of(op);
    PyObject *done = NULL;
    PyObject *pending = NULL;

    if (leave(self) < 0) {
        return TC_PY_ERROR;
    }
    done = PySet_New(NULL);
    pending = PySet_New(NULL);
    if (done != NULL && pending != NULL && sort(self, done, pending) == 0) {
        *value = PyTuple_Pack(2, done, pending);
    }
    Py_XDECREF(done);
    Py_XDECREF(pending);
    return *value == NULL ? TC_PY_ERROR : TC_PY_DONE;
}

static bool wait_withdraw(struct tc_py_operation *op)
{
    if (op->task != NULL) {
        leave_quietly(wait_of(op));
    }
    return true;
}

static const struct tc_py_operation_ops wait_ops = {
    .node = {.run = tc_py_operation_run,
             .future_done = wait_future_done,
             .cancel_wait = tc_py_operation_cancel_wait},
    .name = "wait",
    .delivery_wins = false,
    .start = wait_start,
    .finish = wait_finish,
    .withdraw = wait_withdraw,
    .give_back = NULL,
    .cancelled = NULL,
};

/* ---- life ------------------------------------------------------------------------------- */

static int wait_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct wait_operation *self = wait_of(object);

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->fs);
    Py_VISIT(self->return_when);
    Py_VISIT(self->timeout);
    Py_VISIT(self->futures);
    Py_VISIT(self->op.message);
    return 0;
}

static int wait_clear(PyObject *object)
{
    struct wait_operation *self = wait_of(object);

    tc_py_operation_clear(&self->op);
    Py_CLEAR(self->fs);
    Py_CLEAR(self->return_when);
    Py_CLEAR(self->timeout);
    Py_CLEAR(self->futures);
    return 0;
}

static PyType_Slot wait_slots[] = {
    {Py_tp_dealloc, tc_py_operation_dealloc},
    {Py_tp_finalize, tc_py_operation_finalize},
    {Py_tp_traverse, wait_traverse},
    {Py_tp_clear, wait_clear},
    {0, NULL},
};

static PyType_Spec wait_spec = {
    .name = "tinycoro._Wait",
    .basicsize = sizeof(struct wait_operation),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = wait_slots,
};

/* ---- the function ------------------------------------------------------------------------ */

PyDoc_STRVAR(
    wait_doc,
    "wait($module, /, fs, *, timeout=None, return_when='ALL_COMPLETED')\n--\n\n"
    "Wait for futures; return the set of those that are done and of those that are not.\n\n"
    "return_when: ALL_COMPLETED, FIRST_COMPLETED, or FIRST_EXCEPTION. timeout: seconds,\n"
    "after which it returns all the same; nothing is cancelled.\n"
    "Blocks: never; await it. Raises: TypeError for coroutines, ValueError for no futures.");

static PyObject *wait_function(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *names)
{
    static const char *const parameters[] = {"fs", "timeout", "return_when", NULL};
    static const struct tc_py_params params = {"wait", parameters, 1};
    PyTypeObject *type = tc_py_loop_state_of(module)->wait_type;
    struct wait_operation *self;
    PyObject *b_values[3];

    if (tc_py_bind(&params, args, nargs, names, b_values) < 0) {
        return NULL;
    }
    if (b_values[0] == NULL) {
        return PyErr_Format(PyExc_TypeError, "wait() needs futures");
    }
    self = wait_of(type->tp_alloc(type, 0));
    if (self == NULL) {
        return NULL;
    }
    tc_py_operation_init(&self->op, &wait_ops);
    tc_heap_node_init(&self->timer.node);
    self->timer.fire = wait_fire;
    self->fs = Py_NewRef(b_values[0]);
    self->timeout = b_values[1] == Py_None ? NULL : Py_XNewRef(b_values[1]);
    self->return_when = Py_XNewRef(b_values[2]);
    return (PyObject *)self;
}

static PyMethodDef wait_functions[] = {
    {"wait", TC_PY_KEYWORD_FUNCTION(wait_function), METH_FASTCALL | METH_KEYWORDS, wait_doc},
    {NULL, NULL, 0, NULL},
};

int tc_py_add_wait(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_type(module, &wait_spec, state->operation_type, &state->wait_type) < 0 ||
        tc_py_register_coroutine(state, state->wait_type) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, wait_functions);
}
