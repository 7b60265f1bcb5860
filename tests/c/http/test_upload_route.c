/* Uploads through a running server: what clients get, and what is in the directory then. */
#include "../net/support.h"
#include "upload_support.h"

#include "http/server.h"
#include "http/upload_route.h"

struct fixture {
    struct tc_runtime *runtime;
    struct tc_http_server *server;
    struct tc_server *net;
    struct tc_upload_dir *dir;
};

static struct fixture start_uploads(const char *prefix, const struct tc_upload_options *options)
{
    struct fixture fixture = {.runtime = start_runtime(2)};

    make_root();
    TC_CHECK_EQ(tc_http_server_new(&(struct tc_http_options){0}, &fixture.server), 0);
    TC_CHECK_EQ(tc_http_server_upload(fixture.server, prefix, root, options, &fixture.dir), 0);
    TC_CHECK_EQ(tc_http_server_start(fixture.server, fixture.runtime), 0);
    fixture.net = tc_http_server_net(fixture.server);
    return fixture;
}

static void stop_uploads(struct fixture *fixture)
{
    tc_server_abort(fixture->net);
    TC_CHECK_EQ(tc_server_wait(fixture->net, tc_deadline_after_ns(SECONDS(10))), 0);
    tc_http_server_free(fixture->server);
    stop_runtime(fixture->runtime);
    remove_root();
}

static void say(int fd, const char *text)
{
    send_exactly(fd, text, strlen(text));
}

/* Read until `mark` has come; the answer so far. */
static const char *hear(int fd, const char *mark)
{
    static char heard[16 * 1024];
    size_t len = 0;

    heard[0] = '\0';
    while (strstr(heard, mark) == NULL) {
        ssize_t n = recv(fd, heard + len, sizeof heard - 1 - len, 0);
        if (n <= 0) {
            tc_test_failf("heard \"%s\" and not \"%s\"", heard, mark);
        }
        len += (size_t)n;
        heard[len] = '\0';
    }
    return heard;
}

TC_TEST(test_upload_route_stores_what_comes_in_both_framings)
{
    struct fixture fixture = start_uploads("/a b/", &(struct tc_upload_options){0});
    char head[128];
    int fd = connect_to(fixture.net);

    (void)snprintf(head, sizeof head,
                   "PUT /a%%20b/one HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", BODY_BYTES);
    say(fd, head);
    send_exactly(fd, body, BODY_BYTES);
    hear(fd, "}]}\n");
    TC_CHECK_EQ(look_at("one"), BODY_BYTES);
    say(fd, "POST /a%20b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\nabc\r\n0\r\n\r\n");
    const char *heard = hear(fd, "}]}\n");
    const char *location = strstr(heard, "\r\nLocation: /a%20b/");
    TC_CHECK(strncmp(heard, "HTTP/1.1 201 Created\r\n", 22) == 0 && location != NULL);
    char name[TC_UPLOAD_ID_BYTES + 1] = "";
    memcpy(name, location + 19, TC_UPLOAD_ID_BYTES);
    struct stat stat_of;
    TC_CHECK_EQ(stat(path_of(name), &stat_of), 0);
    TC_CHECK_EQ(stat_of.st_size, 3);
    TC_CHECK_EQ(statistics_of(fixture.dir).files_stored, 2);
    TC_CHECK_EQ(statistics_of(fixture.dir).bytes_received, BODY_BYTES + 3);
    close(fd);
    stop_uploads(&fixture);
}

TC_TEST(test_upload_route_refuses_before_the_client_goes_on)
{
    struct fixture fixture = start_uploads("/f", &(struct tc_upload_options){.max_size = 100});
    static const struct {
        const char *target;
        const char *length;
        const char *status;
    } cases[] = {
        {"/f/there", "5", "HTTP/1.1 409 "},
        {"/f/file", "101", "HTTP/1.1 413 "},
        {"/f/.file", "5", "HTTP/1.1 400 "},
        {"/f/file", "100", "HTTP/1.1 100 Continue\r\n\r\n"},
    };

    plant("there", 3);
    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        int fd = connect_to(fixture.net);
        char head[256];
        (void)snprintf(head, sizeof head,
                       "PUT %s HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                       "Content-Length: %s\r\n\r\n",
                       cases[i].target, cases[i].length);
        say(fd, head);
        const char *heard = hear(fd, "\r\n\r\n");
        TC_CHECK(strncmp(heard, cases[i].status, strlen(cases[i].status)) == 0);
        if (i + 1 < TC_ARRAY_LEN(cases)) {
            TC_CHECK(ends_within(fd, 5));
        } else {
            send_exactly(fd, body, 100);
            TC_CHECK(strncmp(hear(fd, "}]}\n"), "HTTP/1.1 201 ", 13) == 0);
        }
        close(fd);
    }
    TC_CHECK_EQ(look_at("there"), 3);
    TC_CHECK_EQ(look_at("file"), 100);
    stop_uploads(&fixture);
}

TC_TEST(test_upload_route_forgets_a_body_that_breaks_off)
{
    struct fixture fixture = start_uploads("/f", &(struct tc_upload_options){0});
    struct tc_upload_progress progress;
    int fd = connect_to(fixture.net);

    say(fd, "PUT /f/lost HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n0123456789");
    WAIT_UNTIL(tc_upload_dir_progress(fixture.dir, &progress, 1) == 1 && progress.bytes == 10);
    TC_CHECK(strcmp(progress.name, "lost") == 0);
    TC_CHECK_EQ(progress.total, 1000);
    reset_connection(fd);
    WAIT_UNTIL(statistics_of(fixture.dir).files_failed == 1);
    fd = connect_to(fixture.net);
    say(fd, "PUT /f/bad HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n+");
    say(fd, "1\r\nx\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
    TC_CHECK(strncmp(hear(fd, "400 Bad Request\n"), "HTTP/1.1 400 ", 13) == 0);
    TC_CHECK(ends_within(fd, 5));
    close(fd);
    TC_CHECK_EQ(statistics_of(fixture.dir).files_failed, 2);
    check_entries(0);
    stop_uploads(&fixture);
}

TC_TEST(test_upload_route_forgets_what_an_abort_cuts_off)
{
    struct fixture fixture = start_uploads("/f", &(struct tc_upload_options){0});
    int fd = connect_to(fixture.net);

    say(fd, "POST /f HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n0123456789");
    WAIT_UNTIL(statistics_of(fixture.dir).bytes_received == 10);
    tc_server_abort(fixture.net);
    TC_CHECK_EQ(tc_server_wait(fixture.net, tc_deadline_after_ns(SECONDS(10))), 0);
    TC_CHECK_EQ(statistics_of(fixture.dir).files_in_progress, 0);
    check_entries(0);
    close(fd);
    stop_uploads(&fixture);
}

TC_TEST(test_upload_route_tells_how_far_each_file_is)
{
    struct fixture fixture = start_uploads("/f", &(struct tc_upload_options){0});
    struct tc_upload_progress progress[3];
    int fds[3];

    for (int i = 0; i < 3; i++) {
        char head[128];
        fds[i] = connect_to(fixture.net);
        (void)snprintf(head, sizeof head, "PUT /f/%c HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n%s", 'a' + i,
                       i == 1 ? "Transfer-Encoding: chunked" : "Content-Length: 1000",
                       i == 1 ? "4\r\n0123\r\n" : "0123");
        say(fds[i], head);
        WAIT_UNTIL(statistics_of(fixture.dir).bytes_received == (uint64_t)(4 * (i + 1)));
    }
    TC_CHECK_EQ(tc_http_server_upload_progress(fixture.server, progress, 0), 3);
    TC_CHECK_EQ(tc_http_server_upload_progress(fixture.server, progress, 1), 3);
    TC_CHECK(strcmp(progress[0].name, "a") == 0);
    TC_CHECK_EQ(tc_http_server_upload_progress(fixture.server, progress, 3), 3);
    for (int i = 0; i < 3; i++) {
        TC_CHECK(progress[i].name[0] == 'a' + i && progress[i].name[1] == '\0');
        TC_CHECK_EQ(progress[i].bytes, 4);
        TC_CHECK_EQ(progress[i].total, i == 1 ? -1 : 1000);
        TC_CHECK(progress[i].since_ns <= tc_clock_now_ns());
    }
    close(fds[0]);
    WAIT_UNTIL(statistics_of(fixture.dir).files_in_progress == 2);
    TC_CHECK_EQ(tc_http_server_upload_progress(fixture.server, progress, 3), 2);
    TC_CHECK(strcmp(progress[0].name, "b") == 0);
    say(fds[1], "0\r\n\r\n");
    hear(fds[1], "}]}\n");
    TC_CHECK_EQ(statistics_of(fixture.dir).files_in_progress, 1);
    TC_CHECK_EQ(statistics_of(fixture.dir).bytes_received, 12);
    close(fds[1]);
    close(fds[2]);
    stop_uploads(&fixture);
}

TC_TEST(test_upload_progress_is_that_of_all_directories)
{
    struct fixture fixture = {.runtime = start_runtime(1)};
    struct tc_upload_progress progress[2];
    int fds[2];

    make_root();
    TC_CHECK_EQ(tc_http_server_new(&(struct tc_http_options){0}, &fixture.server), 0);
    for (int i = 0; i < 2; i++) {
        TC_CHECK_EQ(tc_http_server_upload(fixture.server, i == 0 ? "/a" : "/b", root,
                                          &(struct tc_upload_options){0}, &fixture.dir),
                    0);
    }
    TC_CHECK_EQ(tc_http_server_upload(fixture.server, "/b", root, &(struct tc_upload_options){0},
                                      NULL),
                -EEXIST);
    TC_CHECK_EQ(tc_http_server_start(fixture.server, fixture.runtime), 0);
    fixture.net = tc_http_server_net(fixture.server);
    for (int i = 0; i < 2; i++) {
        fds[i] = connect_to(fixture.net);
        say(fds[i], i == 0 ? "PUT /a/x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"
                           : "PUT /b/y HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n");
        WAIT_UNTIL(tc_http_server_upload_progress(fixture.server, progress, 0) == (size_t)i + 1);
    }
    for (size_t max = 0; max <= 2; max++) {
        memset(progress, 0, sizeof progress);
        TC_CHECK_EQ(tc_http_server_upload_progress(fixture.server, progress, max), 2);
        TC_CHECK_EQ((progress[0].name[0] != '\0') + (progress[1].name[0] != '\0'), max);
    }
    TC_CHECK_EQ('x' + 'y', progress[0].name[0] + progress[1].name[0]);
    close(fds[0]);
    close(fds[1]);
    stop_uploads(&fixture);
}

TC_TEST(test_upload_route_says_what_the_disk_says)
{
    struct fixture fixture = start_uploads("/f", &(struct tc_upload_options){0});
    static const struct {
        enum tc_sys_call call;
        int error;
        const char *said;
    } cases[] = {
        {TC_SYS_OPENAT, ENOSPC, "507 Insufficient Storage\n"},
        {TC_SYS_FSYNC, ENOSPC, "507 Insufficient Storage\n"},
        {TC_SYS_FSYNC, EIO, "500 Internal Server Error\n"},
        {TC_SYS_OPENAT, EMFILE, "503 Service Unavailable\n"},
        {TC_SYS_LINKAT, EDQUOT, "507 Insufficient Storage\n"},
    };
    int fd = connect_to(fixture.net);

    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        tc_fault_arm(cases[i].call, 1, cases[i].error, 1);
        say(fd, "PUT /f/x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
        TC_CHECK(strncmp(hear(fd, cases[i].said) + 9, cases[i].said, 3) == 0);
        TC_CHECK_EQ(tc_fault_hits(cases[i].call), 1);
        tc_fault_disarm_all();
        check_entries(0);
    }
    close(fd);
    stop_uploads(&fixture);
}

TC_TEST(test_upload_route_at_the_root_takes_names_there)
{
    struct fixture fixture = start_uploads("/", &(struct tc_upload_options){0});
    int fd = connect_to(fixture.net);

    say(fd, "PUT /name HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    hear(fd, "{\"name\": \"name\", \"size\": 0}");
    say(fd, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    const char *heard = hear(fd, "}]}\n");
    const char *location = strstr(heard, "\r\nLocation: /");
    TC_CHECK(location != NULL && location[13 + TC_UPLOAD_ID_BYTES] == '\r');
    check_entries(2);
    close(fd);
    stop_uploads(&fixture);
}

TC_TEST(test_upload_route_refuses_what_a_foreign_page_sends)
{
    static const struct {
        const char *request;
        const char *fields;
        bool is_foreign;
    } cases[] = {
        {"PUT /f/a", "Sec-Fetch-Site: cross-site\r\n", true},
        {"POST /f", "Sec-Fetch-Site: same-site\r\nOrigin: http://h:1\r\n", true},
        {"POST /f", "Origin: http://evil.example\r\n", true},
        {"POST /f", "origin: null\r\nContent-Type: multipart/form-data; boundary=X\r\n", true},
        {"PUT /f/a", "Origin: http://h\r\nOrigin: http://h\r\n", true},
        {"PUT /f/there", "Origin: http://evil.example\r\n", true}, /* does not tell that it is */
        {"PUT /f/a", "Origin: http://h\r\n", false},
        {"PUT /f/b", "Sec-Fetch-Site: cross-site\r\nOrigin: https://app.example\r\n", false},
        {"PUT /f/c", "Referer: http://evil.example/\r\n", false},
    };
    char origins[] = "https://app.example";
    struct fixture fixture = start_uploads("/f", &(struct tc_upload_options){.origins = origins});

    origins[0] = 'H'; /* it has been copied */
    plant("there", 3);
    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        int fd = connect_to(fixture.net);
        char head[256];
        (void)snprintf(head, sizeof head, "%s HTTP/1.1\r\nHost: h\r\n%sContent-Length: 5\r\n\r\n",
                       cases[i].request, cases[i].fields);
        say(fd, head);
        if (cases[i].is_foreign) { /* without waiting for the body */
            TC_CHECK(strncmp(hear(fd, "403 Forbidden\n"), "HTTP/1.1 403 ", 13) == 0);
            TC_CHECK(ends_within(fd, 5));
        } else {
            say(fd, "hello");
            TC_CHECK(strncmp(hear(fd, "}]}\n"), "HTTP/1.1 201 ", 13) == 0);
        }
        close(fd);
    }
    check_entries(4);
    stop_uploads(&fixture);
}

TC_TEST(test_upload_route_that_cannot_be_made_says_why)
{
    struct tc_http_server *server;
    struct tc_upload_options options = {0};

    make_root();
    TC_CHECK_EQ(tc_http_server_new(&(struct tc_http_options){0}, &server), 0);
    TC_CHECK_EQ(tc_http_server_upload(server, "/f", path_of("none"), &options, NULL), -ENOENT);
    TC_CHECK_EQ(tc_http_server_upload(server, "/../f", root, &options, NULL), -EINVAL);
    TC_CHECK_EQ(tc_http_server_upload(server, "", root, &options, NULL), -EINVAL);
    TC_CHECK_EQ(tc_http_server_upload(server, "/f", root, &options, NULL), 0);
    TC_CHECK_EQ(tc_http_server_upload(server, "/f", root, &options, NULL), -EEXIST);
    TC_CHECK_EQ(tc_http_server_upload(server, "/", root, &options, NULL), 0);
    tc_http_server_free(server);
    remove_root();
}
