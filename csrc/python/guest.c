/* Futures that stand in for our operations in the tasks of other loops, and their inboxes. */
#include "python/guest.h"

#include "python/args.h"
#include "python/errors.h"
#include "python/loop.h"
#include "python/mailbox.h"

#include "base/list.h"

#include <stddef.h>

/* ---- inboxes ---------------------------------------------------------------------------- */

struct guest_inbox {
    PyObject_HEAD struct tc_py_mailbox *mailbox; /* one reference                               */
    struct tc_list guests; /* of struct tc_py_guest, pending                                    */
    PyObject *weakrefs;
};

struct tc_py_guest {
    PyObject_HEAD PyObject *loop; /* owned; asyncio's                                           */
    struct tc_list link; /* in the guests of the loop's inbox while op is not NULL and that lives */
    struct tc_py_mailbox *mailbox; /* one reference, or NULL                                    */
    PyObject *callbacks; /* owned; a list of (callback, context), NULL when called              */
    PyObject *message; /* owned; of cancel(), or NULL                                           */
    struct tc_py_operation *op; /* owned while pending: the task holds the guest only           */
    bool is_blocking; /* _asyncio_future_blocking                                               */
    bool is_cancelled;
};

/* The reader that the other loop calls. */
static PyObject *inbox_call(PyObject *self, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    Py_INCREF(self); /* a callback may close the loop, which drops us */
    tc_py_mailbox_drain_guest(((struct guest_inbox *)self)->mailbox);
    Py_DECREF(self);
    Py_RETURN_NONE;
}

static void inbox_dealloc(PyObject *self)
{
    struct guest_inbox *inbox = (struct guest_inbox *)self;
    struct tc_py_mailbox *mailbox = inbox->mailbox;
    PyTypeObject *type = Py_TYPE(self);
    struct tc_list *link;

    if (inbox->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    while ((link = tc_list_pop_front(&inbox->guests)) != NULL) {
        struct tc_py_operation *op = tc_container_of(link, struct tc_py_guest, link)->op;

        Py_INCREF(op);
        tc_py_operation_clear(op);
        tc_py_guest_leave(op);
        Py_DECREF(op);
    }
    if (mailbox != NULL) {
        tc_py_mailbox_close(mailbox);
        tc_py_mailbox_release(mailbox);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef inbox_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(struct guest_inbox, weakrefs), Py_READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot inbox_slots[] = {
    {Py_tp_dealloc, inbox_dealloc},
    {Py_tp_members, inbox_members},
    {Py_tp_call, inbox_call},
    {0, NULL},
};

static PyType_Spec inbox_spec = {
    .name = "tinycoro._Inbox",
    .basicsize = sizeof(struct guest_inbox),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = inbox_slots,
};

/* Make the inbox of `b_loop` and let the loop watch it. A new reference or NULL. */
static PyObject *inbox_new(struct tc_py_loop_state *state, PyObject *b_loop)
{
    PyObject *self = state->inbox_type->tp_alloc(state->inbox_type, 0);
    PyObject *weak = NULL;
    PyObject *result = NULL;
    int error;

    if (self == NULL) {
        return NULL;
    }
    tc_list_init(&((struct guest_inbox *)self)->guests);
    error = tc_py_mailbox_new_guest(&((struct guest_inbox *)self)->mailbox);
    if (error < 0) {
        Py_DECREF(self);
        return tc_py_error_os(error, "cannot wait in another loop", "inbox");
    }
    result =
        PyObject_CallMethod(b_loop, "add_reader", "iO",
                            tc_py_mailbox_guest_fd(((struct guest_inbox *)self)->mailbox), self);
    weak = result == NULL ? NULL : PyWeakref_NewRef(self, NULL);
    if (weak == NULL || PyObject_SetItem(state->inboxes, b_loop, weak) < 0) {
        Py_CLEAR(result);
    }
    Py_XDECREF(weak);
    if (result == NULL) {
        Py_CLEAR(self);
    }
    Py_XDECREF(result);
    return self;
}

/* The inbox of the loop: a new reference or NULL. */
static PyObject *inbox_of(struct tc_py_loop_state *state, PyObject *b_loop)
{
    PyObject *weak = PyObject_GetItem(state->inboxes, b_loop);
    PyObject *inbox = weak == NULL ? NULL : PyObject_CallNoArgs(weak);

    Py_XDECREF(weak);
    if (inbox != NULL && inbox != Py_None) {
        return inbox;
    }
    Py_XDECREF(inbox); /* None: it went with the reader */
    if (weak == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_KeyError)) {
            return NULL;
        }
        PyErr_Clear();
    } else if (inbox == NULL) {
        return NULL;
    }
    return inbox_new(state, b_loop);
}

/* ---- the future ------------------------------------------------------------------------- */

static struct tc_py_guest *guest_of(PyObject *self)
{
    return (struct tc_py_guest *)self;
}

/* Let the loop call everybody soon, in their contexts. Returns 0, or -1 with an exception set. */
static int guest_schedule(struct tc_py_guest *self)
{
    PyObject *callbacks = self->callbacks;
    PyObject *method = NULL;
    PyObject *names = NULL;
    int status = 0;

    self->callbacks = NULL;
    if (callbacks == NULL) {
        return 0;
    }
    method = PyObject_GetAttrString(self->loop, "call_soon");
    names = Py_BuildValue("(s)", "context");
    if (method == NULL || names == NULL) {
        status = -1;
    }
    for (Py_ssize_t i = 0; status == 0 && i < PyList_GET_SIZE(callbacks); i++) {
        PyObject *b_entry = PyList_GET_ITEM(callbacks, i);
        PyObject *b_args[3] = {PyTuple_GET_ITEM(b_entry, 0), (PyObject *)self,
                               PyTuple_GET_ITEM(b_entry, 1)};
        PyObject *handle = PyObject_Vectorcall(method, b_args, 2, names);

        status = handle == NULL ? -1 : 0;
        Py_XDECREF(handle);
    }
    Py_XDECREF(method);
    Py_XDECREF(names);
    Py_DECREF(callbacks);
    return status;
}

PyDoc_STRVAR(get_loop_doc, "get_loop($self, /)\n--\n\nReturn the loop that waits.");

static PyObject *guest_get_loop(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(guest_of(self)->loop);
}

PyDoc_STRVAR(add_done_callback_doc, "add_done_callback($self, fn, /, *, context=None)\n--\n\n"
                                    "Have fn(self) called soon after the wait is over.");

static PyObject *guest_add_done_callback(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                         PyObject *names)
{
    static const char *const parameters[] = {"fn", "context", NULL};
    static const struct tc_py_params params = {"add_done_callback", parameters, 1};
    struct tc_py_guest *self = guest_of(object);
    PyObject *b_values[2];
    PyObject *context;
    PyObject *entry;
    int status;

    if (tc_py_bind(&params, args, nargs, names, b_values) < 0) {
        return NULL;
    }
    if (b_values[0] == NULL) {
        return PyErr_Format(PyExc_TypeError, "add_done_callback() needs a callback");
    }
    context = b_values[1] == NULL || b_values[1] == Py_None ? PyContext_CopyCurrent()
                                                            : Py_NewRef(b_values[1]);
    entry = context == NULL ? NULL : PyTuple_Pack(2, b_values[0], context);
    Py_XDECREF(context);
    if (entry == NULL) {
        return NULL;
    }
    if (self->callbacks == NULL) {
        self->callbacks = PyList_New(0);
    }
    status = self->callbacks == NULL ? -1 : PyList_Append(self->callbacks, entry);
    Py_DECREF(entry);
    if (status == 0 && self->op == NULL) {
        status = guest_schedule(self); /* over already */
    }
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(remove_done_callback_doc,
             "remove_done_callback($self, fn, /)\n--\n\n"
             "Forget every registration of fn; return how many there were.");

static PyObject *guest_remove_done_callback(PyObject *object, PyObject *b_callback)
{
    struct tc_py_guest *self = guest_of(object);
    Py_ssize_t count = self->callbacks == NULL ? 0 : PyList_GET_SIZE(self->callbacks);
    PyObject *rest = PyList_New(0);
    int status = rest == NULL ? -1 : 0;

    for (Py_ssize_t i = 0; status == 0 && i < count; i++) {
        PyObject *entry = Py_NewRef(PyList_GET_ITEM(self->callbacks, i));
        int is_same = PyObject_RichCompareBool(PyTuple_GET_ITEM(entry, 0), b_callback, Py_EQ);

        status = is_same < 0 ? -1 : is_same ? 0 : PyList_Append(rest, entry);
        Py_DECREF(entry);
        if (self->callbacks == NULL || PyList_GET_SIZE(self->callbacks) < count) {
            break; /* the comparison has changed the list */
        }
    }
    if (status < 0) {
        Py_XDECREF(rest);
        return NULL;
    }
    count -= PyList_GET_SIZE(rest);
    Py_XSETREF(self->callbacks, rest);
    return PyLong_FromSsize_t(count);
}

PyDoc_STRVAR(cancel_doc,
             "cancel($self, /, msg=None)\n--\n\n"
             "Give the wait up. Return False if it is over, or something has been handed over.");

static PyObject *guest_cancel(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *names)
{
    static const char *const parameters[] = {"msg", NULL};
    static const struct tc_py_params params = {"cancel", parameters, 1};
    struct tc_py_guest *self = guest_of(object);
    struct tc_py_operation *op = self->op;
    PyObject *b_message = NULL;

    if (tc_py_bind(&params, args, nargs, names, &b_message) < 0) {
        return NULL;
    }
    if (op == NULL && self->callbacks == NULL) {
        Py_RETURN_FALSE;
    }
    if (op != NULL) { /* else its inbox has gone, and nobody else will wake the task */
        if (op->state != TC_PY_OPERATION_SUSPENDED || !op->ops->withdraw(op)) {
            Py_RETURN_FALSE;
        }
        op->state = TC_PY_OPERATION_CANCELLED;
    }
    self->is_cancelled = true;
    Py_XSETREF(self->message, Py_XNewRef(b_message == Py_None ? NULL : b_message));
    if (guest_schedule(self) < 0) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

PyDoc_STRVAR(result_doc, "result($self, /)\n--\n\n"
                         "Return None, or raise CancelledError: the value is the operation's.");

static PyObject *guest_result(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_guest *self = guest_of(object);
    struct tc_py_loop_state *state = tc_py_loop_state_of_type(Py_TYPE(object));

    if (state == NULL || !self->is_cancelled) {
        Py_RETURN_NONE;
    }
    if (self->message == NULL) {
        PyErr_SetNone(state->cancelled_error);
    } else {
        PyErr_SetObject(state->cancelled_error, self->message);
    }
    return NULL;
}

PyDoc_STRVAR(done_doc, "done($self, /)\n--\n\nWhether the wait is over.");

static PyObject *guest_done(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct tc_py_operation *op = guest_of(object)->op;

    return PyBool_FromLong(op == NULL || op->state != TC_PY_OPERATION_SUSPENDED);
}

PyDoc_STRVAR(cancelled_doc, "cancelled($self, /)\n--\n\nWhether it was given up.");

static PyObject *guest_cancelled(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(guest_of(object)->is_cancelled);
}

static PyObject *guest_get_blocking(PyObject *object, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(guest_of(object)->is_blocking);
}

static int guest_set_blocking(PyObject *object, PyObject *b_value, void *Py_UNUSED(closure))
{
    int is_true = b_value == NULL ? -1 : PyObject_IsTrue(b_value);

    if (is_true >= 0) {
        guest_of(object)->is_blocking = is_true != 0;
    } else if (b_value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
    }
    return is_true < 0 ? -1 : 0;
}

/* Not pending any more. */
static void forget_operation(struct tc_py_guest *self)
{
    tc_list_remove(&self->link); /* of no list, if the inbox has gone */
    Py_CLEAR(self->op);
}

static int guest_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct tc_py_guest *self = guest_of(object);

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->loop);
    Py_VISIT(self->callbacks);
    Py_VISIT(self->message);
    Py_VISIT(self->op);
    return 0;
}

static int guest_clear(PyObject *object)
{
    struct tc_py_guest *self = guest_of(object);

    forget_operation(self);
    Py_CLEAR(self->callbacks);
    Py_CLEAR(self->message);
    Py_CLEAR(self->loop);
    return 0;
}

static void guest_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    (void)guest_clear(object); /* cannot fail */
    if (guest_of(object)->mailbox != NULL) {
        tc_py_mailbox_release(guest_of(object)->mailbox);
    }
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef guest_methods[] = {
    {"get_loop", guest_get_loop, METH_NOARGS, get_loop_doc},
    {"add_done_callback", TC_PY_KEYWORD_FUNCTION(guest_add_done_callback),
     METH_FASTCALL | METH_KEYWORDS, add_done_callback_doc},
    {"remove_done_callback", guest_remove_done_callback, METH_O, remove_done_callback_doc},
    {"cancel", TC_PY_KEYWORD_FUNCTION(guest_cancel), METH_FASTCALL | METH_KEYWORDS, cancel_doc},
    {"result", guest_result, METH_NOARGS, result_doc},
    {"done", guest_done, METH_NOARGS, done_doc},
    {"cancelled", guest_cancelled, METH_NOARGS, cancelled_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef guest_attributes[] = {
    {"_asyncio_future_blocking", guest_get_blocking, guest_set_blocking, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot guest_slots[] = {
    {Py_tp_dealloc, guest_dealloc}, {Py_tp_traverse, guest_traverse}, {Py_tp_clear, guest_clear},
    {Py_tp_methods, guest_methods}, {Py_tp_getset, guest_attributes}, {0, NULL},
};

static PyType_Spec guest_spec = {
    .name = "tinycoro._Guest",
    .basicsize = sizeof(struct tc_py_guest),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = guest_slots,
};

/* ---- for operations --------------------------------------------------------------------- */

/* The loop of asyncio's that runs on this thread: a new reference, or NULL with RuntimeError. */
static PyObject *other_loop(struct tc_py_loop_state *state, const char *name)
{
    PyObject *loop = PyObject_CallNoArgs(state->get_running_loop);

    if (loop != NULL && (loop == Py_None || tc_py_loop_running() != NULL)) {
        Py_CLEAR(loop);
        PyErr_Format(
            PyExc_RuntimeError,
            "%s() can be awaited only in a task of a running loop, tinycoro's or asyncio's", name);
    }
    return loop;
}

struct tc_py_mailbox *tc_py_guest_mailbox(struct tc_py_operation *op)
{
    struct tc_py_loop_state *state = tc_py_loop_state_of_type(Py_TYPE(op));
    struct tc_py_guest *guest = NULL;
    PyObject *loop = state == NULL ? NULL : other_loop(state, op->ops->name);
    PyObject *inbox = loop == NULL ? NULL : inbox_of(state, loop);

    if (inbox != NULL) {
        guest = (struct tc_py_guest *)state->guest_type->tp_alloc(state->guest_type, 0);
    }
    if (guest == NULL) {
        Py_XDECREF(loop);
        Py_XDECREF(inbox);
        return NULL;
    }
    guest->loop = loop;
    guest->mailbox = ((struct guest_inbox *)inbox)->mailbox;
    tc_py_mailbox_acquire(guest->mailbox);
    tc_list_push_back(&((struct guest_inbox *)inbox)->guests, &guest->link);
    Py_DECREF(inbox); /* its loop keeps it */
    guest->op = (struct tc_py_operation *)Py_NewRef(op);
    guest->is_blocking = true;
    tc_py_guest_leave(op);
    op->guest = (PyObject *)guest;
    return guest->mailbox;
}

void tc_py_guest_wake(struct tc_py_operation *op)
{
    PyObject *guest = op->guest;

    if (guest == NULL) {
        return;
    }
    Py_INCREF(guest);
    if (guest_schedule(guest_of(guest)) < 0) {
        PyErr_WriteUnraisable(guest);
    }
    Py_DECREF(guest);
}

void tc_py_guest_leave(struct tc_py_operation *op)
{
    struct tc_py_guest *guest = (struct tc_py_guest *)op->guest;

    if (guest == NULL) {
        return;
    }
    op->guest = NULL;
    forget_operation(guest); /* not the last reference: the caller holds the operation */
    Py_DECREF(guest);
}

/* The cancel that came too late, one turn later: `self` is (task, arguments of cancel). By then the
 * task has returned, and its result stands, or it waits, and the cancel ends that wait. */
static PyObject *cancel_late(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *b_task = PyTuple_GET_ITEM(self, 0);
    PyObject *count = PyObject_CallMethod(b_task, "cancelling", NULL);
    PyObject *method;
    PyObject *result;

    if (count == NULL) {
        return NULL;
    }
    if (PyObject_IsTrue(count) <= 0) { /* taken back meanwhile, as asyncio.timeout() does */
        return count;
    }
    Py_DECREF(count);
    method = PyObject_GetAttrString(b_task, "cancel");
    result = method == NULL ? NULL : PyObject_CallObject(method, PyTuple_GET_ITEM(self, 1));
    Py_XDECREF(method);
    if (result != NULL) { /* the count holds this cancel already */
        Py_SETREF(result, PyObject_CallMethod(b_task, "uncancel", NULL));
    }
    return result;
}

static PyMethodDef cancel_late_def = {"_cancel_late", cancel_late, METH_NOARGS, NULL};

/* Have the running task of asyncio cancelled in the next turn. Returns 0, or -1 with an
 * exception. */
static int cancel_next_turn(struct tc_py_guest *guest, PyObject *b_exception)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    PyObject *task = asyncio == NULL ? NULL : PyObject_CallMethod(asyncio, "current_task", NULL);
    PyObject *args = task == NULL ? NULL : PyObject_GetAttrString(b_exception, "args");
    PyObject *self = args == NULL ? NULL : PyTuple_Pack(2, task, args);
    PyObject *callback = self == NULL ? NULL : PyCFunction_New(&cancel_late_def, self);
    PyObject *handle =
        callback == NULL ? NULL : PyObject_CallMethod(guest->loop, "call_soon", "O", callback);

    Py_XDECREF(asyncio);
    Py_XDECREF(task);
    Py_XDECREF(args);
    Py_XDECREF(self);
    Py_XDECREF(callback);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

bool tc_py_guest_delivery_wins(struct tc_py_operation *op, PyObject *b_exception)
{
    struct tc_py_loop_state *state;

    if (op->guest == NULL || op->state != TC_PY_OPERATION_WOKEN || !op->ops->delivery_wins) {
        return false;
    }
    state = tc_py_loop_state_of_type(Py_TYPE(op));
    if (state == NULL || !PyErr_GivenExceptionMatches(b_exception, state->cancelled_error)) {
        return false;
    }
    if (cancel_next_turn(guest_of(op->guest), b_exception) < 0) {
        PyErr_Clear(); /* no task to speak of: then the exception is thrown */
        return false;
    }
    return true;
}

PyObject *tc_py_guest_call_later(struct tc_py_operation *op, double delay, PyObject *b_callback)
{
    return PyObject_CallMethod(guest_of(op->guest)->loop, "call_later", "dO", delay, b_callback);
}

int tc_py_add_guest(PyObject *module, struct tc_py_loop_state *state)
{
    PyObject *weakref = PyImport_ImportModule("weakref");

    if (weakref != NULL) {
        state->inboxes = PyObject_CallMethod(weakref, "WeakKeyDictionary", NULL);
        Py_DECREF(weakref);
    }
    if (state->inboxes == NULL) {
        return -1;
    }
    if (tc_py_add_type(module, &guest_spec, NULL, &state->guest_type) < 0) {
        return -1;
    }
    return tc_py_add_type(module, &inbox_spec, NULL, &state->inbox_type);
}
