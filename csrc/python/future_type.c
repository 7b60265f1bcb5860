/* The Python type Future; how it works is in future.c. */
#include "python/args.h"
#include "python/debug.h"
#include "python/future.h"
#include "python/handle.h"

#include <stddef.h>

static struct tc_py_future *future_of(PyObject *self)
{
    return (struct tc_py_future *)self;
}

/* ---- life ------------------------------------------------------------------------------- */

/* A class derived from this one may take other arguments: they are read by __init__. */
static PyObject *future_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                            PyObject *Py_UNUSED(kwargs))
{
    struct tc_py_future *future = (struct tc_py_future *)type->tp_alloc(type, 0);

    if (future != NULL) {
        future->node.ops = &tc_py_future_ops;
    }
    return (PyObject *)future;
}

static int future_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"loop", NULL};
    PyObject *b_loop = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$O:Future", names, &b_loop)) {
        return -1;
    }
    return tc_py_future_init(future_of(self), b_loop, "Future()");
}

int tc_py_future_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(future_of(self)->loop);
    Py_VISIT(future_of(self)->callbacks);
    Py_VISIT(future_of(self)->result);
    return 0;
}

/* The loop stays until the end: methods of a cleared future still look at it. */
int tc_py_future_clear(PyObject *self)
{
    Py_CLEAR(future_of(self)->callbacks);
    Py_CLEAR(future_of(self)->result);
    if (tc_unlikely(future_of(self)->flags & TC_PY_FUTURE_TRACED)) {
        future_of(self)->flags &= ~(uint32_t)TC_PY_FUTURE_TRACED;
        tc_py_debug_forget(future_of(self)->loop->state, self);
    }
    return 0;
}

/* Report an exception that nobody has looked at. */
void tc_py_future_finalize(PyObject *self)
{
    struct tc_py_future *future = future_of(self);
    PyObject *pending;
    PyObject *name;
    PyObject *message;

    if (tc_likely(!(future->flags & TC_PY_FUTURE_LOG) || !(future->flags & TC_PY_FUTURE_FAILED))) {
        return;
    }
    future->flags &= ~(uint32_t)TC_PY_FUTURE_LOG;
    pending = PyErr_GetRaisedException();
    name = PyType_GetName(Py_TYPE(self));
    message = name == NULL ? NULL : PyUnicode_FromFormat("%U exception was never retrieved", name);
    Py_XDECREF(name);
    if (message == NULL) {
        PyErr_WriteUnraisable(self);
    } else {
        tc_py_loop_report_later(future->loop, message, future->loop->state->str_future, self,
                                future->result);
        Py_DECREF(message);
    }
    PyErr_SetRaisedException(pending);
}

static void future_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return; /* somebody holds it again */
    }
    PyObject_GC_UnTrack(self);
    if (future_of(self)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    (void)tc_py_future_clear(self); /* cannot fail */
    Py_CLEAR(future_of(self)->loop);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- methods ---------------------------------------------------------------------------- */

#define SELF_OR_NULL(name) \
    (tc_py_future_check(future_of(self), "Future." name "()") < 0 ? NULL : future_of(self))

PyDoc_STRVAR(result_doc, "result($self, /)\n--\n\n"
                         "Return the result, or raise the exception.\n\n"
                         "Raises: InvalidStateError if it is not there yet; CancelledError if the\n"
                         "future was cancelled.");

static PyObject *set_invalid_state(struct tc_py_future *future, const char *text)
{
    PyErr_SetString(future->loop->state->invalid_state_error, text);
    return NULL;
}

static PyObject *future_result(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_future *future = SELF_OR_NULL("result");

    if (future == NULL) {
        return NULL;
    }
    if (!tc_py_future_is_done(future)) {
        return set_invalid_state(future, "Result is not set.");
    }
    return tc_py_future_result(future);
}

PyDoc_STRVAR(exception_doc, "exception($self, /)\n--\n\n"
                            "Return the exception, or None if there is a result.\n\n"
                            "Raises: InvalidStateError if it is not done yet; CancelledError if\n"
                            "the future was cancelled.");

static PyObject *future_exception(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_future *future = SELF_OR_NULL("exception");
    PyObject *b_exception;

    if (future == NULL) {
        return NULL;
    }
    if (!tc_py_future_is_done(future)) {
        return set_invalid_state(future, "Exception is not set.");
    }
    if (future->flags & TC_PY_FUTURE_CANCELLED) {
        return tc_py_future_result(future);
    }
    b_exception = tc_py_future_seen_exception(future);
    return Py_NewRef(b_exception == NULL ? Py_None : b_exception);
}

PyDoc_STRVAR(done_doc, "done($self, /)\n--\n\n"
                       "Return True if there is a result or an exception, or it was cancelled.");

static PyObject *future_done(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_future *future = SELF_OR_NULL("done");

    return future == NULL ? NULL : PyBool_FromLong(tc_py_future_is_done(future));
}

PyDoc_STRVAR(cancelled_doc, "cancelled($self, /)\n--\n\n"
                            "Return True if it was cancelled.");

static PyObject *future_cancelled(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_future *future = SELF_OR_NULL("cancelled");

    return future == NULL ? NULL : PyBool_FromLong(future->flags & TC_PY_FUTURE_CANCELLED);
}

/* Bind the only argument of cancel(). Returns 0, or -1 with TypeError set. */
static int bind_message(PyObject *const *args, Py_ssize_t nargs, PyObject *names, PyObject **b_out)
{
    static const char *const parameters[] = {"msg", NULL};
    static const struct tc_py_params params = {"cancel", parameters, 1};

    return tc_py_bind(&params, args, nargs, names, b_out);
}

PyDoc_STRVAR(cancel_doc, "cancel($self, /, msg=None)\n--\n\n"
                         "Cancel the future; whoever awaits it gets CancelledError(msg).\n\n"
                         "Return False if it was done already.");

static PyObject *future_cancel(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *names)
{
    struct tc_py_future *future = SELF_OR_NULL("cancel");
    PyObject *b_message = NULL;

    if (future == NULL || bind_message(args, nargs, names, &b_message) < 0) {
        return NULL;
    }
    return PyBool_FromLong(tc_py_future_cancel(future, b_message));
}

/* Refuse to end what is done already. */
static int check_pending(struct tc_py_future *future)
{
    if (!tc_py_future_is_done(future)) {
        return 0;
    }
    PyErr_Format(future->loop->state->invalid_state_error, "invalid state: %R", future);
    return -1;
}

PyDoc_STRVAR(set_result_doc, "set_result($self, result, /)\n--\n\n"
                             "End the future with a result and wake whoever awaits it.\n\n"
                             "Raises: InvalidStateError if it was done already.");

static PyObject *future_set_result(PyObject *self, PyObject *b_result)
{
    struct tc_py_future *future = SELF_OR_NULL("set_result");

    if (future == NULL || check_pending(future) < 0) {
        return NULL;
    }
    tc_py_future_end(future, TC_PY_FUTURE_FINISHED, Py_NewRef(b_result));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(set_exception_doc, "set_exception($self, exception, /)\n--\n\n"
                                "End the future with an exception, given as instance or class.\n\n"
                                "Raises: InvalidStateError if it was done already.");

/* An instance from an instance or a class; a new reference, or NULL with TypeError set. */
static PyObject *exception_instance(PyObject *b_exception)
{
    PyObject *exception;

    if (PyExceptionClass_Check(b_exception)) {
        exception = PyObject_CallNoArgs(b_exception);
    } else {
        exception = Py_NewRef(b_exception);
    }
    if (exception != NULL && !PyExceptionInstance_Check(exception)) {
        Py_DECREF(exception);
        PyErr_SetString(PyExc_TypeError, "invalid exception object");
        return NULL;
    }
    if (exception != NULL && PyErr_GivenExceptionMatches(exception, PyExc_StopIteration)) {
        PyObject *wrapped = PyObject_CallFunction(
            PyExc_RuntimeError, "s",
            "StopIteration interacts badly with generators and cannot be raised into a Future");

        if (wrapped != NULL) {
            PyException_SetCause(wrapped, Py_NewRef(exception));
            PyException_SetContext(wrapped, Py_NewRef(exception));
        }
        Py_SETREF(exception, wrapped);
    }
    return exception;
}

static PyObject *future_set_exception(PyObject *self, PyObject *b_exception)
{
    struct tc_py_future *future = SELF_OR_NULL("set_exception");
    PyObject *exception;

    if (future == NULL || check_pending(future) < 0) {
        return NULL;
    }
    exception = exception_instance(b_exception);
    if (exception == NULL) {
        return NULL;
    }
    tc_py_future_end(future, TC_PY_FUTURE_FAILED | TC_PY_FUTURE_LOG, exception);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(add_doc, "add_done_callback($self, fn, /, *, context=None)\n--\n\n"
                      "Have fn(future) called, by the loop, once the future is done.");

static PyObject *future_add_done_callback(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                          PyObject *names)
{
    static const char *const parameters[] = {"fn", "context", NULL};
    static const struct tc_py_params params = {"add_done_callback", parameters, 1};
    struct tc_py_future *future = SELF_OR_NULL("add_done_callback");
    PyObject *b_values[2];
    PyObject *context;
    int result;

    if (future == NULL || tc_py_bind(&params, args, nargs, names, b_values) < 0) {
        return NULL;
    }
    if (b_values[0] == NULL) {
        return PyErr_Format(PyExc_TypeError, "add_done_callback() needs a callable");
    }
    context = b_values[1] == NULL || b_values[1] == Py_None ? PyContext_CopyCurrent()
                                                            : Py_NewRef(b_values[1]);
    if (context == NULL) {
        return NULL;
    }
    if (tc_py_future_is_done(future)) {
        result = tc_py_loop_call(future->loop, b_values[0], self, context);
    } else {
        result = tc_py_future_add_callback(future, b_values[0], context);
    }
    Py_DECREF(context);
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(remove_doc, "remove_done_callback($self, fn, /)\n--\n\n"
                         "Remove every callback that equals fn; return how many there were.");

static PyObject *future_remove_done_callback(PyObject *self, PyObject *b_callable)
{
    struct tc_py_future *future = SELF_OR_NULL("remove_done_callback");
    Py_ssize_t count = future == NULL ? -1 : tc_py_future_remove_callback(future, b_callable);

    return count < 0 ? NULL : PyLong_FromSsize_t(count);
}

PyDoc_STRVAR(get_loop_doc, "get_loop($self, /)\n--\n\n"
                           "Return the loop that the future belongs to. Thread-safe.");

static PyObject *future_get_loop(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_future *future = future_of(self);

    if (future->loop == NULL) {
        (void)tc_py_future_refuse(future);
        return NULL;
    }
    return Py_NewRef(future->loop);
}

PyDoc_STRVAR(make_error_doc, "_make_cancelled_error($self, /)\n--\n\n"
                             "Return the CancelledError to raise; for asyncio.");

static PyObject *future_make_cancelled_error(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_future *future = SELF_OR_NULL("_make_cancelled_error");

    return future == NULL ? NULL : tc_py_future_cancelled_error(future);
}

/* ---- attributes that asyncio looks at ------------------------------------------------------ */

static PyObject *get_blocking(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(future_of(self)->flags & TC_PY_FUTURE_BLOCKING);
}

static int set_flag(PyObject *self, PyObject *b_value, uint32_t flag)
{
    int truth = b_value == NULL ? -1 : PyObject_IsTrue(b_value);

    if (truth < 0) {
        if (b_value == NULL) {
            PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
        }
        return -1;
    }
    if (truth) {
        future_of(self)->flags |= flag;
    } else {
        future_of(self)->flags &= ~flag;
    }
    return 0;
}

static int set_blocking(PyObject *self, PyObject *b_value, void *Py_UNUSED(closure))
{
    return set_flag(self, b_value, TC_PY_FUTURE_BLOCKING);
}

static PyObject *get_log(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(future_of(self)->flags & TC_PY_FUTURE_LOG);
}

static int set_log(PyObject *self, PyObject *b_value, void *Py_UNUSED(closure))
{
    if (b_value != NULL && PyObject_IsTrue(b_value) > 0) {
        PyErr_SetString(PyExc_ValueError, "_log_traceback can only be set to False");
        return -1;
    }
    return set_flag(self, b_value, TC_PY_FUTURE_LOG);
}

static PyObject *get_state(PyObject *self, void *Py_UNUSED(closure))
{
    uint32_t flags = future_of(self)->flags;

    if (flags & TC_PY_FUTURE_CANCELLED) {
        return PyUnicode_FromString("CANCELLED");
    }
    return PyUnicode_FromString(flags & TC_PY_FUTURE_DONE ? "FINISHED" : "PENDING");
}

static PyObject *get_loop(PyObject *self, void *Py_UNUSED(closure))
{
    return future_get_loop(self, NULL);
}

/* The result or the exception, whichever `closure` asks for, without marking it as seen. */
static PyObject *get_ended(PyObject *self, void *closure)
{
    uint32_t wanted = closure == NULL ? TC_PY_FUTURE_FINISHED : TC_PY_FUTURE_FAILED;

    return Py_NewRef(future_of(self)->flags & wanted ? future_of(self)->result : Py_None);
}

static PyObject *get_callbacks(PyObject *self, void *Py_UNUSED(closure))
{
    return tc_py_future_list_callbacks(future_of(self));
}

static PyObject *get_source_traceback(PyObject *self, void *Py_UNUSED(closure))
{
    return tc_py_debug_attribute(future_of(self)->loop->state, self);
}

PyObject *tc_py_future_repr_by(PyObject *self, PyObject *b_function)
{
    PyObject *name;
    PyObject *result;

    if (tc_py_future_check(future_of(self), "repr()") == 0) {
        return PyObject_CallOneArg(b_function, self);
    }
    /* What changes may not be looked at here, as everywhere; but a repr must not be refused. */
    PyErr_Clear();
    name = PyType_GetName(Py_TYPE(self));
    if (name == NULL) {
        return NULL;
    }
    result = PyUnicode_FromFormat("<%U at %p>", name, self);
    Py_DECREF(name);
    return result;
}

static PyObject *future_repr(PyObject *self)
{
    struct tc_py_loop *b_loop = future_of(self)->loop;

    return tc_py_future_repr_by(self, b_loop == NULL ? NULL : b_loop->state->future_repr);
}

/* ---- the type --------------------------------------------------------------------------- */

PyDoc_STRVAR(future_doc, "Future(*, loop=None)\n--\n\n"
                         "A result that is not there yet; asyncio.Future's interface.\n\n"
                         "Thread-safety: methods raise RuntimeError on other threads than the\n"
                         "loop's; use loop.call_soon_threadsafe.");

static PyMethodDef future_methods[] = {
    {"result", future_result, METH_NOARGS, result_doc},
    {"exception", future_exception, METH_NOARGS, exception_doc},
    {"done", future_done, METH_NOARGS, done_doc},
    {"cancelled", future_cancelled, METH_NOARGS, cancelled_doc},
    {"cancel", TC_PY_KEYWORD_FUNCTION(future_cancel), METH_FASTCALL | METH_KEYWORDS, cancel_doc},
    {"set_result", future_set_result, METH_O, set_result_doc},
    {"set_exception", future_set_exception, METH_O, set_exception_doc},
    {"add_done_callback", TC_PY_KEYWORD_FUNCTION(future_add_done_callback),
     METH_FASTCALL | METH_KEYWORDS, add_doc},
    {"remove_done_callback", future_remove_done_callback, METH_O, remove_doc},
    {"get_loop", future_get_loop, METH_NOARGS, get_loop_doc},
    {"_make_cancelled_error", future_make_cancelled_error, METH_NOARGS, make_error_doc},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "See PEP 585."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef future_attributes[] = {
    {"_asyncio_future_blocking", get_blocking, set_blocking, "What marks a future.", NULL},
    {"_log_traceback", get_log, set_log, NULL, NULL},
    {"_state", get_state, NULL, NULL, NULL},
    {"_loop", get_loop, NULL, NULL, NULL},
    {"_result", get_ended, NULL, NULL, NULL},
    {"_exception", get_ended, NULL, NULL, (void *)"exception"},
    {"_cancel_message", tc_py_future_get_message, tc_py_future_set_message, NULL, NULL},
    {"_callbacks", get_callbacks, NULL, NULL, NULL},
    {"_source_traceback", get_source_traceback, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef future_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(struct tc_py_future, weakrefs), Py_READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot future_slots[] = {
    {Py_tp_doc, (void *)future_doc},
    {Py_tp_new, future_new},
    {Py_tp_init, future_init},
    {Py_tp_dealloc, future_dealloc},
    {Py_tp_finalize, tc_py_future_finalize},
    {Py_tp_traverse, tc_py_future_traverse},
    {Py_tp_clear, tc_py_future_clear},
    {Py_tp_repr, future_repr},
    {Py_tp_methods, future_methods},
    {Py_tp_getset, future_attributes},
    {Py_tp_members, future_members},
    {Py_tp_iter, tc_py_future_iterate},
    {Py_tp_iternext, tc_py_future_iternext},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, tc_py_future_send},
    {0, NULL},
};

static PyType_Spec future_spec = {
    .name = "tinycoro.Future",
    .basicsize = sizeof(struct tc_py_future),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = future_slots,
};

int tc_py_add_future_type(PyObject *module, struct tc_py_loop_state *state)
{
    return tc_py_add_type(module, &future_spec, NULL, &state->future_type);
}
