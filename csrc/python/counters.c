#include "python/counters.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"

PyTypeObject *tc_py_counters_type(const struct tc_py_counters *table)
{
    /* CPython copies names and documentation pointers out of this array. */
    PyStructSequence_Field fields[TC_PY_COUNTERS_MAX + 1] = {{NULL, NULL}};
    PyStructSequence_Desc desc = {table->type_name, table->doc, fields, table->count};

    tc_assert(table->count <= TC_PY_COUNTERS_MAX);
    for (int i = 0; i < table->count; i++) {
        fields[i].name = table->fields[i].name;
        fields[i].doc = table->fields[i].doc;
    }
    return PyStructSequence_NewType(&desc);
}

static PyObject *counter_value(const struct tc_py_counter *field, const char *source)
{
    const char *at = source + field->offset;

    switch (field->kind) {
    case TC_PY_COUNTER_U64:
        return PyLong_FromUnsignedLongLong(*(const uint64_t *)(const void *)at);
    case TC_PY_COUNTER_U32:
        return PyLong_FromUnsignedLong(*(const uint32_t *)(const void *)at);
    case TC_PY_COUNTER_ERRNO:
        return PyLong_FromLong(-*(const int32_t *)(const void *)at);
    case TC_PY_COUNTER_BOOL:
        return PyBool_FromLong(*(const bool *)(const void *)at);
    case TC_PY_COUNTER_OBJECT:
        return Py_NewRef(*(PyObject *const *)(const void *)at);
    }
    Py_UNREACHABLE();
}

PyObject *tc_py_counters_record(const struct tc_py_counters *table, PyTypeObject *type,
                                const void *source)
{
    PyObject *record = PyStructSequence_New(type);

    if (record == NULL) {
        return NULL;
    }
    for (int i = 0; i < table->count; i++) {
        PyObject *value = counter_value(&table->fields[i], source);

        if (value == NULL) {
            Py_DECREF(record);
            return NULL;
        }
        PyStructSequence_SetItem(record, i, value);
    }
    return record;
}
