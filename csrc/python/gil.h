/* python/gil.h — leave the interpreter before blocking, come back after.
 *
 * Between release and acquire the thread is detached: it may block and may take C locks, and must
 * not touch a PyObject. On a build without the GIL the same pair detaches the thread, so that the
 * collector can stop the world meanwhile. Only threads that Python knows come here; workers never.
 *
 * INVARIANTS
 *  G1  An attached thread never waits for a C lock that somebody may hold while attaching.
 *  G2  A thread that attaches holds no tc_lock and is no worker (asserted).
 */
#ifndef TC_PYTHON_GIL_H
#define TC_PYTHON_GIL_H

#include "python/compat.h"

/* Detach the calling thread. Parks: never   Threads: attached ones
 * Returns what tc_gil_acquire needs. */
PyThreadState *tc_gil_release(void);

/* Attach the calling thread again; may wait for other threads, and does not return if the
 * interpreter is being finalized. Parks: never (blocks the thread)   Threads: the one that
 * released */
void tc_gil_acquire(PyThreadState *thread);

#endif
