/* python/runtime.h — how many workers a runtime made now would have.
 *
 * who may call what: attached threads.
 */
#ifndef TC_PYTHON_RUNTIME_H
#define TC_PYTHON_RUNTIME_H

#include "python/compat.h"

#include <stdint.h>

#include "base/defs.h"

/* configure(), else TINYCORO_WORKERS, else what the process may use. Returns 0, or -1 with
 * ValueError set because the environment is wrong. */
TC_NODISCARD int tc_py_workers_wanted(uint32_t *out);

/* The same for a server whose requests need a loop thread: unless it was said how many there are to
 * be, one processor is left to that. */
TC_NODISCARD int tc_py_workers_wanted_beside_loop(uint32_t *out);

#endif
