#include "python/module.h"

#include "python/process.h"

#include "base/defs.h"
#include "base/sys.h"

#include <string.h>

PyDoc_STRVAR(module_doc, "The compiled part of tinycoro; import tinycoro instead.");

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown compiler"
#endif

/* Sum up the build for --version and bug reports. */
static PyObject *describe_build(void)
{
    return Py_BuildValue("{ss ss ss si si sO sO}", "compiler", COMPILER, "poller", "epoll",
                         "context", TC_CTX_UCONTEXT ? "ucontext" : "asm", "debug", TC_DEBUG,
                         "chaos", TC_CHAOS, "sanitizer", TC_ASAN || TC_TSAN ? Py_True : Py_False,
                         "free_threaded", TC_PY_FREE_THREADED ? Py_True : Py_False);
}

static int add_build(PyObject *module)
{
    PyObject *build = describe_build();
    int result;

    if (build == NULL) {
        return -1;
    }
    result = PyModule_AddObjectRef(module, "_build", build);
    Py_DECREF(build);
    if (result < 0) {
        return -1;
    }
    return PyModule_AddStringConstant(module, "version", TC_VERSION);
}

int tc_py_import_objects(const struct tc_py_import *imports, size_t count, void *part)
{
    for (size_t i = 0; i < count; i++) {
        PyObject *module = PyImport_ImportModule(imports[i].module);
        PyObject *object = NULL;

        if (module != NULL) {
            object = PyObject_GetAttrString(module, imports[i].name);
            Py_DECREF(module);
        }
        if (object == NULL) {
            if (!imports[i].is_optional || !PyErr_ExceptionMatches(PyExc_AttributeError)) {
                return -1;
            }
            PyErr_Clear();
        }
        memcpy((char *)part + imports[i].field, &object, sizeof(object));
    }
    return 0;
}

static int module_exec(PyObject *module)
{
    if (tc_py_process_check() < 0 || add_build(module) < 0 || tc_py_add_errors(module) < 0 ||
        tc_py_add_runtime(module) < 0 || tc_py_add_servers(module) < 0 ||
        tc_py_add_loop(module) < 0 || tc_py_add_sync(module) < 0 || tc_py_add_testing(module) < 0 ||
        tc_py_add_relay(module) < 0 || tc_py_process_claim() < 0) {
        return -1;
    }
    tc_py_immortalize_values(PyModule_GetDict(module)); /* its functions */
    tc_py_state_of(module)->is_the_module = true;
    return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct tc_py_state *state = tc_py_state_of(module);
    int result;

    Py_VISIT(state->tinycoro_error);
    Py_VISIT(state->runtime_statistics_type);
    Py_VISIT(state->server_statistics_type);
    Py_VISIT(state->native_server_type);
    Py_VISIT(state->echo_server_type);
    Py_VISIT(state->http_server_type);
    Py_VISIT(state->http_statistics_type);
    Py_VISIT(state->upload_progress_type);
    Py_VISIT(state->route_latency_type);
    Py_VISIT(state->relay_type);
    result = tc_py_loop_state_traverse(&state->loop, visit, arg);
    return result != 0 ? result : tc_py_sync_state_traverse(&state->sync, visit, arg);
}

static int module_clear(PyObject *module)
{
    struct tc_py_state *state = tc_py_state_of(module);

    Py_CLEAR(state->tinycoro_error);
    Py_CLEAR(state->runtime_statistics_type);
    Py_CLEAR(state->server_statistics_type);
    Py_CLEAR(state->native_server_type);
    Py_CLEAR(state->echo_server_type);
    Py_CLEAR(state->http_server_type);
    Py_CLEAR(state->http_statistics_type);
    Py_CLEAR(state->upload_progress_type);
    Py_CLEAR(state->route_latency_type);
    Py_CLEAR(state->relay_type);
    tc_py_loop_state_clear(&state->loop);
    tc_py_sync_state_clear(&state->sync);
    return 0;
}

static void module_free(void *module)
{
    if (tc_py_state_of((PyObject *)module)->is_the_module) {
        tc_py_process_unclaim();
    }
    (void)module_clear((PyObject *)module); /* cannot fail */
    tc_py_loop_state_free(&tc_py_state_of((PyObject *)module)->loop);
    tc_py_sync_state_free(&tc_py_state_of((PyObject *)module)->sync);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    TC_PY_MODULE_SLOTS{0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,   .m_name = "tinycoro._core",
    .m_doc = module_doc,     .m_size = sizeof(struct tc_py_state),
    .m_slots = module_slots, .m_traverse = module_traverse,
    .m_clear = module_clear, .m_free = module_free,
};

PyObject *tc_py_module_of_type(PyTypeObject *type)
{
    return PyType_GetModuleByDef(type, &module_def);
}

PyMODINIT_FUNC PyInit__core(void); /* the loader finds it by name */

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&module_def);
}
