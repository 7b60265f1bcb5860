#include "base/assert.h"

#include "harness.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int evaluated;

static bool note_evaluation(void)
{
    evaluated++;
    return true;
}

TC_TEST(test_assert_tiers_evaluate_only_when_enabled)
{
    tc_assert(note_evaluation());
    TC_CHECK_EQ(evaluated, 1);
    tc_assert_debug(note_evaluation());
    TC_CHECK_EQ(evaluated, TC_DEBUG >= 1 ? 2 : 1);
    evaluated = 0;
    tc_assert_slow(note_evaluation());
    TC_CHECK_EQ(evaluated, TC_DEBUG >= 2 ? 1 : 0);
}

static void fail_assertion(void *arg)
{
    tc_assert(arg != NULL);
}

TC_TEST(test_assert_failure_prints_the_condition_and_aborts)
{
    char output[4096];
    int status = tc_test_run_in_child(fail_assertion, NULL, output, sizeof(output));

    TC_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    TC_CHECK(strstr(output, "assertion failed: arg != NULL") != NULL);
    TC_CHECK(strstr(output, "test_assert.c:") != NULL);
}

static void write_from_hook(int fd)
{
    TC_CHECK_EQ(write(fd, "from the hook\n", 14), 14);
}

static void panic_in_hook(int fd)
{
    (void)fd;
    tc_panic("second");
}

static void panic_with_hook(void *hook)
{
    *(void **)&tc_panic_hook = hook;
    tc_panic("worker %d is lost", 7);
}

TC_TEST(test_assert_panic_prints_message_then_hook)
{
    char output[4096];
    void (*hook)(int) = write_from_hook;
    void *as_object;
    int status;

    memcpy(&as_object, &hook, sizeof(hook));
    status = tc_test_run_in_child(panic_with_hook, as_object, output, sizeof(output));
    TC_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    TC_CHECK(strstr(output, "tinycoro: panic: worker 7 is lost\nfrom the hook\n") != NULL);
}

TC_TEST(test_assert_panic_inside_the_hook_aborts_at_once)
{
    char output[4096];
    void (*hook)(int) = panic_in_hook;
    void *as_object;
    int status;

    memcpy(&as_object, &hook, sizeof(hook));
    status = tc_test_run_in_child(panic_with_hook, as_object, output, sizeof(output));
    TC_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    TC_CHECK(strstr(output, "worker 7 is lost") != NULL);
    TC_CHECK(strstr(output, "second") == NULL);
}

static void panic_at_length(void *arg)
{
    char text[2000];

    (void)arg;
    memset(text, 'y', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    tc_panic("%s", text);
}

TC_TEST(test_assert_panic_cuts_a_long_message)
{
    char output[4096];
    int status = tc_test_run_in_child(panic_at_length, NULL, output, sizeof(output));

    TC_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    TC_CHECK(strstr(output, "yyyy\n") != NULL);
    TC_CHECK(strlen(strstr(output, "tinycoro: panic")) >= 500);
}
