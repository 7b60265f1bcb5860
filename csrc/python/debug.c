#include "python/debug.h"

#include "python/handle.h"

_Atomic uint32_t tc_py_debug_loops;

/* ---- the table -------------------------------------------------------------------------- */

/* What the table holds of an object, as the low bit of the key: objects have even addresses. */
enum entry_kind { STACK = 0, REPR = 1 };

static PyObject *key_of(PyObject *b_object, enum entry_kind kind)
{
    return PyLong_FromVoidPtr((char *)b_object + kind);
}

static int table_set(struct tc_py_loop_state *state, PyObject *b_object, enum entry_kind kind,
                     PyObject *b_value)
{
    PyObject *key;
    int result;

    if (state->traces == NULL) {
        return 0; /* the module goes */
    }
    key = key_of(b_object, kind);
    if (key == NULL) {
        return -1;
    }
    result = PyDict_SetItem(state->traces, key, b_value);
    Py_DECREF(key);
    return result;
}

static PyObject *table_get(struct tc_py_loop_state *state, PyObject *b_object, enum entry_kind kind)
{
    PyObject *key = state->traces == NULL ? NULL : key_of(b_object, kind);
    PyObject *value = NULL;

    if (key != NULL) {
        value = PyObject_GetItem(state->traces, key);
        Py_DECREF(key);
    }
    if (value == NULL) {
        PyErr_Clear(); /* KeyError, or no memory */
    }
    return value;
}

static void table_remove(struct tc_py_loop_state *state, PyObject *b_object, enum entry_kind kind)
{
    PyObject *key = state->traces == NULL ? NULL : key_of(b_object, kind);

    if (key == NULL || PyDict_DelItem(state->traces, key) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(key);
}

/* ---- stacks ------------------------------------------------------------------------------- */

int tc_py_debug_trace(struct tc_py_loop_state *state, PyObject *b_object)
{
    PyObject *stack = PyObject_CallNoArgs(state->extract_stack);
    int result;

    if (stack == NULL) {
        return -1;
    }
    result = table_set(state, b_object, STACK, stack);
    Py_DECREF(stack);
    return result;
}

/* Drop the pending exception; if it is KeyboardInterrupt, have it raised where it can be. */
static void interrupt_later(void)
{
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        PyErr_SetInterrupt();
    }
    PyErr_Clear();
}

bool tc_py_debug_trace_quietly(PyObject *b_object)
{
    struct tc_py_loop *loop = tc_py_loop_running();

    if (loop == NULL || !loop->is_debug) {
        return false;
    }
    if (tc_py_debug_trace(loop->state, b_object) == 0) {
        return true;
    }
    interrupt_later();
    return false;
}

void tc_py_debug_forget(struct tc_py_loop_state *state, PyObject *b_object)
{
    PyObject *pending = PyErr_GetRaisedException();

    table_remove(state, b_object, STACK);
    table_remove(state, b_object, REPR);
    PyErr_SetRaisedException(pending);
}

void tc_py_debug_forget_quietly(PyObject *b_object)
{
    PyObject *pending = PyErr_GetRaisedException();
    struct tc_py_loop_state *state = tc_py_loop_state_of_type(Py_TYPE(b_object));

    PyErr_SetRaisedException(pending);
    if (state != NULL) {
        tc_py_debug_forget(state, b_object);
    }
}

PyObject *tc_py_debug_traceback(struct tc_py_loop_state *state, PyObject *b_object)
{
    if (state->traces == NULL || PyDict_GET_SIZE(state->traces) == 0) {
        return NULL;
    }
    return table_get(state, b_object, STACK);
}

PyObject *tc_py_debug_attribute(struct tc_py_loop_state *state, PyObject *b_object)
{
    PyObject *stack = tc_py_debug_traceback(state, b_object);

    return stack == NULL ? Py_NewRef(Py_None) : stack;
}

PyObject *tc_py_debug_text(struct tc_py_loop_state *state, PyObject *b_object, const char *title)
{
    PyObject *stack = tc_py_debug_traceback(state, b_object);
    PyObject *lines;
    PyObject *nothing = PyUnicode_FromString("");
    PyObject *text = NULL;

    if (stack == NULL || nothing == NULL) {
        Py_XDECREF(stack);
        return nothing;
    }
    lines = PyObject_CallOneArg(state->format_list, stack);
    Py_DECREF(stack);
    if (lines != NULL) {
        PyObject *joined = PyUnicode_Join(nothing, lines);

        text = joined == NULL ? NULL : PyUnicode_FromFormat("\n%s:\n%U", title, joined);
        Py_XDECREF(joined);
        Py_DECREF(lines);
    }
    Py_DECREF(nothing);
    return text;
}

void tc_py_warn_never_awaited(PyObject *self, const char *name)
{
    struct tc_py_loop_state *state = tc_py_loop_state_of_type(Py_TYPE(self));
    PyObject *pending = PyErr_GetRaisedException();
    PyObject *made = NULL;

    if (state != NULL) {
        made = tc_py_debug_text(state, self, "Operation created at (most recent call last)");
    }
    PyErr_Clear(); /* the warning matters more */
    if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "operation '%s' was never awaited%V", name, made,
                         "") < 0) {
        PyErr_WriteUnraisable(self);
    }
    Py_XDECREF(made);
    PyErr_SetRaisedException(pending);
}

void tc_py_debug_trace_server(PyObject *b_server)
{
    struct tc_py_loop_state *state = tc_py_loop_state_of_type(Py_TYPE(b_server));

    if (state != NULL && tc_load_relaxed(&state->traces_servers) && /* relaxed: a wish */
        tc_py_debug_trace(state, b_server) < 0) {
        interrupt_later();
    }
    PyErr_Clear();
}

PyObject *tc_py_debug_server_text(PyObject *b_server)
{
    struct tc_py_loop_state *state = tc_py_loop_state_of_type(Py_TYPE(b_server));
    PyObject *text = NULL;

    if (state != NULL) {
        text = tc_py_debug_text(state, b_server, "Server started at (most recent call last)");
    }
    PyErr_Clear();
    return text;
}

/* ---- reprs ------------------------------------------------------------------------------ */

void tc_py_debug_keep_repr(struct tc_py_loop_state *state, PyObject *b_object)
{
    PyObject *text = PyObject_Repr(b_object);

    if (text == NULL || table_set(state, b_object, REPR, text) < 0) {
        PyErr_Clear(); /* then the repr will say less */
    }
    Py_XDECREF(text);
}

PyObject *tc_py_debug_kept_repr(struct tc_py_loop_state *state, PyObject *b_object)
{
    return table_get(state, b_object, REPR);
}

/* ---- the module ------------------------------------------------------------------------- */

PyDoc_STRVAR(trace_servers_doc, "_trace_servers($module, enabled, /)\n--\n\n"
                                "Note where native servers are started, from now on or no more.");

static PyObject *trace_servers(PyObject *module, PyObject *b_enabled)
{
    int truth = PyObject_IsTrue(b_enabled);

    if (truth < 0) {
        return NULL;
    }
    tc_store_relaxed(&tc_py_loop_state_of(module)->traces_servers, truth > 0); /* relaxed: a wish */
    Py_RETURN_NONE;
}

static PyMethodDef debug_functions[] = {
    {"_trace_servers", trace_servers, METH_O, trace_servers_doc},
    {NULL, NULL, 0, NULL},
};

int tc_py_add_debug(PyObject *module, struct tc_py_loop_state *state)
{
    PyObject *defaults = PyObject_GetAttrString(state->format_callback, "__kwdefaults__");

    if (defaults == NULL) {
        return -1;
    }
    state->formats_debug = defaults != Py_None;
    Py_DECREF(defaults);
    state->traces = PyDict_New();
    return state->traces == NULL ? -1 : PyModule_AddFunctions(module, debug_functions);
}

/* ---- the loop --------------------------------------------------------------------------- */

void tc_py_debug_set(struct tc_py_loop *loop, bool is_debug)
{
    if (is_debug == loop->is_debug) {
        return;
    }
    loop->is_debug = is_debug;
    if (is_debug) {
        (void)tc_fetch_add_relaxed(&tc_py_debug_loops, 1); /* relaxed: see is_possible */
    } else {
        (void)tc_fetch_sub_relaxed(&tc_py_debug_loops, 1); /* relaxed: likewise */
    }
}

/* Have the loop log a slow node. Returns 0, or -1 with what ends the loop's run set. */
static int tell_slow(struct tc_py_loop *loop, struct tc_py_node *node, double seconds)
{
    PyObject *result = PyObject_CallMethod((PyObject *)loop, "_ran_slowly", "Od", node, seconds);

    if (result == NULL) {
        if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
            PyErr_ExceptionMatches(PyExc_SystemExit)) {
            return -1;
        }
        PyErr_WriteUnraisable((PyObject *)loop);
    }
    Py_XDECREF(result);
    return 0;
}

int tc_py_debug_run(struct tc_py_loop *loop, struct tc_py_node *node)
{
    struct tc_py_node *outer = loop->debug_node;
    int64_t began = tc_clock_now_ns();
    double seconds;
    int result;

    if (PyObject_TypeCheck(node, loop->state->handle_type) &&
        ((struct tc_py_handle *)node)->callback == NULL) {
        return 0; /* cancelled */
    }
    loop->debug_node = node;
    result = node->ops->run(node, loop);
    loop->debug_node = outer;
    seconds = (double)(tc_clock_now_ns() - began) / (double)TC_NS_PER_SEC;
    if (result == 0 && seconds >= loop->slow_callback_duration) {
        result = tell_slow(loop, node, seconds);
    }
    return result;
}
