#include "python/deferred.h"

#include "python/errors.h"
#include "python/loop.h"
#include "python/operation.h"

struct deferred {
    PyObject_HEAD tc_py_deferred_fn *function;
    PyObject *self;   /* owned; NULL once it was awaited                                        */
    PyObject *first;  /* owned, or NULL                                                         */
    PyObject *second; /* owned, or NULL                                                         */
};

static struct deferred *deferred_of(PyObject *object)
{
    return (struct deferred *)object;
}

PyObject *tc_py_deferred(struct tc_py_loop_state *state, tc_py_deferred_fn *function,
                         PyObject *self, PyObject *b_first, PyObject *b_second)
{
    PyTypeObject *type = state->deferred_type;
    struct deferred *deferred = (struct deferred *)type->tp_alloc(type, 0);

    if (deferred == NULL) {
        return NULL;
    }
    deferred->function = function;
    deferred->self = Py_NewRef(self);
    deferred->first = Py_XNewRef(b_first);
    deferred->second = Py_XNewRef(b_second);
    return (PyObject *)deferred;
}

/* Do it. Returns a new reference, or NULL with an exception set. */
static PyObject *perform(PyObject *object)
{
    struct deferred *deferred = deferred_of(object);
    PyObject *self = deferred->self;
    PyObject *result;

    if (self == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return NULL;
    }
    deferred->self = NULL;
    result = deferred->function(self, deferred->first, deferred->second);
    Py_DECREF(self);
    return result;
}

static PyObject *deferred_iternext(PyObject *object)
{
    PyObject *result = perform(object);

    return result == NULL ? NULL : tc_py_stop(tc_py_loop_running(), result);
}

static PySendResult deferred_am_send(PyObject *object, PyObject *b_value, PyObject **result)
{
    (void)b_value; /* as for any operation */
    *result = perform(object);
    return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

/* ---- as a coroutine --------------------------------------------------------------------- */

PyDoc_STRVAR(send_doc, "send($self, value, /)\n--\n\nDo it, as a driver.");

static PyObject *deferred_send(PyObject *object, PyObject *Py_UNUSED(b_value))
{
    PyObject *result = perform(object);

    if (result == Py_None) {
        Py_DECREF(result);
        PyErr_SetNone(PyExc_StopIteration);
        return NULL;
    }
    return result == NULL ? NULL : tc_py_stop(NULL, result);
}

static int deferred_clear(PyObject *object)
{
    Py_CLEAR(deferred_of(object)->self);
    Py_CLEAR(deferred_of(object)->first);
    Py_CLEAR(deferred_of(object)->second);
    return 0;
}

PyDoc_STRVAR(throw_doc, "throw($self, type, value=None, traceback=None, /)\n--\n\n"
                        "Raise the exception; nothing is done.");

static PyObject *deferred_throw(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *exception = tc_py_thrown_exception(args, nargs);

    if (exception != NULL) {
        (void)deferred_clear(object); /* cannot fail */
        PyErr_SetRaisedException(exception);
    }
    return NULL;
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nGive it up; nothing is done.");

static PyObject *deferred_close(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    (void)deferred_clear(object); /* cannot fail */
    Py_RETURN_NONE;
}

/* ---- the type --------------------------------------------------------------------------- */

static int deferred_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(deferred_of(object)->self);
    Py_VISIT(deferred_of(object)->first);
    Py_VISIT(deferred_of(object)->second);
    return 0;
}

static void deferred_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    (void)deferred_clear(object); /* cannot fail */
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef deferred_methods[] = {
    {"send", deferred_send, METH_O, send_doc},
    {"throw", (PyCFunction)(void (*)(void))deferred_throw, METH_FASTCALL, throw_doc},
    {"close", deferred_close, METH_NOARGS, close_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot deferred_slots[] = {
    {Py_tp_dealloc, deferred_dealloc},
    {Py_tp_traverse, deferred_traverse},
    {Py_tp_clear, deferred_clear},
    {Py_tp_methods, deferred_methods},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, deferred_iternext},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, deferred_am_send},
    {0, NULL},
};

static PyType_Spec deferred_spec = {
    .name = "tinycoro._Deferred",
    .basicsize = sizeof(struct deferred),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = deferred_slots,
};

int tc_py_add_deferred(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_type(module, &deferred_spec, NULL, &state->deferred_type) < 0) {
        return -1;
    }
    return tc_py_register_coroutine(state, state->deferred_type);
}
