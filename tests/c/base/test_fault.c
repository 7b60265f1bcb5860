#include "base/fault.h"

#include "base/sys.h"
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>

static void make_pair(int fds[2])
{
    TC_CHECK_EQ(tc_sys_socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

/* F1 */
TC_TEST(test_fault_nth_call_fails_the_ordered_number_of_times)
{
    char byte;
    int fds[2];

    make_pair(fds);
    tc_fault_arm(TC_SYS_RECV, 3, ECONNRESET, 2);
    for (int call = 1; call <= 6; call++) {
        ssize_t expected = call == 3 || call == 4 ? -ECONNRESET : -EAGAIN;

        TC_CHECK_EQ(tc_sys_recv(fds[0], &byte, 1, 0), expected);
    }
    TC_CHECK_EQ(tc_fault_hits(TC_SYS_RECV), 2u);
    TC_CHECK_EQ(tc_fault_hits(TC_SYS_SEND), 0u);
}

TC_TEST(test_fault_persistent_lasts_until_disarmed)
{
    tc_fault_arm(TC_SYS_SOCKET, 1, EMFILE, UINT64_MAX);
    for (int i = 0; i < 1000; i++) {
        TC_CHECK_EQ(tc_sys_socket(AF_INET, SOCK_STREAM, 0), -EMFILE);
    }
    tc_fault_disarm_all();
    TC_CHECK_EQ(tc_fault_hits(TC_SYS_SOCKET), 1000u);
    TC_CHECK(tc_sys_socket(AF_INET, SOCK_STREAM, 0) >= 0);
}

TC_TEST(test_fault_rearming_starts_the_count_again)
{
    tc_fault_arm(TC_SYS_EVENTFD, 1, EMFILE, 1);
    TC_CHECK_EQ(tc_sys_eventfd(0, 0), -EMFILE);
    tc_fault_arm(TC_SYS_EVENTFD, 2, ENFILE, 1);
    TC_CHECK_EQ(tc_fault_hits(TC_SYS_EVENTFD), 0u);
    TC_CHECK(tc_sys_eventfd(0, 0) >= 0);
    TC_CHECK_EQ(tc_sys_eventfd(0, 0), -ENFILE);
}

/* S2, and the cap that keeps a persistent EINTR from being an endless loop. */
TC_TEST(test_fault_eintr_is_retried_inside_and_bounded)
{
    char byte = 0;
    int fds[2];

    make_pair(fds);
    tc_fault_arm(TC_SYS_SEND, 1, EINTR, UINT64_MAX);
    TC_CHECK_EQ(tc_sys_send(fds[0], "x", 1, 0), 1);
    TC_CHECK_EQ(tc_fault_hits(TC_SYS_SEND), TC_FAULT_MAX_EINTR);
    tc_fault_arm(TC_SYS_RECV, 1, EINTR, 3);
    TC_CHECK_EQ(tc_sys_recv(fds[1], &byte, 1, 0), 1);
    TC_CHECK_EQ(byte, 'x');
    TC_CHECK_EQ(tc_fault_hits(TC_SYS_RECV), 3u);
    tc_fault_arm(TC_SYS_EPOLL_WAIT, 1, EINTR, 1);
    TC_CHECK_EQ(tc_sys_epoll_wait(-1, NULL, 1, 0), -EINTR);
}

/* F2 */
TC_TEST(test_fault_close_closes_although_it_fails)
{
    int fd = tc_sys_eventfd(0, EFD_CLOEXEC);

    TC_CHECK(fd >= 0);
    tc_fault_arm(TC_SYS_CLOSE, 1, EIO, 1);
    TC_CHECK_EQ(tc_sys_close(fd), -EIO);
    TC_CHECK_EQ(tc_sys_fcntl(fd, F_GETFD, 0), -EBADF);
}

TC_TEST(test_fault_names_and_numbers_agree)
{
    for (int call = 0; call < TC_SYS_CALL_COUNT; call++) {
        TC_CHECK(tc_fault_name(call) != NULL);
        TC_CHECK_EQ(tc_fault_lookup(tc_fault_name(call)), call);
    }
    TC_CHECK_EQ(tc_fault_lookup("alloc"), TC_FAULT_ALLOC);
    TC_CHECK_EQ(tc_fault_lookup("no such call"), -ENOENT);
    TC_CHECK(tc_fault_name(TC_SYS_CALL_COUNT) == NULL);
    TC_CHECK(tc_fault_name(-1) == NULL);
}

static void *call_often(void *arg)
{
    size_t *failed = arg;

    for (int i = 0; i < 10000; i++) {
        struct rlimit limit;

        *failed += tc_sys_getrlimit(RLIMIT_NOFILE, &limit) == -EFAULT;
    }
    return NULL;
}

/* F1 */
TC_TEST(test_fault_count_is_exact_over_threads)
{
    pthread_t threads[4];
    size_t failed[4] = {0};
    size_t sum = 0;

    tc_fault_arm(TC_SYS_GETRLIMIT, 20001, EFAULT, 777);
    for (int i = 0; i < 4; i++) {
        TC_CHECK_EQ(tc_sys_thread_create(&threads[i], 0, call_often, &failed[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        TC_CHECK_EQ(tc_sys_thread_join(threads[i], NULL), 0);
        sum += failed[i];
    }
    TC_CHECK_EQ(sum, 777u);
    TC_CHECK_EQ(tc_fault_hits(TC_SYS_GETRLIMIT), 777u);
}
