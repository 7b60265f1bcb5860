/* The Python type Timeout, and the functions that make one; how it works is in timeout.c. */
#include "python/args.h"
#include "python/deferred.h"
#include "python/task.h"
#include "python/timeout.h"

static struct tc_py_timeout *timeout_of(void *self)
{
    return self;
}

/* ---- entering and leaving ------------------------------------------------------------------- */

PyDoc_STRVAR(aenter_doc, "__aenter__($self, /)\n--\n\nStart the clock for the current task.");

static PyObject *enter_awaited(PyObject *self, PyObject *Py_UNUSED(first),
                               PyObject *Py_UNUSED(second))
{
    return tc_py_timeout_enter(timeout_of(self)) < 0 ? NULL : Py_NewRef(self);
}

static PyObject *timeout_aenter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return tc_py_deferred(timeout_of(self)->state, enter_awaited, self, NULL, NULL);
}

PyDoc_STRVAR(enter_doc, "_enter($self, /)\n--\n\nThe same at once; for CancelScope.");

static PyObject *timeout_enter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tc_py_timeout_enter(timeout_of(self)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(expire_doc, "_expire($self, /)\n--\n\nLet the deadline be now; for CancelScope.");

static PyObject *timeout_expire(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_timeout *self = timeout_of(object);

    if (self->phase != TC_PY_TIMEOUT_ENTERED) {
        Py_RETURN_NONE;
    }
    if (tc_py_loop_check(self->task->future.loop, "CancelScope.cancel()") < 0) {
        return NULL;
    }
    tc_py_timeout_disarm(self, self->task->future.loop);
    if (tc_py_timeout_expire(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(aexit_doc, "__aexit__($self, exc_type, exc_value, traceback, /)\n--\n\n"
                        "Stop the clock; after it has run out, raise TimeoutError.");

static PyObject *exit_awaited(PyObject *self, PyObject *b_type, PyObject *b_exception)
{
    return tc_py_timeout_leave(timeout_of(self), b_type, b_exception) < 0 ? NULL
                                                                          : Py_NewRef(Py_None);
}

static PyObject *timeout_aexit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 3) {
        return PyErr_Format(PyExc_TypeError, "__aexit__() takes 3 arguments, %zd given", nargs);
    }
    return tc_py_deferred(timeout_of(self)->state, exit_awaited, self, args[0], args[1]);
}

PyDoc_STRVAR(exit_doc, "_exit($self, exc_type, exc_value, /)\n--\n\n"
                       "The same at once; for CancelScope.");

static PyObject *timeout_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2) {
        return PyErr_Format(PyExc_TypeError, "_exit() takes 2 arguments, %zd given", nargs);
    }
    if (tc_py_timeout_leave(timeout_of(self), args[0], args[1]) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- methods ---------------------------------------------------------------------------- */

static const char *phase_name(struct tc_py_timeout *self)
{
    static const char *const names[] = {"created", "active", "expiring", "expired", "finished"};

    return names[self->phase];
}

PyDoc_STRVAR(when_doc, "when($self, /)\n--\n\n"
                       "Return the deadline, as loop.time() counts it, or None.");

static PyObject *timeout_when(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *b_when = timeout_of(self)->when;

    return Py_NewRef(b_when == NULL ? Py_None : b_when);
}

PyDoc_STRVAR(reschedule_doc, "reschedule($self, /, when)\n--\n\n"
                             "Move the deadline; None: no deadline.\n\n"
                             "Raises: RuntimeError unless the block is being run.");

/* The only argument of a function. Returns 0, or -1 with TypeError set. */
static int bind_single(const char *function, const char *parameter, PyObject *const *args,
                       Py_ssize_t nargs, PyObject *names, PyObject **b_out)
{
    const char *const parameters[] = {parameter, NULL};
    const struct tc_py_params params = {function, parameters, 1};

    *b_out = NULL;
    if (tc_likely(nargs == 1 && names == NULL)) {
        *b_out = args[0];
        return 0;
    }
    if (tc_py_bind(&params, args, nargs, names, b_out) < 0) {
        return -1;
    }
    if (*b_out == NULL) {
        PyErr_Format(PyExc_TypeError, "%s() needs the argument '%s'", function, parameter);
        return -1;
    }
    return 0;
}

static PyObject *timeout_reschedule(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                    PyObject *names)
{
    struct tc_py_timeout *self = timeout_of(object);
    struct tc_py_loop *loop;
    PyObject *b_when;

    if (bind_single("reschedule", "when", args, nargs, names, &b_when) < 0) {
        return NULL;
    }
    if (self->phase == TC_PY_TIMEOUT_CREATED) {
        PyErr_SetString(PyExc_RuntimeError, "Timeout has not been entered");
        return NULL;
    }
    if (self->phase != TC_PY_TIMEOUT_ENTERED) {
        return PyErr_Format(PyExc_RuntimeError, "Cannot change state of %s Timeout",
                            phase_name(self));
    }
    loop = self->task->future.loop;
    if (tc_py_loop_check(loop, "Timeout.reschedule()") < 0) {
        return NULL;
    }
    tc_py_timeout_disarm(self, loop);
    Py_XSETREF(self->when, b_when == Py_None ? NULL : Py_NewRef(b_when));
    if (tc_py_timeout_arm(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(expired_doc, "expired($self, /)\n--\n\n"
                          "Return True if the deadline has passed while the block was run.");

static PyObject *timeout_expired(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(timeout_of(self)->phase == TC_PY_TIMEOUT_EXPIRING ||
                           timeout_of(self)->phase == TC_PY_TIMEOUT_EXPIRED);
}

static PyObject *timeout_repr(PyObject *object)
{
    struct tc_py_timeout *self = timeout_of(object);
    PyObject *rounded;
    PyObject *result;

    if (self->phase != TC_PY_TIMEOUT_ENTERED) {
        return PyUnicode_FromFormat("<Timeout [%s]>", phase_name(self));
    }
    if (self->when == NULL) {
        return PyUnicode_FromFormat("<Timeout [%s] when=None>", phase_name(self));
    }
    rounded = PyObject_CallMethod(self->when, "__round__", "i", 3);
    if (rounded == NULL) {
        return NULL;
    }
    result = PyUnicode_FromFormat("<Timeout [%s] when=%S>", phase_name(self), rounded);
    Py_DECREF(rounded);
    return result;
}

/* ---- life ------------------------------------------------------------------------------- */

/* Takes the reference to `when`, NULL: no deadline. */
static PyObject *timeout_make(struct tc_py_loop_state *state, PyObject *when)
{
    PyTypeObject *type = state->timeout_type;
    struct tc_py_timeout *self = timeout_of(type->tp_alloc(type, 0));

    if (self == NULL) {
        Py_XDECREF(when);
        return NULL;
    }
    self->state = state;
    self->node.ops = &tc_py_timeout_ops;
    tc_heap_node_init(&self->timer.node);
    self->timer.fire = tc_py_timeout_fire;
    self->when = when;
    return (PyObject *)self;
}

static PyObject *timeout_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"when", NULL};
    struct tc_py_loop_state *state = tc_py_loop_state_of_type(type);
    PyObject *b_when;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:Timeout", names, &b_when) || state == NULL) {
        return NULL;
    }
    return timeout_make(state, b_when == Py_None ? NULL : Py_NewRef(b_when));
}

static int timeout_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(timeout_of(self)->task);
    Py_VISIT(timeout_of(self)->when);
    return 0;
}

static int timeout_clear(PyObject *self)
{
    Py_CLEAR(timeout_of(self)->task);
    Py_CLEAR(timeout_of(self)->when);
    return 0;
}

static void timeout_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    (void)timeout_clear(self); /* cannot fail */
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- the functions ------------------------------------------------------------------------ */

PyDoc_STRVAR(timeout_doc,
             "timeout($module, /, delay)\n--\n\n"
             "Return an async context manager that cancels its block after `delay` seconds.\n\n"
             "The block then ends by TimeoutError. None: no deadline (see Timeout.reschedule).\n"
             "Raises: RuntimeError without a running loop.");

static PyObject *timeout_function(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *names)
{
    struct tc_py_loop *loop;
    PyObject *b_delay;
    PyObject *when;
    double delay;

    if (bind_single("timeout", "delay", args, nargs, names, &b_delay) < 0) {
        return NULL;
    }
    loop = tc_py_loop_require();
    if (loop == NULL) {
        return NULL;
    }
    if (b_delay == Py_None) {
        return timeout_make(tc_py_loop_state_of(module), NULL);
    }
    if (tc_py_timeout_seconds(b_delay, &delay) < 0) {
        return NULL;
    }
    when = PyFloat_FromDouble((double)tc_py_loop_now_ns(loop) / (double)TC_NS_PER_SEC + delay);
    return when == NULL ? NULL : timeout_make(tc_py_loop_state_of(module), when);
}

PyDoc_STRVAR(timeout_at_doc, "timeout_at($module, /, when)\n--\n\n"
                             "The same for a deadline as loop.time() counts it, or None.");

static PyObject *timeout_at_function(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                     PyObject *names)
{
    PyObject *b_when;

    if (bind_single("timeout_at", "when", args, nargs, names, &b_when) < 0) {
        return NULL;
    }
    return timeout_make(tc_py_loop_state_of(module), b_when == Py_None ? NULL : Py_NewRef(b_when));
}

/* ---- the type --------------------------------------------------------------------------- */

PyDoc_STRVAR(type_doc, "Timeout(when)\n--\n\n"
                       "What timeout() and timeout_at() return: a deadline for a block of code.\n\n"
                       "Expiry cancels the task, so it is met at the next await, and arrives as\n"
                       "TimeoutError at the end of the block. Blocks: never.");

#define KEYWORDS(function) TC_PY_KEYWORD_FUNCTION(function), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef timeout_methods[] = {
    {"__aenter__", timeout_aenter, METH_NOARGS, aenter_doc},
    {"__aexit__", (PyCFunction)(void (*)(void))timeout_aexit, METH_FASTCALL, aexit_doc},
    {"_enter", timeout_enter, METH_NOARGS, enter_doc},
    {"_exit", (PyCFunction)(void (*)(void))timeout_exit, METH_FASTCALL, exit_doc},
    {"_expire", timeout_expire, METH_NOARGS, expire_doc},
    {"when", timeout_when, METH_NOARGS, when_doc},
    {"reschedule", KEYWORDS(timeout_reschedule), reschedule_doc},
    {"expired", timeout_expired, METH_NOARGS, expired_doc},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef timeout_functions[] = {
    {"timeout", KEYWORDS(timeout_function), timeout_doc},
    {"timeout_at", KEYWORDS(timeout_at_function), timeout_at_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot timeout_slots[] = {
    {Py_tp_doc, (void *)type_doc},    {Py_tp_new, timeout_new},
    {Py_tp_dealloc, timeout_dealloc}, {Py_tp_traverse, timeout_traverse},
    {Py_tp_clear, timeout_clear},     {Py_tp_repr, timeout_repr},
    {Py_tp_methods, timeout_methods}, {0, NULL},
};

static PyType_Spec timeout_spec = {
    .name = "tinycoro.Timeout",
    .basicsize = sizeof(struct tc_py_timeout),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = timeout_slots,
};

int tc_py_add_timeout(PyObject *module, struct tc_py_loop_state *state)
{
    state->timeout_message = PyUnicode_FromString("Exception while a timeout cancelled its task");
    if (state->timeout_message == NULL ||
        tc_py_add_type(module, &timeout_spec, NULL, &state->timeout_type) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, timeout_functions);
}
