/* A path, and the same bytes as a query. */
#include "http/path.h"
#include "fuzz.h"

static void check_path(const char *path, size_t len)
{
    FUZZ_CHECK(len > 0 && path[0] == '/');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)path[i];
        FUZZ_CHECK(c >= 0x20 && c != 0x7f && c != '\\');
        if (c != '/') {
            continue;
        }
        size_t end = i + 1;
        while (end < len && path[end] != '/') {
            end++;
        }
        size_t segment = end - i - 1;
        FUZZ_CHECK(segment > 0 || end == len);
        FUZZ_CHECK(segment != 1 || path[i + 1] != '.');
        FUZZ_CHECK(segment != 2 || path[i + 1] != '.' || path[i + 2] != '.');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *path = fuzz_copy((const char *)data, size);
    char *out = malloc(size + 1);
    char *small = malloc(size + 1);

    FUZZ_CHECK(out != NULL && small != NULL);
    ssize_t n = tc_http_path_decode(path, size, out, size > 0 ? size : 1);
    FUZZ_CHECK(n != -28); /* -ENOSPC: the length of the path is always enough */
    if (n > 0) {
        check_path(out, (size_t)n);
        bool is_hidden = tc_http_path_has_dotfile(out, (size_t)n);
        FUZZ_CHECK(is_hidden == (memmem(out, (size_t)n, "/.", 2) != NULL));
    }
    ssize_t less = tc_http_path_decode(path, size, small, size / 2);
    FUZZ_CHECK(less < 0 || (less == n && memcmp(small, out, (size_t)n) == 0));

    const char *at = path;
    struct tc_http_pair pair;
    const char *last = path;
    while (tc_http_query_next(&at, path + size, &pair)) {
        FUZZ_CHECK(pair.name >= last && pair.name + pair.name_len <= pair.value);
        FUZZ_CHECK(pair.value + pair.value_len == at && at <= path + size);
        FUZZ_CHECK(tc_http_form_decode(pair.value, pair.value_len, out) <= pair.value_len);
        last = at;
    }
    if (size > 0) { /* in place */
        FUZZ_CHECK(tc_http_path_decode((const char *)data, size, out, size) == n);
        FUZZ_CHECK(tc_http_path_decode(path, size, path, size) == n);
        FUZZ_CHECK(n < 0 || memcmp(path, out, (size_t)n) == 0);
    }
    free(small);
    free(out);
    free(path);
    return 0;
}
