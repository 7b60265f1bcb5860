/* Work that readiness callbacks put off to the end of their batch (tc_io_put_off). */
#include "support.h"

enum { PAIRS = 40, MANY = TC_IO_LATER_MAX + 1 };

struct member {
    struct tc_waiter waiter;
    struct tc_pollfd *slot;
    int fds[2]; /* ours, the peer's */
    size_t bytes; /* to keep */
    unsigned char fill;
};

/* What happened, in order. */
static struct {
    struct member *put_off[MANY];
    struct member *run[MANY];
    size_t put_off_count;
    size_t run_count;
    size_t refused;
} log_;

static void later(void *arg, struct tc_worker *worker, unsigned char *kept, size_t bytes)
{
    struct member *member = arg;

    TC_CHECK(worker != NULL);
    TC_CHECK_EQ(bytes, member->bytes);
    for (size_t i = 0; i < bytes; i++) {
        TC_CHECK_EQ(kept[i], member->fill);
    }
    log_.run[log_.run_count++] = member;
}

static void readable(struct tc_waiter *waiter, struct tc_worker *worker)
{
    struct member *member = tc_container_of(waiter, struct member, waiter);
    unsigned char *scratch = tc_io_scratch(worker);

    memset(scratch, 0xff, TC_IO_SCRATCH_BYTES); /* all of it is this callback's */
    memset(scratch, member->fill, member->bytes);
    if (tc_io_put_off(worker, later, member, member->bytes)) {
        log_.put_off[log_.put_off_count++] = member;
    } else {
        log_.refused++;
        TC_CHECK_EQ(log_.run_count, log_.put_off_count); /* those that came before have been run */
    }
}

static void install(struct tc_pollfd *slot, void *arg)
{
    struct member *member = arg;
    uint64_t seq = tc_waiter_core_begin(&member->waiter.word);

    tc_waiter_core_arm(&member->waiter.word, seq);
    TC_CHECK(tc_pollfd_rest(slot, TC_READ, &member->waiter, seq));
}

/* Have `count` members readable in one batch, each of which keeps `bytes`. */
static void run_batch(size_t count, size_t bytes)
{
    struct tc_runtime_options options = {.workers = 1, .driver = &tc_io_driver};
    static struct member members[MANY];
    struct tc_runtime *runtime;

    tc_chaos_suspend(); /* which polls without a result */
    memset(&log_, 0, sizeof log_);
    TC_CHECK_EQ(tc_runtime_new(&options, &runtime), 0); /* no threads: turned by hand */
    struct tc_worker *worker = tc_runtime_worker(runtime, 0);
    for (size_t i = 0; i < count; i++) {
        members[i] = (struct member){.bytes = bytes, .fill = (unsigned char)(i + 1)};
        tc_waiter_core_init(&members[i].waiter.word);
        members[i].waiter.kind = TC_WAITER_CALLBACK;
        members[i].waiter.callback = readable;
        make_pair(members[i].fds);
        TC_CHECK_EQ(tc_pollfd_open(worker, members[i].fds[0], TC_POLLFD_REST, install, &members[i],
                                   &members[i].slot),
                    0);
    }
    /* The edges of registration: all may be written to. */
    while (tc_io_driver.poll(worker, worker, 0) > 0) {
    }
    for (size_t i = 0; i < count; i++) {
        TC_CHECK_EQ(tc_sys_send(members[i].fds[1], "x", 1, 0), 1);
    }
    TC_CHECK_EQ(tc_io_driver.poll(worker, worker, 0), (int)count);
    TC_CHECK_EQ(log_.put_off_count + log_.refused, count);
    TC_CHECK_EQ(log_.run_count, log_.put_off_count);
    for (size_t i = 0; i < log_.run_count; i++) {
        TC_CHECK(log_.run[i] == log_.put_off[i]);
    }
    /* Outside a batch there is nothing to wait for, and the whole scratch is free again. */
    unsigned char *scratch = tc_io_scratch(worker);
    TC_CHECK(scratch == tc__io_of(worker)->scratch);
    TC_CHECK(!tc_io_put_off(worker, later, &members[0], 1));
    for (size_t i = 0; i < count; i++) {
        tc_pollfd_close(members[i].slot);
        TC_CHECK_EQ(tc_sys_close(members[i].fds[1]), 0);
    }
    tc_runtime_free(runtime);
}

TC_TEST(test_batch_only_event_puts_nothing_off)
{
    run_batch(1, 100);
    TC_CHECK_EQ(log_.refused, 1);
    run_batch(2, 100);
    TC_CHECK_EQ(log_.refused, 0); /* the last waits too: it came last */
}

TC_TEST(test_batch_runs_in_order_what_was_put_off)
{
    run_batch(PAIRS, 106);
    TC_CHECK_EQ(log_.put_off_count, PAIRS);
}

TC_TEST(test_batch_of_many_puts_nothing_off)
{
    run_batch(TC_IO_LATER_MAX, 106);
    TC_CHECK_EQ(log_.put_off_count, TC_IO_LATER_MAX);
    run_batch(MANY, 106);
    TC_CHECK_EQ(log_.put_off_count, 0);
    TC_CHECK_EQ(log_.refused, MANY);
}

TC_TEST(test_batch_runs_what_it_keeps_when_there_is_no_room)
{
    size_t fit = TC_IO_KEPT_BYTES / TC_IO_LATER_BYTES;

    run_batch(PAIRS, TC_IO_LATER_BYTES); /* fills the room, is refused once, and begins again */
    TC_CHECK_EQ(log_.refused, PAIRS / (fit + 1));
    run_batch(PAIRS, TC_IO_LATER_BYTES + 1);
    TC_CHECK_EQ(log_.put_off_count, 0);
}
