#include "harness.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HARNESS_UNDER_SANITIZER true
#else
#define HARNESS_UNDER_SANITIZER false
#endif

enum {
    EXIT_SKIPPED = 77,
    GRACE_SECONDS = 3, /* between the SIGABRT that asks for a dump and the SIGKILL */
};

enum outcome { OUTCOME_OK, OUTCOME_FAILED, OUTCOME_SKIPPED };

struct options {
    const char *filter;
    unsigned repeat;
    unsigned timeout_seconds;
    bool list;
};

void (*tc_test_dump_hook)(int fd);

static struct tc_test_case *first_test;
static struct tc_test_case **last_test_link = &first_test;
static uint64_t seed;
static struct timespec test_start;

void tc_test_register(struct tc_test_case *test)
{
    *last_test_link = test;
    last_test_link = &test->next;
}

uint64_t tc_test_seed(void)
{
    return seed;
}

unsigned tc_test_cpu_count(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0) {
        return 1;
    }
    return (unsigned)CPU_COUNT(&set);
}

/* ---- inside the test's process ------------------------------------------------------------ */

static void on_abort(int signal_number)
{
    void (*hook)(int) = tc_test_dump_hook;

    /* The handler was reset on entry, so a hook that crashes or aborts ends the process. */
    if (hook != NULL) {
        hook(STDERR_FILENO);
    }
    raise(signal_number);
}

/* abort() rather than exit(): the dump hook runs, and a debugger stops at the failed check. */
_Noreturn static void fail_this_test(void)
{
    fflush(NULL);
    abort();
}

void tc_test_check_failed(const char *file, int line, const char *function, const char *condition)
{
    fprintf(stderr, "%s:%d: %s: check failed: %s\n", file, line, function, condition);
    fail_this_test();
}

void tc_test_failf(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    fail_this_test();
}

void tc_test_skipf(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stdout, format, args);
    va_end(args);
    fputc('\n', stdout);
    fflush(NULL);
    _exit(EXIT_SKIPPED);
}

void tc_test_timely(int64_t (*measure)(void *arg), void *arg, int64_t limit_ns)
{
    enum { TRIES = 5 };

    for (int i = 0; i < TRIES; i++) {
        int64_t took = measure(arg);
        if (took <= limit_ns) {
            return;
        }
        fprintf(stderr, "%.3f ms, limit %.3f\n", (double)took / 1e6, (double)limit_ns / 1e6);
    }
    tc_test_failf("too late each time");
}

static double seconds_since(const struct timespec *then)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

bool tc_test_has_time(double seconds)
{
    return seconds_since(&test_start) < seconds;
}

static bool values_are_equal(struct tc_test_value a, struct tc_test_value b)
{
    if (a.kind == TC_TEST_VALUE_DOUBLE || b.kind == TC_TEST_VALUE_DOUBLE) {
        double x = a.kind == TC_TEST_VALUE_DOUBLE ? a.as_double : (double)a.as_signed;
        double y = b.kind == TC_TEST_VALUE_DOUBLE ? b.as_double : (double)b.as_signed;

        return x == y;
    }
    if ((a.kind == TC_TEST_VALUE_SIGNED && a.as_signed < 0) !=
        (b.kind == TC_TEST_VALUE_SIGNED && b.as_signed < 0)) {
        return false;
    }
    return a.as_unsigned == b.as_unsigned;
}

static void print_value(const char *text, struct tc_test_value value)
{
    fprintf(stderr, "    %s = ", text);
    switch (value.kind) {
    case TC_TEST_VALUE_SIGNED:
        fprintf(stderr, "%" PRId64 "\n", value.as_signed);
        break;
    case TC_TEST_VALUE_UNSIGNED:
        fprintf(stderr, "%" PRIu64 " (0x%" PRIx64 ")\n", value.as_unsigned, value.as_unsigned);
        break;
    case TC_TEST_VALUE_DOUBLE:
        fprintf(stderr, "%.17g\n", value.as_double);
        break;
    case TC_TEST_VALUE_POINTER:
        fprintf(stderr, "0x%" PRIx64 "\n", value.as_unsigned);
        break;
    }
}

void tc_test_check_eq(const char *file, int line, const char *function, const char *left_text,
                      const char *right_text, struct tc_test_value left, struct tc_test_value right)
{
    if (values_are_equal(left, right)) {
        return;
    }
    fprintf(stderr, "%s:%d: %s: check failed: %s == %s\n", file, line, function, left_text,
            right_text);
    print_value(left_text, left);
    print_value(right_text, right);
    fail_this_test();
}

int tc_test_run_in_child(void (*fn)(void *arg), void *arg, char *output, size_t output_size)
{
    int channel[2];
    int status = 0;
    size_t used = 0;
    pid_t child;

    TC_CHECK_EQ(pipe(channel), 0);
    fflush(NULL);
    child = fork();
    TC_CHECK(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(channel[1], STDERR_FILENO);
        close(channel[0]);
        close(channel[1]);
        fn(arg);
        fflush(NULL);
        _exit(0);
    }
    close(channel[1]);
    for (;;) {
        char chunk[512];
        ssize_t got = read(channel[0], chunk, sizeof(chunk));
        size_t room = output_size > used + 1 ? output_size - used - 1 : 0;

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            break;
        }
        /* What does not fit is still read, or the child would block on a full pipe. */
        room = room < (size_t)got ? room : (size_t)got;
        memcpy(output + used, chunk, room);
        used += room;
    }
    if (output_size > 0) {
        output[used] = '\0';
    }
    close(channel[0]);
    while (waitpid(child, &status, 0) < 0) {
        TC_CHECK_EQ(errno, EINTR);
    }
    return status;
}

_Noreturn static void run_in_this_process(const struct tc_test_case *test)
{
    struct sigaction action = {.sa_handler = on_abort, .sa_flags = (int)SA_RESETHAND};

    setpgid(0, 0);
    sigemptyset(&action.sa_mask);
    sigaction(SIGABRT, &action, NULL);
    test->run();
    /* exit(), not _exit(): the sanitizers report leaks and races from their exit handlers. */
    exit(0);
}

/* ---- the parent ----------------------------------------------------------------------------- */

static struct timespec deadline_in(unsigned seconds)
{
    struct timespec deadline;

    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += (time_t)seconds;
    return deadline;
}

/* Wait until the child has ended (true) or the time is up (false).  SIGCHLD is blocked. */
static bool wait_for_child(pid_t child, unsigned seconds, int *status)
{
    struct timespec deadline = deadline_in(seconds);
    sigset_t child_signal;

    sigemptyset(&child_signal);
    sigaddset(&child_signal, SIGCHLD);
    for (;;) {
        struct timespec now = deadline_in(0);
        struct timespec left = {
            .tv_sec = deadline.tv_sec - now.tv_sec,
            .tv_nsec = deadline.tv_nsec - now.tv_nsec,
        };

        if (waitpid(child, status, WNOHANG) == child) {
            return true;
        }
        if (left.tv_nsec < 0) {
            left.tv_sec -= 1;
            left.tv_nsec += 1000000000L;
        }
        if (left.tv_sec < 0) {
            return false;
        }
        (void)sigtimedwait(&child_signal, NULL, &left); /* the loop looks again in any case */
    }
}

static void stop_child(pid_t child, int *status)
{
    kill(child, SIGABRT);
    if (wait_for_child(child, GRACE_SECONDS, status)) {
        return;
    }
    kill(-child, SIGKILL);
    while (waitpid(child, status, 0) < 0 && errno == EINTR) {
    }
}

static void print_failure(const struct tc_test_case *test, int status, bool timed_out,
                          const struct options *options)
{
    if (timed_out) {
        printf("FAIL %s: no result within %u s", test->name, options->timeout_seconds);
    } else if (WIFSIGNALED(status)) {
        printf("FAIL %s: killed by signal %d (%s)", test->name, WTERMSIG(status),
               strsignal(WTERMSIG(status)));
    } else {
        printf("FAIL %s: exit status %d", test->name, WEXITSTATUS(status));
    }
    printf("; repeat with --filter %s --seed %" PRIu64 "\n", test->name, seed);
}

static enum outcome run_test(const struct tc_test_case *test, const struct options *options,
                             const sigset_t *original_mask)
{
    bool timed_out;
    int status = 0;
    pid_t child;

    fflush(NULL);
    clock_gettime(CLOCK_MONOTONIC, &test_start);
    child = fork();
    if (child < 0) {
        printf("FAIL %s: fork: %s\n", test->name, strerror(errno));
        return OUTCOME_FAILED;
    }
    if (child == 0) {
        sigprocmask(SIG_SETMASK, original_mask, NULL);
        run_in_this_process(test);
    }
    setpgid(child, child); /* both sides do it, so that it holds whoever runs first */
    timed_out = !wait_for_child(child, options->timeout_seconds, &status);
    if (timed_out) {
        fprintf(stderr, "%s: out of time after %u s, seed %" PRIu64 "; asking it for a dump\n",
                test->name, options->timeout_seconds, seed);
        stop_child(child, &status);
    }
    kill(-child, SIGKILL); /* whatever the test has started and left behind */
    if (!timed_out && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        double took = seconds_since(&test_start);
        if (took < 1) {
            printf("ok %s\n", test->name);
        } else {
            printf("ok %s (%.1f s)\n", test->name, took);
        }
        return OUTCOME_OK;
    }
    if (!timed_out && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED) {
        printf("skip %s\n", test->name);
        return OUTCOME_SKIPPED;
    }
    print_failure(test, status, timed_out, options);
    return OUTCOME_FAILED;
}

static uint64_t number_or_die(const char *option, const char *text)
{
    char *end = NULL;
    uint64_t value;

    errno = 0;
    value = text == NULL ? 0 : strtoull(text, &end, 0);
    if (text == NULL || end == text || *end != '\0' || errno != 0) {
        fprintf(stderr, "%s needs a number, not '%s'\n", option, text == NULL ? "" : text);
        exit(2);
    }
    return value;
}

static uint64_t choose_seed(void)
{
    const char *text = getenv("TC_TEST_SEED");
    struct timespec now;

    if (text != NULL) {
        return number_or_die("TC_TEST_SEED", text);
    }
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000007u ^ (uint64_t)now.tv_nsec ^ (uint64_t)getpid() << 32;
}

static void parse_options(int argc, char **argv, struct options *options)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(name, "--list") == 0) {
            options->list = true;
            continue;
        }
        if (strcmp(name, "--filter") == 0 && value != NULL) {
            options->filter = value;
        } else if (strcmp(name, "--seed") == 0) {
            seed = number_or_die(name, value);
        } else if (strcmp(name, "--repeat") == 0) {
            options->repeat = (unsigned)number_or_die(name, value);
        } else if (strcmp(name, "--timeout") == 0) {
            options->timeout_seconds = (unsigned)number_or_die(name, value);
        } else {
            fprintf(stderr,
                    "usage: %s [--list] [--filter TEXT] [--seed N] [--repeat N] "
                    "[--timeout SECONDS]\n",
                    argv[0]);
            exit(2);
        }
        i++;
    }
}

/* What make, ctest or a shell left open for us would count against the descriptor limits that tests
 * set. A linear walk: close_range is not in every C library. */
static void close_inherited(void)
{
    enum { HIGHEST = 1024 };

    for (int fd = STDERR_FILENO + 1; fd < HIGHEST; fd++) {
        close(fd);
    }
}

int main(int argc, char **argv)
{
    bool is_slowed = HARNESS_UNDER_SANITIZER || getenv("TC_TEST_VALGRIND") != NULL;
    struct options options = {.repeat = 1, .timeout_seconds = is_slowed ? 240 : 120};
    unsigned counts[3] = {0};
    sigset_t child_signal;
    sigset_t original_mask;

    close_inherited();
    setvbuf(stdout, NULL, _IOLBF, 0); /* results stay in order with what tests print to stderr */
    seed = choose_seed();
    parse_options(argc, argv, &options);
    sigemptyset(&child_signal);
    sigaddset(&child_signal, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child_signal, &original_mask);
    for (unsigned round = 0; round < options.repeat; round++, seed++) {
        for (struct tc_test_case *test = first_test; test != NULL; test = test->next) {
            if (options.filter != NULL && strstr(test->name, options.filter) == NULL) {
                continue;
            }
            if (options.list) {
                puts(test->name);
                counts[OUTCOME_OK]++;
                continue;
            }
            counts[run_test(test, &options, &original_mask)]++;
        }
    }
    if (counts[OUTCOME_OK] + counts[OUTCOME_FAILED] + counts[OUTCOME_SKIPPED] == 0) {
        fprintf(stderr, "no test matches '%s'\n", options.filter == NULL ? "" : options.filter);
        return 2;
    }
    if (options.list) {
        return 0;
    }
    if (counts[OUTCOME_SKIPPED] != 0) {
        printf("%u skipped\n", counts[OUTCOME_SKIPPED]);
    }
    printf("%u passed, %u failed\n", counts[OUTCOME_OK], counts[OUTCOME_FAILED]);
    return counts[OUTCOME_FAILED] == 0 ? 0 : 1;
}
