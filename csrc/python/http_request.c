#include "python/http_request.h"

#include "python/http_door_internal.h"
#include "python/process.h"

#include "http/path.h"

#include <string.h>

static struct tc_py_request *request_of(PyObject *self)
{
    return (struct tc_py_request *)self;
}

static struct tc_desk_call *call_of(PyObject *self)
{
    return request_of(self)->call;
}

struct tc_py_request *tc_py_request_new(struct tc_py_loop_state *state, struct tc_desk_call *call,
                                        PyObject *b_names)
{
    struct tc_py_request *self = request_of(state->request_type->tp_alloc(state->request_type, 0));

    if (self == NULL) {
        return NULL;
    }
    self->call = call;
    self->names = Py_NewRef(b_names);
    self->generation = tc_py_process_generation();
    return self;
}

static void request_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    tc_desk_call_release(call_of(object));
    Py_DECREF(request_of(object)->names);
    Py_XDECREF(request_of(object)->body);
    Py_XDECREF(request_of(object)->parts);
    type->tp_free(object);
    Py_DECREF(type);
}

/* Text of a path or a query; what is no UTF-8 becomes lone surrogates, as in file names. */
static PyObject *to_text(const char *text, size_t len)
{
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)len, "surrogateescape");
}

/* ---- the request line --------------------------------------------------------------------- */

static PyObject *request_get_method(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_InternFromString(tc_http_method_name((enum tc_http_method)call_of(self)
                                                              ->method));
}

static PyObject *request_get_path(PyObject *self, void *Py_UNUSED(closure))
{
    return to_text(call_of(self)->path, call_of(self)->path_len);
}

static PyObject *request_get_target(PyObject *self, void *Py_UNUSED(closure))
{
    const struct tc_desk_call *call = call_of(self);

    return PyUnicode_DecodeLatin1(call->head + call->target.at, call->target.len, NULL);
}

static PyObject *request_get_query(PyObject *self, void *Py_UNUSED(closure))
{
    const struct tc_desk_call *call = call_of(self);

    return PyUnicode_DecodeLatin1(call->head + call->query.at, call->query.len, NULL);
}

static PyObject *request_get_version(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_InternFromString(call_of(self)->minor == 0 ? "1.0" : "1.1");
}

/* Decode one name or value of a query. */
static PyObject *form_text(const char *text, size_t len)
{
    char small[256];
    char *out = len <= sizeof(small) ? small : PyMem_Malloc(len);
    PyObject *result;

    if (out == NULL) {
        return PyErr_NoMemory();
    }
    result = to_text(out, tc_http_form_decode(text, len, out));
    if (out != small) {
        PyMem_Free(out);
    }
    return result;
}

static PyObject *request_get_query_params(PyObject *self, void *Py_UNUSED(closure))
{
    const struct tc_desk_call *call = call_of(self);
    const char *at = call->head + call->query.at;
    const char *end = at + call->query.len;
    PyObject *params = PyDict_New();
    struct tc_http_pair pair;

    while (params != NULL && tc_http_query_next(&at, end, &pair)) {
        PyObject *name = form_text(pair.name, pair.name_len);
        PyObject *value = name == NULL ? NULL : form_text(pair.value, pair.value_len);

        if (value == NULL || PyDict_SetItem(params, name, value) < 0) {
            Py_CLEAR(params);
        }
        Py_XDECREF(name);
        Py_XDECREF(value);
    }
    return params;
}

static PyObject *request_get_path_params(PyObject *self, void *Py_UNUSED(closure))
{
    const struct tc_desk_call *call = call_of(self);
    PyObject *b_names = request_of(self)->names;
    PyObject *params = PyDict_New();

    for (uint32_t i = 0; params != NULL && i < call->param_count; i++) {
        PyObject *value = to_text(call->path + call->params[i].at, call->params[i].len);

        if (value == NULL || PyDict_SetItem(params, PyTuple_GET_ITEM(b_names, i), value) < 0) {
            Py_CLEAR(params);
        }
        Py_XDECREF(value);
    }
    return params;
}

/* ---- fields ------------------------------------------------------------------------------- */

struct headers {
    PyObject_HEAD PyObject *request; /* owned                                                   */
};

static struct tc_desk_call *headers_call(PyObject *self)
{
    return call_of(((struct headers *)self)->request);
}

static PyObject *request_get_headers(PyObject *self, void *Py_UNUSED(closure))
{
    struct tc_py_loop_state *state = tc_py_loop_state_of_type(Py_TYPE(self));
    struct headers *headers;

    if (state == NULL) {
        return NULL;
    }
    headers = (struct headers *)state->headers_type->tp_alloc(state->headers_type, 0);
    if (headers != NULL) {
        headers->request = Py_NewRef(self);
    }
    return (PyObject *)headers;
}

static void headers_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    Py_DECREF(((struct headers *)object)->request);
    type->tp_free(object);
    Py_DECREF(type);
}

static bool is_name(const char *name, const char *other, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (Py_TOLOWER(name[i]) != Py_TOLOWER(other[i])) {
            return false;
        }
    }
    return true;
}

/* The line of a name from `from` on; NULL: none, with TypeError set if `b_name` is no str. */
static const struct tc_http_field_line *find_line(struct tc_desk_call *call, PyObject *b_name,
                                                  uint32_t from)
{
    Py_ssize_t len;
    const char *name;

    if (!PyUnicode_Check(b_name)) {
        PyErr_Format(PyExc_TypeError, "the name of a header must be a str, not %.100s",
                     Py_TYPE(b_name)->tp_name);
        return NULL;
    }
    name = PyUnicode_AsUTF8AndSize(b_name, &len);
    for (uint32_t i = from; name != NULL && i < call->field_count; i++) {
        const struct tc_http_field_line *line = &call->fields[i];

        if (line->name_len == (size_t)len &&
            is_name(call->head + line->name_at, name, (size_t)len)) {
            return line;
        }
    }
    return NULL;
}

static PyObject *line_value(const struct tc_desk_call *call, const struct tc_http_field_line *line)
{
    return PyUnicode_DecodeLatin1(call->head + line->value.at, line->value.len, NULL);
}

static PyObject *line_name(const struct tc_desk_call *call, const struct tc_http_field_line *line)
{
    PyObject *name = PyUnicode_New((Py_ssize_t)line->name_len, 127);
    char *text = name == NULL ? NULL : PyUnicode_DATA(name);

    for (uint32_t i = 0; text != NULL && i < line->name_len; i++) {
        text[i] = (char)Py_TOLOWER(call->head[line->name_at + i]);
    }
    return name;
}

/* All values of a name as one, as RFC 9110 5.3 lets us. `line` is the first. */
static PyObject *joined_value(struct tc_desk_call *call, const struct tc_http_field_line *line,
                              PyObject *b_name)
{
    PyObject *value = line_value(call, line);

    while (value != NULL &&
           (line = find_line(call, b_name, (uint32_t)(line - call->fields) + 1)) != NULL) {
        PyObject *next = line_value(call, line);

        Py_SETREF(value, next == NULL ? NULL : PyUnicode_FromFormat("%U, %U", value, next));
        Py_XDECREF(next);
    }
    return value;
}

static PyObject *headers_subscript(PyObject *self, PyObject *b_name)
{
    struct tc_desk_call *call = headers_call(self);
    const struct tc_http_field_line *line = find_line(call, b_name, 0);

    if (line == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetObject(PyExc_KeyError, b_name);
        }
        return NULL;
    }
    return joined_value(call, line, b_name);
}

static int headers_contains(PyObject *self, PyObject *b_name)
{
    const struct tc_http_field_line *line =
        PyUnicode_Check(b_name) ? find_line(headers_call(self), b_name, 0) : NULL;

    return line != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
}

/* The fields as a dict of lower-case names: what the rarer methods work on. */
static PyObject *headers_dict(PyObject *self)
{
    struct tc_desk_call *call = headers_call(self);
    PyObject *dict = PyDict_New();

    for (uint32_t i = 0; dict != NULL && i < call->field_count; i++) {
        PyObject *name = line_name(call, &call->fields[i]);
        PyObject *value = NULL;

        if (name != NULL && PyDict_GetItemWithError(dict, name) == NULL && !PyErr_Occurred()) {
            value = joined_value(call, &call->fields[i], name);
            if (value == NULL || PyDict_SetItem(dict, name, value) < 0) {
                Py_CLEAR(dict);
            }
        } else if (PyErr_Occurred()) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(name);
        Py_XDECREF(value);
    }
    return dict;
}

static Py_ssize_t headers_length(PyObject *self)
{
    PyObject *dict = headers_dict(self);
    Py_ssize_t length = dict == NULL ? -1 : PyDict_GET_SIZE(dict);

    Py_XDECREF(dict);
    return length;
}

static PyObject *headers_iter(PyObject *self)
{
    PyObject *dict = headers_dict(self);
    PyObject *iterator = dict == NULL ? NULL : PyObject_GetIter(dict);

    Py_XDECREF(dict);
    return iterator;
}

static PyObject *headers_repr(PyObject *self)
{
    PyObject *dict = headers_dict(self);
    PyObject *text = dict == NULL ? NULL : PyUnicode_FromFormat("<Headers %R>", dict);

    Py_XDECREF(dict);
    return text;
}

PyDoc_STRVAR(get_doc, "get($self, name, default=None, /)\n--\n\n"
                      "Return the value of a field, whatever the case of its name.");

static PyObject *headers_get(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct tc_desk_call *call = headers_call(self);
    const struct tc_http_field_line *line;

    if (nargs < 1 || nargs > 2) {
        return PyErr_Format(PyExc_TypeError, "get() takes a name and perhaps a default");
    }
    line = find_line(call, args[0], 0);
    if (line == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(nargs == 2 ? args[1] : Py_None);
    }
    return joined_value(call, line, args[0]);
}

PyDoc_STRVAR(get_all_doc, "get_all($self, name, /)\n--\n\n"
                          "Return the values of all lines of a field, as a list.");

static PyObject *headers_get_all(PyObject *self, PyObject *b_name)
{
    struct tc_desk_call *call = headers_call(self);
    PyObject *values = PyList_New(0);
    const struct tc_http_field_line *line = find_line(call, b_name, 0);

    while (values != NULL && line != NULL) {
        PyObject *value = line_value(call, line);

        if (value == NULL || PyList_Append(values, value) < 0) {
            Py_CLEAR(values);
        }
        Py_XDECREF(value);
        line = find_line(call, b_name, (uint32_t)(line - call->fields) + 1);
    }
    if (PyErr_Occurred()) {
        Py_CLEAR(values);
    }
    return values;
}

/* keys(), values(), items(): of a dict made for it. */
static PyObject *of_dict(PyObject *self, const char *method)
{
    PyObject *dict = headers_dict(self);
    PyObject *view = dict == NULL ? NULL : PyObject_CallMethod(dict, method, NULL);

    Py_XDECREF(dict);
    return view;
}

static PyObject *headers_keys(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return of_dict(self, "keys");
}

static PyObject *headers_values(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return of_dict(self, "values");
}

static PyObject *headers_items(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return of_dict(self, "items");
}

static PyMethodDef headers_methods[] = {
    {"get", TC_PY_FAST_FUNCTION(headers_get), METH_FASTCALL, get_doc},
    {"get_all", headers_get_all, METH_O, get_all_doc},
    {"keys", headers_keys, METH_NOARGS,
     PyDoc_STR("keys($self, /)\n--\n\nReturn the names, in lower case.")},
    {"values", headers_values, METH_NOARGS,
     PyDoc_STR("values($self, /)\n--\n\nReturn the values, one for each name.")},
    {"items", headers_items, METH_NOARGS,
     PyDoc_STR("items($self, /)\n--\n\nReturn names and values.")},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(headers_doc,
             "The fields of a request: a mapping that takes names in any case.\n\n"
             "Several lines of one name are joined by ', ' (RFC 9110 5.3); get_all()\n"
             "gives them one by one. Names that it gives out are in lower case, values\n"
             "are decoded from Latin-1. Thread-safety: any thread.");

static PyType_Slot headers_slots[] = {
    {Py_tp_doc, (void *)headers_doc},
    {Py_tp_dealloc, headers_dealloc},
    {Py_tp_repr, headers_repr},
    {Py_tp_iter, headers_iter},
    {Py_tp_methods, headers_methods},
    {Py_mp_subscript, headers_subscript},
    {Py_mp_length, headers_length},
    {Py_sq_contains, headers_contains},
    {0, NULL},
};

static PyType_Spec headers_spec = {
    .name = "tinycoro.Headers",
    .basicsize = sizeof(struct headers),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = headers_slots,
};

/* ---- the type ----------------------------------------------------------------------------- */

static PyObject *request_repr(PyObject *self)
{
    const struct tc_desk_call *call = call_of(self);
    PyObject *path = to_text(call->path, call->path_len);
    PyObject *text =
        path == NULL
            ? NULL
            : PyUnicode_FromFormat("<Request %s %R>",
                                   tc_http_method_name((enum tc_http_method)call->method), path);

    Py_XDECREF(path);
    return text;
}

static PyMethodDef request_methods[] = {
    {"body", tc__py_request_body, METH_NOARGS, tc__py_request_body_doc},
    {"json", tc__py_request_json, METH_NOARGS, tc__py_request_json_doc},
    {"stream", tc__py_request_stream, METH_NOARGS, tc__py_request_stream_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef request_getset[] = {
    {"method", request_get_method, NULL, PyDoc_STR("'GET', 'POST', ..."), NULL},
    {"path", request_get_path, NULL,
     PyDoc_STR("The path, decoded and normalised; what is no UTF-8 as lone surrogates."), NULL},
    {"target", request_get_target, NULL, PyDoc_STR("The target of the request as it was sent."),
     NULL},
    {"query", request_get_query, NULL, PyDoc_STR("What is behind the '?', as it was sent."), NULL},
    {"query_params", request_get_query_params, NULL,
     PyDoc_STR("The query as a new dict; of several values of a name, the last."), NULL},
    {"path_params", request_get_path_params, NULL,
     PyDoc_STR("What stands for the names in the route's path, as a new dict."), NULL},
    {"headers", request_get_headers, NULL, PyDoc_STR("The fields; see Headers."), NULL},
    {"http_version", request_get_version, NULL, PyDoc_STR("'1.0' or '1.1'."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(request_doc, "A request, as the handlers of HTTPServer's routes are given it.\n\n"
                          "Thread-safety: any thread; body(), json() and stream() in a task.");

static PyType_Slot request_slots[] = {
    {Py_tp_doc, (void *)request_doc}, {Py_tp_dealloc, request_dealloc}, {Py_tp_repr, request_repr},
    {Py_tp_methods, request_methods}, {Py_tp_getset, request_getset},   {0, NULL},
};

static PyType_Spec request_spec = {
    .name = "tinycoro.Request",
    .basicsize = sizeof(struct tc_py_request),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = request_slots,
};

int tc_py_add_request(PyObject *module, struct tc_py_loop_state *state)
{
    if (tc_py_add_type(module, &request_spec, NULL, &state->request_type) < 0 ||
        tc_py_add_type(module, &headers_spec, NULL, &state->headers_type) < 0) {
        return -1;
    }
    return tc__py_add_body(module, state);
}
