/* Making tasks, and the Python type Task; the driver is in step.c. */
#include "python/task.h"

#include "python/args.h"

static struct tc_py_task *task_of(PyObject *self)
{
    return (struct tc_py_task *)self;
}

/* ---- node ------------------------------------------------------------------------------- */

static int task_run(struct tc_py_node *self, struct tc_py_loop *loop)
{
    struct tc_py_task *task = (struct tc_py_task *)self;
    bool is_spurious = (task->future.flags & TC_PY_TASK_SPURIOUS) != 0;

    (void)loop;
    task->future.flags &= ~(uint32_t)(TC_PY_TASK_QUEUED | TC_PY_TASK_SPURIOUS);
    return tc_unlikely(is_spurious) ? 0 : tc_py_task_step(task);
}

static void task_future_done(struct tc_py_node *self, struct tc_py_future *b_future)
{
    (void)b_future;
    tc_py_task_wake((struct tc_py_task *)self);
}

static int task_cancel_wait(struct tc_py_node *self, struct tc_py_task *b_task, PyObject *b_message)
{
    return tc_py_cancel_object(b_task->future.loop->state, (PyObject *)self, b_message);
}

const struct tc_py_node_ops tc_py_task_ops = {
    .run = task_run,
    .future_done = task_future_done,
    .cancel_wait = task_cancel_wait,
};

/* ---- making ----------------------------------------------------------------------------- */

int tc_py_is_coroutine(struct tc_py_loop_state *state, PyObject *object)
{
    if (tc_likely(PyCoro_CheckExact(object))) {
        return 1;
    }
    return PyObject_IsInstance(object, state->coroutine_abc);
}

static void set_name(struct tc_py_task *task, PyObject *name)
{
    if (task->future.flags & TC_PY_TASK_NAMED) {
        Py_SETREF(task->name.object, name);
    } else {
        task->name.object = name;
        task->future.flags |= TC_PY_TASK_NAMED;
    }
}

/* The N of "Task-N". Threads that count in one place get in each other's way, so on a build without
 * the GIL a loop takes numbers in blocks. */
static uint64_t next_number(struct tc_py_loop *loop)
{
    if (loop->task_number == loop->task_number_end) {
        /* relaxed: only the number matters. */
        loop->task_number = tc_fetch_add_relaxed(&loop->state->task_names, TC_PY_TASK_NUMBERS);
        loop->task_number_end = loop->task_number + TC_PY_TASK_NUMBERS;
    }
    return ++loop->task_number;
}

/* The first step, now. Returns 0, or -1 with what the coroutine raised to end the loop's run. */
static int start_eagerly(struct tc_py_task *task)
{
    int result = tc_py_task_step(task);

    if (tc_py_future_is_done(&task->future)) {
        Py_CLEAR(task->coro); /* as in asyncio, get_coro() gives None then */
    }
    return result;
}

int tc_py_task_begin(struct tc_py_task *task, PyObject *b_coro, PyObject *b_name,
                     PyObject *b_context, bool eager)
{
    struct tc_py_loop *loop = task->future.loop;

    task->future.node.ops = &tc_py_task_ops;
    if (b_name == NULL || b_name == Py_None) {
        task->name.number = next_number(loop);
    } else {
        PyObject *name = PyObject_Str(b_name);

        if (name == NULL) {
            return -1;
        }
        set_name(task, name);
    }
    task->context =
        b_context == NULL || b_context == Py_None ? PyContext_CopyCurrent() : Py_NewRef(b_context);
    if (task->context == NULL) {
        return -1;
    }
    task->coro = Py_NewRef(b_coro);
    Py_INCREF(task);
    tc_list_push_back(&loop->tasks, &task->all);
    task->future.flags |= TC_PY_TASK_LISTED;
    if (tc_unlikely(eager) && tc_py_loop_running() == loop) {
        return start_eagerly(task);
    }
    tc_py_task_wake(task);
    return 0;
}

struct tc_py_task *tc_py_task_new(struct tc_py_loop *loop, PyTypeObject *type, PyObject *b_coro,
                                  PyObject *b_name, PyObject *b_context, bool eager)
{
    struct tc_py_task *task = (struct tc_py_task *)tc_py_future_new(loop, type, &tc_py_task_ops);

    if (task == NULL) {
        return NULL;
    }
    if (tc_py_task_begin(task, b_coro, b_name, b_context, eager) < 0) {
        Py_DECREF(task);
        return NULL;
    }
    return task;
}

struct tc_py_task *tc_py_task_new_idle(struct tc_py_loop *loop)
{
    struct tc_py_task *task =
        (struct tc_py_task *)tc_py_future_new(loop, loop->state->task_type, &tc_py_task_ops);

    if (task != NULL) {
        task->name.number = next_number(loop);
    }
    return task;
}

static PyObject *task_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                          PyObject *Py_UNUSED(kwargs))
{
    struct tc_py_task *task = (struct tc_py_task *)type->tp_alloc(type, 0);

    if (task != NULL) {
        task->future.node.ops = &tc_py_task_ops;
    }
    return (PyObject *)task;
}

static int task_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"coro", "loop", "name", "context", "eager_start", NULL};
    struct tc_py_task *task = task_of(self);
    PyObject *b_coro;
    PyObject *b_loop = NULL;
    PyObject *b_name = NULL;
    PyObject *b_context = NULL;
    int eager = 0;
    int is_coroutine;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OOOp:Task", names, &b_coro, &b_loop, &b_name,
                                     &b_context, &eager) ||
        tc_py_future_init(&task->future, b_loop, "Task()") < 0) {
        return -1;
    }
    is_coroutine = tc_py_is_coroutine(task->future.loop->state, b_coro);
    if (is_coroutine == 0) {
        PyErr_Format(PyExc_TypeError, "a coroutine was expected, got %R", b_coro);
    }
    if (is_coroutine <= 0) {
        return -1;
    }
    return tc_py_task_begin(task, b_coro, b_name, b_context, eager != 0);
}

/* ---- life ------------------------------------------------------------------------------- */

static int task_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct tc_py_task *task = task_of(self);

    Py_VISIT(task->coro);
    Py_VISIT(task->context);
    Py_VISIT(task->waiting);
    Py_VISIT(task->interrupt);
    if (task->future.flags & TC_PY_TASK_NAMED) {
        Py_VISIT(task->name.object);
    }
    return tc_py_future_traverse(self, visit, arg);
}

static int task_clear(PyObject *self)
{
    struct tc_py_task *task = task_of(self);

    if (task->waiting != NULL &&
        Py_TYPE(task->waiting)->tp_base == task->future.loop->state->operation_type) {
        tc_py_operation_clear((struct tc_py_operation *)task->waiting); /* O1 */
    }
    Py_CLEAR(task->waiting);
    Py_CLEAR(task->coro);
    Py_CLEAR(task->context);
    Py_CLEAR(task->interrupt);
    if (task->future.flags & TC_PY_TASK_NAMED) {
        task->future.flags &= ~(uint32_t)TC_PY_TASK_NAMED;
        Py_CLEAR(task->name.object);
    }
    return tc_py_future_clear(self);
}

/* Report a task that dies before its coroutine has ended: its loop was dropped, not closed. */
static void task_finalize(PyObject *self)
{
    struct tc_py_task *task = task_of(self);
    struct tc_py_future *future = &task->future;
    PyObject *pending;
    PyObject *message;

    if (tc_likely(tc_py_future_is_done(future)) || task->coro == NULL ||
        future->flags & TC_PY_TASK_QUIET) {
        tc_py_future_finalize(self);
        return;
    }
    pending = PyErr_GetRaisedException();
    future->flags |= TC_PY_TASK_QUIET;
    message = PyUnicode_FromString("Task was destroyed but it is pending!");
    if (message == NULL) {
        PyErr_WriteUnraisable(self);
    } else {
        tc_py_loop_report_later(future->loop, message, future->loop->state->str_task, self, NULL);
        Py_DECREF(message);
    }
    PyErr_SetRaisedException(pending);
}

static void task_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return; /* somebody holds it again */
    }
    PyObject_GC_UnTrack(self);
    if (task_of(self)->future.weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    (void)task_clear(self); /* cannot fail */
    Py_CLEAR(task_of(self)->future.loop);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- methods ---------------------------------------------------------------------------- */

#define SELF_OR_NULL(method) \
    (tc_py_future_check(&task_of(self)->future, "Task." method "()") < 0 ? NULL : task_of(self))

PyDoc_STRVAR(cancel_doc,
             "cancel($self, /, msg=None)\n--\n\n"
             "Ask the task to end: CancelledError(msg) is raised where it waits.\n\n"
             "Return False if it was done already. A coroutine may catch the error and\n"
             "go on; then call uncancel().");

static PyObject *task_cancel(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *names)
{
    static const char *const parameters[] = {"msg", NULL};
    static const struct tc_py_params params = {"cancel", parameters, 1};
    struct tc_py_task *task = SELF_OR_NULL("cancel");
    PyObject *b_message = NULL;
    int result;

    if (task == NULL || tc_py_bind(&params, args, nargs, names, &b_message) < 0) {
        return NULL;
    }
    result = tc_py_task_cancel(task, b_message);
    return result < 0 ? NULL : PyBool_FromLong(result);
}

PyDoc_STRVAR(cancelling_doc, "cancelling($self, /)\n--\n\n"
                             "Return how many cancel() calls no uncancel() has answered.");

/* The number that a method of a derived class returns, or -1 with an exception set. */
static long ask_count(struct tc_py_task *task, PyObject *b_method)
{
    PyObject *count = PyObject_CallMethodNoArgs((PyObject *)task, b_method);
    long result = count == NULL ? -1 : PyLong_AsLong(count);

    Py_XDECREF(count);
    return result;
}

long tc_py_task_cancelling(struct tc_py_task *task)
{
    struct tc_py_loop_state *state = task->future.loop->state;

    if (tc_likely(Py_IS_TYPE(task, state->task_type))) {
        return (long)task->future.cancels;
    }
    return ask_count(task, state->str_cancelling);
}

static PyObject *task_cancelling(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_task *task = SELF_OR_NULL("cancelling");

    return task == NULL ? NULL : PyLong_FromUnsignedLong(task->future.cancels);
}

PyDoc_STRVAR(uncancel_doc, "uncancel($self, /)\n--\n\n"
                           "Answer one cancel(); return how many are left.\n\n"
                           "At 0, a cancel that was not raised yet is withdrawn.");

static long uncancel(struct tc_py_task *task)
{
    if (task->future.cancels > 0 && --task->future.cancels == 0 &&
        task->future.flags & TC_PY_TASK_MUST_CANCEL) {
        task->future.flags &= ~(uint32_t)(TC_PY_TASK_MUST_CANCEL | TC_PY_TASK_DEFERRED);
        Py_CLEAR(task->interrupt);
    }
    return (long)task->future.cancels;
}

long tc_py_task_uncancel(struct tc_py_task *task)
{
    struct tc_py_loop_state *state = task->future.loop->state;

    if (tc_likely(Py_IS_TYPE(task, state->task_type))) {
        return uncancel(task);
    }
    return ask_count(task, state->str_uncancel);
}

static PyObject *task_uncancel(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_task *task = SELF_OR_NULL("uncancel");

    return task == NULL ? NULL : PyLong_FromLong(uncancel(task));
}

PyDoc_STRVAR(get_name_doc, "get_name($self, /)\n--\n\nReturn the name of the task.");

static PyObject *task_get_name(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_task *task = SELF_OR_NULL("get_name");

    if (task == NULL) {
        return NULL;
    }
    if (!(task->future.flags & TC_PY_TASK_NAMED)) {
        PyObject *name = PyUnicode_FromFormat("Task-%llu", (unsigned long long)task->name.number);

        if (name == NULL) {
            return NULL;
        }
        set_name(task, name);
    }
    return Py_NewRef(task->name.object);
}

PyDoc_STRVAR(set_name_doc, "set_name($self, value, /)\n--\n\nName the task str(value).");

static PyObject *task_set_name(PyObject *self, PyObject *b_value)
{
    PyObject *name;

    if (SELF_OR_NULL("set_name") == NULL) {
        return NULL;
    }
    name = PyObject_Str(b_value);
    if (name == NULL) {
        return NULL;
    }
    set_name(task_of(self), name);
    Py_RETURN_NONE;
}

static PyObject *get_coro(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *b_coro = task_of(self)->coro;

    return Py_NewRef(b_coro == NULL ? Py_None : b_coro);
}

PyDoc_STRVAR(get_coro_doc, "get_coro($self, /)\n--\n\nReturn the coroutine.");

static PyObject *task_get_coro(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return get_coro(self, NULL);
}

PyDoc_STRVAR(get_context_doc, "get_context($self, /)\n--\n\n"
                              "Return the contextvars.Context in which the coroutine runs.");

static PyObject *task_get_context(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *b_context = task_of(self)->context;

    return Py_NewRef(b_context == NULL ? Py_None : b_context);
}

PyDoc_STRVAR(get_stack_doc, "get_stack($self, /, *, limit=None)\n--\n\n"
                            "Return the frames of the coroutine, or of its exception.");

static PyObject *task_get_stack(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *names)
{
    static const char *const parameters[] = {"limit", NULL};
    static const struct tc_py_params params = {"get_stack", parameters, 0};
    PyObject *b_limit = NULL;

    if (SELF_OR_NULL("get_stack") == NULL ||
        tc_py_bind(&params, args, nargs, names, &b_limit) < 0) {
        return NULL;
    }
    return PyObject_CallFunctionObjArgs(task_of(self)->future.loop->state->task_get_stack, self,
                                        b_limit == NULL ? Py_None : b_limit, NULL);
}

PyDoc_STRVAR(print_stack_doc, "print_stack($self, /, *, limit=None, file=None)\n--\n\n"
                              "Print what get_stack() returns as a traceback.");

static PyObject *task_print_stack(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *names)
{
    static const char *const parameters[] = {"limit", "file", NULL};
    static const struct tc_py_params params = {"print_stack", parameters, 0};
    PyObject *b_values[2];

    if (SELF_OR_NULL("print_stack") == NULL ||
        tc_py_bind(&params, args, nargs, names, b_values) < 0) {
        return NULL;
    }
    return PyObject_CallFunctionObjArgs(task_of(self)->future.loop->state->task_print_stack, self,
                                        b_values[0] == NULL ? Py_None : b_values[0],
                                        b_values[1] == NULL ? Py_None : b_values[1], NULL);
}

PyDoc_STRVAR(set_result_doc, "set_result($self, result, /)\n--\n\n"
                             "Raise RuntimeError: only the coroutine gives a task its result.");

static PyObject *task_set_result(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(b_result))
{
    PyErr_SetString(PyExc_RuntimeError, "Task does not support set_result operation");
    return NULL;
}

PyDoc_STRVAR(set_exception_doc, "set_exception($self, exception, /)\n--\n\n"
                                "Raise RuntimeError: only the coroutine ends a task.");

static PyObject *task_set_exception(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(b_exception))
{
    PyErr_SetString(PyExc_RuntimeError, "Task does not support set_exception operation");
    return NULL;
}

/* ---- attributes that asyncio looks at ------------------------------------------------------ */

static PyObject *get_waiting(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *b_waiting = task_of(self)->waiting;

    return Py_NewRef(b_waiting == NULL ? Py_None : b_waiting);
}

static PyObject *get_must_cancel(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(task_of(self)->future.flags & TC_PY_TASK_MUST_CANCEL);
}

static PyObject *get_quiet(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(!(task_of(self)->future.flags & TC_PY_TASK_QUIET));
}

static int set_quiet(PyObject *self, PyObject *b_value, void *Py_UNUSED(closure))
{
    int truth;

    if (b_value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
        return -1;
    }
    truth = PyObject_IsTrue(b_value);
    if (truth < 0) {
        return -1;
    }
    task_of(self)->future.flags &= ~(uint32_t)TC_PY_TASK_QUIET;
    task_of(self)->future.flags |= truth ? 0 : TC_PY_TASK_QUIET;
    return 0;
}

static PyObject *task_repr(PyObject *self)
{
    struct tc_py_loop *b_loop = task_of(self)->future.loop;

    return tc_py_future_repr_by(self, b_loop == NULL ? NULL : b_loop->state->task_repr);
}

/* ---- the type --------------------------------------------------------------------------- */

PyDoc_STRVAR(task_doc,
             "Task(coro, *, loop=None, name=None, context=None, eager_start=False)\n--\n\n"
             "A coroutine that a loop runs; asyncio.Task's interface.\n\n"
             "Make one with create_task(). Live tasks are kept by their loop.\n"
             "Thread-safety: methods raise RuntimeError on other threads than the\n"
             "loop's; use loop.call_soon_threadsafe.");

static PyMethodDef task_methods[] = {
    {"cancel", TC_PY_KEYWORD_FUNCTION(task_cancel), METH_FASTCALL | METH_KEYWORDS, cancel_doc},
    {"cancelling", task_cancelling, METH_NOARGS, cancelling_doc},
    {"uncancel", task_uncancel, METH_NOARGS, uncancel_doc},
    {"get_name", task_get_name, METH_NOARGS, get_name_doc},
    {"set_name", task_set_name, METH_O, set_name_doc},
    {"get_coro", task_get_coro, METH_NOARGS, get_coro_doc},
    {"get_context", task_get_context, METH_NOARGS, get_context_doc},
    {"get_stack", TC_PY_KEYWORD_FUNCTION(task_get_stack), METH_FASTCALL | METH_KEYWORDS,
     get_stack_doc},
    {"print_stack", TC_PY_KEYWORD_FUNCTION(task_print_stack), METH_FASTCALL | METH_KEYWORDS,
     print_stack_doc},
    {"set_result", task_set_result, METH_O, set_result_doc},
    {"set_exception", task_set_exception, METH_O, set_exception_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef task_attributes[] = {
    {"_coro", get_coro, NULL, NULL, NULL},
    {"_fut_waiter", get_waiting, NULL, NULL, NULL},
    {"_must_cancel", get_must_cancel, NULL, NULL, NULL},
    {"_log_destroy_pending", get_quiet, set_quiet, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot task_slots[] = {
    {Py_tp_doc, (void *)task_doc},
    {Py_tp_new, task_new},
    {Py_tp_init, task_init},
    {Py_tp_dealloc, task_dealloc},
    {Py_tp_finalize, task_finalize},
    {Py_tp_traverse, task_traverse},
    {Py_tp_clear, task_clear},
    {Py_tp_repr, task_repr},
    {Py_tp_methods, task_methods},
    {Py_tp_getset, task_attributes},
    {Py_tp_iter, tc_py_future_iterate},
    {Py_tp_iternext, tc_py_future_iternext},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, tc_py_future_send},
    {0, NULL},
};

static PyType_Spec task_spec = {
    .name = "tinycoro.Task",
    .basicsize = sizeof(struct tc_py_task),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = task_slots,
};

int tc_py_add_task_type(PyObject *module, struct tc_py_loop_state *state)
{
    return tc_py_add_type(module, &task_spec, state->future_type, &state->task_type);
}
