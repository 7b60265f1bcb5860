/* tests/c/http/fault_support.h — what test_http_faults.c serves, who asks for it, and what must be
 * right whatever has failed: the answers on every route, and the files that were stored. */
#ifndef TC_TESTS_C_HTTP_FAULT_SUPPORT_H
#define TC_TESTS_C_HTTP_FAULT_SUPPORT_H

#include <limits.h>
#include <sys/stat.h>

#include "../net/fault_support.h"
#include "root.h"

#include "http/server.h"
#include "http/static.h"
#include "http/upload_route.h"

enum {
    SMALL_BYTES = 3000,
    BIG_BYTES = 300 * 1024, /* more than is kept in memory, and than one slice */
    LARGE_BYTES = 600 * 1024, /* a fixed answer: more than the sockets take without a reader */
    BODY_BYTES = 70 * 1024,
    ANSWER_BYTES = 1024 * 1024,
    STORED = 201, /* or 200, over another */
    PATIENCE_MS = 30, /* for answers that a failure has swallowed */
};

static char bytes[LARGE_BYTES];

/* ---- files -------------------------------------------------------------------------------- */

static void put_file(const char *name, size_t len)
{
    FILE *file = fopen(path_of(name), "we");

    TC_CHECK(file != NULL && fwrite(bytes, 1, len, file) == len && fclose(file) == 0);
}

/* ROOT/files is served; ROOT/named and ROOT/unnamed take uploads. */
__attribute__((unused)) static void make_root(void)
{
    static const char *const folders[] = {"files", "files/bare", "named", "unnamed"};

    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)('a' + (i * 2654435761U >> 11) % 26);
    }
    open_root("http_faults");
    for (size_t i = 0; i < TC_ARRAY_LEN(folders); i++) {
        TC_CHECK_EQ(mkdir(path_of(folders[i]), 0755), 0);
    }
    put_file("files/small", SMALL_BYTES);
    put_file("files/small.gz", SMALL_BYTES / 2);
    put_file("files/big", BIG_BYTES);
    put_file("files/bare/entry", 1);
}

/* No upload is there in part, and none under a temporary name unless it could not be removed.
 * Removes what is there. */
__attribute__((unused)) static void check_uploads(const char *folder, const struct fault *fault)
{
    DIR *dir = opendir(path_of(folder));

    TC_CHECK(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char name[NAME_MAX + 16];
        struct stat stat_of;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        (void)snprintf(name, sizeof name, "%s/%s", folder, entry->d_name);
        TC_CHECK_EQ(stat(path_of(name), &stat_of), 0);
        bool is_temporary =
            strncmp(entry->d_name, TC_UPLOAD_TEMPORARY, strlen(TC_UPLOAD_TEMPORARY)) == 0;
        if (is_temporary ? fault->call != TC_SYS_UNLINKAT : stat_of.st_size != BODY_BYTES) {
            tc_test_failf("%s: %s of %lld bytes", describe(fault), name,
                          (long long)stat_of.st_size);
        }
        TC_CHECK_EQ(unlink(path_of(name)), 0);
    }
    closedir(dir);
}

/* ---- server ------------------------------------------------------------------------------- */

/* Add all routes. Returns 0, or what failed. */
__attribute__((unused)) static int add_routes(struct tc_http_server *server)
{
    static const struct tc_http_response tiny = {.status = 200, .body = "tiny", .body_len = 4};
    static const struct tc_http_response large = {
        .status = 200, .body = bytes, .body_len = LARGE_BYTES};
    static const struct tc_static_options looking = {.listing = true, .precompressed = true};
    static const struct tc_static_options keeping = {
        .index = "index.html", .recheck_ns = 1, .cache_bytes = 1024 * 1024};
    static const struct tc_upload_options uploads = {.quota = 1 << 30, .overwrite = true};
    struct tc_upload_dir *dir;
    int rc = tc_http_server_respond(server, "/", &tiny);

    rc = rc != 0 ? rc : tc_http_server_respond(server, "/large", &large);
    rc = rc != 0 ? rc : tc_http_server_static(server, "/look", path_of("files"), &looking, NULL);
    rc = rc != 0 ? rc : tc_http_server_static(server, "/keep", path_of("files"), &keeping, NULL);
    rc = rc != 0 ? rc
                 : tc_http_server_upload(server, "/unnamed", path_of("unnamed"), &uploads, NULL);
    rc = rc != 0 ? rc : tc_http_server_upload(server, "/named", path_of("named"), &uploads, &dir);
    if (rc == 0) {
        dir->has_tmpfile = false; /* as on a file system that has no files without names */
    }
    return rc;
}

/* ---- traffic ------------------------------------------------------------------------------ */

#define LAST "HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"

/* One client each; what has a body gets it behind the head. */
static const struct {
    const char *head;
    bool has_body; /* BODY_BYTES of it */
} requests[] = {
    {"GET / HTTP/1.1\r\nHost: h\r\n\r\nHEAD /large HTTP/1.1\r\nHost: h\r\n\r\nGET / " LAST "\r\n",
     false},
    {"GET /large " LAST "\r\n", false},
    {"GET /look/small " LAST "Accept-Encoding: gzip\r\n\r\n", false},
    {"GET /look/big " LAST "\r\n", false},
    {"GET /look/bare/ " LAST "\r\n", false},
    {"GET /keep/small " LAST "\r\n", false},
    {"GET /keep/big " LAST "Range: bytes=1-9,200000-299999\r\n\r\n", false},
    {"GET /keep/none " LAST "\r\n", false},
    {"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", false},
    {"PUT /unnamed/file " LAST "Content-Length: 71680\r\n\r\n", true},
    {"POST /unnamed " LAST "Content-Length: 71680\r\n\r\n", true},
    {"PUT /named/file " LAST "Expect: 100-continue\r\nContent-Length: 71680\r\n\r\n", true},
    {"PUT /named/more " LAST "Transfer-Encoding: chunked\r\n\r\n11800\r\n", true},
};

_Static_assert(BODY_BYTES == 71680 && BODY_BYTES == 0x11800, "as the heads say");

enum { CLIENTS = TC_ARRAY_LEN(requests) };

/* Connect and say it all, as far as it goes. Returns the descriptor, -1 if there was none to be
 * had. */
static int speak(const struct tc_addr *addr, size_t index)
{
    const char *head = requests[index].head;
    int fd = try_connect(addr);

    if (fd < 0) {
        return -1;
    }
    ssize_t sent = send(fd, head, strlen(head), MSG_NOSIGNAL);
    if (sent > 0 && requests[index].has_body) {
        sent = send(fd, bytes, BODY_BYTES, MSG_NOSIGNAL);
    }
    if (sent > 0 && strstr(head, "chunked") != NULL) {
        TC_IGNORE(send(fd, "\r\n0\r\n\r\n", 7, MSG_NOSIGNAL));
    }
    return fd;
}

/* All clients at a time; what they are told does not count, but `patience_ms` for it. */
__attribute__((unused)) static void make_traffic(struct tc_server *server, int patience_ms)
{
    static char answer[64 * 1024];
    struct pollfd clients[CLIENTS];
    int64_t limit = tc_deadline_after_ns((int64_t)patience_ms * 1000000);
    struct tc_addr addr;
    int waiting = 0;

    tc_server_address(server, &addr);
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = (struct pollfd){.fd = speak(&addr, i), .events = POLLIN};
        waiting += clients[i].fd >= 0;
    }
    while (waiting > 0 && tc_clock_now_ns() < limit && poll(clients, CLIENTS, patience_ms) > 0) {
        for (size_t i = 0; i < CLIENTS; i++) {
            if (clients[i].fd >= 0 && clients[i].revents != 0 &&
                recv(clients[i].fd, answer, sizeof answer, MSG_DONTWAIT) <= 0) {
                close(clients[i].fd);
                clients[i].fd = -1;
                waiting--;
            }
        }
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        if (clients[i].fd >= 0) {
            close(clients[i].fd);
        }
    }
}

/* Ask one of the requests, hear to the end. Returns the status, 0 for none within a second; `*body`
 * has what came behind the first head, terminated. */
static int ask_once(struct tc_server *server, size_t index, const char **body, size_t *len)
{
    static char answer[ANSWER_BYTES];
    struct timeval second = {.tv_sec = 1};
    struct tc_addr addr;
    size_t got = 0;
    ssize_t n;

    tc_server_address(server, &addr);
    int fd = speak(&addr, index);
    if (fd < 0) {
        return 0;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    while ((n = recv(fd, answer + got, sizeof answer - 1 - got, 0)) > 0) {
        got += (size_t)n;
    }
    close(fd);
    answer[got] = '\0';
    const char *at = strstr(answer, "\r\n\r\n");
    if (n < 0 || at == NULL) {
        return 0;
    }
    *body = at + 4;
    *len = got - (size_t)(*body - answer);
    return atoi(answer + 9);
}

/* The server answers as it should on every route. A failure may have cost the first answers. */
__attribute__((unused)) static void check_probes(struct tc_server *server,
                                                 const struct fault *fault)
{
    static const struct {
        size_t request;
        int status;
        size_t len; /* of bytes[] */
    } probes[] = {
        {1, 200, LARGE_BYTES}, {2, 200, SMALL_BYTES / 2},
        {3, 200, BIG_BYTES},   {5, 200, SMALL_BYTES},
        {9, STORED, 0},        {12, STORED, 0},
    };
    for (size_t i = 0; i < TC_ARRAY_LEN(probes); i++) {
        int64_t limit = tc_deadline_after_ns(SECONDS(LONG_SECONDS));
        const char *body = NULL;
        size_t len = 0;
        int status;
        do {
            status = ask_once(server, probes[i].request, &body, &len);
        } while (status == 0 && tc_clock_now_ns() < limit);
        bool is_right = probes[i].status == STORED
                            ? status == 201 || status == 200
                            : status == probes[i].status && len == probes[i].len &&
                                  memcmp(body, bytes, len) == 0;
        if (!is_right) {
            tc_test_failf("%s: then %s is answered with %d and %zu bytes", describe(fault),
                          requests[probes[i].request].head, status, len);
        }
    }
}

#endif
