#include "http/method.h"

#include <string.h>

#include "base/assert.h"

struct spelling {
    const char *text;
    size_t len;
};

static const struct spelling spellings[TC_HTTP_METHOD_COUNT] = {
#define METHOD_SPELLING(name, text) [TC_HTTP_##name] = {text, sizeof(text) - 1},
    TC_HTTP_METHODS(METHOD_SPELLING)
#undef METHOD_SPELLING
};

const char *tc_http_method_name(enum tc_http_method method)
{
    tc_assert(method < TC_HTTP_METHOD_COUNT);
    return spellings[method].text;
}

enum tc_http_method tc_http_method_find(const char *name, size_t len)
{
    for (unsigned i = 0; i < TC_HTTP_METHOD_COUNT; i++) {
        if (spellings[i].len == len && memcmp(spellings[i].text, name, len) == 0) {
            return (enum tc_http_method)i;
        }
    }
    return TC_HTTP_METHOD_COUNT;
}
