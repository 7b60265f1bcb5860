/* python/compat.h — CPython 3.11 to 3.14 as one API; the only file that knows versions.
 *
 * Newer names are used throughout the layer and supplied here for older versions, never the other
 * way round: when 3.12 is the oldest version supported, blocks are deleted and nothing is renamed.
 * Every file of this layer includes it first, because Python.h wants to be first.
 *
 * who may call what: attached threads; nothing blocks.
 */
#ifndef TC_PYTHON_COMPAT_H
#define TC_PYTHON_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if PY_VERSION_HEX < 0x030B0000
#error "tinycoro needs CPython 3.11 or newer"
#endif

/* ---- 3.12 ------------------------------------------------------------------------------- */

#if PY_VERSION_HEX < 0x030C0000

#include <structmember.h>

#define Py_T_PYSSIZET T_PYSSIZET
#define Py_T_DOUBLE T_DOUBLE
#define Py_READONLY READONLY

/* The pending exception as one object with its traceback; NULL if there is none. */
static inline PyObject *PyErr_GetRaisedException(void)
{
    PyObject *type = NULL;
    PyObject *value = NULL;
    PyObject *traceback = NULL;

    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL) {
        return NULL;
    }
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        (void)PyException_SetTraceback(value, traceback); /* fails only for non-tracebacks */
    }
    Py_DECREF(type);
    Py_XDECREF(traceback);
    return value;
}

/* The reverse; takes the reference. */
static inline void PyErr_SetRaisedException(PyObject *error)
{
    PyErr_Restore(error == NULL ? NULL : Py_NewRef((PyObject *)Py_TYPE(error)), error,
                  error == NULL ? NULL : PyException_GetTraceback(error));
}

#define TC_PY_SLOT_INTERPRETERS
#else
#define TC_PY_SLOT_INTERPRETERS \
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif

/* Since 3.12, coroutines warn of throw(type, value, traceback). */
#define TC_PY_WARNS_OF_THROW (PY_VERSION_HEX >= 0x030C0000)

/* ---- 3.13 ------------------------------------------------------------------------------- */

#if PY_VERSION_HEX < 0x030D0000
#define TC_PY_SLOT_GIL
/* The GIL is the critical section. */
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#else
#define TC_PY_SLOT_GIL {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif

/* What the version lets a module say of itself; for its slot table. */
#define TC_PY_MODULE_SLOTS TC_PY_SLOT_INTERPRETERS TC_PY_SLOT_GIL

/* A METH_FASTCALL | METH_KEYWORDS function in a PyMethodDef, which declares one type for all. */
#define TC_PY_KEYWORD_FUNCTION(function) ((PyCFunction)(void (*)(void))(function))

/* The same for a METH_FASTCALL function. */
#define TC_PY_FAST_FUNCTION(function) ((PyCFunction)(void (*)(void))(function))

/* Make an object of memory that was one of the same type and was not freed.
 * Parks: never   Threads: attached */
static inline void tc_py_revive(PyObject *object, PyTypeObject *type)
{
#if defined(Py_REF_DEBUG) || defined(Py_GIL_DISABLED)
    (void)PyObject_Init(object, type);
#else
    Py_SET_REFCNT(object, 1); /* Py_TYPE(object) is still there */
    Py_INCREF(type);
#endif
}

#ifdef Py_GIL_DISABLED
#define TC_PY_FREE_THREADED 1
#else
#define TC_PY_FREE_THREADED 0
#endif

/* Without the GIL, every thread that makes an object or calls a method writes to the reference
 * count of the type or method, and threads that do so at once pass that cache line to and fro. What
 * lives as long as the process is better not counted. `object` is known to this thread only so
 * far. */
#if !TC_PY_FREE_THREADED
static inline void tc_py_immortalize(PyObject *object)
{
    (void)object;
}
#elif PY_VERSION_HEX >= 0x030F0000
static inline void tc_py_immortalize(PyObject *object)
{
    (void)PyUnstable_SetImmortal(object); /* refused: then it is counted, which only costs time */
}
#else
static inline void tc_py_immortalize(PyObject *object)
{
    object->ob_tid = _Py_UNOWNED_TID;
    object->ob_ref_local = _Py_IMMORTAL_REFCNT_LOCAL;
    object->ob_ref_shared = 0;
}
#endif

#endif
