/* http/parser.h — read one HTTP/1.x request head out of a buffer, without copying any of it.
 *
 * The parser takes what has arrived so far and says: consumed so many bytes, incomplete, or why the
 * message is refused. It keeps nothing between calls. A caller that gets more bytes calls again
 * with all of them and with the hint of the last call, from which the parser knows how far it need
 * not look again: until the head can be complete only the new bytes are scanned, so that a peer
 * that sends one byte at a time costs no more than a constant times the length of its head.
 *
 * A request that comes out right is fit for use: its framing is decided, its Host field checked,
 * its target taken apart. Every position is an offset from the start of the buffer, so that the
 * caller may move the bytes. The body follows the head at the offset returned; see http/chunked.h.
 *
 * INVARIANTS
 *  HP1  The answer depends on the bytes alone: however they are split, a head is accepted with the
 *       same fields or refused with the same error, the first one from left to right. While it is
 *       incomplete, an error in it may be told at once or later, at its end at the latest.
 *  HP2  No byte outside [buf, buf + len) is read.
 *  HP3  Consumed bytes end with the empty line; what follows does not matter.
 *  HP4  content_length >= 0 if and only if framing is TC_HTTP_BODY_LENGTH.
 *
 * WHO MAY CALL: any thread, on its own request and hint; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_PARSER_H
#define TC_HTTP_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/defs.h"
#include "http/error.h"
#include "http/field.h"
#include "http/method.h"

/* ---- types -------------------------------------------------------------------------------- */

/* Bytes of the buffer that was parsed. */
struct tc_http_span {
    uint32_t at; /* offset from the start of the buffer */
    uint32_t len;
};

struct tc_http_field_line {
    uint32_t name_at;
    uint32_t name_len : 24;
    uint32_t field : 8; /* enum tc_http_field */
    struct tc_http_span value; /* without whitespace around it */
};

enum tc_http_target_form {
    TC_HTTP_ORIGIN, /* /path?query */
    TC_HTTP_ABSOLUTE, /* http://host/path?query */
    TC_HTTP_AUTHORITY, /* host:port, of CONNECT */
    TC_HTTP_ASTERISK, /* *, of OPTIONS; path is empty */
};

enum tc_http_framing {
    TC_HTTP_BODY_NONE, /* neither Content-Length nor Transfer-Encoding */
    TC_HTTP_BODY_LENGTH, /* content_length bytes follow, perhaps none */
    TC_HTTP_BODY_CHUNKED, /* decode with http/chunked.h */
};

enum {
    TC_HTTP_FIELDS_MAX = 100, /* size of the field table */
    TC_HTTP_LINE_BYTES = 8 * 1024,
    TC_HTTP_HEAD_BYTES = 16 * 1024,
    TC_HTTP_HEAD_BYTES_MAX = 1 << 24, /* what the offsets can say */
};

/* What a message may be at most; above it: 414, 431, 431. */
struct tc_http_limits {
    uint32_t line_bytes; /* request line without CRLF */
    uint32_t head_bytes; /* everything up to and with the empty line, < TC_HTTP_HEAD_BYTES_MAX */
    uint32_t fields; /* at most TC_HTTP_FIELDS_MAX */
};

extern const struct tc_http_limits tc_http_default_limits;

/* How far the last call came. All zero before the first call for a message. */
struct tc_http_hint {
    uint32_t scanned; /* bytes that need not be looked at again before the head is complete */
    bool has_line; /* the request line is known to be right */
    uint32_t examined; /* bytes looked at in all calls: what a slow sender costs */
};

/* Filled by tc_http_parse; only meaningful after it returned a positive number. */
struct tc_http_request {
    uint8_t method; /* enum tc_http_method */
    uint8_t minor; /* 0 or 1, of HTTP/1.minor */
    uint8_t form; /* enum tc_http_target_form */
    uint8_t framing; /* enum tc_http_framing */
    bool keep_alive; /* RFC 9112 9.3, as far as the request decides it */
    bool expects_continue; /* RFC 9110 10.1.1: Expect: 100-continue in HTTP/1.1 */
    bool wants_upgrade; /* RFC 9110 7.8: Connection: upgrade, with an Upgrade field */
    int64_t content_length; /* HP4; -1: none */
    struct tc_http_span target; /* as it was sent */
    struct tc_http_span path; /* part of target; empty: "/", or "*" in asterisk form */
    struct tc_http_span query; /* behind the '?', which it does not contain */
    struct tc_http_span host; /* authority of the target, else the Host field; with the port */
    uint32_t field_count;
    uint8_t first[TC_HTTP_FIELD_COUNT]; /* 1 + index of a known field's first line; 0: absent */
    uint64_t repeated; /* bit n: field n has more than one line */
    struct tc_http_field_line fields[TC_HTTP_FIELDS_MAX]; /* field_count are valid */
};

/* The field lines of a request, and what their offsets count from. */
struct tc_http_lines {
    const char *base;
    const struct tc_http_field_line *at;
    uint32_t count;
};

/* The next line of a known field at or behind *index, which moves behind it. Returns NULL if there
 * is none. */
static inline const struct tc_http_field_line *tc_http_lines_next(const struct tc_http_lines *lines,
                                                                  enum tc_http_field field,
                                                                  uint32_t *index)
{
    while (*index < lines->count) {
        const struct tc_http_field_line *line = &lines->at[(*index)++];
        if (line->field == (unsigned)field) {
            return line;
        }
    }
    return NULL;
}

/* Instruction sets there is a parser for. */
enum tc_http_simd { TC_HTTP_SCALAR, TC_HTTP_SSE42, TC_HTTP_AVX2, TC_HTTP_NEON };

/* ---- functions ---------------------------------------------------------------------------- */

/* Read a request head. One CRLF before it is skipped (RFC 9112 2.2).
 * `hint`: of the last call with a shorter part of the same bytes, zero at first; NULL: none.
 * Returns the bytes consumed, TC_HTTP_INCOMPLETE or a TC_HTTP_E_ error. */
TC_NODISCARD ssize_t tc_http_parse(struct tc_http_request *request, const char *buf, size_t len,
                                   const struct tc_http_limits *limits, struct tc_http_hint *hint);

/* The best one this processor has. */
enum tc_http_simd tc_http_best_simd(void);

/* tc_http_parse with a chosen instruction set, which the processor must have. For tests. */
TC_NODISCARD ssize_t tc_http_parse_with(enum tc_http_simd simd, struct tc_http_request *request,
                                        const char *buf, size_t len,
                                        const struct tc_http_limits *limits,
                                        struct tc_http_hint *hint);

/* The first line of a known field, or NULL. */
static inline const struct tc_http_field_line *tc_http_request_field(
    const struct tc_http_request *request, enum tc_http_field field)
{
    unsigned first = request->first[field];

    return first == 0 ? NULL : &request->fields[first - 1];
}

/* ---- message.c: between the files of the parser -------------------------------------------- */

/* Take the target apart. Returns 0 or an error. */
TC_NODISCARD int tc__http_read_target(struct tc_http_request *request, const char *buf);

/* Decide host, framing, persistence and expectation from the fields. Returns 0 or an error. */
TC_NODISCARD int tc__http_interpret(struct tc_http_request *request, const char *buf);

#endif
