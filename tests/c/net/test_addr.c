#include <errno.h>
#include <string.h>

#include "harness.h"
#include "net/addr.h"

static void check_text(const char *host, uint16_t port, const char *expected)
{
    struct tc_addr addr;
    char text[TC_ADDR_TEXT_BYTES];

    TC_CHECK_EQ(tc_addr_parse(host, port, &addr), 0);
    TC_CHECK_EQ(tc_addr_format(&addr, text, sizeof text), strlen(expected));
    TC_CHECK(strcmp(text, expected) == 0);
    TC_CHECK_EQ(tc_addr_port(&addr), port);
}

TC_TEST(test_addr_numeric_hosts_are_parsed_and_formatted)
{
    check_text("127.0.0.1", 80, "127.0.0.1:80");
    check_text("0.0.0.0", 65535, "0.0.0.0:65535");
    check_text("::1", 1, "[::1]:1");
    check_text("::", 0, "[::]:0");
    check_text("fe80::1%7", 9, "[fe80::1%7]:9");
    check_text("::ffff:1.2.3.4", 5, "[::ffff:1.2.3.4]:5");
}

TC_TEST(test_addr_localhost_null_and_empty_mean_ipv4_loopback)
{
    check_text("localhost", 8, "127.0.0.1:8");
    check_text(NULL, 8, "127.0.0.1:8");
    check_text("", 8, "127.0.0.1:8");
}

TC_TEST(test_addr_loopback_is_a_network_in_ipv4_and_an_address_in_ipv6)
{
    static const char *const loopback[] = {"127.0.0.1", "127.255.255.254", "::1"};
    static const char *const others[] = {"0.0.0.0", "126.255.255.255", "128.0.0.0",
                                         "::",      "fe80::1%127",     "::ffff:127.0.0.1"};
    struct tc_addr addr;

    for (size_t i = 0; i < TC_ARRAY_LEN(loopback); i++) {
        TC_CHECK_EQ(tc_addr_parse(loopback[i], 1, &addr), 0);
        TC_CHECK(tc_addr_is_loopback(&addr));
    }
    for (size_t i = 0; i < TC_ARRAY_LEN(others); i++) {
        TC_CHECK_EQ(tc_addr_parse(others[i], 1, &addr), 0);
        TC_CHECK(!tc_addr_is_loopback(&addr));
    }
    TC_CHECK_EQ(tc_addr_from_path("@127.0.0.1", &addr), 0);
    TC_CHECK(!tc_addr_is_loopback(&addr));
}

TC_TEST(test_addr_anything_else_is_einval_and_leaves_the_result_alone)
{
    static const char *const bad[] = {
        "example.org",
        "127.0.0",
        "127.0.0.256",
        "1",
        " 127.0.0.1",
        "127.0.0.1 ",
        "[::1]",
        ":::",
        "fe80::1%",
        "fe80::1%eth0",
        "fe80::1%4294967296",
        "::1%-1",
        "localhost.",
        "1.2.3.4%1",
        "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001",
    };
    struct tc_addr addr;

    for (size_t i = 0; i < TC_ARRAY_LEN(bad); i++) {
        memset(&addr, 0x5a, sizeof addr);
        TC_CHECK_EQ(tc_addr_parse(bad[i], 1, &addr), -EINVAL);
        TC_CHECK_EQ(addr.length, 0x5a5a5a5a);
    }
}

TC_TEST(test_addr_unix_paths_and_abstract_names_keep_their_exact_length)
{
    struct tc_addr addr;
    struct tc_addr same;
    char text[TC_ADDR_TEXT_BYTES];
    char path[sizeof addr.storage.local.sun_path + 2];

    TC_CHECK_EQ(tc_addr_from_path("/tmp/x", &addr), 0);
    tc_addr_format(&addr, text, sizeof text);
    TC_CHECK(strcmp(text, "unix:/tmp/x") == 0);
    TC_CHECK_EQ(tc_addr_from_path("@name", &addr), 0);
    TC_CHECK_EQ(addr.storage.local.sun_path[0], 0);
    TC_CHECK_EQ(addr.length, sizeof(sa_family_t) + 5);
    tc_addr_format(&addr, text, sizeof text);
    TC_CHECK(strcmp(text, "unix:@name") == 0);
    TC_CHECK_EQ(tc_addr_from_path("@name", &same), 0);
    TC_CHECK(tc_addr_is_equal(&addr, &same));
    TC_CHECK_EQ(tc_addr_from_path("", &addr), -EINVAL);
    TC_CHECK_EQ(tc_addr_from_path(NULL, &addr), -EINVAL);
    memset(path, 'a', sizeof path);
    path[sizeof addr.storage.local.sun_path] = '\0';
    TC_CHECK_EQ(tc_addr_from_path(path, &addr), -ENAMETOOLONG);
    path[sizeof addr.storage.local.sun_path - 1] = '\0';
    TC_CHECK_EQ(tc_addr_from_path(path, &addr), 0);
    TC_CHECK_EQ(tc_addr_format(&addr, text, sizeof text), strlen(path) + 5);
    memset(addr.storage.local.sun_path, 'a', sizeof addr.storage.local.sun_path);
    addr.length = sizeof addr.storage.local + 1; /* as getsockname reports a path without a NUL */
    TC_CHECK_EQ(tc_addr_format(&addr, text, sizeof text), sizeof addr.storage.local.sun_path + 5);
}

TC_TEST(test_addr_format_cuts_and_terminates)
{
    struct tc_addr addr;
    char text[8];

    TC_CHECK_EQ(tc_addr_parse("127.0.0.1", 80, &addr), 0);
    TC_CHECK_EQ(tc_addr_format(&addr, text, sizeof text), 7);
    TC_CHECK(strcmp(text, "127.0.0") == 0);
    TC_CHECK_EQ(tc_addr_format(&addr, text, 0), 0);
    memset(&addr, 0, sizeof addr);
    TC_CHECK_EQ(tc_addr_format(&addr, text, sizeof text), 1);
    TC_CHECK(strcmp(text, "?") == 0);
}

TC_TEST(test_addr_equality_compares_family_host_scope_and_port)
{
    struct tc_addr a;
    struct tc_addr b;

    TC_CHECK_EQ(tc_addr_parse("::1", 5, &a), 0);
    TC_CHECK_EQ(tc_addr_parse("::1", 5, &b), 0);
    TC_CHECK(tc_addr_is_equal(&a, &b));
    TC_CHECK_EQ(tc_addr_parse("::1", 6, &b), 0);
    TC_CHECK(!tc_addr_is_equal(&a, &b));
    TC_CHECK_EQ(tc_addr_parse("::1%3", 5, &b), 0);
    TC_CHECK(!tc_addr_is_equal(&a, &b));
    TC_CHECK_EQ(tc_addr_parse("127.0.0.1", 5, &b), 0);
    TC_CHECK(!tc_addr_is_equal(&a, &b));
}
