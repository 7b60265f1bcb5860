#include "base/sys.h"

#include "base/chaos.h"
#include "base/clock.h"
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

static void make_pair(int fds[2])
{
    TC_CHECK_EQ(tc_sys_socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

/* ---- epoll ---------------------------------------------------------------------------- */

TC_TEST(test_sys_timeout_ms_rounds_up_and_saturates)
{
    TC_CHECK_EQ(tc__sys_timeout_ms(TC_NEVER), -1);
    TC_CHECK_EQ(tc__sys_timeout_ms(INT64_MIN), 0);
    TC_CHECK_EQ(tc__sys_timeout_ms(-1), 0);
    TC_CHECK_EQ(tc__sys_timeout_ms(0), 0);
    TC_CHECK_EQ(tc__sys_timeout_ms(1), 1);
    TC_CHECK_EQ(tc__sys_timeout_ms(TC_NS_PER_MS), 1);
    TC_CHECK_EQ(tc__sys_timeout_ms(TC_NS_PER_MS + 1), 2);
    TC_CHECK_EQ(tc__sys_timeout_ms(TC_NEVER - 1), INT_MAX);
}

/* Wait on an empty epoll: it must take at least as long as ordered, also if cut to pieces. */
static void check_never_early(int64_t timeout_ns)
{
    struct epoll_event event;
    int epfd = tc_sys_epoll_create(EPOLL_CLOEXEC);
    int64_t start = tc_clock_now_ns();

    tc_chaos_suspend(); /* which returns early */
    TC_CHECK(epfd >= 0);
    TC_CHECK_EQ(tc_sys_epoll_wait(epfd, &event, 1, timeout_ns), 0);
    TC_CHECK(tc_clock_now_ns() - start >= timeout_ns);
    TC_CHECK_EQ(tc_sys_close(epfd), 0);
}

TC_TEST(test_sys_epoll_wait_is_never_early)
{
    check_never_early(0);
    check_never_early(300 * TC_NS_PER_US);
    check_never_early(3 * TC_NS_PER_MS + 1);
}

TC_TEST(test_sys_epoll_wait_without_pwait2_rounds_up)
{
    tc_fault_arm(TC_SYS_EPOLL_PWAIT2, 1, ENOSYS, 1);
    TC_CHECK(!tc_sys_has_precise_epoll());
    TC_CHECK_EQ(tc_fault_hits(TC_SYS_EPOLL_PWAIT2), 1u);
    TC_CHECK(!tc_sys_has_precise_epoll());
    check_never_early(1);
    check_never_early(1500 * TC_NS_PER_US);
}

TC_TEST(test_sys_epoll_wait_reports_an_event_with_any_timeout)
{
    static const int64_t timeouts[] = {-5, 0, 1, TC_NS_PER_SEC, TC_NEVER - 1, TC_NEVER};
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 42};
    int epfd = tc_sys_epoll_create(EPOLL_CLOEXEC);
    int fd = tc_sys_eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

    tc_chaos_suspend(); /* which returns without an event */
    TC_CHECK_EQ(tc_sys_epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event), 0);
    for (size_t i = 0; i < TC_ARRAY_LEN(timeouts); i++) {
        event.data.u64 = 0;
        TC_CHECK_EQ(tc_sys_epoll_wait(epfd, &event, 1, timeouts[i]), 1);
        TC_CHECK_EQ(event.data.u64, 42u);
    }
}

/* ---- sockets and files ---------------------------------------------------------------- */

static volatile sig_atomic_t caught;

static void catch_signal(int sig)
{
    caught = sig;
}

/* S3 */
TC_TEST(test_sys_send_to_a_closed_peer_raises_no_signal)
{
    struct sigaction action = {.sa_handler = catch_signal};
    char byte = 'x';
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    int fds[2];

    TC_CHECK_EQ(tc_sys_sigaction(SIGPIPE, &action, NULL), 0);
    make_pair(fds);
    TC_CHECK_EQ(tc_sys_close(fds[1]), 0);
    TC_CHECK_EQ(tc_sys_send(fds[0], &byte, 1, 0), -EPIPE);
    TC_CHECK_EQ(tc_sys_sendmsg(fds[0], &msg, 0), -EPIPE);
    TC_CHECK_EQ(caught, 0);
}

TC_TEST(test_sys_tcp_round_trip_through_the_wrappers)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr *any = (struct sockaddr *)&addr;
    struct sockaddr_storage peer;
    socklen_t len = sizeof(addr);
    int listener = tc_sys_socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = tc_sys_socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    int server;
    char text[6] = "";

    tc_chaos_suspend(); /* which sends less */
    TC_CHECK_EQ(tc_sys_setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
    TC_CHECK_EQ(tc_sys_bind(listener, any, sizeof(addr)), 0);
    TC_CHECK_EQ(tc_sys_listen(listener, 1), 0);
    TC_CHECK_EQ(tc_sys_getsockname(listener, any, &len), 0);
    TC_CHECK_EQ(tc_sys_connect(client, any, len), 0);
    len = sizeof(peer);
    server = tc_sys_accept4(listener, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
    TC_CHECK(server >= 0);
    len = sizeof(peer);
    TC_CHECK_EQ(tc_sys_getpeername(client, (struct sockaddr *)&peer, &len), 0);
    TC_CHECK_EQ(tc_sys_send(client, "hello", 5, 0), 5);
    TC_CHECK_EQ(tc_sys_recv(server, text, 5, MSG_WAITALL), 5);
    TC_CHECK(strcmp(text, "hello") == 0);
    TC_CHECK_EQ(tc_sys_shutdown(client, SHUT_WR), 0);
    TC_CHECK_EQ(tc_sys_recv(server, text, 5, 0), 0);
    len = sizeof(on);
    TC_CHECK_EQ(tc_sys_getsockopt(server, SOL_SOCKET, SO_ERROR, &on, &len), 0);
    TC_CHECK_EQ(on, 0);
}

TC_TEST(test_sys_errors_are_negative_numbers_not_errno)
{
    char byte;
    struct stat st;

    errno = 0;
    TC_CHECK_EQ(tc_sys_open("/no/such/file", O_RDONLY | O_CLOEXEC, 0), -ENOENT);
    TC_CHECK_EQ(tc_sys_openat(-1, "relative", O_RDONLY | O_CLOEXEC, 0), -EBADF);
    TC_CHECK_EQ(tc_sys_read(-1, &byte, 1), -EBADF);
    TC_CHECK_EQ(tc_sys_pread(-1, &byte, 1, 0), -EBADF);
    TC_CHECK_EQ(tc_sys_fstat(-1, &st), -EBADF);
    TC_CHECK_EQ(tc_sys_unlink("/no/such/file"), -ENOENT);
    TC_CHECK_EQ(tc_sys_close(-1), -EBADF);
    TC_CHECK_EQ(tc_sys_listen(-1, 1), -EBADF);
    TC_CHECK_EQ(tc_sys_sigaction(-1, NULL, NULL), -EINVAL);
}

TC_TEST(test_sys_pipe_carries_a_gathered_write)
{
    struct iovec iov[2] = {{.iov_base = "ab", .iov_len = 2}, {.iov_base = "cd", .iov_len = 2}};
    char text[8] = "";
    int fds[2];

    TC_CHECK_EQ(tc_sys_pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    TC_CHECK_EQ(tc_sys_writev(fds[1], iov, 2), 4);
    TC_CHECK_EQ(tc_sys_write(fds[1], "e", 1), 1);
    TC_CHECK_EQ(tc_sys_read(fds[0], text, sizeof(text)), 5);
    TC_CHECK(memcmp(text, "abcde", 5) == 0);
    TC_CHECK_EQ(tc_sys_read(fds[0], text, sizeof(text)), -EAGAIN);
}

/* ---- memory --------------------------------------------------------------------------- */

TC_TEST(test_sys_mmap_failure_leaves_the_result_alone)
{
    void *addr = &addr;
    size_t page = tc_sys_page_size();

    tc_fault_arm(TC_SYS_MMAP, 1, ENOMEM, 1);
    TC_CHECK_EQ(tc_sys_mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, &addr), -ENOMEM);
    TC_CHECK(addr == &addr);
    TC_CHECK_EQ(tc_sys_mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, &addr), 0);
    memset(addr, 1, page);
    TC_CHECK_EQ(tc_sys_madvise(addr, page, MADV_DONTNEED), 0);
    TC_CHECK_EQ(*(char *)addr, 0);
    TC_CHECK_EQ(tc_sys_mprotect(addr, page, PROT_NONE), 0);
    TC_CHECK_EQ(tc_sys_munmap(addr, page), 0);
}

/* ---- threads, signals, futex ---------------------------------------------------------- */

static void *report_mask(void *arg)
{
    TC_CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, arg), 0);
    tc_sys_thread_set_name("a name longer than fits");
    return (void *)(uintptr_t)7;
}

TC_TEST(test_sys_thread_blocks_asynchronous_signals_only)
{
    static const int open_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    static const int blocked[] = {SIGINT,  SIGTERM, SIGHUP,  SIGALRM, SIGPROF,
                                  SIGCHLD, SIGUSR1, SIGUSR2, SIGPIPE, SIGVTALRM};
    sigset_t mine, after, theirs;
    pthread_t thread;
    void *result;

    TC_CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mine), 0);
    TC_CHECK_EQ(tc_sys_thread_create(&thread, 1, report_mask, &theirs), 0);
    TC_CHECK_EQ(tc_sys_thread_join(thread, &result), 0);
    TC_CHECK_EQ((uintptr_t)result, 7u);
    for (size_t i = 0; i < TC_ARRAY_LEN(open_signals); i++) {
        TC_CHECK_EQ(sigismember(&theirs, open_signals[i]), 0);
    }
    for (size_t i = 0; i < TC_ARRAY_LEN(blocked); i++) {
        TC_CHECK_EQ(sigismember(&theirs, blocked[i]), 1);
    }
    TC_CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
    for (int sig = 1; sig < 32; sig++) {
        TC_CHECK_EQ(sigismember(&after, sig), sigismember(&mine, sig));
    }
}

TC_TEST(test_sys_thread_create_failure_restores_the_mask)
{
    sigset_t mask;
    pthread_t thread;

    tc_fault_arm(TC_FAULT_THREAD, 1, EAGAIN, 1);
    TC_CHECK_EQ(tc_sys_thread_create(&thread, 0, report_mask, &mask), -EAGAIN);
    /* No system has that much address space: a real failure. */
    TC_CHECK(tc_sys_thread_create(&thread, (size_t)1 << 60, report_mask, &mask) < 0);
    TC_CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    TC_CHECK_EQ(sigismember(&mask, SIGINT), 0);
}

TC_TEST(test_sys_futex_wait_says_why_it_returned)
{
    _Atomic uint32_t word = 5;
    int64_t start = tc_clock_now_ns();

    tc_chaos_suspend(); /* which returns for no reason */
    TC_CHECK_EQ(tc_sys_futex_wait(&word, 4, TC_NEVER), -EAGAIN);
    TC_CHECK_EQ(tc_sys_futex_wait(&word, 5, 0), -ETIMEDOUT);
    TC_CHECK_EQ(tc_sys_futex_wait(&word, 5, INT64_MIN), -ETIMEDOUT);
    TC_CHECK_EQ(tc_sys_futex_wait(&word, 5, start + 2 * TC_NS_PER_MS), -ETIMEDOUT);
    TC_CHECK(tc_clock_now_ns() >= start + 2 * TC_NS_PER_MS);
    TC_CHECK_EQ(tc_sys_futex_wake(&word, 1), 0);
}

static void *wait_for_change(void *arg)
{
    _Atomic uint32_t *word = arg;

    while (tc_load_seq_cst(word) == 0) {
        (void)!tc_sys_futex_wait(word, 0, TC_NEVER);
    }
    return NULL;
}

TC_TEST(test_sys_futex_wake_ends_a_wait)
{
    _Atomic uint32_t word = 0;
    pthread_t thread;

    TC_CHECK_EQ(tc_sys_thread_create(&thread, 0, wait_for_change, &word), 0);
    tc_store_seq_cst(&word, 1);
    TC_CHECK(tc_sys_futex_wake(&word, INT_MAX) >= 0);
    TC_CHECK_EQ(tc_sys_thread_join(thread, NULL), 0);
}

TC_TEST(test_sys_timer_slack_is_accepted)
{
    TC_CHECK_EQ(tc_sys_set_timer_slack(TC_NS_PER_US), 0);
}

/* ---- what the process may use --------------------------------------------------------- */

TC_TEST(test_sys_affinity_count_matches_the_mask)
{
    cpu_set_t set;
    int cpu = 0;

    TC_CHECK_EQ(tc_sys_affinity_count(), (int)tc_test_cpu_count());
    TC_CHECK_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
    while (!CPU_ISSET(cpu, &set)) {
        cpu++;
    }
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    TC_CHECK_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
    TC_CHECK_EQ(tc_sys_affinity_count(), 1);
    tc_fault_arm(TC_SYS_GETAFFINITY, 1, EINVAL, 1);
    TC_CHECK_EQ(tc_sys_affinity_count(), -EINVAL);
}

/* A directory tree that stands for a machine's root, in which files can be planted. */
static void make_root(char *root, size_t size)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(root, size, "%s/tc_test_sys_XXXXXX", tmp != NULL ? tmp : "/tmp");
    TC_CHECK(mkdtemp(root) != NULL);
}

static void remove_root(const char *root)
{
    char command[PATH_MAX + 16];

    (void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
    TC_CHECK_EQ(system(command), 0);
}

static void plant(const char *root, const char *name, const char *text)
{
    char path[PATH_MAX];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s%s", root, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        TC_CHECK(mkdir(path, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    file = fopen(path, "w");
    TC_CHECK(file != NULL);
    TC_CHECK(fputs(text, file) >= 0);
    TC_CHECK_EQ(fclose(file), 0);
}

TC_TEST(test_sys_cgroup_v2_takes_the_smallest_on_the_way_up)
{
    char root[PATH_MAX];
    double cpus = -1;

    make_root(root, sizeof(root));
    TC_CHECK_EQ(tc__sys_cgroup_cpu_quota_at(root, &cpus), -ENOENT);
    plant(root, "/proc/self/cgroup", "0::/outer/inner\n");
    TC_CHECK_EQ(tc__sys_cgroup_cpu_quota_at(root, &cpus), -ENOENT);
    plant(root, "/sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n");
    TC_CHECK_EQ(tc__sys_cgroup_cpu_quota_at(root, &cpus), -ENOENT);
    TC_CHECK_EQ(cpus, -1.0);
    plant(root, "/sys/fs/cgroup/outer/cpu.max", "150000 100000\n");
    TC_CHECK_EQ(tc__sys_cgroup_cpu_quota_at(root, &cpus), 0);
    TC_CHECK_EQ(cpus, 1.5);
    plant(root, "/sys/fs/cgroup/outer/inner/cpu.max", "50000 100000\n");
    TC_CHECK_EQ(tc__sys_cgroup_cpu_quota_at(root, &cpus), 0);
    TC_CHECK_EQ(cpus, 0.5);
    /* As in a container: the path is the host's, the files are at the mount's root. */
    plant(root, "/proc/self/cgroup", "0::/somewhere/on/the/host\n");
    plant(root, "/sys/fs/cgroup/cpu.max", "300000 100000\n");
    TC_CHECK_EQ(tc__sys_cgroup_cpu_quota_at(root, &cpus), 0);
    TC_CHECK_EQ(cpus, 3.0);
    remove_root(root);
}

TC_TEST(test_sys_cgroup_v1_reads_quota_and_period)
{
    char root[PATH_MAX];
    double cpus = -1;

    make_root(root, sizeof(root));
    plant(root, "/proc/self/cgroup", "5:cpuset:/set\n4:cpu,cpuacct:/box\n0::/\n");
    plant(root, "/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "-1\n");
    plant(root, "/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n");
    TC_CHECK_EQ(tc__sys_cgroup_cpu_quota_at(root, &cpus), -ENOENT);
    plant(root, "/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "250000\n");
    TC_CHECK_EQ(tc__sys_cgroup_cpu_quota_at(root, &cpus), 0);
    TC_CHECK_EQ(cpus, 2.5);
    remove_root(root);
}

TC_TEST(test_sys_cgroup_of_this_machine_is_positive_or_absent)
{
    double cpus = -1;
    int err = tc_sys_cgroup_cpu_quota(&cpus);

    TC_CHECK(err == 0 ? cpus > 0 : cpus < 0);
}
