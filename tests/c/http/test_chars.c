#include <string.h>

#include "harness.h"
#include "http/chars.h"
#include "http/error.h"
#include "http/field.h"
#include "http/method.h"

/* The classes as the RFCs write them down. */
static int classes_of(unsigned c)
{
    bool is_digit = c >= '0' && c <= '9';
    bool is_alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    bool is_hex = is_digit || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    int classes = 0;

    if (c != 0 && (is_digit || is_alpha || (c < 128 && strchr("!#$%&'*+-.^_`|~", (int)c)))) {
        classes |= TC_HTTP_TOKEN;
    }
    if (c > 0x20 && c < 0x7f && c != '#') {
        classes |= TC_HTTP_TARGET;
    }
    if (c == '\t' || (c >= 0x20 && c != 0x7f)) {
        classes |= TC_HTTP_VALUE;
    }
    if (c != 0 && (is_digit || is_alpha || (c < 128 && strchr("-._~%!$&'()*+,;=", (int)c)))) {
        classes |= TC_HTTP_HOST;
    }
    if (c >= 0x20 && c != 0x7f && c != '/' && c != '\\' && c != '%') {
        classes |= TC_HTTP_SEGMENT;
    }
    return classes | (is_hex ? TC_HTTP_HEX : 0) | (is_digit ? TC_HTTP_DIGIT : 0);
}

TC_TEST(test_chars_table_agrees_with_the_grammar)
{
    for (unsigned c = 0; c < 256; c++) {
        TC_CHECK_EQ(tc_http_classes[c], classes_of(c));
    }
    for (const char *c = "0123456789abcdef"; *c != '\0'; c++) {
        TC_CHECK_EQ(tc_http_hex(*c),
                    (unsigned)(strchr("0123456789abcdef", *c) - "0123456789abcdef"));
    }
    TC_CHECK_EQ(tc_http_hex('A'), 10);
    TC_CHECK_EQ(tc_http_hex('F'), 15);
}

TC_TEST(test_chars_word_is_compared_without_case)
{
    TC_CHECK(tc_http_is_word("ChUnKeD", 7, "chunked", 7));
    TC_CHECK(!tc_http_is_word("chunke", 6, "chunked", 7));
    TC_CHECK(!tc_http_is_word("chunke[", 7, "chunked", 7));
    TC_CHECK(tc_http_is_word("", 0, "", 0));
}

/* Every known field is found in any case, and no name that differs in one byte is taken for it. */
TC_TEST(test_field_name_is_found_in_any_case_and_no_other_is)
{
    char name[32];

    for (int field = 1; field < TC_HTTP_FIELD_COUNT; field++) {
        const struct tc_http_field_name *known = &tc_http_field_names[field];
        memcpy(name, known->text, known->len);
        TC_CHECK_EQ((int)tc_http_field_find(name, known->len), field);
        for (uint32_t i = 0; i < known->len; i++) {
            char was = name[i];
            for (int c = 1; c < 256; c++) {
                name[i] = (char)c;
                if (tc_http_is((char)c, TC_HTTP_TOKEN)) {
                    bool is_same = tc_http_lower((char)c) == was;
                    TC_CHECK_EQ((int)tc_http_field_find(name, known->len),
                                is_same ? field : TC_HTTP_FIELD_OTHER);
                }
            }
            name[i] = was;
        }
        TC_CHECK_EQ((int)tc_http_field_find(name, known->len - 1), TC_HTTP_FIELD_OTHER);
    }
    TC_CHECK_EQ((int)tc_http_field_find("x", 1), TC_HTTP_FIELD_OTHER);
}

TC_TEST(test_method_name_is_found_in_its_own_case_only)
{
    size_t longest = 0;

    for (int i = 0; i < TC_HTTP_METHOD_COUNT; i++) {
        const char *name = tc_http_method_name((enum tc_http_method)i);
        TC_CHECK_EQ((int)tc_http_method_find(name, strlen(name)), i);
        longest = strlen(name) > longest ? strlen(name) : longest;
    }
    TC_CHECK_EQ(longest, TC_HTTP_METHOD_LONGEST);
    TC_CHECK_EQ((int)tc_http_method_find("get", 3), TC_HTTP_METHOD_COUNT);
    TC_CHECK_EQ((int)tc_http_method_find("GE", 2), TC_HTTP_METHOD_COUNT);
}

TC_TEST(test_error_list_has_a_status_and_a_clause_for_each)
{
    for (int i = 1; i < TC_HTTP_ERROR_COUNT; i++) {
        int status = tc_http_error_status(-i);
        TC_CHECK(status >= 400 && status < 600);
        TC_CHECK(strncmp(tc_http_error_clause(-i), "RFC ", 4) == 0);
        TC_CHECK(strlen(tc_http_error_name(-i)) > 3);
    }
}
