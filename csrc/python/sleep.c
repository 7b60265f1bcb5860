/* sleep(): a timer of the loop, or for a delay of 0 one turn. */
#include "python/args.h"
#include "python/debug.h"
#include "python/errors.h"
#include "python/loop.h"
#include "python/operation.h"
#include "python/task.h"

#include <math.h>

/* ---- sleep(delay) ------------------------------------------------------------------------ */

struct sleep_operation {
    struct tc_py_operation op;
    struct tc_py_timer timer; /* in the loop's heap while SUSPENDED, until it fires             */
    double delay;             /* seconds; the clock is read when the wait begins                */
    PyObject *result;         /* owned; NULL: None                                              */
};

static struct sleep_operation *sleep_of(struct tc_py_operation *op)
{
    return tc_container_of(op, struct sleep_operation, op);
}

/* The deadline has passed. One more turn in the ready queue, where asyncio runs the timer's
 * callback, so that the order of tasks is the same. */
static void sleep_fire(struct tc_py_timer *timer, struct tc_py_loop *loop)
{
    struct sleep_operation *self = tc_container_of(timer, struct sleep_operation, timer);

    tc_py_loop_ready(loop, &self->op.node);
}

static enum tc_py_outcome sleep_start(struct tc_py_operation *op, PyObject **value)
{
    struct sleep_operation *self = sleep_of(op);
    struct tc_py_loop *loop = op->task->future.loop;
    int64_t when = tc_deadline_add_ns(tc_py_loop_now_ns(loop), tc_py_ns_from_seconds(self->delay));

    (void)value;
    if (self->delay <= 0) { /* sleep(0, result): one turn, as below */
        return TC_PY_YIELD;
    }
    return tc_py_loop_arm(loop, &self->timer, when) < 0 ? TC_PY_ERROR : TC_PY_SUSPEND;
}

static enum tc_py_outcome sleep_finish(struct tc_py_operation *op, PyObject **value)
{
    struct sleep_operation *self = sleep_of(op);

    *value = self->result;
    self->result = NULL;
    return TC_PY_DONE;
}

static bool sleep_withdraw(struct tc_py_operation *op)
{
    if (op->task != NULL) {
        tc_py_loop_disarm(op->task->future.loop, &sleep_of(op)->timer);
    }
    return true; /* a fired timer that waits for its turn finds the state changed */
}

static const struct tc_py_operation_ops sleep_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "sleep",
    .delivery_wins = false,
    .start = sleep_start,
    .finish = sleep_finish,
    .withdraw = sleep_withdraw,
    .give_back = NULL,
};

static int sleep_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct sleep_operation *self = (struct sleep_operation *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->result);
    Py_VISIT(self->op.message);
    return 0;
}

static int sleep_clear(PyObject *object)
{
    struct sleep_operation *self = (struct sleep_operation *)object;

    tc_py_operation_clear(&self->op);
    Py_CLEAR(self->result);
    return 0;
}

static PyType_Slot sleep_slots[] = {
    {Py_tp_dealloc, tc_py_operation_dealloc},
    {Py_tp_finalize, tc_py_operation_finalize},
    {Py_tp_traverse, sleep_traverse},
    {Py_tp_clear, sleep_clear},
    {0, NULL},
};

static PyType_Spec sleep_spec = {
    .name = "tinycoro._Sleep",
    .basicsize = sizeof(struct sleep_operation),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = sleep_slots,
};

static PyObject *sleep_new(struct tc_py_loop_state *state, double delay, PyObject *b_result)
{
    PyTypeObject *type = state->sleep_type;
    struct sleep_operation *self = (struct sleep_operation *)type->tp_alloc(type, 0);

    if (self == NULL) {
        return NULL;
    }
    tc_py_operation_init(&self->op, &sleep_ops);
    tc_heap_node_init(&self->timer.node);
    self->timer.fire = sleep_fire;
    self->delay = delay;
    self->result = b_result == Py_None ? NULL : Py_NewRef(b_result);
    return (PyObject *)self;
}

/* ---- sleep(0) ---------------------------------------------------------------------------- */

/* A bare yield needs no source: it yields None, and the task goes to the end of the queue. So its
 * object is as small as can be, and any driver may run it. A result other than None is
 * rare and takes the other type. */
struct yield_operation {
    PyObject_HEAD uint8_t
        state;      /* enum tc_py_operation_state: NEW, SUSPENDED, FINISHED                    */
    bool is_traced; /* in the table of python/debug.h                                          */
};

static enum tc_py_outcome yield_advance(struct yield_operation *self)
{
    switch (self->state) {
    case TC_PY_OPERATION_NEW:
        self->state = TC_PY_OPERATION_SUSPENDED;
        return TC_PY_SUSPEND;
    case TC_PY_OPERATION_SUSPENDED:
        self->state = TC_PY_OPERATION_FINISHED;
        return TC_PY_DONE;
    default:
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited 'sleep'");
        return TC_PY_ERROR;
    }
}

static PyObject *yield_iternext(PyObject *self)
{
    if (yield_advance((struct yield_operation *)self) == TC_PY_SUSPEND) {
        Py_RETURN_NONE;
    }
    return NULL;
}

static PySendResult yield_am_send(PyObject *self, PyObject *b_value, PyObject **result)
{
    enum tc_py_outcome outcome = yield_advance((struct yield_operation *)self);

    (void)b_value; /* as for any operation */
    if (outcome == TC_PY_ERROR) {
        *result = NULL;
        return PYGEN_ERROR;
    }
    *result = Py_NewRef(Py_None);
    return outcome == TC_PY_SUSPEND ? PYGEN_NEXT : PYGEN_RETURN;
}

static PyObject *yield_await(PyObject *self)
{
    if (((struct yield_operation *)self)->state != TC_PY_OPERATION_NEW) {
        return PyErr_Format(PyExc_RuntimeError, "cannot reuse already awaited 'sleep'");
    }
    return Py_NewRef(self);
}

PyDoc_STRVAR(send_doc, "send($self, value, /)\n--\n\nStart or resume the operation, as a driver.");

static PyObject *yield_send(PyObject *self, PyObject *b_value)
{
    PyObject *result = NULL;

    if (yield_am_send(self, b_value, &result) == PYGEN_RETURN) {
        Py_CLEAR(result);
        PyErr_SetNone(PyExc_StopIteration);
    }
    return result;
}

PyDoc_STRVAR(throw_doc, "throw($self, type, value=None, traceback=None, /)\n--\n\n"
                        "Give up the wait and raise the exception.");

static PyObject *yield_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *exception = tc_py_thrown_exception(args, nargs);

    if (exception != NULL) {
        ((struct yield_operation *)self)->state = TC_PY_OPERATION_FINISHED;
        PyErr_SetRaisedException(exception);
    }
    return NULL;
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nGive up the wait; afterwards nothing is awaited.");

static PyObject *yield_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    ((struct yield_operation *)self)->state = TC_PY_OPERATION_FINISHED;
    Py_RETURN_NONE;
}

static void yield_finalize(PyObject *self)
{
    if (tc_unlikely(((struct yield_operation *)self)->state == TC_PY_OPERATION_NEW)) {
        ((struct yield_operation *)self)->state = TC_PY_OPERATION_FINISHED;
        tc_py_warn_never_awaited(self, "sleep");
    }
}

static void yield_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct tc_py_loop_state *state = tc_py_loop_state_of_type(type);

    if (tc_unlikely(((struct yield_operation *)self)->state == TC_PY_OPERATION_NEW) &&
        PyObject_CallFinalizerFromDealloc(self) < 0) {
        return; /* somebody holds it again, for instance from the warning */
    }
    if (tc_unlikely(((struct yield_operation *)self)->is_traced)) {
        tc_py_debug_forget_quietly(self);
    }
    if (TC_PY_SPARE_YIELDS > 0 && state != NULL && state->spare_yield_count < TC_PY_SPARE_YIELDS) {
        state->spare_yields[state->spare_yield_count++] = self;
    } else {
        type->tp_free(self);
    }
    Py_DECREF(type);
}

void tc_py_sleep_free_spares(struct tc_py_loop_state *state)
{
    while (TC_PY_SPARE_YIELDS > 0 && state->spare_yield_count > 0) {
        PyObject_Free(state->spare_yields[--state->spare_yield_count]);
    }
}

static PyObject *yield_repr(PyObject *self)
{
    int state = ((struct yield_operation *)self)->state;

    return PyUnicode_FromFormat("<operation sleep %s>", state == TC_PY_OPERATION_NEW ? "new"
                                                        : state == TC_PY_OPERATION_SUSPENDED
                                                            ? "suspended"
                                                            : "finished");
}

static PyObject *yield_name(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyUnicode_FromString("sleep");
}

static PyGetSetDef yield_attributes[] = {
    {"__name__", yield_name, NULL, NULL, NULL},
    {"__qualname__", yield_name, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef yield_methods[] = {
    {"send", yield_send, METH_O, send_doc},
    {"throw", (PyCFunction)(void (*)(void))yield_throw, METH_FASTCALL, throw_doc},
    {"close", yield_close, METH_NOARGS, close_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot yield_slots[] = {
    {Py_tp_dealloc, yield_dealloc},   {Py_tp_finalize, yield_finalize},
    {Py_tp_repr, yield_repr},         {Py_tp_methods, yield_methods},
    {Py_tp_getset, yield_attributes}, {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, yield_iternext}, {Py_am_await, yield_await},
    {Py_am_send, yield_am_send},      {0, NULL},
};

static PyType_Spec yield_spec = {
    .name = "tinycoro._Yield",
    .basicsize = sizeof(struct yield_operation),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = yield_slots,
};

static PyObject *yield_new(struct tc_py_loop_state *state)
{
    PyTypeObject *type = state->yield_type;
    PyObject *self;

    if (TC_PY_SPARE_YIELDS == 0 || state->spare_yield_count == 0) {
        self = type->tp_alloc(type, 0);
        if (self == NULL) {
            return NULL;
        }
    } else {
        self = PyObject_Init(state->spare_yields[--state->spare_yield_count], type);
        ((struct yield_operation *)self)->state = TC_PY_OPERATION_NEW;
        ((struct yield_operation *)self)->is_traced = false;
    }
    if (tc_py_debug_is_possible()) {
        ((struct yield_operation *)self)->is_traced = tc_py_debug_trace_quietly(self);
    }
    return self;
}

/* ---- the function ------------------------------------------------------------------------ */

PyDoc_STRVAR(sleep_doc,
             "sleep($module, /, delay, result=None)\n--\n\n"
             "Wait for `delay` seconds, then return `result`; 0 or less yields one turn.\n\n"
             "The clock is read when the wait begins, and the wait never ends early.\n"
             "Blocks: never; await it. Raises: ValueError for NaN.");

static PyObject *sleep_function(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *names)
{
    static const char *const parameters[] = {"delay", "result", NULL};
    static const struct tc_py_params params = {"sleep", parameters, 2};
    struct tc_py_loop_state *state = tc_py_loop_state_of(module);
    PyObject *b_values[2] = {nargs > 0 ? args[0] : NULL, NULL};
    double delay;

    if (tc_unlikely(nargs != 1 || names != NULL) &&
        tc_py_bind(&params, args, nargs, names, b_values) < 0) {
        return NULL;
    }
    if (b_values[0] == NULL) {
        return PyErr_Format(PyExc_TypeError, "sleep() needs a delay in seconds");
    }
    delay = PyLong_CheckExact(b_values[0]) ? PyLong_AsDouble(b_values[0])
                                           : PyFloat_AsDouble(b_values[0]);
    if (delay == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    if (tc_unlikely(isnan(delay))) {
        PyErr_SetString(PyExc_ValueError, "Invalid delay: NaN (not a number)");
        return NULL;
    }
    if (delay <= 0 && (b_values[1] == NULL || b_values[1] == Py_None)) {
        return yield_new(state);
    }
    return sleep_new(state, delay, b_values[1] == NULL ? Py_None : b_values[1]);
}

static PyMethodDef sleep_functions[] = {
    {"sleep", TC_PY_KEYWORD_FUNCTION(sleep_function), METH_FASTCALL | METH_KEYWORDS, sleep_doc},
    {NULL, NULL, 0, NULL},
};

int tc_py_add_sleep(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_type(module, &sleep_spec, state->operation_type, &state->sleep_type) < 0 ||
        tc_py_add_type(module, &yield_spec, NULL, &state->yield_type) < 0 ||
        tc_py_register_coroutine(state, state->sleep_type) < 0 ||
        tc_py_register_coroutine(state, state->yield_type) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, sleep_functions);
}
