#include "python/gil.h"

#include "base/assert.h"
#include "base/lock.h"
#include "sched/worker.h"

PyThreadState *tc_gil_release(void)
{
    return PyEval_SaveThread();
}

void tc_gil_acquire(PyThreadState *thread)
{
    tc_assert_debug(tc_worker_current() == NULL); /* G2 */
    tc_assert_debug(tc_lock_held_count() == 0);   /* G2 */
    PyEval_RestoreThread(thread);
}
