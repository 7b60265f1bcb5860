/* python/channel.h — tinycoro.Channel: sync/channel.h with Python's items and Python's ways to
 * wait.
 *
 * A channel of objects (items=object) carries TC_VALUE_POINTER values, each one reference. A
 * channel of bytes, int or float carries values that need no Python; such a one is shared with C
 * fibers.
 *
 *   who waits                  with                      file
 *   a task of one of our loops an operation, a wakeup    channel_wait.c, wakeup.h
 *   a task of asyncio          the same, and a guest     guest.h
 *   a plain thread             a record, a futex         blocking.h
 *   a task, in several         an operation, a wakeup    select.c
 *   a C fiber                  tc_channel_send and recv  sync/channel.h; not in one of objects
 *
 * THE COLLECTOR AND ITEMS. tp_traverse of a channel of objects visits, under the channel's lock,
 * the items in the ring and those with the senders that wait. For that to be right they may not
 * move while the collector counts: so the items of such a channel are moved by attached threads
 * only, the threads that the collector stops (or that wait for the GIL). An operation that holds an
 * item which is not in the channel visits it itself; nobody visits an item that has been handed to
 * a receiver which has not run yet: it looks referenced from outside, which is safe.
 *
 * INVARIANTS
 *  CH1  A reference to an item is visited by one object at most.
 *  CH2  Under the lock of a channel of objects nothing is allocated or released, and no Python
 *       runs.
 *  CH3  A channel of another process generation counts as closed and empty; its lock is not
 *       touched.
 *
 * who may call what: attached threads, any; operations as in operation.h.
 */
#ifndef TC_PYTHON_CHANNEL_H
#define TC_PYTHON_CHANNEL_H

#include "python/compat.h"
#include "python/loop_state.h"
#include "python/operation.h"
#include "python/process.h"
#include "python/wakeup.h"

#include "sync/channel.h"

#include <stdbool.h>
#include <stdint.h>

enum tc_py_items {
    TC_PY_ITEMS_OBJECT,
    TC_PY_ITEMS_BYTES,
    TC_PY_ITEMS_INT,
    TC_PY_ITEMS_FLOAT,
};

struct tc_py_channel {
    PyObject_HEAD PyObject *weakrefs;
    struct tc_py_loop_state *state; /* constant                                                 */
    struct tc_channel *channel; /* one reference; constant                                  */
    uint32_t generation; /* of forks, when it was made                               */
    uint8_t items; /* enum tc_py_items; constant                               */
};

enum tc_py_channel_kind {
    TC_PY_CHANNEL_SEND,
    TC_PY_CHANNEL_RECV,
    TC_PY_CHANNEL_NEXT, /* recv for `async for`                                                 */
};

/* What send() and recv() return. */
struct tc_py_channel_operation {
    struct tc_py_operation op;
    struct tc_py_channel *channel; /* owned until it has ended                                  */
    struct tc_value value; /* owned: to be sent and not handed over, or received        */
    struct tc_py_wakeup *wakeup; /* of the wait, until it has arrived or was given up         */
    int32_t result; /* of the wait, once it has arrived                          */
    uint8_t kind; /* enum tc_py_channel_kind                                   */
};

/* ---- channels (channel.c) --------------------------------------------------------------- */

/* CH3. */
static inline bool tc_py_channel_is_lost(const struct tc_py_channel *channel)
{
    return tc_unlikely(channel->generation != tc_py_process_generation());
}

/* Wait until the lock that somebody holds is free. Threads: attached; detaches meanwhile */
void tc_py_channel_await_lock(struct tc_py_channel *channel);

/* Before a step that takes the lock: a worker may hold it that the kernel has put aside, and an
 * attached thread must not sleep for that long. A hint: the step may still meet a holder. */
static inline void tc_py_channel_approach(struct tc_py_channel *channel)
{
    if (tc_unlikely(tc_lock_looks_held(&channel->channel->lock))) {
        tc_py_channel_await_lock(channel);
    }
}

/* `b_object` as a channel, borrowed, or NULL with TypeError set. */
struct tc_py_channel *tc_py_channel_cast(struct tc_py_loop_state *state, PyObject *b_object);

/* Set ChannelClosed, with the channel and, unless it is negative, the index of a select's case. */
void tc_py_channel_set_closed(struct tc_py_channel *channel, Py_ssize_t index);

/* ---- items (item.c) ------------------------------------------------------------------------ */

/* Convert an object for a channel. *out owns what it refers to.
 * Returns 0, or -1 with TypeError, OverflowError or MemoryError set. */
TC_NODISCARD int tc_py_item_encode(uint8_t items, PyObject *b_object, struct tc_value *out);

/* The object that a received value means; takes the value. A new reference, or NULL with
 * MemoryError set: then the item is lost. */
PyObject *tc_py_item_decode(struct tc_value value);

/* Drop a value and leave nothing behind. May run Python. */
void tc_py_item_clear(struct tc_value *value);

/* For tp_traverse of who holds `value`. */
static inline int tc_py_item_traverse(const struct tc_value *value, visitproc visit, void *arg)
{
    if (value->kind == TC_VALUE_POINTER) {
        Py_VISIT((PyObject *)value->as_pointer);
    }
    return 0;
}

/* The name of an item type, "object". */
const char *tc_py_items_name(uint8_t items);

/* ---- operations (channel_wait.c) ------------------------------------------------------------- */

/* How many operations in a row have not waited, where `op` is awaited. */
uint32_t *tc_py_channel_fast(const struct tc_py_operation *op);

/* A new operation, a reused object if there is one; takes `value`. NULL with MemoryError set. */
PyObject *tc_py_channel_operation_new(struct tc_py_channel *channel, enum tc_py_channel_kind kind,
                                      struct tc_value value);

#endif
