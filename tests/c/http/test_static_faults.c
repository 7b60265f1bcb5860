/* Files while calls fail, memory is short, or the kernel is old: a right answer or a refusal. */
#include "static_support.h"

static const struct tc_static_options looking = {
    .index = "index.html",
    .recheck_ns = 0,
    .cache_bytes = 1024 * 1024,
    .listing = true,
};

static const struct {
    const char *target;
    int status;
} targets[] = {
    {"/s/small.txt", 200}, {"/s/big.bin", 200}, {"/s/with%20index/", 200},
    {"/s/bare/", 200},     {"/s/bare", 301},
};

static void check_targets(const struct fixture *fixture)
{
    for (size_t i = 0; i < TC_ARRAY_LEN(targets); i++) {
        ask(fixture, "GET", targets[i].target, "");
        TC_CHECK_EQ(heard.status, targets[i].status);
    }
}

TC_TEST(test_static_without_openat2_walks_and_follows_no_link)
{
    make_root();
    TC_CHECK_EQ(mkdir(path_of("bare/deep"), 0755), 0);
    put_text("bare/deep/file", "deep");
    TC_CHECK_EQ(symlink("deep", path_of("bare/link")), 0);
    TC_CHECK_EQ(symlink("small.txt", path_of("inside")), 0);
    tc_fault_arm(TC_SYS_OPENAT2, 1, ENOSYS, UINT64_MAX);
    struct fixture fixture = serve_root(&looking);
    tc_fault_disarm_all();
    uint64_t before = seen_by(&fixture).offloads;
    check_targets(&fixture);
    TC_CHECK(seen_by(&fixture).offloads > before);
    ask(&fixture, "GET", "/s/bare/deep/file", "");
    check_answer(200, "deep", 4);
    ask(&fixture, "GET", "/s/bare/link/file", "");
    TC_CHECK_EQ(heard.status, 404);
    ask(&fixture, "GET", "/s/inside", "");
    TC_CHECK_EQ(heard.status, 404);
    ask(&fixture, "GET", "/s/small.txt/", "");
    TC_CHECK_EQ(heard.status, 404);
    end_root(&fixture);
}

TC_TEST(test_static_file_that_is_not_in_memory_is_read_on_the_pool)
{
    make_root();
    struct fixture fixture = serve_root(&looking);

    tc_fault_arm(TC_SYS_PREAD_NOWAIT, 1, EAGAIN, UINT64_MAX);
    ask(&fixture, "GET", "/s/small.txt", "");
    check_answer(200, content, SMALL_BYTES);
    TC_CHECK(seen_by(&fixture).offloads >= 1);
    ask(&fixture, "GET", "/s/big.bin", "");
    check_answer(200, content, BIG_BYTES);
    TC_CHECK(seen_by(&fixture).offloads >= 4); /* three slices */
    tc_fault_arm(TC_SYS_PREAD_NOWAIT, 1, EOPNOTSUPP, UINT64_MAX);
    ask(&fixture, "GET", "/s/small.txt", "");
    check_answer(200, content, SMALL_BYTES);
    tc_fault_arm(TC_SYS_SENDFILE, 1, EINVAL, UINT64_MAX); /* it cannot take from this file */
    ask(&fixture, "GET", "/s/big.bin", "");
    check_answer(200, content, BIG_BYTES);
    tc_fault_disarm_all();
    end_root(&fixture);
}

TC_TEST(test_static_file_that_is_half_in_memory_is_read_on_the_pool_from_there_on)
{
    make_root();
    struct fixture fixture = serve_root(&looking);

    ask(&fixture, "GET", "/s/big.bin", "");
    uint64_t before = seen_by(&fixture).offloads;
    /* Its first byte and one after 256 KiB are there; what follows is not, and is looked at
     * twice. */
    tc_fault_arm(TC_SYS_PREAD_NOWAIT, 3, EAGAIN, 2);
    ask(&fixture, "GET", "/s/big.bin", "");
    check_answer(200, content, BIG_BYTES);
    TC_CHECK_EQ(tc_fault_hits(TC_SYS_PREAD_NOWAIT), 2);
    TC_CHECK_EQ(seen_by(&fixture).offloads, before + 1);
    tc_fault_disarm_all();
    end_root(&fixture);
}

TC_TEST(test_static_file_in_memory_is_not_looked_at_again_at_once)
{
    struct tc_static_options options = looking;
    bool was_quick = false;

    options.recheck_ns = SECONDS(3600);
    make_root();
    struct fixture fixture = serve_root(&options);
    for (int i = 0; i < 100 && !was_quick; i++) { /* a machine that is too slow for it shows less */
        pause_ms(11); /* what the last round saw is forgotten */
        int64_t began_ns = tc_clock_now_ns();
        ask(&fixture, "GET", "/s/big.bin", "");
        tc_fault_arm(TC_SYS_PREAD_NOWAIT, 1, EAGAIN, UINT64_MAX);
        ask(&fixture, "GET", "/s/big.bin", "");
        was_quick = tc_clock_now_ns() - began_ns < SECONDS(0.01);
        TC_CHECK(!was_quick || tc_fault_hits(TC_SYS_PREAD_NOWAIT) == 0);
        check_answer(200, content, BIG_BYTES);
        tc_fault_disarm_all();
    }
    uint64_t before = seen_by(&fixture).offloads;
    tc_fault_arm(TC_SYS_PREAD_NOWAIT, 1, EAGAIN, UINT64_MAX);
    while (seen_by(&fixture).offloads == before) { /* but some time later it is */
        ask(&fixture, "GET", "/s/big.bin", "");
        check_answer(200, content, BIG_BYTES);
    }
    TC_CHECK(tc_fault_hits(TC_SYS_PREAD_NOWAIT) > 0);
    tc_fault_disarm_all();
    end_root(&fixture);
}

/* Its length is all that is wanted. */
TC_TEST(test_static_head_reads_nothing_of_a_large_file)
{
    make_root();
    struct fixture fixture = serve_root(&looking);

    tc_fault_arm(TC_SYS_PREAD_NOWAIT, 1, EAGAIN, UINT64_MAX);
    ask(&fixture, "HEAD", "/s/big.bin", "");
    check_answer(200, "", 0);
    check_field("Content-Length", "716817");
    TC_CHECK_EQ(tc_fault_hits(TC_SYS_PREAD_NOWAIT), 0);
    tc_fault_disarm_all();
    end_root(&fixture);
}

TC_TEST(test_static_failed_calls_have_their_status)
{
    static const struct {
        enum tc_sys_call call;
        int error;
        const char *target;
        int status;
    } cases[] = {
        {TC_SYS_OPENAT2, EMFILE, "/s/small.txt", 503}, {TC_SYS_OPENAT2, ENFILE, "/s/bare/", 503},
        {TC_SYS_OPENAT2, EACCES, "/s/small.txt", 403}, {TC_SYS_OPENAT2, ELOOP, "/s/small.txt", 404},
        {TC_SYS_OPENAT2, EXDEV, "/s/small.txt", 404},  {TC_SYS_OPENAT2, EIO, "/s/small.txt", 500},
        {TC_SYS_OPENAT2, EAGAIN, "/s/small.txt", 503}, {TC_SYS_FSTAT, EIO, "/s/small.txt", 500},
        {TC_SYS_GETDENTS, EIO, "/s/bare/", 500},       {TC_SYS_GETDENTS, ENOMEM, "/s/bare/", 503},
    };

    make_root();
    struct fixture fixture = serve_root(&looking);
    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        tc_fault_arm(cases[i].call, 1, cases[i].error, UINT64_MAX);
        ask(&fixture, "GET", cases[i].target, "");
        tc_fault_disarm_all();
        TC_CHECK_EQ(heard.status, cases[i].status);
        check_targets(&fixture);
    }
    end_root(&fixture);
}

TC_TEST(test_static_file_that_cannot_be_read_is_a_500)
{
    make_root();
    struct fixture fixture = serve_root(&looking);

    tc_fault_arm(TC_SYS_PREAD, 1, EIO, UINT64_MAX); /* on the pool, if the kernel sends it there */
    tc_fault_arm(TC_SYS_PREAD_NOWAIT, 1, EIO, UINT64_MAX);
    ask(&fixture, "GET", "/s/small.txt", "");
    tc_fault_disarm_all();
    TC_CHECK_EQ(heard.status, 500);
    check_targets(&fixture);
    end_root(&fixture);
}

TC_TEST(test_static_failed_sendfile_ends_the_connection)
{
    make_root();
    struct fixture fixture = serve_root(&looking);

    for (uint64_t nth = 1; nth <= 3; nth++) {
        tc_fault_arm(TC_SYS_PREAD_NOWAIT, 1, EAGAIN, UINT64_MAX); /* in three slices */
        tc_fault_arm(TC_SYS_SENDFILE, nth, EIO, 1);
        ask(&fixture, "GET", "/s/big.bin", "");
        tc_fault_disarm_all();
        TC_CHECK_EQ(heard.status, 200);
        TC_CHECK(heard.body_len < BIG_BYTES);
    }
    end_root(&fixture);
}

/* Fail the nth allocation of each request, until one is made of more than there are. */
TC_TEST(test_static_short_memory_refuses_or_answers_rightly)
{
    make_root();
    struct fixture fixture = serve_root(&looking);

    for (size_t i = 0; i < TC_ARRAY_LEN(targets); i++) {
        bool has_failed = true;
        for (uint64_t nth = 1; has_failed && nth < 100; nth++) {
            tc_fault_arm(TC_FAULT_ALLOC, nth, ENOMEM, 1);
            ask(&fixture, "GET", targets[i].target, "");
            has_failed = tc_fault_hits(TC_FAULT_ALLOC) != 0;
            tc_fault_disarm_all();
            bool is_right = heard.status == targets[i].status || heard.status == 503 ||
                            heard.status == 500 || heard.status == 0;
            if (!is_right) {
                tc_test_failf("%s, allocation %llu: %d", targets[i].target, (unsigned long long)nth,
                              heard.status);
            }
        }
        TC_CHECK(!has_failed);
    }
    check_targets(&fixture);
    end_root(&fixture);
}
