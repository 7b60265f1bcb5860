/* python/sync_state.h — the part of the module's state that locks, events and queues use.
 *
 * Their types can be subclassed, so an instance does not lead to the module by its type; each keeps
 * a pointer to this struct instead.
 *
 * who may call what: attached threads.
 */
#ifndef TC_PYTHON_SYNC_STATE_H
#define TC_PYTHON_SYNC_STATE_H

#include "python/compat.h"

struct tc_py_loop_state;
struct tc_py_wait;

/* type, name, what it is */
#define TC_PY_SYNC_OBJECTS(X) \
    X(PyTypeObject, wait_type)            /* the operation behind every acquire, wait, put, get */ \
    X(PyTypeObject, lock_type) \
    X(PyTypeObject, semaphore_type) \
    X(PyTypeObject, bounded_semaphore_type) \
    X(PyTypeObject, event_type) \
    X(PyTypeObject, waiting_line_type)    /* what Condition derives from */ \
    X(PyTypeObject, queue_type) \
    X(PyTypeObject, lifo_queue_type) \
    X(PyTypeObject, priority_queue_type) \
    X(PyObject, enter)                    /* async with, for classes that override acquire … */ \
    X(PyObject, leave)                    /* … or release */ \
    X(PyObject, queue_empty)              /* asyncio's */ \
    X(PyObject, queue_full)               /* asyncio's */ \
    X(PyObject, queue_shut_down)          /* asyncio's, or ours where that has none */ \
    X(PyObject, deque_type)               /* collections.deque and its methods */ \
    X(PyObject, deque_append) \
    X(PyObject, deque_popleft) \
    X(PyObject, heappush)                 /* heapq's */ \
    X(PyObject, heappop)

#define TC_PY_SYNC_STRINGS(X) \
    X(_get) \
    X(_init) \
    X(_put) \
    X(append) \
    X(empty) \
    X(full) \
    X(get_nowait) \
    X(locked) \
    X(pop) \
    X(popleft) \
    X(put_nowait) \
    X(qsize)

enum { TC_PY_SPARE_WAITS = TC_PY_FREE_THREADED ? 0 : 64 };

struct tc_py_sync_state {
#define TC_PY_FIELD(type, name) type *name;
    TC_PY_SYNC_OBJECTS(TC_PY_FIELD)
#undef TC_PY_FIELD
#define TC_PY_FIELD(name) PyObject *str_##name;
    TC_PY_SYNC_STRINGS(TC_PY_FIELD)
#undef TC_PY_FIELD
    struct tc_py_loop_state *loop; /* the neighbour in the module's state                      */
    /* The C functions of deque_append and deque_popleft, or NULL: then they are called as
     * objects. */
    PyCFunction append;
    PyCFunction popleft;
    /* Memory of operations for reuse. On builds without the GIL the array has no slot. */
    struct tc_py_wait *spare_waits[TC_PY_SPARE_WAITS + 1];
    int spare_wait_count;
};

/* Create the types and add them to the module.
 * Parks: never   Threads: attached   Returns 0, or -1 with an exception set. */
int tc_py_add_sync(PyObject *module);

/* The state, from one of our types or a class derived from it; NULL with TypeError set.
 * Parks: never   Threads: attached */
struct tc_py_sync_state *tc_py_sync_state_of_type(PyTypeObject *type);

/* The collector's two hooks and the end, called from those of the module. The strings stay until
 * the end: no cycle leads through them, and what outlives the collector's visit looks names up by
 * them. Parks: never   Threads: attached */
int tc_py_sync_state_traverse(struct tc_py_sync_state *state, visitproc visit, void *arg);
void tc_py_sync_state_clear(struct tc_py_sync_state *state);
void tc_py_sync_state_free(struct tc_py_sync_state *state);

/* Steps of tc_py_add_sync, one per file. Each returns 0, or -1 with an exception set. */
int tc_py_add_waiting_line(PyObject *module, struct tc_py_sync_state *state);
int tc_py_add_lock(PyObject *module, struct tc_py_sync_state *state);
int tc_py_add_semaphores(PyObject *module, struct tc_py_sync_state *state);
int tc_py_add_event(PyObject *module, struct tc_py_sync_state *state);
int tc_py_add_queues(PyObject *module, struct tc_py_sync_state *state);

#endif
