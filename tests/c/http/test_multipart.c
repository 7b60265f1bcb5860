#include "http/multipart.h"
#include "support.h"

static const char type[] = "multipart/form-data; boundary=XyZ";

/* What a body gives, as text: "name/filename/type:content;" for each part, then "." at the end, an
 * error's name, or nothing if it goes on. */
static void read_parts(const char *body, size_t len, size_t step, char *out, size_t size)
{
    static struct tc_multipart multipart;
    size_t n = 0;

    TC_CHECK_EQ(tc_multipart_init(&multipart, type, strlen(type)), 0);
    for (size_t at = 0; at < len; at += step) {
        size_t piece = len - at < step ? len - at : step;
        const char *buf = at_edge(body + at, piece);
        for (size_t done = 0; done < piece;) {
            struct tc_multipart_text data;
            size_t used;
            int event = tc_multipart_next(&multipart, buf + done, piece - done, &used, &data);
            done += used;
            if (event < 0 || event == TC_MULTIPART_END) {
                snprintf(out + n, size - n, "%s", event < 0 ? tc_http_error_name(event) : ".");
                return;
            }
            if (event == TC_MULTIPART_PART) {
                n += (size_t)snprintf(out + n, size - n, "%.*s/%.*s/%.*s:", (int)multipart.name.len,
                                      multipart.name.at, (int)multipart.filename.len,
                                      multipart.filename.at ? multipart.filename.at : "",
                                      (int)multipart.content_type.len,
                                      multipart.content_type.at ? multipart.content_type.at : "");
            } else if (event == TC_MULTIPART_DATA) {
                TC_CHECK(data.len > 0);
                n += (size_t)snprintf(out + n, size - n, "%.*s", (int)data.len, data.at);
            } else if (event == TC_MULTIPART_PART_END) {
                n += (size_t)snprintf(out + n, size - n, ";");
            }
        }
    }
    out[n] = '\0';
}

/* MP1 */
static void check_body(const char *body, const char *expected)
{
    char out[1024];
    size_t len = strlen(body);

    for (size_t step = 1; step <= len; step++) {
        read_parts(body, len, step, out, sizeof out);
        if (strcmp(out, expected) != 0) {
            tc_test_failf("%zu at a time: %s\nnot %s", step, out, expected);
        }
    }
}

#define PART(parameters) "--XyZ\r\nContent-Disposition: form-data; " parameters "\r\n\r\n"

TC_TEST(test_multipart_parts_come_out_at_every_step)
{
    check_body(PART("name=a") "1\r\n" PART("name=\"b\"; filename=\"x.txt\"") "two\r\n--XyZ--",
               "a//:1;b/x.txt/:two;.");
    check_body(
        "--XyZ\r\ncontent-type: text/plain \r\nCONTENT-DISPOSITION:form-data;name=a\r\nX: y\r\n"
        "\r\nv\r\n--XyZ--\r\nepilogue",
        "a//text/plain:v;.");
    check_body("preamble\r\nmore\r\n" PART("name=a") "1\r\n--XyZ--\r\n", "a//:1;.");
    check_body("--XyZ--", ".");
}

TC_TEST(test_multipart_content_that_resembles_a_delimiter_is_data)
{
    check_body(PART("name=a") "\r\n--Xy\r\r\n--X\r\n-\n--XyZ\r\r\n--XyZ--",
               "a//:\r\n--Xy\r\r\n--X\r\n-\n--XyZ\r;.");
    check_body(PART("name=a") "\r\n--XyZ--", "a//:;.");
    check_body(PART("name=a") "--XyZ--\r\n--XyZ--", "a//:--XyZ--;.");
}

TC_TEST(test_multipart_names_are_unquoted)
{
    check_body(PART("name=\"a\\\"b\"; filename=\"C:\\x\\\\y\"") "\r\n--XyZ--",
               "a\"b/C:\\x\\\\y/:;.");
    check_body(PART("name=\"\"; filename=\"\"") "\r\n--XyZ--", "//:;.");
    check_body(PART("name=\"a;b=c\"; x=y;") "\r\n--XyZ--", "a;b=c//:;.");
}

TC_TEST(test_multipart_part_out_of_order_is_refused)
{
    check_body("--XyZ\r\n\r\n\r\n--XyZ--", "PART_INVALID");
    check_body("--XyZ\r\nContent-Type: a\r\n\r\n", "PART_INVALID");
    check_body("--XyZ\r\nContent-Disposition: attachment; name=a\r\n\r\n", "PART_INVALID");
    check_body("--XyZ\r\nContent-Disposition: form-data\r\n\r\n", "PART_INVALID");
    check_body(PART("filename=a"), "PART_INVALID");
    check_body(PART("name=a; name=b"), "PART_INVALID");
    check_body(PART("name=\"a"), "PART_INVALID");
    check_body(PART("name"), "PART_INVALID");
    check_body(PART("name=a b"), "PART_INVALID");
    check_body("--XyZ\r\nno colon\r\n\r\n", "PART_INVALID");
    check_body("--XyZ\r\nContent-Disposition: form-data; name=a\nX: y\r\n\r\n", "PART_INVALID");
    check_body("--XyZx", "DELIMITER_INVALID");
    check_body("--XyZ-x", "DELIMITER_INVALID");
    check_body("--XyZ\rx", "DELIMITER_INVALID");
    check_body(PART("name=a") "1\r\n--XyZ\n", "a//:1;DELIMITER_INVALID");
}

TC_TEST(test_multipart_fields_beyond_the_limit_are_refused)
{
    char body[4096];
    char out[64];
    int n = snprintf(body, sizeof body, "--XyZ\r\nX: ");

    memset(body + n, 'a', 2000);
    read_parts(body, (size_t)n + 2000, 100, out, sizeof out);
    TC_CHECK(strcmp(out, "PART_HEAD_TOO_LARGE") == 0);
}

TC_TEST(test_multipart_type_without_a_boundary_is_refused)
{
    static const char *const bad[] = {
        "",
        "multipart/mixed; boundary=a",
        "multipart/form-data",
        "multipart/form-data;",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"a \"",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=\"a\x01\"",
        "multipart/form-data; boundary=\"a@\"",
        "multipart/form-data boundary=a",
        "multipart/form-datax; boundary=a",
        "multipart/form-data; boundary=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaa",
    };
    static const char *const good[] = {
        "multipart/form-data;boundary=a",
        "Multipart/Form-Data; charset=utf-8 ; BOUNDARY=\"a b\"",
        "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
    };
    static struct tc_multipart multipart;

    for (size_t i = 0; i < TC_ARRAY_LEN(bad); i++) {
        if (tc_multipart_init(&multipart, bad[i], strlen(bad[i])) != TC_HTTP_E_BOUNDARY_INVALID) {
            tc_test_failf("%s", bad[i]);
        }
    }
    for (size_t i = 0; i < TC_ARRAY_LEN(good); i++) {
        TC_CHECK_EQ(tc_multipart_init(&multipart, good[i], strlen(good[i])), 0);
    }
}
