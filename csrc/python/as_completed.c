/* as_completed(): futures in the order in which they end, as an iterator of either kind.
 *
 * Ended futures stand in a queue; whoever wants the next one waits for it as asyncio's Queue.get()
 * does: woken in order, and waiting again if somebody was faster. */
#include "python/args.h"
#include "python/handle.h"
#include "python/task.h"
#include "python/watch.h"

struct tc_py_as_completed {
    PyObject_HEAD struct tc_py_loop *loop; /* owned                                             */
    PyObject *todo;          /* owned; the set of futures whose callback has not run            */
    PyObject *ended;         /* owned; a list of futures, None for each that the timeout ended  */
    Py_ssize_t taken;        /* entries at the front of `ended` that have been taken            */
    Py_ssize_t left;         /* how many more may be asked for                                  */
    struct tc_list waiters;  /* of struct next_operation, SUSPENDED and not told yet            */
    PyObject *timer;         /* owned; a TimerHandle, or NULL                                   */
};

struct next_operation {
    struct tc_py_operation op;
    struct tc_list link;               /* in iterator->waiters, or unlinked                     */
    struct tc_py_as_completed *source; /* owned                                                 */
    bool gives_result;                 /* of the future, which plain iteration wants            */
    bool is_past_end;                  /* raises StopAsyncIteration                             */
};

static struct tc_py_as_completed *source_of(void *self)
{
    return self;
}

static struct next_operation *next_of(void *self)
{
    return self;
}

/* ---- the queue ---------------------------------------------------------------------------- */

static bool has_ended(struct tc_py_as_completed *self)
{
    return self->taken < PyList_GET_SIZE(self->ended);
}

static void wake_next(struct tc_py_as_completed *self)
{
    struct tc_list *at = tc_list_pop_front(&self->waiters);

    if (at != NULL) {
        tc_py_operation_wake(&tc_container_of(at, struct next_operation, link)->op);
    }
}

/* Returns 0, or -1 with MemoryError set. */
static int put(struct tc_py_as_completed *self, PyObject *b_entry)
{
    if (PyList_Append(self->ended, b_entry) < 0) {
        return -1;
    }
    wake_next(self);
    return 0;
}

/* A future's turn. */
static PyObject *handle_completion(PyObject *object, PyObject *b_future)
{
    struct tc_py_as_completed *self = source_of(object);
    int found = PySet_Discard(self->todo, b_future);

    if (found < 0 || (found > 0 && put(self, b_future) < 0)) {
        return NULL;
    }
    if (self->timer != NULL && PySet_GET_SIZE(self->todo) == 0) {
        PyObject *timer = self->timer;
        PyObject *result;

        self->timer = NULL;
        result = PyObject_CallMethodNoArgs(timer, self->loop->state->str_cancel);
        Py_DECREF(timer);
        return result;
    }
    Py_RETURN_NONE;
}

static PyMethodDef completion_def = {"_handle_completion", handle_completion, METH_O, NULL};

/* b_future.method(our callback). Returns 0, or -1 with an exception set. */
static int call_with_callback(struct tc_py_as_completed *self, PyObject *b_future,
                              PyObject *b_method)
{
    PyObject *callback = PyCFunction_New(&completion_def, (PyObject *)self);
    PyObject *result = NULL;

    if (callback != NULL) {
        result = PyObject_CallMethodOneArg(b_future, b_method, callback);
        Py_DECREF(callback);
    }
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Time is up: as many TimeoutErrors as there are futures left. */
static PyObject *handle_timeout(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_as_completed *self = source_of(object);
    PyObject *todo = PySequence_List(self->todo);
    int result = todo == NULL ? -1 : 0;

    Py_CLEAR(self->timer);
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(todo); i++) {
        result = call_with_callback(self, PyList_GET_ITEM(todo, i),
                                    self->loop->state->str_remove_done_callback);
        if (result == 0) {
            result = put(self, Py_None);
        }
    }
    Py_XDECREF(todo);
    if (result < 0 || PySet_Clear(self->todo) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef timeout_def = {"_handle_timeout", handle_timeout, METH_NOARGS, NULL};

/* ---- one step of the iteration ------------------------------------------------------------- */

/* What stands first. Returns DONE or ERROR. */
static enum tc_py_outcome take(struct next_operation *self, PyObject **value)
{
    struct tc_py_as_completed *source = self->source;
    PyObject *entry = PyList_GET_ITEM(source->ended, source->taken);

    PyList_SET_ITEM(source->ended, source->taken, Py_NewRef(Py_None));
    source->taken++;
    if (entry == Py_None) {
        Py_DECREF(entry);
        PyErr_SetNone(PyExc_TimeoutError);
        return TC_PY_ERROR;
    }
    if (!self->gives_result) {
        *value = entry;
        return TC_PY_DONE;
    }
    if (tc_likely(tc_py_is_native(source->loop->state, entry))) {
        *value = tc_py_future_result((struct tc_py_future *)entry);
    } else {
        *value = PyObject_CallMethodNoArgs(entry, source->loop->state->str_result);
    }
    Py_DECREF(entry);
    return *value == NULL ? TC_PY_ERROR : TC_PY_DONE;
}

static enum tc_py_outcome next_start(struct tc_py_operation *op, PyObject **value)
{
    struct next_operation *self = next_of(op);

    if (self->is_past_end) {
        PyErr_SetNone(PyExc_StopAsyncIteration);
        return TC_PY_ERROR;
    }
    if (op->task->future.loop != self->source->loop) {
        PyErr_Format(PyExc_RuntimeError, "%R is bound to a different event loop", self->source);
        return TC_PY_ERROR;
    }
    if (has_ended(self->source)) {
        return take(self, value);
    }
    tc_list_push_back(&self->source->waiters, &self->link);
    return TC_PY_SUSPEND;
}

static bool next_withdraw(struct tc_py_operation *op)
{
    tc_list_remove(&next_of(op)->link); /* harmless if it was woken */
    return true;
}

/* It was woken, and will not take what it was woken for: somebody else shall. */
static void next_give_back(struct tc_py_operation *op)
{
    if (has_ended(next_of(op)->source)) {
        wake_next(next_of(op)->source);
    }
}

static const struct tc_py_operation_ops next_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "as_completed",
    .delivery_wins = false,
    .start = next_start,
    .finish = next_start, /* waits again, at the end, if somebody was faster */
    .withdraw = next_withdraw,
    .give_back = next_give_back,
    .cancelled = NULL,
};

static PyObject *next_make(struct tc_py_as_completed *source, bool gives_result)
{
    PyTypeObject *type = source->loop->state->as_completed_next_type;
    struct next_operation *self = next_of(type->tp_alloc(type, 0));

    if (self == NULL) {
        return NULL;
    }
    tc_py_operation_init(&self->op, &next_ops);
    tc_list_init(&self->link);
    self->source = (struct tc_py_as_completed *)Py_NewRef(source);
    self->gives_result = gives_result;
    self->is_past_end = source->left == 0;
    source->left -= !self->is_past_end;
    return (PyObject *)self;
}

static int next_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(next_of(object)->source);
    Py_VISIT(next_of(object)->op.message);
    return 0;
}

static int next_clear(PyObject *object)
{
    tc_py_operation_clear(&next_of(object)->op);
    Py_CLEAR(next_of(object)->source);
    return 0;
}

static PyType_Slot next_slots[] = {
    {Py_tp_dealloc, tc_py_operation_dealloc},
    {Py_tp_finalize, tc_py_operation_finalize},
    {Py_tp_traverse, next_traverse},
    {Py_tp_clear, next_clear},
    {0, NULL},
};

static PyType_Spec next_spec = {
    .name = "tinycoro._AsCompletedNext",
    .basicsize = sizeof(struct next_operation),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = next_slots,
};

/* ---- the iterator ------------------------------------------------------------------------- */

static PyObject *iterator_next(PyObject *self)
{
    return source_of(self)->left == 0 ? NULL : next_make(source_of(self), true);
}

static PyObject *iterator_anext(PyObject *self)
{
    return next_make(source_of(self), false);
}

static int iterator_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct tc_py_as_completed *self = source_of(object);

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->loop);
    Py_VISIT(self->todo);
    Py_VISIT(self->ended);
    Py_VISIT(self->timer);
    return 0;
}

/* The loop and the queue stay until the end: methods of a cleared object still look at them. */
static int iterator_clear(PyObject *object)
{
    struct tc_py_as_completed *self = source_of(object);

    if (self->todo != NULL) {
        (void)PySet_Clear(self->todo); /* it is a set: cannot fail */
    }
    self->left = 0;
    Py_CLEAR(self->timer);
    return 0;
}

static void iterator_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    struct tc_py_as_completed *self = source_of(object);

    PyObject_GC_UnTrack(object);
    Py_CLEAR(self->timer);
    Py_CLEAR(self->todo);
    Py_CLEAR(self->ended);
    Py_CLEAR(self->loop);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyType_Slot iterator_slots[] = {
    {Py_tp_dealloc, iterator_dealloc}, {Py_tp_traverse, iterator_traverse},
    {Py_tp_clear, iterator_clear},     {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iterator_next},   {Py_am_aiter, PyObject_SelfIter},
    {Py_am_anext, iterator_anext},     {0, NULL},
};

static PyType_Spec iterator_spec = {
    .name = "tinycoro._AsCompletedIterator",
    .basicsize = sizeof(struct tc_py_as_completed),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = iterator_slots,
};

/* ---- the function ------------------------------------------------------------------------ */

/* Fill self->todo with the futures of a set of awaitables. Returns 0, or -1 with an exception. */
static int take_awaitables(struct tc_py_as_completed *self, PyObject *b_awaitables)
{
    PyObject *set = PySet_New(b_awaitables);
    PyObject *list = set == NULL ? NULL : PySequence_List(set);
    int result = list == NULL ? -1 : 0;

    Py_XDECREF(set);
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(list); i++) {
        PyObject *future = tc_py_ensure_future(self->loop, PyList_GET_ITEM(list, i));

        result = future == NULL ? -1 : PySet_Add(self->todo, future);
        Py_XDECREF(future);
    }
    Py_XDECREF(list);
    return result;
}

/* Returns 0, or -1 with an exception set. */
static int watch_all(struct tc_py_as_completed *self)
{
    PyObject *list = PySequence_List(self->todo);
    int result = list == NULL ? -1 : 0;

    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(list); i++) {
        result = call_with_callback(self, PyList_GET_ITEM(list, i),
                                    self->loop->state->str_add_done_callback);
    }
    Py_XDECREF(list);
    return result;
}

/* Returns 0, or -1 with an exception set. */
static int start_timer(struct tc_py_as_completed *self, PyObject *b_timeout)
{
    PyObject *callback;

    if (b_timeout == NULL || b_timeout == Py_None || PySet_GET_SIZE(self->todo) == 0) {
        return 0;
    }
    callback = PyCFunction_New(&timeout_def, (PyObject *)self);
    if (callback != NULL) {
        self->timer =
            PyObject_CallMethod((PyObject *)self->loop, "call_later", "OO", b_timeout, callback);
        Py_DECREF(callback);
    }
    return self->timer == NULL ? -1 : 0;
}

static PyObject *make(struct tc_py_loop *loop, PyObject *b_awaitables, PyObject *b_timeout)
{
    PyTypeObject *type = loop->state->as_completed_type;
    struct tc_py_as_completed *self = source_of(type->tp_alloc(type, 0));

    if (self == NULL) {
        return NULL;
    }
    tc_list_init(&self->waiters);
    self->loop = (struct tc_py_loop *)Py_NewRef(loop);
    self->todo = PySet_New(NULL);
    self->ended = PyList_New(0);
    if (self->todo == NULL || self->ended == NULL || take_awaitables(self, b_awaitables) < 0 ||
        watch_all(self) < 0 || start_timer(self, b_timeout) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->left = PySet_GET_SIZE(self->todo);
    return (PyObject *)self;
}

PyDoc_STRVAR(
    as_completed_doc,
    "as_completed($module, /, fs, *, timeout=None)\n--\n\n"
    "Run awaitables concurrently; iterate over them in the order in which they end.\n\n"
    "`async for` gives the futures, given or made; a plain `for` gives coroutines, each of\n"
    "which returns or raises the result of the next one. After `timeout` seconds those that\n"
    "are left raise TimeoutError; nothing is cancelled.");

static PyObject *as_completed_function(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                       PyObject *names)
{
    static const char *const parameters[] = {"fs", "timeout", NULL};
    static const struct tc_py_params params = {"as_completed", parameters, 1};
    struct tc_py_loop_state *state = tc_py_loop_state_of(module);
    PyObject *b_values[2];
    PyAsyncMethods *methods;
    struct tc_py_loop *loop;
    int is_awaitable;

    if (tc_py_bind(&params, args, nargs, names, b_values) < 0) {
        return NULL;
    }
    if (b_values[0] == NULL) {
        return PyErr_Format(PyExc_TypeError, "as_completed() needs awaitables");
    }
    methods = Py_TYPE(b_values[0])->tp_as_async;
    is_awaitable =
        methods != NULL && methods->am_await != NULL ? 1 : tc_py_is_coroutine(state, b_values[0]);
    if (is_awaitable > 0) {
        PyErr_Format(PyExc_TypeError, "expects an iterable of awaitables, not %s",
                     _PyType_Name(Py_TYPE(b_values[0])));
    }
    loop = is_awaitable != 0 ? NULL : tc_py_future_loop_argument(NULL);
    return loop == NULL || tc_py_loop_check(loop, "as_completed()") < 0
               ? NULL
               : make(loop, b_values[0], b_values[1]);
}

static PyMethodDef as_completed_functions[] = {
    {"as_completed", TC_PY_KEYWORD_FUNCTION(as_completed_function), METH_FASTCALL | METH_KEYWORDS,
     as_completed_doc},
    {NULL, NULL, 0, NULL},
};

int tc_py_add_as_completed(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_type(module, &iterator_spec, NULL, &state->as_completed_type) < 0 ||
        tc_py_add_type(module, &next_spec, state->operation_type, &state->as_completed_next_type) <
            0 ||
        tc_py_register_coroutine(state, state->as_completed_next_type) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, as_completed_functions);
}
