#include "python/watch.h"

/* b_future.method(def bound to node). Returns 0, or -1 with an exception set. */
static int call_with_bound(PyObject *b_future, PyObject *b_method, struct tc_py_node *node,
                           PyMethodDef *def)
{
    PyObject *bound = PyCFunction_New(def, (PyObject *)node);
    PyObject *result = NULL;

    if (bound != NULL) {
        result = PyObject_CallMethodOneArg(b_future, b_method, bound);
        Py_DECREF(bound);
    }
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int tc_py_watch(struct tc_py_loop_state *state, PyObject *b_future, struct tc_py_node *node,
                PyMethodDef *def)
{
    struct tc_py_future *future = (struct tc_py_future *)b_future;

    if (tc_unlikely(!tc_py_is_native(state, b_future))) {
        return call_with_bound(b_future, state->str_add_done_callback, node, def);
    }
    return tc_py_future_is_done(future) ? 1 : tc_py_future_add_node(future, node);
}

int tc_py_unwatch(struct tc_py_loop_state *state, PyObject *b_future, struct tc_py_node *node,
                  PyMethodDef *def)
{
    if (tc_unlikely(!tc_py_is_native(state, b_future))) {
        return call_with_bound(b_future, state->str_remove_done_callback, node, def);
    }
    tc_py_future_remove_node((struct tc_py_future *)b_future, node);
    return 0;
}

/* The truth of b_object.method(). Returns 1, 0, or -1 with an exception set. */
static int ask(PyObject *b_object, PyObject *b_method)
{
    PyObject *answer = PyObject_CallMethodNoArgs(b_object, b_method);
    int truth = answer == NULL ? -1 : PyObject_IsTrue(answer);

    Py_XDECREF(answer);
    return truth;
}

int tc_py_ask_done(struct tc_py_loop_state *state, PyObject *b_future)
{
    if (tc_likely(tc_py_is_native(state, b_future))) {
        return tc_py_future_is_done((struct tc_py_future *)b_future);
    }
    return ask(b_future, state->str_done);
}

/* The same through its methods: exception() tells by what it does. */
static int ask_foreign(struct tc_py_loop_state *state, PyObject *b_future, struct tc_py_ending *out)
{
    out->value = PyObject_CallMethodNoArgs(b_future, state->str_exception);
    out->kind = TC_PY_FUTURE_FAILED;
    if (out->value == NULL) {
        if (!PyErr_ExceptionMatches(state->cancelled_error)) {
            return -1;
        }
        out->kind = TC_PY_FUTURE_CANCELLED;
        out->value = PyErr_GetRaisedException();
    } else if (out->value == Py_None) {
        Py_SETREF(out->value, PyObject_CallMethodNoArgs(b_future, state->str_result));
        out->kind = TC_PY_FUTURE_FINISHED;
    }
    return out->value == NULL ? -1 : 0;
}

int tc_py_ask_ending(struct tc_py_loop_state *state, PyObject *b_future, struct tc_py_ending *out)
{
    struct tc_py_future *future = (struct tc_py_future *)b_future;

    if (tc_unlikely(!tc_py_is_native(state, b_future))) {
        return ask_foreign(state, b_future, out);
    }
    out->kind = future->flags & TC_PY_FUTURE_DONE;
    if (out->kind == TC_PY_FUTURE_CANCELLED) {
        out->value = tc_py_future_cancelled_error(future);
    } else {
        out->value = Py_NewRef(future->result);
        future->flags &= ~(uint32_t)TC_PY_FUTURE_LOG;
    }
    return out->value == NULL ? -1 : 0;
}
