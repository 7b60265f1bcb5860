/* Level-triggered registrations of the poller: what loops of Python use for callbacks. */
#include "support.h"

#include "io/poller.h"

static struct tc_poller poller;

static uint32_t look(uint64_t tag)
{
    struct tc_poller_event events[TC_POLLER_BATCH];
    int count = tc_poller_wait(&poller, events, 0);

    TC_CHECK(count <= 1);
    if (count == 1) {
        TC_CHECK_EQ(events[0].tag, tag);
    }
    return count == 1 ? events[0].bits : 0;
}

TC_TEST(test_poller_watch_reports_as_long_as_it_lasts)
{
    int fds[2];

    TC_CHECK_EQ(tc_poller_open(&poller), 0);
    make_pair(fds);
    TC_CHECK_EQ(tc_poller_watch(&poller, fds[0], 7, TC_POLLER_READ, true), 0);
    TC_CHECK_EQ(look(7), 0);
    TC_CHECK_EQ(tc_sys_send(fds[1], "x", 1, 0), 1);
    TC_CHECK_EQ(look(7), TC_POLLER_READ);
    TC_CHECK_EQ(look(7), TC_POLLER_READ);
    TC_CHECK_EQ(tc_poller_watch(&poller, fds[0], 7, TC_POLLER_WRITE, false), 0);
    TC_CHECK_EQ(look(7), TC_POLLER_WRITE);
    TC_CHECK_EQ(tc_poller_watch(&poller, fds[0], 7, TC_POLLER_READ | TC_POLLER_WRITE, false), 0);
    TC_CHECK_EQ(look(7), TC_POLLER_READ | TC_POLLER_WRITE);
    tc_poller_remove(&poller, fds[0]);
    TC_CHECK_EQ(look(7), 0);
    tc_sys_close(fds[0]);
    tc_sys_close(fds[1]);
    tc_poller_close(&poller);
}

TC_TEST(test_poller_watch_with_a_wrong_guess_registers_all_the_same)
{
    int fds[2];

    TC_CHECK_EQ(tc_poller_open(&poller), 0);
    make_pair(fds);
    TC_CHECK_EQ(tc_poller_watch(&poller, fds[0], 7, TC_POLLER_WRITE, false), 0);
    TC_CHECK_EQ(look(7), TC_POLLER_WRITE);
    TC_CHECK_EQ(tc_poller_watch(&poller, fds[0], 9, TC_POLLER_WRITE, true), 0);
    TC_CHECK_EQ(look(9), TC_POLLER_WRITE);
    tc_sys_close(fds[0]);
    TC_CHECK_EQ(tc_poller_watch(&poller, fds[0], 9, TC_POLLER_WRITE, false), -EBADF);
    tc_sys_close(fds[1]);
    tc_poller_close(&poller);
}
