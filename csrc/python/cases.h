/* python/cases.h — the cases of a select, taken out of the operations that describe them.
 *
 * select(a.recv(), None, b.send(x)) is given operations that nobody has awaited. Their channels and
 * items pass to one struct tc_py_cases; the operations are spent. While a select waits, its items
 * are visited by the channels in whose queues they stand (CH1 in python/channel.h).
 *
 * who may call what: attached threads; one at a time for each struct.
 */
#ifndef TC_PYTHON_CASES_H
#define TC_PYTHON_CASES_H

#include "python/channel.h"
#include "python/compat.h"

#include "sync/select.h"

#include <stdbool.h>
#include <stdint.h>

struct tc_py_cases {
    struct tc_select_case *cases;    /* owned memory of `count` cases, then the channels        */
    struct tc_py_channel **channels; /* owned references, NULL for a case that is skipped       */
    PyObject *default_value;         /* owned, or NULL: none                                    */
    int64_t timeout_ns;              /* TC_NEVER: none                                          */
    uint32_t count;
    uint32_t active;                 /* of them not skipped                                     */
    bool is_entered;                 /* the cases stand in the channels' queues                 */
};

/* Read the arguments of `function`(*cases, timeout=None, default=<none>).
 * Returns 0, or -1 with TypeError, ValueError, RuntimeError or MemoryError set; then, too, the
 * struct is to be cleared, and the operations are spent. */
TC_NODISCARD int tc_py_cases_parse(struct tc_py_cases *self, struct tc_py_loop_state *state,
                                   const char *function, PyObject *const *args, Py_ssize_t nargs,
                                   PyObject *names);

/* Try once. Returns the index of a case; -EAGAIN; or -EPIPE with ChannelClosed set, for a channel
 * that a fork has lost. */
TC_NODISCARD int tc_py_cases_try(struct tc_py_cases *self);

/* The result of the case that has taken place, (index, value), or NULL with ChannelClosed or
 * MemoryError set. */
PyObject *tc_py_cases_result(struct tc_py_cases *self, int index);

/* The result when nothing is ready: (-1, default), or NULL with TimeoutError set. */
PyObject *tc_py_cases_nothing(struct tc_py_cases *self);

/* Whether a fork has lost one of the channels. */
bool tc_py_cases_are_lost(const struct tc_py_cases *self);

/* Release items and channels, and the memory unless `keep_memory`. May run Python. */
void tc_py_cases_clear(struct tc_py_cases *self, bool keep_memory);

/* Bytes of the memory at `cases`. */
size_t tc_py_cases_size(const struct tc_py_cases *self);

/* For tp_traverse of the holder. */
int tc_py_cases_traverse(struct tc_py_cases *self, visitproc visit, void *arg);

#endif
