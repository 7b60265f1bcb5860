/* tests/c/http/static_support.h — what the tests of the static route share: a tree of files, a
 * server for it, and a client that asks once and hears to the end. */
#ifndef TC_TESTS_HTTP_STATIC_SUPPORT_H
#define TC_TESTS_HTTP_STATIC_SUPPORT_H
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "../net/support.h"
#include "root.h"

#include "http/server.h"
#include "http/static.h"

enum { HEARD_BYTES = 2 * 1024 * 1024, SMALL_BYTES = 4096, BIG_BYTES = 700 * 1024 + 17 };

static char content[BIG_BYTES]; /* of "big.bin"; the first SMALL_BYTES of "small.txt" */

/* A file, two hours old if `is_old`: with a strong tag then. */
__attribute__((unused)) static void put_file(const char *name, const void *bytes, size_t len,
                                             bool is_old)
{
    struct timespec times[2] = {{.tv_sec = time(NULL) - 7200}, {.tv_sec = time(NULL) - 7200}};
    int fd = open(path_of(name), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);

    TC_CHECK(fd >= 0);
    TC_CHECK_EQ(write(fd, bytes, len), (ssize_t)len);
    if (is_old) {
        TC_CHECK_EQ(futimens(fd, times), 0);
    }
    close(fd);
}

__attribute__((unused)) static void put_text(const char *name, const char *text)
{
    put_file(name, text, strlen(text), true);
}

/* The tree that most tests use. */
__attribute__((unused)) static void make_root(void)
{
    open_root("static");
    for (size_t i = 0; i < sizeof content; i++) {
        content[i] = (char)('a' + (i * 2654435761U >> 11) % 26);
    }
    put_file("small.txt", content, SMALL_BYTES, true);
    put_file("big.bin", content, BIG_BYTES, true);
    put_text("empty", "");
    put_text(".hidden", "hidden");
    TC_CHECK_EQ(mkdir(path_of("with index"), 0755), 0);
    put_text("with index/index.html", "<p>index</p>");
    TC_CHECK_EQ(mkdir(path_of("bare"), 0755), 0);
    put_text("bare/a&b.txt", "a&b");
}

/* ---- server and client -------------------------------------------------------------------- */

struct fixture {
    struct tc_runtime *runtime;
    struct tc_http_server *server;
    struct tc_server *net;
    struct tc_static *route;
};

/* One worker, so that what it does can be counted. The tree is made by the caller. */
__attribute__((unused)) static struct fixture serve_root(const struct tc_static_options *options)
{
    struct fixture fixture = {.runtime = start_runtime(1)};

    TC_CHECK_EQ(tc_http_server_new(&(struct tc_http_options){0}, &fixture.server), 0);
    TC_CHECK_EQ(tc_http_server_static(fixture.server, "/s", root, options, &fixture.route), 0);
    TC_CHECK_EQ(tc_http_server_start(fixture.server, fixture.runtime), 0);
    fixture.net = tc_http_server_net(fixture.server);
    return fixture;
}

__attribute__((unused)) static void end_root(struct fixture *fixture)
{
    tc_server_close(fixture->net);
    TC_CHECK_EQ(tc_server_wait(fixture->net, tc_deadline_after_ns(SECONDS(10))), 0);
    TC_CHECK_EQ(statistics(fixture->net).connections, 0);
    tc_http_server_free(fixture->server);
    stop_runtime(fixture->runtime);
    remove_root();
}

__attribute__((unused)) static struct tc_static_statistics seen_by(const struct fixture *fixture)
{
    struct tc_static_statistics result;

    tc_static_statistics(fixture->route, &result);
    return result;
}

struct heard {
    char bytes[HEARD_BYTES]; /* terminated */
    size_t len;
    int status; /* of the first answer; 0: none came */
    const char *body; /* of the first answer */
    size_t body_len; /* to the end */
};

static struct heard heard; /* the last answer */

/* Ask, and hear to the end. `fields`: whole lines. */
__attribute__((unused)) static struct heard *ask(const struct fixture *fixture, const char *method,
                                                 const char *target, const char *fields)
{
    static char request[64 * 1024];
    int fd = connect_to(fixture->net);
    int len = snprintf(request, sizeof request,
                       "%s %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n%s\r\n", method, target,
                       fields);
    ssize_t n;

    send_exactly(fd, request, (size_t)len);
    heard.len = 0;
    while ((n = recv(fd, heard.bytes + heard.len, sizeof heard.bytes - 1 - heard.len, 0)) > 0) {
        heard.len += (size_t)n;
    }
    close(fd);
    heard.bytes[heard.len] = '\0';
    heard.status = heard.len > 12 ? atoi(heard.bytes + 9) : 0;
    const char *end = strstr(heard.bytes, "\r\n\r\n");
    heard.body = end == NULL ? heard.bytes + heard.len : end + 4;
    heard.body_len = heard.len - (size_t)(heard.body - heard.bytes);
    return &heard;
}

/* The value of a field of the last answer, NULL if it has none. Static. */
__attribute__((unused)) static const char *field(const char *name)
{
    static char value[2][1024];
    static int turn;
    char line[128];
    const char *at;

    (void)snprintf(line, sizeof line, "\r\n%s: ", name);
    at = strstr(heard.bytes, line);
    if (at == NULL || at >= heard.body) {
        return NULL;
    }
    at += strlen(line);
    size_t len = strcspn(at, "\r");
    turn = 1 - turn;
    TC_CHECK(len < sizeof value[turn]);
    memcpy(value[turn], at, len);
    value[turn][len] = '\0';
    return value[turn];
}

__attribute__((unused)) static void check_answer(int status, const void *bytes, size_t len)
{
    if (heard.status != status || heard.body_len != len || memcmp(heard.body, bytes, len) != 0) {
        tc_test_failf("status %d, %zu bytes, and not %d, %zu: %.600s", heard.status, heard.body_len,
                      status, len, heard.bytes);
    }
}

__attribute__((unused)) static void check_field(const char *name, const char *expected)
{
    const char *value = field(name);

    if (value == NULL ? expected != NULL : expected == NULL || strcmp(value, expected) != 0) {
        tc_test_failf("%s is %s in %.600s", name, value == NULL ? "absent" : value, heard.bytes);
    }
}

#endif
