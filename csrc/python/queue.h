/* python/queue.h — Queue, LifoQueue, PriorityQueue: asyncio's, bounded or not, with shutdown.
 *
 * The items are in `container`, the attribute `_queue`: a deque, or a list that is a stack or a
 * heap. A queue that is exactly of one of our three types uses it directly, by way of its order. In
 * a subclass every step goes through the methods that asyncio calls there: full(), empty(),
 * qsize(), put_nowait(), get_nowait(), _init(), _put() and _get() may be overridden, and `_queue`
 * may be anything.
 *
 * INVARIANTS
 *  Q1  A wait that was woken is in no line. It looks again before it puts or gets, and may wait
 *      again.
 *  Q2  `order` is NULL in a subclass, and only there.
 *
 * who may call what: as for any waiting line (python/waiting_line.h).
 */
#ifndef TC_PYTHON_QUEUE_H
#define TC_PYTHON_QUEUE_H

#include "python/waiting_line.h"

#include <stdint.h>

struct tc_py_queue;

/* What the three types differ in. Each works on whatever `_queue` is. */
struct tc_py_queue_order {
    /* The items of a new queue. A new reference, or NULL with an exception set. */
    PyObject *(*make)(struct tc_py_sync_state *state);
    /* Returns 0, or -1 with an exception set. */
    int (*put)(struct tc_py_sync_state *state, PyObject *items, PyObject *b_item);
    /* A new reference, or NULL with an exception set. */
    PyObject *(*get)(struct tc_py_sync_state *state, PyObject *items);
};

extern const struct tc_py_queue_order tc_py_queue_fifo;
extern const struct tc_py_queue_order tc_py_queue_lifo;
extern const struct tc_py_queue_order tc_py_queue_priority;

struct tc_py_queue {
    struct tc_py_bound bound;
    const struct tc_py_queue_order *order; /* Q2                                                */
    struct tc_list getters;
    struct tc_list putters;
    struct tc_list joiners;
    PyObject *container;   /* owned; NULL until __init__, or without                            */
    PyObject *maxsize;     /* owned; as it was given; NULL until __init__                       */
    int64_t limit;         /* the same, if is_limited; 0 or less: none                          */
    Py_ssize_t unfinished; /* items put, less task_done() calls                                 */
    bool is_plain;         /* the container is exactly a list or a deque, as we make them       */
    bool is_limited;       /* maxsize is an int; else its comparisons are asked                 */
    bool is_shut_down;
};

static inline struct tc_py_queue *tc_py_queue_of(void *self)
{
    return (struct tc_py_queue *)self;
}

/* ---- what the methods of the base class do -------------------------------------------------- */

/* Take over `items` as `_queue`; NULL deletes it. */
void tc_py_queue_set_container(struct tc_py_queue *queue, PyObject *items);

/* _put(item) and _get() of the type with that order. Return 0 or a new reference, or -1 or NULL
 * with an exception set. */
int tc_py_queue_store(struct tc_py_queue *queue, const struct tc_py_queue_order *order,
                      PyObject *b_item);
PyObject *tc_py_queue_take(struct tc_py_queue *queue, const struct tc_py_queue_order *order);

/* len(_queue); -1 with an exception set. */
Py_ssize_t tc_py_queue_size(struct tc_py_queue *queue);

/* empty() and full(). Return 1, 0, or -1 with an exception set. */
int tc_py_queue_is_empty(struct tc_py_queue *queue);
int tc_py_queue_is_full(struct tc_py_queue *queue);

/* put_nowait(). Returns 0, or -1 with an exception set. */
int tc_py_queue_put(struct tc_py_queue *queue, PyObject *b_item);

/* get_nowait(). A new reference, or NULL with an exception set. */
PyObject *tc_py_queue_get(struct tc_py_queue *queue);

/* task_done() and shutdown(). Return 0, or -1 with an exception set. */
int tc_py_queue_done(struct tc_py_queue *queue);
int tc_py_queue_shut_down(struct tc_py_queue *queue, bool is_immediate);

/* put(), get() and join(): a new operation, or NULL with MemoryError set. */
PyObject *tc_py_queue_put_operation(struct tc_py_queue *queue, PyObject *b_item);
PyObject *tc_py_queue_get_operation(struct tc_py_queue *queue);
PyObject *tc_py_queue_join_operation(struct tc_py_queue *queue);

#endif
