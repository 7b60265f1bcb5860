/* Event: asyncio's. */
#include "python/waiting_line.h"

struct event {
    struct tc_py_bound bound;
    struct tc_list waits;
    bool is_set;
};

static struct event *event_of(void *self)
{
    return self;
}

/* ---- wait() --------------------------------------------------------------------------------- */

static enum tc_py_outcome wait_start(struct tc_py_operation *op, PyObject **value)
{
    struct tc_py_wait *wait = tc_py_wait_of(op);
    struct event *event = event_of(wait->owner);

    if (tc_py_bound_check(&event->bound, "Event.wait()") < 0) {
        return TC_PY_ERROR;
    }
    if (event->is_set) {
        *value = Py_NewRef(Py_True);
        return TC_PY_DONE;
    }
    return tc_py_wait_enter(wait, &event->waits);
}

/* Whoever was woken returns, even if the event was cleared since. */
static enum tc_py_outcome wait_finish(struct tc_py_operation *op, PyObject **value)
{
    tc_py_wait_leave(tc_py_wait_of(op));
    *value = Py_NewRef(Py_True);
    return TC_PY_DONE;
}

static int wait_unwind(struct tc_py_operation *op)
{
    tc_py_wait_leave(tc_py_wait_of(op));
    return 0;
}

static const struct tc_py_operation_ops wait_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "Event.wait",
    .start = wait_start,
    .finish = wait_finish,
    .withdraw = tc_py_wait_withdraw,
    .unwind = wait_unwind,
    .starts_anywhere = true,
};

PyDoc_STRVAR(wait_doc,
             "wait($self, /)\n--\n\n"
             "Wait until the event is set; return True.\n\n"
             "Blocks: never; await it. Raises: RuntimeError if it has to wait in another\n"
             "event loop than somebody waited in before.");

static PyObject *event_wait(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return (PyObject *)tc_py_wait_new(&event_of(self)->bound, &wait_ops);
}

/* ---- the type --------------------------------------------------------------------------- */

PyDoc_STRVAR(set_doc,
             "set($self, /)\n--\n\n"
             "Set the event and wake everybody who waits for it.\n\n"
             "Raises: RuntimeError on another thread than that of the event loop in which\n"
             "somebody waited; use loop.call_soon_threadsafe.");

static PyObject *event_set(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct event *event = event_of(self);

    if (tc_py_bound_check(&event->bound, "Event.set()") < 0) {
        return NULL;
    }
    if (!event->is_set) {
        event->is_set = true;
        (void)tc_py_line_wake(&event->waits, PY_SSIZE_T_MAX);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(clear_doc, "clear($self, /)\n--\n\nUnset the event: wait() waits again.");

static PyObject *event_clear(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tc_py_bound_check(&event_of(self)->bound, "Event.clear()") < 0) {
        return NULL;
    }
    event_of(self)->is_set = false;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(is_set_doc, "is_set($self, /)\n--\n\nReturn whether the event is set.");

static PyObject *event_is_set(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(event_of(self)->is_set);
}

static PyObject *event_repr(PyObject *self)
{
    PyObject *state = PyUnicode_FromString(event_of(self)->is_set ? "set" : "unset");
    PyObject *result = tc_py_bound_repr(self, state, &event_of(self)->waits);

    Py_XDECREF(state);
    return result;
}

static PyObject *event_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                           PyObject *Py_UNUSED(kwargs))
{
    struct tc_py_bound *self = tc_py_bound_new(type);

    if (self != NULL) {
        tc_list_init(&event_of(self)->waits);
    }
    return (PyObject *)self;
}

static int event_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return tc_py_bound_argument(self, args, kwargs, NULL, NULL);
}

PyDoc_STRVAR(event_doc, "Event()\n--\n\n"
                        "A flag that tasks wait for; asyncio.Event's interface.\n\n"
                        "It belongs to no event loop until somebody has to wait.\n"
                        "Thread-safety: none; see Channel for what threads share.");

static PyObject *event_waiters(PyObject *self, void *Py_UNUSED(closure))
{
    return tc_py_line_list(&event_of(self)->waits);
}

static PyGetSetDef event_attributes[] = {
    {"_waiters", event_waiters, NULL, "Who waits.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef event_methods[] = {
    {"wait", event_wait, METH_NOARGS, wait_doc},
    {"set", event_set, METH_NOARGS, set_doc},
    {"clear", event_clear, METH_NOARGS, clear_doc},
    {"is_set", event_is_set, METH_NOARGS, is_set_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot event_slots[] = {
    {Py_tp_doc, (void *)event_doc},
    {Py_tp_new, event_new},
    {Py_tp_init, event_init},
    {Py_tp_dealloc, tc_py_bound_dealloc},
    {Py_tp_traverse, tc_py_bound_traverse},
    {Py_tp_repr, event_repr},
    {Py_tp_methods, event_methods},
    {Py_tp_getset, event_attributes},
    {Py_tp_members, tc_py_bound_members},
    {0, NULL},
};

static PyType_Spec event_spec = {
    .name = "tinycoro.Event",
    .basicsize = sizeof(struct event),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = event_slots,
};

int tc_py_add_event(PyObject *module, struct tc_py_sync_state *state)
{
    return tc_py_add_bound_type(module, &event_spec, NULL, &state->event_type);
}
