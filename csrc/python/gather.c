/* gather(): a future that is done when many are.
 *
 * asyncio runs one callback per child. Here a child's end only counts, and the gather takes its
 * place in the ready queue once: where the callback would stand that ends it, so that the order of
 * everything is the same.
 *
 * The children stand in the list that becomes the result: at the end each is replaced by what it
 * returned. Of a million tasks that is 8 MB less at the moment when most is in use. */
#include "python/args.h"
#include "python/future.h"
#include "python/task.h"
#include "python/watch.h"

struct tc_py_gather {
    struct tc_py_future future;
    PyObject *children; /* owned; a list that nobody else knows, nor the collector; `count` of
                         * its places are filled. NULL once the results are collected         */
    Py_ssize_t count;
    Py_ssize_t remaining; /* children that are not done                                       */
    PyObject *failed; /* borrowed; the child whose failure is the result, or NULL         */
    PyObject *message; /* owned; see keep_message(), or NULL                                  */
    bool return_exceptions;
    bool is_ready; /* in the ready queue, or was                                       */
    bool is_cancelled; /* cancel() was called                                              */
};

static struct tc_py_gather *gather_of(void *self)
{
    return self;
}

/* ---- children --------------------------------------------------------------------------- */

static PyObject *child(const struct tc_py_gather *gather, Py_ssize_t i)
{
    return PyList_GET_ITEM(gather->children, i);
}

static bool has_failed(struct tc_py_loop_state *state, PyObject *b_child)
{
    struct tc_py_ending outcome;

    if (tc_likely(tc_py_is_native(state, b_child))) {
        return !(((struct tc_py_future *)b_child)->flags & TC_PY_FUTURE_FINISHED);
    }
    if (tc_py_ask_ending(state, b_child, &outcome) < 0) {
        PyErr_Clear(); /* meets it again when it takes the result */
        return true;
    }
    Py_DECREF(outcome.value);
    return outcome.kind != TC_PY_FUTURE_FINISHED;
}

/* ---- the end ---------------------------------------------------------------------------- */

/* What stands in the list for a cancelled child: as in asyncio, an error of its own, with the
 * message of Future.cancel(), else with ''. */
static int set_cancelled_result(struct tc_py_loop_state *state, struct tc_py_ending *outcome,
                                PyObject *b_child)
{
    PyObject *b_message = NULL;
    PyObject *message;

    if (tc_py_is_future(state, b_child)) {
        b_message = ((struct tc_py_future *)b_child)->result;
    }
    if (b_message == NULL || b_message == Py_None || PyExceptionInstance_Check(b_message)) {
        message = PyUnicode_FromString("");
    } else {
        message = Py_NewRef(b_message);
    }
    if (message == NULL) {
        return -1;
    }
    Py_SETREF(outcome->value, PyObject_CallOneArg(state->cancelled_error, message));
    Py_DECREF(message);
    return outcome->value == NULL ? -1 : 0;
}

/* The result of a child that is done; a new reference or NULL. */
static PyObject *child_result(struct tc_py_loop_state *state, PyObject *b_child)
{
    struct tc_py_ending outcome;

    if (tc_py_ask_ending(state, b_child, &outcome) < 0 ||
        (outcome.kind == TC_PY_FUTURE_CANCELLED &&
         set_cancelled_result(state, &outcome, b_child) < 0)) {
        return NULL;
    }
    return outcome.value;
}

/* Make the list of results of that of the children, which is the gather's no more: to end a child
 * may run what looks at the gather. A new reference or NULL. */
static PyObject *collect(struct tc_py_gather *gather)
{
    struct tc_py_loop_state *state = gather->future.loop->state;
    PyObject *list = gather->children;
    Py_ssize_t count = gather->count;

    gather->children = NULL;
    gather->count = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *future = PyList_GET_ITEM(list, i);
        PyObject *value = child_result(state, future);

        if (value == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, i, value);
        Py_DECREF(future);
    }
    PyObject_GC_Track(list);
    return list;
}

/* End the future by the exception that is pending. */
static void fail_with_pending(struct tc_py_gather *gather)
{
    tc_py_future_end(&gather->future, TC_PY_FUTURE_FAILED | TC_PY_FUTURE_LOG,
                     PyErr_GetRaisedException());
}

/* Set the CancelledError of a gather that was cancelled: as in asyncio, that of the last child,
 * with the message that cancel() handed down to it. */
static void set_cancelled(struct tc_py_gather *gather, PyObject *b_last)
{
    struct tc_py_loop_state *state = gather->future.loop->state;
    PyObject *error;

    if (!tc_py_is_future(state, b_last) ||
        !(((struct tc_py_future *)b_last)->flags & TC_PY_FUTURE_CANCELLED)) {
        error = tc_py_new_cancelled_error(state, gather->message);
    } else {
        error = tc_py_future_cancelled_error((struct tc_py_future *)b_last);
    }
    if (error != NULL) {
        PyErr_SetRaisedException(error);
    }
}

/* End the future by the list of results, or as cancelled. */
static void end_with_results(struct tc_py_gather *gather)
{
    PyObject *last = gather->is_cancelled ? Py_NewRef(child(gather, gather->count - 1)) : NULL;
    PyObject *list = collect(gather);

    if (list != NULL && last != NULL) {
        Py_CLEAR(list);
        set_cancelled(gather, last);
    }
    Py_XDECREF(last);
    if (tc_py_future_is_done(&gather->future)) { /* by what ran meanwhile */
        Py_XDECREF(list);
        PyErr_Clear();
    } else if (list == NULL) {
        fail_with_pending(gather);
    } else {
        tc_py_future_end(&gather->future, TC_PY_FUTURE_FINISHED, list);
    }
}

static void gather_end(struct tc_py_gather *gather)
{
    struct tc_py_ending outcome;

    if (gather->failed == NULL) {
        end_with_results(gather);
    } else if (tc_py_ask_ending(gather->future.loop->state, gather->failed, &outcome) < 0) {
        fail_with_pending(gather);
    } else {
        tc_py_future_end(&gather->future, TC_PY_FUTURE_FAILED | TC_PY_FUTURE_LOG, outcome.value);
    }
}

static int gather_run(struct tc_py_node *self, struct tc_py_loop *loop)
{
    (void)loop;
    if (!tc_py_future_is_done(&gather_of(self)->future)) {
        gather_end(gather_of(self));
    }
    return 0;
}

/* One child is done: count it. */
static void child_done(struct tc_py_gather *gather, PyObject *b_child)
{
    struct tc_py_loop_state *state = gather->future.loop->state;
    bool is_late = gather->failed != NULL;

    gather->remaining--;
    if (!gather->return_exceptions && has_failed(state, b_child)) {
        if (!is_late) {
            gather->failed = b_child;
        } else if (tc_py_is_future(state, b_child)) {
            /* The first failure is the result; the others count as seen. */
            ((struct tc_py_future *)b_child)->flags &= ~(uint32_t)TC_PY_FUTURE_LOG;
        }
    }
    if (!gather->is_ready && (gather->remaining == 0 || gather->failed != NULL)) {
        gather->is_ready = true;
        tc_py_loop_ready(gather->future.loop, &gather->future.node);
    }
}

static void gather_future_done(struct tc_py_node *self, struct tc_py_future *b_future)
{
    child_done(gather_of(self), (PyObject *)b_future);
}

static PyObject *foreign_done(PyObject *self, PyObject *b_child)
{
    child_done(gather_of(self), b_child);
    Py_RETURN_NONE;
}

static PyMethodDef foreign_done_def = {"_child_done", foreign_done, METH_O, NULL};

/* ---- cancelling ------------------------------------------------------------------------- */

/* As asyncio does by the attributes of the last child: its cancel, if it was not passed on, has the
 * message even if the child ends otherwise. */
static void keep_message(struct tc_py_gather *gather, PyObject *b_message)
{
    PyObject *b_last = child(gather, gather->count - 1);

    if (tc_py_is_native(gather->future.loop->state, b_last) &&
        ((struct tc_py_future *)b_last)->flags & TC_PY_TASK_MUST_CANCEL) {
        Py_XSETREF(gather->message, Py_XNewRef(b_message));
    }
}

static int gather_cancel(struct tc_py_gather *gather, PyObject *b_message)
{
    struct tc_py_loop_state *state = gather->future.loop->state;
    int result = 0;

    if (tc_py_future_is_done(&gather->future)) {
        return 0;
    }
    for (Py_ssize_t i = 0; i < gather->count; i++) {
        int cancelled = tc_py_cancel_object(state, child(gather, i), b_message);

        if (cancelled < 0) {
            return -1;
        }
        result |= cancelled;
    }
    if (result) {
        gather->is_cancelled = true;
        keep_message(gather, b_message);
    }
    return result;
}

static int gather_cancel_wait(struct tc_py_node *self, struct tc_py_task *b_task,
                              PyObject *b_message)
{
    (void)b_task;
    return gather_cancel(gather_of(self), b_message);
}

static const struct tc_py_node_ops gather_ops = {
    .run = gather_run,
    .future_done = gather_future_done,
    .cancel_wait = gather_cancel_wait,
};

PyDoc_STRVAR(cancel_doc,
             "cancel($self, /, msg=None)\n--\n\nCancel all children that are not done.");

static PyObject *gather_cancel_method(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                      PyObject *names)
{
    static const char *const parameters[] = {"msg", NULL};
    static const struct tc_py_params params = {"cancel", parameters, 1};
    PyObject *b_message = NULL;
    int result;

    if (tc_py_loop_check(gather_of(self)->future.loop, "Future.cancel()") < 0 ||
        tc_py_bind(&params, args, nargs, names, &b_message) < 0) {
        return NULL;
    }
    result = gather_cancel(gather_of(self), b_message);
    return result < 0 ? NULL : PyBool_FromLong(result);
}

/* ---- life ------------------------------------------------------------------------------- */

static int gather_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct tc_py_gather *gather = gather_of(self);

    for (Py_ssize_t i = 0; i < gather->count; i++) {
        Py_VISIT(child(gather, i));
    }
    Py_VISIT(gather->message);
    return tc_py_future_traverse(self, visit, arg);
}

static int gather_clear(PyObject *self)
{
    struct tc_py_gather *gather = gather_of(self);

    gather->count = 0;
    gather->failed = NULL;
    Py_CLEAR(gather->message);
    Py_CLEAR(gather->children);
    return tc_py_future_clear(self);
}

static void gather_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return; /* somebody holds it again */
    }
    PyObject_GC_UnTrack(self);
    if (gather_of(self)->future.weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    (void)gather_clear(self); /* cannot fail */
    Py_CLEAR(gather_of(self)->future.loop);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- making ----------------------------------------------------------------------------- */

/* Which arguments have been seen: a hash table of places, so that an argument that is given twice
 * has one future. Among many arguments, which come in a tuple that owns them, only an object with
 * more than one reference can be there twice; few may be borrowed from the caller's frame. */
struct seen {
    PyObject *const *b_arguments;
    uint32_t *slots; /* owned; place + 1, or 0; made when it is needed                          */
    size_t mask;     /* slots less 1                                                            */
};

enum { SEEN_ALL = 1024 }; /* up to so many arguments, every one is looked up */

static int seen_init(struct seen *seen, Py_ssize_t count)
{
    size_t size = 4;

    while (size < 2 * (size_t)count) {
        size *= 2;
    }
    seen->slots = PyMem_Calloc(size, sizeof(*seen->slots));
    seen->mask = size - 1;
    if (seen->slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* The first place of argument `place`, which is remembered if it is new. */
static Py_ssize_t seen_place(struct seen *seen, Py_ssize_t place)
{
    PyObject *b_argument = seen->b_arguments[place];
    size_t i = (size_t)(((uint64_t)(uintptr_t)b_argument * UINT64_C(0x9E3779B97F4A7C15)) >> 32);

    for (i &= seen->mask; seen->slots[i] != 0; i = (i + 1) & seen->mask) {
        if (seen->b_arguments[seen->slots[i] - 1] == b_argument) {
            return (Py_ssize_t)seen->slots[i] - 1;
        }
    }
    seen->slots[i] = (uint32_t)place + 1;
    return place;
}

/* The future of argument number gather->count; a new reference, or NULL with an exception set. */
static PyObject *next_child(struct tc_py_gather *gather, struct seen *seen, Py_ssize_t count)
{
    PyObject *b_argument = seen->b_arguments[gather->count];
    Py_ssize_t first = gather->count;

    if (count > 1 && (count <= SEEN_ALL || Py_REFCNT(b_argument) > 1)) {
        if (seen->slots == NULL && seen_init(seen, count) < 0) {
            return NULL;
        }
        first = seen_place(seen, first);
    }
    if (first < gather->count) {
        return Py_NewRef(child(gather, first));
    }
    return tc_py_ensure_future(gather->future.loop, b_argument);
}

static int make_children(struct tc_py_gather *gather, PyObject *const *b_arguments,
                         Py_ssize_t count)
{
    struct seen seen = {.b_arguments = b_arguments};

    gather->children = PyList_New(count);
    if (gather->children == NULL) {
        return -1;
    }
    PyObject_GC_UnTrack(gather->children);
    while (gather->count < count) {
        PyObject *next = next_child(gather, &seen, count);

        if (next == NULL) {
            break;
        }
        PyList_SET_ITEM(gather->children, gather->count, next);
        gather->count++;
    }
    PyMem_Free(seen.slots);
    return gather->count == count ? 0 : -1;
}

/* Returns 0, or -1 with an exception set. */
static int watch_children(struct tc_py_gather *gather)
{
    Py_ssize_t done = 0;

    gather->remaining = gather->count;
    for (Py_ssize_t i = 0; i < gather->count; i++) {
        int is_done = tc_py_watch(gather->future.loop->state, child(gather, i),
                                  &gather->future.node, &foreign_done_def);

        if (is_done < 0) {
            return -1;
        }
        done += is_done;
    }
    if (done == 0) {
        return 0;
    }
    gather->is_ready = true; /* what is done already is counted at once */
    for (Py_ssize_t i = 0; i < gather->count; i++) {
        PyObject *b_child = child(gather, i);

        if (tc_py_is_native(gather->future.loop->state, b_child) &&
            tc_py_future_is_done((struct tc_py_future *)b_child)) {
            child_done(gather, b_child);
        }
    }
    if (gather->remaining == 0 || gather->failed != NULL) {
        gather_end(gather);
    } else {
        gather->is_ready = false;
    }
    return 0;
}

/* The loop of gather(): the running one; while none runs, that of the first argument if that is a
 * future, else that of set_event_loop(). Borrowed, or NULL with an exception set. */
static struct tc_py_loop *gather_loop(struct tc_py_loop_state *state, PyObject *const *b_arguments,
                                      Py_ssize_t count)
{
    if (tc_py_loop_running() == NULL && count > 0 && tc_py_is_future(state, b_arguments[0])) {
        return ((struct tc_py_future *)b_arguments[0])->loop;
    }
    return tc_py_future_loop_argument(NULL);
}

PyDoc_STRVAR(gather_doc,
             "gather($module, /, *coros_or_futures, return_exceptions=False)\n--\n\n"
             "Run awaitables concurrently; return a future of the list of their results.\n\n"
             "The first exception ends the future, the others go on; return_exceptions=True\n"
             "puts exceptions in the list instead. Cancelling it cancels all that are not done.\n"
             "Blocks: never; await it.");

static PyObject *gather_function(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *names)
{
    static const char *const parameters[] = {"return_exceptions", NULL};
    static const struct tc_py_params params = {"gather", parameters, 0};
    struct tc_py_loop_state *state = tc_py_loop_state_of(module);
    PyObject *b_return_exceptions = NULL;
    struct tc_py_loop *loop;
    struct tc_py_gather *gather;
    int truth = 0;

    if (tc_py_bind(&params, args + nargs, 0, names, &b_return_exceptions) < 0) {
        return NULL;
    }
    if (b_return_exceptions != NULL) {
        truth = PyObject_IsTrue(b_return_exceptions);
    }
    loop = truth < 0 ? NULL : gather_loop(state, args, nargs);
    if (loop == NULL || tc_py_loop_check(loop, "gather()") < 0) {
        return NULL;
    }
    gather = gather_of(tc_py_future_new(loop, state->gather_type, &gather_ops));
    if (gather == NULL) {
        return NULL;
    }
    gather->return_exceptions = truth != 0;
    if (make_children(gather, args, nargs) < 0 || watch_children(gather) < 0) {
        Py_DECREF(gather);
        return NULL;
    }
    if (nargs == 0) {
        gather_end(gather);
    }
    return (PyObject *)gather;
}

static PyMethodDef gather_methods[] = {
    {"cancel", TC_PY_KEYWORD_FUNCTION(gather_cancel_method), METH_FASTCALL | METH_KEYWORDS,
     cancel_doc},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef gather_functions[] = {
    {"gather", TC_PY_KEYWORD_FUNCTION(gather_function), METH_FASTCALL | METH_KEYWORDS, gather_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot gather_slots[] = {
    {Py_tp_dealloc, gather_dealloc},
    {Py_tp_traverse, gather_traverse},
    {Py_tp_clear, gather_clear},
    {Py_tp_finalize, tc_py_future_finalize},
    {Py_tp_methods, gather_methods},
    {Py_tp_iter, tc_py_future_iterate},
    {Py_tp_iternext, tc_py_future_iternext},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, tc_py_future_send},
    {0, NULL},
};

static PyType_Spec gather_spec = {
    .name = "tinycoro._GatheringFuture",
    .basicsize = sizeof(struct tc_py_gather),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = gather_slots,
};

int tc_py_add_gather(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_type(module, &gather_spec, state->future_type, &state->gather_type) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, gather_functions);
}
