#include "micro.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/io.h"

enum { RUNS_MAX = 101 };

struct session {
    struct micro *micro;
    double wall_ns[RUNS_MAX]; /* per operation */
    double cpu_ns[RUNS_MAX];
};

void micro_check(int result, const char *call)
{
    if (result != 0) {
        fprintf(stderr, "%s: %s\n", call, strerror(-result));
        exit(1);
    }
}

struct tc_fiber *micro_spawn(struct micro *micro, void (*entry)(void *), void *arg)
{
    struct tc_spawn_options options = {.name = micro->name, .stack_class = micro->stack_class};
    struct tc_fiber *fiber = NULL;

    micro_check(tc_fiber_spawn(micro->runtime, entry, arg, &options, &fiber), "tc_fiber_spawn");
    return fiber;
}

void micro_join(struct tc_fiber *fiber)
{
    micro_check(tc_fiber_join(fiber, TC_NEVER), "tc_fiber_join");
}

double micro_status_bytes(const char *format)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long kib = 0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, format, &kib) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return (double)kib * 1024;
}

static double seconds_of(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void run_once(void *arg)
{
    struct session *session = arg;

    session->micro->body(session->micro);
}

static void run_timed(void *arg)
{
    struct session *session = arg;
    struct micro *micro = session->micro;
    double scale = 1e9 / (double)micro->operations;

    micro->body(micro);
    for (uint32_t i = 0; i < micro->runs; i++) {
        double wall = seconds_of(CLOCK_MONOTONIC);
        double cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
        micro->body(micro);
        session->cpu_ns[i] = (seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu) * scale;
        session->wall_ns[i] = (seconds_of(CLOCK_MONOTONIC) - wall) * scale;
    }
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;

    return (a > b) - (a < b);
}

static bool parse_class(const char *text, enum tc_stack_class *out)
{
    static const char *const names[] = {"small", "default", "large"};

    for (uint32_t i = 0; i < TC_ARRAY_LEN(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum tc_stack_class)i;
            return true;
        }
    }
    return false;
}

static bool parse(int argc, char **argv, struct micro *micro)
{
    static const struct option options[] = {
        {"workers", required_argument, NULL, 'w'},
        {"runs", required_argument, NULL, 'r'},
        {"width", required_argument, NULL, 'n'},
        {"class", required_argument, NULL, 'c'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        uint32_t number = optarg != NULL ? (uint32_t)strtoul(optarg, NULL, 10) : 0;
        switch (option) {
        case 'w':
            micro->workers = number;
            break;
        case 'r':
            micro->runs = number;
            break;
        case 'n':
            micro->width = number;
            break;
        case 'c':
            if (!parse_class(optarg, &micro->stack_class)) {
                return false;
            }
            break;
        default:
            return false;
        }
    }
    return optind == argc && micro->runs > 0 && micro->runs <= RUNS_MAX && micro->workers > 0 &&
           micro->width <= MICRO_WIDTH_MAX;
}

static int run_session(int argc, char **argv, struct session *session, void (*entry)(void *))
{
    struct micro *micro = session->micro;
    micro->workers = 1;
    micro->runs = 7;
    micro->stack_class = TC_STACK_DEFAULT;
    if (!parse(argc, argv, micro)) {
        fprintf(stderr, "usage: %s [--workers N] [--runs N] [--width N] [--class C]\n", argv[0]);
        return 2;
    }
    struct tc_runtime_options options = {.workers = micro->workers, .driver = &tc_io_driver};
    micro_check(tc_runtime_new(&options, &micro->runtime), "tc_runtime_new");
    micro_check(tc_runtime_start(micro->runtime), "tc_runtime_start");
    micro_check(tc_runtime_run(micro->runtime, entry, session), "tc_runtime_run");
    micro_check(tc_runtime_stop(micro->runtime, TC_NEVER), "tc_runtime_stop");
    tc_runtime_free(micro->runtime);
    return 0;
}

int micro_once(int argc, char **argv, struct micro *micro)
{
    struct session session = {.micro = micro};

    return run_session(argc, argv, &session, run_once);
}

int micro_main(int argc, char **argv, struct micro *micro)
{
    static struct session session;

    session.micro = micro;
    int status = run_session(argc, argv, &session, run_timed);
    if (status != 0) {
        return status;
    }
    qsort(session.wall_ns, micro->runs, sizeof(double), compare_doubles);
    qsort(session.cpu_ns, micro->runs, sizeof(double), compare_doubles);
    printf("name=%s workers=%" PRIu32 " median=%.2f min=%.2f max=%.2f cpu=%.2f runs=%" PRIu32
           " unit=ns\n",
           micro->name, micro->workers, session.wall_ns[micro->runs / 2], session.wall_ns[0],
           session.wall_ns[micro->runs - 1], session.cpu_ns[micro->runs / 2], micro->runs);
    return 0;
}
