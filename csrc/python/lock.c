/* Lock: asyncio's, first come, first served. */
#include "python/waiting_line.h"

struct lock {
    struct tc_py_bound bound;
    struct tc_list waits; /* for acquire(); the first may be woken already                      */
    bool is_locked;
};

static struct lock *lock_of(void *self)
{
    return self;
}

/* ---- core ------------------------------------------------------------------------------- */

/* The first in line goes next. If its wake-up is under way, or its cancel, it sees to the
 * others. */
static void wake_first(struct lock *lock)
{
    if (!tc_list_is_empty(&lock->waits)) {
        struct tc_py_wait *first = tc_py_wait_at(lock->waits.next);

        if (tc_py_wait_is_pending(first)) {
            tc_py_wait_wake(first);
        }
    }
}

static int release(struct lock *lock)
{
    if (tc_py_bound_check(&lock->bound, "Lock.release()") < 0) {
        return -1;
    }
    if (!lock->is_locked) {
        PyErr_SetString(PyExc_RuntimeError, "Lock is not acquired.");
        return -1;
    }
    lock->is_locked = false;
    wake_first(lock);
    return 0;
}

/* ---- acquire() ------------------------------------------------------------------------------ */

static enum tc_py_outcome enter_start(struct tc_py_operation *op, PyObject **value)
{
    struct tc_py_wait *wait = tc_py_wait_of(op);
    struct lock *lock = lock_of(wait->owner);

    (void)value;
    if (tc_py_bound_check(&lock->bound, "Lock.acquire()") < 0) {
        return TC_PY_ERROR;
    }
    if (!lock->is_locked && tc_py_line_is_cancelled(&lock->waits)) {
        lock->is_locked = true;
        return TC_PY_DONE;
    }
    return tc_py_wait_enter(wait, &lock->waits);
}

static enum tc_py_outcome enter_finish(struct tc_py_operation *op, PyObject **value)
{
    (void)value;
    tc_py_wait_leave(tc_py_wait_of(op));
    lock_of(tc_py_wait_of(op)->owner)->is_locked = true;
    return TC_PY_DONE;
}

static int acquire_unwind(struct tc_py_operation *op)
{
    struct lock *lock = lock_of(tc_py_wait_of(op)->owner);

    tc_py_wait_leave(tc_py_wait_of(op));
    if (!lock->is_locked) {
        wake_first(lock);
    }
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
    .name = "Lock.acquire",
    .start = acquire_start,
    .finish = acquire_finish,
    .withdraw = tc_py_wait_withdraw,
    .unwind = acquire_unwind,
    .starts_anywhere = true,
};

PyDoc_STRVAR(acquire_doc,
             "acquire($self, /)\n--\n\n"
             "Wait until the lock is free, take it and return True.\n\n"
             "Blocks: never; await it. Raises: RuntimeError if it has to wait in another\n"
             "event loop than somebody waited in before.");

static PyObject *lock_acquire(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return (PyObject *)tc_py_wait_new(&lock_of(self)->bound, &acquire_ops);
}

/* ---- async with ----------------------------------------------------------------------------- */

static const struct tc_py_operation_ops enter_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "Lock.__aenter__",
    .start = enter_start,
    .finish = enter_finish,
    .withdraw = tc_py_wait_withdraw,
    .unwind = acquire_unwind,
    .starts_anywhere = true,
};

static PyObject *lock_aenter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_sync_state *state = lock_of(self)->bound.state;

    if (!Py_IS_TYPE(self, state->lock_type)) {
        return PyObject_CallOneArg(state->enter, self);
    }
    return (PyObject *)tc_py_wait_new(&lock_of(self)->bound, &enter_ops);
}

static enum tc_py_outcome exit_start(struct tc_py_operation *op, PyObject **value)
{
    (void)value;
    return release(lock_of(tc_py_wait_of(op)->owner)) < 0 ? TC_PY_ERROR : TC_PY_DONE;
}

static const struct tc_py_operation_ops exit_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "Lock.__aexit__",
    .start = exit_start,
    .starts_anywhere = true,
};

static PyObject *lock_aexit(PyObject *self, PyObject *const *Py_UNUSED(args),
                            Py_ssize_t Py_UNUSED(nargs))
{
    struct tc_py_sync_state *state = lock_of(self)->bound.state;

    if (!Py_IS_TYPE(self, state->lock_type)) {
        return PyObject_CallOneArg(state->leave, self);
    }
    return (PyObject *)tc_py_wait_new(&lock_of(self)->bound, &exit_ops);
}

/* ---- the type --------------------------------------------------------------------------- */

PyDoc_STRVAR(release_doc,
             "release($self, /)\n--\n\n"
             "Free the lock; the first in line gets it next.\n\n"
             "Raises: RuntimeError if it is not locked, or on another thread than that of\n"
             "the event loop in which somebody waited; use loop.call_soon_threadsafe.");

static PyObject *lock_release(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (release(lock_of(self)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(locked_doc, "locked($self, /)\n--\n\nReturn whether the lock is taken.");

static PyObject *lock_locked(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(lock_of(self)->is_locked);
}

static PyObject *lock_repr(PyObject *self)
{
    PyObject *state = PyUnicode_FromString(lock_of(self)->is_locked ? "locked" : "unlocked");
    PyObject *result = tc_py_bound_repr(self, state, &lock_of(self)->waits);

    Py_XDECREF(state);
    return result;
}

static PyObject *lock_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                          PyObject *Py_UNUSED(kwargs))
{
    struct tc_py_bound *self = tc_py_bound_new(type);

    if (self != NULL) {
        tc_list_init(&lock_of(self)->waits);
    }
    return (PyObject *)self;
}

/* A class derived from this one may take what it likes. */
static int lock_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return tc_py_bound_argument(self, args, kwargs, NULL, NULL);
}

PyDoc_STRVAR(lock_doc, "Lock()\n--\n\n"
                       "A lock for the tasks of one event loop; asyncio.Lock's interface.\n\n"
                       "Use it by `async with`. Who comes first is served first. It belongs to no\n"
                       "event loop until somebody has to wait.\n"
                       "Thread-safety: none; see Channel for what threads share.");

static PyObject *lock_waiters(PyObject *self, void *Py_UNUSED(closure))
{
    return tc_py_line_list(&lock_of(self)->waits);
}

static PyGetSetDef lock_attributes[] = {
    {"_waiters", lock_waiters, NULL, "Who waits.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef lock_methods[] = {
    {"acquire", lock_acquire, METH_NOARGS, acquire_doc},
    {"release", lock_release, METH_NOARGS, release_doc},
    {"locked", lock_locked, METH_NOARGS, locked_doc},
    {"__aenter__", lock_aenter, METH_NOARGS, NULL},
    {"__aexit__", (PyCFunction)(void (*)(void))lock_aexit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot lock_slots[] = {
    {Py_tp_doc, (void *)lock_doc},
    {Py_tp_new, lock_new},
    {Py_tp_init, lock_init},
    {Py_tp_dealloc, tc_py_bound_dealloc},
    {Py_tp_traverse, tc_py_bound_traverse},
    {Py_tp_repr, lock_repr},
    {Py_tp_methods, lock_methods},
    {Py_tp_getset, lock_attributes},
    {Py_tp_members, tc_py_bound_members},
    {0, NULL},
};

static PyType_Spec lock_spec = {
    .name = "tinycoro.Lock",
    .basicsize = sizeof(struct lock),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = lock_slots,
};

int tc_py_add_lock(PyObject *module, struct tc_py_sync_state *state)
{
    return tc_py_add_bound_type(module, &lock_spec, NULL, &state->lock_type);
}
