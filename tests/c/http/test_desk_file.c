/* Calls of the desk that are answered with a file, with a thread of the test as the clerk. */
#include "desk_support.h"
#include "static_support.h"

#include "http/desk_file.h"

/* ---- helpers ------------------------------------------------------------------------------ */

/* A clerk with a thread of its own, so that the test can ask and wait for the answer. */
struct office {
    struct clerk clerk;
    struct fixture fixture; /* for ask() */
    pthread_t thread;
    pthread_mutex_t lock;
    struct tc_desk_file file; /* what it answers with; under the lock */
    _Atomic bool closes;
    _Atomic int told; /* how often it was told of an error */
    _Atomic int error; /* the last one */
};

static struct office office;

static void answer_all(struct tc_link *link)
{
    while (link != NULL) {
        struct tc_desk_call *call = tc_container_of(link, struct tc_desk_call, link);
        link = link->next;
        TC_CHECK_EQ(pthread_mutex_lock(&office.lock), 0);
        struct tc_desk_reply *reply = tc_desk_file_reply(&office.file);
        TC_CHECK_EQ(pthread_mutex_unlock(&office.lock), 0);
        tc_desk_call_answer(call, reply); /* without memory: none */
        tc_desk_call_release(call);
    }
}

static void hear_of_errors(struct tc_link *gone)
{
    struct tc_desk_call *call;

    while ((call = tc_desk_call_next_gone(&gone)) != NULL) {
        int error = tc_desk_file_take_error(call);
        if (error != 0) {
            TC_CHECK(call->reply->file->path != NULL); /* it is still there */
            atomic_store(&office.error, error);
            atomic_fetch_add(&office.told, 1);
        }
        tc_desk_call_release(call);
    }
}

static void *serve_desk(void *arg)
{
    struct clerk *clerk = arg;

    while (!atomic_load(&office.closes)) {
        await_ring(clerk);
        hear_of_errors(tc_http_desk_take_gone(&clerk->desk));
        answer_all(tc_http_desk_take(&clerk->desk));
        tc_http_desk_flush(&clerk->desk);
    }
    hear_of_errors(tc_http_desk_take_gone(&clerk->desk));
    return NULL;
}

static void open_office(void)
{
    make_root();
    open_desk(&office.clerk, "/f", 1, 1000);
    office.fixture.net = office.clerk.net;
    TC_CHECK_EQ(pthread_mutex_init(&office.lock, NULL), 0);
    TC_CHECK_EQ(pthread_create(&office.thread, NULL, serve_desk, &office.clerk), 0);
}

/* No connection is left; what the clerk has been told of is heard. */
static void close_office(void)
{
    WAIT_UNTIL(statistics(office.clerk.net).connections == 0);
    atomic_store(&office.closes, true);
    TC_CHECK_EQ(sem_post(&office.clerk.rung), 0);
    TC_CHECK_EQ(pthread_join(office.thread, NULL), 0);
    close_desk(&office.clerk);
    remove_root();
}

/* From now on this is the answer. */
static void answer_with(const struct tc_desk_file *file)
{
    TC_CHECK_EQ(tc_desk_file_check(file), 0);
    TC_CHECK_EQ(pthread_mutex_lock(&office.lock), 0);
    office.file = *file;
    TC_CHECK_EQ(pthread_mutex_unlock(&office.lock), 0);
}

/* A file of the root, without more to be said. */
static void answer_with_file(const char *name)
{
    static char path[2 * PATH_MAX];

    (void)snprintf(path, sizeof path, "%s", path_of(name));
    answer_with(&(struct tc_desk_file){.path = path, .status = 200, .content_type = "x/y"});
}

static void get(const char *fields)
{
    ask(&office.fixture, "GET", "/f", fields);
}

/* ---- whole files -------------------------------------------------------------------------- */

TC_TEST(test_desk_file_is_sent_with_what_describes_it)
{
    open_office();
    answer_with_file("small.txt");
    get("");
    check_answer(200, content, SMALL_BYTES);
    check_field("Content-Type", "x/y");
    check_field("Content-Length", "4096");
    check_field("Accept-Ranges", "bytes");
    check_field("X-Content-Type-Options", "nosniff");
    TC_CHECK(field("ETag")[0] == '"');
    TC_CHECK(field("Last-Modified") != NULL);
    answer_with_file("big.bin");
    get("");
    check_answer(200, content, BIG_BYTES);
    ask(&office.fixture, "HEAD", "/f", "");
    check_answer(200, "", 0);
    check_field("Content-Length", "716817");
    answer_with_file("empty");
    get("");
    check_answer(200, "", 0);
    check_field("Content-Length", "0");
    close_office();
}

TC_TEST(test_desk_file_requests_in_one_packet_are_answered_in_order)
{
    static const char request[] = "GET /f HTTP/1.1\r\nHost: h\r\n\r\n"
                                  "HEAD /f HTTP/1.1\r\nHost: h\r\n\r\n"
                                  "GET /f HTTP/1.1\r\nHost: h\r\nRange: bytes=5-9\r\n\r\n"
                                  "POST /f HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"
                                  "GET /f HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    static const size_t lengths[] = {SMALL_BYTES, 0, 5, SMALL_BYTES, SMALL_BYTES};
    static char text[64 * 1024];
    size_t len = 0;
    ssize_t n;

    open_office();
    answer_with_file("small.txt");
    int fd = connect_to(office.clerk.net);
    send_exactly(fd, request, sizeof request - 1);
    while ((n = recv(fd, text + len, sizeof text - 1 - len, 0)) > 0) {
        len += (size_t)n;
    }
    close(fd);
    const char *at = text;
    for (size_t i = 0; i < TC_ARRAY_LEN(lengths); i++) {
        TC_CHECK(strncmp(at, i == 2 ? "HTTP/1.1 206 " : "HTTP/1.1 200 ", 13) == 0);
        at = strstr(at, "\r\n\r\n");
        TC_CHECK(at != NULL);
        at += 4 + lengths[i];
    }
    TC_CHECK(at == text + len);
    close_office();
}

TC_TEST(test_desk_file_paths_lead_where_open_says)
{
    open_office();
    TC_CHECK_EQ(symlink("../small.txt", path_of("bare/link")), 0);
    answer_with_file("bare/link");
    get("");
    check_answer(200, content, SMALL_BYTES);
    answer_with_file("bare/../.hidden");
    get("");
    check_answer(200, "hidden", 6);
    TC_CHECK_EQ(chdir(root), 0);
    answer_with(&(struct tc_desk_file){.path = "small.txt", .status = 200});
    get("");
    check_answer(200, content, SMALL_BYTES);
    check_field("Content-Type", NULL);
    TC_CHECK_EQ(chdir("/"), 0);
    close_office();
}

/* ---- conditions and ranges ---------------------------------------------------------------- */

TC_TEST(test_desk_file_conditions_are_held_against_the_file)
{
    static char etag[128];
    static char fields[256];

    open_office();
    for (int i = 0; i < 2; i++) {
        answer_with_file(i == 0 ? "small.txt" : "big.bin");
        get("");
        (void)snprintf(etag, sizeof etag, "%s", field("ETag"));
        (void)snprintf(fields, sizeof fields, "If-None-Match: %s\r\n", etag);
        get(fields);
        check_answer(304, "", 0);
        check_field("ETag", etag);
        check_field("Content-Type", NULL);
        get("If-Match: \"other\"\r\n");
        TC_CHECK_EQ(heard.status, 412);
        get("If-Modified-Since: Fri, 31 Dec 2100 23:59:59 GMT\r\n");
        TC_CHECK_EQ(heard.status, 304);
        get("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
        TC_CHECK_EQ(heard.status, 200);
        (void)snprintf(fields, sizeof fields, "Range: bytes=1-2\r\nIf-Range: %s\r\n", etag);
        get(fields);
        check_answer(206, content + 1, 2);
        get("Range: bytes=1-2\r\nIf-Range: \"other\"\r\n");
        TC_CHECK_EQ(heard.status, 200);
    }
    close_office();
}

TC_TEST(test_desk_file_ranges_are_cut_out_of_it)
{
    open_office();
    for (int i = 0; i < 2; i++) {
        answer_with_file(i == 0 ? "small.txt" : "big.bin");
        get("Range: bytes=1000-1999\r\n");
        check_answer(206, content + 1000, 1000);
        check_field("Content-Range", i == 0 ? "bytes 1000-1999/4096" : "bytes 1000-1999/716817");
        check_field("Content-Type", "x/y");
        get("Range: bytes=0-0,-1\r\n");
        TC_CHECK_EQ(heard.status, 206);
        TC_CHECK(strncmp(field("Content-Type"), "multipart/byteranges; boundary=", 31) == 0);
        TC_CHECK(strstr(heard.body, "\r\nContent-Type: x/y\r\nContent-Range: bytes 0-0/") != NULL);
        get("Range: bytes=716817-\r\n");
        TC_CHECK_EQ(heard.status, 416);
        check_field("Content-Range", i == 0 ? "bytes */4096" : "bytes */716817");
    }
    answer_with_file("empty");
    get("Range: bytes=0-\r\n");
    TC_CHECK_EQ(heard.status, 416);
    close_office();
}

TC_TEST(test_desk_file_range_near_the_end_of_a_sparse_one_is_sent)
{
    static const char zeros[10];

    open_office();
    put_text("sparse", "begin");
    TC_CHECK_EQ(truncate(path_of("sparse"), INT64_C(1) << 31), 0);
    answer_with_file("sparse");
    uint64_t before = tc_mem_bytes_in_use();
    get("Range: bytes=2147483638-\r\n");
    check_answer(206, zeros, 10);
    check_field("Content-Range", "bytes 2147483638-2147483647/2147483648");
    ask(&office.fixture, "HEAD", "/f", "");
    check_field("Content-Length", "2147483648");
    TC_CHECK(tc_mem_bytes_in_use() < before + 4 * 1024 * 1024);
    close_office();
}

/* ---- what the clerk says ------------------------------------------------------------------ */

TC_TEST(test_desk_file_fields_of_the_clerk_come_first)
{
    static const struct tc_http_answer_field fields[] = {
        {"ETag", "\"mine\""},
        {"Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"},
        {"Accept-Ranges", "none"},
        {"Cache-Control", "no-store"},
        {"X-Content-Type-Options", "other"},
        {"Content-Encoding", "gzip"},
    };
    struct tc_desk_file file = {
        .path = "small.txt", .status = 200, .fields = fields, .field_count = 6};

    open_office();
    TC_CHECK_EQ(chdir(root), 0);
    answer_with(&file);
    get("Range: bytes=0-1\r\n");
    check_answer(200, content, SMALL_BYTES);
    for (size_t i = 0; i < TC_ARRAY_LEN(fields); i++) {
        check_field(fields[i].name, fields[i].value);
        const char *first = strstr(heard.bytes, fields[i].name);
        TC_CHECK(strstr(first + 1, fields[i].name) == NULL); /* once */
    }
    get("If-None-Match: \"mine\"\r\n");
    check_answer(304, "", 0);
    check_field("Cache-Control", "no-store");
    get("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    check_answer(304, "", 0);
    get("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n");
    TC_CHECK_EQ(heard.status, 200);
    get("If-Match: \"other\"\r\n");
    TC_CHECK_EQ(heard.status, 412);
    check_field("Cache-Control", NULL);
    TC_CHECK_EQ(chdir("/"), 0);
    close_office();
}

TC_TEST(test_desk_file_of_another_status_or_method_is_sent_whole)
{
    static const char conditions[] = "Range: bytes=0-1\r\nIf-None-Match: *\r\n";
    static const char *const names[] = {"small.txt", "big.bin"};
    static const size_t lengths[] = {SMALL_BYTES, BIG_BYTES};

    open_office();
    TC_CHECK_EQ(chdir(root), 0);
    for (size_t i = 0; i < TC_ARRAY_LEN(names); i++) {
        answer_with(&(struct tc_desk_file){.path = names[i], .status = 404});
        get(conditions);
        check_answer(404, content, lengths[i]);
        check_field("ETag", NULL);
        check_field("Last-Modified", NULL);
        check_field("Accept-Ranges", NULL);
        ask(&office.fixture, "HEAD", "/f", conditions);
        check_answer(404, "", 0);
        answer_with(&(struct tc_desk_file){.path = names[i], .status = 200});
        ask(&office.fixture, "POST", "/f", conditions);
        check_answer(200, content, lengths[i]);
        check_field("ETag", NULL);
    }
    TC_CHECK_EQ(chdir("/"), 0);
    close_office();
}

TC_TEST(test_desk_file_that_cannot_be_is_refused)
{
    static const struct tc_http_answer_field bad = {"ETag", "mine"};
    static const struct tc_http_answer_field range = {"Content-Range", "bytes 0-1/2"};
    static char type[300];
    struct tc_desk_file file = {.path = "x", .status = 200, .fields = &bad, .field_count = 1};

    TC_CHECK_EQ(tc_desk_file_check(&file), -EINVAL);
    file.fields = &range;
    TC_CHECK_EQ(tc_desk_file_check(&file), -EINVAL);
    file.status = 206;
    TC_CHECK_EQ(tc_desk_file_check(&file), 0);
    memset(type, 'x', sizeof type - 1);
    file.content_type = type;
    TC_CHECK_EQ(tc_desk_file_check(&file), -E2BIG);
}

/* ---- files that cannot be sent ------------------------------------------------------------ */

TC_TEST(test_desk_file_that_is_none_is_a_404_of_which_nobody_is_told)
{
    static char path[TC_STATIC_PATH_BYTES + 1];
    static const char *const names[] = {"none",  "small.txt/", "small.txt/x", "bare",
                                        "bare/", "fifo",       "loop"};

    open_office();
    TC_CHECK_EQ(mkfifo(path_of("fifo"), 0644), 0);
    TC_CHECK_EQ(symlink("loop", path_of("loop")), 0);
    for (size_t i = 0; i < TC_ARRAY_LEN(names); i++) {
        answer_with_file(names[i]);
        get("");
        TC_CHECK_EQ(heard.status, 404);
        check_field("ETag", NULL);
    }
    answer_with(&(struct tc_desk_file){.path = "/dev/null", .status = 200});
    get("");
    TC_CHECK_EQ(heard.status, 404);
    answer_with(&(struct tc_desk_file){.path = "", .status = 200});
    get("");
    TC_CHECK_EQ(heard.status, 404);
    memset(path, 'x', sizeof path - 1);
    answer_with(&(struct tc_desk_file){.path = path, .status = 200});
    get("");
    TC_CHECK_EQ(heard.status, 404);
    close_office();
    TC_CHECK_EQ(atomic_load(&office.told), 0);
}

TC_TEST(test_desk_file_that_fails_is_a_refusal_of_which_the_clerk_is_told)
{
    static const struct {
        enum tc_sys_call call;
        int error;
        int status;
    } cases[] = {
        {TC_SYS_OPENAT2, EACCES, 403},
        {TC_SYS_OPENAT2, EMFILE, 503},
        {TC_SYS_OPENAT2, EIO, 500},
        {TC_SYS_FSTAT, EIO, 500},
    };

    open_office();
    answer_with_file("small.txt");
    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        tc_fault_arm(cases[i].call, 1, cases[i].error, UINT64_MAX);
        get("");
        tc_fault_disarm_all();
        TC_CHECK_EQ(heard.status, cases[i].status);
        WAIT_UNTIL(atomic_load(&office.told) == (int)i + 1);
        TC_CHECK_EQ(atomic_load(&office.error), -cases[i].error);
        get("");
        check_answer(200, content, SMALL_BYTES);
    }
    close_office();
}

TC_TEST(test_desk_file_that_is_not_in_memory_is_looked_up_and_read_on_the_pool)
{
    open_office();
    tc_fault_arm(TC_SYS_OPENAT2, 1, ENOSYS, UINT64_MAX); /* as an older kernel */
    answer_with_file("small.txt");
    get("");
    check_answer(200, content, SMALL_BYTES);
    TC_CHECK_EQ(tc_load_relaxed(&office.clerk.desk.offloads), 1); /* relaxed: the answer has come */
    tc_fault_arm(TC_SYS_PREAD_NOWAIT, 1, EAGAIN, UINT64_MAX);
    answer_with_file("big.bin");
    get("");
    check_answer(200, content, BIG_BYTES);
    TC_CHECK(tc_load_relaxed(&office.clerk.desk.offloads) >= 5); /* relaxed: it, and three slices */
    tc_fault_disarm_all();
    close_office();
}

TC_TEST(test_desk_file_that_shrinks_while_it_is_sent_ends_the_connection)
{
    enum { HUGE_BYTES = 64 * 1024 * 1024 };
    static const char request[] = "GET /f HTTP/1.1\r\nHost: h\r\n\r\n";
    static char skipped[64 * 1024];
    uint64_t total = 0;
    ssize_t n;

    open_office();
    put_text("huge", "");
    TC_CHECK_EQ(truncate(path_of("huge"), HUGE_BYTES), 0);
    answer_with_file("huge");
    int fd = connect_to(office.clerk.net);
    send_exactly(fd, request, sizeof request - 1);
    recv_exactly(fd, skipped, 1000);
    TC_CHECK_EQ(truncate(path_of("huge"), 100), 0);
    while ((n = recv(fd, skipped, sizeof skipped, 0)) > 0) {
        total += (uint64_t)n;
    }
    TC_CHECK(total < HUGE_BYTES);
    close(fd);
    WAIT_UNTIL(atomic_load(&office.told) == 1);
    TC_CHECK_EQ(atomic_load(&office.error), -ENODATA);
    close_office();
}

TC_TEST(test_desk_file_that_grows_while_it_is_sent_has_the_length_that_was_told)
{
    enum { HUGE_BYTES = 16 * 1024 * 1024 };
    static const char request[] = "GET /f HTTP/1.1\r\nHost: h\r\n\r\n"
                                  "HEAD /f HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    static char some[64 * 1024];
    uint64_t total = 1000;
    ssize_t n;

    open_office();
    put_text("huge", "");
    TC_CHECK_EQ(truncate(path_of("huge"), HUGE_BYTES), 0);
    answer_with_file("huge");
    int fd = connect_to(office.clerk.net);
    send_exactly(fd, request, sizeof request - 1);
    recv_exactly(fd, some, 1000);
    size_t head_len = (size_t)(strstr(some, "\r\n\r\n") + 4 - some);
    TC_CHECK_EQ(truncate(path_of("huge"), 2 * HUGE_BYTES), 0);
    while (total < head_len + HUGE_BYTES) {
        uint64_t left = head_len + HUGE_BYTES - total;
        size_t len = left < sizeof some ? (size_t)left : sizeof some;
        recv_exactly(fd, some, len);
        total += len;
    }
    TC_CHECK(some[0] == '\0'); /* still the file */
    n = recv(fd, some, sizeof some - 1, MSG_WAITALL);
    TC_CHECK(n > 0);
    some[n] = '\0';
    TC_CHECK(strncmp(some, "HTTP/1.1 200 OK\r\n", 17) == 0);
    TC_CHECK(strstr(some, "\r\nContent-Length: 33554432\r\n") != NULL); /* by now */
    close(fd);
    close_office();
    TC_CHECK_EQ(atomic_load(&office.told), 0);
}

TC_TEST(test_desk_file_of_a_client_that_resets_is_closed)
{
    static const char request[] = "GET /f HTTP/1.1\r\nHost: h\r\n\r\n";
    char some[100];

    open_office();
    put_text("huge", "");
    TC_CHECK_EQ(truncate(path_of("huge"), 64 * 1024 * 1024), 0);
    answer_with_file("huge");
    int before = count_descriptors();
    for (int i = 0; i < 8; i++) {
        int fd = connect_to(office.clerk.net);
        send_exactly(fd, request, sizeof request - 1);
        if (i % 2 == 0) {
            recv_exactly(fd, some, sizeof some);
        }
        reset_connection(fd);
    }
    WAIT_UNTIL(statistics(office.clerk.net).connections == 0);
    WAIT_UNTIL(count_descriptors() <= before);
    close_office();
    TC_CHECK_EQ(atomic_load(&office.told), 0);
}

/* Fail the nth allocation of each request, until one is made of more than there are. */
TC_TEST(test_desk_file_short_memory_refuses_or_answers_rightly)
{
    static const char *const names[] = {"small.txt", "big.bin"};

    open_office();
    for (size_t i = 0; i < TC_ARRAY_LEN(names); i++) {
        bool has_failed = true;
        answer_with_file(names[i]);
        for (uint64_t nth = 1; has_failed && nth < 100; nth++) {
            tc_fault_arm(TC_FAULT_ALLOC, nth, ENOMEM, 1);
            get("");
            has_failed = tc_fault_hits(TC_FAULT_ALLOC) != 0;
            tc_fault_disarm_all();
            if (heard.status != 200 && heard.status != 503 && heard.status != 500 &&
                heard.status != 0) {
                tc_test_failf("%s, allocation %llu: %d", names[i], (unsigned long long)nth,
                              heard.status);
            }
        }
        TC_CHECK(!has_failed);
    }
    get("");
    check_answer(200, content, BIG_BYTES);
    close_office();
}
