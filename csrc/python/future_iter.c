/* What iter(future) returns: an iterator with send(), throw() and close(), as asyncio's has.
 *
 * Only code that drives a future by hand, or by `yield from`, sees it. An await asks the future
 * itself, which is its own awaiter and costs no object. */
#include "python/errors.h"
#include "python/future.h"
#include "python/operation.h"

struct future_iterator {
    PyObject_HEAD struct tc_py_future
        *future; /* owned; NULL once closed                                                  */
};

static struct tc_py_future *future_of(PyObject *self)
{
    return ((struct future_iterator *)self)->future;
}

PyObject *tc_py_future_iterate(PyObject *future)
{
    struct tc_py_future *self = (struct tc_py_future *)future;
    PyTypeObject *type;
    struct future_iterator *iterator;

    if (tc_py_future_check(self, "iter()") < 0) {
        return NULL;
    }
    type = self->loop->state->future_iterator_type;
    iterator = (struct future_iterator *)type->tp_alloc(type, 0);
    if (iterator != NULL) {
        iterator->future = (struct tc_py_future *)Py_NewRef(future);
    }
    return (PyObject *)iterator;
}

static PySendResult iterator_am_send(PyObject *self, PyObject *b_value, PyObject **result)
{
    if (future_of(self) == NULL) {
        *result = Py_NewRef(Py_None); /* closed, or ended by an exception */
        return PYGEN_RETURN;
    }
    return tc_py_future_send((PyObject *)future_of(self), b_value, result);
}

static PyObject *iterator_next(PyObject *self)
{
    return future_of(self) == NULL ? NULL : tc_py_future_iternext((PyObject *)future_of(self));
}

PyDoc_STRVAR(send_doc, "send($self, value, /)\n--\n\nGo on; the value has no meaning.");

static PyObject *iterator_send(PyObject *self, PyObject *Py_UNUSED(b_value))
{
    PyObject *result = iterator_next(self);

    if (result == NULL && !PyErr_Occurred()) {
        PyErr_SetNone(PyExc_StopIteration);
    }
    return result;
}

PyDoc_STRVAR(throw_doc, "throw($self, type, value=None, traceback=None, /)\n--\n\n"
                        "Raise the exception; the iterator is at its end.");

static PyObject *iterator_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *exception = tc_py_thrown_exception(args, nargs);

    if (exception != NULL) {
        Py_CLEAR(((struct future_iterator *)self)->future);
        PyErr_SetRaisedException(exception);
    }
    return NULL;
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nEnd the iterator; the future is not touched.");

static PyObject *iterator_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Py_CLEAR(((struct future_iterator *)self)->future);
    Py_RETURN_NONE;
}

static int iterator_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(future_of(self));
    return 0;
}

static int iterator_clear(PyObject *self)
{
    Py_CLEAR(((struct future_iterator *)self)->future);
    return 0;
}

static void iterator_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    (void)iterator_clear(self); /* cannot fail */
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef iterator_methods[] = {
    {"send", iterator_send, METH_O, send_doc},
    {"throw", (PyCFunction)(void (*)(void))iterator_throw, METH_FASTCALL, throw_doc},
    {"close", iterator_close, METH_NOARGS, close_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot iterator_slots[] = {
    {Py_tp_dealloc, iterator_dealloc}, {Py_tp_traverse, iterator_traverse},
    {Py_tp_clear, iterator_clear},     {Py_tp_methods, iterator_methods},
    {Py_tp_iter, PyObject_SelfIter},   {Py_tp_iternext, iterator_next},
    {Py_am_send, iterator_am_send},    {0, NULL},
};

static PyType_Spec iterator_spec = {
    .name = "tinycoro._FutureIterator",
    .basicsize = sizeof(struct future_iterator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = iterator_slots,
};

int tc_py_add_future_iterator(PyObject *module, struct tc_py_loop_state *state)
{
    return tc_py_add_type(module, &iterator_spec, NULL, &state->future_iterator_type);
}
