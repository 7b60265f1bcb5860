/* support.h — what the C programs of this folder share: fatal checks, waiting, looking at the
 * process.
 *
 * They are programs of their own, without the harness: each prints one line with what it saw, exits
 * with 0 or, after saying what was wrong, 1, and kills itself when it takes too long.
 */
#ifndef TC_TESTS_SLOW_SUPPORT_H
#define TC_TESTS_SLOW_SUPPORT_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tinycoro.h"

#define SECONDS(n) ((int64_t)((n) * 1e9))

/* Several times slower and with memory of their own: figures mean nothing, reports everything. */
#define IS_INSTRUMENTED (TC_ASAN || TC_TSAN)

__attribute__((unused, noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
    va_list args;

    fflush(stdout);
    fputs("FAIL ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    _exit(1);
}

#define CHECK(condition) ((condition) ? (void)0 : fail("%s:%d: %s", __FILE__, __LINE__, #condition))

/* End a program that would hang. */
__attribute__((unused)) static void limit_to(unsigned seconds)
{
    alarm(IS_INSTRUMENTED ? seconds * 4 : seconds);
}

__attribute__((unused)) static void pause_ms(long ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&pause, NULL);
}

__attribute__((unused)) static struct tc_runtime *start_runtime(uint32_t workers)
{
    struct tc_runtime_options options = {.workers = workers, .driver = &tc_io_driver};
    struct tc_runtime *runtime;

    CHECK(tc_runtime_new(&options, &runtime) == 0);
    CHECK(tc_runtime_start(runtime) == 0);
    return runtime;
}

__attribute__((unused)) static void stop_runtime(struct tc_runtime *runtime)
{
    CHECK(tc_runtime_stop(runtime, tc_deadline_after_ns(SECONDS(20))) == 0);
    tc_runtime_free(runtime);
}

__attribute__((unused)) static struct tc_server *start_echo(struct tc_runtime *runtime,
                                                            const struct tc_server_options *options)
{
    struct tc_server *server;

    CHECK(tc_server_start(runtime, &tc_echo_protocol, options, &server) == 0);
    return server;
}

__attribute__((unused)) static void end_server(struct tc_server *server)
{
    tc_server_abort(server);
    CHECK(tc_server_wait(server, tc_deadline_after_ns(SECONDS(20))) == 0);
    tc_server_free(server);
}

__attribute__((unused)) static uint16_t port_of(struct tc_server *server)
{
    struct tc_addr addr;

    tc_server_address(server, &addr);
    return tc_addr_port(&addr);
}

/* Entries of a folder of /proc/self, "fd" or "task". */
__attribute__((unused)) static unsigned count_entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned count = 0;

    CHECK(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    closedir(dir);
    return count;
}

/* A field of /proc/self/status that is given in kB, in bytes. */
__attribute__((unused)) static double status_bytes(const char *field)
{
    FILE *file = fopen("/proc/self/status", "re");
    unsigned long kib = 0;
    char line[200];
    size_t len = strlen(field);

    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, field, len) == 0 && line[len] == ':') {
            kib = strtoul(line + len + 1, NULL, 10);
        }
    }
    fclose(file);
    return (double)kib * 1024;
}

#endif
