/* HTTPServer.respond(): fixed answers, kept as a list beside the handlers. */
#include "python/args.h"
#include "python/http_response.h"
#include "python/http_server.h"

#include <errno.h>

/* ---- items of `routes` ------------------------------------------------------------------ */

struct tc_http_answer_field *tc_py_http_field_array(PyObject *b_fields)
{
    Py_ssize_t count = PyTuple_GET_SIZE(b_fields);
    struct tc_http_answer_field *fields = PyMem_Malloc((size_t)(count + 1) * sizeof(*fields));

    if (fields == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *b_field = PyTuple_GET_ITEM(b_fields, i);

        fields[i].name = PyBytes_AS_STRING(PyTuple_GET_ITEM(b_field, 0));
        fields[i].value = PyBytes_AS_STRING(PyTuple_GET_ITEM(b_field, 1));
    }
    return fields;
}

/* Give `native` a fixed answer, an item of `routes`. */
static int add_route(struct tc_http_server *native, PyObject *b_route)
{
    PyObject *b_path = PyTuple_GET_ITEM(b_route, 0);
    PyObject *b_answer = PyTuple_GET_ITEM(b_route, 1);
    PyObject *b_type = PyTuple_GET_ITEM(b_answer, 1);
    PyObject *b_fields = PyTuple_GET_ITEM(b_answer, 2);
    PyObject *b_body = PyTuple_GET_ITEM(b_answer, 3);
    struct tc_http_answer_field *fields = tc_py_http_field_array(b_fields);
    int error;

    if (fields == NULL) {
        return -1;
    }
    error = tc_http_server_respond(native, PyUnicode_AsUTF8(b_path),
                                   &(struct tc_http_response){
                                       .status = (int)PyLong_AsLong(PyTuple_GET_ITEM(b_answer, 0)),
                                       .content_type =
                                           b_type == Py_None ? NULL : PyBytes_AS_STRING(b_type),
                                       .fields = fields,
                                       .field_count = (size_t)PyTuple_GET_SIZE(b_fields),
                                       .body = PyBytes_AS_STRING(b_body),
                                       .body_len = (size_t)PyBytes_GET_SIZE(b_body),
                                   });
    PyMem_Free(fields);
    return error < 0 ? tc_py_http_route_error(error, b_path) : 0;
}

int tc_py_http_add_answer(struct tc_http_server *native, PyObject *b_item)
{
    return PyTuple_GET_ITEM(b_item, 1) == Py_None ? 0 : add_route(native, b_item);
}

/* Whether there is a handler for GET of exactly this path. Returns 1, 0, or -1 with MemoryError
 * set. */
static int is_handled(struct tc_py_http_server *self, PyObject *b_path)
{
    struct tc_http_patterns patterns = {NULL, 0, 0};
    Py_ssize_t len = 0;
    const char *path = PyUnicode_AsUTF8AndSize(b_path, &len);
    int result = tc_py_http_fill(self, &patterns);

    if (result == 0) {
        result = tc_http_patterns_has(&patterns, path, (size_t)len, TC_HTTP_GET) ? 1 : 0;
    }
    tc_http_patterns_fini(&patterns);
    return result;
}

/* Add a route to the list, and to the model, which checks it. */
static int keep_route(struct tc_py_http_server *self, PyObject *b_route)
{
    struct tc_http_server *model = tc_py_http_model(self);
    int found = model == NULL ? -1 : is_handled(self, PyTuple_GET_ITEM(b_route, 0));

    if (found != 0) {
        return found < 0 ? -1 : tc_py_http_route_error(-EEXIST, PyTuple_GET_ITEM(b_route, 0));
    }
    return add_route(model, b_route) < 0 ? -1 : tc_py_http_keep(self, self->routes, b_route);
}

/* ---- the method ------------------------------------------------------------------------- */

const char tc_py_http_respond_doc[] = PyDoc_STR(
    "respond($self, /, path, body, *, status=200, content_type=<by body>, headers=None)\n"
    "--\n\n"
    "Answer GET and HEAD of path always in the same way, without Python.\n\n"
    "body is bytes-like, a str (sent as UTF-8, text/plain), a dict or list (sent as JSON) or\n"
    "None; it is copied. content_type replaces the type that goes with it, None leaves the\n"
    "field out. headers, a mapping or pairs, are further fields. '/a b', '/a%20b' and\n"
    "'/x/../a%20b' are the same path. Methods that nothing else serves there are answered with\n"
    "405, or 204 for OPTIONS.\n"
    "Blocks: never. Thread-safety: any thread.\n"
    "Raises: RuntimeError while the server runs; TypeError and ValueError, naming the parameter.");

PyObject *tc_py_http_respond(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames)
{
    static const char *const names[] = {"path", "body", "status", "content_type", "headers", NULL};
    static const struct tc_py_params params = {"respond", names, 2};
    struct tc_py_http_server *self = tc_py_http_server_of(object);
    PyObject *b_values[TC_ARRAY_LEN(names)];
    PyObject *path = NULL;
    PyObject *answer;
    PyObject *route;
    int result;

    if (tc_py_bind(&params, args, nargs, kwnames, b_values) < 0 ||
        tc_py_http_check_idle(self) < 0) {
        return NULL;
    }
    if (b_values[0] == NULL || b_values[1] == NULL) {
        return PyErr_Format(PyExc_TypeError, "respond() needs a path and a body");
    }
    answer = tc_py_http_answer(b_values[1], b_values[2], b_values[3], b_values[4]);
    path = answer == NULL ? NULL : tc_py_http_check_path(b_values[0]);
    route = path == NULL ? NULL : Py_BuildValue("OOOi", path, answer, Py_None, 0);
    Py_XDECREF(answer);
    Py_XDECREF(path);
    if (route == NULL) {
        return NULL;
    }
    Py_BEGIN_CRITICAL_SECTION(self);
    result = keep_route(self, route);
    Py_END_CRITICAL_SECTION();
    Py_DECREF(route);
    return result < 0 ? NULL : Py_NewRef(Py_None);
}
