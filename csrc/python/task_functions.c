/* create_task, current_task and the other functions about tasks; what a loop offers of the same. */
#include "python/args.h"
#include "python/loop.h"
#include "python/task.h"

/* ---- create_task -------------------------------------------------------------------------- */

/* factory(loop, coro, **options); a new reference or NULL. */
static PyObject *call_factory(struct tc_py_loop *loop, PyObject *const *args, PyObject *names)
{
    Py_ssize_t options = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    PyObject *factory = Py_NewRef(loop->task_factory);
    PyObject **b_all = PyMem_New(PyObject *, (size_t)(2 + options));
    PyObject *result = NULL;

    if (b_all == NULL) {
        Py_DECREF(factory);
        return PyErr_NoMemory();
    }
    b_all[0] = (PyObject *)loop;
    b_all[1] = args[0];
    for (Py_ssize_t i = 0; i < options; i++) {
        b_all[2 + i] = args[1 + i];
    }
    result = PyObject_Vectorcall(factory, b_all, 2, names);
    PyMem_Free(b_all);
    Py_DECREF(factory);
    return result;
}

/* Refuse what is no coroutine. Returns 0, or -1 with TypeError set. */
static int check_coroutine(struct tc_py_loop_state *state, PyObject *b_coro)
{
    int is_coroutine = tc_py_is_coroutine(state, b_coro);

    if (is_coroutine == 0) {
        PyErr_Format(PyExc_TypeError, "a coroutine was expected, got %R", b_coro);
    }
    return is_coroutine > 0 ? 0 : -1;
}

PyObject *tc_py_create_task(struct tc_py_loop *loop, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *names)
{
    static const char *const parameters[] = {"coro", "name", "context", "eager_start", NULL};
    static const struct tc_py_params params = {"create_task", parameters, 1};
    PyObject *b_values[4] = {nargs > 0 ? args[0] : NULL, NULL, NULL, NULL};
    int eager = 0;

    if (tc_py_loop_check_open(loop) < 0) {
        return NULL;
    }
    if (tc_unlikely(loop->task_factory != NULL && nargs == 1)) {
        return call_factory(loop, args, names);
    }
    if ((names != NULL || nargs != 1) && tc_py_bind(&params, args, nargs, names, b_values) < 0) {
        return NULL;
    }
    if (b_values[0] == NULL) {
        return PyErr_Format(PyExc_TypeError, "create_task() needs a coroutine");
    }
    if (check_coroutine(loop->state, b_values[0]) < 0) {
        return NULL;
    }
    if (b_values[3] != NULL) {
        eager = PyObject_IsTrue(b_values[3]);
    }
    if (eager < 0) {
        return NULL;
    }
    return (PyObject *)tc_py_task_new(loop, loop->state->task_type, b_values[0], b_values[1],
                                      b_values[2], eager > 0);
}

PyDoc_STRVAR(create_task_doc,
             "create_task($module, coro, /, *, name=None, context=None, eager_start=None)\n--\n\n"
             "Return a Task that runs the coroutine on the running loop.\n\n"
             "It starts in the next turn, or at once if eager_start. Its context is a copy of the\n"
             "present one unless it is given. The loop keeps the task until it is done.\n"
             "Blocks: never. Raises: RuntimeError without a running loop.");

static PyObject *create_task(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs,
                             PyObject *names)
{
    struct tc_py_loop *loop = tc_py_loop_require();

    return loop == NULL ? NULL : tc_py_create_task(loop, args, nargs, names);
}

/* ---- ensure_future ------------------------------------------------------------------------ */

bool tc_py_is_any_future(struct tc_py_loop_state *state, PyObject *object)
{
    PyObject *type;
    PyObject *blocking;
    bool result;

    if (tc_py_is_future(state, object)) {
        return true;
    }
    type = PyObject_GetAttr(object, state->str___class__); /* a mock says another than its own */
    if (type == NULL) {
        PyErr_Clear();
        return false;
    }
    result = PyObject_HasAttr(type, state->str__asyncio_future_blocking);
    Py_DECREF(type);
    if (!result) {
        return false;
    }
    blocking = PyObject_GetAttr(object, state->str__asyncio_future_blocking);
    if (blocking == NULL) {
        PyErr_Clear();
        return false;
    }
    result = blocking != Py_None;
    Py_DECREF(blocking);
    return result;
}

PyObject *tc_py_loop_of_any(struct tc_py_loop_state *state, PyObject *b_future)
{
    PyObject *method = PyObject_GetAttr(b_future, state->str_get_loop);
    PyObject *loop;

    if (method == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        return PyObject_GetAttr(b_future, state->str__loop); /* as asyncio does */
    }
    loop = method == NULL ? NULL : PyObject_CallNoArgs(method);
    Py_XDECREF(method);
    return loop;
}

/* Refuse what cannot be awaited. Returns 0, or -1 with TypeError set. */
static int check_awaitable(struct tc_py_loop_state *state, PyObject *b_object)
{
    PyAsyncMethods *methods = Py_TYPE(b_object)->tp_as_async;
    int is_coroutine = tc_py_is_coroutine(state, b_object);

    if (is_coroutine == 0 && (methods == NULL || methods->am_await == NULL)) {
        PyErr_Format(PyExc_TypeError,
                     "An asyncio.Future, a coroutine or an awaitable is required, got %R",
                     b_object);
        return -1;
    }
    return is_coroutine < 0 ? -1 : 0;
}

/* An awaitable that is no coroutine, inside one that we drive. */
static PyObject *wrap_awaitable(struct tc_py_loop *loop, PyObject *b_object)
{
    PyObject *wrapper;
    PyObject *result;

    if (check_awaitable(loop->state, b_object) < 0) {
        return NULL;
    }
    wrapper = PyObject_CallOneArg(loop->state->wrap_awaitable, b_object);
    if (wrapper == NULL) {
        return NULL;
    }
    /* On 3.11 it is a generator, which no factory has to take. */
    result = (PyObject *)tc_py_task_new(loop, loop->state->task_type, wrapper, NULL, NULL, false);
    Py_DECREF(wrapper);
    return result;
}

PyObject *tc_py_ensure_future(struct tc_py_loop *loop, PyObject *b_object)
{
    struct tc_py_loop_state *state = loop->state;
    PyObject *b_loop;
    int is_coroutine;

    if (tc_likely(PyCoro_CheckExact(b_object))) {
        return tc_py_create_task(loop, &b_object, 1, NULL);
    }
    if (tc_py_is_any_future(state, b_object)) {
        b_loop = tc_py_loop_of_any(state, b_object);
        Py_XDECREF(b_loop);
        if (b_loop == NULL) {
            return NULL;
        }
        if (b_loop != (PyObject *)loop) {
            PyErr_SetString(PyExc_ValueError,
                            "The future belongs to a different loop than the one specified as the "
                            "loop argument");
            return NULL;
        }
        return Py_NewRef(b_object);
    }
    is_coroutine = tc_py_is_coroutine(state, b_object);
    if (is_coroutine > 0) {
        return tc_py_create_task(loop, &b_object, 1, NULL);
    }
    return is_coroutine < 0 ? NULL : wrap_awaitable(loop, b_object);
}

PyObject *tc_py_ensure_any_future(struct tc_py_loop_state *state, PyObject *b_object)
{
    struct tc_py_loop *loop;

    if (tc_py_is_any_future(state, b_object)) {
        return Py_NewRef(b_object);
    }
    if (check_awaitable(state, b_object) < 0) {
        return NULL;
    }
    loop = tc_py_future_loop_argument(NULL);
    if (loop == NULL || tc_py_loop_check(loop, "ensure_future()") < 0) {
        return NULL;
    }
    return tc_py_ensure_future(loop, b_object);
}

PyDoc_STRVAR(ensure_future_doc,
             "ensure_future($module, coro_or_future, /, *, loop=None)\n--\n\n"
             "Return a future as it is, and a Task for a coroutine or another awaitable.");

static PyObject *ensure_future(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *names)
{
    static const char *const parameters[] = {"coro_or_future", "loop", NULL};
    static const struct tc_py_params params = {"ensure_future", parameters, 1};
    struct tc_py_loop_state *state = tc_py_loop_state_of(module);
    PyObject *b_values[2];
    struct tc_py_loop *loop;

    if (tc_py_bind(&params, args, nargs, names, b_values) < 0) {
        return NULL;
    }
    if (b_values[0] == NULL) {
        return PyErr_Format(PyExc_TypeError, "ensure_future() needs an awaitable");
    }
    if (b_values[1] == NULL || b_values[1] == Py_None) {
        return tc_py_ensure_any_future(state, b_values[0]);
    }
    loop = tc_py_future_loop_argument(b_values[1]);
    if (loop == NULL || tc_py_loop_check(loop, "ensure_future()") < 0) {
        return NULL;
    }
    return tc_py_ensure_future(loop, b_values[0]);
}

PyDoc_STRVAR(isfuture_doc, "isfuture($module, object, /)\n--\n\n"
                           "Return True for futures, ours and asyncio's.");

static PyObject *isfuture(PyObject *module, PyObject *b_object)
{
    return PyBool_FromLong(tc_py_is_any_future(tc_py_loop_state_of(module), b_object));
}

PyDoc_STRVAR(iscoroutine_doc, "iscoroutine($module, object, /)\n--\n\n"
                              "Return True for what create_task() accepts.");

static PyObject *iscoroutine(PyObject *module, PyObject *b_object)
{
    int result = tc_py_is_coroutine(tc_py_loop_state_of(module), b_object);

    return result < 0 ? NULL : PyBool_FromLong(result);
}

/* ---- looking ---------------------------------------------------------------------------- */

/* The only argument of current_task and all_tasks: a loop, or None for the running one. */
static struct tc_py_loop *loop_argument(const char *function, PyObject *const *args,
                                        Py_ssize_t nargs, PyObject *names)
{
    static const char *const parameters[] = {"loop", NULL};
    const struct tc_py_params params = {function, parameters, 1};
    PyObject *b_loop = NULL;
    struct tc_py_loop *loop;

    if (tc_py_bind(&params, args, nargs, names, &b_loop) < 0) {
        return NULL;
    }
    loop = b_loop == NULL || b_loop == Py_None ? tc_py_loop_require() : tc_py_loop_cast(b_loop);
    return loop == NULL || tc_py_loop_check(loop, function) < 0 ? NULL : loop;
}

PyDoc_STRVAR(current_task_doc, "current_task($module, /, loop=None)\n--\n\n"
                               "Return the task whose step runs now, or None.");

static PyObject *current_task(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs,
                              PyObject *names)
{
    struct tc_py_loop *loop = loop_argument("current_task", args, nargs, names);

    if (loop == NULL) {
        return NULL;
    }
    return Py_NewRef(loop->current == NULL ? Py_None : (PyObject *)loop->current);
}

PyDoc_STRVAR(all_tasks_doc, "all_tasks($module, /, loop=None)\n--\n\n"
                            "Return the set of tasks of the loop that are not done.");

static PyObject *all_tasks(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs,
                           PyObject *names)
{
    struct tc_py_loop *loop = loop_argument("all_tasks", args, nargs, names);
    PyObject *set = loop == NULL ? NULL : PySet_New(NULL);
    struct tc_list *at;

    if (set == NULL) {
        return NULL;
    }
    TC_LIST_FOR_EACH (at, &loop->tasks) {
        struct tc_py_task *task = tc_container_of(at, struct tc_py_task, all);

        /* One that Future.set_result() has ended is listed until its next step. */
        if (!tc_py_future_is_done(&task->future) && PySet_Add(set, (PyObject *)task) < 0) {
            Py_DECREF(set);
            return NULL;
        }
    }
    return set;
}

PyDoc_STRVAR(get_running_loop_doc, "get_running_loop($module, /)\n--\n\n"
                                   "Return the loop that runs in this thread.\n\n"
                                   "Raises: RuntimeError if there is none.");

static PyObject *get_running_loop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return Py_XNewRef((PyObject *)tc_py_loop_require());
}

PyDoc_STRVAR(running_loop_doc, "_get_running_loop($module, /)\n--\n\n"
                               "Return the loop that runs in this thread, or None.");

static PyObject *running_loop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    struct tc_py_loop *loop = tc_py_loop_running();

    return Py_NewRef(loop == NULL ? Py_None : (PyObject *)loop);
}

PyDoc_STRVAR(set_current_loop_doc,
             "_set_current_loop($module, loop, /)\n--\n\n"
             "Remember what set_event_loop() was given in this thread; None forgets it.");

static PyObject *set_current_loop(PyObject *Py_UNUSED(module), PyObject *b_loop)
{
    return tc_py_loop_set_current(b_loop) < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(get_current_loop_doc,
             "_get_current_loop($module, /)\n--\n\n"
             "Return what set_event_loop() was given in this thread, or None.");

static PyObject *get_current_loop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *b_loop = tc_py_loop_get_current();

    return b_loop == NULL && PyErr_Occurred() ? NULL : Py_NewRef(b_loop == NULL ? Py_None : b_loop);
}

/* ---- the module ------------------------------------------------------------------------- */

#define KEYWORDS(function) TC_PY_KEYWORD_FUNCTION(function), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef task_functions[] = {
    {"create_task", KEYWORDS(create_task), create_task_doc},
    {"ensure_future", KEYWORDS(ensure_future), ensure_future_doc},
    {"isfuture", isfuture, METH_O, isfuture_doc},
    {"iscoroutine", iscoroutine, METH_O, iscoroutine_doc},
    {"current_task", KEYWORDS(current_task), current_task_doc},
    {"all_tasks", KEYWORDS(all_tasks), all_tasks_doc},
    {"get_running_loop", get_running_loop, METH_NOARGS, get_running_loop_doc},
    {"_get_running_loop", running_loop, METH_NOARGS, running_loop_doc},
    {"_set_current_loop", set_current_loop, METH_O, set_current_loop_doc},
    {"_get_current_loop", get_current_loop, METH_NOARGS, get_current_loop_doc},
    {NULL, NULL, 0, NULL},
};

int tc_py_add_task_functions(PyObject *module, struct tc_py_loop_state *state)
{
    (void)state;
    return PyModule_AddFunctions(module, task_functions);
}
