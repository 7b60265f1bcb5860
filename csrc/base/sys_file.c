#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A system call's own convention, -1 and errno, made into ours. */
static inline int outcome(int result)
{
    return tc_unlikely(result < 0) ? -errno : result;
}

static inline ssize_t outcome_size(ssize_t result)
{
    return tc_unlikely(result < 0) ? -errno : result;
}

TC_NOINLINE int tc_sys_open(const char *path, int flags, mode_t mode)
{
    int result;

    do {
        result = tc_fault_check(TC_SYS_OPEN);
        if (tc_likely(result == 0)) {
            result = outcome(open(path, flags, mode));
        }
    } while (tc_unlikely(result == -EINTR));
    return result;
}

TC_NOINLINE int tc_sys_openat(int dir_fd, const char *path, int flags, mode_t mode)
{
    int result;

    do {
        result = tc_fault_check(TC_SYS_OPENAT);
        if (tc_likely(result == 0)) {
            result = outcome(openat(dir_fd, path, flags, mode));
        }
    } while (tc_unlikely(result == -EINTR));
    return result;
}

TC_NOINLINE int tc_sys_pipe2(int fds[2], int flags)
{
    int err = tc_fault_check(TC_SYS_PIPE2);

    return err != 0 ? err : outcome(pipe2(fds, flags));
}

TC_NOINLINE ssize_t tc_sys_read(int fd, void *buf, size_t len)
{
    ssize_t n;

    do {
        n = tc_fault_check(TC_SYS_READ);
        if (tc_likely(n == 0)) {
            n = outcome_size(read(fd, buf, len));
        }
    } while (tc_unlikely(n == -EINTR));
    return n;
}

TC_NOINLINE ssize_t tc_sys_pread(int fd, void *buf, size_t len, off_t offset)
{
    ssize_t n;

    do {
        n = tc_fault_check(TC_SYS_PREAD);
        if (tc_likely(n == 0)) {
            n = outcome_size(pread(fd, buf, len, offset));
        }
    } while (tc_unlikely(n == -EINTR));
    return n;
}

/* From the kernel's interface, which the headers of older systems do not have. */
enum { RWF_NOWAIT_FLAG = 8 };

TC_NOINLINE ssize_t tc_sys_pread_nowait(int fd, void *buf, size_t len, off_t offset)
{
    struct iovec iov = {.iov_base = buf, .iov_len = len};
    ssize_t n;

    do {
        n = tc_fault_check(TC_SYS_PREAD_NOWAIT);
        if (tc_likely(n == 0)) {
            /* The number, not the function: musl had none for long. The offset is one word. */
            n = outcome_size(syscall(SYS_preadv2, fd, &iov, 1, (long)offset, 0L, RWF_NOWAIT_FLAG));
        }
    } while (tc_unlikely(n == -EINTR));
    return n;
}

TC_NOINLINE ssize_t tc_sys_sendfile(int socket_fd, int file_fd, off_t offset, size_t len)
{
    ssize_t n;

    do {
        n = tc_fault_check(TC_SYS_SENDFILE);
        if (tc_likely(n == 0)) {
            n = outcome_size(sendfile(socket_fd, file_fd, &offset, len));
        }
    } while (tc_unlikely(n == -EINTR));
    return n;
}

TC_NOINLINE ssize_t tc_sys_write(int fd, const void *buf, size_t len)
{
    ssize_t n;

    do {
        n = tc_fault_check(TC_SYS_WRITE);
        if (tc_likely(n == 0)) {
            n = outcome_size(write(fd, buf, len));
        }
    } while (tc_unlikely(n == -EINTR));
    return n;
}

TC_NOINLINE ssize_t tc_sys_writev(int fd, const struct iovec *iov, int count)
{
    ssize_t n;

    do {
        n = tc_fault_check(TC_SYS_WRITEV);
        if (tc_likely(n == 0)) {
            n = outcome_size(writev(fd, iov, count));
        }
    } while (tc_unlikely(n == -EINTR));
    return n;
}

TC_NOINLINE int tc_sys_fstat(int fd, struct stat *out)
{
    int err = tc_fault_check(TC_SYS_FSTAT);

    return err != 0 ? err : outcome(fstat(fd, out));
}

TC_NOINLINE int tc_sys_fcntl(int fd, int command, int arg)
{
    int err = tc_fault_check(TC_SYS_FCNTL);

    return err != 0 ? err : outcome(fcntl(fd, command, arg));
}

TC_NOINLINE int tc_sys_unlink(const char *path)
{
    int err = tc_fault_check(TC_SYS_UNLINK);

    return err != 0 ? err : outcome(unlink(path));
}

TC_NOINLINE int tc_sys_close(int fd)
{
    int err = tc_fault_check(TC_SYS_CLOSE);
    int result = outcome(close(fd));

    return err != 0 ? err : result;
}
