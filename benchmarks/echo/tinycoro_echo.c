/* tinycoro_echo.c — the echo server of the C core without Python: the thing to profile.
 *
 * usage: tinycoro_echo PORT [WORKERS]     SIGINT or SIGTERM drains and ends it
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/io.h"
#include "net/echo.h"
#include "net/server.h"

static int fail(const char *what, int error)
{
    fprintf(stderr, "tinycoro_echo: %s: %s\n", what, strerror(-error));
    return 3;
}

int main(int argc, char **argv)
{
    struct tc_runtime_options runtime_options = {.driver = &tc_io_driver, .workers = 1};
    struct tc_server_options server_options = {.drain_timeout_ns = TC_NS_PER_SEC};
    struct tc_runtime *runtime;
    struct tc_server *server;
    sigset_t ends;
    int number;

    if (argc < 2) {
        fprintf(stderr, "usage: tinycoro_echo PORT [WORKERS]\n");
        return 2;
    }
    server_options.port = (uint16_t)atoi(argv[1]);
    if (argc > 2) {
        runtime_options.workers = (uint32_t)atoi(argv[2]);
    }
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends, NULL);

    int error = tc_runtime_new(&runtime_options, &runtime);
    if (error != 0) {
        return fail("runtime", error);
    }
    error = tc_runtime_start(runtime);
    if (error != 0) {
        return fail("workers", error);
    }
    error = tc_server_start(runtime, &tc_echo_protocol, &server_options, &server);
    if (error != 0) {
        return fail("listen", error);
    }
    sigwait(&ends, &number);
    tc_server_close(server);
    error = tc_server_wait(server, TC_NEVER);
    tc_server_free(server);
    if (error == 0) {
        error = tc_runtime_stop(runtime, TC_NEVER);
    }
    if (error != 0) {
        return fail("stop", error);
    }
    tc_runtime_free(runtime);
    return 0;
}
