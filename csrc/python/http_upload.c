/* HTTPServer.upload(): which directories take uploads, kept as a list beside the other routes. */
#include "python/args.h"
#include "python/errors.h"
#include "python/gil.h"
#include "python/http_server.h"

#include "http/origin.h"
#include "http/upload_route.h"

#include <errno.h>

/* The switches of an item, as bits of its last number. */
enum { OVERWRITE = 1 << 0, NO_SYNC = 1 << 1 };

/* What an item of `uploads` holds, in its order. */
enum { PREFIX, DIRECTORY, MAX_SIZE, QUOTA, MODE, SWITCHES, ORIGINS };

/* Open the directory of an item, detached, since it may have many files to be counted. Returns NULL
 * with OSError set. */
static struct tc_upload_dir *open_directory(PyObject *b_item)
{
    const char *directory = PyBytes_AS_STRING(PyTuple_GET_ITEM(b_item, DIRECTORY));
    long switches = PyLong_AsLong(PyTuple_GET_ITEM(b_item, SWITCHES));
    struct tc_upload_options options = {
        .max_size = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(b_item, MAX_SIZE)),
        .quota = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(b_item, QUOTA)),
        .mode = (unsigned)PyLong_AsUnsignedLong(PyTuple_GET_ITEM(b_item, MODE)),
        .overwrite = (switches & OVERWRITE) != 0,
        .no_sync = (switches & NO_SYNC) != 0,
        .origins = PyBytes_AS_STRING(PyTuple_GET_ITEM(b_item, ORIGINS)),
    };
    struct tc_upload_dir *dir = NULL;
    PyThreadState *thread = tc_gil_release();
    int error = tc_upload_dir_open(directory, &options, &dir);

    tc_gil_acquire(thread);
    if (error < 0) {
        (void)tc_py_error_os(error, "cannot take uploads into a directory", directory);
    }
    return dir;
}

/* Give `native` an opened directory. Returns 0; -1 with an exception set, and the directory
 * closed. */
static int add_directory(struct tc_http_server *native, PyObject *b_item, struct tc_upload_dir *dir)
{
    PyObject *b_prefix = PyTuple_GET_ITEM(b_item, PREFIX);
    const char *prefix = PyUnicode_AsUTF8(b_prefix);
    int error = prefix == NULL ? -ENOMEM : tc_http_server_upload_dir(native, prefix, dir);

    if (error == 0) {
        return 0;
    }
    tc_upload_dir_close(dir);
    return prefix == NULL ? -1 : tc_py_http_route_error(error, b_prefix);
}

int tc_py_http_add_uploads(struct tc_http_server *native, PyObject *b_item)
{
    struct tc_upload_dir *dir = open_directory(b_item);

    return dir == NULL ? -1 : add_directory(native, b_item, dir);
}

/* Add an item to the model, which checks it, and to the list. In the critical section, which is not
 * left once there is a model. Takes the directory over. */
static int keep_item(struct tc_py_http_server *self, PyObject *b_item, struct tc_upload_dir *dir)
{
    struct tc_http_server *model = tc_py_http_model(self);

    if (model == NULL) {
        tc_upload_dir_close(dir);
        return -1;
    }
    if (add_directory(model, b_item, dir) < 0) {
        return -1;
    }
    return tc_py_http_keep(self, self->uploads, b_item);
}

/* ---- arguments -------------------------------------------------------------------------- */

/* A number of bytes, at least 1; None: 0, no limit. */
static int read_bytes(PyObject *b_value, const char *name, int64_t *out)
{
    *out = 0;
    return tc_py_integer(b_value, name, true, 1, INT64_MAX, out);
}

/* Returns 0, or -1 with an exception set. */
static int check_origin(PyObject *b_origin)
{
    Py_ssize_t len = 0;
    const char *text;

    if (!PyUnicode_Check(b_origin)) {
        PyErr_Format(PyExc_TypeError, "origins must be of str, not %.100s",
                     Py_TYPE(b_origin)->tp_name);
        return -1;
    }
    text = PyUnicode_AsUTF8AndSize(b_origin, &len);
    if (text == NULL) {
        return -1;
    }
    if (!tc_http_origin_is_valid(text, (size_t)len)) {
        PyErr_Format(PyExc_ValueError,
                     "origins: %R is not scheme://host[:port] as browsers write it: in lower case, "
                     "without the scheme's own port",
                     b_origin);
        return -1;
    }
    return 0;
}

/* An iterable of origins as bytes, with spaces between them. Returns NULL with an exception set. */
static PyObject *read_origins(PyObject *b_origins)
{
    PyObject *list;
    PyObject *space;
    PyObject *text = NULL;
    PyObject *bytes;

    if (b_origins == NULL) {
        return PyBytes_FromString("");
    }
    if (PyUnicode_Check(b_origins)) {
        return PyErr_Format(PyExc_TypeError, "origins must be a list of str, not a str");
    }
    list = PySequence_Tuple(b_origins);
    for (Py_ssize_t i = 0; list != NULL && i < PyTuple_GET_SIZE(list); i++) {
        if (check_origin(PyTuple_GET_ITEM(list, i)) < 0) {
            Py_CLEAR(list);
        }
    }
    space = list == NULL ? NULL : PyUnicode_FromString(" ");
    text = space == NULL ? NULL : PyUnicode_Join(space, list);
    bytes = text == NULL ? NULL : PyUnicode_AsASCIIString(text);
    Py_XDECREF(text);
    Py_XDECREF(space);
    Py_XDECREF(list);
    return bytes;
}

/* Make an item of the arguments. Returns NULL with an exception set. */
static PyObject *make_item(PyObject *const *b_values)
{
    int64_t max_size = 0;
    int64_t quota = 0;
    int64_t mode = 0600;
    int overwrite = b_values[4] == NULL ? 0 : PyObject_IsTrue(b_values[4]);
    int fsync = overwrite < 0 ? -1 : b_values[5] == NULL ? 1 : PyObject_IsTrue(b_values[5]);
    PyObject *directory = NULL;
    PyObject *origins = NULL;
    PyObject *prefix;
    PyObject *item = NULL;

    if (fsync < 0 || read_bytes(b_values[2], "max_size", &max_size) < 0 ||
        read_bytes(b_values[3], "quota", &quota) < 0 ||
        tc_py_integer(b_values[6], "mode", false, 0, 0777, &mode) < 0) {
        return NULL;
    }
    prefix = tc_py_http_check_path(b_values[0]);
    if (prefix != NULL && PyUnicode_FSConverter(b_values[1], &directory)) {
        origins = read_origins(b_values[7]);
    }
    if (origins != NULL) {
        item = Py_BuildValue("OOLLLiO", prefix, directory, (long long)max_size, (long long)quota,
                             (long long)mode, (overwrite ? OVERWRITE : 0) | (fsync ? 0 : NO_SYNC),
                             origins);
    }
    Py_XDECREF(prefix);
    Py_XDECREF(directory);
    Py_XDECREF(origins);
    return item;
}

/* ---- the method ------------------------------------------------------------------------- */

const char tc_py_http_upload_doc[] =
    "upload($self, /, prefix, directory, *, max_size, quota=None, overwrite=False, fsync=True,\n"
    "       mode=0o600, origins=())\n"
    "--\n\n"
    "Store what clients send under prefix as files of a directory, without Python.\n\n"
    "PUT prefix/NAME makes the file NAME, one segment without a dot in front; one that exists is\n"
    "refused with 409 unless overwrite=True. POST prefix makes a file with a name of the server's,\n"
    "multipart/form-data one for each part with a filename; Location leads to the first. The answer is\n"
    "JSON: {\"files\": [{\"name\": ..., \"size\": ...}]}, with 201, or 200 for a file that was\n"
    "replaced. A file appears whole or not at all, also if the process is killed; with fsync=True the\n"
    "answer means that it is on the disk, with False a crash of the machine may lose or spoil it.\n"
    "max_size is what a file may have, quota what all files of the directory may have together, in\n"
    "bytes, None for no limit (then 413 and 507; 507 on a full disk, too). mode is that of the files,\n"
    "less the process's umask, always with 0o600. statistics() counts what is on the way, and lists\n"
    "it as uploading.\n\n"
    "What a browser sends for a page of another origin, which may have it send a form to any server\n"
    "that it reaches, is refused with 403; so says Sec-Fetch-Site or else an Origin that is not Host.\n"
    "origins are those whose pages may all the same, such as 'https://app.example'. A client that\n"
    "sends neither field is no browser, and is served.\n"
    "Blocks: while the directory is opened, and its files counted for a quota; other threads run\n"
    "meanwhile. Thread-safety: any thread.\n"
    "Raises: RuntimeError while the server runs; OSError if the directory cannot be opened or written\n"
    "to, also from start(); TypeError and ValueError, naming the parameter.";

PyObject *tc_py_http_upload(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames)
{
    static const char *const names[] = {"prefix", "directory", "max_size", "quota", "overwrite",
                                        "fsync",  "mode",      "origins",  NULL};
    static const struct tc_py_params params = {"upload", names, 2};
    struct tc_py_http_server *self = tc_py_http_server_of(object);
    PyObject *b_values[TC_ARRAY_LEN(names)];
    struct tc_upload_dir *dir;
    PyObject *item;
    int result;

    if (tc_py_bind(&params, args, nargs, kwnames, b_values) < 0 ||
        tc_py_http_check_idle(self) < 0) {
        return NULL;
    }
    if (b_values[0] == NULL || b_values[1] == NULL || b_values[2] == NULL) {
        return PyErr_Format(PyExc_TypeError, "upload() needs a prefix, a directory and max_size");
    }
    item = make_item(b_values);
    dir = item == NULL ? NULL : open_directory(item);
    if (dir == NULL) {
        Py_XDECREF(item);
        return NULL;
    }
    Py_BEGIN_CRITICAL_SECTION(self);
    result = keep_item(self, item, dir);
    Py_END_CRITICAL_SECTION();
    Py_DECREF(item);
    return result < 0 ? NULL : Py_NewRef(Py_None);
}
