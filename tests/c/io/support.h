/* tests/c/io/support.h — runtimes with the real driver, and what tests of descriptors share. */
#ifndef TC_TESTS_C_IO_SUPPORT_H
#define TC_TESTS_C_IO_SUPPORT_H

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/chaos.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"
#include "io/io_internal.h"
#include "sched/runtime_internal.h"

#include "harness.h"

#define SANITIZED (TC_TSAN || TC_ASAN)

static struct tc_runtime *io_dumped;

__attribute__((unused)) static void io_dump(int fd)
{
    if (io_dumped != NULL) {
        tc_runtime_dump(io_dumped, fd);
    }
}

__attribute__((unused)) static struct tc_runtime *io_start(uint32_t workers)
{
    struct tc_runtime_options options = {
        .workers = workers, .driver = &tc_io_driver, .seed = tc_test_seed()};
    struct tc_runtime *runtime;

    TC_CHECK_EQ(tc_runtime_new(&options, &runtime), 0);
    TC_CHECK_EQ(tc_runtime_start(runtime), 0);
    io_dumped = runtime;
    tc_test_dump_hook = io_dump;
    return runtime;
}

__attribute__((unused)) static void io_stop(struct tc_runtime *runtime)
{
    struct tc_runtime_statistics statistics;

    TC_CHECK_EQ(tc_runtime_stop(runtime, tc_deadline_after_ns(20 * TC_NS_PER_SEC)), 0);
    tc_runtime_statistics(runtime, &statistics);
    TC_CHECK_EQ(statistics.fibers, 0);
    TC_CHECK_EQ(statistics.descriptors, 0);
    io_dumped = NULL;
    tc_runtime_free(runtime);
}

__attribute__((unused)) static struct tc_fiber *io_spawn(struct tc_runtime *runtime,
                                                         void (*entry)(void *), void *arg)
{
    struct tc_fiber *fiber;

    TC_CHECK_EQ(tc_fiber_spawn(runtime, entry, arg, NULL, &fiber), 0);
    return fiber;
}

__attribute__((unused)) static int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    TC_CHECK(dir != NULL);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

__attribute__((unused)) static void make_pair(int fds[2])
{
    TC_CHECK_EQ(tc_sys_socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

__attribute__((unused)) static struct tc_pollfd *open_slot(struct tc_worker *home, int fd)
{
    struct tc_pollfd *slot;

    TC_CHECK_EQ(tc_pollfd_open(home, fd, 0, NULL, NULL, &slot), 0);
    return slot;
}

/* recv or send on a slot by the rules of pollfd.h: consume, try, park. */
__attribute__((unused)) static ssize_t slot_recv(struct tc_pollfd *slot, void *buffer, size_t size,
                                                 int64_t deadline_ns)
{
    for (;;) {
        if (tc_pollfd_consume(slot, TC_READ)) {
            ssize_t n = tc_sys_recv(tc_load_relaxed(&slot->fd), buffer, size, 0);
            if (n != -EAGAIN) {
                tc_pollfd_restore(slot, TC_READ);
                return n;
            }
        }
        int rc = tc_pollfd_wait(slot, TC_READ, deadline_ns, TC_WAIT_READ);
        if (rc != 0) {
            return rc;
        }
    }
}

__attribute__((unused)) static ssize_t slot_send_all(struct tc_pollfd *slot, const void *buffer,
                                                     size_t size)
{
    size_t sent = 0;

    while (sent < size) {
        if (tc_pollfd_consume(slot, TC_WRITE)) {
            ssize_t n = tc_sys_send(tc_load_relaxed(&slot->fd), (const char *)buffer + sent,
                                    size - sent, 0);
            if (n != -EAGAIN) {
                tc_pollfd_restore(slot, TC_WRITE);
                if (n < 0) {
                    return n;
                }
                sent += (size_t)n;
                continue;
            }
        }
        int rc = tc_pollfd_wait(slot, TC_WRITE, TC_NEVER, TC_WAIT_WRITE);
        if (rc != 0) {
            return rc;
        }
    }
    return (ssize_t)sent;
}

#endif
