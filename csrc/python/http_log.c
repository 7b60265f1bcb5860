/* The access log of HTTPServer: what it is told to be, and opening it. */
#include "python/errors.h"
#include "python/gil.h"
#include "python/http_server.h"

#include "http/log.h"

/* ---- what it is ------------------------------------------------------------------------- */

/* Whether it has an attribute; any error is an answer, too. */
static bool has(PyObject *b_object, const char *name)
{
    PyObject *found = PyObject_GetAttrString(b_object, name);

    if (found == NULL) {
        PyErr_Clear();
        return false;
    }
    Py_DECREF(found);
    return true;
}

int tc_py_http_keep_log(struct tc_py_http_server *self, PyObject *b_log)
{
    PyObject *b_kept = b_log == NULL ? Py_None : b_log;
    bool is_number = PyLong_Check(b_kept) && !PyBool_Check(b_kept);
    bool is_path = PyUnicode_Check(b_kept) || PyBytes_Check(b_kept) || has(b_kept, "__fspath__");

    if (b_kept != Py_None && !is_number && !is_path && !has(b_kept, "fileno")) {
        PyErr_Format(PyExc_TypeError,
                     "access_log must be a path, a descriptor, a file or None, not %.100s",
                     Py_TYPE(b_kept)->tp_name);
        return -1;
    }
    self->access_log = Py_NewRef(b_kept);
    return 0;
}

/* ---- opening ---------------------------------------------------------------------------- */

/* `path` NULL: `fd`. */
static int open_log(struct tc_http_server *native, const char *path, int fd)
{
    PyThreadState *thread = tc_gil_release();
    struct tc_http_log *log = NULL;
    int error = tc_http_log_open(path, fd, &log);
    char number[32];

    tc_gil_acquire(thread);
    if (error == 0) {
        tc_http_server_set_log(native, log);
        return 0;
    }
    (void)PyOS_snprintf(number, sizeof(number), "descriptor %d", fd);
    (void)tc_py_error_os(error, "cannot open the access log", path == NULL ? number : path);
    return -1;
}

int tc_py_http_open_log(struct tc_py_http_server *self, struct tc_http_server *native)
{
    PyObject *b_log = self->access_log;
    PyObject *path = NULL;
    int result = -1;

    if (b_log == Py_None) {
        return 0;
    }
    if (PyUnicode_Check(b_log) || PyBytes_Check(b_log) || has(b_log, "__fspath__")) {
        if (PyUnicode_FSConverter(b_log, &path)) {
            result = open_log(native, PyBytes_AS_STRING(path), -1);
            Py_DECREF(path);
        }
        return result;
    }
    int fd = PyObject_AsFileDescriptor(b_log);
    return fd < 0 ? -1 : open_log(native, NULL, fd);
}
