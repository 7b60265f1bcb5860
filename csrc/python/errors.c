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
    PyObject *file = NULL;
    PyObject *instance;

    if (error == -ENOMEM) {
        return PyErr_NoMemory();
    }
    text = PyUnicode_FromFormat("%s: %s", attempt, strerror(-error));
    if (text != NULL) {
        file = name == NULL ? Py_NewRef(Py_None) : PyUnicode_DecodeFSDefault(name);
    }
    if (file == NULL) {
        Py_XDECREF(text);
        return NULL;
    }
    /* OSError's constructor picks the subclass from the number. */
    instance = PyObject_CallFunction(PyExc_OSError, "iNN", -error, text, file);
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

/* The arguments of throw(), as a coroutine checks them. Returns 0, or -1 with an exception set. */
static int check_thrown(PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 3) {
        PyErr_Format(PyExc_TypeError, "throw() takes 1 to 3 arguments, %zd given", nargs);
        return -1;
    }
    if (nargs > 2 && args[2] != Py_None && !PyTraceBack_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError, "throw() third argument must be a traceback object");
        return -1;
    }
    if (nargs > 1 && args[1] != Py_None && PyExceptionInstance_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "instance exception may not have a separate value");
        return -1;
    }
    if (nargs > 1 && TC_PY_WARNS_OF_THROW) {
        return PyErr_WarnEx(PyExc_DeprecationWarning,
                            "the (type, exc, tb) signature of throw() is deprecated, use the "
                            "single-arg signature instead.",
                            1);
    }
    return 0;
}

PyObject *tc_py_thrown_exception(PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *exception;

    if (check_thrown(args, nargs) < 0) {
        return NULL;
    }
    if (PyExceptionInstance_Check(args[0])) {
        exception = Py_NewRef(args[0]);
    } else if (!PyExceptionClass_Check(args[0])) {
        return PyErr_Format(PyExc_TypeError,
                            "exceptions must be classes or instances deriving from BaseException, "
                            "not %.100s",
                            Py_TYPE(args[0])->tp_name);
    } else if (nargs > 1 && PyExceptionInstance_Check(args[1])) {
        exception = Py_NewRef(args[1]);
    } else if (nargs > 1 && args[1] != Py_None) {
        exception = PyObject_CallOneArg(args[0], args[1]);
    } else {
        exception = PyObject_CallNoArgs(args[0]);
    }
    if (exception != NULL && !PyExceptionInstance_Check(exception)) {
        Py_DECREF(exception);
        return PyErr_Format(PyExc_TypeError, "calling the class did not give an exception");
    }
    return exception;
}
