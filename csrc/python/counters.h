/* python/counters.h — C structs of counters as frozen Python records.
 *
 * A record type is a structseq: immutable, typed in _core.pyi, with a repr that names every field.
 * One table per struct says which field of C becomes which attribute.
 *
 * who may call what: attached threads.
 */
#ifndef TC_PYTHON_COUNTERS_H
#define TC_PYTHON_COUNTERS_H

#include "python/compat.h"

#include <stddef.h>

enum tc_py_counter_kind {
    TC_PY_COUNTER_U64,
    TC_PY_COUNTER_U32,
    TC_PY_COUNTER_ERRNO, /* an int32_t, 0 or -errno; positive or 0 in Python                    */
    TC_PY_COUNTER_BOOL,
    TC_PY_COUNTER_OBJECT, /* a PyObject *, borrowed                                             */
};

enum { TC_PY_COUNTERS_MAX = 32 };

struct tc_py_counter {
    const char *name;
    const char *doc;
    size_t offset; /* in the C struct                                                           */
    enum tc_py_counter_kind kind;
};

/* The entry of `name_`, read from `member` of a struct. */
#define TC_PY_COUNTER_OF(type, member, name_, kind_, doc_) \
    {.name = #name_, .doc = doc_, .offset = offsetof(type, member), .kind = TC_PY_COUNTER_##kind_}

struct tc_py_counters {
    const char *type_name; /* "tinycoro.RuntimeStatistics"                                      */
    const char *doc;
    const struct tc_py_counter *fields;
    int count; /* at most TC_PY_COUNTERS_MAX                                                    */
};

/* Create the type of a table. Returns a new reference, or NULL with an exception set. */
PyTypeObject *tc_py_counters_type(const struct tc_py_counters *table);

/* Make a record of `type` from the C struct at `source`. Returns a new reference, or NULL with an
 * exception set. */
PyObject *tc_py_counters_record(const struct tc_py_counters *table, PyTypeObject *type,
                                const void *source);

#endif
