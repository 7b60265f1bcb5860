#include "python/http_door.h"

#include "python/errors.h"
#include "python/http_door_internal.h"
#include "python/process.h"

#include "base/mem.h"
#include "http/desk_file.h"

enum { BATCH = 128 }; /* requests handled before other nodes of the loop have their turn */

/* ---- ringing ------------------------------------------------------------------------------ */

static void desk_ring(struct tc_http_desk *desk)
{
    struct tc_py_box *box = tc__py_box_of(desk);

    /* acq_rel [http-door-ring]: what is on the desk, before the loop looks; it lowers the flag
     * first */
    if (tc_exchange_acq_rel(&box->is_posted, 1) == 0) {
        tc_http_desk_acquire(desk);
        tc_py_mailbox_post(box->mailbox, &box->message);
    }
}

static void desk_free(struct tc_http_desk *desk)
{
    struct tc_py_box *box = tc__py_box_of(desk);

    tc_py_mailbox_release(box->mailbox);
    tc_mem_free(box, sizeof(*box));
}

static const struct tc_http_desk_ops desk_ops = {.ring = desk_ring, .free = desk_free};

void tc__py_door_queue(struct tc_py_door *door)
{
    if (!door->is_queued) {
        door->is_queued = true;
        tc_py_loop_ready(door->loop, &door->node);
    }
}

static void box_deliver(struct tc_py_message *message, struct tc_py_loop *loop)
{
    struct tc_py_box *box = tc_container_of(message, struct tc_py_box, message);

    /* Without a loop or a door the flag stays up: nobody would take another message. */
    if (loop != NULL && box->door != NULL) {
        /* acq_rel [http-door-ring]: see desk_ring */
        (void)tc_exchange_acq_rel(&box->is_posted, 0);
        if (tc_list_is_empty(&box->door->in_loop)) {
            tc_list_push_back(&loop->doors, &box->door->in_loop);
        }
        tc__py_door_queue(box->door);
    }
    tc_http_desk_release(&box->desk); /* DO2 */
}

/* ---- calling ------------------------------------------------------------------------------ */

/* A task for a coroutine that may need one. */
static struct tc_py_task *take_spare(struct tc_py_door *door)
{
    struct tc_py_task *task = door->spare;

    door->spare = NULL;
    return task != NULL ? task : tc_py_task_new_idle(door->loop);
}

/* Run a coroutine (owned by the callee) until it ends or suspends. Returns 0, or -1 with what ends
 * the loop's run set. */
static int run_coroutine(struct tc_py_door *door, struct tc_py_request *b_request,
                         PyObject *coroutine)
{
    struct tc_py_task *task = take_spare(door);
    PyObject *context = task == NULL ? NULL : PyContext_Copy(door->context);
    PyObject *value = NULL;
    int result;

    if (context == NULL) {
        Py_XDECREF(task);
        Py_DECREF(coroutine);
        return tc__py_door_answer_error(door, b_request);
    }
    switch (tc_py_task_try(task, coroutine, Py_NewRef(context), &value)) {
    case TC_PY_TRY_DONE:
        result = tc__py_door_answer(door, b_request, value, context);
        break;
    case TC_PY_TRY_FAILED:
        result = tc__py_door_answer_error(door, b_request);
        break;
    default:
        result = tc__py_door_wait(door, b_request, task, false);
        if (result < 0) {
            result = tc__py_door_answer_error(door, b_request);
        }
        break;
    }
    Py_DECREF(context);
    if (tc_py_task_is_idle(task) && door->spare == NULL) {
        door->spare = task;
    } else {
        Py_DECREF(task);
    }
    return result;
}

static int call_handler(struct tc_py_door *door, struct tc_py_request *b_request)
{
    PyObject *b_route = PyTuple_GET_ITEM(door->routes, b_request->call->id);
    PyObject *context = PyContext_Copy(door->context);
    PyObject *value = NULL;
    int result;

    if (context != NULL && PyContext_Enter(context) == 0) {
        value = PyObject_CallOneArg(PyTuple_GET_ITEM(b_route, 0), (PyObject *)b_request);
        (void)PyContext_Exit(context); /* we are in it: it cannot fail */
    }
    if (value != NULL && PyCoro_CheckExact(value)) {
        result = run_coroutine(door, b_request, value);
    } else {
        result = tc__py_door_answer(door, b_request, value, context);
    }
    Py_XDECREF(context);
    return result;
}

/* Take a call to its handler; takes the reference. Returns 0, or -1 with what ends the loop's
 * run. */
static int handle(struct tc_py_door *door, struct tc_desk_call *call)
{
    PyObject *b_route = PyTuple_GET_ITEM(door->routes, call->id);
    struct tc_py_request *request;
    int result;

    if (tc_desk_call_is_abandoned(call)) {
        tc_desk_call_release(call);
        return 0;
    }
    request = tc_py_request_new(door->loop->state, call, PyTuple_GET_ITEM(b_route, 1));
    if (request == NULL) {
        PyErr_Clear(); /* the connection ends without an answer */
        tc_desk_call_answer(call, NULL);
        tc_desk_call_release(call);
        return 0;
    }
    result = call_handler(door, request);
    Py_DECREF(request);
    return result;
}

/* ---- the door ----------------------------------------------------------------------------- */

void tc__py_door_touch(struct tc_desk_call *call)
{
    struct tc_http_desk *desk = call->desk;
    struct tc_py_door *b_door = tc__py_box_of(desk)->door;

    if (!desk->hatches[call->home->index].is_dirty) {
        return;
    }
    if (b_door != NULL) {
        tc__py_door_queue(b_door);
    } else {
        tc_http_desk_flush(desk); /* in the door's end */
    }
}

int tc__py_door_check_fork(struct tc_py_request *b_request)
{
    if (tc_likely(b_request->generation == tc_py_process_generation())) {
        return 0;
    }
    (void)tc_py_error_forked("request");
    return -1;
}

int tc__py_door_check(struct tc_py_request *b_request, struct tc_py_loop *b_loop)
{
    if (tc__py_door_check_fork(b_request) < 0) {
        return -1;
    }
    if (b_loop->mailbox == tc__py_box_of(b_request->call->desk)->mailbox) {
        return 0;
    }
    PyErr_SetString(PyExc_RuntimeError, "the request is bound to a different event loop");
    return -1;
}

/* See what there is to notice about a call. */
static void look_at(struct tc_py_door *door, struct tc_desk_call *call)
{
    struct tc_py_pending *pending = call->user;
    int error = tc_desk_file_take_error(call);
    bool is_over = call->stream != NULL && tc_desk_stream_is_over(call);
    bool is_told =
        call->stream != NULL && tc__py_body_wake(call); /* by an exception, if it is over */

    is_over = tc_desk_call_is_abandoned(call) || (is_over && pending != NULL && pending->is_feed);
    if (pending != NULL && is_over && is_told) {
        tc__py_pending_cancel_later(pending);
    } else if (pending != NULL && is_over) {
        tc__py_pending_cancel(pending);
    } else if (pending != NULL && tc_desk_call_is_ended(call)) {
        tc__py_pending_cancel_later(pending);
    }
    if (call->stream != NULL) {
        tc__py_feed_wake(call);
    }
    if (error != 0) {
        tc__py_door_report_file(door, call, error);
    }
}

/* Whether the door serves on: no code of the user's has closed the loop, or forked, and this is the
 * child. */
static bool is_in_service(const struct tc_py_door *door)
{
    return door->box != NULL && door->loop->generation == tc_py_process_generation();
}

/* Connections have ended, streams have moved, or files could not be sent. */
static void look_at_all(struct tc_py_door *door)
{
    struct tc_link *link = tc_http_desk_take_gone(&door->box->desk);
    struct tc_desk_call *call;

    while ((call = tc_desk_call_next_gone(&link)) != NULL) {
        look_at(door, call);
        if (door->loop->generation != tc_py_process_generation()) {
            return; /* the rest is the parent's */
        }
        tc_desk_call_release(call);
    }
}

/* Put what waits on the desk behind what is left of the last batch. */
static void take_calls(struct tc_py_door *door)
{
    struct tc_link **end = &door->todo;

    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = tc_http_desk_take(&door->box->desk);
}

static struct tc_desk_call *next_call(struct tc_py_door *door)
{
    struct tc_desk_call *call =
        door->todo == NULL ? NULL : tc_container_of(door->todo, struct tc_desk_call, link);

    if (call != NULL) {
        door->todo = call->link.next;
    }
    return call;
}

/* The server is gone, or the loop: box and door let go of each other. */
static void door_end(struct tc_py_door *door)
{
    struct tc_py_box *box = door->box;
    struct tc_desk_call *call;

    if (box == NULL || door->loop->generation != tc_py_process_generation()) {
        return; /* the parent's is leaked */
    }
    (void)tc_exchange_acq_rel(&box->is_posted, 1); /* acq_rel [http-door-ring]: as in door_run */
    look_at_all(door);
    if (!is_in_service(door)) {
        return;
    }
    while (!tc_list_is_empty(&door->pending)) {
        struct tc_py_pending *pending =
            tc_container_of(door->pending.next, struct tc_py_pending, in_door);

        (void)tc__py_pending_let_go(pending); /* it is in the list */
        tc__py_pending_refuse(pending);
    }
    while ((call = next_call(door)) != NULL) {
        tc__py_door_answer_status(call, 503);
        tc_desk_call_release(call);
    }
    tc_http_desk_close(&box->desk);
    tc_http_desk_flush(&box->desk);
    door->box = NULL;
    box->door = NULL;
    if (!tc_list_is_empty(&door->in_loop)) {
        tc_list_remove(&door->in_loop);
    }
    tc_http_desk_release(&box->desk);
    Py_DECREF(door); /* DO1 */
}

/* The server is gone. Returns 0, or -1 with an exception set. */
static int server_gone(struct tc_py_door *door)
{
    PyObject *stop = door->stop;
    PyObject *result = NULL;

    door->stop = NULL;
    door_end(door);
    if (stop != NULL) {
        result = PyObject_CallNoArgs(stop);
        Py_DECREF(stop);
        if (result == NULL) {
            return -1;
        }
        Py_DECREF(result);
    }
    return 0;
}

/* Its turn: everything that has come by now. */
static int door_run(struct tc_py_node *node, struct tc_py_loop *loop)
{
    struct tc_py_door *door = tc_container_of(node, struct tc_py_door, node);
    struct tc_desk_call *call = NULL;
    int result = 0;

    (void)loop;
    door->is_queued = false;
    if (door->box == NULL) {
        return 0;
    }
    look_at_all(door);
    if (!is_in_service(door)) {
        return 0;
    }
    take_calls(door);
    for (int i = 0; i < BATCH && result == 0 && (call = next_call(door)) != NULL; i++) {
        result = handle(door, call);
        if (!is_in_service(door)) {
            return result;
        }
    }
    tc__py_door_flush(door);
    if (door->todo != NULL) {
        tc__py_door_queue(door);
    } else if (
        tc_load_seq_cst(&door->box->desk.is_detached) != 0 && result == 0 &&
        /* acq_rel [http-door-ring]: no message from here on; one that is under way comes first */
        tc_exchange_acq_rel(&door->box->is_posted, 1) == 0) {
        result = server_gone(door);
    }
    return result;
}

static const struct tc_py_node_ops door_ops = {
    .run = door_run,
    .future_done = NULL,
    .cancel_wait = NULL,
};

void tc_py_doors_drop(struct tc_py_loop *loop)
{
    while (!tc_list_is_empty(&loop->doors)) {
        struct tc_py_door *door = tc_container_of(loop->doors.next, struct tc_py_door, in_loop);

        tc_list_remove(&door->in_loop);
        tc_list_init(&door->in_loop);
        door_end(door);
    }
}

int tc_py_doors_traverse(struct tc_py_loop *loop, visitproc visit, void *arg)
{
    struct tc_list *at;

    TC_LIST_FOR_EACH (at, &loop->doors) {
        Py_VISIT(tc_container_of(at, struct tc_py_door, in_loop));
    }
    return 0;
}

/* ---- making ------------------------------------------------------------------------------- */

static struct tc_py_box *box_new(struct tc_py_loop *loop)
{
    struct tc_py_box *box = tc_mem_zalloc(sizeof(*box));

    if (box == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    box->mailbox = tc_py_loop_mailbox(loop);
    if (box->mailbox == NULL) {
        tc_mem_free(box, sizeof(*box));
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return NULL;
    }
    tc_http_desk_init(&box->desk, &desk_ops);
    box->message.deliver = box_deliver;
    return box;
}

struct tc_http_desk *tc_py_door_new(struct tc_py_loop *loop, PyObject *b_routes, PyObject *b_stop)
{
    PyTypeObject *type = loop->state->door_type;
    struct tc_py_door *door = (struct tc_py_door *)type->tp_alloc(type, 0);

    if (door == NULL) {
        return NULL;
    }
    door->node.ops = &door_ops;
    tc_list_init(&door->in_loop);
    tc_list_init(&door->pending);
    door->loop = (struct tc_py_loop *)Py_NewRef((PyObject *)loop);
    door->routes = Py_NewRef(b_routes);
    door->stop = Py_XNewRef(b_stop);
    door->context = PyContext_CopyCurrent();
    door->box = door->context == NULL ? NULL : box_new(loop);
    if (door->box == NULL) {
        Py_DECREF(door);
        return NULL;
    }
    door->box->door = door; /* DO1 */
    tc_http_desk_acquire(&door->box->desk); /* the door's */
    if (tc_py_loop_running() == loop) {
        tc_list_push_back(&loop->doors, &door->in_loop);
    }
    return &door->box->desk;
}

/* ---- types -------------------------------------------------------------------------------- */

static int door_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct tc_py_door *self = (struct tc_py_door *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->loop);
    Py_VISIT(self->routes);
    Py_VISIT(self->stop);
    Py_VISIT(self->context);
    Py_VISIT(self->spare);
    return 0;
}

static int door_clear(PyObject *object)
{
    struct tc_py_door *self = (struct tc_py_door *)object;

    Py_CLEAR(self->stop);
    Py_CLEAR(self->spare);
    return 0;
}

static void door_dealloc(PyObject *object)
{
    struct tc_py_door *self = (struct tc_py_door *)object;
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    (void)door_clear(object); /* cannot fail */
    Py_CLEAR(self->routes);
    Py_CLEAR(self->context);
    Py_CLEAR(self->loop);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyType_Slot door_slots[] = {
    {Py_tp_dealloc, door_dealloc},
    {Py_tp_traverse, door_traverse},
    {Py_tp_clear, door_clear},
    {0, NULL},
};

static PyType_Spec door_spec = {
    .name = "tinycoro._Door",
    .basicsize = sizeof(struct tc_py_door),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = door_slots,
};

int tc_py_add_door(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_request(module, state) < 0 || tc_py_add_response(module, state) < 0 ||
        tc__py_add_feed(module, state) < 0 ||
        tc_py_add_type(module, &door_spec, NULL, &state->door_type) < 0) {
        return -1;
    }
    return tc__py_add_pending(module, state);
}
