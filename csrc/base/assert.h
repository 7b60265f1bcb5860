/* base/assert.h — three tiers of assertions and the panic they end in.
 *
 * Assertions state what only a bug in this library can break. Input, the peer and lack of
 * memory are never asserted: they are errors, and the library lives inside somebody's
 * interpreter.
 *
 *   tc_assert(c)         always on; constant-time, on cold paths
 *   tc_assert_debug(c)   TC_DEBUG >= 1; constant-time, anywhere
 *   tc_assert_slow(c)    TC_DEBUG >= 2; may walk a structure: tc_assert_slow(tc_x_is_valid(x))
 *
 * A disabled tier still type-checks its expression but never evaluates it.
 */
#ifndef TC_BASE_ASSERT_H
#define TC_BASE_ASSERT_H

#include "base/defs.h"

#define tc_assert(cond) (tc_likely(cond) ? (void)0 : tc__assert_failed(#cond, __FILE__, __LINE__))
#define tc_assert_debug(cond) (TC_DEBUG >= 1 ? tc_assert(cond) : (void)0)
#define tc_assert_slow(cond) (TC_DEBUG >= 2 ? tc_assert(cond) : (void)0)

/* Called by tc_panic after the message, to print where the thread is (worker, fiber). Must only use
 * write(2)-like calls on `fd`. Set by whoever starts a runtime; NULL until then. */
extern void (*_Atomic tc_panic_hook)(int fd);

/* Print the message and the hook's text to standard error by raw writes, then abort. For
 * broken invariants only. A panic inside the hook aborts at once; a panic of a second
 * thread waits for the first one's abort. The message is cut at 512 bytes.
 * Parks: never   Threads: any   Returns: never. */
TC_NORETURN TC_COLD void tc_panic(const char *fmt, ...) TC_PRINTF(1, 2);

/* Out-of-line tail of tc_assert. */
TC_NORETURN TC_COLD void tc__assert_failed(const char *cond, const char *file, int line);

#endif
