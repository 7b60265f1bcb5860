/* base/defs.h — attributes, units and build switches; the only file that defines syntax-like
 * macros.
 *
 * Build switches are always defined here (0 or a number), so that code tests them with a plain
 * `if (TC_DEBUG >= 1)`, which keeps the disabled branch compiling.
 */
#ifndef TC_BASE_DEFS_H
#define TC_BASE_DEFS_H

#include <stddef.h>
#include <stdint.h>

/* ---- build switches ------------------------------------------------------------------- */

/* 0 release; 1 constant-time checks and lock ranks; 2 whole-structure checks; 3 slow audits. */
#ifndef TC_DEBUG
#define TC_DEBUG 0
#endif

/* Not 0: the seed by which rare paths are taken at random; see base/chaos.h. */
#ifndef TC_CHAOS
#define TC_CHAOS 0
#endif

/* 1 shrinks every initial capacity, so that tests reach wrap, growth and exhaustion soon. */
#ifndef TC_TEST_SMALL
#define TC_TEST_SMALL 0
#endif

/* 1 when this translation unit is built with that sanitizer; gcc and clang say it differently. */
#if defined(__SANITIZE_THREAD__)
#define TC_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TC_TSAN 1
#endif
#endif
#ifndef TC_TSAN
#define TC_TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define TC_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TC_ASAN 1
#endif
#endif
#ifndef TC_ASAN
#define TC_ASAN 0
#endif

/* ---- attributes ----------------------------------------------------------------------- */

#define TC_NODISCARD __attribute__((warn_unused_result))
#define TC_NOINLINE __attribute__((noinline))
#define TC_ALWAYS_INLINE inline __attribute__((always_inline))
#define TC_NORETURN __attribute__((noreturn))
#define TC_COLD __attribute__((cold))
#define TC_UNUSED __attribute__((unused))
#define TC_ALIGNED(n) __attribute__((aligned(n)))
#define TC_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))

/* Exported from the shared object; everything else is hidden (-fvisibility=hidden). */
#define TC_API __attribute__((visibility("default")))

/* Documentation: the caller may continue on another thread. After such a call re-read the
 * current worker, keep no address of a thread-local, and never look at errno. */
#define TC_MAY_PARK

/* Drop the result of a TC_NODISCARD call on purpose; the reason stands beside it. */
#define TC_IGNORE(call) ((void)!(call))

#define tc_likely(cond) __builtin_expect(!!(cond), 1)
#define tc_unlikely(cond) __builtin_expect(!!(cond), 0)

/* ---- helpers -------------------------------------------------------------------------- */

/* The object of `type` whose field `member` is at `ptr`. Evaluates `ptr` once. */
#define tc_container_of(ptr, type, member) \
    ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#define TC_ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

/* ---- units ---------------------------------------------------------------------------- */

/* Times are int64_t nanoseconds; deadlines are absolute on CLOCK_MONOTONIC. */
#define TC_NEVER INT64_MAX /* a deadline that does not come */
#define TC_NS_PER_US INT64_C(1000)
#define TC_NS_PER_MS INT64_C(1000000)
#define TC_NS_PER_SEC INT64_C(1000000000)

#endif
