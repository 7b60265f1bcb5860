/* Files through a running server: which answer a path, a condition and a range have. */
#include "static_support.h"

static const struct tc_static_options plain = {
    .index = "index.html",
    .recheck_ns = TC_NEVER / 2,
    .cache_bytes = 1024 * 1024,
};

/* ---- whole files -------------------------------------------------------------------------- */

TC_TEST(test_static_file_is_sent_with_what_describes_it)
{
    make_root();
    struct fixture fixture = serve_root(&plain);

    for (int i = 0; i < 3; i++) { /* looked up, then remembered */
        ask(&fixture, "GET", "/s/small.txt", "");
        check_answer(200, content, SMALL_BYTES);
        check_field("Content-Type", "text/plain; charset=utf-8");
        check_field("Content-Length", "4096");
        check_field("Accept-Ranges", "bytes");
        check_field("X-Content-Type-Options", "nosniff");
        check_field("Vary", NULL);
        TC_CHECK(field("ETag")[0] == '"');
        TC_CHECK(field("Last-Modified") != NULL);
        ask(&fixture, "GET", "/s/big.bin", "");
        check_answer(200, content, BIG_BYTES);
        check_field("Content-Type", "application/octet-stream");
        ask(&fixture, "GET", "/s/empty", "");
        check_answer(200, "", 0);
        check_field("Content-Length", "0");
    }
    TC_CHECK_EQ(seen_by(&fixture).lookups, 3);
    TC_CHECK_EQ(seen_by(&fixture).files, 3);
    TC_CHECK_EQ(seen_by(&fixture).descriptors, 1);
    end_root(&fixture);
}

TC_TEST(test_static_head_has_the_fields_and_no_body)
{
    make_root();
    struct fixture fixture = serve_root(&plain);

    for (int i = 0; i < 2; i++) {
        ask(&fixture, "HEAD", "/s/small.txt", "");
        check_answer(200, "", 0);
        check_field("Content-Length", "4096");
        ask(&fixture, "HEAD", "/s/big.bin", "Range: bytes=0-0\r\n");
        check_answer(200, "", 0);
        check_field("Content-Length", "716817");
        ask(&fixture, "HEAD", "/s/none", "");
        TC_CHECK_EQ(heard.status, 404);
        TC_CHECK_EQ(heard.body_len, 0);
    }
    end_root(&fixture);
}

TC_TEST(test_static_requests_in_one_packet_are_answered_in_order)
{
    static const char request[] =
        "GET /s/small.txt HTTP/1.1\r\nHost: h\r\n\r\n"
        "GET /s/big.bin HTTP/1.1\r\nHost: h\r\nRange: bytes=5-9\r\n\r\n"
        "GET /s/none HTTP/1.1\r\nHost: h\r\n\r\n"
        "GET /s/small.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    static const int statuses[] = {200, 206, 404, 200};
    static char text[64 * 1024];

    make_root();
    struct fixture fixture = serve_root(&plain);
    for (int i = 0; i < 2; i++) {
        int fd = connect_to(fixture.net);
        size_t len = 0;
        ssize_t n;
        send_exactly(fd, request, sizeof request - 1);
        while ((n = recv(fd, text + len, sizeof text - 1 - len, 0)) > 0) {
            len += (size_t)n;
        }
        text[len] = '\0';
        close(fd);
        const char *at = text;
        for (size_t j = 0; j < TC_ARRAY_LEN(statuses); j++) {
            at = strstr(at, "HTTP/1.1 ");
            TC_CHECK(at != NULL);
            TC_CHECK_EQ(atoi(at + 9), statuses[j]);
            at++;
        }
    }
    end_root(&fixture);
}

/* ---- paths -------------------------------------------------------------------------------- */

static void check_status(const struct fixture *fixture, const char *target, int status)
{
    ask(fixture, "GET", target, "");
    if (heard.status != status) {
        tc_test_failf("%s: %d and not %d", target, heard.status, status);
    }
}

TC_TEST(test_static_path_leads_to_its_status)
{
    static const struct {
        const char *target;
        int status;
    } cases[] = {
        {"/s/small.txt?x=1", 200},
        {"/s/%73mall.txt", 200},
        {"/s/bare/../small.txt", 200},
        {"/s//small.txt", 200},
        {"/s/none", 404},
        {"/s/small.txt/", 404},
        {"/s/small.txt/x", 404},
        {"/s/.hidden", 404},
        {"/s/%2ehidden", 404},
        {"/s/.hidden/x", 404},
        {"/s/with%20index/", 200},
        {"/s/bare/", 403},
        {"/s/", 403},
        {"/s/fifo", 404},
        {"/s/link", 404},
        {"/s/link/secret", 404},
        {"/s/inside", 404},
        {"/s/secrets", 403},
        {"/s/..%2f..%2fetc/passwd", 400},
        {"/s/../../etc/passwd", 400},
        {"/s/small.txt%00", 400},
        {"/sx", 404},
        {"/other", 404},
    };

    make_root();
    TC_CHECK_EQ(mkfifo(path_of("fifo"), 0644), 0);
    TC_CHECK_EQ(symlink("/etc", path_of("link")), 0);
    TC_CHECK_EQ(symlink("small.txt", path_of("inside")), 0);
    put_text("secrets", "secret");
    TC_CHECK_EQ(chmod(path_of("secrets"), 0), 0);
    struct fixture fixture = serve_root(&plain);
    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        bool is_super = strcmp(cases[i].target, "/s/secrets") == 0 && geteuid() == 0;
        check_status(&fixture, cases[i].target, is_super ? 200 : cases[i].status);
    }
    ask(&fixture, "POST", "/s/small.txt", "");
    TC_CHECK_EQ(heard.status, 405);
    check_field("Allow", "GET, HEAD, OPTIONS");
    end_root(&fixture);
}

TC_TEST(test_static_long_path_is_not_found)
{
    static char target[8000];

    make_root();
    struct fixture fixture = serve_root(&plain);
    for (size_t len = 200; len < sizeof target; len += len == 4090 ? 1 : 97) {
        memset(target, 'x', sizeof target);
        memcpy(target, "/s/", 3);
        target[len] = '\0';
        check_status(&fixture, target, 404);
        if (len > 4080 && len < 4100) {
            len = len < 4090 ? 4089 : len;
        }
    }
    end_root(&fixture);
}

TC_TEST(test_static_directory_without_a_slash_is_redirected_to_one_with_it)
{
    make_root();
    struct fixture fixture = serve_root(&plain);

    check_status(&fixture, "/s/with%20index?a=%20b", 301);
    check_field("Location", "/s/with%20index/?a=%20b");
    check_status(&fixture, "/s", 301);
    check_field("Location", "/s/");
    end_root(&fixture);
}

TC_TEST(test_static_links_are_followed_within_the_directory_only)
{
    struct tc_static_options options = plain;

    options.follow_links = true;
    options.dotfiles = true;
    make_root();
    TC_CHECK_EQ(symlink("small.txt", path_of("inside")), 0);
    TC_CHECK_EQ(symlink("../small.txt", path_of("bare/up")), 0);
    TC_CHECK_EQ(symlink("/etc/hostname", path_of("outside")), 0);
    TC_CHECK_EQ(symlink("..", path_of("above")), 0);
    TC_CHECK_EQ(symlink("/proc/self/root", path_of("magic")), 0);
    TC_CHECK_EQ(symlink("loop", path_of("loop")), 0);
    struct fixture fixture = serve_root(&options);
    check_status(&fixture, "/s/inside", 200);
    check_status(&fixture, "/s/bare/up", 200);
    check_status(&fixture, "/s/.hidden", 200);
    check_status(&fixture, "/s/outside", 404);
    check_status(&fixture, "/s/above/etc/hostname", 404);
    check_status(&fixture, "/s/magic/etc/hostname", 404);
    check_status(&fixture, "/s/loop", 404);
    end_root(&fixture);
}

TC_TEST(test_static_listing_is_sorted_and_escaped)
{
    struct tc_static_options options = plain;

    options.listing = true;
    make_root();
    put_text("bare/Zed", "");
    put_text("bare/<b>\"'", "");
    put_text("bare/.dot", "");
    put_text("bare/aa", "");
    TC_CHECK_EQ(mkdir(path_of("bare/Folder"), 0755), 0);
    TC_CHECK_EQ(symlink("aa", path_of("bare/link")), 0);
    struct fixture fixture = serve_root(&options);
    check_status(&fixture, "/s/bare/", 200);
    check_field("Content-Type", "text/html; charset=utf-8");
    static const char *const lines[] = {
        "<a href=\"../\">../</a>",
        "<a href=\"./%3Cb%3E%22&#x27;\">&lt;b&gt;&quot;&#x27;</a>",
        "<a href=\"./a&amp;b.txt\">a&amp;b.txt</a>",
        "<a href=\"./aa\">aa</a>",
        "<a href=\"./Folder/\">Folder/</a>",
        "<a href=\"./Zed\">Zed</a>",
    };
    const char *at = heard.body;
    for (size_t i = 0; i < TC_ARRAY_LEN(lines); i++) {
        at = strstr(at, lines[i]);
        if (at == NULL) {
            tc_test_failf("no %s in its place in %s", lines[i], heard.body);
        }
    }
    TC_CHECK(strstr(heard.body, ".dot") == NULL);
    TC_CHECK(strstr(heard.body, "link") == NULL);
    check_status(&fixture, "/s/with%20index/", 200);
    TC_CHECK(strstr(heard.body, "<p>index</p>") != NULL);
    check_status(&fixture, "/s/", 200);
    TC_CHECK(strstr(heard.body, "../") == NULL);
    end_root(&fixture);
}

/* ---- conditions and ranges ---------------------------------------------------------------- */

TC_TEST(test_static_conditions_are_looked_at_also_of_remembered_files)
{
    static char fields[512];
    static char etag[128];

    make_root();
    struct fixture fixture = serve_root(&plain);
    ask(&fixture, "GET", "/s/small.txt", "");
    (void)snprintf(etag, sizeof etag, "%s", field("ETag"));
    (void)snprintf(fields, sizeof fields, "If-None-Match: %s\r\n", etag);
    ask(&fixture, "GET", "/s/small.txt", fields);
    check_answer(304, "", 0);
    check_field("ETag", etag);
    check_field("Content-Length", NULL);
    check_field("Content-Type", NULL);
    (void)snprintf(fields, sizeof fields, "If-Match: %s\r\nRange: bytes=1-2\r\nIf-Range: %s\r\n",
                   etag, etag);
    ask(&fixture, "GET", "/s/small.txt", fields);
    check_answer(206, content + 1, 2);
    ask(&fixture, "GET", "/s/small.txt", "Range: bytes=1-2\r\nIf-Range: \"x\"\r\n");
    check_answer(200, content, SMALL_BYTES);
    ask(&fixture, "GET", "/s/small.txt", "If-Match: \"x\"\r\n");
    TC_CHECK_EQ(heard.status, 412);
    ask(&fixture, "GET", "/s/small.txt", "If-None-Match: \"x\"\r\n");
    check_answer(200, content, SMALL_BYTES);
    TC_CHECK_EQ(seen_by(&fixture).lookups, 1);
    end_root(&fixture);
}

TC_TEST(test_static_one_range_is_a_206_of_its_bytes)
{
    static const struct {
        const char *range;
        int status;
        size_t first;
        size_t len;
    } cases[] = {
        {"bytes=0-0", 206, 0, 1},
        {"bytes=100-", 206, 100, BIG_BYTES - 100},
        {"bytes=-100", 206, BIG_BYTES - 100, 100},
        {"bytes=5-400000", 206, 5, 399996},
        {"bytes=0-99999999999999999999", 206, 0, BIG_BYTES},
        {"bytes=2-1", 200, 0, BIG_BYTES},
        {"lines=0-1", 200, 0, BIG_BYTES},
        {"bytes=0-5,3-9", 200, 0, BIG_BYTES}, /* overlaps */
        {"bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18,20-20,22-22,24-24,26-26,28-28,"
         "30-30,32-32",
         200, 0, BIG_BYTES}, /* too many */
    };
    static char fields[512];

    make_root();
    struct fixture fixture = serve_root(&plain);
    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        (void)snprintf(fields, sizeof fields, "Range: %s\r\n", cases[i].range);
        ask(&fixture, "GET", "/s/big.bin", fields);
        check_answer(cases[i].status, content + cases[i].first, cases[i].len);
        if (cases[i].status == 206) {
            char expected[64];
            (void)snprintf(expected, sizeof expected, "bytes %zu-%zu/%d", cases[i].first,
                           cases[i].first + cases[i].len - 1, BIG_BYTES);
            check_field("Content-Range", expected);
        }
    }
    ask(&fixture, "GET", "/s/big.bin", "Range: bytes=716817-\r\n");
    TC_CHECK_EQ(heard.status, 416);
    check_field("Content-Range", "bytes */716817");
    end_root(&fixture);
}

static void check_parts(const char *type, int size)
{
    static char expected[4096];
    const char *boundary = strstr(field("Content-Type"), "boundary=") + 9;
    int len = snprintf(expected, sizeof expected,
                       "--%s\r\nContent-Type: %s\r\nContent-Range: bytes 10-12/%d\r\n\r\n%.3s"
                       "\r\n--%s\r\nContent-Type: %s\r\nContent-Range: bytes 0-1/%d\r\n\r\n%.2s"
                       "\r\n--%s\r\nContent-Type: %s\r\nContent-Range: bytes %d-%d/%d\r\n\r\n%.4s"
                       "\r\n--%s--\r\n",
                       boundary, type, size, content + 10, boundary, type, size, content, boundary,
                       type, size - 4, size - 1, size, content + size - 4, boundary);

    check_answer(206, expected, (size_t)len);
}

TC_TEST(test_static_several_ranges_come_in_parts)
{
    static const char fields[] = "Range: bytes=10-12, 0-1, -4\r\n";

    make_root();
    struct fixture fixture = serve_root(&plain);
    ask(&fixture, "GET", "/s/small.txt", fields);
    check_parts("text/plain; charset=utf-8", SMALL_BYTES);
    ask(&fixture, "GET", "/s/big.bin", fields);
    check_parts("application/octet-stream", BIG_BYTES);
    end_root(&fixture);
}

TC_TEST(test_static_compressed_sibling_is_sent_to_who_likes_it_better)
{
    struct tc_static_options options = plain;

    options.precompressed = true;
    make_root();
    put_text("page.html", "plain page");
    put_text("page.html.gz", "gzip page");
    put_text("page.html.br", "br page");
    put_text("old.js.gz", "stale");
    put_file("old.js", "newer", 5, false);
    struct fixture fixture = serve_root(&options);
    for (int i = 0; i < 2; i++) {
        ask(&fixture, "GET", "/s/page.html", "Accept-Encoding: gzip, br\r\n");
        check_answer(200, "br page", 7);
        check_field("Content-Encoding", "br");
        check_field("Content-Type", "text/html; charset=utf-8");
        check_field("Vary", "Accept-Encoding");
        ask(&fixture, "GET", "/s/page.html",
            "Accept-Encoding: gzip\r\nAccept-Encoding: br;q=0\r\n");
        check_answer(200, "gzip page", 9);
        check_field("Content-Encoding", "gzip");
        ask(&fixture, "GET", "/s/page.html", "");
        check_answer(200, "plain page", 10);
        check_field("Content-Encoding", NULL);
        check_field("Vary", "Accept-Encoding");
        ask(&fixture, "GET", "/s/old.js", "Accept-Encoding: gzip\r\n");
        check_answer(200, "newer", 5);
    }
    end_root(&fixture);
}

/* ---- what changes ------------------------------------------------------------------------- */

TC_TEST(test_static_changed_file_is_seen_after_the_interval)
{
    struct tc_static_options options = plain;
    static char etag[128];

    options.recheck_ns = 0;
    make_root();
    struct fixture fixture = serve_root(&options);
    ask(&fixture, "GET", "/s/small.txt", "");
    (void)snprintf(etag, sizeof etag, "%s", field("ETag"));
    int64_t written_ns = tc_clock_now_ns();
    put_file("small.txt", "new", 3, false);
    ask(&fixture, "GET", "/s/small.txt", "");
    check_answer(200, "new", 3);
    if (tc_clock_now_ns() - written_ns < SECONDS(1)) { /* it may change again at once */
        TC_CHECK(strncmp(field("ETag"), "W/", 2) == 0);
    }
    TC_CHECK(strcmp(field("ETag"), etag) != 0);
    TC_CHECK_EQ(unlink(path_of("small.txt")), 0);
    check_status(&fixture, "/s/small.txt", 404);
    TC_CHECK_EQ(seen_by(&fixture).files, 0);
    end_root(&fixture);
}

TC_TEST(test_static_remembered_file_is_looked_up_once_an_interval)
{
    struct tc_static_options options = plain;

    options.recheck_ns = SECONDS(0.05);
    make_root();
    struct fixture fixture = serve_root(&options);
    int64_t begin = tc_clock_now_ns();
    int count = 0;
    do {
        ask(&fixture, "GET", "/s/small.txt", "");
        check_answer(200, content, SMALL_BYTES);
        count++;
    } while (tc_clock_now_ns() - begin < SECONDS(0.3) || count < 40);
    int64_t took = tc_clock_now_ns() - begin;
    TC_CHECK(seen_by(&fixture).lookups <= 2 + (uint64_t)(took / SECONDS(0.05)));
    TC_CHECK(seen_by(&fixture).lookups >= 2);
    put_text("small.txt", "after");
    WAIT_UNTIL(ask(&fixture, "GET", "/s/small.txt", "")->body_len == 5);
    TC_CHECK_EQ(unlink(path_of("small.txt")), 0);
    WAIT_UNTIL(ask(&fixture, "GET", "/s/small.txt", "")->status == 404);
    WAIT_UNTIL(seen_by(&fixture).files == 0);
    end_root(&fixture);
}

TC_TEST(test_static_change_while_nobody_asks_is_seen_by_the_next_request)
{
    static const char request[] = "GET /s/digit HTTP/1.1\r\nHost: h\r\n\r\n";
    static const char *const digits[] = {"1", "22", "333", "4444"};
    struct tc_static_options options = plain;
    char text[1024];

    options.recheck_ns = SECONDS(0.02);
    make_root();
    struct fixture fixture = serve_root(&options);
    int fd = connect_to(fixture.net); /* a new connection would wake the worker first */
    for (size_t i = 0; i < TC_ARRAY_LEN(digits); i++) {
        put_text("digit", digits[i]);
        pause_ms(50); /* twice the interval and more: the worker sleeps meanwhile */
        send_exactly(fd, request, sizeof request - 1);
        size_t len = 0;
        do {
            ssize_t n = recv(fd, text + len, sizeof text - 1 - len, 0);
            TC_CHECK(n > 0);
            len += (size_t)n;
            text[len] = '\0';
        } while (strstr(text, "\r\n\r\n") == NULL || text[len - 1] == '\n');
        TC_CHECK(strcmp(strstr(text, "\r\n\r\n") + 4, digits[i]) == 0);
    }
    close(fd);
    end_root(&fixture);
}

TC_TEST(test_static_file_that_shrinks_while_it_is_sent_ends_the_connection)
{
    enum { HUGE_BYTES = 64 * 1024 * 1024 };
    static const char request[] = "GET /s/huge HTTP/1.1\r\nHost: h\r\n\r\n";
    static char skipped[64 * 1024];
    uint64_t total = 0;
    ssize_t n;

    make_root();
    put_text("huge", "");
    TC_CHECK_EQ(truncate(path_of("huge"), HUGE_BYTES), 0);
    struct fixture fixture = serve_root(&plain);
    int fd = connect_to(fixture.net);
    send_exactly(fd, request, sizeof request - 1);
    recv_exactly(fd, skipped, 1000);
    TC_CHECK_EQ(truncate(path_of("huge"), 100), 0);
    while ((n = recv(fd, skipped, sizeof skipped, 0)) > 0) {
        total += (uint64_t)n;
    }
    TC_CHECK(total < HUGE_BYTES);
    close(fd);
    end_root(&fixture);
}

TC_TEST(test_static_cache_of_few_bytes_lets_go_of_what_is_not_used)
{
    struct tc_static_options options = plain;
    char name[32];

    options.cache_bytes = 20000;
    make_root();
    for (int i = 0; i < 30; i++) {
        (void)snprintf(name, sizeof name, "f%d", i);
        put_file(name, content + i, 2000, true);
    }
    struct fixture fixture = serve_root(&options);
    for (int i = 0; i < 90; i++) {
        (void)snprintf(name, sizeof name, "/s/f%d", i % 30);
        ask(&fixture, "GET", name, "");
        check_answer(200, content + i % 30, 2000);
        TC_CHECK(seen_by(&fixture).bytes <= options.cache_bytes);
        TC_CHECK(seen_by(&fixture).files <= 10);
    }
    end_root(&fixture);
}

TC_TEST(test_static_many_large_files_keep_few_descriptors)
{
    struct tc_static_options options = plain;
    char name[32];

    make_root();
    for (int i = 0; i < 150; i++) {
        (void)snprintf(name, sizeof name, "f%d", i);
        put_text(name, "x");
        TC_CHECK_EQ(truncate(path_of(name), 100000), 0);
    }
    struct fixture fixture = serve_root(&options);
    int before = count_descriptors();
    for (int i = 0; i < 150; i++) {
        (void)snprintf(name, sizeof name, "/s/f%d", i);
        ask(&fixture, "GET", name, "Range: bytes=0-0\r\n");
        check_answer(206, "x", 1);
        TC_CHECK(seen_by(&fixture).descriptors <= 100);
    }
    WAIT_UNTIL(count_descriptors() <= before + 110);
    end_root(&fixture);
}

TC_TEST(test_static_own_fields_come_with_the_file)
{
    static const struct tc_http_answer_field fields[] = {{"Cache-Control", "max-age=60"},
                                                         {"X-Content-Type-Options", "other"}};
    struct tc_static_options options = plain;

    options.fields = fields;
    options.field_count = 2;
    make_root();
    struct fixture fixture = serve_root(&options);
    ask(&fixture, "GET", "/s/small.txt", "");
    check_field("Cache-Control", "max-age=60");
    check_field("X-Content-Type-Options", "other");
    ask(&fixture, "GET", "/s/big.bin", "Range: bytes=0-1\r\n");
    check_field("Cache-Control", "max-age=60");
    ask(&fixture, "GET", "/s/none", "");
    check_field("Cache-Control", NULL);
    end_root(&fixture);
}

TC_TEST(test_static_route_that_cannot_be_made_says_why)
{
    static const struct tc_http_answer_field bad[] = {{"X", "a\nb"}};
    static const struct tc_http_answer_field own[] = {{"etag", "x"}};
    struct tc_static_options options = plain;
    struct tc_http_server *server;

    make_root();
    TC_CHECK_EQ(tc_http_server_new(&(struct tc_http_options){0}, &server), 0);
    TC_CHECK_EQ(tc_http_server_static(server, "/f", path_of("none"), &plain, NULL), -ENOENT);
    TC_CHECK_EQ(tc_http_server_static(server, "/f", path_of("empty"), &plain, NULL), -ENOTDIR);
    TC_CHECK_EQ(tc_http_server_static(server, "/../f", root, &plain, NULL), -EINVAL);
    TC_CHECK_EQ(tc_http_server_static(server, "", root, &plain, NULL), -EINVAL);
    options.index = "a/b";
    TC_CHECK_EQ(tc_http_server_static(server, "/f", root, &options, NULL), -EINVAL);
    options.index = NULL;
    options.recheck_ns = -1;
    TC_CHECK_EQ(tc_http_server_static(server, "/f", root, &options, NULL), -EINVAL);
    options.recheck_ns = 0;
    options.fields = bad;
    options.field_count = 1;
    TC_CHECK_EQ(tc_http_server_static(server, "/f", root, &options, NULL), -EINVAL);
    options.fields = own;
    TC_CHECK_EQ(tc_http_server_static(server, "/f", root, &options, NULL), -EINVAL);
    options.field_count = TC_STATIC_FIELDS_MAX + 1;
    TC_CHECK_EQ(tc_http_server_static(server, "/f", root, &options, NULL), -E2BIG);
    TC_CHECK_EQ(tc_http_server_static(server, "/f/", root, &plain, NULL), 0);
    TC_CHECK_EQ(tc_http_server_static(server, "/f", root, &plain, NULL), -EEXIST);
    TC_CHECK_EQ(tc_http_server_static(server, "/", root, &plain, NULL), 0);
    tc_http_server_free(server);
    remove_root();
}
