/* An HTTP server for the lanes, without Python: `http_server [NAME=VALUE…]`.
 *
 *   header_timeout_ms=N  idle_timeout_ms=N  send_timeout_ms=N  max_connections=N  workers=N (2)
 *   listen_fd=N
 *   files=FOLDER         serves it at /files, looking at each file each time
 *   uploads=FOLDER       takes uploads at /files, instead; for them:
 *   overwrite=1  without_tmpfile=1 (as if the kernel had no O_TMPFILE)  file_bytes=N (RLIMIT_FSIZE)
 *
 * It answers / with a line and /large with 256 KiB. It prints its port, then answers each line on
 * standard input with a line of JSON: `statistics`. `stop`, or the end of the input, ends it at
 * once, `drain` as soon as its connections allow.
 */
#include <inttypes.h>
#include <sys/resource.h>

#include "base/fault.h"
#include "http/server.h"
#include "http/static.h"
#include "http/upload_route.h"
#include "support.h"

enum { LARGE_BYTES = 256 * 1024 };

struct arguments {
    int64_t header_timeout_ms;
    int64_t idle_timeout_ms;
    int64_t send_timeout_ms;
    int64_t max_connections;
    int64_t workers;
    int64_t listen_fd;
    int64_t without_tmpfile;
    int64_t overwrite;
    int64_t file_bytes;
    const char *files;
    const char *uploads;
};

static bool read_number(const char *argument, const char *name, int64_t *out)
{
    size_t len = strlen(name);

    if (strncmp(argument, name, len) != 0 || argument[len] != '=') {
        return false;
    }
    *out = strtoll(argument + len + 1, NULL, 10);
    return true;
}

static void read_arguments(int argc, char **argv, struct arguments *out)
{
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "uploads=", 8) == 0) {
            out->uploads = argv[i] + 8;
            continue;
        }
        if (strncmp(argv[i], "files=", 6) == 0) {
            out->files = argv[i] + 6;
            continue;
        }
        CHECK(read_number(argv[i], "header_timeout_ms", &out->header_timeout_ms) ||
              read_number(argv[i], "idle_timeout_ms", &out->idle_timeout_ms) ||
              read_number(argv[i], "send_timeout_ms", &out->send_timeout_ms) ||
              read_number(argv[i], "max_connections", &out->max_connections) ||
              read_number(argv[i], "listen_fd", &out->listen_fd) ||
              read_number(argv[i], "workers", &out->workers) ||
              read_number(argv[i], "without_tmpfile", &out->without_tmpfile) ||
              read_number(argv[i], "overwrite", &out->overwrite) ||
              read_number(argv[i], "file_bytes", &out->file_bytes));
    }
}

static void add_answers(struct tc_http_server *server)
{
    static char large[LARGE_BYTES];
    const struct tc_http_response root = {
        .status = 200, .content_type = "text/plain", .body = "ok\n", .body_len = 3};
    const struct tc_http_response large_one = {.status = 200,
                                               .content_type = "application/octet-stream",
                                               .body = large,
                                               .body_len = sizeof large};

    CHECK(tc_http_server_respond(server, "/", &root) == 0);
    CHECK(tc_http_server_respond(server, "/large", &large_one) == 0);
}

static void add_uploads(struct tc_http_server *server, const struct arguments *arguments)
{
    const struct tc_upload_options options = {.overwrite = arguments->overwrite != 0};
    struct rlimit limit = {.rlim_cur = (rlim_t)arguments->file_bytes, .rlim_max = RLIM_INFINITY};

    if (arguments->without_tmpfile != 0) {
        tc_fault_arm(TC_SYS_OPENAT, 1, EOPNOTSUPP, 1);
    }
    CHECK(tc_http_server_upload(server, "/files", arguments->uploads, &options, NULL) == 0);
    tc_fault_disarm_all();
    if (arguments->file_bytes != 0) {
        CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    }
}

static void print_statistics(struct tc_http_server *server)
{
    struct tc_server_statistics net;
    struct tc_http_statistics http;

    tc_server_statistics(tc_http_server_net(server), &net);
    tc_http_server_statistics(server, &http);
    printf("{\"accepted\": %" PRIu64 ", \"connections\": %" PRIu64 ", \"resting\": %" PRIu64
           ", \"requests\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"header_timeouts\": %" PRIu64
           ", \"send_timeouts\": %" PRIu64 ", \"errors\": %" PRIu64 "}\n",
           net.accepted, net.connections, net.resting, http.requests, http.refused,
           http.header_timeouts, net.send_timeouts, net.errors);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.workers = 2};
    struct tc_http_server *server;
    char line[64];

    read_arguments(argc, argv, &arguments);
    struct tc_http_options options = {
        .net = {.max_connections = (uint32_t)arguments.max_connections,
                .listen_fd = (int)arguments.listen_fd,
                .idle_timeout_ns = arguments.idle_timeout_ms * TC_NS_PER_MS,
                .send_timeout_ns = arguments.send_timeout_ms * TC_NS_PER_MS,
                .drain_timeout_ns = -1}, /* as usual */
        .header_timeout_ns = arguments.header_timeout_ms * TC_NS_PER_MS,
    };
    struct tc_runtime *runtime = start_runtime((uint32_t)arguments.workers);
    CHECK(tc_http_server_new(&options, &server) == 0);
    add_answers(server);
    if (arguments.files != NULL) {
        const struct tc_static_options looking = {.index = "index.html"};
        CHECK(tc_http_server_static(server, "/files", arguments.files, &looking, NULL) == 0);
    }
    if (arguments.uploads != NULL) {
        add_uploads(server, &arguments);
    }
    CHECK(tc_http_server_start(server, runtime) == 0);
    printf("%u\n", port_of(tc_http_server_net(server)));
    fflush(stdout);
    line[0] = '\0';
    while (fgets(line, sizeof line, stdin) != NULL && strcmp(line, "statistics\n") == 0) {
        print_statistics(server);
    }
    if (strcmp(line, "drain\n") == 0) {
        tc_server_close(tc_http_server_net(server));
    } else {
        tc_server_abort(tc_http_server_net(server));
    }
    CHECK(tc_server_wait(tc_http_server_net(server), tc_deadline_after_ns(SECONDS(20))) == 0);
    tc_http_server_free(server);
    stop_runtime(runtime);
    return 0;
}
