/* Python's allocators made to fail on demand, for tests of what is done without memory. Not every
 * interpreter is built with CPython's own module for that. */
#include "python/args.h"
#include "python/module.h"

#include <stdbool.h>

/* The two domains in which objects and their parts are allocated. */
enum { DOMAINS = 2 };

static const PyMemAllocatorDomain domains[DOMAINS] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};

static struct {
    PyMemAllocatorEx real[DOMAINS];
    bool is_hooked;
    int64_t until;  /* allocations that succeed before the first that fails                     */
    int64_t times;  /* how many fail then                                                       */
    int64_t failed; /* how many have                                                            */
} memory;

static bool must_fail(void)
{
    if (memory.until > 0) {
        memory.until--;
        return false;
    }
    if (memory.failed >= memory.times) {
        return false;
    }
    memory.failed++;
    return true;
}

static void *failing_malloc(void *real, size_t size)
{
    PyMemAllocatorEx *allocator = real;

    return must_fail() ? NULL : allocator->malloc(allocator->ctx, size);
}

static void *failing_calloc(void *real, size_t count, size_t size)
{
    PyMemAllocatorEx *allocator = real;

    return must_fail() ? NULL : allocator->calloc(allocator->ctx, count, size);
}

static void *failing_realloc(void *real, void *old, size_t size)
{
    PyMemAllocatorEx *allocator = real;

    return must_fail() ? NULL : allocator->realloc(allocator->ctx, old, size);
}

static void plain_free(void *real, void *old)
{
    PyMemAllocatorEx *allocator = real;

    allocator->free(allocator->ctx, old);
}

static void unhook(void)
{
    for (int i = 0; memory.is_hooked && i < DOMAINS; i++) {
        PyMem_SetAllocator(domains[i], &memory.real[i]);
    }
    memory.is_hooked = false;
}

PyDoc_STRVAR(memory_arm_doc,
             "_memory_arm($module, /, nth, times=1)\n"
             "--\n\n"
             "Let the nth allocation of the interpreter from now on fail, and those after\n"
             "it, `times` in all. Only where no other thread runs.");

static PyObject *memory_arm(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames)
{
    static const char *const names[] = {"nth", "times", NULL};
    static const struct tc_py_params params = {"_memory_arm", names, 2};
    PyObject *b_values[2];
    int64_t nth = 0;
    int64_t times = 1;

    if (tc_py_bind(&params, args, nargs, kwnames, b_values) < 0) {
        return NULL;
    }
    if (b_values[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "_memory_arm() needs nth");
        return NULL;
    }
    if (tc_py_integer(b_values[0], "nth", false, 1, INT64_MAX, &nth) < 0 ||
        tc_py_integer(b_values[1], "times", true, 1, INT64_MAX, &times) < 0) {
        return NULL;
    }
    unhook();
    memory.until = nth - 1;
    memory.times = times;
    memory.failed = 0;
    memory.is_hooked = true;
    for (int i = 0; i < DOMAINS; i++) {
        PyMemAllocatorEx failing = {&memory.real[i], failing_malloc, failing_calloc,
                                    failing_realloc, plain_free};

        PyMem_GetAllocator(domains[i], &memory.real[i]);
        PyMem_SetAllocator(domains[i], &failing);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(memory_disarm_doc, "_memory_disarm($module, /)\n"
                                "--\n\n"
                                "End that; return how many allocations failed.");

static PyObject *memory_disarm(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    unhook();
    return PyLong_FromLongLong(memory.failed);
}

static PyMethodDef memory_functions[] = {
    {"_memory_arm", TC_PY_KEYWORD_FUNCTION(memory_arm), METH_FASTCALL | METH_KEYWORDS,
     memory_arm_doc},
    {"_memory_disarm", memory_disarm, METH_NOARGS, memory_disarm_doc},
    {NULL, NULL, 0, NULL},
};

int tc_py_add_testing_memory(PyObject *module)
{
    return PyModule_AddFunctions(module, memory_functions);
}
