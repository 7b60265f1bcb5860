/* A native server from a task: wait_closed(), serve_forever(), `async with`. */
#include "python/guest.h"
#include "python/loop.h"
#include "python/operation.h"
#include "python/server.h"
#include "python/wakeup.h"

#include "base/mem.h"

#include <errno.h>

enum wait_kind {
    WAIT_CLOSED,
    WAIT_SERVE, /* serve_forever: a cancel closes the server                                    */
    WAIT_ENTER, /* does not wait                                                                */
    WAIT_EXIT,  /* closes the server; a cancel aborts it                                        */
};

struct server_wait {
    struct tc_py_operation op;
    struct tc_py_server *server; /* owned                                                       */
    struct tc_py_native *record; /* one reference (O1 in server.h) while it waits               */
    struct tc_py_wakeup *wakeup; /* of the wait; its memory is a struct tc_server_waiter        */
    uint8_t kind;                /* enum wait_kind                                              */
    bool was_cancelled;
};

static struct server_wait *wait_of(struct tc_py_operation *op)
{
    return tc_container_of(op, struct server_wait, op);
}

static struct server_wait *wait_of_object(PyObject *object)
{
    return (struct server_wait *)object;
}

/* ---- the record ------------------------------------------------------------------------- */

static void release_record(struct server_wait *self, bool is_closed)
{
    struct tc_py_native *record = self->record;

    if (record != NULL) {
        self->record = NULL;
        tc_py_server_release(self->server, record, is_closed);
    }
}

/* Stop waiting, whatever the kind. */
static void leave(struct server_wait *self)
{
    struct tc_py_wakeup *wakeup = self->wakeup;
    bool is_closed = wakeup == NULL;

    self->wakeup = NULL;
    if (self->record == NULL) {
        return;
    }
    if (tc_py_server_of((PyObject *)self->server)->generation != tc_py_process_generation()) {
        self->record = NULL; /* the parent's: leaked, with the wakeup */
        return;
    }
    if (wakeup != NULL && tc_server_wait_withdraw(wakeup->memory)) {
        tc_py_wakeup_free(wakeup);
    } else if (wakeup != NULL) {
        is_closed = true;
        tc_py_wakeup_abandon(wakeup);
    }
    release_record(self, is_closed);
}

/* ---- the operation ---------------------------------------------------------------------- */

static void wait_arrived(struct tc_py_operation *op, struct tc_py_wakeup *wakeup)
{
    (void)wakeup;
    wait_of(op)->wakeup = NULL;
    if (op->state == TC_PY_OPERATION_SUSPENDED) {
        tc_py_operation_wake(op);
    }
}

/* The server is CLOSED. */
static enum tc_py_outcome wait_ended(struct server_wait *self)
{
    release_record(self, true);
    return tc_py_server_raise_failure(self->server) < 0 ? TC_PY_ERROR : TC_PY_DONE;
}

/* Begin to wait for the server whose record is held. */
static enum tc_py_outcome wait_begin(struct server_wait *self)
{
    struct tc_py_mailbox *mailbox = tc_py_operation_mailbox(&self->op);
    struct tc_py_wakeup *wakeup =
        mailbox == NULL ? NULL : tc_py_wakeup_new(mailbox, &self->op, wait_arrived);

    if (wakeup != NULL) {
        wakeup->size = sizeof(struct tc_server_waiter);
        wakeup->memory = tc_mem_alloc(wakeup->size);
    }
    if (wakeup == NULL || wakeup->memory == NULL) {
        if (wakeup != NULL) {
            tc_py_wakeup_free(wakeup);
            PyErr_NoMemory();
        }
        release_record(self, false);
        return TC_PY_ERROR;
    }
    if (tc_server_wait_start(self->record->server, wakeup->memory, &wakeup->waiter) == 0) {
        tc_py_wakeup_free(wakeup);
        return wait_ended(self);
    }
    self->wakeup = wakeup;
    return TC_PY_SUSPEND;
}

/* start(), for those kinds that do. Returns 0, or -1 with an exception set. */
static int start_server(struct server_wait *self)
{
    PyObject *result;

    if (self->kind == WAIT_SERVE && tc_py_server_is_running(self->server)) {
        return 0;
    }
    result = tc_py_server_start((PyObject *)self->server, NULL);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static enum tc_py_outcome wait_start(struct tc_py_operation *op, PyObject **value)
{
    struct server_wait *self = wait_of(op);

    if (tc_py_server_check(self->server) < 0 ||
        ((self->kind == WAIT_ENTER || self->kind == WAIT_SERVE) && start_server(self) < 0)) {
        return TC_PY_ERROR;
    }
    if (self->kind == WAIT_ENTER) {
        *value = Py_NewRef((PyObject *)self->server);
        return TC_PY_DONE;
    }
    self->record = tc_py_server_hold(self->server);
    if (self->record == NULL) {
        if (self->kind == WAIT_CLOSED && !tc_py_server_has_started(self->server)) {
            PyErr_Format(PyExc_RuntimeError, "%R was never started", self->server);
            return TC_PY_ERROR;
        }
        return wait_ended(self); /* somebody has closed it and waited for it */
    }
    if (self->kind == WAIT_EXIT) {
        tc_server_close(self->record->server);
    }
    return wait_begin(self);
}

static enum tc_py_outcome wait_finish(struct tc_py_operation *op, PyObject **value)
{
    (void)value;
    return wait_ended(wait_of(op));
}

/* A cancel: those who are responsible for the server see it to its end. */
static bool wait_withdraw(struct tc_py_operation *op)
{
    struct server_wait *self = wait_of(op);

    if (tc_py_server_of((PyObject *)self->server)->generation != tc_py_process_generation() ||
        self->kind == WAIT_CLOSED) {
        bool is_over = self->wakeup != NULL;

        leave(self);
        return is_over;
    }
    if (self->record != NULL) {
        if (self->kind == WAIT_EXIT || self->was_cancelled) {
            tc_server_abort(self->record->server);
        } else {
            tc_server_close(self->record->server);
        }
    }
    self->was_cancelled = true;
    return false;
}

static void wait_give_back(struct tc_py_operation *op)
{
    leave(wait_of(op));
}

static const struct tc_py_operation_ops wait_ops[] = {
#define OPS(kind, name_) \
    [kind] = { \
        .node = TC_PY_OPERATION_NODE, \
        .name = name_, \
        .delivery_wins = false, \
        .has_guests = true, \
        .start = wait_start, \
        .finish = wait_finish, \
        .withdraw = wait_withdraw, \
        .give_back = wait_give_back, \
    }
    OPS(WAIT_CLOSED, "wait_closed"),
    OPS(WAIT_SERVE, "serve_forever"),
    OPS(WAIT_ENTER, "__aenter__"),
    OPS(WAIT_EXIT, "__aexit__"),
#undef OPS
};

/* ---- the object ------------------------------------------------------------------------- */

static int wait_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct server_wait *self = wait_of_object(object);

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->server);
    Py_VISIT(self->op.message);
    Py_VISIT(self->op.guest);
    return 0;
}

static int wait_clear(PyObject *object)
{
    struct server_wait *self = wait_of_object(object);

    tc_py_operation_clear(&self->op);
    leave(self);
    tc_py_guest_leave(&self->op);
    Py_CLEAR(self->server);
    return 0;
}

static PyType_Slot wait_slots[] = {
    {Py_tp_dealloc, tc_py_operation_dealloc},
    {Py_tp_finalize, tc_py_operation_finalize},
    {Py_tp_traverse, wait_traverse},
    {Py_tp_clear, wait_clear},
    {0, NULL},
};

static PyType_Spec wait_spec = {
    .name = "tinycoro._ServerWait",
    .basicsize = sizeof(struct server_wait),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = wait_slots,
};

static PyObject *wait_new(PyObject *server, enum wait_kind kind)
{
    struct tc_py_loop_state *state = tc_py_loop_state_of_type(Py_TYPE(server));
    PyTypeObject *type = state == NULL ? NULL : state->server_wait_type;
    struct server_wait *self;

    if (type == NULL) {
        return PyErr_Format(PyExc_RuntimeError, "the interpreter is exiting");
    }
    self = wait_of_object(type->tp_alloc(type, 0));
    if (self == NULL) {
        return NULL;
    }
    tc_py_operation_init(&self->op, &wait_ops[kind]);
    self->server = (struct tc_py_server *)Py_NewRef(server);
    self->kind = (uint8_t)kind;
    return (PyObject *)self;
}

PyObject *tc_py_server_wait_closed(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    return wait_new(object, WAIT_CLOSED);
}

PyObject *tc_py_server_serve_forever(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    return wait_new(object, WAIT_SERVE);
}

PyObject *tc_py_server_aenter(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    return wait_new(object, WAIT_ENTER);
}

PyObject *tc_py_server_aexit(PyObject *object, PyObject *const *Py_UNUSED(args),
                             Py_ssize_t Py_UNUSED(nargs))
{
    return wait_new(object, WAIT_EXIT);
}

int tc_py_add_server_wait(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_type(module, &wait_spec, state->operation_type, &state->server_wait_type) < 0) {
        return -1;
    }
    return tc_py_register_coroutine(state, state->server_wait_type);
}
