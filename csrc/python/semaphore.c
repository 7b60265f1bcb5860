/* Semaphore and BoundedSemaphore: asyncio's, first come, first served. */
#include "python/waiting_line.h"

struct semaphore {
    struct tc_py_bound bound;
    struct tc_list waits; /* for acquire(); whoever is woken has its permit already             */
    double value;         /* permits left; a float may be given, infinity for one               */
    double limit;         /* of a BoundedSemaphore                                              */
    bool is_float;        /* what was given is a float                                          */
    bool is_bounded;
};

static struct semaphore *semaphore_of(void *self)
{
    return self;
}

/* Neither acquire() nor locked() can be overridden in it. */
static bool is_exact(struct semaphore *semaphore)
{
    struct tc_py_sync_state *state = semaphore->bound.state;

    return Py_IS_TYPE(&semaphore->bound, state->semaphore_type) ||
           Py_IS_TYPE(&semaphore->bound, state->bounded_semaphore_type);
}

/* ---- core ------------------------------------------------------------------------------- */

/* Others in line go first, even if there are permits. */
static bool is_locked(const struct semaphore *semaphore)
{
    return semaphore->value == 0 || !tc_py_line_is_cancelled(&semaphore->waits);
}

/* locked(), which a subclass may override. Returns 1, 0, or -1 with an exception set. */
static int call_locked(struct semaphore *semaphore)
{
    PyObject *result;
    int truth;

    if (tc_likely(is_exact(semaphore))) {
        return is_locked(semaphore);
    }
    result = PyObject_CallMethodNoArgs((PyObject *)semaphore, semaphore->bound.state->str_locked);
    if (result == NULL) {
        return -1;
    }
    truth = PyObject_IsTrue(result);
    Py_DECREF(result);
    return truth;
}

/* Hand a permit to the first who waits for one. Returns false if nobody does. */
static bool hand_over(struct semaphore *semaphore)
{
    if (tc_py_line_wake(&semaphore->waits, 1) == 0) {
        return false;
    }
    semaphore->value -= 1;
    return true;
}

/* Hand over what there is: somebody may have come in the meantime, and stands in line although
 * there are permits. */
static void hand_over_all(struct semaphore *semaphore)
{
    while (semaphore->value > 0 && hand_over(semaphore)) {
    }
}

static int release(struct semaphore *semaphore)
{
    if (tc_py_bound_check(&semaphore->bound, "Semaphore.release()") < 0) {
        return -1;
    }
    if (semaphore->is_bounded && semaphore->value >= semaphore->limit) {
        PyErr_SetString(PyExc_ValueError, "BoundedSemaphore released too many times");
        return -1;
    }
    semaphore->value += 1;
    (void)hand_over(semaphore);
    return 0;
}

/* ---- acquire() ------------------------------------------------------------------------------ */

static enum tc_py_outcome enter_start(struct tc_py_operation *op, PyObject **value)
{
    struct tc_py_wait *wait = tc_py_wait_of(op);
    struct semaphore *semaphore = semaphore_of(wait->owner);
    int locked;

    (void)value;
    if (tc_py_bound_check(&semaphore->bound, "Semaphore.acquire()") < 0) {
        return TC_PY_ERROR;
    }
    locked = call_locked(semaphore);
    if (locked < 0) {
        return TC_PY_ERROR;
    }
    if (!locked) {
        semaphore->value -= 1;
        return TC_PY_DONE;
    }
    return tc_py_wait_enter(wait, &semaphore->waits);
}

static enum tc_py_outcome enter_finish(struct tc_py_operation *op, PyObject **value)
{
    (void)value;
    tc_py_wait_leave(tc_py_wait_of(op));
    hand_over_all(semaphore_of(tc_py_wait_of(op)->owner));
    return TC_PY_DONE;
}

static int acquire_unwind(struct tc_py_operation *op)
{
    struct tc_py_wait *wait = tc_py_wait_of(op);
    struct semaphore *semaphore = semaphore_of(wait->owner);

    tc_py_wait_leave(wait);
    if (wait->is_woken) {
        semaphore->value += 1;
    }
    hand_over_all(semaphore);
    return 0;
}

static enum tc_py_outcome acquire_start(struct tc_py_operation *op, PyObject **value)
{
    enum tc_py_outcome outcome = enter_start(op, value);

    *value = outcome == TC_PY_DONE ? Py_NewRef(Py_True) : NULL;
    return outcome;
}

static enum tc_py_outcome acquire_finish(struct tc_py_operation *op, PyObject **value)
{
    *value = Py_NewRef(Py_True);
    return enter_finish(op, value);
}

static const struct tc_py_operation_ops acquire_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "Semaphore.acquire",
    .start = acquire_start,
    .finish = acquire_finish,
    .withdraw = tc_py_wait_withdraw,
    .unwind = acquire_unwind,
    .starts_anywhere = true,
};

PyDoc_STRVAR(acquire_doc,
             "acquire($self, /)\n--\n\n"
             "Wait for a permit, take it and return True.\n\n"
             "Blocks: never; await it. Raises: RuntimeError if it has to wait in another\n"
             "event loop than somebody waited in before.");

static PyObject *semaphore_acquire(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return (PyObject *)tc_py_wait_new(&semaphore_of(self)->bound, &acquire_ops);
}

/* ---- async with ----------------------------------------------------------------------------- */

static const struct tc_py_operation_ops enter_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "Semaphore.__aenter__",
    .start = enter_start,
    .finish = enter_finish,
    .withdraw = tc_py_wait_withdraw,
    .unwind = acquire_unwind,
    .starts_anywhere = true,
};

static PyObject *semaphore_aenter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct semaphore *semaphore = semaphore_of(self);

    if (!is_exact(semaphore)) {
        return PyObject_CallOneArg(semaphore->bound.state->enter, self);
    }
    return (PyObject *)tc_py_wait_new(&semaphore->bound, &enter_ops);
}

static enum tc_py_outcome exit_start(struct tc_py_operation *op, PyObject **value)
{
    (void)value;
    return release(semaphore_of(tc_py_wait_of(op)->owner)) < 0 ? TC_PY_ERROR : TC_PY_DONE;
}

static const struct tc_py_operation_ops exit_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "Semaphore.__aexit__",
    .start = exit_start,
    .starts_anywhere = true,
};

static PyObject *semaphore_aexit(PyObject *self, PyObject *const *Py_UNUSED(args),
                                 Py_ssize_t Py_UNUSED(nargs))
{
    struct semaphore *semaphore = semaphore_of(self);

    if (!is_exact(semaphore)) {
        return PyObject_CallOneArg(semaphore->bound.state->leave, self);
    }
    return (PyObject *)tc_py_wait_new(&semaphore->bound, &exit_ops);
}

/* ---- methods ---------------------------------------------------------------------------- */

PyDoc_STRVAR(release_doc,
             "release($self, /)\n--\n\n"
             "Return a permit; the first in line gets it.\n\n"
             "Raises: RuntimeError on another thread than that of the event loop in which\n"
             "somebody waited; use loop.call_soon_threadsafe. ValueError if a\n"
             "BoundedSemaphore would have more permits than at first.");

static PyObject *semaphore_release(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (release(semaphore_of(self)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(locked_doc,
             "locked($self, /)\n--\n\n"
             "Return whether acquire() would wait: no permit is left, or others are first.");

static PyObject *semaphore_locked(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(is_locked(semaphore_of(self)));
}

static PyObject *semaphore_value(PyObject *self, void *Py_UNUSED(closure))
{
    struct semaphore *semaphore = semaphore_of(self);

    return semaphore->is_float ? PyFloat_FromDouble(semaphore->value)
                               : PyLong_FromDouble(semaphore->value);
}

static PyObject *semaphore_repr(PyObject *self)
{
    int locked = call_locked(semaphore_of(self));
    PyObject *state = NULL;
    PyObject *result;

    if (locked < 0) {
        return NULL;
    }
    if (locked) {
        state = PyUnicode_FromString("locked");
    } else {
        PyObject *value = semaphore_value(self, NULL);

        if (value != NULL) {
            state = PyUnicode_FromFormat("unlocked, value:%S", value);
            Py_DECREF(value);
        }
    }
    result = tc_py_bound_repr(self, state, &semaphore_of(self)->waits);
    Py_XDECREF(state);
    return result;
}

/* ---- making ------------------------------------------------------------------------------- */

static PyObject *semaphore_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                               PyObject *Py_UNUSED(kwargs))
{
    struct tc_py_bound *self = tc_py_bound_new(type);

    if (self != NULL) {
        tc_list_init(&semaphore_of(self)->waits);
        semaphore_of(self)->value = 1;
    }
    return (PyObject *)self;
}

static int semaphore_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct semaphore *semaphore = semaphore_of(self);
    PyObject *b_value = NULL;
    double value = 1;

    if (tc_py_bound_argument(self, args, kwargs, "value", &b_value) < 0) {
        return -1;
    }
    if (b_value != NULL) {
        value = PyFloat_AsDouble(b_value);
        if (value == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    if (value < 0) {
        PyErr_SetString(PyExc_ValueError, "Semaphore initial value must be >= 0");
        return -1;
    }
    semaphore->value = value;
    semaphore->is_float = b_value != NULL && PyFloat_Check(b_value);
    return 0;
}

static int bounded_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    if (semaphore_init(self, args, kwargs) < 0) {
        return -1;
    }
    semaphore_of(self)->limit = semaphore_of(self)->value;
    semaphore_of(self)->is_bounded = true;
    return 0;
}

/* ---- the types ---------------------------------------------------------------------------- */

PyDoc_STRVAR(semaphore_doc,
             "Semaphore(value=1)\n--\n\n"
             "Permits for the tasks of one event loop; asyncio.Semaphore's interface.\n\n"
             "Use it by `async with`. Who comes first is served first. It belongs to no\n"
             "event loop until somebody has to wait.\n"
             "Thread-safety: none; see Channel for what threads share.");

PyDoc_STRVAR(bounded_doc, "BoundedSemaphore(value=1)\n--\n\n"
                          "A semaphore whose release() refuses to exceed the initial value.");

static PyMethodDef semaphore_methods[] = {
    {"acquire", semaphore_acquire, METH_NOARGS, acquire_doc},
    {"release", semaphore_release, METH_NOARGS, release_doc},
    {"locked", semaphore_locked, METH_NOARGS, locked_doc},
    {"__aenter__", semaphore_aenter, METH_NOARGS, NULL},
    {"__aexit__", (PyCFunction)(void (*)(void))semaphore_aexit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyObject *semaphore_waiters(PyObject *self, void *Py_UNUSED(closure))
{
    return tc_py_line_list(&semaphore_of(self)->waits);
}

static PyGetSetDef semaphore_attributes[] = {
    {"_waiters", semaphore_waiters, NULL, "Who waits.", NULL},
    {"_value", semaphore_value, NULL, "Permits left.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot semaphore_slots[] = {
    {Py_tp_doc, (void *)semaphore_doc},     {Py_tp_new, semaphore_new},
    {Py_tp_init, semaphore_init},           {Py_tp_dealloc, tc_py_bound_dealloc},
    {Py_tp_traverse, tc_py_bound_traverse}, {Py_tp_repr, semaphore_repr},
    {Py_tp_methods, semaphore_methods},     {Py_tp_getset, semaphore_attributes},
    {Py_tp_members, tc_py_bound_members},   {0, NULL},
};

static PyType_Spec semaphore_spec = {
    .name = "tinycoro.Semaphore",
    .basicsize = sizeof(struct semaphore),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = semaphore_slots,
};

static PyType_Slot bounded_slots[] = {
    {Py_tp_doc, (void *)bounded_doc},
    {Py_tp_dealloc, tc_py_bound_dealloc},
    {Py_tp_traverse, tc_py_bound_traverse},
    {Py_tp_init, bounded_init},
    {0, NULL},
};

static PyType_Spec bounded_spec = {
    .name = "tinycoro.BoundedSemaphore",
    .basicsize = sizeof(struct semaphore),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = bounded_slots,
};

int tc_py_add_semaphores(PyObject *module, struct tc_py_sync_state *state)
{
    if (tc_py_add_bound_type(module, &semaphore_spec, NULL, &state->semaphore_type) < 0) {
        return -1;
    }
    return tc_py_add_bound_type(module, &bounded_spec, state->semaphore_type,
                                &state->bounded_semaphore_type);
}
