/* python/descriptor.h — what a loop polls: one record per descriptor number, in a table.
 *
 * There are two kinds. Streams register both directions edge-triggered, once, as C connections do;
 * they try a system call first and wait for an edge after a short one. Callbacks of add_reader and
 * add_writer are asyncio's: called in every turn in which the descriptor is ready, so those are
 * registered level-triggered, for the directions that have a callback.
 *
 * Events are delivered on the loop's thread, attached, between two turns. A record's `event` notes
 * what has come and makes nodes ready; it runs nothing. Still a collection may run a finalizer that
 * closes a descriptor, and a later event of the same batch would find another one under its number:
 * hence the generation in the poller's tag.
 *
 * The Python socket of a stream or listener is its user's, too, who may close or detach it. The
 * number then means another file, or soon will, and is not to be acted on: who ends asks the socket
 * first, and whose number is wanted again makes way.
 *
 *   tag   bits 0–31: the number   bits 32–63: the generation, which is never 0
 *
 * INVARIANTS
 *  DE1  table[fd] is NULL or the registered record whose fd is that number.
 *  DE2  A record of a stream or listener is embedded in its object, which takes it out before it
 *       dies; one of callbacks belongs to the table.
 *
 * who may call what: the loop's thread, attached.
 */
#ifndef TC_PYTHON_DESCRIPTOR_H
#define TC_PYTHON_DESCRIPTOR_H

#include "python/compat.h"

#include "base/defs.h"
#include "io/poller.h"

#include <stdbool.h>
#include <stdint.h>

struct tc_py_loop;

struct tc_py_descriptor;

struct tc_py_descriptor_ops {
    /* Something has happened; `bits` is of enum tc_poller_event_bits.                         */
    void (*event)(struct tc_py_descriptor *self, struct tc_py_loop *loop, uint32_t bits);
    /* This is the child of a fork: close the descriptor, and tell nobody.                     */
    void (*forget)(struct tc_py_descriptor *self);
    /* Somebody opens or watches the number: leave the table if our object has lost it. May run
     * Python code, and end the object. */
    void (*make_way)(struct tc_py_descriptor *self, struct tc_py_loop *loop);
};

struct tc_py_descriptor {
    int fd;              /* -1: none                                                            */
    uint32_t generation; /* of the registration; 0: not registered                              */
    const struct tc_py_descriptor_ops *ops; /* constant; NULL: callbacks                        */
};

struct tc_py_descriptors {
    struct tc_py_descriptor **table; /* owned; indexed by descriptor (DE1)                      */
    size_t size; /* of the table                                            */
    uint32_t generation; /* the last one given                                      */
};

/* Register `fd` for both directions, edge-triggered. The record is unused before; its fd is set on
 * success. May run Python code. Returns 0; -EEXIST: the number is in use; -ENOMEM; -EBADF: the loop
 * was closed meanwhile; or what the poller said. */
TC_NODISCARD int tc_py_descriptor_add(struct tc_py_loop *loop, struct tc_py_descriptor *self,
                                      int fd);

/* The same, level-triggered, for readability only. */
TC_NODISCARD int tc_py_descriptor_add_level(struct tc_py_loop *loop, struct tc_py_descriptor *self,
                                            int fd);

/* Switch a level-triggered registration off or on. Returns 0 or -errno. */
TC_NODISCARD int tc_py_descriptor_enable(struct tc_py_loop *loop, struct tc_py_descriptor *self,
                                         bool enabled);

/* Take a record out, before its descriptor is closed; its fd stays. Does nothing if it is in no
 * table. */
void tc_py_descriptor_remove(struct tc_py_loop *loop, struct tc_py_descriptor *self);

/* False if the fileno() of `b_object` is another number than the record's, -1 if it is closed, or
 * raises OSError or ValueError. May run Python code, whose other exceptions are reported as
 * unraisable; keeps a pending one. */
bool tc_py_descriptor_is_of(const struct tc_py_descriptor *self, struct tc_py_loop *loop,
                            PyObject *b_object);

/* Deliver one event of the loop's poller. */
void tc_py_descriptor_deliver(struct tc_py_loop *loop, const struct tc_poller_event *event);

/* The collector's hooks and the end of the loop: visit callbacks; drop them. */
int tc_py_descriptors_traverse(struct tc_py_loop *loop, visitproc visit, void *arg);
void tc_py_descriptors_clear(struct tc_py_loop *loop);

/* After a fork, in the child: have streams and listeners forget their descriptors. */
void tc_py_descriptors_forget(struct tc_py_loop *loop);

/* LoopBase.add_reader, .remove_reader, .add_writer and .remove_writer. */
PyObject *tc_py_loop_add_reader(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *tc_py_loop_remove_reader(PyObject *self, PyObject *b_fd);
PyObject *tc_py_loop_add_writer(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *tc_py_loop_remove_writer(PyObject *self, PyObject *b_fd);

#endif
