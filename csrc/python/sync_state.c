/* Filling the state of locks and queues: others' objects, names, types. */
#include "python/sync_state.h"

#include "python/module.h"
#include "python/waiting_line.h"

/* ---- the collector ---------------------------------------------------------------------- */

struct tc_py_sync_state *tc_py_sync_state_of_type(PyTypeObject *type)
{
    PyObject *b_module = tc_py_module_of_type(type);

    return b_module == NULL ? NULL : &tc_py_state_of(b_module)->sync;
}

int tc_py_sync_state_traverse(struct tc_py_sync_state *state, visitproc visit, void *arg)
{
#define VISIT(type, name) Py_VISIT(state->name);
    TC_PY_SYNC_OBJECTS(VISIT)
#undef VISIT
#define VISIT(name) Py_VISIT(state->str_##name);
    TC_PY_SYNC_STRINGS(VISIT)
#undef VISIT
    return 0;
}

void tc_py_sync_state_clear(struct tc_py_sync_state *state)
{
    while (state->spare_wait_count > 0) {
        PyObject_GC_Del(state->spare_waits[--state->spare_wait_count]);
    }
#define CLEAR(type, name) Py_CLEAR(state->name);
    TC_PY_SYNC_OBJECTS(CLEAR)
#undef CLEAR
}

void tc_py_sync_state_free(struct tc_py_sync_state *state)
{
    tc_py_sync_state_clear(state);
#define CLEAR(name) Py_CLEAR(state->str_##name);
    TC_PY_SYNC_STRINGS(CLEAR)
#undef CLEAR
}

/* ---- what others have made ------------------------------------------------------------------ */

#define IMPORT(module_, name_, field_) \
    {.module = module_, .name = name_, .field = offsetof(struct tc_py_sync_state, field_)}

static const struct tc_py_import imports[] = {
    IMPORT("asyncio.queues", "QueueEmpty", queue_empty),
    IMPORT("asyncio.queues", "QueueFull", queue_full),
    {.module = "asyncio.queues",
     .name = "QueueShutDown",
     .field = offsetof(struct tc_py_sync_state, queue_shut_down),
     .is_optional = true},
    IMPORT("collections", "deque", deque_type),
    IMPORT("heapq", "heappush", heappush),
    IMPORT("heapq", "heappop", heappop),
};

/* The C function behind a method of deque, if it is called as `flags` says; else NULL. */
static PyCFunction function_of(PyObject *b_method, int flags)
{
    if (!Py_IS_TYPE(b_method, &PyMethodDescr_Type)) {
        return NULL;
    }
    return ((PyMethodDescrObject *)b_method)->d_method->ml_flags == flags
               ? ((PyMethodDescrObject *)b_method)->d_method->ml_meth
               : NULL;
}

static int find_deque_methods(struct tc_py_sync_state *state)
{
    state->deque_append = PyObject_GetAttr(state->deque_type, state->str_append);
    state->deque_popleft = PyObject_GetAttr(state->deque_type, state->str_popleft);
    if (state->deque_append == NULL || state->deque_popleft == NULL) {
        return -1;
    }
    state->append = function_of(state->deque_append, METH_O);
    state->popleft = function_of(state->deque_popleft, METH_NOARGS);
    return 0;
}

PyDoc_STRVAR(shut_down_doc, "Raised by put to a queue that was shut down, and by get from one that "
                            "is empty.");

static int add_shut_down(PyObject *module, struct tc_py_sync_state *state)
{
    if (state->queue_shut_down == NULL) { /* before 3.13 */
        state->queue_shut_down =
            PyErr_NewExceptionWithDoc("tinycoro.QueueShutDown", shut_down_doc, NULL, NULL);
    }
    return PyModule_AddObjectRef(module, "QueueShutDown", state->queue_shut_down);
}

/* The context manager of a class that overrides acquire or release calls what is there. */
static int make_context_manager(struct tc_py_sync_state *state)
{
    static const char source[] = "async def __aenter__(lock):\n"
                                 "    await lock.acquire()\n"
                                 "async def __aexit__(lock):\n"
                                 "    lock.release()\n";
    PyObject *names = PyDict_New();
    PyObject *result = names == NULL ? NULL : PyRun_String(source, Py_file_input, names, names);

    if (result != NULL) {
        state->enter = PyMapping_GetItemString(names, "__aenter__");
        state->leave = PyMapping_GetItemString(names, "__aexit__");
        Py_DECREF(result);
    }
    Py_XDECREF(names);
    return state->enter == NULL || state->leave == NULL ? -1 : 0;
}

static int make_strings(struct tc_py_sync_state *state)
{
#define INTERN(name) \
    state->str_##name = PyUnicode_InternFromString(#name); \
    if (state->str_##name == NULL) { \
        return -1; \
    }
    TC_PY_SYNC_STRINGS(INTERN)
#undef INTERN
    return 0;
}

int tc_py_add_sync(PyObject *module)
{
    struct tc_py_sync_state *state = &tc_py_state_of(module)->sync;

    state->loop = &tc_py_state_of(module)->loop;
    if (make_strings(state) < 0 ||
        tc_py_import_objects(imports, TC_ARRAY_LEN(imports), state) < 0 ||
        find_deque_methods(state) < 0 || add_shut_down(module, state) < 0 ||
        make_context_manager(state) < 0 || tc_py_add_waiting_line(module, state) < 0 ||
        tc_py_add_lock(module, state) < 0 || tc_py_add_semaphores(module, state) < 0 ||
        tc_py_add_event(module, state) < 0) {
        return -1;
    }
    return tc_py_add_queues(module, state);
}
