/* Which type a file has by its name. */
#include <string.h>

#include "base/defs.h"
#include "harness.h"
#include "http/media.h"

TC_TEST(test_media_type_follows_from_the_end_of_the_name)
{
    static const char *const cases[][2] = {
        {"a.html", "text/html; charset=utf-8"},
        {"a.HTM", "text/html; charset=utf-8"},
        {"dir.css/a.js", "text/javascript; charset=utf-8"},
        {"a.min.mjs", "text/javascript; charset=utf-8"},
        {"a.css", "text/css; charset=utf-8"},
        {"a.txt", "text/plain; charset=utf-8"},
        {"a.json", "application/json"},
        {"a.7z", "application/x-7z-compressed"},
        {"a.zst", "application/zstd"},
        {"a.svg", "image/svg+xml"},
        {"a.png", "image/png"},
        {"a.jpeg", "image/jpeg"},
        {"a.webmanifest", "application/manifest+json"},
        {"a.wasm", "application/wasm"},
        {"a.woff2", "font/woff2"},
        {"a.tar.gz", "application/gzip"},
        {"a", "application/octet-stream"},
        {"a.", "application/octet-stream"},
        {"", "application/octet-stream"},
        {"png", "application/octet-stream"},
        {"dir.png/a", "application/octet-stream"},
        {"a.unknown", "application/octet-stream"},
        {"a.averyveryverylongending", "application/octet-stream"},
    };

    for (size_t i = 0; i < TC_ARRAY_LEN(cases); i++) {
        const char *type = tc_http_media_type(cases[i][0], strlen(cases[i][0]));
        if (strcmp(type, cases[i][1]) != 0) {
            tc_test_failf("%s: %s", cases[i][0], type);
        }
    }
}
