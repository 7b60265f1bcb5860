#include "python/waiting_line.h"

#include <string.h>

/* ---- objects that bind to a loop ------------------------------------------------------------ */

static struct tc_py_bound *bound_of(PyObject *self)
{
    return (struct tc_py_bound *)self;
}

int tc_py_bound_bind(struct tc_py_bound *bound, struct tc_py_loop *loop)
{
    if (tc_unlikely(bound->loop == NULL)) {
        Py_BEGIN_CRITICAL_SECTION(bound);
        if (bound->loop == NULL) {
            bound->loop = (struct tc_py_loop *)Py_NewRef(loop);
        }
        Py_END_CRITICAL_SECTION();
    }
    if (tc_likely(bound->loop == loop)) {
        return 0;
    }
    PyErr_Format(PyExc_RuntimeError, "%R is bound to a different event loop", bound);
    return -1;
}

PyMemberDef tc_py_bound_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(struct tc_py_bound, weakrefs), Py_READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

struct tc_py_bound *tc_py_bound_new(PyTypeObject *type)
{
    struct tc_py_sync_state *state = tc_py_sync_state_of_type(type);
    struct tc_py_bound *bound = state == NULL ? NULL : bound_of(type->tp_alloc(type, 0));

    if (bound != NULL) {
        bound->state = state;
    }
    return bound;
}

int tc_py_bound_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(bound_of(self)->loop);
    return 0;
}

/* The value of keyword `name`, borrowed, or NULL. */
static PyObject *keyword_of(PyObject *kwargs, const char *name)
{
    PyObject *b_key;
    PyObject *b_value;
    Py_ssize_t position = 0;

    while (PyDict_Next(kwargs, &position, &b_key, &b_value)) {
        if (PyUnicode_CompareWithASCIIString(b_key, name) == 0) {
            return b_value;
        }
    }
    return NULL;
}

/* The message for an argument that `name` does not allow. */
static int refuse_keyword(PyObject *self, PyObject *kwargs, const char *name)
{
    PyObject *b_key = NULL;
    Py_ssize_t position = 0;

    while (PyDict_Next(kwargs, &position, &b_key, NULL)) {
        if (name == NULL || PyUnicode_CompareWithASCIIString(b_key, name) != 0) {
            break;
        }
    }
    PyErr_Format(PyExc_TypeError, "%.100s.__init__() got an unexpected keyword argument '%S'",
                 Py_TYPE(self)->tp_name, b_key);
    return -1;
}

int tc_py_bound_argument(PyObject *self, PyObject *args, PyObject *kwargs, const char *name,
                         PyObject **b_value)
{
    Py_ssize_t most = name == NULL ? 0 : 1;
    Py_ssize_t given = PyTuple_GET_SIZE(args);
    PyObject *b_keyword = kwargs == NULL || name == NULL ? NULL : keyword_of(kwargs, name);

    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > (b_keyword != NULL)) {
        return refuse_keyword(self, kwargs, name);
    }
    if (given > most) {
        PyErr_Format(PyExc_TypeError,
                     "%.100s.__init__() takes %s%zd positional argument%s but %zd were given",
                     Py_TYPE(self)->tp_name, most > 0 ? "from 1 to " : "", most + 1,
                     most > 0 ? "s" : "", given + 1);
        return -1;
    }
    if (given > 0 && b_keyword != NULL) {
        PyErr_Format(PyExc_TypeError, "%.100s.__init__() got multiple values for argument '%s'",
                     Py_TYPE(self)->tp_name, name);
        return -1;
    }
    if (b_value != NULL) {
        *b_value = given > 0 ? PyTuple_GET_ITEM(args, 0) : b_keyword;
    }
    return 0;
}

void tc_py_bound_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (bound_of(self)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    Py_CLEAR(bound_of(self)->loop);
    type->tp_free(self);
    Py_DECREF(type);
}

PyObject *tc_py_bound_repr(PyObject *self, PyObject *state, const struct tc_list *line)
{
    PyObject *plain = state == NULL ? NULL : PyBaseObject_Type.tp_repr(self);
    PyObject *inner =
        plain == NULL ? NULL : PyUnicode_Substring(plain, 1, PyUnicode_GET_LENGTH(plain) - 1);
    Py_ssize_t waiters = tc_py_line_length(line);
    PyObject *result = NULL;

    if (inner != NULL && waiters > 0) {
        result = PyUnicode_FromFormat("<%U [%U, waiters:%zd]>", inner, state, waiters);
    } else if (inner != NULL) {
        result = PyUnicode_FromFormat("<%U [%U]>", inner, state);
    }
    Py_XDECREF(plain);
    Py_XDECREF(inner);
    return result;
}

/* ---- waits -------------------------------------------------------------------------------- */

enum tc_py_outcome tc_py_wait_enter(struct tc_py_wait *wait, struct tc_list *line)
{
    if (tc_py_operation_join(&wait->op) < 0 ||
        tc_py_bound_bind(wait->owner, wait->op.task->future.loop) < 0) {
        return TC_PY_ERROR;
    }
    wait->is_woken = false;
    tc_list_push_back(line, &wait->place);
    return TC_PY_SUSPEND;
}

bool tc_py_wait_withdraw(struct tc_py_operation *op)
{
    tc_py_wait_leave(tc_py_wait_of(op));
    return true;
}

static int wait_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct tc_py_wait *self = (struct tc_py_wait *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->owner);
    Py_VISIT(self->item);
    Py_VISIT(self->op.message);
    return 0;
}

static int wait_clear(PyObject *object)
{
    struct tc_py_wait *self = (struct tc_py_wait *)object;

    tc_py_wait_leave(self);
    tc_py_operation_clear(&self->op);
    Py_CLEAR(self->item);
    Py_CLEAR(self->owner);
    return 0;
}

static void wait_finalize(PyObject *object)
{
    ((struct tc_py_wait *)object)->is_finalized = true;
    tc_py_operation_finalize(object);
}

/* A spent wait has no task and no message, and its memory serves again. */
static void wait_dealloc(PyObject *object)
{
    struct tc_py_wait *self = (struct tc_py_wait *)object;
    PyTypeObject *type = Py_TYPE(object);
    struct tc_py_bound *owner = self->owner;
    struct tc_py_sync_state *state;

    if (tc_unlikely(self->op.state != TC_PY_OPERATION_FINISHED || self->op.is_traced ||
                    self->is_finalized || owner == NULL || self->op.message != NULL)) {
        tc_py_operation_dealloc(object); /* never awaited, or its task is gone */
        return;
    }
    PyObject_GC_UnTrack(object);
    tc_py_wait_leave(self); /* in a line still if its task went before its last step */
    Py_CLEAR(self->item);
    state = owner->state;
    if (tc_likely(state->spare_wait_count < TC_PY_SPARE_WAITS) &&
        state->wait_type == type) { /* not while the module goes */
        state->spare_waits[state->spare_wait_count++] = self;
    } else {
        type->tp_free(object);
    }
    Py_DECREF(owner);
    Py_DECREF(type);
}

struct tc_py_wait *tc_py_wait_new(struct tc_py_bound *owner, const struct tc_py_operation_ops *ops)
{
    struct tc_py_sync_state *state = owner->state;
    PyTypeObject *type = state->wait_type;
    struct tc_py_wait *self;

    if (tc_likely(state->spare_wait_count > 0)) {
        self = state->spare_waits[--state->spare_wait_count];
        tc_py_revive((PyObject *)self, type);
        tc_py_operation_init(&self->op, ops);
        self->op.state = TC_PY_OPERATION_NEW;
        self->owner = (struct tc_py_bound *)Py_NewRef(owner);
        PyObject_GC_Track(self);
        return self;
    }
    self = (struct tc_py_wait *)type->tp_alloc(type, 0);
    if (self != NULL) {
        tc_py_operation_init(&self->op, ops);
        tc_list_init(&self->place);
        self->owner = (struct tc_py_bound *)Py_NewRef(owner);
    }
    return self;
}

static PyType_Slot wait_slots[] = {
    {Py_tp_dealloc, wait_dealloc},
    {Py_tp_finalize, wait_finalize},
    {Py_tp_traverse, wait_traverse},
    {Py_tp_clear, wait_clear},
    {0, NULL},
};

static PyType_Spec wait_spec = {
    .name = "tinycoro._Wait",
    .basicsize = sizeof(struct tc_py_wait),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = wait_slots,
};

/* ---- lines -------------------------------------------------------------------------------- */

Py_ssize_t tc_py_line_wake(struct tc_list *line, Py_ssize_t most)
{
    struct tc_list *place;
    Py_ssize_t woken = 0;

    TC_LIST_FOR_EACH (place, line) {
        if (woken >= most) {
            break;
        }
        if (tc_py_wait_is_pending(tc_py_wait_at(place))) {
            tc_py_wait_wake(tc_py_wait_at(place));
            woken++;
        }
    }
    return woken;
}

void tc_py_line_release(struct tc_list *line)
{
    struct tc_list *place;

    while ((place = tc_list_pop_front(line)) != NULL) {
        if (tc_py_wait_is_pending(tc_py_wait_at(place))) {
            tc_py_wait_wake(tc_py_wait_at(place));
            return;
        }
    }
}

void tc_py_line_release_all(struct tc_list *line)
{
    while (!tc_list_is_empty(line)) {
        tc_py_line_release(line);
    }
}

bool tc_py_line_is_cancelled(const struct tc_list *line)
{
    const struct tc_list *place;

    TC_LIST_FOR_EACH (place, line) {
        const struct tc_py_wait *wait = tc_container_of(place, const struct tc_py_wait, place);

        if (wait->op.state != TC_PY_OPERATION_CANCELLED || wait->is_woken) {
            return false;
        }
    }
    return true;
}

Py_ssize_t tc_py_line_length(const struct tc_list *line)
{
    const struct tc_list *place;
    Py_ssize_t length = 0;

    TC_LIST_FOR_EACH (place, line) {
        length++;
    }
    return length;
}

PyObject *tc_py_line_list(const struct tc_list *line)
{
    PyObject *list = PyList_New(0);
    const struct tc_list *place;

    TC_LIST_FOR_EACH (place, line) {
        const struct tc_py_wait *wait = tc_container_of(place, const struct tc_py_wait, place);

        if (list != NULL && PyList_Append(list, (PyObject *)&wait->op) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* ---- a line by itself ------------------------------------------------------------------------ */

/* What Condition is made of: its lock and the rest are in Python. */
struct waiting_line {
    struct tc_py_bound bound;
    struct tc_list waits;
};

static struct waiting_line *line_of(PyObject *self)
{
    return (struct waiting_line *)self;
}

static enum tc_py_outcome line_start(struct tc_py_operation *op, PyObject **value)
{
    (void)value;
    return tc_py_wait_enter(tc_py_wait_of(op),
                            &line_of((PyObject *)tc_py_wait_of(op)->owner)->waits);
}

static enum tc_py_outcome line_finish(struct tc_py_operation *op, PyObject **value)
{
    (void)value;
    tc_py_wait_leave(tc_py_wait_of(op));
    return TC_PY_DONE;
}

static int line_unwind(struct tc_py_operation *op)
{
    tc_py_wait_leave(tc_py_wait_of(op));
    return 0;
}

static const struct tc_py_operation_ops line_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "Condition.wait",
    .start = line_start,
    .finish = line_finish,
    .withdraw = tc_py_wait_withdraw,
    .unwind = line_unwind,
};

static PyObject *line_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                          PyObject *Py_UNUSED(kwargs))
{
    struct tc_py_bound *self = tc_py_bound_new(type);

    if (self != NULL) {
        tc_list_init(&line_of((PyObject *)self)->waits);
    }
    return (PyObject *)self;
}

PyDoc_STRVAR(bind_doc, "_bind($self, /)\n--\n\nBind to the running loop.");

static PyObject *line_bind(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_loop *loop = tc_py_loop_require();

    if (loop == NULL || tc_py_bound_bind(bound_of(self), loop) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stand_doc, "_stand($self, /)\n--\n\nWait in line until woken.");

static PyObject *line_stand(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return (PyObject *)tc_py_wait_new(bound_of(self), &line_ops);
}

PyDoc_STRVAR(wake_doc, "_wake($self, n, /)\n--\n\nWake up to n of those who wait.");

static PyObject *line_wake(PyObject *self, PyObject *b_n)
{
    Py_ssize_t most = PyNumber_AsSsize_t(b_n, NULL); /* clips */

    if ((most == -1 && PyErr_Occurred()) ||
        tc_py_bound_check(bound_of(self), "Condition.notify()") < 0) {
        return NULL;
    }
    (void)tc_py_line_wake(&line_of(self)->waits, most);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(length_doc, "_length($self, /)\n--\n\nReturn how many stand in line.");

static PyObject *line_length(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSsize_t(tc_py_line_length(&line_of(self)->waits));
}

static PyObject *line_waiters(PyObject *self, void *Py_UNUSED(closure))
{
    return tc_py_line_list(&line_of(self)->waits);
}

static PyGetSetDef line_attributes[] = {
    {"_waiters", line_waiters, NULL, "Who waits.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef line_methods[] = {
    {"_bind", line_bind, METH_NOARGS, bind_doc},
    {"_stand", line_stand, METH_NOARGS, stand_doc},
    {"_wake", line_wake, METH_O, wake_doc},
    {"_length", line_length, METH_NOARGS, length_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot line_slots[] = {
    {Py_tp_new, line_new},
    {Py_tp_dealloc, tc_py_bound_dealloc},
    {Py_tp_traverse, tc_py_bound_traverse},
    {Py_tp_methods, line_methods},
    {Py_tp_getset, line_attributes},
    {Py_tp_members, tc_py_bound_members},
    {0, NULL},
};

static PyType_Spec line_spec = {
    .name = "tinycoro._WaitingLine",
    .basicsize = sizeof(struct waiting_line),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = line_slots,
};

/* ---- the types ---------------------------------------------------------------------------- */

int tc_py_add_bound_type(PyObject *module, PyType_Spec *spec, PyTypeObject *base,
                         PyTypeObject **out)
{
    if (tc_py_add_type(module, spec, base, out) < 0) {
        return -1;
    }
    (*out)->tp_name = strrchr(spec->name, '.') + 1; /* __module__ is set already */
    return 0;
}

int tc_py_add_waiting_line(PyObject *module, struct tc_py_sync_state *state)
{
    if (tc_py_add_type(module, &wait_spec, state->loop->operation_type, &state->wait_type) < 0 ||
        tc_py_register_coroutine(state->loop, state->wait_type) < 0) {
        return -1;
    }
    if (tc_py_add_bound_type(module, &line_spec, NULL, &state->waiting_line_type) < 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "_WaitingLine", (PyObject *)state->waiting_line_type);
}
