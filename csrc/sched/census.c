/* Statistics and census: everything that only looks. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"
#include "sched/runtime_internal.h"

void tc_runtime_statistics(struct tc_runtime *runtime, struct tc_runtime_statistics *out)
{
    struct tc_stack_stats stacks;

    memset(out, 0, sizeof *out);
    out->workers = runtime->worker_count;
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        struct tc_worker *worker = &runtime->workers[i];
        struct tc_worker_counters *counters = &worker->counters;
        out->workers_parked += tc_parker_core_is_parked(&worker->parker);
        /* acquire [fiber-count]: finished before spawned, so that the difference is never
         * negative */
        out->finished += tc_load_acquire(&counters->finished);
        /* relaxed, all of these: single-writer counters, summed at leisure */
        out->switches += tc_load_relaxed(&counters->switches);
        out->parks += tc_load_relaxed(&counters->parks);
        out->polls += tc_load_relaxed(&counters->polls);
        out->events += tc_load_relaxed(&counters->events);
        out->steals += tc_load_relaxed(&counters->steals);
        out->searches += tc_load_relaxed(&counters->searches);
        out->rescues += tc_load_relaxed(&counters->rescues);
        out->errors += tc_load_relaxed(&counters->errors);
        out->turns += tc_load_relaxed(&worker->turn);
        if (runtime->driver->statistics != NULL) {
            runtime->driver->statistics(worker, out);
        }
    }
    out->spawned = tc_load_relaxed(&runtime->spawned_outside); /* relaxed: as above */
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        /* relaxed: as above */
        out->spawned += tc_load_relaxed(&runtime->workers[i].counters.spawned);
    }
    out->fibers = out->spawned - out->finished;
    out->wakeups = tc_load_relaxed(&runtime->wakeups); /* relaxed: as above */
    tc_stack_pool_stats(&runtime->stacks, &stacks);
    out->stacks_in_use = stacks.stacks_in_use;
    out->stack_bytes_in_use = stacks.bytes_in_use;
    out->stack_bytes_cached = stacks.bytes_cached;
    out->bytes_in_use = tc_mem_bytes_in_use();
    out->bytes_reserved = tc_mem_bytes_reserved();
    out->retired = tc_ebr_backlog(&runtime->ebr);
    out->blocking_threads = tc_load_relaxed(&runtime->blocking.threads); /* relaxed: a count */
}

struct census_visit {
    void (*visit)(const struct tc_fiber_info *info, void *arg);
    void *arg;
};

static void visit_fiber(void *object, void *arg)
{
    struct tc_fiber *fiber = object;
    struct census_visit *census = arg;
    char name[TC_FIBER_NAME_BYTES];

    /* relaxed, all of these: a snapshot that may mix two moments of a fiber's life */
    struct tc_fiber_info info = {
        .id = tc_load_relaxed(&fiber->id),
        .site = tc_load_relaxed(&fiber->site),
        .state = tc_load_relaxed(&fiber->state),
        .reason = tc_load_relaxed(&fiber->reason),
        .object = tc_load_relaxed(&fiber->object),
        .since_ns = tc_load_relaxed(&fiber->since_ns),
        .name = name,
    };
    if (info.state == TC_FIBER_FREE || info.id == 0) {
        return;
    }
    tc__fiber_read_name(fiber, name);
    census->visit(&info, census->arg);
}

void tc_runtime_census(struct tc_runtime *runtime,
                       void (*visit)(const struct tc_fiber_info *info, void *arg), void *arg)
{
    struct census_visit census = {.visit = visit, .arg = arg};

    tc_slab_for_each(&runtime->fibers, visit_fiber, &census);
}

/* ---- dump ---------------------------------------------------------------------------------- */

static const char *const state_names[] = {
    [TC_FIBER_FREE] = "free",       [TC_FIBER_NEW] = "new",       [TC_FIBER_QUEUED] = "queued",
    [TC_FIBER_RUNNING] = "running", [TC_FIBER_PARKED] = "parked", [TC_FIBER_DEAD] = "dead",
};

struct dump {
    int fd;
    int64_t now_ns;
};

static void write_line(int fd, const char *line, int length)
{
    if (length > 0) {
        TC_IGNORE(tc_sys_write(fd, line, (size_t)length)); /* a lost line of a dump is no failure */
    }
}

static void dump_fiber(const struct tc_fiber_info *info, void *arg)
{
    const struct dump *dump = arg;
    char line[256];
    double age_ms = info->since_ns > 0 ? (double)(dump->now_ns - info->since_ns) / 1e6 : 0;
    int length = snprintf(line, sizeof line, "fiber %llu \"%s\" %s %s %p %.3f ms spawned at %s\n",
                          (unsigned long long)info->id, info->name, state_names[info->state],
                          tc_wait_reason_name(info->reason), info->object, age_ms,
                          info->site != NULL ? info->site : "?");
    write_line(dump->fd, line, length < (int)sizeof line ? length : (int)sizeof line - 1);
}

void tc_runtime_dump(struct tc_runtime *runtime, int fd)
{
    struct dump dump = {.fd = fd, .now_ns = tc_clock_now_ns()};
    struct tc_runtime_statistics s;
    char line[256];

    tc_runtime_statistics(runtime, &s);
    int length = snprintf(line, sizeof line,
                          "runtime: %u workers (%u parked), %llu fibers, %llu timers, "
                          "%llu descriptors, %llu stacks\n",
                          s.workers, s.workers_parked, (unsigned long long)s.fibers,
                          (unsigned long long)s.timers, (unsigned long long)s.descriptors,
                          (unsigned long long)s.stacks_in_use);
    write_line(fd, line, length);
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        struct tc_worker *worker = &runtime->workers[i];
        length = snprintf(line, sizeof line, "worker %u: turn %llu, queue %zu, next %s, %s\n", i,
                          (unsigned long long)tc_load_relaxed(&worker->turn), /* relaxed: a hint */
                          tc_deque_len(&worker->deque),
                          tc_load_relaxed(&worker->next) != NULL ? "full" : "empty", /* relaxed */
                          tc_parker_core_is_parked(&worker->parker) ? "parked" : "awake");
        write_line(fd, line, length);
    }
    tc_runtime_census(runtime, dump_fiber, &dump);
}

/* ---- panic --------------------------------------------------------------------------------- */

void tc__runtime_describe_panic(int fd)
{
    struct tc_worker *worker = tc_worker_current();
    char name[TC_FIBER_NAME_BYTES] = "";
    char line[128];
    uint64_t id = 0;

    if (worker == NULL) {
        return;
    }
    if (worker->current != NULL) {
        id = tc_load_relaxed(&worker->current->id); /* relaxed: our own thread's */
        tc__fiber_read_name(worker->current, name);
    }
    int length = worker->current != NULL
                     ? snprintf(line, sizeof line, "tinycoro: on worker %u, in fiber %llu \"%s\"\n",
                                worker->index, (unsigned long long)id, name)
                     : snprintf(line, sizeof line, "tinycoro: on worker %u, between two fibers\n",
                                worker->index);
    write_line(fd, line, length);
}
