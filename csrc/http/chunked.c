/* One byte, one step; only data is taken in one piece.
 *
 *   state           bytes                            next
 *   SIZE_FIRST      HEXDIG                           SIZE
 *   SIZE            HEXDIG                           SIZE
 *                   ";" / CR                         EXT_FIRST / SIZE_LF
 *   EXT_FIRST       tchar                            EXT_NAME
 *   EXT_NAME        tchar / "=" / ";" / CR           EXT_NAME / VALUE_FIRST / EXT_FIRST / SIZE_LF
 *   VALUE_FIRST     DQUOTE / tchar                   QUOTED / VALUE
 *   VALUE           tchar / ";" / CR                 VALUE / EXT_FIRST / SIZE_LF
 *   QUOTED          DQUOTE / "\" / other             QUOTED_END / QUOTED_PAIR / QUOTED
 *   QUOTED_PAIR     any of a field value             QUOTED
 *   QUOTED_END      ";" / CR                         EXT_FIRST / SIZE_LF
 *   SIZE_LF         LF                               DATA, or TRAILER_FIRST after size 0
 *   DATA            `left` bytes                     DATA_CR
 *   DATA_CR         CR                               DATA_LF
 *   DATA_LF         LF                               SIZE_FIRST
 *   TRAILER_FIRST   tchar / CR                       TRAILER_NAME / END_LF
 *   TRAILER_NAME    tchar / ":"                      TRAILER_NAME / TRAILER_VALUE
 *   TRAILER_VALUE   any of a field value / CR        TRAILER_VALUE / TRAILER_LF
 *   TRAILER_LF      LF                               TRAILER_FIRST
 *   END_LF          LF                               END
 */
#include "http/chunked.h"

#include "base/assert.h"
#include "http/chars.h"

enum state {
    SIZE_FIRST, /* 0: where a body begins */
    SIZE,
    SIZE_LF,
    EXT_FIRST, /* from here to QUOTED_END: inside an extension */
    EXT_NAME,
    VALUE_FIRST,
    VALUE,
    QUOTED,
    QUOTED_PAIR,
    QUOTED_END,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_FIRST, /* from here on: behind the last chunk */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
    END,
};

static int step_size(struct tc_chunked *chunked, char c)
{
    if (tc_http_is(c, TC_HTTP_HEX)) {
        if (chunked->digits == 16 || chunked->left > INT64_MAX >> 4) {
            return TC_HTTP_E_CHUNK_SIZE;
        }
        chunked->left = chunked->left << 4 | tc_http_hex(c);
        chunked->digits++;
        chunked->state = SIZE;
        return 0;
    }
    if (chunked->state == SIZE && c == ';') {
        chunked->state = EXT_FIRST;
        return 0;
    }
    if (chunked->state == SIZE && c == '\r') {
        chunked->state = SIZE_LF;
        return 0;
    }
    return c == '\n' ? TC_HTTP_E_BARE_LF : TC_HTTP_E_CHUNK_SIZE;
}

/* Behind a name or value: another extension, or the end of the line. */
static int end_extension(struct tc_chunked *chunked, char c)
{
    if (c == ';') {
        chunked->state = EXT_FIRST;
        return 0;
    }
    if (c == '\r') {
        chunked->state = SIZE_LF;
        return 0;
    }
    return c == '\n' ? TC_HTTP_E_BARE_LF : TC_HTTP_E_CHUNK_EXTENSION;
}

static int step_quoted(struct tc_chunked *chunked, char c)
{
    if (!tc_http_is(c, TC_HTTP_VALUE)) {
        return c == '\n' ? TC_HTTP_E_BARE_LF : TC_HTTP_E_CHUNK_EXTENSION;
    }
    if (chunked->state == QUOTED_PAIR) {
        chunked->state = QUOTED;
    } else if (c == '"') {
        chunked->state = QUOTED_END;
    } else if (c == '\\') {
        chunked->state = QUOTED_PAIR;
    }
    return 0;
}

static int step_extension(struct tc_chunked *chunked, char c)
{
    bool is_token = tc_http_is(c, TC_HTTP_TOKEN);
    uint32_t limit =
        chunked->extension_limit != 0 ? chunked->extension_limit : TC_CHUNKED_EXTENSION_BYTES;

    if (++chunked->extension_bytes > limit ||
        ++chunked->extensions_bytes > TC_CHUNKED_EXTENSIONS_BYTES) {
        return TC_HTTP_E_CHUNK_OVERHEAD;
    }
    switch (chunked->state) {
    case EXT_FIRST:
        chunked->state = EXT_NAME;
        return is_token ? 0 : TC_HTTP_E_CHUNK_EXTENSION;
    case VALUE_FIRST:
        chunked->state = c == '"' ? QUOTED : VALUE;
        return is_token || c == '"' ? 0 : TC_HTTP_E_CHUNK_EXTENSION;
    case QUOTED:
    case QUOTED_PAIR:
        return step_quoted(chunked, c);
    case EXT_NAME:
        if (c == '=') {
            chunked->state = VALUE_FIRST;
            return 0;
        }
        return is_token ? 0 : end_extension(chunked, c);
    case VALUE:
        return is_token ? 0 : end_extension(chunked, c);
    default:
        return end_extension(chunked, c);
    }
}

static int step_trailer(struct tc_chunked *chunked, char c)
{
    if (chunked->state != END_LF && ++chunked->trailer_bytes > TC_CHUNKED_TRAILER_BYTES) {
        return TC_HTTP_E_TRAILER_TOO_LARGE;
    }
    switch (chunked->state) {
    case TRAILER_FIRST:
        chunked->state = c == '\r' ? END_LF : TRAILER_NAME;
        return c == '\r' || tc_http_is(c, TC_HTTP_TOKEN) ? 0 : TC_HTTP_E_TRAILER_INVALID;
    case TRAILER_NAME:
        if (c == ':') {
            chunked->state = TRAILER_VALUE;
            return 0;
        }
        return tc_http_is(c, TC_HTTP_TOKEN) ? 0 : TC_HTTP_E_TRAILER_INVALID;
    case TRAILER_VALUE:
        if (c == '\r') {
            chunked->state = TRAILER_LF;
            return 0;
        }
        return tc_http_is(c, TC_HTTP_VALUE) ? 0 : TC_HTTP_E_TRAILER_INVALID;
    case TRAILER_LF:
        chunked->state = TRAILER_FIRST;
        return c == '\n' ? 0 : TC_HTTP_E_BARE_CR;
    default:
        chunked->state = END;
        return c == '\n' ? 0 : TC_HTTP_E_BARE_CR;
    }
}

static int step(struct tc_chunked *chunked, char c)
{
    switch (chunked->state) {
    case SIZE_FIRST:
    case SIZE:
        return step_size(chunked, c);
    case SIZE_LF:
        chunked->state = chunked->left == 0 ? TRAILER_FIRST : DATA;
        chunked->digits = 0;
        chunked->extension_bytes = 0;
        return c == '\n' ? 0 : TC_HTTP_E_BARE_CR;
    case DATA_CR:
        chunked->state = DATA_LF;
        return c == '\r' ? 0 : TC_HTTP_E_CHUNK_END;
    case DATA_LF:
        chunked->state = SIZE_FIRST;
        return c == '\n' ? 0 : TC_HTTP_E_CHUNK_END;
    default:
        return chunked->state >= TRAILER_FIRST ? step_trailer(chunked, c)
                                               : step_extension(chunked, c);
    }
}

int tc_chunked_next(struct tc_chunked *chunked, const char *buf, size_t len, size_t *used,
                    struct tc_chunked_data *data)
{
    tc_assert_debug(chunked->state <= END);
    for (size_t i = 0; i < len && chunked->state != END; i++) {
        if (chunked->state == DATA) {
            size_t rest = len - i;
            data->at = buf + i;
            data->len = chunked->left < rest ? (size_t)chunked->left : rest;
            chunked->left -= data->len;
            chunked->state = chunked->left == 0 ? DATA_CR : DATA;
            *used = i + data->len;
            return TC_CHUNKED_DATA;
        }
        int error = step(chunked, buf[i]);
        if (error != 0) {
            *used = i;
            return error;
        }
        if (chunked->state == END) {
            *used = i + 1;
            return TC_CHUNKED_END;
        }
    }
    *used = chunked->state == END ? 0 : len;
    return chunked->state == END ? TC_CHUNKED_END : TC_CHUNKED_MORE;
}
