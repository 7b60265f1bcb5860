/* base/fault.h — make the nth system call, allocation or thread start fail, in any build.
 *
 * Every wrapper in base/sys.h and every allocation in base/mem.h asks tc_fault_check first.
 * As long as nothing is armed that is one relaxed load of a read-mostly flag and a
 * predictable branch.
 *
 * INVARIANTS
 *   F1  An armed point fails exactly `times` times in a row, starting with its nth call
 *       since it was armed, however many threads call it.
 *   F2  A failing point has no effect: the system call is not made, nothing is allocated.
 *       The one exception is close, which closes and then reports the error, as the kernel
 *       does.
 *
 * Calls that cannot fail for a correct program (futex_wake, munmap, gettid, sched_yield)
 * are no points: to make them fail would only break the program that is tested.
 *
 *                     check   arm   disarm   hits, lookup        -  safe together
 *   check               -      -      -         -                X  caller must exclude
 *   arm                 -      X      X         -
 *   disarm              -      X      X         -
 */
#ifndef TC_BASE_FAULT_H
#define TC_BASE_FAULT_H

#include "arch/cpu.h"
#include "base/atomic.h"
#include "base/defs.h"

/* One line for each point that can fail: enumerator, and the name tests and tools use for it. */
#define TC_SYS_CALL_LIST(X) \
    X(TC_SYS_ACCEPT4, "accept4") \
    X(TC_SYS_BIND, "bind") \
    X(TC_SYS_CLOSE, "close") \
    X(TC_SYS_CONNECT, "connect") \
    X(TC_SYS_EPOLL_CREATE, "epoll_create") \
    X(TC_SYS_EPOLL_CTL, "epoll_ctl") \
    X(TC_SYS_EPOLL_PWAIT2, "epoll_pwait2") \
    X(TC_SYS_EPOLL_WAIT, "epoll_wait") \
    X(TC_SYS_EVENTFD, "eventfd") \
    X(TC_SYS_FCNTL, "fcntl") \
    X(TC_SYS_FLOCK, "flock") \
    X(TC_SYS_FSTAT, "fstat") \
    X(TC_SYS_FSTATAT, "fstatat") \
    X(TC_SYS_FSYNC, "fsync") \
    X(TC_SYS_FUTEX_WAIT, "futex_wait") \
    X(TC_SYS_GETAFFINITY, "sched_getaffinity") \
    X(TC_SYS_GETDENTS, "getdents") \
    X(TC_SYS_GETPEERNAME, "getpeername") \
    X(TC_SYS_GETRANDOM, "getrandom") \
    X(TC_SYS_GETRLIMIT, "getrlimit") \
    X(TC_SYS_GETSOCKNAME, "getsockname") \
    X(TC_SYS_GETSOCKOPT, "getsockopt") \
    X(TC_SYS_LINKAT, "linkat") \
    X(TC_SYS_LISTEN, "listen") \
    X(TC_SYS_MADVISE, "madvise") \
    X(TC_SYS_MMAP, "mmap") \
    X(TC_SYS_MPROTECT, "mprotect") \
    X(TC_SYS_OPEN, "open") \
    X(TC_SYS_OPENAT, "openat") \
    X(TC_SYS_OPENAT2, "openat2") \
    X(TC_SYS_PIPE2, "pipe2") \
    X(TC_SYS_PREAD, "pread") \
    X(TC_SYS_PREAD_NOWAIT, "pread_nowait") \
    X(TC_SYS_READ, "read") \
    X(TC_SYS_RECV, "recv") \
    X(TC_SYS_RECVMSG, "recvmsg") \
    X(TC_SYS_RENAMEAT2, "renameat2") \
    X(TC_SYS_SEND, "send") \
    X(TC_SYS_SENDFILE, "sendfile") \
    X(TC_SYS_SENDMSG, "sendmsg") \
    X(TC_SYS_SETRLIMIT, "setrlimit") \
    X(TC_SYS_SETSOCKOPT, "setsockopt") \
    X(TC_SYS_SHUTDOWN, "shutdown") \
    X(TC_SYS_SIGACTION, "sigaction") \
    X(TC_SYS_SIGALTSTACK, "sigaltstack") \
    X(TC_SYS_SOCKET, "socket") \
    X(TC_SYS_SOCKETPAIR, "socketpair") \
    X(TC_SYS_TIMER_SLACK, "prctl_timer_slack") \
    X(TC_SYS_TIMERFD_CREATE, "timerfd_create") \
    X(TC_SYS_TIMERFD_SETTIME, "timerfd_settime") \
    X(TC_SYS_UNLINK, "unlink") \
    X(TC_SYS_UNLINKAT, "unlinkat") \
    X(TC_SYS_WRITE, "write") \
    X(TC_SYS_WRITEV, "writev") \
    X(TC_FAULT_ALLOC, "alloc") \
    X(TC_FAULT_THREAD, "thread_create")

#define TC__FAULT_ENUM(constant, name) constant,
enum tc_sys_call { TC_SYS_CALL_LIST(TC__FAULT_ENUM) TC_SYS_CALL_COUNT };
#undef TC__FAULT_ENUM

/* How often one injected EINTR point can fail in a row: the wrappers retry EINTR, and a storm
 * without end would be an endless loop. */
#define TC_FAULT_MAX_EINTR UINT64_C(1000)

/* Read by every check, written by arm and disarm only: it shares its lines with nothing
 * that is written more often. */
struct tc_fault_switch {
    TC_ALIGNED(TC_CACHELINE) _Atomic bool is_armed; /* true while any point is armed */
};

extern struct tc_fault_switch tc__fault_switch;

/* Out-of-line tail of tc_fault_check. */
TC_NODISCARD int tc__fault_check_slow(enum tc_sys_call call);

/* Count one call of `call` and say whether it must fail.
 * Parks: never   Threads: any   Returns 0, or -err as armed. */
TC_NODISCARD static inline int tc_fault_check(enum tc_sys_call call)
{
    /* relaxed: a flag for tests; what to do is read by acquire in the slow tail. */
    if (tc_likely(!tc_load_relaxed(&tc__fault_switch.is_armed))) {
        return 0;
    }
    return tc__fault_check_slow(call);
}

/* From now on, let the nth call (1 = the next) fail with -err, and the times-1 calls after
 * it too; UINT64_MAX = persistently. Several points can be armed at once; arming one again
 * restarts it. With err == EINTR, times is cut to TC_FAULT_MAX_EINTR.
 * Parks: never   Threads: one at a time, see the table. */
TC_API void tc_fault_arm(enum tc_sys_call call, uint64_t nth, int err, uint64_t times);

/* Disarm every point; hit counts stay readable.
 * Parks: never   Threads: one at a time, see the table. */
TC_API void tc_fault_disarm_all(void);

/* Returns how often `call` failed by injection since it was last armed: 0 tells a "fail the
 * nth" loop that the program makes fewer than n calls.
 * Parks: never   Threads: any. */
TC_API uint64_t tc_fault_hits(enum tc_sys_call call);

/* Returns the point with this name, or -ENOENT.
 * Parks: never   Threads: any. */
TC_API TC_NODISCARD int tc_fault_lookup(const char *name);

/* Returns the name of a point, or NULL if there is no such number.
 * Parks: never   Threads: any. */
TC_API const char *tc_fault_name(int call);

#endif
