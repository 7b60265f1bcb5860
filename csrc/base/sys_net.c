#include "base/sys.h"

#include "base/chaos.h"

#include <errno.h>
#include <limits.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441 /* the same on every architecture; older C libraries lack it */
#endif

/* A system call's own convention, -1 and errno, made into ours. */
static inline int outcome(int result)
{
    return tc_unlikely(result < 0) ? -errno : result;
}

static inline ssize_t outcome_size(ssize_t result)
{
    return tc_unlikely(result < 0) ? -errno : result;
}

#if TC_TSAN

/* ThreadSanitizer knows that whoever receives an event comes after the registration, but only by
 * way of epoll_wait; this word tells it of epoll_pwait2. */
static _Atomic unsigned registrations;

static inline void note_registration(void)
{
    tc_fetch_add_release(&registrations, 1u); /* release [epoll-registered] */
}

static inline void note_events(void)
{
    (void)tc_load_acquire(&registrations); /* acquire [epoll-registered] */
}

#else

static inline void note_registration(void)
{
}

static inline void note_events(void)
{
}

#endif

/* ---- the three hot calls -------------------------------------------------------------- */

/* They go through syscall(2): a C library's own wrapper is a pthread cancellation point,
 * which costs two locked instructions in a process with threads, and nobody may cancel a
 * worker (S5). The sanitizers learn what the kernel wrote, and who woke whom, from the C
 * library's wrappers only. */
#if TC_TSAN || TC_ASAN

static inline ssize_t raw_recv(int fd, void *buf, size_t len, int flags)
{
    return recv(fd, buf, len, flags);
}

static inline ssize_t raw_send(int fd, const void *buf, size_t len, int flags)
{
    return send(fd, buf, len, flags);
}

static inline int raw_epoll_wait(int epfd, struct epoll_event *events, int max, int timeout_ms)
{
    return epoll_wait(epfd, events, max, timeout_ms);
}

#else

static inline ssize_t raw_recv(int fd, void *buf, size_t len, int flags)
{
    return syscall(SYS_recvfrom, fd, buf, len, flags, NULL, NULL);
}

static inline ssize_t raw_send(int fd, const void *buf, size_t len, int flags)
{
    return syscall(SYS_sendto, fd, buf, len, flags, NULL, (socklen_t)0);
}

static inline int raw_epoll_wait(int epfd, struct epoll_event *events, int max, int timeout_ms)
{
    return (int)syscall(SYS_epoll_pwait, epfd, events, max, timeout_ms, NULL, (size_t)0);
}

#endif

TC_NOINLINE ssize_t tc_sys_recv(int fd, void *buf, size_t len, int flags)
{
    ssize_t n;

    do {
        n = tc_fault_check(TC_SYS_RECV);
        if (tc_likely(n == 0)) {
            n = outcome_size(raw_recv(fd, buf, len, flags));
        }
    } while (tc_unlikely(n == -EINTR));
    return n;
}

TC_NOINLINE ssize_t tc_sys_send(int fd, const void *buf, size_t len, int flags)
{
    ssize_t n;

    len = tc_chaos_prefix(len, 4); /* chaos: a socket buffer with room for less */
    do {
        n = tc_fault_check(TC_SYS_SEND);
        if (tc_likely(n == 0)) {
            n = outcome_size(raw_send(fd, buf, len, flags | MSG_NOSIGNAL));
        }
    } while (tc_unlikely(n == -EINTR));
    return n;
}

/* Whether the kernel has epoll_pwait2. Every thread that asks finds the same, so a race to
 * store the answer is harmless. */
enum precise_state { PRECISE_UNKNOWN, PRECISE_YES, PRECISE_NO };

static _Atomic int precise_state;

/* Ask with a descriptor that cannot exist: a kernel that knows the call complains about that. */
static TC_NOINLINE bool probe_precise_epoll(void)
{
    struct epoll_event event;
    int err = tc_fault_check(TC_SYS_EPOLL_PWAIT2);

    if (err == 0) {
        err = outcome((int)syscall(SYS_epoll_pwait2, -1, &event, 1, NULL, NULL, (size_t)0));
    }
    /* Anything else is no such call: -ENOSYS, or -EPERM from a sandbox. */
    return err == -EBADF;
}

bool tc_sys_has_precise_epoll(void)
{
    /* relaxed: the answer is the whole message. */
    int state = tc_load_relaxed(&precise_state);

    if (tc_unlikely(state == PRECISE_UNKNOWN)) {
        state = probe_precise_epoll() ? PRECISE_YES : PRECISE_NO;
        /* relaxed: as above. */
        tc_store_relaxed(&precise_state, state);
    }
    return state == PRECISE_YES;
}

int tc__sys_timeout_ms(int64_t timeout_ns)
{
    int64_t ms;

    if (timeout_ns == TC_NEVER) {
        return -1;
    }
    if (timeout_ns <= 0) {
        return 0;
    }
    ms = (timeout_ns - 1) / TC_NS_PER_MS + 1;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

TC_NOINLINE int tc_sys_epoll_wait(int epfd, struct epoll_event *events, int max_events,
                                  int64_t timeout_ns)
{
    struct timespec timeout;
    int err = tc_fault_check(TC_SYS_EPOLL_WAIT);

    if (tc_unlikely(err != 0)) {
        return err;
    }
    if (tc_chaos(16)) {
        return 0; /* chaos: as early as by a wake-up for nothing, and the events come next time */
    }
    /* No time and for ever are exact in both calls; the older one has less to copy. */
    if (timeout_ns <= 0 || timeout_ns == TC_NEVER || !tc_sys_has_precise_epoll()) {
        return outcome(raw_epoll_wait(epfd, events, max_events, tc__sys_timeout_ms(timeout_ns)));
    }
    timeout.tv_sec = (time_t)(timeout_ns / TC_NS_PER_SEC);
    timeout.tv_nsec = (long)(timeout_ns % TC_NS_PER_SEC);
    err = (int)syscall(SYS_epoll_pwait2, epfd, events, max_events, &timeout, NULL, (size_t)0);
    note_events();
    return outcome(err);
}

/* ---- epoll, eventfd and timerfd ------------------------------------------------------- */

TC_NOINLINE int tc_sys_epoll_create(int flags)
{
    int err = tc_fault_check(TC_SYS_EPOLL_CREATE);

    return err != 0 ? err : outcome(epoll_create1(flags));
}

TC_NOINLINE int tc_sys_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    int err = tc_fault_check(TC_SYS_EPOLL_CTL);

    note_registration();
    return err != 0 ? err : outcome(epoll_ctl(epfd, op, fd, event));
}

TC_NOINLINE int tc_sys_eventfd(unsigned initial, int flags)
{
    int err = tc_fault_check(TC_SYS_EVENTFD);

    return err != 0 ? err : outcome(eventfd(initial, flags));
}

TC_NOINLINE int tc_sys_timerfd(int flags)
{
    int err = tc_fault_check(TC_SYS_TIMERFD_CREATE);

    return err != 0 ? err : outcome(timerfd_create(CLOCK_MONOTONIC, flags));
}

TC_NOINLINE int tc_sys_timerfd_arm(int fd, int64_t delay_ns)
{
    struct itimerspec when = {
        .it_value.tv_sec = (time_t)(delay_ns / TC_NS_PER_SEC),
        .it_value.tv_nsec = (long)(delay_ns % TC_NS_PER_SEC),
    };
    int err = tc_fault_check(TC_SYS_TIMERFD_SETTIME);

    return err != 0 ? err : outcome(timerfd_settime(fd, 0, &when, NULL));
}

/* ---- sockets -------------------------------------------------------------------------- */

TC_NOINLINE int tc_sys_socket(int domain, int type, int protocol)
{
    int err = tc_fault_check(TC_SYS_SOCKET);

    return err != 0 ? err : outcome(socket(domain, type, protocol));
}

TC_NOINLINE int tc_sys_socketpair(int domain, int type, int protocol, int fds[2])
{
    int err = tc_fault_check(TC_SYS_SOCKETPAIR);

    return err != 0 ? err : outcome(socketpair(domain, type, protocol, fds));
}

TC_NOINLINE int tc_sys_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    int err = tc_fault_check(TC_SYS_BIND);

    return err != 0 ? err : outcome(bind(fd, addr, len));
}

TC_NOINLINE int tc_sys_listen(int fd, int backlog)
{
    int err = tc_fault_check(TC_SYS_LISTEN);

    return err != 0 ? err : outcome(listen(fd, backlog));
}

TC_NOINLINE int tc_sys_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    int err = tc_fault_check(TC_SYS_CONNECT);

    return err != 0 ? err : outcome(connect(fd, addr, len));
}

TC_NOINLINE int tc_sys_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    int result;

    do {
        result = tc_fault_check(TC_SYS_ACCEPT4);
        if (tc_likely(result == 0)) {
            result = outcome(accept4(fd, addr, len, flags));
        }
    } while (tc_unlikely(result == -EINTR));
    return result;
}

TC_NOINLINE int tc_sys_shutdown(int fd, int how)
{
    int err = tc_fault_check(TC_SYS_SHUTDOWN);

    return err != 0 ? err : outcome(shutdown(fd, how));
}

TC_NOINLINE int tc_sys_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    int err = tc_fault_check(TC_SYS_GETSOCKOPT);

    return err != 0 ? err : outcome(getsockopt(fd, level, name, value, len));
}

TC_NOINLINE int tc_sys_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    int err = tc_fault_check(TC_SYS_SETSOCKOPT);

    return err != 0 ? err : outcome(setsockopt(fd, level, name, value, len));
}

TC_NOINLINE int tc_sys_getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
    int err = tc_fault_check(TC_SYS_GETSOCKNAME);

    return err != 0 ? err : outcome(getsockname(fd, addr, len));
}

TC_NOINLINE int tc_sys_getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
    int err = tc_fault_check(TC_SYS_GETPEERNAME);

    return err != 0 ? err : outcome(getpeername(fd, addr, len));
}

TC_NOINLINE ssize_t tc_sys_recvmsg(int fd, struct msghdr *msg, int flags)
{
    ssize_t n;

    do {
        n = tc_fault_check(TC_SYS_RECVMSG);
        if (tc_likely(n == 0)) {
            n = outcome_size(recvmsg(fd, msg, flags));
        }
    } while (tc_unlikely(n == -EINTR));
    return n;
}

/* Copies `msg` with a part of its first piece only; all sockets of the library are streams. */
static inline const struct msghdr *cut_message(const struct msghdr *msg, struct msghdr *cut,
                                               struct iovec *piece)
{
    *cut = *msg;
    *piece = msg->msg_iov[0];
    piece->iov_len = tc_chaos_prefix(piece->iov_len, 2);
    cut->msg_iov = piece;
    cut->msg_iovlen = 1;
    return cut;
}

TC_NOINLINE ssize_t tc_sys_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    struct msghdr cut;
    struct iovec piece;
    ssize_t n;

    if (tc_chaos(4) && msg->msg_iovlen != 0 && msg->msg_iov[0].iov_len != 0) {
        msg = cut_message(msg, &cut, &piece); /* chaos: a socket buffer with room for less */
    }
    do {
        n = tc_fault_check(TC_SYS_SENDMSG);
        if (tc_likely(n == 0)) {
            n = outcome_size(sendmsg(fd, msg, flags | MSG_NOSIGNAL));
        }
    } while (tc_unlikely(n == -EINTR));
    return n;
}
