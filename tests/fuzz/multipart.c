/* The first byte says where the body is cut, the first line is the Content-Type, the rest the
 * body. */
#include "http/multipart.h"
#include "fuzz.h"

struct result {
    int event;
    size_t used;
    uint64_t parts; /* digest of what the parts say and hold */
};

static void add_text(struct result *result, const struct tc_multipart_text *text)
{
    char mark = text->at == NULL ? '0' : '1';

    result->parts = fuzz_digest(result->parts, &mark, 1);
    result->parts = fuzz_digest(result->parts, text->at == NULL ? "" : text->at, text->len);
}

static void decode(struct tc_multipart *multipart, const char *bytes, size_t len,
                   struct result *result)
{
    char *buf = fuzz_copy(bytes, len);
    size_t at = 0;

    do {
        struct tc_multipart_text data = {NULL, 0};
        size_t used = SIZE_MAX;
        result->event = tc_multipart_next(multipart, buf + at, len - at, &used, &data);
        FUZZ_CHECK(used <= len - at);
        at += used;
        if (result->event == TC_MULTIPART_PART) {
            FUZZ_CHECK(multipart->name.at != NULL);
            add_text(result, &multipart->name);
            add_text(result, &multipart->filename);
            add_text(result, &multipart->content_type);
        } else if (result->event == TC_MULTIPART_DATA) {
            FUZZ_CHECK(data.len > 0);
            result->parts = fuzz_digest(result->parts, data.at, data.len);
        } else if (result->event == TC_MULTIPART_PART_END) {
            result->parts = fuzz_digest(result->parts, ";", 1);
        }
    } while (result->event > TC_MULTIPART_MORE && result->event < TC_MULTIPART_END);
    result->used += at;
    free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tc_multipart multipart;
    struct result whole = {0};
    struct result split = {0};

    const char *line = size < 2 ? NULL : (const char *)data + 1;
    const char *line_end = line == NULL ? NULL : memchr(line, '\n', size - 1);
    if (line_end == NULL || tc_multipart_init(&multipart, line, (size_t)(line_end - line)) != 0) {
        return 0;
    }
    const char *body = line_end + 1;
    size_t len = size - (size_t)(body - (const char *)data);
    size_t cut = len * data[0] / 255;
    decode(&multipart, body, len, &whole);
    FUZZ_CHECK(tc_multipart_init(&multipart, line, (size_t)(line_end - line)) == 0);
    decode(&multipart, body, cut, &split);
    if (split.event == TC_MULTIPART_MORE) {
        decode(&multipart, body + cut, len - cut, &split);
    }
    FUZZ_CHECK(whole.event == split.event && whole.used == split.used);
    if (whole.event != TC_MULTIPART_MORE) { /* else the last bytes may still be a delimiter's */
        FUZZ_CHECK(whole.parts == split.parts);
    }
    return 0;
}
