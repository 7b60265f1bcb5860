#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"
#include "io/io_internal.h"
#include "sched/runtime.h"

enum { DESCRIPTORS_FORESEEN = 16384 }; /* 132 KiB of the kernel's memory */

/* ---- type-stable memory -------------------------------------------------------------------- */

/* Slots and timer nodes outlive every runtime, because a late event or a late cancel may look at
 * one after its runtime is gone. The slabs are made by whoever comes first. */
static struct {
    _Atomic uint32_t state; /* 0: not made, 1: being made, 2: made                             */
    struct tc_slab slots;
    struct tc_slab timers;
} shared;

static void construct_slot(void *object)
{
    struct tc_pollfd *slot = object;

    memset(slot, 0, sizeof *slot);
    tc_readiness_init(&slot->word[TC_READ], false);
    tc_readiness_init(&slot->word[TC_WRITE], false);
    tc_atomic_init(&slot->fd, -1);
}

static void construct_timer(void *object)
{
    struct tc_timer *timer = object;

    memset(timer, 0, sizeof *timer);
    timer->node.index = TC_HEAP_NONE;
}

static void make_shared(void)
{
    uint32_t found = 0;

    if (tc_cas_acquire(&shared.state, &found, 1)) { /* acquire [io-shared]: as the loads below */
        tc_slab_init(&shared.slots, "descriptors", sizeof(struct tc_pollfd),
                     _Alignof(struct tc_pollfd), construct_slot);
        tc_slab_init(&shared.timers, "timers", sizeof(struct tc_timer), 16, construct_timer);
        tc_store_release(&shared.state, 2); /* release [io-shared]: the slabs are ready */
        return;
    }
    while (tc_load_acquire(&shared.state) != 2) { /* acquire [io-shared]: see the store */
        tc_sys_sched_yield();
    }
}

struct tc_slab *tc__io_slots(void)
{
    return &shared.slots;
}

struct tc_slab *tc__io_timer_nodes(void)
{
    return &shared.timers;
}

/* ---- the driver ---------------------------------------------------------------------------- */

static void close_tick(struct tc_io *io)
{
    if (io->tick_fd >= 0) {
        tc_sys_close(io->tick_fd);
        io->tick_fd = -1;
    }
}

/* Only workers who look after others need ticks. Without a descriptor for them there are none, and
 * the polls have limits. */
static void open_tick(struct tc_io *io, struct tc_runtime *runtime)
{
    io->tick_fd = -1;
    if (tc_runtime_workers(runtime) > 1) {
        io->tick_fd = tc_sys_timerfd(TFD_CLOEXEC | TFD_NONBLOCK);
    }
    if (io->tick_fd >= 0 && tc_poller_add(&io->poller, io->tick_fd, TC_IO_TAG_TICK, false) != 0) {
        close_tick(io);
    }
}

/* Who opens the 65th descriptor of a process with threads sleeps until every processor has passed
 * through the scheduler, because its table grows (an RCU grace period; 4 to 20 ms seen), the 129th
 * and so on likewise, and that would be a worker in accept. So the table grows here, before there
 * are workers and perhaps before there are threads at all. The kernel never shrinks it; it is 8
 * bytes each. */
static void grow_descriptor_table(int any_fd)
{
    struct rlimit limit;
    int last = DESCRIPTORS_FORESEEN - 1;

    if (tc_sys_getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    if (limit.rlim_cur < DESCRIPTORS_FORESEEN) {
        last = (int)limit.rlim_cur - 1;
    }
    int fd = tc_sys_fcntl(any_fd, F_DUPFD_CLOEXEC, last);
    if (fd >= 0) { /* else it grows when it must */
        tc_sys_close(fd);
    }
}

static int io_worker_init(struct tc_worker *worker)
{
    make_shared();
    struct tc_io *io = tc_mem_zalloc(sizeof *io);
    if (io == NULL) {
        return -ENOMEM;
    }
    int rc = tc_poller_open(&io->poller);
    if (rc != 0) {
        tc_mem_free(io, sizeof *io);
        return rc;
    }
    tc_timers_init(&io->timers, &shared.timers);
    open_tick(io, worker->runtime);
    if (worker->index == 0) {
        grow_descriptor_table(io->poller.queue_fd);
    }
    worker->io = io;
    return 0;
}

static void io_worker_fini(struct tc_worker *worker)
{
    struct tc_io *io = tc__io_of(worker);

    tc_timers_fini(&io->timers);
    close_tick(io);
    tc_poller_close(&io->poller);
    if (io->scratch != NULL) {
        tc_sys_munmap(io->scratch, TC_IO_SCRATCH_BYTES + TC_IO_KEPT_BYTES);
    }
    tc_mem_free(io, sizeof *io);
    worker->io = NULL;
}

static int io_tick(struct tc_worker *worker, int64_t delay_ns)
{
    struct tc_io *io = tc__io_of(worker);
    int rc;

    if (tc_load_relaxed(&io->is_ticking)) { /* relaxed: who clears it wakes us */
        return 0;
    }
    rc = io->tick_fd < 0 ? -ENOSYS : tc_sys_timerfd_arm(io->tick_fd, delay_ns);
    tc_store_relaxed(&io->is_ticking, rc == 0); /* relaxed: our own */
    return rc;
}

/* A wake-up or a tick of `source`. Neither carries work: who is awake looks at its queues anyway.
 * But another's, which the sentinel has just taken out of his poller, must still end his sleep. */
static void pass_on(struct tc_worker *worker, struct tc_worker *source, uint64_t tag)
{
    struct tc_io *io = tc__io_of(source);
    bool is_tick = tag == TC_IO_TAG_TICK;

    if (is_tick && source != worker && tc_sys_timerfd_arm(io->tick_fd, 1) == 0) {
        return;
    }
    if (is_tick) {
        tc_store_relaxed(&io->is_ticking, false); /* relaxed: our own, or looked at when woken */
    }
    if (source != worker) {
        tc_poller_wake(&io->poller);
    }
}

/* What was put off until the end of the batch. */
static void run_later(struct tc_worker *worker)
{
    struct tc_io *io = tc__io_of(worker);

    for (uint32_t i = 0; i < io->later_count; i++) {
        struct tc_io_later *later = &io->later[i];

        later->run(later->arg, worker, later->kept, later->bytes);
    }
    io->later_count = 0;
    io->kept = 0;
}

static int io_poll(struct tc_worker *worker, struct tc_worker *source, int64_t timeout_ns)
{
    struct tc_io *io = tc__io_of(worker);
    struct tc_poller_event *events = io->events;
    int count = tc_poller_wait(&tc__io_of(source)->poller, events, timeout_ns);
    int delivered = 0;

    tc_worker_awake(worker);
    tc_worker_set_reacting(worker, true);
    for (int i = 0; i < count; i++) {
        tc__pollfd_prefetch(events[i].tag);
    }
    for (int i = 0; i < count; i++) {
        io->undelivered = count <= TC_IO_LATER_MAX ? (uint32_t)(count - 1 - i) : 0;
        if (tc_unlikely(events[i].tag <= TC_IO_TAG_TICK)) {
            pass_on(worker, source, events[i].tag);
        } else {
            delivered += tc__pollfd_deliver(worker, events[i].tag, events[i].bits);
        }
    }
    run_later(worker);
    tc_worker_set_reacting(worker, false);
    tc_counter_add(&worker->counters.polls, 1);
    if (delivered != 0) {
        tc_counter_add(&worker->counters.events, (uint64_t)delivered);
        tc_worker_delivered(worker);
    }
    return delivered;
}

static void io_wake(struct tc_worker *worker)
{
    tc_poller_wake(&tc__io_of(worker)->poller);
}

static int64_t io_now(struct tc_worker *worker)
{
    (void)worker;
    return tc_clock_now_ns();
}

static int64_t io_next_deadline(struct tc_worker *worker)
{
    return tc_timers_next(&tc__io_of(worker)->timers);
}

static int io_expire(struct tc_worker *worker, int64_t now_ns)
{
    return tc_timers_expire(&tc__io_of(worker)->timers, worker, now_ns);
}

static int io_arm(struct tc_worker *worker, struct tc_waiter *waiter, uint64_t seq, int64_t when_ns,
                  struct tc_deadline *out)
{
    return tc_timers_arm(&tc__io_of(worker)->timers, waiter, seq, when_ns, out);
}

static void io_disarm(struct tc_worker *worker, struct tc_deadline *deadline)
{
    tc_timers_cancel(worker != NULL ? &tc__io_of(worker)->timers : NULL, deadline);
}

static bool io_has_sources(struct tc_worker *worker)
{
    return tc_load_relaxed(&tc__io_of(worker)->descriptors) != 0; /* relaxed: a hint */
}

static void io_statistics(struct tc_worker *worker, struct tc_runtime_statistics *out)
{
    struct tc_io *io = tc__io_of(worker);

    out->timers += tc_timers_count(&io->timers);
    out->descriptors += tc_load_relaxed(&io->descriptors); /* relaxed: a count */
}

static void close_slot_of(void *object, void *arg)
{
    struct tc_pollfd *slot = object;
    int fd = tc_load_relaxed(&slot->fd); /* relaxed: the child has one thread */

    if (fd >= 0 && slot->home == arg) {
        tc_sys_close(fd); /* no shutdown: the connection is the parent's */
    }
}

static void io_after_fork_child(struct tc_worker *worker)
{
    if (worker == NULL) {
        /* The child's next runtime makes slabs of its own: somebody may have held the lock of these
         * when the process forked. */
        tc_store_relaxed(&shared.state, 0); /* relaxed: the child has one thread */
        return;
    }
    struct tc_io *io = tc__io_of(worker);

    tc_slab_for_each(&shared.slots, close_slot_of, worker);
    close_tick(io);
    tc_poller_close(&io->poller);
}

const struct tc_driver tc_io_driver = {
    .worker_init = io_worker_init,
    .worker_fini = io_worker_fini,
    .poll = io_poll,
    .wake = io_wake,
    .tick = io_tick,
    .now = io_now,
    .next_deadline = io_next_deadline,
    .expire = io_expire,
    .arm = io_arm,
    .disarm = io_disarm,
    .after_fork_child = io_after_fork_child,
    .statistics = io_statistics,
    .has_sources = io_has_sources,
};

/* ---- for the layers above ------------------------------------------------------------------ */

unsigned char *tc_io_scratch(struct tc_worker *worker)
{
    struct tc_io *io = tc__io_of(worker);

    if (tc_unlikely(io->scratch == NULL)) {
        void *memory;
        if (tc_sys_mmap(NULL, TC_IO_SCRATCH_BYTES + TC_IO_KEPT_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, &memory) != 0) {
            return NULL;
        }
        io->scratch = memory;
    }
    return io->scratch + io->kept;
}

bool tc_io_put_off(struct tc_worker *worker, tc_io_later_fn *run, void *arg, size_t bytes)
{
    struct tc_io *io = tc__io_of(worker);
    size_t kept = io->kept + (bytes + 63) / 64 * 64; /* nobody else's cache line */
    bool is_alone = io->undelivered == 0 && io->later_count == 0;

    if (is_alone || bytes > TC_IO_LATER_BYTES || kept > TC_IO_KEPT_BYTES) {
        run_later(worker); /* they came first */
        return false;
    }
    io->later[io->later_count++] = (struct tc_io_later){run, arg, io->scratch + io->kept, bytes};
    io->kept = kept;
    return true;
}
