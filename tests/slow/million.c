/* million.c — what a parked fiber costs, a million of them, and what is said when one overflows.
 *
 *   million [FIBERS [OVERFLOW_FIBERS]]         default: 20,000 and 1,000
 *   million --overflow CLASS FIBERS            what the first form runs in child processes
 *
 * At most 4,400 bytes of RSS and 200 bytes of page tables each (from 100,000 fibers on, where the
 * fixed costs vanish), all resumed. Then, for each stack class, among so many other parked fibers,
 * one recurses without end: the process must die of SIGSEGV after naming the fiber and its stack.
 */
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "parked.h"
#include "support.h"

enum { RSS_LIMIT = 4400, TABLES_LIMIT = 200, CHECKED_FROM = 100000 };

static const char *const class_names[] = {"small", "default", "large"};
static const unsigned class_kib[] = {16, 64, 256};

/* ---- memory ------------------------------------------------------------------------------- */

static void measure(unsigned count, double *rss, double *tables)
{
    struct tc_runtime *runtime = start_runtime(2);

    parked_touch(count);
    *rss = status_bytes("VmRSS");
    *tables = status_bytes("VmPTE");
    (void)parked_start(runtime, count, TC_STACK_DEFAULT);
    *rss = (status_bytes("VmRSS") - *rss) / count;
    *tables = (status_bytes("VmPTE") - *tables) / count;
    if (count >= CHECKED_FROM && !IS_INSTRUMENTED && (*rss > RSS_LIMIT || *tables > TABLES_LIMIT)) {
        fail("million: %.0f B of RSS and %.0f B of page tables each; limits %d and %d", *rss,
             *tables, RSS_LIMIT, TABLES_LIMIT);
    }
    CHECK(parked_end(count) == count);
    stop_runtime(runtime);
    CHECK(tc_mem_bytes_in_use() == 0 || tc_mem_bytes_in_use() == tc_mem_bytes_reserved());
}

/* ---- overflow ----------------------------------------------------------------------------- */

static void overflow(const char *class_name, unsigned count)
{
    struct rlimit no_core = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &no_core);
    for (unsigned i = 0; i < TC_ARRAY_LEN(class_names); i++) {
        if (strcmp(class_name, class_names[i]) == 0) {
            uint64_t id = parked_start(start_runtime(2), count, (enum tc_stack_class)i);
            fprintf(stderr, "id %llu\n", (unsigned long long)id);
            parked_overflow_last(count);
        }
    }
    fail("million: no class called %s", class_name);
}

/* Run ourselves with --overflow and look at what was said and how it died. */
static void check_overflow(const char *program, unsigned class, unsigned count)
{
    char command[4096];
    char said[4096] = "";
    char expected[200];
    unsigned long long id;

    snprintf(command, sizeof command, "'%s' --overflow %s %u 2>&1", program, class_names[class],
             count);
    FILE *pipe = popen(command, "re");
    CHECK(pipe != NULL);
    size_t len = fread(said, 1, sizeof said - 1, pipe);
    said[len] = '\0';
    int status = pclose(pipe);
    /* The shell may report the signal in its own way. */
    bool died =
        WIFSIGNALED(status) ? WTERMSIG(status) == SIGSEGV : WEXITSTATUS(status) == 128 + SIGSEGV;
    if (!died || sscanf(said, "id %llu", &id) != 1) {
        fail("million: overflow of class %s: status %#x, said: %s", class_names[class],
             (unsigned)status, said);
    }
    snprintf(expected, sizeof expected,
             "tinycoro: fiber %llu \"deep\" overflowed its %u KiB stack\n", id, class_kib[class]);
    if (strstr(said, expected) == NULL) {
        fail("million: expected: %ssaid: %s", expected, said);
    }
}

int main(int argc, char **argv)
{
    double rss;
    double tables;

    limit_to(240);
    if (argc == 4 && strcmp(argv[1], "--overflow") == 0) {
        overflow(argv[2], (unsigned)atoi(argv[3]));
    }
    unsigned count = argc > 1 ? (unsigned)atoi(argv[1]) : IS_INSTRUMENTED ? 1000 : 20000;
    unsigned others = argc > 2 ? (unsigned)atoi(argv[2]) : 1000;
    measure(count, &rss, &tables);
    /* The sanitizers' own handlers come first and say it in their words. */
    unsigned classes = IS_INSTRUMENTED ? 0 : TC_STACK_CLASS_COUNT;
    for (unsigned i = 0; i < classes; i++) {
        check_overflow(argv[0], i, others);
    }
    printf(
        "ok   million: %u parked fibers, %.0f B of RSS and %.0f B of page tables each, all resumed; "
        "overflow among %u reported for %u classes\n",
        count, rss, tables, others, classes);
    return 0;
}
