/* The real driver under a runtime: sleeping, failures of set-up, fork, and a worker that stalls. */
#include "support.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "sched/idle.h"

/* ---- sleep --------------------------------------------------------------------------------- */

static void sleep_a_little(void *arg)
{
    int64_t *late = arg;

    for (int i = 1; i <= 20; i++) {
        int64_t until = tc_deadline_after_ns(i * 100 * TC_NS_PER_US);
        TC_CHECK_EQ(tc_fiber_sleep_until(until), 0);
        int64_t now = tc_clock_now_ns();
        TC_CHECK(now >= until); /* T2 */
        *late = now - until > *late ? now - until : *late;
    }
}

TC_TEST(test_driver_sleep_is_never_early)
{
    struct tc_runtime *runtime = io_start(2);
    struct tc_fiber *fibers[20];
    int64_t late[20] = {0};

    for (int i = 0; i < 20; i++) {
        fibers[i] = io_spawn(runtime, sleep_a_little, &late[i]);
    }
    for (int i = 0; i < 20; i++) {
        TC_CHECK_EQ(tc_fiber_join(fibers[i], TC_NEVER), 0);
    }
    io_stop(runtime);
}

TC_TEST(test_driver_sleep_without_precise_epoll_is_never_early)
{
    tc_fault_arm(TC_SYS_EPOLL_PWAIT2, 1, ENOSYS, UINT64_MAX);
    struct tc_runtime *runtime = io_start(2);
    int64_t late = 0;

    TC_CHECK_EQ(tc_runtime_run(runtime, sleep_a_little, &late), 0);
    io_stop(runtime);
    tc_fault_disarm_all();
}

static void sleep_for_ever(void *arg)
{
    *(int *)arg = tc_fiber_sleep_until(tc_deadline_after_ns(3600 * TC_NS_PER_SEC));
}

TC_TEST(test_driver_cancelled_sleepers_leave_no_timer)
{
    struct tc_runtime *runtime = io_start(3);
    enum { SLEEPERS = 200 };
    struct tc_fiber *fibers[SLEEPERS];
    struct tc_runtime_statistics statistics;
    int results[SLEEPERS];

    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < SLEEPERS; i++) {
            fibers[i] = io_spawn(runtime, sleep_for_ever, &results[i]);
        }
        for (int i = 0; i < SLEEPERS; i++) {
            tc_fiber_cancel(fibers[i]);
        }
        for (int i = 0; i < SLEEPERS; i++) {
            TC_CHECK_EQ(tc_fiber_join(fibers[i], TC_NEVER), 0);
            TC_CHECK_EQ(results[i], -ECANCELED);
        }
        tc_runtime_statistics(runtime, &statistics);
        TC_CHECK_EQ(statistics.timers, 0);
    }
    io_stop(runtime);
}

/* ---- failures ------------------------------------------------------------------------------ */

static int live_once(void)
{
    struct tc_runtime_options options = {.workers = 2, .driver = &tc_io_driver};
    struct tc_runtime *runtime;
    int64_t late = 0;
    int rc = tc_runtime_new(&options, &runtime);

    if (rc != 0) {
        return rc;
    }
    rc = tc_runtime_start(runtime);
    if (rc == 0) {
        rc = tc_runtime_run(runtime, sleep_a_little, &late);
        TC_CHECK_EQ(tc_runtime_stop(runtime, TC_NEVER), 0);
    }
    tc_runtime_free(runtime);
    return rc;
}

TC_TEST(test_driver_every_failing_call_of_new_leaves_nothing_behind)
{
    static const struct {
        enum tc_sys_call call;
        int error;
    } points[] = {
        {TC_SYS_EPOLL_CREATE, EMFILE},   {TC_SYS_EVENTFD, ENFILE}, {TC_SYS_EPOLL_CTL, ENOSPC},
        {TC_SYS_TIMERFD_CREATE, EMFILE}, {TC_SYS_MMAP, ENOMEM},
    };

    TC_CHECK_EQ(live_once(), 0);
    size_t bytes = tc_mem_bytes_in_use();
    int descriptors = open_descriptors();
    for (size_t i = 0; i < TC_ARRAY_LEN(points); i++) {
        for (uint64_t nth = 1;; nth++) {
            tc_fault_arm(points[i].call, nth, points[i].error, 1);
            int rc = live_once();
            bool hit = tc_fault_hits(points[i].call) != 0;
            tc_fault_disarm_all();
            TC_CHECK_EQ(open_descriptors(), descriptors);
            TC_CHECK_EQ(tc_mem_bytes_in_use(), bytes);
            if (!hit) {
                TC_CHECK(nth > 1);
                TC_CHECK_EQ(rc, 0);
                break;
            }
            TC_CHECK(rc == -points[i].error || rc == 0 || rc == -ENOMEM);
        }
    }
}

TC_TEST(test_driver_failing_waits_and_wakes_hang_nobody)
{
    static const enum tc_sys_call calls[] = {TC_SYS_EPOLL_WAIT, TC_SYS_EPOLL_PWAIT2};

    for (size_t i = 0; i < TC_ARRAY_LEN(calls); i++) {
        for (uint64_t nth = 1; nth < 20; nth++) {
            tc_fault_arm(calls[i], nth, EINTR, 3);
            TC_CHECK_EQ(live_once(), 0);
            tc_fault_disarm_all();
        }
    }
}

/* ---- fork ---------------------------------------------------------------------------------- */

static bool is_open(int fd)
{
    return tc_sys_fcntl(fd, F_GETFD, 0) >= 0;
}

TC_TEST(test_driver_fork_child_closes_what_it_inherited)
{
    struct tc_runtime *runtime = io_start(2);
    int fds[2];
    char byte;

    make_pair(fds);
    struct tc_pollfd *slot = open_slot(tc_runtime_worker(runtime, 1), fds[0]);
    struct tc_poller *poller = &tc__io_of(tc_runtime_worker(runtime, 0))->poller;
    pid_t child = fork();
    TC_CHECK(child >= 0);
    if (child == 0) {
        int queue = poller->queue_fd, wake = poller->wake_fd;
        tc_runtime_after_fork_child(runtime);
        _exit(is_open(queue) || is_open(wake) || is_open(fds[0]) || !is_open(fds[1]));
    }
    int status;
    TC_CHECK_EQ(waitpid(child, &status, 0), child);
    TC_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    /* The parent is undisturbed: no shutdown reached the connection. */
    TC_CHECK_EQ(tc_sys_recv(fds[1], &byte, 1, 0), -EAGAIN);
    int64_t late = 0;
    TC_CHECK_EQ(tc_runtime_run(runtime, sleep_a_little, &late), 0);
    tc_pollfd_close(slot);
    tc_sys_close(fds[1]);
    io_stop(runtime);
}

/* ---- a worker that stalls ------------------------------------------------------------------ */

enum { CONNECTIONS = 100 };
#define SPIN_NS (20 * TC_NS_PER_SEC)

struct stall {
    struct tc_runtime *runtime;
    int peers[CONNECTIONS];
    struct tc_pollfd *slots[CONNECTIONS];
    struct tc_fiber *echoes[CONNECTIONS];
    struct tc_readiness word;
    _Atomic int64_t readied_ns, ran_ns;
    _Atomic int64_t spin_end_ns; /* when it ends at the latest; 0: not spinning yet */
    _Atomic bool is_measured; /* it may end */
    _Atomic uint32_t echoing; /* echo fibers that have begun */
};

struct echo {
    struct stall *stall;
    int index;
};

static void echo(void *arg)
{
    struct echo *self = arg;
    struct tc_pollfd *slot = self->stall->slots[self->index];
    char bytes[64];
    ssize_t n;

    tc_fetch_add_relaxed(&self->stall->echoing, 1);
    while ((n = slot_recv(slot, bytes, sizeof bytes, TC_NEVER)) > 0) {
        TC_CHECK_EQ(slot_send_all(slot, bytes, (size_t)n), n);
    }
    TC_CHECK_EQ(n, 0);
    tc_pollfd_close(slot);
}

static void other(void *arg)
{
    struct stall *stall = arg;

    while (!tc_readiness_consume(&stall->word)) {
        TC_CHECK_EQ(tc__fiber_wait_readiness(&stall->word, TC_WAIT_TEST, NULL, TC_NEVER), 0);
    }
    tc_store_relaxed(&stall->ran_ns, tc_clock_now_ns());
}

/* Holds a hundred connections, readies another fiber, then does not give way until all is measured,
 * SPIN_NS at most. */
static void hog(void *arg)
{
    struct stall *stall = arg;
    struct tc_worker *worker = tc_worker_current();
    static struct echo echoes[CONNECTIONS];
    struct tc_waiter *waiter;
    uint64_t seq;

    for (int i = 0; i < CONNECTIONS; i++) {
        int fds[2];
        make_pair(fds);
        stall->peers[i] = fds[1];
        stall->slots[i] = open_slot(worker, fds[0]);
        echoes[i] = (struct echo){stall, i};
        stall->echoes[i] = io_spawn(stall->runtime, echo, &echoes[i]);
    }
    struct tc_fiber *fiber = io_spawn(stall->runtime, other, stall);
    while (tc_load_relaxed(&stall->echoing) != CONNECTIONS ||
           tc_load_relaxed(&fiber->state) != TC_FIBER_PARKED) {
        TC_CHECK_EQ(tc_fiber_sleep_until(tc_deadline_after_ns(TC_NS_PER_MS)), 0);
    }
    worker = tc_worker_current();
    tc_store_relaxed(&stall->readied_ns, tc_clock_now_ns());
    TC_CHECK(tc_readiness_notify(&stall->word, &waiter, &seq));
    bool claimed = tc_waiter_claim(waiter, seq);
    tc_readiness_unlock(&stall->word);
    TC_CHECK(claimed);
    tc_ready_from(worker, waiter, 0);
    int64_t end = tc_deadline_after_ns(SPIN_NS);
    tc_store_release(&stall->spin_end_ns, end);
    while (!tc_load_relaxed(&stall->is_measured) && tc_clock_now_ns() < end) {
        tc_cpu_relax();
    }
    TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), 0);
}

/* Every connection answers a byte, again and again while the hog spins. Returns the median over the
 * rounds of the time until the last of the hundred has answered. */
static int64_t measure_rounds(struct stall *stall)
{
    enum { ROUNDS = 21 };
    int64_t times[ROUNDS];
    int64_t end;

    while ((end = tc_load_acquire(&stall->spin_end_ns)) == 0) {
        tc_sys_sched_yield();
    }
    for (int round = 0; round < ROUNDS; round++) {
        int64_t start = tc_clock_now_ns();
        char byte;
        for (int i = 0; i < CONNECTIONS; i++) {
            TC_CHECK_EQ(tc_sys_send(stall->peers[i], "x", 1, 0), 1);
        }
        for (int i = 0; i < CONNECTIONS; i++) {
            ssize_t n;
            while ((n = tc_sys_recv(stall->peers[i], &byte, 1, 0)) == -EAGAIN) {
                struct timespec pause = {.tv_nsec = 50000};
                nanosleep(&pause, NULL); /* leaves the processor to the second worker */
            }
            TC_CHECK_EQ(n, 1);
        }
        times[round] = tc_clock_now_ns() - start;
    }
    TC_CHECK(tc_clock_now_ns() < end);
    for (int i = 1; i < ROUNDS; i++) {
        for (int k = i; k > 0 && times[k] < times[k - 1]; k--) {
            int64_t swap = times[k];
            times[k] = times[k - 1];
            times[k - 1] = swap;
        }
    }
    return times[ROUNDS / 2];
}

static int64_t stall_a_worker(void *arg)
{
    struct tc_runtime *runtime = io_start(2);
    struct stall stall = {.runtime = runtime};

    (void)arg;
    tc_readiness_init(&stall.word, false);
    struct tc_fiber *fiber = io_spawn(runtime, hog, &stall);
    int64_t median = measure_rounds(&stall);
    while (tc_load_relaxed(&stall.ran_ns) == 0) {
        TC_CHECK(tc_clock_now_ns() < tc_load_relaxed(&stall.spin_end_ns));
        tc_sys_sched_yield();
    }
    tc_store_relaxed(&stall.is_measured, true);
    TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), 0);
    for (int i = 0; i < CONNECTIONS; i++) {
        tc_sys_close(stall.peers[i]);
        TC_CHECK_EQ(tc_fiber_join(stall.echoes[i], TC_NEVER), 0);
    }
    io_stop(runtime);
    return median;
}

/* 5 ms is for an idle machine (tests/slow/stall.c); here other programs and sanitizers share two
 * processors. What must not happen is that anything waits for the spin to end. */
TC_TEST(test_driver_stalled_worker_s_fibers_and_connections_go_on_elsewhere)
{
    tc_chaos_suspend(); /* measures time, and a yield to the hog costs milliseconds */
    tc_test_timely(stall_a_worker, NULL, (SANITIZED ? 200 : 50) * TC_NS_PER_MS);
}

/* The sentinel may take a wake-up out of the poller of a worker that it believes stalled; that
 * worker must be woken all the same. */

TC_TEST(test_driver_wake_up_taken_by_another_worker_is_passed_on)
{
    struct tc_runtime_options options = {.workers = 2, .driver = &tc_io_driver};
    struct tc_runtime *runtime;

    tc_chaos_suspend(); /* which polls without a result */
    TC_CHECK_EQ(tc_runtime_new(&options, &runtime), 0); /* no threads: turned by hand */
    struct tc_worker *sentinel = tc_runtime_worker(runtime, 0);
    struct tc_worker *sleeper = tc_runtime_worker(runtime, 1);
    struct tc_poller_event events[TC_POLLER_BATCH];
    tc_io_driver.wake(sleeper);
    TC_CHECK_EQ(tc_io_driver.poll(sentinel, sleeper, 0), 0); /* takes the edge */
    TC_CHECK_EQ(tc_poller_wait(&tc__io_of(sleeper)->poller, events, 0), 1);
    TC_CHECK_EQ(events[0].tag, 0);
    tc_runtime_free(runtime);
}

TC_TEST(test_driver_tick_ends_a_sleep_also_if_another_has_taken_it)
{
    struct tc_runtime_options options = {.workers = 2, .driver = &tc_io_driver};
    struct tc_runtime *runtime;

    tc_chaos_suspend(); /* which polls without a result */
    TC_CHECK_EQ(tc_runtime_new(&options, &runtime), 0); /* no threads: turned by hand */
    struct tc_worker *sentinel = tc_runtime_worker(runtime, 0);
    struct tc_worker *sleeper = tc_runtime_worker(runtime, 1);
    struct tc_io *io = tc__io_of(sleeper);

    TC_CHECK_EQ(tc_io_driver.tick(sleeper, TC_NS_PER_MS), 0);
    TC_CHECK_EQ(tc_io_driver.tick(sleeper, TC_NEVER), 0); /* one is due: changes nothing */
    TC_CHECK_EQ(tc_io_driver.poll(sleeper, sleeper, TC_NEVER), 0);
    TC_CHECK(!tc_load_relaxed(&io->is_ticking));

    TC_CHECK_EQ(tc_io_driver.tick(sleeper, 1), 0);
    TC_CHECK_EQ(tc_io_driver.poll(sentinel, sleeper, TC_NEVER), 0); /* takes it */
    TC_CHECK(tc_load_relaxed(&io->is_ticking));
    TC_CHECK_EQ(tc_io_driver.poll(sleeper, sleeper, TC_NEVER), 0);
    TC_CHECK(!tc_load_relaxed(&io->is_ticking));

    /* One that cannot be set is not due, whoever finds that out; the sleeper is woken for it. */
    TC_CHECK_EQ(tc_io_driver.tick(sleeper, 1), 0);
    tc_fault_arm(TC_SYS_TIMERFD_SETTIME, 1, EPERM, 2);
    TC_CHECK_EQ(tc_io_driver.poll(sentinel, sleeper, TC_NEVER), 0);
    TC_CHECK_EQ(tc_io_driver.poll(sleeper, sleeper, TC_NEVER), 0);
    TC_CHECK_EQ(tc_io_driver.tick(sleeper, 1), -EPERM);
    tc_fault_disarm_all();
    tc_runtime_free(runtime);
}

/* The kernel says in FDSize how many descriptors the table has room for. */
static long descriptor_table_size(void)
{
    char text[4096];
    int fd = tc_sys_open("/proc/self/status", O_RDONLY | O_CLOEXEC, 0);
    ssize_t len = fd < 0 ? fd : tc_sys_read(fd, text, sizeof text - 1);

    TC_CHECK(len > 0);
    TC_CHECK_EQ(tc_sys_close(fd), 0);
    text[len] = '\0';
    const char *field = strstr(text, "FDSize:");
    TC_CHECK(field != NULL);
    return strtol(field + strlen("FDSize:"), NULL, 10);
}

TC_TEST(test_driver_makes_room_for_descriptors_beforehand)
{
    struct tc_runtime_options options = {.workers = 1, .driver = &tc_io_driver};
    struct tc_runtime *runtime;
    struct rlimit limit;

    TC_CHECK_EQ(tc_sys_getrlimit(RLIMIT_NOFILE, &limit), 0);
    long wanted = limit.rlim_cur < 16384 ? (long)limit.rlim_cur : 16384;
    TC_CHECK_EQ(tc_runtime_new(&options, &runtime), 0);
    TC_CHECK(descriptor_table_size() >= wanted);
    tc_runtime_free(runtime);
}
