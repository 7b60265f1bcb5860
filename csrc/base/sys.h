/* base/sys.h — every system call and thread start of the library; the only door to errno.
 *
 * A wrapper tc_sys_NAME does what NAME does, except that it returns a negative error
 * number, retries EINTR where POSIX lets a call be repeated, and can be made to fail
 * (base/fault.h). Wrappers are never inlined: glibc promises the compiler that the address
 * of errno does not change during a function, which is untrue for a fiber that moves to
 * another thread, so errno may only be read in a leaf that cannot park.
 *
 * RULES
 *   S1  errno is read in csrc/base/sys*.c only, and leaves as a negative return value.
 *   S2  EINTR is retried inside, except by close (the descriptor is gone either way),
 *       connect (it continues in the background), epoll_wait and futex_wait (the caller
 *       re-checks why it waits).
 *   S3  No call raises SIGPIPE: send and sendmsg add MSG_NOSIGNAL. write and writev are for
 *       files, pipes whose reader we own, and eventfds.
 *   S4  Every descriptor is made close-on-exec by its caller's flags; the tests check the
 *       callers.
 *   S5  The hot calls (recv, send, epoll_wait) are not pthread cancellation points.
 *
 * WHO MAY CALL, here and not repeated below. Parks: never (a wrapper may block its thread,
 * so fibers use non-blocking descriptors). Threads: any. Owns: nothing passes. Returns 0, a
 * count or a descriptor, or -errno.
 */
#ifndef TC_BASE_SYS_H
#define TC_BASE_SYS_H

#include "base/atomic.h"
#include "base/defs.h"
#include "base/fault.h"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

/* ---- epoll, eventfd and timerfd ------------------------------------------------------- */

TC_NODISCARD int tc_sys_epoll_create(int flags);
TC_NODISCARD int tc_sys_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);

/* Wait for events. `timeout_ns` is relative: 0 or less polls, TC_NEVER waits for ever. With
 * epoll_pwait2 the timeout is exact, otherwise it is rounded up to a millisecond: never early.
 * Returns the number of events, 0 on timeout, -EINTR. */
TC_NODISCARD int tc_sys_epoll_wait(int epfd, struct epoll_event *events, int max_events,
                                   int64_t timeout_ns);

/* True if epoll_wait honours timeouts below a millisecond. Asks the kernel once. */
bool tc_sys_has_precise_epoll(void);

TC_NODISCARD int tc_sys_eventfd(unsigned initial, int flags);

/* A timer on CLOCK_MONOTONIC; `flags` of timerfd_create(2). */
TC_NODISCARD int tc_sys_timerfd(int flags);

/* Have it become readable once, delay_ns (> 0) from now. */
TC_NODISCARD int tc_sys_timerfd_arm(int fd, int64_t delay_ns);

/* The timeout in milliseconds: rounds up, saturates, -1 = for ever. */
int tc__sys_timeout_ms(int64_t timeout_ns);

/* ---- sockets -------------------------------------------------------------------------- */

TC_NODISCARD int tc_sys_socket(int domain, int type, int protocol);
TC_NODISCARD int tc_sys_socketpair(int domain, int type, int protocol, int fds[2]);
TC_NODISCARD int tc_sys_bind(int fd, const struct sockaddr *addr, socklen_t len);
TC_NODISCARD int tc_sys_listen(int fd, int backlog);
TC_NODISCARD int tc_sys_connect(int fd, const struct sockaddr *addr, socklen_t len);
TC_NODISCARD int tc_sys_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
TC_NODISCARD int tc_sys_shutdown(int fd, int how);
TC_NODISCARD int tc_sys_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
TC_NODISCARD int tc_sys_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
TC_NODISCARD int tc_sys_getsockname(int fd, struct sockaddr *addr, socklen_t *len);
TC_NODISCARD int tc_sys_getpeername(int fd, struct sockaddr *addr, socklen_t *len);
TC_NODISCARD ssize_t tc_sys_recv(int fd, void *buf, size_t len, int flags);
TC_NODISCARD ssize_t tc_sys_send(int fd, const void *buf, size_t len, int flags);
TC_NODISCARD ssize_t tc_sys_recvmsg(int fd, struct msghdr *msg, int flags);
TC_NODISCARD ssize_t tc_sys_sendmsg(int fd, const struct msghdr *msg, int flags);

/* ---- files ---------------------------------------------------------------------------- */

TC_NODISCARD int tc_sys_open(const char *path, int flags, mode_t mode);
TC_NODISCARD int tc_sys_openat(int dir_fd, const char *path, int flags, mode_t mode);
TC_NODISCARD int tc_sys_pipe2(int fds[2], int flags);
TC_NODISCARD ssize_t tc_sys_read(int fd, void *buf, size_t len);
TC_NODISCARD ssize_t tc_sys_pread(int fd, void *buf, size_t len, off_t offset);
TC_NODISCARD ssize_t tc_sys_write(int fd, const void *buf, size_t len);
TC_NODISCARD ssize_t tc_sys_writev(int fd, const struct iovec *iov, int count);
TC_NODISCARD int tc_sys_fstat(int fd, struct stat *out);
TC_NODISCARD int tc_sys_fcntl(int fd, int command, int arg);
TC_NODISCARD int tc_sys_unlink(const char *path);

/* Close a descriptor. An error, injected or real, tells of lost data; the descriptor is
 * closed in any case and must not be closed again. */
int tc_sys_close(int fd);

/* Read what is in memory, and nothing else: it does not wait for a disk.
 * Returns a count, less than `len` where the next page is not in memory or the file ends; 0 at the
 * end; -EAGAIN: not in memory; -EOPNOTSUPP: this file system cannot say. */
TC_NODISCARD ssize_t tc_sys_pread_nowait(int fd, void *buf, size_t len, off_t offset);

/* Send from a file to a socket without a copy through user space. It cannot be told MSG_NOSIGNAL:
 * for threads that block SIGPIPE, as tc_sys_thread_create makes them, where it stays pending for
 * ever.
 * Returns a count, 0 where the file ends. */
TC_NODISCARD ssize_t tc_sys_sendfile(int socket_fd, int file_fd, off_t offset, size_t len);

/* ---- names in a directory ------------------------------------------------------------- */

/* What a path may not lead through; see openat2(2). */
enum {
    TC_SYS_NO_MAGICLINKS = 0x02,
    TC_SYS_NO_SYMLINKS = 0x04,
    TC_SYS_BENEATH = 0x08, /* it stays below dir_fd: -EXDEV */
};

/* Open a path with the restrictions of `resolve`. -ENOSYS: the kernel is older than 5.6. */
TC_NODISCARD int tc_sys_openat2(int dir_fd, const char *path, int flags, unsigned resolve);

TC_NODISCARD int tc_sys_fstatat(int dir_fd, const char *path, struct stat *out, int flags);
TC_NODISCARD int tc_sys_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
TC_NODISCARD int tc_sys_renameat2(int from_fd, const char *from, int to_fd, const char *to,
                                  unsigned flags);
TC_NODISCARD int tc_sys_unlinkat(int dir_fd, const char *path, int flags);
TC_NODISCARD int tc_sys_fsync(int fd);
TC_NODISCARD int tc_sys_flock(int fd, int operation);

/* Entries of a directory, at most `len` bytes of them, packed as struct tc_sys_dirent; the first of
 * `buf` must be aligned for one. Returns the bytes, 0 at the end, or -errno. */
TC_NODISCARD ssize_t tc_sys_getdents(int fd, void *buf, size_t len);

/* What the kernel writes; the next one is record_len bytes on. */
struct tc_sys_dirent {
    uint64_t inode;
    int64_t offset;
    uint16_t record_len;
    uint8_t type;
    char name[]; /* terminated */
};

/* Fill `buf` with bytes that nobody can guess. Waits only in the first seconds of a machine's
 * life. */
TC_NODISCARD int tc_sys_getrandom(void *buf, size_t len);

/* ---- memory --------------------------------------------------------------------------- */

/* Map anonymous memory and store its address in *out, which is untouched on failure. */
TC_NODISCARD int tc_sys_mmap(void *hint, size_t len, int prot, int flags, void **out);
int tc_sys_munmap(void *addr, size_t len);
TC_NODISCARD int tc_sys_madvise(void *addr, size_t len, int advice);
TC_NODISCARD int tc_sys_mprotect(void *addr, size_t len, int prot);

/* Returns the size of a page in bytes; cannot fail. */
size_t tc_sys_page_size(void);

/* ---- threads and signals -------------------------------------------------------------- */

/* Start a thread with every asynchronous signal blocked from its first instruction, so that
 * it never runs a handler of the host program; SEGV, BUS, FPE, ILL, TRAP, ABRT and SYS stay
 * open, they report faults of the thread itself. stack_size 0 = the system's default;
 * smaller than the minimum is raised to it. Injection point: TC_FAULT_THREAD.
 * Owns: the caller must join *out. Returns 0, -EAGAIN, -ENOMEM. */
TC_NODISCARD int tc_sys_thread_create(pthread_t *out, size_t stack_size, void *(*fn)(void *),
                                      void *arg);

/* Returns 0 and the thread's result in *result (unless NULL), or -errno. */
int tc_sys_thread_join(pthread_t thread, void **result);

/* Name the calling thread for ps, gdb and perf; cut to 15 bytes. */
void tc_sys_thread_set_name(const char *name);

/* How late, in nanoseconds, the kernel may make the calling thread's timeouts fire. */
TC_NODISCARD int tc_sys_set_timer_slack(int64_t slack_ns);

TC_NODISCARD int tc_sys_sigaltstack(const stack_t *stack, stack_t *old);
TC_NODISCARD int tc_sys_sigaction(int sig, const struct sigaction *action, struct sigaction *old);
void tc_sys_sched_yield(void);
pid_t tc_sys_gettid(void);

/* Sleep while *word == expect, until a wake or the absolute monotonic deadline (TC_NEVER =
 * none).
 * Returns 0 woken, perhaps for no reason; -EAGAIN the word differs; -ETIMEDOUT; -EINTR. */
TC_NODISCARD int tc_sys_futex_wait(_Atomic uint32_t *word, uint32_t expect, int64_t deadline_ns);

/* Wake at most `count` waiters of this process. Returns how many, or -errno. */
int tc_sys_futex_wake(_Atomic uint32_t *word, int count);

/* ---- what the process may use --------------------------------------------------------- */

TC_NODISCARD int tc_sys_getrlimit(int resource, struct rlimit *out);
TC_NODISCARD int tc_sys_setrlimit(int resource, const struct rlimit *limit);

/* Returns how many processors the calling thread may run on (at least 1), or -errno. */
TC_NODISCARD int tc_sys_affinity_count(void);

/* The CPU bandwidth limit of this process's control group, in processors (1.5 = one and a
 * half): the smallest of the group and its ancestors, version 2 or 1.
 * Returns 0 and *cpus > 0; -ENOENT no limit or no control groups; another -errno. */
TC_NODISCARD int tc_sys_cgroup_cpu_quota(double *cpus);

/* The same below another root directory than "", for tests: root must not end with a slash. */
TC_NODISCARD int tc__sys_cgroup_cpu_quota_at(const char *root, double *cpus);

#endif
