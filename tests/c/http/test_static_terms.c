/* What the fields of whoever answers with a file say of it. */
#include <errno.h>
#include <string.h>

#include "harness.h"
#include "http/static_terms.h"

static int read_one(struct tc_static_terms *terms, const char *name, const char *value)
{
    static struct tc_http_answer_field field;

    field = (struct tc_http_answer_field){name, value};
    terms->fields = &field;
    terms->field_count = 1;
    return tc__static_terms_read(terms);
}

TC_TEST(test_static_terms_fields_are_found_in_any_case)
{
    struct tc_static_terms terms = {.status = 200};

    TC_CHECK_EQ(tc__static_terms_read(&terms), 0);
    TC_CHECK(terms.may_range && !terms.has_ranges && !terms.has_nosniff);
    TC_CHECK(terms.etag == NULL && terms.modified_text == NULL);
    TC_CHECK_EQ(read_one(&terms, "etag", "W/\"1\""), 0);
    TC_CHECK(strcmp(terms.etag, "W/\"1\"") == 0);
    TC_CHECK_EQ(read_one(&terms, "Last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"), 0);
    TC_CHECK_EQ(terms.modified, 784111777);
    TC_CHECK(terms.etag == NULL); /* of the fields before */
    TC_CHECK_EQ(read_one(&terms, "ACCEPT-RANGES", "none"), 0);
    TC_CHECK(terms.has_ranges && !terms.may_range);
    TC_CHECK_EQ(read_one(&terms, "Accept-Ranges", "Bytes"), 0);
    TC_CHECK(terms.has_ranges && terms.may_range);
    TC_CHECK_EQ(read_one(&terms, "X-Content-Type-Options", "nosniff"), 0);
    TC_CHECK(terms.has_nosniff && !terms.has_ranges);
}

TC_TEST(test_static_terms_that_cannot_be_are_refused)
{
    struct tc_static_terms terms = {.status = 200};

    TC_CHECK_EQ(read_one(&terms, "ETag", "1"), -EINVAL);
    TC_CHECK_EQ(read_one(&terms, "ETag", "\"1\", \"2\""), -EINVAL);
    TC_CHECK_EQ(read_one(&terms, "Last-Modified", "yesterday"), -EINVAL);
    TC_CHECK_EQ(read_one(&terms, "Content-Range", "bytes 0-1/2"), -EINVAL);
    terms.is_plain = true;
    TC_CHECK_EQ(read_one(&terms, "Content-Range", "bytes 0-1/2"), 0);
    static const struct tc_http_answer_field twice[] = {{"ETag", "\"1\""}, {"etag", "\"1\""}};
    terms.fields = twice;
    terms.field_count = 2;
    TC_CHECK_EQ(tc__static_terms_read(&terms), -EINVAL);
}

TC_TEST(test_static_terms_have_a_size)
{
    static struct tc_http_answer_field fields[TC_STATIC_FIELDS_MAX + 1];
    static char text[2048];
    struct tc_static_terms terms = {.status = 200, .fields = fields};

    for (size_t i = 0; i < TC_ARRAY_LEN(fields); i++) {
        fields[i] = (struct tc_http_answer_field){"X", "y"};
    }
    terms.field_count = TC_STATIC_FIELDS_MAX;
    TC_CHECK_EQ(tc__static_terms_read(&terms), 0);
    terms.field_count++;
    TC_CHECK_EQ(tc__static_terms_read(&terms), -E2BIG);
    memset(text, 'x', sizeof text - 1);
    TC_CHECK_EQ(read_one(&terms, "X", text + 10), 0);
    TC_CHECK_EQ(read_one(&terms, "X", text), -E2BIG);
    terms.content_type = text + sizeof text - 1 - TC_STATIC_TYPE_BYTES;
    TC_CHECK_EQ(read_one(&terms, "X", "y"), 0);
    terms.content_type--;
    TC_CHECK_EQ(read_one(&terms, "X", "y"), -E2BIG);
}
