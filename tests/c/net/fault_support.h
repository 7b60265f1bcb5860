/* tests/c/net/fault_support.h — what the sweeps over failing calls share: the fault, what must be
 * as before once it is over, and a life that it strikes. */
#ifndef TC_TESTS_C_NET_FAULT_SUPPORT_H
#define TC_TESTS_C_NET_FAULT_SUPPORT_H

#include <sys/wait.h>

#include "fault_table.h"
#include "support.h"

/* ---- what is failing ---------------------------------------------------------------------- */

__attribute__((unused)) static bool is_long(void)
{
    const char *form = getenv("TC_SLOW");

    return form != NULL && strcmp(form, "long") == 0;
}

struct fault {
    enum tc_sys_call call;
    int error;
    uint64_t nth;
    uint64_t times;
};

/* For the messages. */
__attribute__((unused)) static const char *describe(const struct fault *fault)
{
    static char text[120];
    const char *how = fault->times == UINT64_MAX ? "and all after it" : "";

    if (fault->times > 1 && fault->times < 1000) {
        how = "and some after it";
    }
    snprintf(text, sizeof text, "%s call %llu %s failing with %s", tc_fault_name((int)fault->call),
             (unsigned long long)fault->nth, how, strerrorname_np(fault->error));
    return text;
}

__attribute__((unused)) static void arm(const struct fault *fault)
{
    tc_fault_arm(fault->call, fault->nth, fault->error, fault->times);
}

/* ---- what must stay the same -------------------------------------------------------------- */

struct holdings {
    uint64_t bytes; /* beyond the pools, which keep what they once had                          */
    int descriptors;
    int threads;
};

/* 0 under ThreadSanitizer, which starts a thread of its own beside our first. */
__attribute__((unused)) static int count_threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    int count = 0;

    TC_CHECK(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    closedir(dir);
    return TC_TSAN ? 0 : count;
}

__attribute__((unused)) static struct holdings take_holdings(void)
{
    return (struct holdings){
        .bytes = tc_mem_bytes_in_use() - tc_mem_bytes_reserved(),
        .descriptors = count_descriptors(),
        .threads = count_threads(),
    };
}

__attribute__((unused)) static void fail_holdings(const struct holdings *now,
                                                  const struct holdings *expected,
                                                  const struct fault *fault)
{
    tc_test_failf("%s: left behind: bytes %llu, before %llu; descriptors %d, %d; threads %d, %d",
                  describe(fault), (unsigned long long)now->bytes,
                  (unsigned long long)expected->bytes, now->descriptors, expected->descriptors,
                  now->threads, expected->threads);
}

/* Wait until nothing but `expected` is held. */
__attribute__((unused)) static void check_holdings(const struct holdings *expected,
                                                   const struct fault *fault)
{
    int64_t limit = tc_deadline_after_ns(SECONDS(LONG_SECONDS));
    struct holdings now = take_holdings();

    while (memcmp(&now, expected, sizeof now) != 0 && tc_clock_now_ns() < limit) {
        pause_ms(1);
        now = take_holdings();
    }
    if (memcmp(&now, expected, sizeof now) != 0) {
        fail_holdings(&now, expected, fault);
    }
}

/* A server to which nothing comes must rest, however its calls fail. What came before may take a
 * while, and a machine that was away counts its time as ours: only a server that never rests
 * spins. */
__attribute__((unused)) static void check_rests(const struct fault *fault)
{
    int64_t limit = tc_deadline_after_ns(SECONDS(LONG_SECONDS));

    for (;;) {
        double cpu = cpu_seconds();
        pause_ms(40);
        cpu = cpu_seconds() - cpu;
        if (cpu <= 0.02) {
            return;
        }
        if (tc_clock_now_ns() > limit) {
            tc_test_failf("%s: %.0f ms of CPU in 40 ms without traffic", describe(fault),
                          cpu * 1e3);
        }
    }
}

/* Wait until no client's connection is left. */
__attribute__((unused)) static void await_rest(struct tc_runtime *runtime, struct tc_server *server,
                                               const struct fault *fault)
{
    int64_t limit = tc_deadline_after_ns(SECONDS(LONG_SECONDS));
    struct tc_runtime_statistics seen;

    do {
        tc_runtime_statistics(runtime, &seen);
        if (tc_clock_now_ns() > limit) {
            tc_test_failf("%s: still %llu connections, %llu fibers, %llu timers, %llu slots",
                          describe(fault), (unsigned long long)statistics(server).connections,
                          (unsigned long long)seen.fibers, (unsigned long long)seen.timers,
                          (unsigned long long)seen.descriptors);
        }
        pause_ms(0);
    } while (statistics(server).connections + seen.fibers + seen.timers > 0 ||
             seen.descriptors != 1);
}

/* ---- a life ------------------------------------------------------------------------------- */

/* What somebody does with a server in a process that has never had one, with the fault armed by
 * it. */
struct life {
    void (*live)(const struct fault *fault);
    const struct fault *fault;
};

enum { NEVER_STRUCK = 2 }; /* the exit status of a life without such a call */

static void live_in_child(void *arg)
{
    const struct life *life = arg;
    struct holdings before = take_holdings();

    alarm(4 * LONG_SECONDS);
    life->live(life->fault);
    uint64_t hits = tc_fault_hits(life->fault->call);
    tc_fault_disarm_all();
    check_holdings(&before, life->fault);
    _exit(hits == 0 ? NEVER_STRUCK : 0);
}

/* Live in a child, which must end as it should and leave nothing. Returns false if the fault found
 * no call to strike. */
__attribute__((unused)) static bool strikes_a_life(void (*live)(const struct fault *fault),
                                                   const struct fault *fault)
{
    static char output[8192];
    struct life life = {live, fault};
    int status = tc_test_run_in_child(live_in_child, &life, output, sizeof output);

    if (WIFEXITED(status) && WEXITSTATUS(status) == NEVER_STRUCK) {
        return false;
    }
    if (status != 0) {
        tc_test_failf("%s: wait status %#x, said: %s", describe(fault), (unsigned)status, output);
    }
    return true;
}

#endif
