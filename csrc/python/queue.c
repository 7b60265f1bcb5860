#include "python/queue.h"

/* ---- containers --------------------------------------------------------------------------- */

static PyObject *fifo_make(struct tc_py_sync_state *state)
{
    return PyObject_CallNoArgs(state->deque_type);
}

static int discard(PyObject *result)
{
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int fifo_put(struct tc_py_sync_state *state, PyObject *items, PyObject *b_item)
{
    if (tc_likely(Py_IS_TYPE(items, (PyTypeObject *)state->deque_type) && state->append != NULL)) {
        return discard(state->append(items, b_item));
    }
    return discard(PyObject_CallMethodOneArg(items, state->str_append, b_item));
}

static PyObject *fifo_get(struct tc_py_sync_state *state, PyObject *items)
{
    if (tc_likely(Py_IS_TYPE(items, (PyTypeObject *)state->deque_type) && state->popleft != NULL)) {
        return state->popleft(items, NULL);
    }
    return PyObject_CallMethodNoArgs(items, state->str_popleft);
}

const struct tc_py_queue_order tc_py_queue_fifo = {fifo_make, fifo_put, fifo_get};

static PyObject *list_make(struct tc_py_sync_state *state)
{
    (void)state;
    return PyList_New(0);
}

static int lifo_put(struct tc_py_sync_state *state, PyObject *items, PyObject *b_item)
{
    if (tc_likely(PyList_CheckExact(items))) {
        return PyList_Append(items, b_item);
    }
    return discard(PyObject_CallMethodOneArg(items, state->str_append, b_item));
}

static PyObject *lifo_get(struct tc_py_sync_state *state, PyObject *items)
{
    return PyObject_CallMethodNoArgs(items, state->str_pop);
}

const struct tc_py_queue_order tc_py_queue_lifo = {list_make, lifo_put, lifo_get};

static int priority_put(struct tc_py_sync_state *state, PyObject *items, PyObject *b_item)
{
    PyObject *b_args[] = {items, b_item};

    return discard(PyObject_Vectorcall(state->heappush, b_args, 2, NULL));
}

static PyObject *priority_get(struct tc_py_sync_state *state, PyObject *items)
{
    return PyObject_CallOneArg(state->heappop, items);
}

const struct tc_py_queue_order tc_py_queue_priority = {list_make, priority_put, priority_get};

/* `_queue`, borrowed; NULL with AttributeError set. */
static PyObject *container(struct tc_py_queue *queue)
{
    if (tc_unlikely(queue->container == NULL)) {
        PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '_queue'",
                     Py_TYPE(queue)->tp_name);
    }
    return queue->container;
}

void tc_py_queue_set_container(struct tc_py_queue *queue, PyObject *items)
{
    queue->is_plain =
        items != NULL && (PyList_CheckExact(items) ||
                          Py_IS_TYPE(items, (PyTypeObject *)queue->bound.state->deque_type));
    Py_XSETREF(queue->container, items);
}

/* The items' comparisons and the container's methods may be the user's and may replace `_queue`:
 * hence the references. */
int tc_py_queue_store(struct tc_py_queue *queue, const struct tc_py_queue_order *order,
                      PyObject *b_item)
{
    PyObject *items = Py_XNewRef(container(queue));
    int result = items == NULL ? -1 : order->put(queue->bound.state, items, b_item);

    Py_XDECREF(items);
    return result;
}

PyObject *tc_py_queue_take(struct tc_py_queue *queue, const struct tc_py_queue_order *order)
{
    PyObject *items = Py_XNewRef(container(queue));
    PyObject *item = items == NULL ? NULL : order->get(queue->bound.state, items);

    Py_XDECREF(items);
    return item;
}

/* ---- methods that a subclass may override --------------------------------------------------- */

/* self.name() as a truth. Returns 1, 0, or -1 with an exception set. */
static int ask(struct tc_py_queue *queue, PyObject *b_name)
{
    PyObject *answer = PyObject_CallMethodNoArgs((PyObject *)queue, b_name);
    int truth = answer == NULL ? -1 : PyObject_IsTrue(answer);

    Py_XDECREF(answer);
    return truth;
}

static int is_empty(struct tc_py_queue *queue)
{
    return tc_likely(queue->order != NULL) ? tc_py_queue_is_empty(queue)
                                           : ask(queue, queue->bound.state->str_empty);
}

static int is_full(struct tc_py_queue *queue)
{
    return tc_likely(queue->order != NULL) ? tc_py_queue_is_full(queue)
                                           : ask(queue, queue->bound.state->str_full);
}

/* _put(item). Returns 0, or -1 with an exception set. */
static int store(struct tc_py_queue *queue, PyObject *b_item)
{
    PyObject *b_name = queue->bound.state->str__put;

    if (tc_likely(queue->order != NULL)) {
        return tc_py_queue_store(queue, queue->order, b_item);
    }
    return discard(PyObject_CallMethodOneArg((PyObject *)queue, b_name, b_item));
}

/* _get(). A new reference, or NULL with an exception set. */
static PyObject *take(struct tc_py_queue *queue)
{
    if (tc_likely(queue->order != NULL)) {
        return tc_py_queue_take(queue, queue->order);
    }
    return PyObject_CallMethodNoArgs((PyObject *)queue, queue->bound.state->str__get);
}

/* ---- the base methods ----------------------------------------------------------------------- */

Py_ssize_t tc_py_queue_size(struct tc_py_queue *queue)
{
    PyObject *items = queue->container;
    Py_ssize_t size;

    if (tc_likely(queue->is_plain)) {
        return Py_SIZE(items);
    }
    items = Py_XNewRef(container(queue));
    size = items == NULL ? -1 : PyObject_Size(items);
    Py_XDECREF(items);
    return size;
}

int tc_py_queue_is_empty(struct tc_py_queue *queue)
{
    PyObject *items = queue->container;
    int result;

    if (tc_likely(queue->is_plain)) {
        return Py_SIZE(items) == 0;
    }
    items = Py_XNewRef(container(queue));
    result = items == NULL ? -1 : PyObject_Not(items);
    Py_XDECREF(items);
    return result;
}

/* qsize() >= maxsize, whatever they are. Returns 1, 0, or -1 with an exception set. */
static int compare_size(struct tc_py_queue *queue)
{
    struct tc_py_sync_state *state = queue->bound.state;
    PyObject *size = queue->order != NULL
                         ? PyLong_FromSsize_t(tc_py_queue_size(queue))
                         : PyObject_CallMethodNoArgs((PyObject *)queue, state->str_qsize);
    int result;

    if (size == NULL || PyErr_Occurred()) {
        Py_XDECREF(size);
        return -1;
    }
    result = PyObject_RichCompareBool(size, queue->maxsize, Py_GE);
    Py_DECREF(size);
    return result;
}

int tc_py_queue_is_full(struct tc_py_queue *queue)
{
    Py_ssize_t size;
    PyObject *zero;
    int has_none;

    if (tc_unlikely(queue->maxsize == NULL)) {
        PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '_maxsize'",
                     Py_TYPE(queue)->tp_name);
        return -1;
    }
    if (tc_likely(queue->is_limited)) {
        if (queue->limit <= 0) {
            return 0;
        }
        if (tc_unlikely(queue->order == NULL)) {
            return compare_size(queue);
        }
        size = tc_py_queue_size(queue);
        return size < 0 ? -1 : size >= queue->limit;
    }
    zero = PyLong_FromLong(0);
    has_none = zero == NULL ? -1 : PyObject_RichCompareBool(queue->maxsize, zero, Py_LE);
    Py_XDECREF(zero);
    if (has_none != 0) {
        return has_none < 0 ? -1 : 0;
    }
    return compare_size(queue);
}

/* The parts of put_nowait() before and after it asks whether there is room. Return 0, or -1 with an
 * exception set. */
static int put_begin(struct tc_py_queue *queue)
{
    if (tc_py_bound_check(&queue->bound, "Queue.put_nowait()") < 0) {
        return -1;
    }
    if (tc_unlikely(queue->is_shut_down)) {
        PyErr_SetNone(queue->bound.state->queue_shut_down);
        return -1;
    }
    return 0;
}

static int put_last(struct tc_py_queue *queue, PyObject *b_item)
{
    if (tc_unlikely(store(queue, b_item) < 0)) {
        return -1;
    }
    queue->unfinished++;
    tc_py_line_release(&queue->getters);
    return 0;
}

int tc_py_queue_put(struct tc_py_queue *queue, PyObject *b_item)
{
    int full;

    if (put_begin(queue) < 0) {
        return -1;
    }
    full = is_full(queue);
    if (full > 0) {
        PyErr_SetNone(queue->bound.state->queue_full);
    }
    return full != 0 ? -1 : put_last(queue, b_item);
}

/* The second half of get_nowait(): it is not empty. A new reference, or NULL with an exception. */
static PyObject *get_first(struct tc_py_queue *queue)
{
    PyObject *item;

    if (tc_py_bound_check(&queue->bound, "Queue.get_nowait()") < 0) {
        return NULL;
    }
    item = take(queue);
    if (tc_likely(item != NULL)) {
        tc_py_line_release(&queue->putters);
    }
    return item;
}

PyObject *tc_py_queue_get(struct tc_py_queue *queue)
{
    struct tc_py_sync_state *state = queue->bound.state;
    int empty;

    if (tc_py_bound_check(&queue->bound, "Queue.get_nowait()") < 0) {
        return NULL;
    }
    empty = is_empty(queue);
    if (empty > 0) {
        PyErr_SetNone(queue->is_shut_down ? state->queue_shut_down : state->queue_empty);
    }
    return empty != 0 ? NULL : get_first(queue);
}

/* Everything that was put is done: whoever joins goes on. */
static void all_done(struct tc_py_queue *queue)
{
    (void)tc_py_line_wake(&queue->joiners, PY_SSIZE_T_MAX);
}

int tc_py_queue_done(struct tc_py_queue *queue)
{
    if (tc_py_bound_check(&queue->bound, "Queue.task_done()") < 0) {
        return -1;
    }
    if (queue->unfinished <= 0) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
        return -1;
    }
    if (--queue->unfinished == 0) {
        all_done(queue);
    }
    return 0;
}

/* Drop every item. Returns 0, or -1 with an exception set. */
static int drain(struct tc_py_queue *queue)
{
    int empty;

    while ((empty = is_empty(queue)) == 0) {
        PyObject *item = take(queue);

        if (item == NULL) {
            return -1;
        }
        Py_DECREF(item);
        if (queue->unfinished > 0) {
            queue->unfinished--;
        }
    }
    if (empty < 0) {
        return -1;
    }
    if (queue->unfinished == 0) {
        all_done(queue);
    }
    return 0;
}

int tc_py_queue_shut_down(struct tc_py_queue *queue, bool is_immediate)
{
    if (tc_py_bound_check(&queue->bound, "Queue.shutdown()") < 0) {
        return -1;
    }
    queue->is_shut_down = true;
    if (is_immediate && drain(queue) < 0) {
        return -1;
    }
    tc_py_line_release_all(&queue->getters);
    tc_py_line_release_all(&queue->putters);
    return 0;
}

/* ---- put() -------------------------------------------------------------------------------- */

/* Before the first wait and after each: put, unless there is no room again. */
static enum tc_py_outcome put_advance(struct tc_py_operation *op, PyObject **value)
{
    struct tc_py_wait *wait = tc_py_wait_of(op);
    struct tc_py_queue *queue = tc_py_queue_of(wait->owner);
    int full = is_full(queue);

    if (tc_unlikely(full < 0)) {
        return TC_PY_ERROR;
    }
    if (full) {
        if (tc_unlikely(queue->is_shut_down)) {
            PyErr_SetNone(queue->bound.state->queue_shut_down);
            return TC_PY_ERROR;
        }
        return tc_py_wait_enter(wait, &queue->putters);
    }
    if (tc_likely(queue->order != NULL)) {
        return put_begin(queue) < 0 || put_last(queue, wait->item) < 0 ? TC_PY_ERROR : TC_PY_DONE;
    }
    *value = PyObject_CallMethodOneArg((PyObject *)queue, queue->bound.state->str_put_nowait,
                                       wait->item);
    return *value == NULL ? TC_PY_ERROR : TC_PY_DONE;
}

/* Who was woken for a free place and does not take it wakes the next. */
static int put_unwind(struct tc_py_operation *op)
{
    struct tc_py_wait *wait = tc_py_wait_of(op);
    struct tc_py_queue *queue = tc_py_queue_of(wait->owner);
    int full;

    tc_py_wait_leave(wait);
    full = is_full(queue);
    if (full == 0 && wait->is_woken) {
        tc_py_line_release(&queue->putters);
    }
    return full < 0 ? -1 : 0;
}

static const struct tc_py_operation_ops put_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "Queue.put",
    .start = put_advance,
    .finish = put_advance,
    .withdraw = tc_py_wait_withdraw,
    .unwind = put_unwind,
    .starts_anywhere = true,
};

PyObject *tc_py_queue_put_operation(struct tc_py_queue *queue, PyObject *b_item)
{
    struct tc_py_wait *wait = tc_py_wait_new(&queue->bound, &put_ops);

    if (wait != NULL) {
        wait->item = Py_NewRef(b_item);
    }
    return (PyObject *)wait;
}

/* ---- get() -------------------------------------------------------------------------------- */

static enum tc_py_outcome get_advance(struct tc_py_operation *op, PyObject **value)
{
    struct tc_py_wait *wait = tc_py_wait_of(op);
    struct tc_py_queue *queue = tc_py_queue_of(wait->owner);
    int empty = is_empty(queue);

    if (tc_unlikely(empty < 0)) {
        return TC_PY_ERROR;
    }
    if (tc_likely(!empty && queue->order != NULL)) {
        *value = get_first(queue);
        return *value == NULL ? TC_PY_ERROR : TC_PY_DONE;
    }
    if (empty) {
        if (tc_unlikely(queue->is_shut_down)) {
            PyErr_SetNone(queue->bound.state->queue_shut_down);
            return TC_PY_ERROR;
        }
        return tc_py_wait_enter(wait, &queue->getters);
    }
    *value = PyObject_CallMethodNoArgs((PyObject *)queue, queue->bound.state->str_get_nowait);
    return *value == NULL ? TC_PY_ERROR : TC_PY_DONE;
}

static int get_unwind(struct tc_py_operation *op)
{
    struct tc_py_wait *wait = tc_py_wait_of(op);
    struct tc_py_queue *queue = tc_py_queue_of(wait->owner);
    int empty;

    tc_py_wait_leave(wait);
    empty = is_empty(queue);
    if (empty == 0 && wait->is_woken) {
        tc_py_line_release(&queue->getters);
    }
    return empty < 0 ? -1 : 0;
}

static const struct tc_py_operation_ops get_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "Queue.get",
    .start = get_advance,
    .finish = get_advance,
    .withdraw = tc_py_wait_withdraw,
    .unwind = get_unwind,
    .starts_anywhere = true,
};

PyObject *tc_py_queue_get_operation(struct tc_py_queue *queue)
{
    return (PyObject *)tc_py_wait_new(&queue->bound, &get_ops);
}

/* ---- join() ------------------------------------------------------------------------------- */

static enum tc_py_outcome join_start(struct tc_py_operation *op, PyObject **value)
{
    struct tc_py_queue *queue = tc_py_queue_of(tc_py_wait_of(op)->owner);

    (void)value;
    if (tc_py_bound_check(&queue->bound, "Queue.join()") < 0) {
        return TC_PY_ERROR;
    }
    return queue->unfinished <= 0 ? TC_PY_DONE
                                  : tc_py_wait_enter(tc_py_wait_of(op), &queue->joiners);
}

static enum tc_py_outcome join_finish(struct tc_py_operation *op, PyObject **value)
{
    (void)value;
    tc_py_wait_leave(tc_py_wait_of(op));
    return TC_PY_DONE;
}

static int join_unwind(struct tc_py_operation *op)
{
    tc_py_wait_leave(tc_py_wait_of(op));
    return 0;
}

static const struct tc_py_operation_ops join_ops = {
    .node = TC_PY_OPERATION_NODE,
    .name = "Queue.join",
    .start = join_start,
    .finish = join_finish,
    .withdraw = tc_py_wait_withdraw,
    .unwind = join_unwind,
    .starts_anywhere = true,
};

PyObject *tc_py_queue_join_operation(struct tc_py_queue *queue)
{
    return (PyObject *)tc_py_wait_new(&queue->bound, &join_ops);
}
