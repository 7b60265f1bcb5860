/* Response.file(): an answer that is a file, which the server opens and sends. */
#include "python/args.h"
#include "python/http_response.h"
#include "python/http_server.h"

#include "http/desk_file.h"
#include "http/disposition.h"
#include "http/media.h"
#include "http/static_terms.h"

#include <errno.h>

/* ---- arguments -------------------------------------------------------------------------- */

/* The path as bytes. */
static PyObject *read_path(PyObject *b_path)
{
    PyObject *path = NULL;

    if (!PyUnicode_FSConverter(b_path, &path)) {
        return NULL;
    }
    if (PyBytes_GET_SIZE(path) == 0) {
        Py_DECREF(path);
        return PyErr_Format(PyExc_ValueError, "path=%R: it is empty", b_path);
    }
    return path;
}

/* The name under which the file is to be saved, as bytes. */
static PyObject *read_filename(PyObject *b_filename)
{
    PyObject *name;

    if (!PyUnicode_Check(b_filename)) {
        return PyErr_Format(PyExc_TypeError, "filename must be str or None, not %.100s",
                            Py_TYPE(b_filename)->tp_name);
    }
    name = PyUnicode_AsUTF8String(b_filename);
    if (name == NULL && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "filename=%R: it has no form in UTF-8", b_filename);
    }
    return name;
}

static const char *const disposition = "Content-Disposition";

/* The field that names the file, as (name, value). `b_filename` is for the message. */
static PyObject *make_disposition(PyObject *b_name, PyObject *b_filename)
{
    size_t len = (size_t)PyBytes_GET_SIZE(b_name);
    char *value = PyMem_Malloc(TC_HTTP_DISPOSITION_BYTES(len));
    PyObject *field = NULL;

    if (value == NULL) {
        return PyErr_NoMemory();
    }
    if (tc_http_disposition_write(PyBytes_AS_STRING(b_name), len, value) < 0) {
        PyErr_Format(PyExc_ValueError,
                     "filename=%R: a name of a file has a character, no '/' and no control "
                     "characters",
                     b_filename);
    } else {
        field = Py_BuildValue("yy", disposition, value);
    }
    PyMem_Free(value);
    return field;
}

/* The fields with one more. */
static PyObject *add_field(PyObject *b_fields, PyObject *b_field)
{
    Py_ssize_t count = PyTuple_GET_SIZE(b_fields);
    PyObject *fields = PyTuple_New(count + 1);

    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *b_old = PyTuple_GET_ITEM(b_fields, i);

        if (PyOS_stricmp(PyBytes_AS_STRING(PyTuple_GET_ITEM(b_old, 0)), disposition) == 0) {
            Py_XDECREF(fields);
            return PyErr_Format(PyExc_ValueError,
                                "filename: there is a Content-Disposition among the headers");
        }
        if (fields != NULL) {
            PyTuple_SET_ITEM(fields, i, Py_NewRef(b_old));
        }
    }
    if (fields != NULL) {
        PyTuple_SET_ITEM(fields, count, Py_NewRef(b_field));
    }
    return fields;
}

/* As tc_py_http_answer, of a file. `b_name`: as which it is to be saved, or NULL. */
static PyObject *make_answer(PyObject *b_path, PyObject *b_name, PyObject *const *b_values)
{
    PyObject *b_typed = b_name != NULL ? b_name : b_path; /* whose ending says the type */
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    PyObject *type =
        b_values[2] != NULL
            ? Py_NewRef(b_values[2])
            : PyBytes_FromString(tc_http_media_type(PyBytes_AS_STRING(b_typed),
                                                    (size_t)PyBytes_GET_SIZE(b_typed)));
    PyObject *answer = NULL;
    long status;

    if (empty != NULL && type != NULL) {
        answer = tc_py_http_answer(empty, b_values[1], type, b_values[3]);
    }
    Py_XDECREF(empty);
    Py_XDECREF(type);
    status = answer == NULL ? 0 : PyLong_AsLong(PyTuple_GET_ITEM(answer, 0));
    if (status == 204 || status == 304) {
        PyErr_Format(PyExc_ValueError, "status=%ld has no body, and a file was given", status);
        Py_CLEAR(answer);
    }
    if (answer != NULL && b_name != NULL) {
        PyObject *field = make_disposition(b_name, b_values[4]);
        PyObject *fields = field == NULL ? NULL : add_field(PyTuple_GET_ITEM(answer, 2), field);
        PyObject *b_old = answer;

        answer = fields == NULL
                     ? NULL
                     : PyTuple_Pack(4, PyTuple_GET_ITEM(b_old, 0), PyTuple_GET_ITEM(b_old, 1),
                                    fields, PyTuple_GET_ITEM(b_old, 3));
        Py_DECREF(b_old);
        Py_XDECREF(fields);
        Py_XDECREF(field);
    }
    return answer;
}

/* ---- the file of a response --------------------------------------------------------------- */

/* What C is told of it; `*fields` is the caller's, from PyMem_Malloc. Returns 0, or -1 with
 * MemoryError set. */
static int describe(struct tc_py_response *b_response, struct tc_desk_file *out,
                    struct tc_http_answer_field **fields)
{
    bool has_type = b_response->type != Py_None;

    *fields = tc_py_http_field_array(b_response->fields);
    if (*fields == NULL) {
        return -1;
    }
    *out = (struct tc_desk_file){
        .path = PyBytes_AS_STRING(b_response->path),
        .status = b_response->status,
        .content_type = has_type ? PyBytes_AS_STRING(b_response->type) : NULL,
        .fields = *fields,
        .field_count = (size_t)PyTuple_GET_SIZE(b_response->fields),
    };
    return 0;
}

/* Whether the server can answer with it. Returns 0, or -1 with an exception set. */
static int check(struct tc_py_response *b_response)
{
    struct tc_http_answer_field *fields;
    struct tc_desk_file file;
    int error;

    if (describe(b_response, &file, &fields) < 0) {
        return -1;
    }
    error = tc_desk_file_check(&file);
    PyMem_Free(fields);
    if (error == -E2BIG) {
        PyErr_Format(PyExc_ValueError,
                     "headers, filename or content_type: more than %d fields, 2 KiB of them, or %d "
                     "bytes of content_type are too much for a file",
                     TC_STATIC_FIELDS_MAX, TC_STATIC_TYPE_BYTES);
    } else if (error < 0) {
        PyErr_SetString(PyExc_ValueError,
                        "headers: ETag must be an entity tag (RFC 9110 8.8.3), Last-Modified a "
                        "date, each of them one, and Content-Range is the server's own");
    }
    return error < 0 ? -1 : 0;
}

struct tc_desk_reply *tc__py_http_file_reply(struct tc_py_response *b_response)
{
    struct tc_http_answer_field *fields;
    struct tc_desk_file file;
    struct tc_desk_reply *reply;

    if (describe(b_response, &file, &fields) < 0) {
        PyErr_Clear();
        return NULL;
    }
    reply = tc_desk_file_reply(&file);
    PyMem_Free(fields);
    return reply;
}

/* ---- the method --------------------------------------------------------------------------- */

const char tc__py_http_file_doc[] = PyDoc_STR(
    "file($type, /, path, *, status=200, content_type=<by name>, headers=None, filename=None)\n"
    "--\n\n"
    "Answer with a file, which the server opens and sends outside the GIL.\n\n"
    "It is sent as static() sends its files: whole or in ranges, with ETag and Last-Modified,\n"
    "against which the client's conditions are held, and without any of these if status is not\n"
    "200 or the request neither GET nor HEAD. path is the program's own: relative to the current\n"
    "directory when it is opened, symbolic links followed; check what comes from a client.\n"
    "content_type replaces the type that goes with the ending of filename or path, None leaves\n"
    "the field out. headers, a mapping or pairs, at most 32 and 2 KiB with that of filename,\n"
    "come before what the server would write: with an ETag of its own, conditions are held\n"
    "against that; 'Accept-Ranges': 'none' means no ranges. filename has the client save the\n"
    "file under that name (Content-Disposition: attachment).\n"
    "A path that leads to nothing, a directory or a device is answered with 404. A file that may\n"
    "not be read (403), cannot be (503, 500) or gets shorter while it is sent, which breaks the\n"
    "connection, is reported to the loop's exception handler as OSError.\n"
    "Blocks: never; nothing is opened yet. Thread-safety: any thread.\n"
    "Raises: TypeError and ValueError, naming the parameter.");

PyObject *tc__py_http_file(PyObject *type, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames)
{
    static const char *const names[] = {"path",    "status",   "content_type",
                                        "headers", "filename", NULL};
    static const struct tc_py_params params = {"file", names, 1};
    PyObject *b_values[TC_ARRAY_LEN(names)];
    struct tc_py_response *self = NULL;
    PyObject *answer = NULL;
    PyObject *name = NULL;
    PyObject *path;

    if (tc_py_bind(&params, args, nargs, kwnames, b_values) < 0) {
        return NULL;
    }
    if (b_values[0] == NULL) {
        return PyErr_Format(PyExc_TypeError, "file() needs a path");
    }
    path = read_path(b_values[0]);
    if (path != NULL && b_values[4] != NULL && b_values[4] != Py_None) {
        name = read_filename(b_values[4]);
    }
    if (path != NULL && !PyErr_Occurred()) {
        answer = make_answer(path, name, b_values);
    }
    if (answer != NULL) {
        self = tc__py_response_new((PyTypeObject *)type, answer, NULL);
    }
    if (self != NULL) {
        self->path = Py_NewRef(path);
        if (check(self) < 0) {
            Py_CLEAR(self);
        }
    }
    Py_XDECREF(answer);
    Py_XDECREF(name);
    Py_XDECREF(path);
    return (PyObject *)self;
}
