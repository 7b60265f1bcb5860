#include "python/handle.h"

#include "base/assert.h"

#include <stddef.h>

static struct tc_py_handle *handle_of(PyObject *self)
{
    return (struct tc_py_handle *)self;
}

/* ---- running ---------------------------------------------------------------------------- */

/* What a handle calls. While it runs it may be cancelled, which drops what it refers to. */
struct call {
    PyObject *callback;
    PyObject *arguments; /* as in the handle                                                    */
    bool is_single;
};

static PyObject *call(const struct call *call)
{
    if (call->arguments == NULL) {
        return PyObject_CallNoArgs(call->callback);
    }
    if (call->is_single) {
        return PyObject_CallOneArg(call->callback, call->arguments);
    }
    return PyObject_CallObject(call->callback, call->arguments);
}

/* The arguments as a tuple; a new reference or NULL. */
static PyObject *arguments_tuple(const struct call *call)
{
    if (call->arguments == NULL) {
        return PyTuple_New(0);
    }
    return call->is_single ? PyTuple_Pack(1, call->arguments) : Py_NewRef(call->arguments);
}

/* "f(1) at file.py:3"; a new reference or NULL. */
static PyObject *describe_callback(struct tc_py_handle *handle, const struct call *call)
{
    PyObject *arguments = arguments_tuple(call);
    PyObject *result = NULL;

    if (arguments != NULL) {
        result = PyObject_CallFunctionObjArgs(handle->loop->state->format_callback, call->callback,
                                              arguments, NULL);
        Py_DECREF(arguments);
    }
    return result;
}

/* The callback raised. Returns 0, or -1 with what ends the loop's run set again. */
static int handle_raised(struct tc_py_handle *handle, const struct call *call)
{
    PyObject *error;
    PyObject *text;
    PyObject *message;
    int result = 0;

    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
        PyErr_ExceptionMatches(PyExc_SystemExit)) {
        return -1;
    }
    error = PyErr_GetRaisedException();
    text = describe_callback(handle, call);
    message = text == NULL ? NULL : PyUnicode_FromFormat("Exception in callback %U", text);
    Py_XDECREF(text);
    if (message == NULL) {
        PyErr_WriteUnraisable(call->callback);
        message = PyUnicode_FromString("Exception in callback");
    }
    PyErr_SetRaisedException(error);
    if (message == NULL) {
        PyErr_WriteUnraisable(call->callback);
        return 0;
    }
    result = tc_py_loop_report(handle->loop, message, handle->loop->state->str_handle,
                               (PyObject *)handle);
    Py_DECREF(message);
    return result;
}

static int handle_run(struct tc_py_node *self, struct tc_py_loop *loop)
{
    struct tc_py_handle *handle = (struct tc_py_handle *)self;
    struct call it = {handle->callback, handle->arguments, handle->is_single};
    PyObject *outcome = NULL;
    int result = 0;

    (void)loop;
    handle->is_queued = false;
    if (it.callback == NULL) {
        return 0; /* cancelled */
    }
    Py_INCREF(it.callback);
    Py_XINCREF(it.arguments);
    if (PyContext_Enter(handle->context) == 0) {
        outcome = call(&it);
        (void)PyContext_Exit(handle->context); /* we are in it: it cannot fail */
    }
    if (outcome == NULL) {
        result = handle_raised(handle, &it);
    }
    Py_XDECREF(outcome);
    Py_DECREF(it.callback);
    Py_XDECREF(it.arguments);
    return result;
}

static const struct tc_py_node_ops handle_ops = {
    .run = handle_run,
    .future_done = NULL,
    .cancel_wait = NULL,
};

void tc_py_handle_fire(struct tc_py_timer *timer, struct tc_py_loop *loop)
{
    struct tc_py_handle *handle = tc_container_of(timer, struct tc_py_handle, timer);

    tc_py_loop_ready(loop, &handle->node);
    Py_DECREF(handle); /* the heap's reference (H1) */
}

/* ---- making ----------------------------------------------------------------------------- */

static int store_arguments(struct tc_py_handle *handle, PyObject *const *b_arguments,
                           Py_ssize_t count)
{
    if (count == 0) {
        return 0;
    }
    if (count == 1) {
        handle->arguments = Py_NewRef(b_arguments[0]);
        handle->is_single = true;
        return 0;
    }
    handle->arguments = PyTuple_New(count);
    if (handle->arguments == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyTuple_SET_ITEM(handle->arguments, i, Py_NewRef(b_arguments[i]));
    }
    return 0;
}

struct tc_py_handle *tc_py_handle_new(struct tc_py_loop *loop, PyTypeObject *type,
                                      PyObject *b_callback, PyObject *const *b_arguments,
                                      Py_ssize_t count, PyObject *b_context)
{
    struct tc_py_handle *handle = (struct tc_py_handle *)type->tp_alloc(type, 0);

    if (handle == NULL) {
        return NULL;
    }
    handle->node.ops = &handle_ops;
    tc_heap_node_init(&handle->timer.node);
    handle->timer.fire = tc_py_handle_fire;
    handle->loop = (struct tc_py_loop *)Py_NewRef(loop);
    handle->callback = Py_NewRef(b_callback);
    handle->context =
        b_context == NULL || b_context == Py_None ? PyContext_CopyCurrent() : Py_NewRef(b_context);
    if (handle->context == NULL || store_arguments(handle, b_arguments, count) < 0) {
        Py_DECREF(handle);
        return NULL;
    }
    return handle;
}

int tc_py_loop_call(struct tc_py_loop *loop, PyObject *b_callback, PyObject *b_argument,
                    PyObject *b_context)
{
    struct tc_py_handle *handle;

    if (tc_py_loop_check_open(loop) < 0) {
        return -1;
    }
    handle =
        tc_py_handle_new(loop, loop->state->handle_type, b_callback, &b_argument, 1, b_context);
    if (handle == NULL) {
        return -1;
    }
    tc_py_loop_ready(loop, &handle->node);
    Py_DECREF(handle);
    return 0;
}

int tc_py_handle_arm(struct tc_py_handle *handle)
{
    if (tc_py_loop_arm(handle->loop, &handle->timer, tc_py_ns_from_seconds(handle->when)) < 0) {
        return -1;
    }
    Py_INCREF(handle); /* H1 */
    return 0;
}

/* ---- life ------------------------------------------------------------------------------- */

static int handle_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(handle_of(self)->loop);
    Py_VISIT(handle_of(self)->callback);
    Py_VISIT(handle_of(self)->context);
    Py_VISIT(handle_of(self)->arguments);
    return 0;
}

static int handle_clear(PyObject *self)
{
    Py_CLEAR(handle_of(self)->callback);
    Py_CLEAR(handle_of(self)->arguments);
    Py_CLEAR(handle_of(self)->context);
    return 0;
}

static void handle_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    (void)handle_clear(self); /* cannot fail */
    Py_CLEAR(handle_of(self)->loop);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- methods ---------------------------------------------------------------------------- */

PyDoc_STRVAR(cancel_doc,
             "cancel($self, /)\n--\n\nMake sure that the callback is not called any more.");

void tc_py_handle_cancel(struct tc_py_handle *handle)
{
    PyObject *callback = handle->callback;
    PyObject *arguments = handle->arguments;

    handle->is_cancelled = true;
    handle->callback = NULL;
    handle->arguments = NULL;
    if (tc_heap_node_is_queued(&handle->timer.node)) {
        tc_py_loop_disarm(handle->loop, &handle->timer);
        Py_DECREF(handle); /* H1; the caller has its own */
    }
    Py_XDECREF(callback);
    Py_XDECREF(arguments);
}

static PyObject *handle_cancel(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tc_py_loop_check(handle_of(self)->loop, "Handle.cancel()") < 0) {
        return NULL;
    }
    tc_py_handle_cancel(handle_of(self));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(cancelled_doc, "cancelled($self, /)\n--\n\nReturn True if it was cancelled.");

static PyObject *handle_cancelled(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(handle_of(self)->is_cancelled);
}

PyDoc_STRVAR(get_context_doc, "get_context($self, /)\n--\n\n"
                              "Return the contextvars.Context in which the callback runs.");

static PyObject *handle_get_context(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *b_context = handle_of(self)->context;

    return Py_NewRef(b_context == NULL ? Py_None : b_context);
}

PyDoc_STRVAR(when_doc, "when($self, /)\n--\n\nReturn the time, as loop.time() counts it.");

static PyObject *handle_when(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyFloat_FromDouble(handle_of(self)->when);
}

static PyObject *handle_repr(PyObject *self)
{
    struct tc_py_handle *handle = handle_of(self);
    struct call it = {handle->callback, handle->arguments, handle->is_single};
    PyObject *name = PyType_GetName(Py_TYPE(self));
    PyObject *text = NULL;
    PyObject *result = NULL;

    if (name == NULL) {
        return NULL;
    }
    text = it.callback == NULL ? PyUnicode_FromString("cancelled") : describe_callback(handle, &it);
    if (text != NULL) {
        result = PyUnicode_FromFormat("<%U %U>", name, text);
    }
    Py_DECREF(name);
    Py_XDECREF(text);
    return result;
}

/* ---- the types -------------------------------------------------------------------------- */

static PyMethodDef handle_methods[] = {
    {"cancel", handle_cancel, METH_NOARGS, cancel_doc},
    {"cancelled", handle_cancelled, METH_NOARGS, cancelled_doc},
    {"get_context", handle_get_context, METH_NOARGS, get_context_doc},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef timer_methods[] = {
    {"when", handle_when, METH_NOARGS, when_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(handle_doc, "What call_soon() and call_soon_threadsafe() return.");
PyDoc_STRVAR(timer_doc, "What call_later() and call_at() return.");

static PyType_Slot handle_slots[] = {
    {Py_tp_doc, (void *)handle_doc},
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_repr, handle_repr},
    {Py_tp_methods, handle_methods},
    {0, NULL},
};

static PyType_Slot timer_slots[] = {
    {Py_tp_doc, (void *)timer_doc},
    {Py_tp_methods, timer_methods},
    {0, NULL},
};

static PyType_Spec handle_spec = {
    .name = "tinycoro.Handle",
    .basicsize = sizeof(struct tc_py_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = handle_slots,
};

static PyType_Spec timer_spec = {
    .name = "tinycoro.TimerHandle",
    .basicsize = sizeof(struct tc_py_handle),
    /* Collected as its base is, with the base's functions. */
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = timer_slots,
};

int tc_py_add_handle_types(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_type(module, &handle_spec, NULL, &state->handle_type) < 0 ||
        tc_py_add_type(module, &timer_spec, state->handle_type, &state->timer_handle_type) < 0) {
        return -1;
    }
    return 0;
}
