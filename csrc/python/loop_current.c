/* The loop that set_event_loop() gave to a thread; it counts while no loop runs there. */
#include "python/loop.h"

/* The thread's dictionary goes when the thread ends, which a variable in C would not know of. */
static const char current_loop_key[] = "tinycoro.event_loop";

PyObject *tc_py_loop_get_current(void)
{
    PyObject *b_dict = PyThreadState_GetDict();
    PyObject *key = b_dict == NULL ? NULL : PyUnicode_FromString(current_loop_key);
    PyObject *b_loop = key == NULL ? NULL : PyDict_GetItemWithError(b_dict, key);

    Py_XDECREF(key);
    return b_loop;
}

int tc_py_loop_set_current(PyObject *b_loop)
{
    PyObject *b_dict = PyThreadState_GetDict();

    if (b_dict == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (b_loop != Py_None) {
        return PyDict_SetItemString(b_dict, current_loop_key, b_loop);
    }
    if (tc_py_loop_get_current() == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    return PyDict_DelItemString(b_dict, current_loop_key);
}

struct tc_py_loop *tc_py_loop_current(void)
{
    PyObject *b_loop = tc_py_loop_get_current();
    PyObject *threading;
    PyObject *thread;
    PyObject *name;

    if (b_loop != NULL) {
        return tc_py_loop_cast(b_loop);
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    threading = PyImport_ImportModule("threading");
    thread = threading == NULL ? NULL : PyObject_CallMethod(threading, "current_thread", NULL);
    name = thread == NULL ? NULL : PyObject_GetAttrString(thread, "name");
    if (name != NULL) {
        PyErr_Format(PyExc_RuntimeError, "There is no current event loop in thread %R.", name);
    }
    Py_XDECREF(threading);
    Py_XDECREF(thread);
    Py_XDECREF(name);
    return NULL;
}
