/* storm_c.c — the storms of storms.py against a server in this process, for the sanitizers.
 *
 *   storm_c STORM_PROGRAM [STORMS [CLIENTS]]
 *
 * After each storm the census is at its baseline again: soon, which is printed, and within ten
 * seconds on a machine that has other things to do.
 */
#include <spawn.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "support.h"

#define SETTLE_NS SECONDS(10)

static const char *const modes[] = {"reset", "half", "vanish", "kill", "mixed"};

/* What must be as before. */
struct census {
    uint64_t bytes;
    uint64_t fibers;
    uint64_t timers;
    uint64_t watched;
    unsigned descriptors;
    unsigned threads;
};

static struct census take_census(struct tc_runtime *runtime)
{
    struct tc_runtime_statistics now;

    tc_runtime_statistics(runtime, &now);
    return (struct census){
        .bytes = now.bytes_in_use - now.bytes_reserved, /* pools keep what they once had */
        .fibers = now.fibers,
        .timers = now.timers,
        .watched = now.descriptors,
        .descriptors = count_entries("/proc/self/fd"),
        .threads = count_entries("/proc/self/task"),
    };
}

static bool is_equal(const struct census *a, const struct census *b)
{
    return a->bytes == b->bytes && a->fibers == b->fibers && a->timers == b->timers &&
           a->watched == b->watched && a->descriptors == b->descriptors && a->threads == b->threads;
}

static void print_census(FILE *out, const struct census *census)
{
    fprintf(out, "bytes=%llu fibers=%llu timers=%llu watched=%llu descriptors=%u threads=%u",
            (unsigned long long)census->bytes, (unsigned long long)census->fibers,
            (unsigned long long)census->timers, (unsigned long long)census->watched,
            census->descriptors, census->threads);
}

/* Wait until the census is `baseline`; returns how long that took. */
static int64_t settle(struct tc_runtime *runtime, const struct census *baseline, const char *mode)
{
    int64_t begun = tc_clock_now_ns();

    for (;;) {
        struct census now = take_census(runtime);
        int64_t took = tc_clock_now_ns() - begun;

        if (is_equal(&now, baseline)) {
            return took;
        }
        if (took > SETTLE_NS) {
            print_census(stderr, &now);
            fputs(" after, before: ", stderr);
            print_census(stderr, baseline);
            fputc('\n', stderr);
            tc_runtime_dump(runtime, 2);
            fail("storm_c: a storm (%s) left something behind", mode);
        }
        pause_ms(1);
    }
}

static void run_storm(const char *program, uint16_t port, const char *mode, const char *clients,
                      int seed)
{
    char port_text[16];
    char seed_text[16];
    int status;
    pid_t pid;
    char *argv[] = {(char *)program, "--port",        port_text, "--mode",  (char *)mode,
                    "--clients",     (char *)clients, "--seed",  seed_text, NULL};
    posix_spawn_file_actions_t actions;

    snprintf(port_text, sizeof port_text, "%u", port);
    snprintf(seed_text, sizeof seed_text, "%d", seed);
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    CHECK(posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0) == 0);
    CHECK(posix_spawn(&pid, program, &actions, NULL, argv, (char *[]){NULL}) == 0);
    posix_spawn_file_actions_destroy(&actions);
    while (waitpid(pid, &status, 0) < 0) {
        CHECK(errno == EINTR);
    }
    if (status != 0) {
        fail("storm_c: the storm program (%s, seed %d) ended with status %d", mode, seed, status);
    }
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

int main(int argc, char **argv)
{
    int storms = argc > 2 ? atoi(argv[2]) : 5;
    const char *clients = argc > 3 ? argv[3] : "200";
    int64_t slowest = 0;

    if (argc < 2) {
        fputs("usage: storm_c STORM_PROGRAM [STORMS [CLIENTS]]\n", stderr);
        return 2;
    }
    limit_to(60 + (unsigned)storms * 2);
    raise_descriptor_limit();
    struct tc_runtime *runtime = start_runtime(2);
    struct tc_server_options options = {.idle_timeout_ns = SECONDS(60)};
    struct tc_server *server = start_echo(runtime, &options);
    struct census baseline = take_census(runtime);

    for (int i = 0; i < storms; i++) {
        const char *mode = modes[i % (int)TC_ARRAY_LEN(modes)];
        run_storm(argv[1], port_of(server), mode, clients, i + 1);
        int64_t took = settle(runtime, &baseline, mode);
        slowest = took > slowest ? took : slowest;
    }
    struct tc_server_statistics seen;
    tc_server_statistics(server, &seen);
    end_server(server);
    stop_runtime(runtime);
    printf(
        "ok   storm_c: %d storms of %s clients, %llu accepted, baseline again after at most %lld "
        "ms; ",
        storms, clients, (unsigned long long)seen.accepted, (long long)(slowest / 1000000));
    print_census(stdout, &baseline);
    putchar('\n');
    return 0;
}
