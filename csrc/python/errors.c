#include "python/errors.h"

#include "python/module.h"

#include <errno.h>
#include <string.h>

PyDoc_STRVAR(tinycoro_error_doc, "Base class of the errors that tinycoro defines itself.\n\n"
                                 "What the system refuses is OSError, what takes too long\n"
                                 "TimeoutError; neither derives from this class.");

int tc_py_add_errors(PyObject *module)
{
    struct tc_py_state *state = tc_py_state_of(module);

    state->tinycoro_error =
        PyErr_NewExceptionWithDoc("tinycoro.TinycoroError", tinycoro_error_doc, NULL, NULL);
    return PyModule_AddObjectRef(module, "TinycoroError", state->tinycoro_error);
}

PyObject *tc_py_error_os(int error, const char *attempt, const char *name)
{
    PyObject *text;
    PyObject *instance;

    if (error == -ENOMEM) {
        return PyErr_NoMemory();
    }
    text = PyUnicode_FromFormat("%s: %s", attempt, strerror(-error));
    if (text == NULL) {
        return NULL;
    }
    /* OSError's constructor picks the subclass from the number. */
    instance = PyObject_CallFunction(PyExc_OSError, "iNs", -error, text, name);
    if (instance != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(instance), instance);
        Py_DECREF(instance);
    }
    return NULL;
}

PyObject *tc_py_error_forked(const char *what)
{
    return PyErr_Format(PyExc_RuntimeError,
                        "this %s was made before fork() and belongs to the parent process; "
                        "make a new one in the child",
                        what);
}
