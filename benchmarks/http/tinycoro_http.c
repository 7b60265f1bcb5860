/* tinycoro_http.c — the HTTP server of the C core without Python: the thing to profile.
 *
 * usage: tinycoro_http PORT WORKERS FOLDER     SIGINT or SIGTERM drains and ends it
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/static.h"
#include "io/io.h"

static int fail(const char *what, int error)
{
    fprintf(stderr, "tinycoro_http: %s: %s\n", what, strerror(-error));
    return 3;
}

static int add_routes(struct tc_http_server *server, const char *folder)
{
    const struct tc_static_options files = {
        .recheck_ns = TC_STATIC_RECHECK_NS,
        .cache_bytes = 32 << 20,
    };
    const struct tc_http_response hello = {
        .status = 200,
        .content_type = "text/plain",
        .body = "Hello, world!",
        .body_len = 13,
    };
    int error = tc_http_server_respond(server, "/hello", &hello);

    return error != 0 ? error : tc_http_server_static(server, "/files", folder, &files, NULL);
}

int main(int argc, char **argv)
{
    struct tc_runtime_options runtime_options = {.driver = &tc_io_driver};
    struct tc_http_options options = {.net.drain_timeout_ns = TC_NS_PER_SEC};
    struct tc_runtime *runtime;
    struct tc_http_server *server;
    sigset_t ends;
    int number;

    if (argc != 4) {
        fprintf(stderr, "usage: tinycoro_http PORT WORKERS FOLDER\n");
        return 2;
    }
    options.net.port = (uint16_t)atoi(argv[1]);
    runtime_options.workers = (uint32_t)atoi(argv[2]);
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
    error = tc_http_server_new(&options, &server);
    if (error != 0) {
        return fail("server", error);
    }
    error = add_routes(server, argv[3]);
    if (error != 0) {
        return fail("routes", error);
    }
    error = tc_http_server_start(server, runtime);
    if (error != 0) {
        return fail("listen", error);
    }
    sigwait(&ends, &number);
    tc_server_close(tc_http_server_net(server));
    error = tc_server_wait(tc_http_server_net(server), TC_NEVER);
    tc_http_server_free(server);
    if (error == 0) {
        error = tc_runtime_stop(runtime, TC_NEVER);
    }
    if (error != 0) {
        return fail("stop", error);
    }
    tc_runtime_free(runtime);
    return 0;
}
