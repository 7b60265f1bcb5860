#include "python/handle.h"

#include "python/debug.h"

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

/* "f() at file.py:3", in debug mode with the arguments; a new reference or NULL. */
static PyObject *describe_callback(struct tc_py_handle *handle, const struct call *call)
{
    struct tc_py_loop_state *state = handle->loop->state;
    bool is_debug = handle->loop->is_debug;
    PyObject *arguments = is_debug ? arguments_tuple(call) : PyTuple_New(0);
    PyObject *names = NULL;
    PyObject *result = NULL;

    if (arguments == NULL) {
        return NULL;
    }
    if (!state->formats_debug) {
        result =
            PyObject_CallFunctionObjArgs(state->format_callback, call->callback, arguments, NULL);
    } else if ((names = PyTuple_Pack(1, state->str_debug)) != NULL) {
        PyObject *b_all[] = {call->callback, arguments, is_debug ? Py_True : Py_False};

        result = PyObject_Vectorcall(state->format_callback, b_all, 2, names);
        Py_DECREF(names);
    }
    Py_DECREF(arguments);
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

static int trace_handle(struct tc_py_handle *handle)
{
    handle->is_traced = true;
    return tc_py_debug_trace(handle->loop->state, (PyObject *)handle);
}

static void handle_future_done(struct tc_py_node *self, struct tc_py_future *b_future)
{
    struct tc_py_handle *handle = (struct tc_py_handle *)self;
    struct tc_py_loop *loop = handle->loop;

    if (tc_py_loop_check_open(loop) < 0 ||
        (tc_unlikely(loop->is_debug) && trace_handle(handle) < 0)) {
        PyErr_WriteUnraisable((PyObject *)handle);
    }
    /* relaxed: as in check_open. */
    if (!tc_load_relaxed(&loop->is_closed)) {
        handle->arguments = Py_NewRef((PyObject *)b_future);
        handle->is_single = true;
        tc_py_loop_ready(loop, &handle->node);
    }
}

static const struct tc_py_node_ops handle_ops = {
    .run = handle_run,
    .future_done = handle_future_done,
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

/* Without arguments, and without its stack in debug mode. */
static struct tc_py_handle *make_handle(struct tc_py_loop *loop, PyTypeObject *type,
                                        PyObject *b_callback, PyObject *b_context)
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
    if (handle->context == NULL) {
        Py_DECREF(handle);
        return NULL;
    }
    return handle;
}

struct tc_py_handle *tc_py_handle_new(struct tc_py_loop *loop, PyTypeObject *type,
                                      PyObject *b_callback, PyObject *const *b_arguments,
                                      Py_ssize_t count, PyObject *b_context)
{
    struct tc_py_handle *handle = make_handle(loop, type, b_callback, b_context);

    if (handle != NULL && (store_arguments(handle, b_arguments, count) < 0 ||
                           (tc_unlikely(loop->is_debug) && trace_handle(handle) < 0))) {
        Py_CLEAR(handle);
    }
    return handle;
}

struct tc_py_handle *tc_py_handle_new_later(struct tc_py_loop *loop, PyObject *b_callback,
                                            PyObject *b_context)
{
    return make_handle(loop, loop->state->handle_type, b_callback, b_context);
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
    if (tc_unlikely(handle_of(self)->is_traced)) {
        handle_of(self)->is_traced = false;
        tc_py_debug_forget(handle_of(self)->loop->state, self);
    }
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
    PyObject *callback;
    PyObject *arguments;

    if (!handle->is_cancelled) {
        handle->is_cancelled = true;
        if (tc_unlikely(handle->loop->is_debug)) {
            handle->is_traced = true;
            tc_py_debug_keep_repr(handle->loop->state, (PyObject *)handle);
        }
    }
    callback = handle->callback;
    arguments = handle->arguments;
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

/* ---- attributes that others look at -------------------------------------------------------- */

static PyObject *get_callback(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *b_callback = handle_of(self)->callback;

    return Py_NewRef(b_callback == NULL ? Py_None : b_callback);
}

static PyObject *get_arguments(PyObject *self, void *Py_UNUSED(closure))
{
    struct tc_py_handle *handle = handle_of(self);
    struct call it = {handle->callback, handle->arguments, handle->is_single};

    return it.callback == NULL ? Py_NewRef(Py_None) : arguments_tuple(&it);
}

static PyObject *get_source_traceback(PyObject *self, void *Py_UNUSED(closure))
{
    return tc_py_debug_attribute(handle_of(self)->loop->state, self);
}

/* " created at file:line" if debug mode knows it, else ""; a new reference or NULL. */
static PyObject *describe_place(struct tc_py_handle *handle)
{
    PyObject *stack = tc_py_debug_traceback(handle->loop->state, (PyObject *)handle);
    PyObject *frame = stack == NULL ? NULL : PySequence_GetItem(stack, -1);
    PyObject *file = frame == NULL ? NULL : PySequence_GetItem(frame, 0);
    PyObject *line = file == NULL ? NULL : PySequence_GetItem(frame, 1);
    PyObject *result = NULL;

    if (line != NULL) {
        result = PyUnicode_FromFormat(" created at %S:%S", file, line);
    } else {
        PyErr_Clear(); /* an empty stack */
        result = PyUnicode_FromString("");
    }
    Py_XDECREF(line);
    Py_XDECREF(file);
    Py_XDECREF(frame);
    Py_XDECREF(stack);
    return result;
}

/* " when=1.5" of a TimerHandle, else ""; a new reference or NULL. */
static PyObject *describe_time(struct tc_py_handle *handle)
{
    PyObject *when;
    PyObject *result;

    if (!PyObject_TypeCheck(handle, handle->loop->state->timer_handle_type)) {
        return PyUnicode_FromString("");
    }
    when = PyFloat_FromDouble(handle->when);
    if (when == NULL) {
        return NULL;
    }
    result = PyUnicode_FromFormat(" when=%R", when);
    Py_DECREF(when);
    return result;
}

static PyObject *handle_repr(PyObject *self)
{
    struct tc_py_handle *handle = handle_of(self);
    struct call it = {handle->callback, handle->arguments, handle->is_single};
    PyObject *kept = tc_py_debug_kept_repr(handle->loop->state, self);
    PyObject *name;
    PyObject *when;
    PyObject *text;
    PyObject *place;
    PyObject *result = NULL;

    if (kept != NULL) {
        return kept;
    }
    name = PyType_GetName(Py_TYPE(self));
    when = name == NULL ? NULL : describe_time(handle);
    text = when == NULL          ? NULL
           : it.callback == NULL ? PyUnicode_FromString("")
                                 : describe_callback(handle, &it);
    place = text == NULL ? NULL : describe_place(handle);
    if (place != NULL) {
        result =
            PyUnicode_FromFormat("<%U%s%U%s%U%U>", name, handle->is_cancelled ? " cancelled" : "",
                                 when, PyUnicode_GET_LENGTH(text) > 0 ? " " : "", text, place);
    }
    Py_XDECREF(name);
    Py_XDECREF(when);
    Py_XDECREF(text);
    Py_XDECREF(place);
    return result;
}

/* ---- the types -------------------------------------------------------------------------- */

static PyMethodDef handle_methods[] = {
    {"cancel", handle_cancel, METH_NOARGS, cancel_doc},
    {"cancelled", handle_cancelled, METH_NOARGS, cancelled_doc},
    {"get_context", handle_get_context, METH_NOARGS, get_context_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef handle_attributes[] = {
    {"_callback", get_callback, NULL, NULL, NULL},
    {"_args", get_arguments, NULL, NULL, NULL},
    {"_source_traceback", get_source_traceback, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef timer_methods[] = {
    {"when", handle_when, METH_NOARGS, when_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(handle_doc, "What call_soon() and call_soon_threadsafe() return.");
PyDoc_STRVAR(timer_doc, "What call_later() and call_at() return.");

static PyType_Slot handle_slots[] = {
    {Py_tp_doc, (void *)handle_doc},   {Py_tp_dealloc, handle_dealloc},
    {Py_tp_traverse, handle_traverse}, {Py_tp_clear, handle_clear},
    {Py_tp_repr, handle_repr},         {Py_tp_methods, handle_methods},
    {Py_tp_getset, handle_attributes}, {0, NULL},
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
