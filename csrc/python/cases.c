#include "python/cases.h"

#include "python/args.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>

size_t tc_py_cases_size(const struct tc_py_cases *self)
{
    return self->count * (sizeof(*self->cases) + sizeof(struct tc_py_channel *));
}

/* ---- arguments -------------------------------------------------------------------------- */

/* Take channel and item of the operation that case `index` is. Returns 0, or -1 with an
 * exception. */
static int take_case(struct tc_py_cases *self, struct tc_py_loop_state *state, uint32_t index,
                     PyObject *b_object)
{
    struct tc_py_channel_operation *operation = (struct tc_py_channel_operation *)b_object;
    struct tc_select_case *c = &self->cases[index];

    if (b_object == Py_None) {
        return 0;
    }
    if (!Py_IS_TYPE(b_object, state->channel_operation_type) ||
        operation->kind == TC_PY_CHANNEL_NEXT) {
        PyErr_Format(PyExc_TypeError,
                     "a case must be channel.send(item), channel.recv() or None, not %R", b_object);
        return -1;
    }
    if (operation->op.state != TC_PY_OPERATION_NEW) {
        PyErr_Format(PyExc_RuntimeError, "cannot reuse already awaited '%s'",
                     operation->op.ops->name);
        return -1;
    }
    operation->op.state = TC_PY_OPERATION_FINISHED;
    self->channels[index] = operation->channel;
    c->channel = operation->channel->channel;
    c->value = operation->value;
    c->kind = operation->kind == TC_PY_CHANNEL_SEND ? TC_SELECT_SEND : TC_SELECT_RECV;
    operation->channel = NULL;
    operation->value.kind = TC_VALUE_NONE;
    self->active++;
    return 0;
}

static int parse_keywords(struct tc_py_cases *self, const char *function, PyObject *const *b_values,
                          PyObject *names)
{
    static const char *const parameters[] = {"timeout", "default", NULL};
    struct tc_py_params params = {function, parameters, 0};
    PyObject *b_given[2];

    self->timeout_ns = TC_NEVER;
    if (tc_py_bind(&params, b_values, 0, names, b_given) < 0 ||
        tc_py_timeout(b_given[0], "timeout", &self->timeout_ns) < 0) {
        return -1;
    }
    self->default_value = Py_XNewRef(b_given[1]);
    if (self->default_value != NULL && self->timeout_ns != TC_NEVER) {
        PyErr_Format(PyExc_ValueError,
                     "%s() takes a timeout or a default, not both: with a default it never waits",
                     function);
        return -1;
    }
    return 0;
}

/* The select is refused: one exception is enough, without a warning for each case. */
static void spend(struct tc_py_loop_state *state, PyObject *const *args, Py_ssize_t nargs)
{
    for (Py_ssize_t i = 0; i < nargs; i++) {
        struct tc_py_operation *op = (struct tc_py_operation *)args[i];

        if (Py_IS_TYPE(args[i], state->channel_operation_type) &&
            op->state == TC_PY_OPERATION_NEW) {
            op->state = TC_PY_OPERATION_FINISHED;
        }
    }
}

static int parse(struct tc_py_cases *self, struct tc_py_loop_state *state, const char *function,
                 PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    if (parse_keywords(self, function, args + nargs, names) < 0) {
        return -1;
    }
    if (nargs > TC_SELECT_CASES_MAX) {
        PyErr_Format(PyExc_ValueError, "%s() takes at most %d cases, %zd given", function,
                     TC_SELECT_CASES_MAX, nargs);
        return -1;
    }
    self->count = (uint32_t)nargs;
    if (nargs > 0) {
        self->cases = tc_mem_zalloc(tc_py_cases_size(self));
        if (self->cases == NULL) {
            self->count = 0; /* first: the collector looks at them while the exception is made */
            PyErr_NoMemory();
            return -1;
        }
        self->channels = (struct tc_py_channel **)(void *)&self->cases[nargs];
    }
    for (uint32_t i = 0; i < self->count; i++) {
        if (take_case(self, state, i, args[i]) < 0) {
            return -1;
        }
    }
    if (self->active == 0 && self->default_value == NULL && self->timeout_ns == TC_NEVER) {
        PyErr_Format(PyExc_ValueError,
                     "%s() has no case, no timeout and no default: it would wait for ever",
                     function);
        return -1;
    }
    return 0;
}

int tc_py_cases_parse(struct tc_py_cases *self, struct tc_py_loop_state *state,
                      const char *function, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *names)
{
    int result = parse(self, state, function, args, nargs, names);

    if (result < 0) {
        spend(state, args, nargs);
    }
    return result;
}

/* ---- outcomes --------------------------------------------------------------------------- */

bool tc_py_cases_are_lost(const struct tc_py_cases *self)
{
    for (uint32_t i = 0; i < self->count; i++) {
        if (self->channels[i] != NULL && tc_py_channel_is_lost(self->channels[i])) {
            return true;
        }
    }
    return false;
}

int tc_py_cases_try(struct tc_py_cases *self)
{
    for (uint32_t i = 0; i < self->count; i++) {
        struct tc_py_channel *channel = self->channels[i];

        if (channel == NULL) {
            continue;
        }
        if (tc_py_channel_is_lost(channel)) {
            tc_py_channel_set_closed(channel, (Py_ssize_t)i);
            return -EPIPE;
        }
        tc_py_channel_approach(channel);
    }
    return self->active == 0 ? -EAGAIN : tc_select_try(self->cases, self->count);
}

PyObject *tc_py_cases_result(struct tc_py_cases *self, int index)
{
    struct tc_select_case *c = &self->cases[index];
    struct tc_value value = c->value;
    PyObject *item;

    if (c->result != 0) {
        tc_py_channel_set_closed(self->channels[index], index);
        return NULL;
    }
    c->value.kind = TC_VALUE_NONE; /* sent, or ours now */
    item = c->kind == TC_SELECT_SEND ? Py_NewRef(Py_None) : tc_py_item_decode(value);
    return item == NULL ? NULL : Py_BuildValue("(iN)", index, item);
}

PyObject *tc_py_cases_nothing(struct tc_py_cases *self)
{
    if (self->default_value != NULL) {
        return Py_BuildValue("(iO)", -1, self->default_value);
    }
    PyErr_SetString(PyExc_TimeoutError, "no case of the select became ready within the timeout");
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------- */

void tc_py_cases_clear(struct tc_py_cases *self, bool keep_memory)
{
    struct tc_select_case *cases = self->cases;
    struct tc_py_channel **channels = self->channels;
    uint32_t count = self->count;
    size_t size = tc_py_cases_size(self);

    Py_CLEAR(self->default_value);
    if (cases == NULL) {
        return;
    }
    self->cases = NULL; /* first: what follows runs Python */
    self->channels = NULL;
    self->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        tc_py_item_clear(&cases[i].value);
        Py_XDECREF(channels[i]);
    }
    if (!keep_memory) {
        tc_mem_free(cases, size);
    }
}

int tc_py_cases_traverse(struct tc_py_cases *self, visitproc visit, void *arg)
{
    Py_VISIT(self->default_value);
    for (uint32_t i = 0; i < self->count; i++) {
        int result = self->is_entered ? 0 : tc_py_item_traverse(&self->cases[i].value, visit, arg);

        if (result != 0) {
            return result;
        }
        Py_VISIT(self->channels[i]);
    }
    return 0;
}
