/* pace.h — the machine's own lateness, so that it is not taken for ours.
 *
 * A virtual processor stands still while its host runs something else, for 10 ms and more, and
 * nothing in the guest can prevent it. A limit of a few milliseconds on a single event then fails
 * for a reason that is not in the program. The control: one thread on each processor, of a higher
 * priority than everything the test runs, that does nothing but sleep for half a millisecond. When
 * it wakes late, its processor was not there for anybody, and the time from when it should have
 * woken until it did is written down as a gap. What a request took less the gaps inside it is what
 * the program is responsible for; a limit holds for that, unchanged.
 *
 * Needs the right to real-time priorities: without it the threads would be late because of the
 * test's own load, and nothing is measured.
 */
#ifndef TC_TESTS_SLOW_PACE_H
#define TC_TESTS_SLOW_PACE_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

enum {
    PACE_CPUS_MAX = 4,    /* processors that are watched; keep the test on these                */
    PACE_GAPS_MAX = 4096, /* per processor; what comes after is not excused                     */
    PACE_SLEEP_NS = 500000,
    PACE_LATE_NS = 250000, /* woken later than this: a gap                                      */
};

struct pace_gap {
    uint64_t from_ns; /* CLOCK_MONOTONIC                                                        */
    uint64_t to_ns;
};

/* One processor. Its thread writes, the others read the first `count` gaps. */
struct pace_log {
    pthread_t thread;
    int cpu;
    _Atomic bool *stop;
    _Atomic unsigned count;
    struct pace_gap gaps[PACE_GAPS_MAX];
};

struct pace {
    struct pace_log *logs; /* NULL: nothing is measured                                         */
    unsigned count;
    _Atomic bool stop;
};

static inline uint64_t pace_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline void *pace_watch(void *arg)
{
    struct pace_log *log = arg;

    while (!atomic_load(log->stop)) {
        uint64_t due = pace_now_ns() + PACE_SLEEP_NS;
        struct timespec until = {.tv_sec = (time_t)(due / 1000000000)};

        until.tv_nsec = (long)(due % 1000000000);
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0) {
        }
        uint64_t now = pace_now_ns();
        unsigned count = atomic_load(&log->count);
        if (now > due + PACE_LATE_NS && count < PACE_GAPS_MAX) {
            log->gaps[count] = (struct pace_gap){.from_ns = due, .to_ns = now};
            atomic_store(&log->count, count + 1);
        }
    }
    return NULL;
}

/* Start a thread of the given real-time priority on each processor that this process may use. False
 * if that is not allowed: pace_late_ns() then returns 0. */
static inline bool pace_start(struct pace *pace, int priority)
{
    struct sched_param param = {.sched_priority = priority};
    pthread_attr_t attr;
    cpu_set_t allowed;
    cpu_set_t one;

    *pace = (struct pace){.logs = calloc(PACE_CPUS_MAX, sizeof *pace->logs)};
    if (pace->logs == NULL || sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        return false;
    }
    pthread_attr_init(&attr);
    pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
    pthread_attr_setschedparam(&attr, &param);
    for (int cpu = 0; cpu < CPU_SETSIZE && pace->count < PACE_CPUS_MAX; cpu++) {
        struct pace_log *log = &pace->logs[pace->count];
        if (!CPU_ISSET(cpu, &allowed)) {
            continue;
        }
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        pthread_attr_setaffinity_np(&attr, sizeof one, &one);
        log->cpu = cpu;
        log->stop = &pace->stop;
        if (pthread_create(&log->thread, &attr, pace_watch, log) != 0) {
            break;
        }
        pace->count++;
    }
    pthread_attr_destroy(&attr);
    return pace->count > 0;
}

/* End the threads; what they wrote down stays. */
static inline void pace_stop(struct pace *pace)
{
    atomic_store(&pace->stop, true);
    for (unsigned i = 0; i < pace->count; i++) {
        pthread_join(pace->logs[i].thread, NULL);
    }
}

static inline int pace_compare(const void *a, const void *b)
{
    const struct pace_gap *left = a;
    const struct pace_gap *right = b;

    return (left->from_ns > right->from_ns) - (left->from_ns < right->from_ns);
}

/* How much of the time from `from_ns` to `to_ns` some processor was not there. After
 * pace_stop(). */
static inline uint64_t pace_late_ns(const struct pace *pace, uint64_t from_ns, uint64_t to_ns)
{
    static struct pace_gap inside[PACE_CPUS_MAX * PACE_GAPS_MAX];
    uint64_t late = 0;
    size_t count = 0;

    for (unsigned i = 0; i < pace->count; i++) {
        const struct pace_log *log = &pace->logs[i];
        unsigned gaps = atomic_load(&log->count);
        for (unsigned k = 0; k < gaps; k++) {
            if (log->gaps[k].to_ns > from_ns && log->gaps[k].from_ns < to_ns) {
                inside[count++] = log->gaps[k];
            }
        }
    }
    qsort(inside, count, sizeof inside[0], pace_compare);
    for (size_t i = 0; i < count; i++) { /* a moment in which two processors are away counts once */
        uint64_t begin = inside[i].from_ns > from_ns ? inside[i].from_ns : from_ns;
        uint64_t end = inside[i].to_ns < to_ns ? inside[i].to_ns : to_ns;
        if (end > begin) {
            late += end - begin;
            from_ns = end;
        }
    }
    return late;
}

#endif
