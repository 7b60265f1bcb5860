#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A system call's own convention, -1 and errno, made into ours. */
static inline int outcome(long result)
{
    return tc_unlikely(result < 0) ? -errno : (int)result;
}

/* The kernel's struct open_how and number, which the headers of older systems do not have. The name
 * is ours: <fcntl.h> of newer ones declares the struct itself. */
struct how_to_open {
    uint64_t flags;
    uint64_t mode;
    uint64_t resolve;
};
#ifndef SYS_openat2
#define SYS_openat2 437
#endif

TC_NOINLINE int tc_sys_openat2(int dir_fd, const char *path, int flags, unsigned resolve)
{
    struct how_to_open how = {.flags = (uint64_t)(unsigned)flags, .resolve = resolve};
    int result;

    do {
        result = tc_fault_check(TC_SYS_OPENAT2);
        if (tc_likely(result == 0)) {
            result = outcome(syscall(SYS_openat2, dir_fd, path, &how, sizeof how));
        }
    } while (tc_unlikely(result == -EINTR));
    return result;
}

TC_NOINLINE int tc_sys_fstatat(int dir_fd, const char *path, struct stat *out, int flags)
{
    int err = tc_fault_check(TC_SYS_FSTATAT);

    return err != 0 ? err : outcome(fstatat(dir_fd, path, out, flags));
}

TC_NOINLINE int tc_sys_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    int err = tc_fault_check(TC_SYS_LINKAT);

    return err != 0 ? err : outcome(linkat(from_fd, from, to_fd, to, flags));
}

TC_NOINLINE int tc_sys_renameat2(int from_fd, const char *from, int to_fd, const char *to,
                                 unsigned flags)
{
    int err = tc_fault_check(TC_SYS_RENAMEAT2);

    /* The number, not the function: musl has none. */
    return err != 0 ? err : outcome(syscall(SYS_renameat2, from_fd, from, to_fd, to, flags));
}

TC_NOINLINE int tc_sys_unlinkat(int dir_fd, const char *path, int flags)
{
    int err = tc_fault_check(TC_SYS_UNLINKAT);

    return err != 0 ? err : outcome(unlinkat(dir_fd, path, flags));
}

TC_NOINLINE int tc_sys_fsync(int fd)
{
    int result;

    do {
        result = tc_fault_check(TC_SYS_FSYNC);
        if (tc_likely(result == 0)) {
            result = outcome(fsync(fd));
        }
    } while (tc_unlikely(result == -EINTR));
    return result;
}

TC_NOINLINE int tc_sys_flock(int fd, int operation)
{
    int result;

    do {
        result = tc_fault_check(TC_SYS_FLOCK);
        if (tc_likely(result == 0)) {
            result = outcome(flock(fd, operation));
        }
    } while (tc_unlikely(result == -EINTR));
    return result;
}

TC_NOINLINE ssize_t tc_sys_getdents(int fd, void *buf, size_t len)
{
    int err = tc_fault_check(TC_SYS_GETDENTS);

    /* The number, not the function: glibc has one since 2.30 only. */
    return err != 0 ? err : outcome(syscall(SYS_getdents64, fd, buf, len));
}

TC_NOINLINE int tc_sys_getrandom(void *buf, size_t len)
{
    unsigned char *at = buf;

    while (len > 0) {
        ssize_t n = tc_fault_check(TC_SYS_GETRANDOM);
        if (tc_likely(n == 0)) {
            n = outcome(getrandom(at, len, 0));
        }
        if (n < 0 && n != -EINTR) {
            return (int)n;
        }
        at += n < 0 ? 0 : n;
        len -= n < 0 ? 0 : (size_t)n;
    }
    return 0;
}
