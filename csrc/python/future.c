/* The core of futures: ending, callbacks, results, await. The Python methods are in
 * future_type.c. */
#include "python/future.h"

#include "python/debug.h"
#include "python/handle.h"
#include "python/task.h"

/* ---- making ----------------------------------------------------------------------------- */

struct tc_py_loop *tc_py_future_loop_argument(PyObject *b_loop)
{
    struct tc_py_loop *running;

    running = tc_py_loop_running();
    if (b_loop == NULL || b_loop == Py_None) {
        return running != NULL ? running : tc_py_loop_current();
    }
    if (running != NULL && b_loop == (PyObject *)running) {
        return running;
    }
    return tc_py_loop_cast(b_loop);
}

/* Remember where it was made. Returns 0, or -1 with an exception set. */
static int trace(struct tc_py_future *future)
{
    if (tc_py_debug_trace(future->loop->state, (PyObject *)future) < 0) {
        return -1;
    }
    future->flags |= TC_PY_FUTURE_TRACED;
    return 0;
}

int tc_py_future_init(struct tc_py_future *future, PyObject *b_loop, const char *what)
{
    struct tc_py_loop *loop = tc_py_future_loop_argument(b_loop);

    if (loop == NULL || tc_py_loop_check(loop, what) < 0) {
        return -1;
    }
    if (future->loop != NULL) {
        PyErr_Format(PyExc_RuntimeError, "%s: __init__() was called before", what);
        return -1;
    }
    future->loop = (struct tc_py_loop *)Py_NewRef(loop);
    return tc_unlikely(loop->is_debug) ? trace(future) : 0;
}

int tc_py_future_refuse(struct tc_py_future *future)
{
    (void)future;
    PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
    return -1;
}

struct tc_py_future *tc_py_future_new(struct tc_py_loop *loop, PyTypeObject *type,
                                      const struct tc_py_node_ops *ops)
{
    struct tc_py_future *future = (struct tc_py_future *)type->tp_alloc(type, 0);

    if (future == NULL) {
        return NULL;
    }
    future->node.ops = ops;
    future->loop = (struct tc_py_loop *)Py_NewRef(loop);
    if (tc_unlikely(loop->is_debug) && trace(future) < 0) {
        Py_DECREF(future);
        return NULL;
    }
    return future;
}

bool tc_py_is_future(const struct tc_py_loop_state *state, PyObject *object)
{
    return tc_py_is_native(state, object) || PyType_IsSubtype(Py_TYPE(object), state->future_type);
}

/* ---- callbacks -------------------------------------------------------------------------- */

static int callbacks_append(struct tc_py_future *future, PyObject *b_entry)
{
    PyObject *list;

    if (future->callbacks == NULL) {
        future->callbacks = Py_NewRef(b_entry);
        return 0;
    }
    if (PyList_CheckExact(future->callbacks)) {
        return PyList_Append(future->callbacks, b_entry);
    }
    list = PyList_New(2);
    if (list == NULL) {
        return -1;
    }
    PyList_SET_ITEM(list, 0, future->callbacks);
    PyList_SET_ITEM(list, 1, Py_NewRef(b_entry));
    future->callbacks = list;
    return 0;
}

int tc_py_future_add_node(struct tc_py_future *future, struct tc_py_node *node)
{
    return callbacks_append(future, (PyObject *)node);
}

int tc_py_future_add_callback(struct tc_py_future *future, PyObject *b_callable,
                              PyObject *b_context)
{
    struct tc_py_handle *handle = tc_py_handle_new_later(future->loop, b_callable, b_context);
    int result;

    if (handle == NULL) {
        return -1;
    }
    result = callbacks_append(future, (PyObject *)handle);
    Py_DECREF(handle);
    return result;
}

/* True if an entry of the callbacks is an add_done_callback. */
static bool is_callback(const struct tc_py_future *future, PyObject *b_entry)
{
    return Py_IS_TYPE(b_entry, future->loop->state->handle_type) &&
           ((struct tc_py_handle *)b_entry)->callback != NULL; /* the collector may clear it */
}

/* True if it is add_done_callback(b_callable). -1 with an exception. */
static int entry_calls(const struct tc_py_future *future, PyObject *b_entry, PyObject *b_callable)
{
    PyObject *callback;
    int result;

    if (!is_callback(future, b_entry)) {
        return 0;
    }
    callback = Py_NewRef(((struct tc_py_handle *)b_entry)->callback);
    result = PyObject_RichCompareBool(callback, b_callable, Py_EQ);
    Py_DECREF(callback);
    return result;
}

/* A list of the entries of the callbacks, or NULL. */
static PyObject *entries(const struct tc_py_future *future)
{
    PyObject *b_callbacks = future->callbacks;

    if (b_callbacks == NULL || tc_py_future_is_done(future)) { /* FU1 */
        return PyList_New(0);
    }
    return PyList_CheckExact(b_callbacks) ? PySequence_List(b_callbacks)
                                          : Py_BuildValue("[O]", b_callbacks);
}

Py_ssize_t tc_py_future_remove_callback(struct tc_py_future *future, PyObject *b_callable)
{
    PyObject *old = entries(future);
    PyObject *kept = old == NULL ? NULL : PyList_New(0);
    Py_ssize_t count = 0;

    for (Py_ssize_t i = 0; kept != NULL && i < PyList_GET_SIZE(old); i++) {
        PyObject *b_entry = PyList_GET_ITEM(old, i);
        int equal = entry_calls(future, b_entry, b_callable);

        if (equal > 0) {
            count++;
        } else if (equal < 0 || PyList_Append(kept, b_entry) < 0) {
            Py_CLEAR(kept);
        }
    }
    Py_XDECREF(old);
    if (kept == NULL) {
        return -1;
    }
    if (count > 0 && !tc_py_future_is_done(future)) { /* __eq__ may have ended the future */
        Py_SETREF(future->callbacks, kept);
    } else {
        Py_DECREF(kept);
    }
    return count;
}

PyObject *tc_py_future_list_callbacks(struct tc_py_future *future)
{
    PyObject *all = entries(future);
    PyObject *list = all == NULL ? NULL : PyList_New(0);

    for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(all); i++) {
        struct tc_py_handle *b_handle = (struct tc_py_handle *)PyList_GET_ITEM(all, i);
        PyObject *pair;

        if (!is_callback(future, (PyObject *)b_handle)) {
            continue;
        }
        pair = PyTuple_Pack(2, b_handle->callback, b_handle->context);
        if (pair == NULL || PyList_Append(list, pair) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(pair);
    }
    Py_XDECREF(all);
    return list;
}

void tc_py_future_remove_node(struct tc_py_future *future, struct tc_py_node *node)
{
    PyObject *callbacks = future->callbacks;

    if (tc_py_future_is_done(future)) {
        return; /* FU1 */
    }
    if (callbacks == (PyObject *)node) {
        future->callbacks = NULL;
        Py_DECREF(node);
        return;
    }
    if (callbacks == NULL || !PyList_CheckExact(callbacks)) {
        return;
    }
    for (Py_ssize_t i = PyList_GET_SIZE(callbacks) - 1; i >= 0; i--) {
        if (PyList_GET_ITEM(callbacks, i) == (PyObject *)node &&
            PySequence_DelItem(callbacks, i) < 0) {
            PyErr_WriteUnraisable((PyObject *)future); /* only without memory */
        }
    }
}

/* Tell one entry of the callbacks. */
static void notify(struct tc_py_future *future, PyObject *b_entry)
{
    struct tc_py_node *node = (struct tc_py_node *)b_entry;

    node->ops->future_done(node, future);
}

void tc_py_future_end(struct tc_py_future *future, uint32_t kind, PyObject *result)
{
    PyObject *callbacks = future->callbacks;

    future->flags |= kind;
    Py_XSETREF(future->result, result);
    future->callbacks =
        kind & TC_PY_FUTURE_FAILED ? PyException_GetTraceback(result) : NULL; /* FU1 */
    if (callbacks == NULL) {
        return;
    }
    if (PyList_CheckExact(callbacks)) {
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(callbacks); i++) {
            notify(future, PyList_GET_ITEM(callbacks, i));
        }
    } else {
        notify(future, callbacks);
    }
    Py_DECREF(callbacks);
}

/* ---- results ---------------------------------------------------------------------------- */

PyObject *tc_py_future_cancelled_error(struct tc_py_future *future)
{
    PyObject *type = future->loop->state->cancelled_error;
    PyObject *message = future->result;

    if (message == NULL || message == Py_None) {
        return PyObject_CallNoArgs(type);
    }
    if (PyObject_TypeCheck(message, (PyTypeObject *)type)) {
        return Py_NewRef(message);
    }
    return PyObject_CallOneArg(type, message);
}

PyObject *tc_py_future_seen_exception(struct tc_py_future *future)
{
    future->flags &= ~(uint32_t)TC_PY_FUTURE_LOG;
    return future->flags & TC_PY_FUTURE_FAILED ? future->result : NULL;
}

PyObject *tc_py_future_result(struct tc_py_future *future)
{
    PyObject *error;

    if (tc_likely(future->flags & TC_PY_FUTURE_FINISHED)) {
        return Py_NewRef(future->result);
    }
    if (future->flags & TC_PY_FUTURE_CANCELLED) {
        error = tc_py_future_cancelled_error(future);
    } else {
        future->flags &= ~(uint32_t)TC_PY_FUTURE_LOG;
        error = Py_NewRef(future->result);
        (void)PyException_SetTraceback(error,
                                       future->callbacks == NULL ? Py_None : future->callbacks);
    }
    if (error != NULL) {
        /* With the exception that is being handled as its context, as a raise statement does. */
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
    return NULL;
}

/* ---- await ------------------------------------------------------------------------------ */

/* True unless the class of `future` overrides add_done_callback(). */
static bool takes_nodes(struct tc_py_future *future)
{
    struct tc_py_loop_state *state = future->loop->state;
    PyObject *theirs;
    PyObject *ours;
    bool result;

    if (tc_likely(tc_py_is_native(state, (PyObject *)future))) {
        return true;
    }
    theirs = PyObject_GetAttr((PyObject *)Py_TYPE(future), state->str_add_done_callback);
    ours = PyObject_GetAttr((PyObject *)state->future_type, state->str_add_done_callback);
    if (theirs == NULL || ours == NULL) {
        PyErr_Clear(); /* the protocol of asyncio meets the error again */
    }
    result = theirs != NULL && theirs == ours;
    Py_XDECREF(theirs);
    Py_XDECREF(ours);
    return result;
}

/* Suspend the running task until `future` is done. Returns what the coroutine yields. */
static PyObject *suspend_in(struct tc_py_future *future)
{
    struct tc_py_task *task = tc_py_task_running();
    PyObject *yielded;

    if (tc_unlikely(future->loop == NULL)) {
        (void)tc_py_future_refuse(future);
        return NULL;
    }
    if (tc_unlikely(task == NULL || !takes_nodes(future))) {
        /* Somebody else's driver, such as asyncio.Task, or somebody else's callbacks: the protocol
         * of asyncio. */
        if (future->flags & TC_PY_FUTURE_BLOCKING) {
            return PyErr_Format(PyExc_RuntimeError, "await wasn't used with future");
        }
        future->flags |= TC_PY_FUTURE_BLOCKING;
        return Py_NewRef(future);
    }
    if (tc_unlikely(task->future.loop != future->loop)) {
        return PyErr_Format(PyExc_RuntimeError,
                            "Task %R got Future %R attached to a different loop", task, future);
    }
    if (tc_unlikely(&task->future == future)) {
        return PyErr_Format(PyExc_RuntimeError, "Task cannot await on itself: %R", task);
    }
    yielded = tc_py_task_wait(task, (PyObject *)future);
    if (tc_py_future_add_node(future, &task->future.node) < 0) {
        Py_CLEAR(task->waiting);
        Py_CLEAR(yielded);
    }
    return yielded;
}

PyObject *tc_py_future_iternext(PyObject *self)
{
    struct tc_py_future *future = (struct tc_py_future *)self;
    PyObject *result;

    if (!tc_py_future_is_done(future)) {
        return suspend_in(future);
    }
    result = tc_py_future_result(future);
    return result == NULL ? NULL : tc_py_stop(future->loop, result);
}

PySendResult tc_py_future_send(PyObject *self, PyObject *b_value, PyObject **result)
{
    struct tc_py_future *future = (struct tc_py_future *)self;

    (void)b_value; /* a task sends None; what anybody else sends has no meaning */
    if (!tc_py_future_is_done(future)) {
        *result = suspend_in(future);
        return *result == NULL ? PYGEN_ERROR : PYGEN_NEXT;
    }
    *result = tc_py_future_result(future);
    return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

/* ---- cancelling ------------------------------------------------------------------------- */

int tc_py_future_cancel(struct tc_py_future *future, PyObject *b_message)
{
    future->flags &= ~(uint32_t)TC_PY_FUTURE_LOG;
    if (tc_py_future_is_done(future)) {
        return 0;
    }
    tc_py_future_end(future, TC_PY_FUTURE_CANCELLED, Py_XNewRef(b_message));
    return 1;
}

PyObject *tc_py_future_get_message(PyObject *self, void *Py_UNUSED(closure))
{
    struct tc_py_future *future = (struct tc_py_future *)self;
    PyObject *b_message = future->flags & TC_PY_FUTURE_CANCELLED ? future->result : NULL;

    if (future->flags & TC_PY_TASK_MUST_CANCEL) {
        b_message = ((struct tc_py_task *)future)->interrupt;
    }
    if (b_message != NULL && PyExceptionInstance_Check(b_message)) {
        PyObject *args = PyObject_GetAttrString(b_message, "args");
        PyObject *first;

        if (args == NULL) {
            return NULL;
        }
        first = Py_NewRef(PyTuple_GET_SIZE(args) > 0 ? PyTuple_GET_ITEM(args, 0) : Py_None);
        Py_DECREF(args);
        return first;
    }
    return Py_NewRef(b_message == NULL ? Py_None : b_message);
}

int tc_py_future_set_message(PyObject *self, PyObject *b_value, void *Py_UNUSED(closure))
{
    struct tc_py_future *future = (struct tc_py_future *)self;

    if (b_value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
        return -1;
    }
    if (future->flags & TC_PY_TASK_MUST_CANCEL) {
        Py_XSETREF(((struct tc_py_task *)future)->interrupt, Py_NewRef(b_value));
    } else if (future->flags & TC_PY_FUTURE_CANCELLED) {
        Py_XSETREF(future->result, Py_NewRef(b_value));
    }
    return 0;
}

static int future_cancel_wait(struct tc_py_node *self, struct tc_py_task *b_task,
                              PyObject *b_message)
{
    struct tc_py_future *future = (struct tc_py_future *)self;

    return tc_py_cancel_object(b_task->future.loop->state, (PyObject *)future, b_message);
}

/* A plain future never stands in the ready queue. */
static int future_run(struct tc_py_node *self, struct tc_py_loop *loop)
{
    (void)self;
    (void)loop;
    return 0;
}

const struct tc_py_node_ops tc_py_future_ops = {
    .run = future_run,
    .future_done = NULL,
    .cancel_wait = future_cancel_wait,
};

/* Call object.cancel(), with msg= if there is a message. */
static int cancel_by_method(struct tc_py_loop_state *state, PyObject *b_object, PyObject *b_message)
{
    PyObject *method = PyObject_GetAttr(b_object, state->str_cancel);
    PyObject *result = NULL;
    int truth;

    if (method == NULL) {
        return -1;
    }
    if (b_message == NULL || b_message == Py_None) {
        result = PyObject_CallNoArgs(method);
    } else {
        PyObject *names = PyTuple_Pack(1, state->str_msg);

        if (names != NULL) {
            result = PyObject_Vectorcall(method, &b_message, 0, names);
            Py_DECREF(names);
        }
    }
    Py_DECREF(method);
    if (result == NULL) {
        return -1;
    }
    truth = PyObject_IsTrue(result);
    Py_DECREF(result);
    return truth;
}

int tc_py_cancel_object(struct tc_py_loop_state *state, PyObject *b_object, PyObject *b_message)
{
    PyTypeObject *type = Py_TYPE(b_object);

    if (type == state->task_type) {
        return tc_py_task_cancel((struct tc_py_task *)b_object, b_message);
    }
    if (type == state->future_type) {
        return tc_py_future_cancel((struct tc_py_future *)b_object, b_message);
    }
    return cancel_by_method(state, b_object, b_message);
}
