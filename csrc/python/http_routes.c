/* Handlers in Python: the decorators of HTTPServer, and the desk of a run. */
#include "python/args.h"
#include "python/http_door.h"
#include "python/http_server.h"
#include "python/loop_state.h"

#include <errno.h>
#include <string.h>

/* ---- names ------------------------------------------------------------------------------ */

/* The names of the holes of a path, as a tuple. */
static PyObject *names_of(PyObject *b_path)
{
    const char *at = PyUnicode_AsUTF8(b_path);
    PyObject *names = at == NULL ? NULL : PyList_New(0);
    PyObject *tuple = NULL;

    while (names != NULL && (at = strchr(at, '{')) != NULL) {
        size_t len = strcspn(at + 1, ":}");
        PyObject *name = PyUnicode_FromStringAndSize(at + 1, (Py_ssize_t)len);

        if (name == NULL || PyList_Append(names, name) < 0) {
            Py_CLEAR(names);
        }
        Py_XDECREF(name);
        at += len + 1;
    }
    if (names != NULL) {
        tuple = PyList_AsTuple(names);
        Py_DECREF(names);
    }
    return tuple;
}

/* ---- methods ---------------------------------------------------------------------------- */

/* One method as a bit; 0 with an exception set. */
static uint64_t method_bit(PyObject *b_method)
{
    Py_ssize_t len = 0;
    const char *name = PyUnicode_Check(b_method) ? PyUnicode_AsUTF8AndSize(b_method, &len) : NULL;
    enum tc_http_method method =
        name == NULL ? TC_HTTP_METHOD_COUNT : tc_http_method_find(name, (size_t)len);

    if (method == TC_HTTP_METHOD_COUNT || method == TC_HTTP_CONNECT) {
        PyErr_Format(PyExc_ValueError, "methods: %R is not one that a route can have", b_method);
        return 0;
    }
    return UINT64_C(1) << method;
}

/* An iterable of methods as a mask; 0 with an exception set. */
static uint64_t method_mask(PyObject *b_methods)
{
    PyObject *list;
    uint64_t mask = 0;

    if (PyUnicode_Check(b_methods)) {
        PyErr_Format(PyExc_TypeError, "methods must be a list of str, not a str");
        return 0;
    }
    list = PySequence_List(b_methods);
    for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(list); i++) {
        uint64_t bit = method_bit(PyList_GET_ITEM(list, i));

        mask = bit == 0 ? 0 : mask | bit;
        if (bit == 0) {
            break;
        }
    }
    if (list != NULL && PyList_GET_SIZE(list) == 0) {
        PyErr_SetString(PyExc_ValueError, "methods: there must be at least one");
    }
    Py_XDECREF(list);
    return mask;
}

/* ---- adding ----------------------------------------------------------------------------- */

/* Whether a fixed answer has this path. Returns 1, 0, or -1 with an exception set. */
static int has_answer(struct tc_py_http_server *self, PyObject *b_path)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(self->routes); i++) {
        PyObject *b_route = PyList_GET_ITEM(self->routes, i);
        int is_same = PyTuple_GET_ITEM(b_route, 1) == Py_None
                          ? 0
                          : PyUnicode_Compare(PyTuple_GET_ITEM(b_route, 0), b_path) == 0;
        if (is_same) {
            return 1;
        }
    }
    return PyErr_Occurred() ? -1 : 0;
}

int tc_py_http_fill(struct tc_py_http_server *self, struct tc_http_patterns *patterns)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(self->routes); i++) {
        PyObject *b_route = PyList_GET_ITEM(self->routes, i);
        Py_ssize_t len = 0;
        const char *path = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(b_route, 0), &len);
        uint64_t methods = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(b_route, 3));

        uint32_t streams;

        if (PyTuple_GET_ITEM(b_route, 1) != Py_None) {
            continue; /* a fixed answer */
        }
        streams = PyTuple_GET_ITEM(b_route, 4) == Py_True ? TC_HTTP_DESK_STREAMS : 0;
        if (tc_http_patterns_add(patterns, path, (size_t)len, methods, patterns->count | streams) <
            0) {
            PyErr_NoMemory(); /* it was added before */
            return -1;
        }
    }
    return 0;
}

/* What adding a pattern to those there are would give: 0 or -errno. */
static int try_pattern(struct tc_py_http_server *self, const char *path, size_t len,
                       uint64_t methods)
{
    struct tc_http_patterns patterns = {NULL, 0, 0};
    int error = tc_py_http_fill(self, &patterns);

    if (error < 0) {
        PyErr_Clear(); /* set again by the caller */
        error = -ENOMEM;
    } else {
        error = tc_http_patterns_add(&patterns, path, len, methods, patterns.count);
    }
    tc_http_patterns_fini(&patterns);
    return error;
}

/* Whether calling it gives a coroutine, as far as can be told. Returns 1, 0, or -1 with an
 * exception set. */
static int is_coroutine_function(PyObject *b_handler)
{
    PyObject *inspect = PyImport_ImportModule("inspect");
    PyObject *function = Py_NewRef(b_handler);
    PyObject *answer = NULL;

    if (inspect != NULL) {
        answer = PyObject_CallMethod(inspect, "iscoroutinefunction", "O", function);
    }
    if (answer == Py_False && !PyFunction_Check(function) && !PyType_Check(function) &&
        PyObject_HasAttrString(function, "__call__")) {
        Py_SETREF(function, PyObject_GetAttrString(function, "__call__"));
        Py_SETREF(answer, function == NULL
                              ? NULL
                              : PyObject_CallMethod(inspect, "iscoroutinefunction", "O", function));
    }
    Py_XDECREF(inspect);
    Py_XDECREF(function);
    Py_XDECREF(answer);
    return answer == NULL ? -1 : answer == Py_True;
}

/* Add a handler, in the critical section. Returns 0, or -1 with an exception set. */
static int add_handler(struct tc_py_http_server *self, PyObject *b_path, uint64_t methods,
                       PyObject *b_handler)
{
    Py_ssize_t len = 0;
    const char *path = PyUnicode_AsUTF8AndSize(b_path, &len);
    bool is_get = (methods & (UINT64_C(1) << TC_HTTP_GET | UINT64_C(1) << TC_HTTP_HEAD)) != 0;
    int error = path == NULL || !is_get ? 0 : has_answer(self, b_path);
    PyObject *route;
    int is_async = path == NULL || error < 0 ? -1 : is_coroutine_function(b_handler);

    if (is_async < 0) {
        return -1;
    }
    error = error > 0 ? -EEXIST : try_pattern(self, path, (size_t)len, methods);
    if (error == -ENOMEM) {
        PyErr_NoMemory();
        return -1;
    }
    if (error < 0) {
        PyErr_Format(PyExc_ValueError,
                     error == -EEXIST
                         ? "path=%R has a route for one of the methods already"
                         : "path=%R: it must begin with '/', and each of its segments be literal "
                           "or {name}, the last one perhaps {name:path}",
                     b_path);
        return -1;
    }
    route = Py_BuildValue("OOOKO", b_path, Py_None, b_handler, (unsigned long long)methods,
                          is_async ? Py_True : Py_False);
    if (route == NULL || PyList_Append(self->routes, route) < 0) {
        Py_XDECREF(route);
        return -1;
    }
    self->handler_count++;
    Py_DECREF(route);
    return 0;
}

/* What a decorator does: (server, path, methods) and a handler. */
static PyObject *decorate(PyObject *b_bound, PyObject *b_handler)
{
    struct tc_py_http_server *self = tc_py_http_server_of(PyTuple_GET_ITEM(b_bound, 0));
    uint64_t methods = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(b_bound, 2));
    int result;

    if (!PyCallable_Check(b_handler)) {
        return PyErr_Format(PyExc_TypeError, "the handler must be a function, not %.100s",
                            Py_TYPE(b_handler)->tp_name);
    }
    if (tc_py_http_check_idle(self) < 0) {
        return NULL;
    }
    Py_BEGIN_CRITICAL_SECTION(self);
    result = add_handler(self, PyTuple_GET_ITEM(b_bound, 1), methods, b_handler);
    Py_END_CRITICAL_SECTION();
    return result < 0 ? NULL : Py_NewRef(b_handler);
}

static PyMethodDef decorate_def = {"route", decorate, METH_O, NULL};

/* Returns the decorator. */
static PyObject *decorator(PyObject *server, PyObject *b_path, uint64_t methods)
{
    PyObject *bound;
    PyObject *function;

    if (!PyUnicode_Check(b_path)) {
        return PyErr_Format(PyExc_TypeError, "path must be a str, not %.100s",
                            Py_TYPE(b_path)->tp_name);
    }
    bound = Py_BuildValue("OOK", server, b_path, (unsigned long long)methods);
    if (bound == NULL) {
        return NULL;
    }
    function = PyCFunction_New(&decorate_def, bound);
    Py_DECREF(bound);
    return function;
}

PyObject *tc_py_http_get(PyObject *object, PyObject *b_path)
{
    return decorator(object, b_path, UINT64_C(1) << TC_HTTP_GET);
}

PyObject *tc_py_http_post(PyObject *object, PyObject *b_path)
{
    return decorator(object, b_path, UINT64_C(1) << TC_HTTP_POST);
}

PyObject *tc_py_http_route(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames)
{
    static const char *const names[] = {"path", "methods", NULL};
    static const struct tc_py_params params = {"route", names, 1};
    PyObject *b_values[2];
    uint64_t methods = UINT64_C(1) << TC_HTTP_GET;

    if (tc_py_bind(&params, args, nargs, kwnames, b_values) < 0) {
        return NULL;
    }
    if (b_values[0] == NULL) {
        return PyErr_Format(PyExc_TypeError, "route() needs a path");
    }
    if (b_values[1] != NULL && (methods = method_mask(b_values[1])) == 0) {
        return NULL;
    }
    return decorator(object, b_values[0], methods);
}

/* ---- the desk of a run ------------------------------------------------------------------ */

/* The handlers for a door: a tuple of (handler, names), in the order of their patterns. */
static PyObject *handlers_of(struct tc_py_http_server *self)
{
    PyObject *handlers = PyTuple_New((Py_ssize_t)self->handler_count);
    Py_ssize_t count = 0;

    for (Py_ssize_t i = 0; handlers != NULL && i < PyList_GET_SIZE(self->routes); i++) {
        PyObject *b_route = PyList_GET_ITEM(self->routes, i);
        PyObject *handler;

        if (PyTuple_GET_ITEM(b_route, 1) != Py_None) {
            continue;
        }
        handler = Py_BuildValue("ON", PyTuple_GET_ITEM(b_route, 2),
                                names_of(PyTuple_GET_ITEM(b_route, 0)));
        if (handler == NULL) {
            Py_CLEAR(handlers);
        } else {
            PyTuple_SET_ITEM(handlers, count++, handler);
        }
    }
    return handlers;
}

struct tc_http_desk *tc_py_http_desk(struct tc_py_http_server *self)
{
    struct tc_py_loop_state *state = tc_py_loop_state_of_type(Py_TYPE(self));
    struct tc_py_loop *loop = tc_py_loop_running();
    PyObject *handlers = handlers_of(self);
    struct tc_http_desk *desk = NULL;
    PyObject *pair = NULL;

    if (handlers != NULL && loop == NULL && state != NULL && state->loop_thread != NULL) {
        pair = PyObject_CallNoArgs(state->loop_thread);
        loop = pair == NULL ? NULL : tc_py_loop_cast(PyTuple_GET_ITEM(pair, 0));
    }
    if (loop != NULL) {
        desk = tc_py_door_new(loop, handlers, pair == NULL ? NULL : PyTuple_GET_ITEM(pair, 1));
    }
    if (desk != NULL) {
        desk->max_body = self->max_body;
        desk->body_timeout_ns = self->body_timeout_ns;
        if (tc_py_http_fill(self, &desk->patterns) < 0) {
            tc_http_desk_withdraw(desk);
            desk = NULL;
        }
    }
    Py_XDECREF(pair);
    Py_XDECREF(handlers);
    return desk;
}

/* ---- the loop thread -------------------------------------------------------------------- */

PyDoc_STRVAR(
    set_loop_thread_doc,
    "_set_loop_thread($module, function, /)\n--\n\n"
    "Say what starts a loop in a thread of its own: it returns the loop, and what stops it.");

static PyObject *set_loop_thread(PyObject *module, PyObject *b_function)
{
    struct tc_py_loop_state *state = tc_py_loop_state_of(module);

    Py_XSETREF(state->loop_thread, Py_NewRef(b_function));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"_set_loop_thread", set_loop_thread, METH_O, set_loop_thread_doc},
    {NULL, NULL, 0, NULL},
};

int tc_py_add_http_routes(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
