/* python/errors.h — turn -errno into the exception a Python programmer expects.
 *
 * who may call what: attached threads; a function that returns NULL has set an exception.
 */
#ifndef TC_PYTHON_ERRORS_H
#define TC_PYTHON_ERRORS_H

#include "python/compat.h"

#include "base/defs.h"

/* Set OSError(errno, "attempt: text of errno", name): the subclass that fits, MemoryError for
 * -ENOMEM. `attempt` says what was tried ("cannot listen"), `name` on what: a
 * file's name, undecoded, or NULL.
 * Returns NULL, for the caller to return. */
PyObject *tc_py_error_os(int error, const char *attempt, const char *name);

/* Set RuntimeError: `what` was made before a fork and this process is the child. Returns NULL. */
PyObject *tc_py_error_forked(const char *what);

/* The exception that the arguments of a throw() mean, checked as a coroutine does it: a new
 * reference, or NULL with TypeError, or with a warning that is an error. */
PyObject *tc_py_thrown_exception(PyObject *const *args, Py_ssize_t nargs);

#endif
