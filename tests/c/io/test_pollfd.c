/* Descriptor slots: waiting, closing under waiters, reuse, hang-ups. */
#include "support.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "base/rand.h"

/* ---- one wait ------------------------------------------------------------------------------ */

struct reader {
    struct tc_pollfd *slot;
    enum tc_direction direction;
    int64_t deadline_ns;
    ssize_t result;
    char buffer[16];
};

static void read_once(void *arg)
{
    struct reader *reader = arg;

    reader->result =
        slot_recv(reader->slot, reader->buffer, sizeof reader->buffer, reader->deadline_ns);
}

static void await_parked(struct tc_fiber *fiber)
{
    while (tc_load_relaxed(&fiber->state) != TC_FIBER_PARKED) {
        tc_sys_sched_yield();
    }
}

static void close_slot(void *arg)
{
    tc_pollfd_close(arg);
}

TC_TEST(test_pollfd_data_ends_the_wait)
{
    struct tc_runtime *runtime = io_start(2);
    int fds[2];

    make_pair(fds);
    struct reader reader = {.slot = open_slot(tc_runtime_worker(runtime, 1), fds[0]),
                            .deadline_ns = TC_NEVER};
    struct tc_fiber *fiber = io_spawn(runtime, read_once, &reader);
    await_parked(fiber);
    TC_CHECK_EQ(tc_sys_write(fds[1], "hello", 5), 5);
    TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), 0);
    TC_CHECK_EQ(reader.result, 5);
    TC_CHECK_EQ(tc_runtime_run(runtime, close_slot, reader.slot), 0);
    tc_sys_close(fds[1]);
    io_stop(runtime);
}

TC_TEST(test_pollfd_deadline_ends_the_wait_and_not_early)
{
    struct tc_runtime *runtime = io_start(1);
    int fds[2];

    make_pair(fds);
    struct reader reader = {.slot = open_slot(tc_runtime_worker(runtime, 0), fds[0]),
                            .deadline_ns = tc_deadline_after_ns(3 * TC_NS_PER_MS)};
    TC_CHECK_EQ(tc_runtime_run(runtime, read_once, &reader), 0);
    TC_CHECK_EQ(reader.result, -ETIMEDOUT);
    TC_CHECK(tc_clock_now_ns() >= reader.deadline_ns);
    tc_pollfd_close(reader.slot);
    tc_sys_close(fds[1]);
    io_stop(runtime);
}

/* P1, and the bug class "edge consumed by a dead waiter": cancel while data arrives. */
TC_TEST(test_pollfd_cancelled_reader_leaves_the_data_to_the_next)
{
    struct tc_runtime *runtime = io_start(2);

    for (int i = 0; i < (SANITIZED ? 300 : 3000) && tc_test_has_time(5); i++) {
        int fds[2];
        make_pair(fds);
        struct reader first = {.slot =
                                   open_slot(tc_runtime_worker(runtime, (uint32_t)i % 2), fds[0]),
                               .deadline_ns = TC_NEVER};
        struct tc_fiber *fiber = io_spawn(runtime, read_once, &first);
        if (i % 3 != 0) {
            await_parked(fiber);
        }
        TC_CHECK_EQ(tc_sys_write(fds[1], "x", 1), 1);
        tc_fiber_cancel(fiber);
        TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), 0);
        TC_CHECK(first.result == 1 || first.result == -ECANCELED);
        if (first.result != 1) {
            struct reader second = {.slot = first.slot, .deadline_ns = TC_NEVER};
            TC_CHECK_EQ(tc_runtime_run(runtime, read_once, &second), 0);
            TC_CHECK_EQ(second.result, 1);
        }
        tc_pollfd_close(first.slot);
        tc_sys_close(fds[1]);
    }
    io_stop(runtime);
}

/* ---- close --------------------------------------------------------------------------------- */

TC_TEST(test_pollfd_close_wakes_the_waiter)
{
    struct tc_runtime *runtime = io_start(2);

    for (int i = 0; i < (SANITIZED ? 300 : 3000) && tc_test_has_time(5); i++) {
        int fds[2];
        make_pair(fds);
        struct reader reader = {.slot = open_slot(tc_runtime_worker(runtime, 0), fds[0]),
                                .deadline_ns = TC_NEVER};
        struct tc_fiber *fiber = io_spawn(runtime, read_once, &reader);
        await_parked(fiber);
        if (i % 2 == 0) {
            TC_CHECK_EQ(tc_sys_write(fds[1], "x", 1), 1); /* an event is on its way as well */
            while (tc_load_relaxed(&fiber->state) == TC_FIBER_PARKED && i % 4 == 0) {
                tc_sys_sched_yield();
            }
        }
        if (i % 4 != 0) {
            if (i % 2 == 0) {
                tc_fiber_cancel(fiber); /* and a third source */
            }
            if (tc_load_relaxed(&fiber->state) == TC_FIBER_PARKED && i % 2 != 0) {
                tc_pollfd_close(reader.slot);
                TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), 0);
                TC_CHECK_EQ(reader.result, -ECANCELED);
                tc_sys_close(fds[1]);
                continue;
            }
        }
        TC_CHECK_EQ(tc_fiber_join(fiber, TC_NEVER), 0);
        tc_pollfd_close(reader.slot);
        tc_sys_close(fds[1]);
    }
    io_stop(runtime);
}

struct both {
    struct tc_pollfd *slot;
    int peer;
    int read_result, write_result;
    bool closed;
};

static void wait_read(void *arg)
{
    struct both *both = arg;

    TC_IGNORE(tc_pollfd_consume(both->slot, TC_READ));
    both->read_result = tc_pollfd_wait(both->slot, TC_READ, TC_NEVER, TC_WAIT_READ);
}

static void wait_write(void *arg)
{
    struct both *both = arg;

    TC_IGNORE(tc_pollfd_consume(both->slot, TC_WRITE));
    both->write_result = tc_pollfd_wait(both->slot, TC_WRITE, TC_NEVER, TC_WAIT_WRITE);
}

static void close_after_event(void *arg)
{
    struct both *both = arg;
    char byte = 0;

    TC_CHECK_EQ(tc_sys_write(both->peer, &byte, 1), 1);
    /* One worker: the reader is claimed during a poll, behind us in the queue. */
    while (!tc_readiness_is_ready(&both->slot->word[TC_READ])) {
        tc_fiber_yield();
    }
    TC_CHECK_EQ(both->read_result, 99);
    tc_pollfd_close(both->slot);
}

/* Whoever waits in tc_pollfd_wait while close comes is told so, even if an event was first, and
 * even if somebody else is still inside and gives the slot back. */
TC_TEST(test_pollfd_event_just_before_close_is_reported_as_closed)
{
    struct tc_runtime *runtime = io_start(1);

    for (int i = 0; i < 50; i++) {
        int fds[2];
        make_pair(fds);
        char junk[4096] = {0};
        while (tc_sys_send(fds[0], junk, sizeof junk, 0) > 0) {
        }
        struct both both = {.peer = fds[1], .read_result = 99, .write_result = 99};
        both.slot = open_slot(tc_runtime_worker(runtime, 0), fds[0]);
        struct tc_fiber *reader = io_spawn(runtime, wait_read, &both);
        struct tc_fiber *writer = io_spawn(runtime, wait_write, &both);
        await_parked(reader);
        await_parked(writer);
        struct tc_fiber *closer = io_spawn(runtime, close_after_event, &both);
        TC_CHECK_EQ(tc_fiber_join(closer, TC_NEVER), 0);
        TC_CHECK_EQ(tc_fiber_join(reader, TC_NEVER), 0);
        TC_CHECK_EQ(tc_fiber_join(writer, TC_NEVER), 0);
        TC_CHECK_EQ(both.read_result, -ECANCELED);
        TC_CHECK_EQ(both.write_result, -ECANCELED);
        tc_sys_close(fds[1]);
    }
    io_stop(runtime);
}

/* ---- open fails ---------------------------------------------------------------------------- */

TC_TEST(test_pollfd_open_that_fails_leaves_the_descriptor_to_the_caller)
{
    struct tc_runtime *runtime = io_start(1);
    struct tc_worker *home = tc_runtime_worker(runtime, 0);
    static const int errors[] = {ENOMEM, ENOSPC, EPERM};
    struct tc_pollfd *slot;
    size_t before, after, bytes;
    int fds[2];

    make_pair(fds);
    tc_slab_stats(tc__io_slots(), &before, &bytes);
    for (size_t i = 0; i < TC_ARRAY_LEN(errors); i++) {
        tc_fault_arm(TC_SYS_EPOLL_CTL, 1, errors[i], 1);
        TC_CHECK_EQ(tc_pollfd_open(home, fds[0], 0, NULL, NULL, &slot), -errors[i]);
        tc_fault_disarm_all();
    }
    int file = tc_sys_open("/proc/self/exe", O_RDONLY | O_CLOEXEC, 0);
    TC_CHECK(file >= 0);
    TC_CHECK_EQ(tc_pollfd_open(home, file, 0, NULL, NULL, &slot), -EPERM);
    TC_CHECK_EQ(tc_sys_close(file), 0);
    tc_slab_stats(tc__io_slots(), &after, &bytes);
    TC_CHECK_EQ(after, before);
    slot = open_slot(home, fds[0]); /* it is still open, and not registered */
    tc_pollfd_close(slot);
    tc_sys_close(fds[1]);
    io_stop(runtime);
}

/* ---- reuse storm --------------------------------------------------------------------------- */

struct storm {
    struct tc_runtime *runtime;
    int fd;              /* the connection's other end, given to the peer thread */
    uint32_t id;
};

enum { STORM_LANES = 4, STORM_BYTES = 4096 };

/* The n-th byte of connection `id`: a byte that went astray shows. */
static unsigned char pattern(uint32_t id, uint32_t n)
{
    uint32_t x = id * 2654435761u + n * 40503u;
    return (unsigned char)(x >> 16);
}

static void send_pattern(void *arg)
{
    struct storm *storm = arg;
    unsigned char bytes[STORM_BYTES];
    struct tc_pollfd *slot = open_slot(tc_worker_current(), storm->fd);

    for (uint32_t i = 0; i < STORM_BYTES; i++) {
        bytes[i] = pattern(storm->id, i);
    }
    TC_CHECK_EQ(slot_send_all(slot, bytes, sizeof bytes), (ssize_t)sizeof bytes);
    tc_pollfd_close(slot);
}

struct lane {
    struct tc_runtime *runtime;
    uint32_t index;
    int rounds;
};

/* Socket pairs are made and closed all the time on all workers, so the same numbers and the same
 * slots serve other connections while events for their former ones are still being delivered. */
static void run_lane(void *arg)
{
    struct lane *lane = arg;

    for (int i = 0; i < lane->rounds && tc_test_has_time(10); i++) {
        uint32_t id = lane->index * 1000003u + (uint32_t)i;
        unsigned char bytes[1024];
        uint32_t received = 0;
        int fds[2];

        make_pair(fds);
        struct storm storm = {lane->runtime, fds[1], id};
        struct tc_worker *home =
            tc_runtime_worker(lane->runtime, id % tc_runtime_workers(lane->runtime));
        struct tc_pollfd *slot = open_slot(home, fds[0]);
        struct tc_fiber *sender = io_spawn(lane->runtime, send_pattern, &storm);
        for (;;) {
            ssize_t n = slot_recv(slot, bytes, sizeof bytes, TC_NEVER);
            TC_CHECK(n >= 0);
            if (n == 0) {
                break;
            }
            for (ssize_t k = 0; k < n; k++) {
                TC_CHECK_EQ(bytes[k], pattern(id, received));
                received++;
            }
            if (i % 5 == 4 && received > STORM_BYTES / 2 && received != STORM_BYTES) {
                (void)0; /* go on: an early close would make the sender fail */
            }
        }
        TC_CHECK_EQ(received, STORM_BYTES);
        tc_pollfd_close(slot);
        TC_CHECK_EQ(tc_fiber_join(sender, TC_NEVER), 0);
    }
}

TC_TEST(test_pollfd_descriptor_reuse_storm_keeps_every_byte_in_its_connection)
{
    struct tc_runtime *runtime = io_start(4);
    int descriptors = open_descriptors();
    struct lane lanes[STORM_LANES];
    struct tc_fiber *fibers[STORM_LANES];

    for (uint32_t i = 0; i < STORM_LANES; i++) {
        lanes[i] = (struct lane){runtime, i, SANITIZED ? 300 : 3000};
        fibers[i] = io_spawn(runtime, run_lane, &lanes[i]);
    }
    for (int i = 0; i < STORM_LANES; i++) {
        TC_CHECK_EQ(tc_fiber_join(fibers[i], TC_NEVER), 0);
    }
    TC_CHECK_EQ(open_descriptors(), descriptors);
    io_stop(runtime);
}

/* ---- hang-ups ------------------------------------------------------------------------------ */

static void make_tcp(int *client, int *server)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof addr;
    int listener = tc_sys_socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    TC_CHECK(listener >= 0);
    TC_CHECK_EQ(tc_sys_bind(listener, (struct sockaddr *)&addr, sizeof addr), 0);
    TC_CHECK_EQ(tc_sys_listen(listener, 1), 0);
    TC_CHECK_EQ(tc_sys_getsockname(listener, (struct sockaddr *)&addr, &length), 0);
    *client = tc_sys_socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    TC_CHECK_EQ(tc_sys_connect(*client, (struct sockaddr *)&addr, sizeof addr), 0);
    *server = tc_sys_accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    TC_CHECK(*server >= 0);
    tc_sys_close(listener);
}

/* Nobody reads; the peer resets, or closes one way. The slot latches, and the poller falls
 * silent. */
static void expect_silence_after(void (*disturb)(int fd), ssize_t end)
{
    struct tc_runtime *runtime = io_start(1);
    struct tc_runtime_statistics before, after;
    int client, server;

    make_tcp(&client, &server);
    struct tc_pollfd *slot = open_slot(tc_runtime_worker(runtime, 0), server);
    disturb(client);
    while (!tc_pollfd_is_latched(slot)) {
        tc_sys_sched_yield();
    }
    tc_runtime_statistics(runtime, &before);
    struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
    nanosleep(&pause, NULL); /* the time in which nothing must happen */
    tc_runtime_statistics(runtime, &after);
    TC_CHECK(after.events - before.events <= 2);
    TC_CHECK(after.polls - before.polls <= 4);
    struct reader reader = {.slot = slot, .deadline_ns = TC_NEVER};
    TC_CHECK_EQ(tc_runtime_run(runtime, read_once, &reader), 0);
    TC_CHECK_EQ(reader.result, end);
    tc_pollfd_close(slot);
    io_stop(runtime);
}

static void reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    TC_CHECK_EQ(tc_sys_setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    tc_sys_close(fd);
}

static void close_writing(int fd)
{
    TC_CHECK_EQ(tc_sys_shutdown(fd, SHUT_WR), 0);
}

TC_TEST(test_pollfd_reset_latches_and_does_not_spin)
{
    expect_silence_after(reset, -ECONNRESET);
}

TC_TEST(test_pollfd_half_close_latches_and_does_not_spin)
{
    expect_silence_after(close_writing, 0);
}
