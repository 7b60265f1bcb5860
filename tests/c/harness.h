/* tests/c/harness.h — one executable per test file, one forked process per test.
 *
 * A test file defines its tests with TC_TEST and links harness.c, which holds main().  Every
 * test runs in a fresh process in its own process group, so that a crash, a leaked thread or a
 * hang costs that test only.  The checks below do not depend on NDEBUG.
 *
 *   TC_TEST(test_list_pop_from_empty_returns_null)
 *   {
 *       struct tc_list list;
 *
 *       tc_list_init(&list);
 *       TC_CHECK(tc_list_pop_front(&list) == NULL);
 *   }
 *
 * Output: one line `ok NAME`, `FAIL NAME` or `skip NAME` a test, with its seconds where it took
 * some, and last `N passed, N failed`.
 * Exit status: 0 when nothing failed, 1 when something did, 2 for a usage error or when the
 * filter matches no test.
 *
 *   --list           print the names and stop
 *   --filter TEXT    only tests whose name contains TEXT
 *   --seed N         the number tc_test_seed() returns (environment: TC_TEST_SEED)
 *   --repeat N       run everything N times, with seeds SEED, SEED+1, …
 *   --timeout S      seconds a test may take (default 120; 240 under a sanitizer or valgrind): for
 *                    a hang, not a measure, since the machine may have other things to do
 *
 * A test that runs out of time is sent SIGABRT, which makes it call tc_test_dump_hook, and is
 * killed with everything it started 3 seconds later.
 */
#ifndef TC_TESTS_C_HARNESS_H
#define TC_TESTS_C_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One registered test; lives in the test file, linked by its constructor before main(). */
struct tc_test_case {
    const char *name;
    void (*run)(void);
    struct tc_test_case *next;
};

/* An operand of TC_CHECK_EQ, widened so that any two integers or pointers can be compared by
 * value and printed: -1 never equals UINT64_MAX here, and no sign-compare warning is raised. */
struct tc_test_value {
    enum tc_test_value_kind {
        TC_TEST_VALUE_SIGNED,
        TC_TEST_VALUE_UNSIGNED,
        TC_TEST_VALUE_DOUBLE,
        TC_TEST_VALUE_POINTER,
    } kind;
    union {
        int64_t as_signed;
        uint64_t as_unsigned; /* pointers too */
        double as_double;
    };
};

/* Called with a file descriptor when a test fails or runs out of time, from the signal handler
 * of SIGABRT in the test's process: it may only write(2).  NULL: nothing to add. */
extern void (*tc_test_dump_hook)(int fd);

/* The seed of this run.  A test takes all its randomness from it, so that the printed seed
 * repeats a failure. */
uint64_t tc_test_seed(void);

/* How many processors this process may use; for tests that need real parallelism. */
unsigned tc_test_cpu_count(void);

/* End this test as failed, with a message. */
_Noreturn void tc_test_failf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* End this test as skipped.  Only for what the machine lacks, never for what is hard to test. */
_Noreturn void tc_test_skipf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Measure until a result is at most `limit_ns`; end this test as failed after five. For limits that
 * are close to what is expected: a busy machine makes one or the other measurement late, a fault
 * makes all of them late. What must never happen, not even once, is a check inside `measure`. */
void tc_test_timely(int64_t (*measure)(void *arg), void *arg, int64_t limit_ns);

/* True until the test has run for so many seconds: for a loop whose rounds show more the more there
 * are, and of which a busy machine, where each change of threads costs a scheduler's tick, may make
 * fewer. */
bool tc_test_has_time(double seconds);

/* Run fn(arg) in a forked child, for code that is expected to die.  Its standard error goes to
 * `output` (always terminated, cut at output_size).  Returns the child's wait status; a child
 * whose fn returns exits with 0. */
int tc_test_run_in_child(void (*fn)(void *arg), void *arg, char *output, size_t output_size);

#define TC_TEST(test_name) \
    static void test_name(void); \
    static struct tc_test_case test_name##_case = {.name = #test_name, .run = test_name}; \
    __attribute__((constructor)) static void test_name##_register(void) \
    { \
        tc_test_register(&test_name##_case); \
    } \
    static void test_name(void)

#define TC_CHECK(condition) \
    ((condition) ? (void)0 : tc_test_check_failed(__FILE__, __LINE__, __func__, #condition))

#define TC_CHECK_EQ(left, right) \
    tc_test_check_eq(__FILE__, __LINE__, __func__, #left, #right, TC_TEST_VALUE(left), \
                     TC_TEST_VALUE(right))

#define TC_TEST_VALUE(x) \
    _Generic((x), \
        bool: tc_test_value_unsigned, \
        char: tc_test_value_signed, \
        signed char: tc_test_value_signed, \
        short: tc_test_value_signed, \
        int: tc_test_value_signed, \
        long: tc_test_value_signed, \
        long long: tc_test_value_signed, \
        unsigned char: tc_test_value_unsigned, \
        unsigned short: tc_test_value_unsigned, \
        unsigned int: tc_test_value_unsigned, \
        unsigned long: tc_test_value_unsigned, \
        unsigned long long: tc_test_value_unsigned, \
        float: tc_test_value_double, \
        double: tc_test_value_double, \
        default: tc_test_value_pointer)(x)

/* What the macros expand to; not called by name. */
void tc_test_register(struct tc_test_case *test);
_Noreturn void tc_test_check_failed(const char *file, int line, const char *function,
                                    const char *condition);
void tc_test_check_eq(const char *file, int line, const char *function, const char *left_text,
                      const char *right_text, struct tc_test_value left,
                      struct tc_test_value right);

static inline struct tc_test_value tc_test_value_signed(long long value)
{
    return (struct tc_test_value){.kind = TC_TEST_VALUE_SIGNED, .as_signed = value};
}

static inline struct tc_test_value tc_test_value_unsigned(unsigned long long value)
{
    return (struct tc_test_value){.kind = TC_TEST_VALUE_UNSIGNED, .as_unsigned = value};
}

static inline struct tc_test_value tc_test_value_double(double value)
{
    return (struct tc_test_value){.kind = TC_TEST_VALUE_DOUBLE, .as_double = value};
}

static inline struct tc_test_value tc_test_value_pointer(const volatile void *value)
{
    return (struct tc_test_value){.kind = TC_TEST_VALUE_POINTER, .as_unsigned = (uintptr_t)value};
}

#endif
