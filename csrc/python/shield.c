/* shield(): a future of its own for something that must not be cancelled with who awaits it.
 *
 * A small node stands in the callbacks of the inner future and, for the case that the outer one is
 * cancelled, in those of the outer. As in asyncio each of the two reacts in a turn of its own. */
#include "python/future.h"
#include "python/handle.h"
#include "python/task.h"
#include "python/watch.h"

struct tc_py_shield {
    struct tc_py_node node;
    PyObject *inner;            /* owned; NULL once it was left                                 */
    struct tc_py_future *outer; /* owned; NULL once it was told                                 */
};

static struct tc_py_shield *shield_of(void *self)
{
    return self;
}

/* The inner future's turn: give the outer one its result. Returns 0, or -1 with an exception
 * set. */
static int copy_result(struct tc_py_shield *self)
{
    struct tc_py_future *outer = self->outer;
    PyObject *inner = self->inner;
    struct tc_py_ending ending;
    int result;

    if (inner == NULL || outer == NULL) {
        return 0;
    }
    self->inner = NULL;
    self->outer = NULL;
    result = tc_py_ask_ending(outer->loop->state, inner, &ending);
    if (result == 0) {
        if (tc_py_future_is_done(outer)) {
            Py_DECREF(ending.value); /* it has been looked at, though nobody is told */
        } else if (ending.kind == TC_PY_FUTURE_CANCELLED) {
            Py_DECREF(ending.value);
            (void)tc_py_future_cancel(outer, NULL); /* pending: it succeeds */
        } else {
            if (ending.kind == TC_PY_FUTURE_FAILED) {
                ending.kind |= TC_PY_FUTURE_LOG;
            }
            tc_py_future_end(outer, ending.kind, ending.value);
        }
    }
    Py_DECREF(inner);
    Py_DECREF(outer);
    return result;
}

static int shield_run(struct tc_py_node *node, struct tc_py_loop *loop)
{
    if (copy_result(shield_of(node)) == 0) {
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
        PyErr_ExceptionMatches(PyExc_SystemExit)) {
        return -1;
    }
    return tc_py_loop_report(loop, loop->state->shield_message, NULL, NULL);
}

static PyObject *inner_done(PyObject *self, PyObject *Py_UNUSED(b_inner))
{
    return copy_result(shield_of(self)) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef inner_done_def = {"_inner_done_callback", inner_done, METH_O, NULL};

/* The outer future's turn, which was cancelled: the inner one goes on by itself. */
static PyObject *leave_inner(PyObject *object, PyObject *Py_UNUSED(b_outer))
{
    struct tc_py_shield *self = shield_of(object);
    struct tc_py_loop_state *state;
    PyObject *inner = self->inner;
    int result;

    if (inner == NULL || self->outer == NULL) {
        Py_RETURN_NONE;
    }
    state = self->outer->loop->state;
    result = tc_py_ask_done(state, inner);
    if (result == 0) {
        self->inner = NULL;
        result = tc_py_unwatch(state, inner, &self->node, &inner_done_def);
        Py_DECREF(inner);
        Py_CLEAR(self->outer);
    }
    return result < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef outer_done_def = {"_outer_done_callback", leave_inner, METH_O, NULL};

/* The outer future is done before the inner: somebody cancelled it. */
static void outer_done(struct tc_py_shield *self)
{
    PyObject *callback = PyCFunction_New(&outer_done_def, (PyObject *)self);

    if (callback == NULL ||
        tc_py_loop_call(self->outer->loop, callback, (PyObject *)self->outer, NULL) < 0) {
        PyErr_WriteUnraisable((PyObject *)self); /* no memory, or the loop is closed */
    }
    Py_XDECREF(callback);
}

static void shield_future_done(struct tc_py_node *node, struct tc_py_future *b_future)
{
    struct tc_py_shield *self = shield_of(node);

    if (self->outer == NULL) {
        return; /* copy_result() has just ended it */
    }
    if (b_future == self->outer) {
        outer_done(self);
    } else {
        tc_py_loop_ready(b_future->loop, node);
    }
}

static const struct tc_py_node_ops shield_ops = {
    .run = shield_run,
    .future_done = shield_future_done,
    .cancel_wait = NULL,
};

/* ---- making ----------------------------------------------------------------------------- */

/* The outer future of `inner`, which is pending. A new reference, or NULL with an exception set. */
static PyObject *shield_make(struct tc_py_loop *loop, PyObject *b_inner)
{
    struct tc_py_loop_state *state = loop->state;
    struct tc_py_shield *self = shield_of(state->shield_type->tp_alloc(state->shield_type, 0));
    struct tc_py_future *outer;

    if (self == NULL) {
        return NULL;
    }
    self->node.ops = &shield_ops;
    outer = tc_py_future_new(loop, state->future_type, &tc_py_future_ops);
    if (outer != NULL) {
        self->outer = (struct tc_py_future *)Py_NewRef(outer);
        self->inner = Py_NewRef(b_inner);
        if (tc_py_future_add_node(outer, &self->node) < 0 ||
            tc_py_watch(state, b_inner, &self->node, &inner_done_def) < 0) {
            Py_CLEAR(outer);
        }
    }
    Py_DECREF(self);
    return (PyObject *)outer;
}

PyDoc_STRVAR(
    shield_doc,
    "shield($module, arg, /)\n--\n\n"
    "Return a future with the result of `arg`, whose cancel does not reach `arg`.\n\n"
    "Who awaits it is cancelled as usual. If `arg` itself is cancelled, so is the future.\n"
    "Blocks: never; await it.");

/* The loop of `inner`, which is one of ours, borrowed; or NULL with an exception set. */
static struct tc_py_loop *inner_loop(struct tc_py_loop_state *state, PyObject *inner)
{
    PyObject *b_loop = tc_py_loop_of_any(state, inner);
    struct tc_py_loop *loop;

    if (b_loop == NULL) {
        return NULL;
    }
    loop = tc_py_loop_cast(b_loop);
    Py_DECREF(b_loop); /* its future holds it */
    return loop == NULL || tc_py_loop_check(loop, "shield()") < 0 ? NULL : loop;
}

static PyObject *shield_function(PyObject *module, PyObject *b_arg)
{
    struct tc_py_loop_state *state = tc_py_loop_state_of(module);
    PyObject *inner = tc_py_ensure_any_future(state, b_arg);
    struct tc_py_loop *loop = inner == NULL ? NULL : inner_loop(state, inner);
    PyObject *outer = NULL;
    int is_done = loop == NULL ? -1 : tc_py_ask_done(state, inner);

    if (is_done > 0) {
        return inner;
    }
    if (is_done == 0) {
        outer = shield_make(loop, inner);
    }
    Py_XDECREF(inner);
    return outer;
}

/* ---- the type --------------------------------------------------------------------------- */

static int shield_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(shield_of(self)->inner);
    Py_VISIT(shield_of(self)->outer);
    return 0;
}

static int shield_clear(PyObject *self)
{
    Py_CLEAR(shield_of(self)->inner);
    Py_CLEAR(shield_of(self)->outer);
    return 0;
}

static void shield_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    (void)shield_clear(self); /* cannot fail */
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef shield_functions[] = {
    {"shield", shield_function, METH_O, shield_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot shield_slots[] = {
    {Py_tp_dealloc, shield_dealloc},
    {Py_tp_traverse, shield_traverse},
    {Py_tp_clear, shield_clear},
    {0, NULL},
};

static PyType_Spec shield_spec = {
    .name = "tinycoro._Shield",
    .basicsize = sizeof(struct tc_py_shield),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = shield_slots,
};

int tc_py_add_shield(PyObject *module, struct tc_py_loop_state *state)
{
    state->shield_message = PyUnicode_FromString("Exception while the end of a shield was told");
    if (state->shield_message == NULL ||
        tc_py_add_type(module, &shield_spec, NULL, &state->shield_type) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, shield_functions);
}
