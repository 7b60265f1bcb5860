#include "base/sys.h"

#include "base/assert.h"
#include "base/chaos.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A system call's own convention, -1 and errno, made into ours. */
static inline int outcome(int result)
{
    return tc_unlikely(result < 0) ? -errno : result;
}

/* ---- threads -------------------------------------------------------------------------- */

/* Every signal except those that report a fault of the thread itself: blocking these would
 * turn a crash that a handler could describe into a silent one. */
static void fill_asynchronous(sigset_t *set)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};

    (void)sigfillset(set);
    for (size_t i = 0; i < TC_ARRAY_LEN(faults); i++) {
        (void)sigdelset(set, faults[i]);
    }
}

/* Set the stack size in whole pages, at least what the system demands. */
static int set_stack_size(pthread_attr_t *attr, size_t size)
{
    size_t page = tc_sys_page_size();
    long least = sysconf(_SC_THREAD_STACK_MIN);

    if (size == 0) {
        return 0;
    }
    if (least > 0 && size < (size_t)least) {
        size = (size_t)least;
    }
    return -pthread_attr_setstacksize(attr, (size + page - 1) & ~(page - 1));
}

TC_NOINLINE int tc_sys_thread_create(pthread_t *out, size_t stack_size, void *(*fn)(void *),
                                     void *arg)
{
    pthread_attr_t attr;
    sigset_t blocked;
    sigset_t before;
    int err = tc_fault_check(TC_FAULT_THREAD);

    if (err != 0) {
        return err;
    }
    err = -pthread_attr_init(&attr);
    if (err != 0) {
        return err;
    }
    err = set_stack_size(&attr, stack_size);
    if (err != 0) {
        goto destroy_attr;
    }
    /* The mask is inherited: set it here, so that no signal can hit the thread's first steps. */
    fill_asynchronous(&blocked);
    err = -pthread_sigmask(SIG_BLOCK, &blocked, &before);
    if (err != 0) {
        goto destroy_attr;
    }
    err = -pthread_create(out, &attr, fn, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
destroy_attr:
    (void)pthread_attr_destroy(&attr);
    return err;
}

int tc_sys_thread_join(pthread_t thread, void **result)
{
    return -pthread_join(thread, result);
}

void tc_sys_thread_set_name(const char *name)
{
    char cut[16];

    (void)snprintf(cut, sizeof(cut), "%s", name);
    (void)pthread_setname_np(pthread_self(), cut);
}

TC_NOINLINE int tc_sys_set_timer_slack(int64_t slack_ns)
{
    int err = tc_fault_check(TC_SYS_TIMER_SLACK);

    return err != 0 ? err : outcome(prctl(PR_SET_TIMERSLACK, (unsigned long)slack_ns, 0, 0, 0));
}

TC_NOINLINE void tc_sys_sched_yield(void)
{
    (void)sched_yield();
}

TC_NOINLINE pid_t tc_sys_gettid(void)
{
    return (pid_t)syscall(SYS_gettid);
}

TC_NOINLINE int tc_sys_affinity_count(void)
{
    /* Room for 8192 processors, the most that Linux can be built for. */
    cpu_set_t sets[8192 / CPU_SETSIZE];
    int err = tc_fault_check(TC_SYS_GETAFFINITY);
    int count;

    if (err != 0) {
        return err;
    }
    CPU_ZERO_S(sizeof(sets), sets);
    if (sched_getaffinity(0, sizeof(sets), sets) < 0) {
        return -errno;
    }
    count = CPU_COUNT_S(sizeof(sets), sets);
    return count > 0 ? count : 1;
}

/* ---- signals -------------------------------------------------------------------------- */

TC_NOINLINE int tc_sys_sigaltstack(const stack_t *stack, stack_t *old)
{
    int err = tc_fault_check(TC_SYS_SIGALTSTACK);

    return err != 0 ? err : outcome(sigaltstack(stack, old));
}

TC_NOINLINE int tc_sys_sigaction(int sig, const struct sigaction *action, struct sigaction *old)
{
    int err = tc_fault_check(TC_SYS_SIGACTION);

    return err != 0 ? err : outcome(sigaction(sig, action, old));
}

/* ---- futex ---------------------------------------------------------------------------- */

TC_NOINLINE int tc_sys_futex_wait(_Atomic uint32_t *word, uint32_t expect, int64_t deadline_ns)
{
    struct timespec deadline;
    struct timespec *until = NULL;
    int err = tc_fault_check(TC_SYS_FUTEX_WAIT);

    if (err != 0) {
        return err;
    }
    if (tc_chaos(8)) {
        return 0; /* chaos: a wake-up meant for the word's previous use */
    }
    if (deadline_ns != TC_NEVER) {
        /* The kernel refuses a time before the clock's start; that deadline has passed as well. */
        deadline_ns = deadline_ns < 0 ? 0 : deadline_ns;
        deadline.tv_sec = (time_t)(deadline_ns / TC_NS_PER_SEC);
        deadline.tv_nsec = (long)(deadline_ns % TC_NS_PER_SEC);
        until = &deadline;
    }
    /* The bitset form, unlike plain FUTEX_WAIT, takes an absolute time on CLOCK_MONOTONIC. */
    return outcome((int)syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expect,
                                until, NULL, FUTEX_BITSET_MATCH_ANY));
}

TC_NOINLINE int tc_sys_futex_wake(_Atomic uint32_t *word, int count)
{
    return outcome((int)syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, NULL, NULL,
                                0));
}
