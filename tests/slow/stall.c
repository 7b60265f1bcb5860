/* stall.c — a fiber that computes without giving way holds up nothing but itself.
 *
 *   stall STORM_PROGRAM [STALLS]
 *
 * All connections of a server belong to worker 0. A fiber on worker 0 readies another fiber, which
 * therefore lies in that worker's `next` slot, and spins for 500 ms. Clients in another process
 * must not notice: every request on the 100 connections is answered, and the other fiber runs,
 * within 5 ms, on worker 1. All runs with real-time priority, so that the figures do not contain
 * other programs of the machine, and less the time in which the machine itself was not there
 * (pace.h); where such a priority is not allowed, the limit is one that only a wake-up that is lost
 * for the whole stall exceeds. The median over the stalls counts; the worst is printed too, and the
 * worst as the clock saw it.
 */
#include <sched.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/wait.h>

#include "pace.h"
#include "sched/worker.h"
#include "support.h"

#define SPIN_NS SECONDS(0.5)
#define LIMIT_MS 5.0
#define RELAXED_LIMIT_MS 400.0

enum {
    STALLS_MAX = 50,
    OUR_PRIORITY = 1,
    PACE_PRIORITY = 2,
};

/* One stall: the fiber that spins, and the one that it readies. */
static struct {
    struct tc_runtime *runtime;
    struct tc_message message;     /* to worker 0: spawn the fiber that spins                   */
    struct tc_waiter *waiter;      /* of the fiber that is readied; published by `is_parked`    */
    uint64_t seq;
    int64_t readied_ns;
    _Atomic bool is_parked;
    _Atomic int64_t woken_ns;      /* 0 until it ran again                                      */
    _Atomic bool is_over;
} stall;

/* ---- the fibers --------------------------------------------------------------------------- */

static bool publish(struct tc_waiter *waiter, uint64_t seq, void *arg)
{
    (void)arg;
    stall.waiter = waiter;
    stall.seq = seq;
    tc_store_seq_cst(&stall.is_parked, true);
    return true;
}

static void be_readied(void *arg)
{
    (void)arg;
    struct tc_park park = {.reason = TC_WAIT_TEST, .deadline_ns = TC_NEVER, .commit = publish};

    CHECK(tc_fiber_park(&park) == 0);
    tc_store_seq_cst(&stall.woken_ns, tc_clock_now_ns());
}

static void spin(void *arg)
{
    struct tc_worker *home = arg;

    if (tc_worker_current() != home) { /* the other worker has stolen it */
        tc_worker_post(home, &stall.message);
        return;
    }
    stall.readied_ns = tc_clock_now_ns();
    CHECK(tc_waiter_claim(stall.waiter, stall.seq));
    tc_ready(stall.waiter, 0);
    while (tc_clock_now_ns() - stall.readied_ns < SPIN_NS) {
    }
    tc_store_seq_cst(&stall.is_over, true);
}

static void spawn_spinning(struct tc_worker *worker, struct tc_message *message)
{
    struct tc_spawn_options options = {.name = "spins", .detached = true};

    (void)message;
    CHECK(tc_fiber_spawn(stall.runtime, spin, worker, &options, NULL) == 0);
}

/* ---- the clients -------------------------------------------------------------------------- */

/* Start 100 clients for 0.9 s; returns the end of the pipe with what they print. */
static pid_t start_clients(const char *program, uint16_t port, int pace, int *out)
{
    char port_text[16];
    char pace_text[16];
    int ends[2];
    pid_t pid;
    /* clang-format off */
    char *argv[] = {(char *)program, "--port", port_text, "--mode", "steady", "--clients", "100",
                    "--gangs", "1", "--seconds", "0.9", "--interval", "0.01", "--pace", pace_text,
                    NULL};
    /* clang-format on */
    posix_spawn_file_actions_t actions;

    snprintf(port_text, sizeof port_text, "%u", port);
    snprintf(pace_text, sizeof pace_text, "%d", pace);
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    CHECK(posix_spawn_file_actions_adddup2(&actions, ends[1], 1) == 0);
    CHECK(posix_spawn(&pid, program, &actions, NULL, argv, (char *[]){NULL}) == 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *out = ends[0];
    return pid;
}

static double figure_in(const char *line, const char *name)
{
    const char *at = strstr(line, name);

    CHECK(at != NULL);
    return atof(at + strlen(name));
}

/* Wait for them; the longest time that a request took, in ms: ours, and by the clock. */
static void end_clients(pid_t pid, int out, double *own_ms, double *clock_ms)
{
    FILE *file = fdopen(out, "r");
    char line[300];
    int status;

    CHECK(file != NULL && fgets(line, sizeof line, file) != NULL);
    CHECK(waitpid(pid, &status, 0) == pid);
    if (status != 0) {
        fail("stall: the clients: %s", line);
    }
    fclose(file);
    *own_ms = figure_in(line, " own_ms=");
    *clock_ms = figure_in(line, " worst_ms=");
}

static void wait_for_traffic(struct tc_server *server)
{
    struct tc_server_statistics seen;
    int64_t limit = tc_deadline_after_ns(SECONDS(10));

    do {
        CHECK(tc_clock_now_ns() < limit);
        pause_ms(1);
        tc_server_statistics(server, &seen);
    } while (seen.connections != 100 || seen.requests < 300);
}

/* ---- one stall ---------------------------------------------------------------------------- */

struct outcome {
    double fiber_ms;   /* until the readied fiber ran, less the gaps of the machine             */
    double request_ms; /* the longest request, likewise                                         */
    double clock_ms;   /* the longest of both by the clock                                      */
};

static struct outcome run_stall(const char *program, bool is_paced)
{
    struct tc_spawn_options options = {.name = "readied"};
    struct tc_server_options server_options = {.workers = 1};
    struct tc_server *server = start_echo(stall.runtime, &server_options);
    struct outcome outcome;
    struct tc_fiber *readied;
    struct pace pace = {0};
    int out;
    pid_t clients = start_clients(program, port_of(server), is_paced ? PACE_PRIORITY : 0, &out);

    CHECK(!is_paced || pace_start(&pace, PACE_PRIORITY));
    tc_store_seq_cst(&stall.is_parked, false);
    tc_store_seq_cst(&stall.is_over, false);
    tc_store_seq_cst(&stall.woken_ns, 0);
    wait_for_traffic(server);
    CHECK(tc_fiber_spawn(stall.runtime, be_readied, NULL, &options, &readied) == 0);
    while (!tc_load_seq_cst(&stall.is_parked)) {
        pause_ms(1);
    }
    tc_worker_post(tc_runtime_worker(stall.runtime, 0), &stall.message);
    CHECK(tc_fiber_join(readied, tc_deadline_after_ns(SECONDS(10))) == 0);
    int64_t woken_ns = tc_load_seq_cst(&stall.woken_ns);
    end_clients(clients, out, &outcome.request_ms, &outcome.clock_ms);
    int64_t limit = tc_deadline_after_ns(SECONDS(10));
    while (!tc_load_seq_cst(&stall.is_over)) { /* it may have begun late */
        CHECK(tc_clock_now_ns() < limit);
        pause_ms(1);
    }
    pace_stop(&pace);
    double took_ms = (double)(woken_ns - stall.readied_ns) / 1e6;
    outcome.fiber_ms =
        took_ms - (double)pace_late_ns(&pace, (uint64_t)stall.readied_ns, (uint64_t)woken_ns) / 1e6;
    outcome.clock_ms = took_ms > outcome.clock_ms ? took_ms : outcome.clock_ms;
    free(pace.logs);
    end_server(server);
    return outcome;
}

/* Real-time priority for us and all threads and programs that we start, on processors that are
 * watched. False: not allowed. */
static bool be_alone(void)
{
    cpu_set_t allowed;
    int kept = 0;

    CHECK(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && kept++ >= PACE_CPUS_MAX) {
            CPU_CLR(cpu, &allowed);
        }
    }
    CHECK(sched_setaffinity(0, sizeof allowed, &allowed) == 0);
    return sched_setscheduler(0, SCHED_RR, &(struct sched_param){.sched_priority = OUR_PRIORITY}) ==
           0;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;

    return (left > right) - (left < right);
}

int main(int argc, char **argv)
{
    double fibers[STALLS_MAX];
    double requests[STALLS_MAX];
    double clocks[STALLS_MAX];
    int stalls = argc > 2 ? atoi(argv[2]) : 5;

    if (argc < 2 || stalls < 1 || stalls > STALLS_MAX) {
        fputs("usage: stall STORM_PROGRAM [STALLS (1 to 50)]\n", stderr);
        return 2;
    }
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
        puts("skip stall: one processor cannot run two workers at once");
        return 0;
    }
    limit_to(30 + (unsigned)stalls * 3);
    bool is_alone = be_alone() && !IS_INSTRUMENTED;
    double limit = is_alone ? LIMIT_MS : RELAXED_LIMIT_MS;
    stall.message.fn = spawn_spinning;
    stall.runtime = start_runtime(2);
    for (int i = 0; i < stalls; i++) {
        struct outcome outcome = run_stall(argv[1], is_alone);
        fibers[i] = outcome.fiber_ms;
        requests[i] = outcome.request_ms;
        clocks[i] = outcome.clock_ms;
    }
    struct tc_runtime_statistics seen;
    tc_runtime_statistics(stall.runtime, &seen);
    stop_runtime(stall.runtime);
    CHECK(seen.rescues > 0);
    qsort(fibers, (size_t)stalls, sizeof fibers[0], compare);
    qsort(requests, (size_t)stalls, sizeof requests[0], compare);
    qsort(clocks, (size_t)stalls, sizeof clocks[0], compare);
    bool passed = fibers[stalls / 2] <= limit && requests[stalls / 2] <= limit;
    printf(
        "%s stall: %d stalls of 500 ms%s: the readied fiber ran after %.2f ms (worst %.2f), requests "
        "on 100 connections took at most %.2f ms (worst %.2f; by the clock %.2f), limit %.0f; %llu "
        "rescues\n",
        passed ? "ok  " : "FAIL", stalls, is_alone ? "" : " (not paced)", fibers[stalls / 2],
        fibers[stalls - 1], requests[stalls / 2], requests[stalls - 1], clocks[stalls - 1], limit,
        (unsigned long long)seen.rescues);
    return passed ? 0 : 1;
}
