/* Filling the loop's part of the module's state: asyncio's objects, names, types; the fork hook. */
#include "python/loop_state.h"

#include "python/http_door.h"
#include "python/loop.h"
#include "python/module.h"
#include "python/wakeup.h"

/* ---- the collector ---------------------------------------------------------------------- */

struct tc_py_loop_state *tc_py_loop_state_of(PyObject *module)
{
    return &tc_py_state_of(module)->loop;
}

struct tc_py_loop_state *tc_py_loop_state_of_type(PyTypeObject *type)
{
    struct tc_py_state *state = PyType_GetModuleState(type);

    return state == NULL ? NULL : &state->loop;
}

int tc_py_loop_state_traverse(struct tc_py_loop_state *state, visitproc visit, void *arg)
{
#define VISIT(type, name) Py_VISIT(state->name);
    TC_PY_LOOP_OBJECTS(VISIT)
#undef VISIT
#define VISIT(name) Py_VISIT(state->str_##name);
    TC_PY_LOOP_STRINGS(VISIT)
#undef VISIT
    return 0;
}

void tc_py_loop_state_clear(struct tc_py_loop_state *state)
{
    tc_py_sleep_free_spares(state);
#define CLEAR(type, name) Py_CLEAR(state->name);
    TC_PY_LOOP_OBJECTS(CLEAR)
#undef CLEAR
}

void tc_py_loop_state_free(struct tc_py_loop_state *state)
{
    tc_py_loop_state_clear(state);
#define CLEAR(name) Py_CLEAR(state->str_##name);
    TC_PY_LOOP_STRINGS(CLEAR)
#undef CLEAR
}

/* ---- what others have made ------------------------------------------------------------------ */

#define IMPORT(module_, name_, field_) \
    {.module = module_, .name = name_, .field = offsetof(struct tc_py_loop_state, field_)}

static const struct tc_py_import imports[] = {
    IMPORT("asyncio.exceptions", "CancelledError", cancelled_error),
    IMPORT("asyncio.exceptions", "InvalidStateError", invalid_state_error),
    IMPORT("asyncio.exceptions", "IncompleteReadError", incomplete_read_error),
    IMPORT("asyncio.exceptions", "LimitOverrunError", limit_overrun_error),
    IMPORT("asyncio.events", "_set_running_loop", set_running_loop),
    IMPORT("asyncio.events", "_get_running_loop", get_running_loop),
    IMPORT("asyncio.base_futures", "_future_repr", future_repr),
    IMPORT("asyncio.base_tasks", "_task_repr", task_repr),
    IMPORT("asyncio.base_tasks", "_task_get_stack", task_get_stack),
    IMPORT("asyncio.base_tasks", "_task_print_stack", task_print_stack),
    IMPORT("asyncio.format_helpers", "_format_callback_source", format_callback),
    IMPORT("asyncio.format_helpers", "extract_stack", extract_stack),
    IMPORT("traceback", "format_list", format_list),
    IMPORT("collections.abc", "Coroutine", coroutine_abc),
    IMPORT("builtins", "ExceptionGroup", exception_group),
    IMPORT("builtins", "BaseExceptionGroup", base_exception_group),
};

/* Awaitables that are no coroutines need one around them, which C cannot make. */
static int make_wrapper(struct tc_py_loop_state *state)
{
    static const char source[] = "async def _wrap_awaitable(awaitable):\n"
                                 "    return await awaitable\n";
    PyObject *names = PyDict_New();
    PyObject *result = names == NULL ? NULL : PyRun_String(source, Py_file_input, names, names);

    if (result != NULL) {
        state->wrap_awaitable = PyMapping_GetItemString(names, "_wrap_awaitable");
        Py_DECREF(result);
    }
    Py_XDECREF(names);
    return state->wrap_awaitable == NULL ? -1 : 0;
}

static int make_strings(struct tc_py_loop_state *state)
{
#define INTERN(name) \
    state->str_##name = PyUnicode_InternFromString(#name); \
    if (state->str_##name == NULL) { \
        return -1; \
    }
    TC_PY_LOOP_STRINGS(INTERN)
#undef INTERN
    return 0;
}

/* ---- types ------------------------------------------------------------------------------ */

void tc_py_immortalize_values(PyObject *b_dict)
{
    PyObject *b_value;
    Py_ssize_t position = 0;

    while (TC_PY_FREE_THREADED && PyDict_Next(b_dict, &position, NULL, &b_value)) {
        tc_py_immortalize(b_value);
    }
}

int tc_py_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject *base, PyTypeObject **out)
{
    const char *name = strrchr(spec->name, '.') + 1;

    *out = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, (PyObject *)base);
    if (*out == NULL) {
        return -1;
    }
    tc_py_immortalize((PyObject *)*out);
    tc_py_immortalize_values((*out)->tp_dict);
    return name[0] == '_' ? 0 : PyModule_AddObjectRef(module, name, (PyObject *)*out);
}

/* ---- fork ------------------------------------------------------------------------------- */

/* The child forgets the loop that ran in the forking thread; what belongs to it raises by its
 * generation. Signals must not be written to a socket that the parent reads. */
static PyObject *after_fork_in_child(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    struct tc_py_loop *loop = tc_py_this_thread.running;
    PyObject *signal;
    PyObject *result = NULL;

    tc_py_this_thread.running = NULL;
    if (loop != NULL) {
        tc_py_descriptors_forget(loop);
    }
    if (loop == NULL || loop->signal_fd < 0) {
        Py_RETURN_NONE;
    }
    signal = PyImport_ImportModule("signal");
    if (signal != NULL) {
        result = PyObject_CallMethod(signal, "set_wakeup_fd", "i", -1);
        Py_DECREF(signal);
    }
    return result;
}

static PyMethodDef after_fork_def = {"_loop_after_fork", after_fork_in_child, METH_NOARGS, NULL};

static int register_fork_hook(void)
{
    PyObject *os = PyImport_ImportModule("os");
    PyObject *function = NULL;
    PyObject *result = NULL;

    if (os != NULL) {
        function = PyObject_GetAttrString(os, "register_at_fork");
        Py_DECREF(os);
    }
    if (function != NULL) {
        PyObject *options =
            Py_BuildValue("{sN}", "after_in_child", PyCFunction_New(&after_fork_def, NULL));
        PyObject *none = PyTuple_New(0);

        if (options != NULL && none != NULL) {
            result = PyObject_Call(function, none, options);
        }
        Py_XDECREF(options);
        Py_XDECREF(none);
        Py_DECREF(function);
    }
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int tc_py_add_loop(PyObject *module)
{
    struct tc_py_loop_state *state = tc_py_loop_state_of(module);

    tc_py_wakeup_setup();
    if (tc_py_import_objects(imports, TC_ARRAY_LEN(imports), state) < 0 ||
        make_strings(state) < 0 || make_wrapper(state) < 0 || tc_py_add_debug(module, state) < 0 ||
        tc_py_add_loop_type(module, state) < 0 || tc_py_add_handle_types(module, state) < 0 ||
        tc_py_add_future_type(module, state) < 0 || tc_py_add_future_iterator(module, state) < 0 ||
        tc_py_add_task_type(module, state) < 0 || tc_py_add_operation_type(module, state) < 0 ||
        tc_py_add_sleep(module, state) < 0 || tc_py_add_guest(module, state) < 0 ||
        tc_py_add_channel(module, state) < 0 || tc_py_add_channel_operation(module, state) < 0 ||
        tc_py_add_select(module, state) < 0 || tc_py_add_server_wait(module, state) < 0 ||
        tc_py_add_gather(module, state) < 0 || tc_py_add_stream_type(module, state) < 0 ||
        tc_py_add_stream_wait(module, state) < 0 || tc_py_add_reader_type(module, state) < 0 ||
        tc_py_add_read(module, state) < 0 || tc_py_add_writer_type(module, state) < 0 ||
        tc_py_add_stream_server(module, state) < 0 || tc_py_add_task_functions(module, state) < 0) {
        return -1;
    }
    if (tc_py_add_deferred(module, state) < 0 || tc_py_add_timeout(module, state) < 0 ||
        tc_py_add_taskgroup(module, state) < 0 || tc_py_add_wait(module, state) < 0 ||
        tc_py_add_shield(module, state) < 0 || tc_py_add_as_completed(module, state) < 0 ||
        tc_py_add_door(module, state) < 0) {
        return -1;
    }
    return register_fork_hook();
}
