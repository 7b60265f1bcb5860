/* Requests that upload, with a scripted body: what is answered, and what is in the directory
 * then. */
#include "upload_support.h"

#include "http/json.h"
#include "http/method.h"
#include "http/upload.h"

static const char form_type[] = "multipart/form-data; boundary=X";
static const char form[] = "--X\r\n"
                           "Content-Disposition: form-data; name=\"title\"\r\n\r\n"
                           "no file\r\n--X\r\n"
                           "Content-Disposition: form-data; name=\"a\"; filename=\"../a\"\r\n\r\n"
                           "first\r\n--\r\n--X\r\n"
                           "Content-Disposition: form-data; name=\"b\"; filename=\"\"\r\n\r\n"
                           "\r\n--X\r\n"
                           "Content-Disposition: form-data; name=\"c\"; filename=\"c\"\r\n\r\n"
                           "\r\n--X--\r\nepilogue";

/* ---- a request on a fiber ------------------------------------------------------------------ */

struct script {
    struct tc_upload_dir *dir;
    struct tc_http_upload_request request;
    const char *body;
    size_t len;
    size_t at;
    size_t step; /* bytes a read; 0: as many as fit */
    ssize_t ending; /* what the body ends with */
    bool was_read;
    struct tc_http_upload_result result;
};

static ssize_t read_script(void *arg, void *buf, size_t len)
{
    struct script *script = arg;
    size_t part = script->len - script->at;

    script->was_read = true;
    if (part == 0) {
        return script->ending;
    }
    part = part < len ? part : len;
    part = script->step != 0 && script->step < part ? script->step : part;
    memcpy(buf, script->body + script->at, part);
    script->at += part;
    return (ssize_t)part;
}

static void script_entry(void *arg)
{
    struct script *script = arg;

    script->at = 0;
    script->was_read = false;
    script->request.read = read_script;
    script->request.arg = script;
    tc_http_upload(script->dir, &script->request, &script->result);
}

static int run_script(struct script *script)
{
    struct tc_runtime *runtime = start_runtime(1);

    TC_CHECK_EQ(tc_runtime_run(runtime, script_entry, script), 0);
    stop_runtime(runtime);
    TC_CHECK_EQ(statistics_of(script->dir).files_in_progress, 0);
    return script->result.status;
}

static struct script put(struct tc_upload_dir *dir, const char *name, size_t len)
{
    return (struct script){
        .dir = dir,
        .request = {.method = TC_HTTP_PUT,
                    .name = name,
                    .name_len = strlen(name),
                    .has_body = true,
                    .content_length = (int64_t)len},
        .body = (const char *)body,
        .len = len,
    };
}

static struct script post(struct tc_upload_dir *dir, const char *type, const char *bytes,
                          size_t len)
{
    return (struct script){
        .dir = dir,
        .request = {.method = TC_HTTP_POST,
                    .content_type = type,
                    .content_type_len = type == NULL ? 0 : strlen(type),
                    .has_body = true,
                    .content_length = -1},
        .body = bytes,
        .len = len,
    };
}

static void check_json(const struct script *script, const char *expected)
{
    TC_CHECK_EQ(script->result.json_len, strlen(expected));
    TC_CHECK(memcmp(script->result.json, expected, strlen(expected)) == 0);
}

/* Compare a file with text. */
static void check_text(const char *name, const char *expected)
{
    char found[64];
    int fd = open(path_of(name), O_RDONLY | O_CLOEXEC);

    TC_CHECK(fd >= 0);
    TC_CHECK_EQ(read(fd, found, sizeof found), (ssize_t)strlen(expected));
    TC_CHECK(memcmp(found, expected, strlen(expected)) == 0);
    close(fd);
}

/* ---- tests -------------------------------------------------------------------------------- */

TC_TEST(test_upload_put_stores_the_body_under_its_name)
{
    make_root();
    struct tc_upload_dir *dir = open_dir(&(struct tc_upload_options){.overwrite = true});
    struct script script = put(dir, "a \"b\" \xc3\xa4\xff", BODY_BYTES);
    char expected[128];
    TC_CHECK_EQ(run_script(&script), 201);
    (void)snprintf(expected, sizeof expected,
                   "{\"files\": [{\"name\": \"a \\\"b\\\" \xc3\xa4\\ufffd\", \"size\": %d}]}\n",
                   BODY_BYTES);
    check_json(&script, expected);
    TC_CHECK_EQ(script.result.id[0], '\0');
    TC_CHECK_EQ(look_at(script.request.name), BODY_BYTES);
    script.len = 0;
    script.request.content_length = -1;
    TC_CHECK_EQ(run_script(&script), 200);
    TC_CHECK_EQ(look_at(script.request.name), 0);
    tc_upload_dir_close(dir);
    remove_root();
}

TC_TEST(test_upload_that_the_head_refuses_reads_no_body)
{
    make_root();
    plant("there", 3);
    struct tc_upload_dir *dir =
        open_dir(&(struct tc_upload_options){.max_size = 1000, .quota = 903});
    struct script cases[] = {
        put(dir, "there", 5),
        put(dir, "file", 1001),
        put(dir, "file", 901),
        put(dir, ".file", 5),
        put(dir, "a/b", 5),
        put(dir, "", 5),
        put(dir, "file", 5),
        put(dir, "file", 5),
        post(dir, NULL, "x", 1),
        post(dir, NULL, "x", 1),
        post(dir, "multipart/form-data", "x", 1),
    };
    static const int expected[] = {409, 413, 507, 400, 400, 400, 411, 405, 405, 411, 400};
    cases[6].request.has_body = false;
    cases[7].request.method = TC_HTTP_POST;
    cases[8].request.method = TC_HTTP_PUT;
    cases[9].request.has_body = false;
    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        TC_CHECK_EQ(run_script(&cases[i]), expected[i]);
        TC_CHECK(!cases[i].was_read);
        TC_CHECK_EQ(cases[i].result.json_len, 0);
    }
    check_entries(1);
    TC_CHECK_EQ(look_at("there"), 3);
    tc_upload_dir_close(dir);
    remove_root();
}

TC_TEST(test_upload_whose_body_does_not_come_leaves_nothing)
{
    make_root();
    struct tc_upload_dir *dir = open_dir(&(struct tc_upload_options){0});
    struct script one = put(dir, "file", BODY_BYTES);
    struct script many = post(dir, form_type, form, strlen(form) - 12);
    one.ending = -ECONNRESET;
    TC_CHECK_EQ(run_script(&one), 0);
    TC_CHECK_EQ(one.result.read_error, -ECONNRESET);
    check_entries(0);
    many.ending = -ETIMEDOUT; /* behind the first file */
    TC_CHECK_EQ(run_script(&many), 0);
    TC_CHECK_EQ(many.result.read_error, -ETIMEDOUT);
    check_entries(0);
    TC_CHECK_EQ(statistics_of(dir).files_stored, 0);
    tc_upload_dir_close(dir);
    remove_root();
}

TC_TEST(test_upload_post_makes_a_name_and_says_which)
{
    make_root();
    struct tc_upload_dir *dir = open_dir(&(struct tc_upload_options){0});
    struct script script = post(dir, "text/plain", (const char *)body, BODY_BYTES);
    TC_CHECK_EQ(run_script(&script), 201);
    TC_CHECK_EQ(strlen(script.result.id), TC_UPLOAD_ID_BYTES);
    TC_CHECK_EQ(look_at(script.result.id), BODY_BYTES);
    tc_upload_dir_close(dir);
    remove_root();
}

/* The name in the nth entry of the answer. */
static void name_at(const struct script *script, int index, char out[TC_UPLOAD_ID_BYTES + 1])
{
    char text[TC_HTTP_UPLOAD_JSON_BYTES + 1];
    const char *at = text;

    memcpy(text, script->result.json, script->result.json_len);
    text[script->result.json_len] = '\0';
    for (int i = 0; i <= index; i++) {
        at = strstr(at, "\"name\": \"");
        TC_CHECK(at != NULL);
        at += 9;
    }
    memcpy(out, at, TC_UPLOAD_ID_BYTES);
    out[TC_UPLOAD_ID_BYTES] = '\0';
}

TC_TEST(test_upload_form_stores_its_files_however_it_arrives)
{
    static const size_t steps[] = {0, 1, 2, 7, 64};
    char name[TC_UPLOAD_ID_BYTES + 1];

    make_root();
    struct tc_upload_dir *dir = open_dir(&(struct tc_upload_options){0});
    for (size_t i = 0; i < TC_ARRAY_LEN(steps); i++) {
        struct script script = post(dir, form_type, form, strlen(form));
        script.step = steps[i];
        TC_CHECK_EQ(run_script(&script), 201);
        check_entries(2);
        name_at(&script, 0, name);
        TC_CHECK(strcmp(name, script.result.id) == 0);
        check_text(name, "first\r\n--");
        name_at(&script, 1, name);
        check_text(name, "");
        empty_root();
    }
    tc_upload_dir_close(dir);
    remove_root();
}

TC_TEST(test_upload_form_that_breaks_leaves_nothing)
{
    make_root();
    struct tc_upload_dir *dir = open_dir(&(struct tc_upload_options){0});
    for (size_t len = 0; len < strlen(form) - 10; len += 3) { /* before the closing delimiter */
        struct script script = post(dir, form_type, form, len);
        TC_CHECK_EQ(run_script(&script), 400);
        check_entries(0); /* UR1 */
    }
    struct script none = post(dir, form_type, "--X--", 5);
    TC_CHECK_EQ(run_script(&none), 400);
    tc_upload_dir_close(dir);
    dir = open_dir(&(struct tc_upload_options){.quota = 12});
    struct script large = post(dir, form_type, form, strlen(form));
    TC_CHECK_EQ(run_script(&large), 201);
    TC_CHECK_EQ(run_script(&large), 507);
    check_entries(2);
    tc_upload_dir_close(dir);
    remove_root();
}

TC_TEST(test_upload_form_has_so_many_files_and_bytes_beside_them)
{
    static const char part[] =
        "--X\r\nContent-Disposition: form-data; name=a; filename=f\r\n\r\n\r\n";
    size_t part_len = sizeof part - 1;
    size_t skip = TC_HTTP_UPLOAD_SKIP_BYTES + 1;
    char *text = malloc(skip + 100);
    size_t len = 0;

    make_root();
    struct tc_upload_dir *dir = open_dir(&(struct tc_upload_options){0});
    for (int i = 0; i <= TC_HTTP_UPLOAD_FILES_MAX; i++, len += part_len) {
        memcpy(text + len, part, part_len);
    }
    memcpy(text + len, "--X--", 5);
    struct script many = post(dir, form_type, text + part_len, len + 5 - part_len);
    TC_CHECK_EQ(run_script(&many), 201);
    TC_CHECK(many.result.json_len > 0); /* it fits */
    check_entries(TC_HTTP_UPLOAD_FILES_MAX);
    empty_root();
    many = post(dir, form_type, text, len + 5);
    TC_CHECK_EQ(run_script(&many), 413);
    check_entries(0);
    memset(text, 'x', skip);
    struct script preamble = post(dir, form_type, text, skip);
    TC_CHECK_EQ(run_script(&preamble), 413);
    free(text);
    tc_upload_dir_close(dir);
    remove_root();
}

TC_TEST(test_json_string_is_utf8_whatever_the_bytes)
{
    static const struct {
        const char *bytes;
        const char *expected;
    } cases[] = {
        {"a\"\\\n", "\"a\\\"\\\\\\u000a\""},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"\xc0\xaf", "\"\\ufffd\\ufffd\""},
        {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
        {"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
        {"\xe2\x82", "\"\\ufffd\\ufffd\""},
    };
    char text[64];

    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        struct tc_json json = {.text = text, .size = sizeof text};
        tc_json_string(&json, cases[i].bytes, strlen(cases[i].bytes));
        TC_CHECK(!json.is_full);
        TC_CHECK_EQ(json.len, strlen(cases[i].expected));
        TC_CHECK(memcmp(text, cases[i].expected, json.len) == 0);
    }
    struct tc_json small = {.text = text, .size = 3};
    tc_json_number(&small, UINT64_MAX);
    TC_CHECK(small.is_full && small.len == 0);
}
