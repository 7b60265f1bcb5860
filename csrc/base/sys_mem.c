#include "base/sys.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

/* A system call's own convention, -1 and errno, made into ours. */
static inline int outcome(int result)
{
    return tc_unlikely(result < 0) ? -errno : result;
}

TC_NOINLINE int tc_sys_mmap(void *hint, size_t len, int prot, int flags, void **out)
{
    int err = tc_fault_check(TC_SYS_MMAP);
    void *addr;

    if (err != 0) {
        return err;
    }
    addr = mmap(hint, len, prot, flags | MAP_ANONYMOUS, -1, 0);
    if (addr == MAP_FAILED) {
        return -errno;
    }
    *out = addr;
    return 0;
}

TC_NOINLINE int tc_sys_munmap(void *addr, size_t len)
{
    return outcome(munmap(addr, len));
}

TC_NOINLINE int tc_sys_madvise(void *addr, size_t len, int advice)
{
    int err = tc_fault_check(TC_SYS_MADVISE);

    return err != 0 ? err : outcome(madvise(addr, len, advice));
}

TC_NOINLINE int tc_sys_mprotect(void *addr, size_t len, int prot)
{
    int err = tc_fault_check(TC_SYS_MPROTECT);

    return err != 0 ? err : outcome(mprotect(addr, len, prot));
}

size_t tc_sys_page_size(void)
{
    /* Cannot fail: POSIX demands this name. */
    return (size_t)sysconf(_SC_PAGESIZE);
}

TC_NOINLINE int tc_sys_getrlimit(int resource, struct rlimit *out)
{
    int err = tc_fault_check(TC_SYS_GETRLIMIT);

    /* NOLINTNEXTLINE(clang-diagnostic-sign-conversion): glibc has an enum here, others an int */
    return err != 0 ? err : outcome(getrlimit(resource, out));
}

TC_NOINLINE int tc_sys_setrlimit(int resource, const struct rlimit *limit)
{
    int err = tc_fault_check(TC_SYS_SETRLIMIT);

    /* NOLINTNEXTLINE(clang-diagnostic-sign-conversion): as above */
    return err != 0 ? err : outcome(setrlimit(resource, limit));
}
