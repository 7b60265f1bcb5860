#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/sys.h"
#include "io/poller.h"

int tc_poller_open(struct tc_poller *poller)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 0};
    int rc = tc_sys_epoll_create(EPOLL_CLOEXEC);

    if (rc < 0) {
        return rc;
    }
    poller->queue_fd = rc;
    rc = tc_sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (rc < 0) {
        goto close_queue;
    }
    poller->wake_fd = rc;
    rc = tc_sys_epoll_ctl(poller->queue_fd, EPOLL_CTL_ADD, poller->wake_fd, &event);
    if (rc < 0) {
        goto close_wake;
    }
    return 0;

close_wake:
    tc_sys_close(poller->wake_fd);
close_queue:
    tc_sys_close(poller->queue_fd);
    poller->queue_fd = poller->wake_fd = -1;
    return rc;
}

void tc_poller_close(struct tc_poller *poller)
{
    tc_sys_close(poller->wake_fd);
    tc_sys_close(poller->queue_fd);
    poller->queue_fd = poller->wake_fd = -1;
}

int tc_poller_add(struct tc_poller *poller, int fd, uint64_t tag, bool level)
{
    struct epoll_event event = {
        .events = level ? EPOLLIN : EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.u64 = tag,
    };
    return tc_sys_epoll_ctl(poller->queue_fd, EPOLL_CTL_ADD, fd, &event);
}

int tc_poller_enable(struct tc_poller *poller, int fd, uint64_t tag, bool enabled)
{
    struct epoll_event event = {.events = enabled ? EPOLLIN : 0, .data.u64 = tag};

    return tc_sys_epoll_ctl(poller->queue_fd, EPOLL_CTL_MOD, fd, &event);
}

int tc_poller_watch(struct tc_poller *poller, int fd, uint64_t tag, uint32_t bits, bool is_new)
{
    struct epoll_event event = {
        .events = (bits & TC_POLLER_READ ? EPOLLIN : 0) | (bits & TC_POLLER_WRITE ? EPOLLOUT : 0),
        .data.u64 = tag,
    };
    int rc = tc_sys_epoll_ctl(poller->queue_fd, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);

    /* The number may have been closed and opened again without our knowing, or be registered still
     * by way of a duplicate. */
    if (is_new && rc == -EEXIST) {
        rc = tc_sys_epoll_ctl(poller->queue_fd, EPOLL_CTL_MOD, fd, &event);
    } else if (!is_new && rc == -ENOENT) {
        rc = tc_sys_epoll_ctl(poller->queue_fd, EPOLL_CTL_ADD, fd, &event);
    }
    return rc;
}

void tc_poller_remove(struct tc_poller *poller, int fd)
{
    struct epoll_event event = {.events = 0};

    /* A failure means that the kernel has dropped it already, or will when the last copy of the
     * descriptor is closed; the slot's generation makes late events harmless. */
    TC_IGNORE(tc_sys_epoll_ctl(poller->queue_fd, EPOLL_CTL_DEL, fd, &event));
}

static uint32_t bits_of(uint32_t events)
{
    uint32_t bits = 0;

    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        bits |= TC_POLLER_READ;
    }
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
        bits |= TC_POLLER_WRITE;
    }
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        bits |= TC_POLLER_HANGUP;
    }
    return bits;
}

/* Let time pass after a poll that failed: the caller comes again, and would spin. Wake-ups do not
 * end this sleep, so it is short. */
static void rest_after_failure(int64_t timeout_ns)
{
    static _Atomic uint32_t nobody_wakes;
    int64_t rest_ns = timeout_ns < TC_NS_PER_MS ? timeout_ns : TC_NS_PER_MS;

    TC_IGNORE(tc_sys_futex_wait(&nobody_wakes, 0, tc_deadline_after_ns(rest_ns)));
}

int tc_poller_wait(struct tc_poller *poller, struct tc_poller_event *events, int64_t timeout_ns)
{
    struct epoll_event found[TC_POLLER_BATCH];
    int count = tc_sys_epoll_wait(poller->queue_fd, found, TC_POLLER_BATCH, timeout_ns);

    for (int i = 0; i < count; i++) {
        events[i].tag = found[i].data.u64;
        events[i].bits = bits_of(found[i].events);
    }
    if (tc_unlikely(count < 0 && count != -EINTR && timeout_ns > 0)) {
        rest_after_failure(timeout_ns);
    }
    return count > 0 ? count : 0;
}

void tc_poller_wake(struct tc_poller *poller)
{
    static const uint64_t one = 1;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u64 = 0};

    if (tc_unlikely(tc_sys_write(poller->wake_fd, &one, sizeof one) < 0)) {
        /* A sandbox may forbid it, and a wake-up that is lost is lost for good. Asking for a
         * direction that is always ready makes an edge too. */
        TC_IGNORE(tc_sys_epoll_ctl(poller->queue_fd, EPOLL_CTL_MOD, poller->wake_fd, &event));
    }
}
