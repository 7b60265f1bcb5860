/* Names of files in Content-Disposition. */
#include <errno.h>
#include <string.h>

#include "harness.h"
#include "http/disposition.h"

TC_TEST(test_disposition_name_is_written_for_old_and_new_clients)
{
    static const struct {
        const char *name;
        const char *value;
    } cases[] = {
        {"report.pdf", "attachment; filename=\"report.pdf\""},
        {"a b;c,d=e'f.txt", "attachment; filename=\"a b;c,d=e'f.txt\""},
        {"a\"b\\c%20d", "attachment; filename=\"a_b_c_20d\"; filename*=UTF-8''a%22b%5Cc%2520d"},
        {"\xe2\x82\xac rates",
         "attachment; filename=\"_ rates\"; filename*=UTF-8''%E2%82%AC%20rates"},
        {"na\xc3\xafve", "attachment; filename=\"na_ve\"; filename*=UTF-8''na%C3%AFve"},
        {"\xf0\x9f\x98\x80!#$&+-.^_`|~*",
         "attachment; filename=\"_!#$&+-.^_`|~*\"; filename*=UTF-8''%F0%9F%98%80!#$&+-.^_`|~%2A"},
    };
    char out[512];

    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        size_t len = strlen(cases[i].name);
        TC_CHECK(TC_HTTP_DISPOSITION_BYTES(len) <= sizeof out);
        ssize_t n = tc_http_disposition_write(cases[i].name, len, out);
        if (n != (ssize_t)strlen(cases[i].value) || strcmp(out, cases[i].value) != 0) {
            tc_test_failf("%s: %s", cases[i].name, out);
        }
    }
}

TC_TEST(test_disposition_longest_value_has_room)
{
    static char name[1000];
    char out[TC_HTTP_DISPOSITION_BYTES(sizeof name) + 1];

    memset(name, '"', sizeof name);
    out[sizeof out - 1] = 'x';
    ssize_t n = tc_http_disposition_write(name, sizeof name, out);
    TC_CHECK(n > (ssize_t)(4 * sizeof name) && (size_t)n < sizeof out - 1);
    TC_CHECK_EQ(out[sizeof out - 1], 'x');
}

TC_TEST(test_disposition_refuses_what_is_no_name)
{
    static const char *const names[] = {"", "a/b", "/", "a\r\nX: y", "a\tb", "\x7f", "\x01"};
    char out[TC_HTTP_DISPOSITION_BYTES(16)];

    for (size_t i = 0; i < TC_ARRAY_LEN(names); i++) {
        TC_CHECK_EQ(tc_http_disposition_write(names[i], strlen(names[i]), out), -EINVAL);
    }
    TC_CHECK_EQ(tc_http_disposition_write("a\0b", 3, out), -EINVAL);
}
