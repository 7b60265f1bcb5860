/* The Python types Queue, LifoQueue and PriorityQueue. */
#include "python/args.h"
#include "python/queue.h"

/* ---- put, get, join ------------------------------------------------------------------------- */

/* The one argument of put() and put_nowait(), borrowed; NULL with TypeError set. */
static PyObject *item_argument(const char *function, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *names)
{
    static const char *const parameters[] = {"item", NULL};
    struct tc_py_params params = {function, parameters, 1};
    PyObject *b_item = NULL;

    if (tc_likely(nargs == 1 && names == NULL)) {
        return args[0];
    }
    if (tc_py_bind(&params, args, nargs, names, &b_item) < 0) {
        return NULL;
    }
    if (b_item == NULL) {
        PyErr_Format(PyExc_TypeError, "%s() needs an item", function);
    }
    return b_item;
}

PyDoc_STRVAR(put_doc,
             "put($self, /, item)\n--\n\n"
             "Put an item into the queue; wait while it is full.\n\n"
             "Blocks: never; await it. Raises: QueueShutDown; RuntimeError if it has to wait\n"
             "in another event loop than somebody waited in before.");

static PyObject *queue_put(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    PyObject *b_item = item_argument("put", args, nargs, names);

    return b_item == NULL ? NULL : tc_py_queue_put_operation(tc_py_queue_of(self), b_item);
}

PyDoc_STRVAR(put_nowait_doc,
             "put_nowait($self, /, item)\n--\n\n"
             "Put an item into the queue without waiting.\n\n"
             "Raises: QueueFull, QueueShutDown; RuntimeError on another thread than that\n"
             "of the event loop in which somebody waited.");

static PyObject *queue_put_nowait(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *names)
{
    PyObject *b_item = item_argument("put_nowait", args, nargs, names);

    if (b_item == NULL || tc_py_queue_put(tc_py_queue_of(self), b_item) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(get_doc,
             "get($self, /)\n--\n\n"
             "Take an item out of the queue; wait while it is empty.\n\n"
             "Blocks: never; await it. Raises: QueueShutDown once a queue that was shut down\n"
             "is empty; RuntimeError as put().");

static PyObject *queue_get(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return tc_py_queue_get_operation(tc_py_queue_of(self));
}

PyDoc_STRVAR(get_nowait_doc, "get_nowait($self, /)\n--\n\n"
                             "Take an item out of the queue without waiting.\n\n"
                             "Raises: QueueEmpty, QueueShutDown; RuntimeError as put_nowait().");

static PyObject *queue_get_nowait(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return tc_py_queue_get(tc_py_queue_of(self));
}

PyDoc_STRVAR(join_doc, "join($self, /)\n--\n\n"
                       "Wait until task_done() was called for every item that was put.\n\n"
                       "Blocks: never; await it. Raises: RuntimeError as put().");

static PyObject *queue_join(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return tc_py_queue_join_operation(tc_py_queue_of(self));
}

PyDoc_STRVAR(task_done_doc, "task_done($self, /)\n--\n\n"
                            "Say that one item that was taken is dealt with; see join().\n\n"
                            "Raises: ValueError if it is called more often than items were put.");

static PyObject *queue_task_done(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (tc_py_queue_done(tc_py_queue_of(self)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(shutdown_doc,
             "shutdown($self, /, immediate=False)\n--\n\n"
             "Let put() raise QueueShutDown, and get() once the queue is empty.\n\n"
             "Whoever waits goes on. With `immediate` the items are dropped and count as\n"
             "dealt with.");

static PyObject *queue_shutdown(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *names)
{
    static const char *const parameters[] = {"immediate", NULL};
    static const struct tc_py_params params = {"shutdown", parameters, 1};
    PyObject *b_immediate = NULL;
    int immediate = 0;

    if (tc_py_bind(&params, args, nargs, names, &b_immediate) < 0) {
        return NULL;
    }
    if (b_immediate != NULL) {
        immediate = PyObject_IsTrue(b_immediate);
    }
    if (immediate < 0 || tc_py_queue_shut_down(tc_py_queue_of(self), immediate != 0) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- sizes -------------------------------------------------------------------------------- */

PyDoc_STRVAR(qsize_doc, "qsize($self, /)\n--\n\nReturn how many items are in the queue.");

static PyObject *queue_qsize(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Py_ssize_t size = tc_py_queue_size(tc_py_queue_of(self));

    return size < 0 ? NULL : PyLong_FromSsize_t(size);
}

PyDoc_STRVAR(empty_doc, "empty($self, /)\n--\n\nReturn whether the queue is empty.");

static PyObject *queue_empty(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    int empty = tc_py_queue_is_empty(tc_py_queue_of(self));

    return empty < 0 ? NULL : PyBool_FromLong(empty);
}

PyDoc_STRVAR(full_doc, "full($self, /)\n--\n\n"
                       "Return whether maxsize items are in the queue; without a maxsize, False.");

static PyObject *queue_full(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    int full = tc_py_queue_is_full(tc_py_queue_of(self));

    return full < 0 ? NULL : PyBool_FromLong(full);
}

/* ---- what a subclass overrides ------------------------------------------------------------- */

/* The order of the type whose method is called: it works on `_queue` as it is. */
static PyObject *hook_put(PyObject *self, const struct tc_py_queue_order *order, PyObject *b_item)
{
    if (tc_py_queue_store(tc_py_queue_of(self), order, b_item) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *hook_init(PyObject *self, const struct tc_py_queue_order *order)
{
    PyObject *items = order->make(tc_py_queue_of(self)->bound.state);

    if (items == NULL) {
        return NULL;
    }
    tc_py_queue_set_container(tc_py_queue_of(self), items);
    Py_RETURN_NONE;
}

static PyObject *fifo_init(PyObject *self, PyObject *Py_UNUSED(b_maxsize))
{
    return hook_init(self, &tc_py_queue_fifo);
}

static PyObject *fifo_put(PyObject *self, PyObject *b_item)
{
    return hook_put(self, &tc_py_queue_fifo, b_item);
}

static PyObject *fifo_get(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return tc_py_queue_take(tc_py_queue_of(self), &tc_py_queue_fifo);
}

static PyObject *list_init(PyObject *self, PyObject *Py_UNUSED(b_maxsize))
{
    return hook_init(self, &tc_py_queue_lifo); /* a heap begins as an empty list too */
}

static PyObject *lifo_put(PyObject *self, PyObject *b_item)
{
    return hook_put(self, &tc_py_queue_lifo, b_item);
}

static PyObject *lifo_get(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return tc_py_queue_take(tc_py_queue_of(self), &tc_py_queue_lifo);
}

static PyObject *priority_put(PyObject *self, PyObject *b_item)
{
    return hook_put(self, &tc_py_queue_priority, b_item);
}

static PyObject *priority_get(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return tc_py_queue_take(tc_py_queue_of(self), &tc_py_queue_priority);
}

/* ---- attributes --------------------------------------------------------------------------- */

static PyObject *attribute(PyObject *self, PyObject *b_value, const char *name)
{
    if (b_value == NULL) {
        return PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '%s'",
                            Py_TYPE(self)->tp_name, name);
    }
    return Py_NewRef(b_value);
}

static PyObject *get_maxsize(PyObject *self, void *Py_UNUSED(closure))
{
    return attribute(self, tc_py_queue_of(self)->maxsize, "_maxsize");
}

static PyObject *get_container(PyObject *self, void *Py_UNUSED(closure))
{
    return attribute(self, tc_py_queue_of(self)->container, "_queue");
}

static int set_container(PyObject *self, PyObject *b_value, void *Py_UNUSED(closure))
{
    tc_py_queue_set_container(tc_py_queue_of(self), Py_XNewRef(b_value));
    return 0;
}

/* ---- repr --------------------------------------------------------------------------------- */

/* Add to the text in *text what `format` makes of the arguments; *text is NULL once that failed. */
static void add(PyObject **text, const char *format, ...)
{
    PyObject *part;
    va_list arguments;

    if (*text == NULL) {
        return;
    }
    va_start(arguments, format);
    part = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    PyUnicode_AppendAndDel(text, part);
}

static void add_items(PyObject **text, struct tc_py_queue *queue)
{
    PyObject *items = Py_XNewRef(queue->container);
    int truth = items == NULL ? 0 : PyObject_IsTrue(items);
    PyObject *list = truth > 0 ? PySequence_List(items) : NULL;

    if (truth > 0 && list != NULL) {
        add(text, " _queue=%R", list);
    } else if (truth != 0) {
        Py_CLEAR(*text);
    }
    Py_XDECREF(list);
    Py_XDECREF(items);
}

/* "maxsize=0 _queue=[1] _getters[1] tasks=1 shutdown"; a new reference or NULL. */
static PyObject *describe(struct tc_py_queue *queue)
{
    PyObject *b_maxsize = queue->maxsize == NULL ? Py_None : queue->maxsize;
    PyObject *text = PyUnicode_FromFormat("maxsize=%R", b_maxsize);
    Py_ssize_t getters = tc_py_line_length(&queue->getters);
    Py_ssize_t putters = tc_py_line_length(&queue->putters);

    if (text != NULL) {
        add_items(&text, queue);
    }
    if (getters > 0) {
        add(&text, " _getters[%zd]", getters);
    }
    if (putters > 0) {
        add(&text, " _putters[%zd]", putters);
    }
    if (queue->unfinished != 0) {
        add(&text, " tasks=%zd", queue->unfinished);
    }
    if (queue->is_shut_down) {
        add(&text, " shutdown");
    }
    return text;
}

static PyObject *queue_format(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return describe(tc_py_queue_of(self));
}

static PyObject *queue_text(PyObject *self, bool with_address)
{
    PyObject *name = PyType_GetName(Py_TYPE(self));
    PyObject *text = name == NULL ? NULL : PyObject_CallMethod(self, "_format", NULL);
    PyObject *result = NULL;

    if (text != NULL) {
        result = with_address ? PyUnicode_FromFormat("<%U at %p %S>", name, self, text)
                              : PyUnicode_FromFormat("<%U %S>", name, text);
    }
    Py_XDECREF(name);
    Py_XDECREF(text);
    return result;
}

static PyObject *queue_repr(PyObject *self)
{
    return queue_text(self, true);
}

static PyObject *queue_str(PyObject *self)
{
    return queue_text(self, false);
}

/* ---- life --------------------------------------------------------------------------------- */

static const struct tc_py_queue_order *order_of(struct tc_py_sync_state *state, PyTypeObject *type)
{
    return type == state->queue_type            ? &tc_py_queue_fifo
           : type == state->lifo_queue_type     ? &tc_py_queue_lifo
           : type == state->priority_queue_type ? &tc_py_queue_priority
                                                : NULL;
}

static PyObject *queue_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                           PyObject *Py_UNUSED(kwargs))
{
    struct tc_py_queue *self = tc_py_queue_of(tc_py_bound_new(type));

    if (self != NULL) {
        self->order = order_of(self->bound.state, type);
        tc_list_init(&self->getters);
        tc_list_init(&self->putters);
        tc_list_init(&self->joiners);
    }
    return (PyObject *)self;
}

/* Take over maxsize, which may be anything that compares with an int. */
static void set_maxsize(struct tc_py_queue *queue, PyObject *maxsize)
{
    int overflow = 0;

    queue->is_limited = PyLong_CheckExact(maxsize);
    Py_XSETREF(queue->maxsize, maxsize);
    if (queue->is_limited) {
        queue->limit = PyLong_AsLongLongAndOverflow(maxsize, &overflow); /* cannot fail */
        if (overflow != 0) {
            queue->limit = overflow > 0 ? INT64_MAX : 0;
        }
    }
}

static int queue_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct tc_py_queue *queue = tc_py_queue_of(self);
    PyObject *b_maxsize = NULL;
    PyObject *maxsize;
    PyObject *result;

    if (tc_py_bound_argument(self, args, kwargs, "maxsize", &b_maxsize) < 0) {
        return -1;
    }
    maxsize = b_maxsize == NULL ? PyLong_FromLong(0) : Py_NewRef(b_maxsize);
    if (maxsize == NULL) {
        return -1;
    }
    set_maxsize(queue, maxsize);
    queue->unfinished = 0;
    if (queue->order != NULL) {
        result = hook_init(self, queue->order);
    } else {
        result = PyObject_CallMethodOneArg(self, queue->bound.state->str__init, queue->maxsize);
    }
    queue->is_shut_down = false;
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int queue_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(tc_py_queue_of(self)->container);
    Py_VISIT(tc_py_queue_of(self)->maxsize);
    return tc_py_bound_traverse(self, visit, arg);
}

static int queue_clear(PyObject *self)
{
    tc_py_queue_set_container(tc_py_queue_of(self), NULL);
    Py_CLEAR(tc_py_queue_of(self)->maxsize);
    return 0;
}

static void queue_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    if (tc_py_queue_of(self)->bound.weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    (void)queue_clear(self); /* cannot fail */
    tc_py_bound_dealloc(self);
}

/* ---- the types ---------------------------------------------------------------------------- */

PyDoc_STRVAR(queue_doc,
             "Queue(maxsize=0)\n--\n\n"
             "Items from tasks to tasks of one event loop, first in, first out;\n"
             "asyncio.Queue's interface.\n\n"
             "With a maxsize of 0 or less it is never full. It belongs to no event loop\n"
             "until somebody has to wait.\n"
             "Thread-safety: none; see Channel for what threads share.");

PyDoc_STRVAR(lifo_doc, "LifoQueue(maxsize=0)\n--\n\nA queue that gives the newest item first.");

PyDoc_STRVAR(priority_doc,
             "PriorityQueue(maxsize=0)\n--\n\nA queue that gives the smallest item first.");

static PyMethodDef queue_methods[] = {
    {"put", TC_PY_KEYWORD_FUNCTION(queue_put), METH_FASTCALL | METH_KEYWORDS, put_doc},
    {"put_nowait", TC_PY_KEYWORD_FUNCTION(queue_put_nowait), METH_FASTCALL | METH_KEYWORDS,
     put_nowait_doc},
    {"get", queue_get, METH_NOARGS, get_doc},
    {"get_nowait", queue_get_nowait, METH_NOARGS, get_nowait_doc},
    {"join", queue_join, METH_NOARGS, join_doc},
    {"task_done", queue_task_done, METH_NOARGS, task_done_doc},
    {"shutdown", TC_PY_KEYWORD_FUNCTION(queue_shutdown), METH_FASTCALL | METH_KEYWORDS,
     shutdown_doc},
    {"qsize", queue_qsize, METH_NOARGS, qsize_doc},
    {"empty", queue_empty, METH_NOARGS, empty_doc},
    {"full", queue_full, METH_NOARGS, full_doc},
    {"_init", fifo_init, METH_O, NULL},
    {"_put", fifo_put, METH_O, NULL},
    {"_get", fifo_get, METH_NOARGS, NULL},
    {"_format", queue_format, METH_NOARGS, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "See PEP 585."},
    {NULL, NULL, 0, NULL},
};

static PyObject *get_getters(PyObject *self, void *Py_UNUSED(closure))
{
    return tc_py_line_list(&tc_py_queue_of(self)->getters);
}

static PyObject *get_putters(PyObject *self, void *Py_UNUSED(closure))
{
    return tc_py_line_list(&tc_py_queue_of(self)->putters);
}

static PyGetSetDef queue_attributes[] = {
    {"maxsize", get_maxsize, NULL, "How many items make the queue full; 0 or less: none.", NULL},
    {"_queue", get_container, set_container, "The items.", NULL},
    {"_getters", get_getters, NULL, "Who waits in get().", NULL},
    {"_putters", get_putters, NULL, "Who waits in put().", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef queue_members[] = {
    {"_unfinished_tasks", Py_T_PYSSIZET, offsetof(struct tc_py_queue, unfinished), 0,
     "Items put, less task_done() calls."},
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(struct tc_py_bound, weakrefs), Py_READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, (void *)queue_doc},   {Py_tp_new, queue_new},
    {Py_tp_init, queue_init},         {Py_tp_dealloc, queue_dealloc},
    {Py_tp_traverse, queue_traverse}, {Py_tp_clear, queue_clear},
    {Py_tp_repr, queue_repr},         {Py_tp_str, queue_str},
    {Py_tp_methods, queue_methods},   {Py_tp_getset, queue_attributes},
    {Py_tp_members, queue_members},   {0, NULL},
};

static PyType_Spec queue_spec = {
    .name = "tinycoro.Queue",
    .basicsize = sizeof(struct tc_py_queue),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = queue_slots,
};

static PyMethodDef lifo_methods[] = {
    {"_init", list_init, METH_O, NULL},
    {"_put", lifo_put, METH_O, NULL},
    {"_get", lifo_get, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot lifo_slots[] = {
    {Py_tp_doc, (void *)lifo_doc}, {Py_tp_dealloc, queue_dealloc}, {Py_tp_traverse, queue_traverse},
    {Py_tp_clear, queue_clear},    {Py_tp_methods, lifo_methods},  {0, NULL},
};

static PyType_Spec lifo_spec = {
    .name = "tinycoro.LifoQueue",
    .basicsize = sizeof(struct tc_py_queue),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = lifo_slots,
};

static PyMethodDef priority_methods[] = {
    {"_init", list_init, METH_O, NULL},
    {"_put", priority_put, METH_O, NULL},
    {"_get", priority_get, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot priority_slots[] = {
    {Py_tp_doc, (void *)priority_doc}, {Py_tp_dealloc, queue_dealloc},
    {Py_tp_traverse, queue_traverse},  {Py_tp_clear, queue_clear},
    {Py_tp_methods, priority_methods}, {0, NULL},
};

static PyType_Spec priority_spec = {
    .name = "tinycoro.PriorityQueue",
    .basicsize = sizeof(struct tc_py_queue),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = priority_slots,
};

int tc_py_add_queues(PyObject *module, struct tc_py_sync_state *state)
{
    if (tc_py_add_bound_type(module, &queue_spec, NULL, &state->queue_type) < 0 ||
        tc_py_add_bound_type(module, &lifo_spec, state->queue_type, &state->lifo_queue_type) < 0) {
        return -1;
    }
    return tc_py_add_bound_type(module, &priority_spec, state->queue_type,
                                &state->priority_queue_type);
}
