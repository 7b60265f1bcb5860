/* The overflow report: what it prints, and who gets the signal afterwards. Every test dies in a
 * child, whose standard error and wait status are looked at. */
#include "sched/overflow.h"

#include "arch/ctx.h"
#include "base/defs.h"
#include "harness.h"
#include "sched/stack.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct tc_stack_pool pool;
static struct tc_stack_cache cache;
static struct tc_overflow_thread thread_stack;

/* What stands for a fiber here. */
struct diver {
    uint64_t id;
    const char *name;
};

static bool describe(const void *owner, struct tc_overflow_info *info)
{
    const struct diver *diver = owner;

    info->id = diver->id;
    strncpy(info->name, diver->name, sizeof(info->name) - 1);
    return true;
}

static void start(void)
{
    TC_CHECK_EQ(tc_stack_pool_init(&pool), 0);
    tc_stack_cache_init(&cache, &pool);
    tc_overflow_set_describe(describe);
    TC_CHECK_EQ(tc_overflow_install(), 0);
    TC_CHECK_EQ(tc_overflow_thread_init(&thread_stack), 0);
}

/* ---- overflowing ----------------------------------------------------------------------------- */

static volatile int depth_limit = 1000000;

static __attribute__((noinline)) int recurse(int depth)
{
    volatile char frame[512];

    frame[0] = (char)depth;
    return depth < depth_limit ? recurse(depth + 1) + frame[0] : 0;
}

static void dive(void *user, void *arg)
{
    (void)user;
    (void)arg;
    (void)recurse(0);
    _exit(77);
}

static void overflow(enum tc_stack_class class)
{
    static const struct diver diver = {41, "deep \"diver\"\n"};
    static struct tc_ctx home;
    static struct tc_ctx fiber;
    struct tc_stack stack;

    TC_CHECK_EQ(tc_stack_cache_get(&cache, class, &stack), 0);
    tc_stack_set_owner(&pool, &stack, &diver);
    tc_ctx_init_thread(&home);
    tc_ctx_init(&fiber, stack.lo, stack.size, dive, NULL);
    (void)tc_ctx_switch(&home, &fiber, NULL);
}

/* ---- what the child must have said and died of ----------------------------------------------- */

/* A sanitizer's own handler ends the process in its own way. */
static void check_killed(int status, int signal_number)
{
    if (TC_ASAN || TC_TSAN) {
        TC_CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
        TC_CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 77);
    } else {
        TC_CHECK(WIFSIGNALED(status));
        TC_CHECK_EQ(WTERMSIG(status), signal_number);
    }
}

static size_t count_lines_with(const char *output, const char *text)
{
    size_t count = 0;

    for (const char *at = output; (at = strstr(at, text)); at += strlen(text)) {
        count++;
    }
    return count;
}

static char output[65536];

static void check_reports(void (*fn)(void *), enum tc_stack_class class)
{
    int status = tc_test_run_in_child(fn, &class, output, sizeof(output));
    char expected[128];

    snprintf(expected, sizeof(expected),
             "tinycoro: fiber 41 \"deep \"diver\"?\" overflowed its %zu KiB stack\n",
             tc__stack_geometry(class, (size_t)sysconf(_SC_PAGESIZE)).slot_bytes / 1024);
    if (count_lines_with(output, expected) != 1) {
        tc_test_failf("expected once: %s got: %s", expected, output);
    }
    check_killed(status, SIGSEGV);
}

static void overflow_plainly(void *class)
{
    start();
    overflow(*(enum tc_stack_class *)class);
}

TC_TEST(test_overflow_in_small_stack_prints_id_name_size)
{
    check_reports(overflow_plainly, TC_STACK_SMALL);
}

TC_TEST(test_overflow_in_default_stack_prints_id_name_size)
{
    check_reports(overflow_plainly, TC_STACK_DEFAULT);
}

TC_TEST(test_overflow_in_large_stack_prints_id_name_size)
{
    check_reports(overflow_plainly, TC_STACK_LARGE);
}

static void overflow_mprotect_guard(void *class)
{
    start();
    tc__stack_pool_limit_guards(&pool, 100);
    overflow(*(enum tc_stack_class *)class);
}

TC_TEST(test_overflow_into_mprotect_guard_is_reported)
{
    check_reports(overflow_mprotect_guard, TC_STACK_DEFAULT);
}

static void overflow_undescribed(void *arg)
{
    (void)arg;
    start();
    tc_overflow_set_describe(NULL);
    overflow(TC_STACK_DEFAULT);
}

TC_TEST(test_overflow_without_description_still_prints_size)
{
    int status = tc_test_run_in_child(overflow_undescribed, NULL, output, sizeof(output));

    TC_CHECK(strstr(output, "tinycoro: a fiber overflowed its 64 KiB stack\n") != NULL);
    check_killed(status, SIGSEGV);
}

/* ---- other handlers -------------------------------------------------------------------------- */

/* A handler as faulthandler writes it: put the predecessor back, print, raise again. */
static struct sigaction before_other;

static void other_handler(int signal_number)
{
    static const char text[] = "other handler\n";
    ssize_t ignored;

    sigaction(signal_number, &before_other, NULL);
    ignored = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)ignored;
    raise(signal_number);
}

static void install_other(int flags)
{
    struct sigaction action = {.sa_flags = SA_ONSTACK | flags};

    action.sa_handler = other_handler;
    sigemptyset(&action.sa_mask);
    TC_CHECK_EQ(sigaction(SIGSEGV, &action, &before_other), 0);
}

static void overflow_with_other_before(void *class)
{
    install_other(SA_NODEFER);
    start();
    overflow(*(enum tc_stack_class *)class);
}

TC_TEST(test_overflow_with_handler_installed_before_runs_both)
{
    check_reports(overflow_with_other_before, TC_STACK_DEFAULT);
    TC_CHECK_EQ(count_lines_with(output, "other handler\n"), (size_t)1);
}

static void overflow_with_other_after(void *class)
{
    start();
    install_other(SA_NODEFER);
    overflow(*(enum tc_stack_class *)class);
}

TC_TEST(test_overflow_with_handler_installed_after_runs_both)
{
    check_reports(overflow_with_other_after, TC_STACK_DEFAULT);
    TC_CHECK_EQ(count_lines_with(output, "other handler\n"), (size_t)1);
}

static void overflow_with_blocking_other_after(void *class)
{
    start();
    install_other(0);
    overflow(*(enum tc_stack_class *)class);
}

TC_TEST(test_overflow_with_handler_that_blocks_the_signal_runs_both)
{
    check_reports(overflow_with_blocking_other_after, TC_STACK_SMALL);
    TC_CHECK_EQ(count_lines_with(output, "other handler\n"), (size_t)1);
}

/* V2: the runtime stops and starts again beneath a handler that came later. */
static void overflow_after_restart_under_other(void *class)
{
    start();
    install_other(SA_NODEFER);
    for (int i = 0; i < 100; i++) {
        tc_overflow_uninstall();
        TC_CHECK_EQ(tc_overflow_install(), 0);
    }
    overflow(*(enum tc_stack_class *)class);
}

TC_TEST(test_overflow_after_restarts_beneath_other_handler_runs_both)
{
    check_reports(overflow_after_restart_under_other, TC_STACK_DEFAULT);
    TC_CHECK_EQ(count_lines_with(output, "other handler\n"), (size_t)1);
}

static int *volatile nowhere = (int *)(uintptr_t)16;

static void fault_elsewhere(void *arg)
{
    (void)arg;
    start();
    *nowhere = 1;
}

TC_TEST(test_overflow_fault_elsewhere_prints_nothing_and_kills)
{
    int status = tc_test_run_in_child(fault_elsewhere, NULL, output, sizeof(output));

    TC_CHECK(strstr(output, "tinycoro:") == NULL);
    check_killed(status, SIGSEGV);
}

static void raise_signal(void *signal_number)
{
    start();
    raise(*(int *)signal_number);
    _exit(77);
}

TC_TEST(test_overflow_sent_signals_kill_as_before)
{
    int signals[] = {SIGSEGV, SIGBUS};

    for (size_t i = 0; i < 2; i++) {
        int status = tc_test_run_in_child(raise_signal, &signals[i], output, sizeof(output));

        TC_CHECK(strstr(output, "tinycoro:") == NULL);
        check_killed(status, signals[i]);
    }
}

static void raise_ignored_signal(void *arg)
{
    (void)arg;
    signal(SIGSEGV, SIG_IGN);
    start();
    raise(SIGSEGV);
    _exit(55);
}

TC_TEST(test_overflow_sent_signal_stays_ignored)
{
    int status = tc_test_run_in_child(raise_ignored_signal, NULL, output, sizeof(output));

    TC_CHECK(WIFEXITED(status));
    TC_CHECK_EQ(WEXITSTATUS(status), 55);
}

TC_TEST(test_overflow_uninstall_restores_what_was_there)
{
    struct sigaction before;
    struct sigaction after;

    TC_CHECK_EQ(sigaction(SIGSEGV, NULL, &before), 0);
    for (int i = 0; i < 1000; i++) {
        TC_CHECK_EQ(tc_overflow_install(), 0);
        TC_CHECK_EQ(tc_overflow_install(), 0);
        TC_CHECK_EQ(sigaction(SIGSEGV, NULL, &after), 0);
        TC_CHECK(after.sa_sigaction != before.sa_sigaction);
        tc_overflow_uninstall();
    }
    TC_CHECK_EQ(sigaction(SIGSEGV, NULL, &after), 0);
    TC_CHECK(after.sa_sigaction == before.sa_sigaction);
}

TC_TEST(test_overflow_thread_fini_restores_alternate_stack)
{
    stack_t before;
    stack_t during;
    stack_t after;

    TC_CHECK_EQ(sigaltstack(NULL, &before), 0);
    TC_CHECK_EQ(tc_overflow_thread_init(&thread_stack), 0);
    TC_CHECK_EQ(sigaltstack(NULL, &during), 0);
    TC_CHECK(during.ss_size >= 65536);
    TC_CHECK_EQ(during.ss_flags, 0);
    tc_overflow_thread_fini(&thread_stack);
    tc_overflow_thread_fini(&thread_stack);
    TC_CHECK_EQ(sigaltstack(NULL, &after), 0);
    TC_CHECK_EQ(after.ss_flags, before.ss_flags);
    TC_CHECK(after.ss_sp == before.ss_sp);
}
