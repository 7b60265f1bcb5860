/* HTTPServer.static(): which files a server has, kept as a list beside its other routes. */
#include "python/args.h"
#include "python/errors.h"
#include "python/http_response.h"
#include "python/http_server.h"

#include "http/static.h"

#include <errno.h>
#include <string.h>

#define CACHE_BYTES INT64_C(33554432)

/* The switches of an item, as bits of its last number. */
enum {
    LISTING = 1 << 0,
    DOTFILES = 1 << 1,
    FOLLOW_SYMLINKS = 1 << 2,
    PRECOMPRESSED = 1 << 3,
};

/* What an item of `files` holds, in its order. */
enum { PREFIX, DIRECTORY, INDEX, FIELDS, RECHECK, CACHE, SWITCHES };

/* ---- items ------------------------------------------------------------------------------ */

static int files_error(int error, PyObject *b_item)
{
    PyObject *b_prefix = PyTuple_GET_ITEM(b_item, PREFIX);

    if (error == -EINVAL) {
        PyErr_SetString(PyExc_ValueError,
                        "headers: Accept-Ranges, Content-Encoding, Content-Range, ETag and "
                        "Last-Modified are the server's own");
        return -1;
    }
    if (error == -E2BIG || error == -EEXIST || error == -ENOSPC) {
        return tc_py_http_route_error(error, b_prefix);
    }
    (void)tc_py_error_os(error, "cannot serve a directory",
                         PyBytes_AS_STRING(PyTuple_GET_ITEM(b_item, DIRECTORY)));
    return -1;
}

int tc_py_http_add_files(struct tc_http_server *native, PyObject *b_item)
{
    PyObject *b_index = PyTuple_GET_ITEM(b_item, INDEX);
    PyObject *b_fields = PyTuple_GET_ITEM(b_item, FIELDS);
    long switches = PyLong_AsLong(PyTuple_GET_ITEM(b_item, SWITCHES));
    struct tc_http_answer_field *fields = tc_py_http_field_array(b_fields);
    struct tc_static_options options = {
        .index = b_index == Py_None ? NULL : PyBytes_AS_STRING(b_index),
        .fields = fields,
        .field_count = (size_t)PyTuple_GET_SIZE(b_fields),
        .recheck_ns = PyLong_AsLongLong(PyTuple_GET_ITEM(b_item, RECHECK)),
        .cache_bytes = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(b_item, CACHE)),
        .follow_links = (switches & FOLLOW_SYMLINKS) != 0,
        .dotfiles = (switches & DOTFILES) != 0,
        .listing = (switches & LISTING) != 0,
        .precompressed = (switches & PRECOMPRESSED) != 0,
    };
    int error;

    if (fields == NULL) {
        return -1;
    }
    error = tc_http_server_static(native, PyUnicode_AsUTF8(PyTuple_GET_ITEM(b_item, PREFIX)),
                                  PyBytes_AS_STRING(PyTuple_GET_ITEM(b_item, DIRECTORY)), &options,
                                  NULL);
    PyMem_Free(fields);
    return error < 0 ? files_error(error, b_item) : 0;
}

/* Add an item to the model, which checks it, and to the list. In the critical section. */
static int keep_item(struct tc_py_http_server *self, PyObject *b_item)
{
    struct tc_http_server *model = tc_py_http_model(self);

    if (model == NULL || tc_py_http_add_files(model, b_item) < 0) {
        return -1;
    }
    return tc_py_http_keep(self, self->files, b_item);
}

/* ---- arguments -------------------------------------------------------------------------- */

/* The name of an index file, as bytes, or None. */
static PyObject *read_index(PyObject *b_index)
{
    PyObject *index = NULL;
    const char *text;

    if (b_index == NULL) {
        return PyBytes_FromString("index.html");
    }
    if (b_index == Py_None) {
        return Py_NewRef(Py_None);
    }
    if (!PyUnicode_FSConverter(b_index, &index)) {
        return NULL;
    }
    text = PyBytes_AS_STRING(index);
    if (text[0] == '\0' || strchr(text, '/') != NULL || PyBytes_GET_SIZE(index) > 255) {
        Py_DECREF(index);
        return PyErr_Format(PyExc_ValueError, "index=%R: it must be the name of a file, or None",
                            b_index);
    }
    return index;
}

static int read_switches(PyObject *const *b_values, const int *bits, size_t count)
{
    int switches = 0;

    for (size_t i = 0; i < count; i++) {
        int truth = b_values[i] == NULL ? 0 : PyObject_IsTrue(b_values[i]);

        if (truth < 0) {
            return -1;
        }
        switches |= truth ? bits[i] : 0;
    }
    return switches;
}

/* Make an item of the arguments. Returns NULL with an exception set. */
static PyObject *make_item(PyObject *const *b_values)
{
    static const int bits[] = {LISTING, DOTFILES, FOLLOW_SYMLINKS, PRECOMPRESSED};
    int64_t recheck_ns = TC_STATIC_RECHECK_NS;
    int64_t cache_bytes = CACHE_BYTES;
    PyObject *prefix = tc_py_http_check_path(b_values[0]);
    PyObject *directory = NULL;
    PyObject *index = NULL;
    PyObject *fields = NULL;
    PyObject *item = NULL;
    int switches = read_switches(b_values + 3, bits, TC_ARRAY_LEN(bits));

    if (prefix != NULL && switches >= 0 && PyUnicode_FSConverter(b_values[1], &directory) &&
        tc_py_seconds(b_values[8], "recheck", false, &recheck_ns) == 0 &&
        tc_py_integer(b_values[9], "cache_size", false, 0, INT64_MAX, &cache_bytes) == 0) {
        index = read_index(b_values[2]);
        fields = index == NULL ? NULL : tc_py_http_fields(b_values[7]);
    }
    if (fields != NULL) {
        item = Py_BuildValue("OOOOLLi", prefix, directory, index, fields, (long long)recheck_ns,
                             (long long)cache_bytes, switches);
    }
    Py_XDECREF(prefix);
    Py_XDECREF(directory);
    Py_XDECREF(index);
    Py_XDECREF(fields);
    return item;
}

const char tc_py_http_static_doc[] = PyDoc_STR(
    "static($self, /, prefix, directory, *, index='index.html', listing=False, dotfiles=False,\n"
    "       follow_symlinks=False, precompressed=False, headers=None, recheck=1.0,\n"
    "       cache_size=33554432)\n"
    "--\n\n"
    "Serve the files of a directory under prefix to GET and HEAD, without Python.\n\n"
    "Entity tags, conditions and ranges are answered. A directory is answered by its file index, or by\n"
    "a page of its names with listing=True, else with 403. Names with a dot in front and symbolic links\n"
    "are not served (404) unless dotfiles and follow_symlinks say so; a link never leads outside.\n"
    "precompressed=True sends NAME.br or NAME.gz to clients that like them better, if they are not older\n"
    "than NAME. headers, a mapping or pairs, go with every file. A file is looked at again after recheck\n"
    "seconds (0: by every request, None: never); until then, and while one request looks for at most as\n"
    "long again, its last state is sent. cache_size is what is kept in memory, in bytes.\n"
    "Blocks: while the directory is opened. Thread-safety: any thread.\n"
    "Raises: RuntimeError while the server runs; OSError if the directory cannot be opened, also from\n"
    "start(); TypeError and ValueError, naming the parameter.");

PyObject *tc_py_http_static(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames)
{
    static const char *const names[] = {
        "prefix",        "directory", "index",   "listing",    "dotfiles", "follow_symlinks",
        "precompressed", "headers",   "recheck", "cache_size", NULL};
    static const struct tc_py_params params = {"static", names, 2};
    struct tc_py_http_server *self = tc_py_http_server_of(object);
    PyObject *b_values[TC_ARRAY_LEN(names)];
    PyObject *item;
    int result;

    if (tc_py_bind(&params, args, nargs, kwnames, b_values) < 0 ||
        tc_py_http_check_idle(self) < 0) {
        return NULL;
    }
    if (b_values[0] == NULL || b_values[1] == NULL) {
        return PyErr_Format(PyExc_TypeError, "static() needs a prefix and a directory");
    }
    item = make_item(b_values);
    if (item == NULL) {
        return NULL;
    }
    Py_BEGIN_CRITICAL_SECTION(self);
    result = keep_item(self, item);
    Py_END_CRITICAL_SECTION();
    Py_DECREF(item);
    return result < 0 ? NULL : Py_NewRef(Py_None);
}
