/* http/chunked.h — take a chunked body apart where it lies.
 *
 * The decoder is given what has arrived and hands out the next piece of data as a pointer into the
 * same buffer; nothing is moved, and not one byte behind the body is looked at. Between two calls
 * it remembers where in the grammar it is, so pieces may be of any size.
 *
 *   while ((event = tc_chunked_next(&chunked, at, left, &used, &data)) == TC_CHUNKED_DATA) {
 *       take data; at += used; left -= used;
 *   }
 *   at += used;     and then: TC_CHUNKED_END, TC_CHUNKED_MORE (used == left), or an error
 *
 * Strict: CRLF only, no whitespace around sizes and extensions, at most 16 digits and 2^63-1.
 * Extensions and trailer fields are checked and dropped; both count in limits of their own.
 *
 * INVARIANTS
 *  HC1  The same bytes give the same data and the same end or error, however they are split.
 *  HC2  After TC_CHUNKED_END, `used` stands behind the last CRLF of the body.
 *
 * WHO MAY CALL: any thread, on its own decoder; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_CHUNKED_H
#define TC_HTTP_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "http/error.h"

enum {
    TC_CHUNKED_EXTENSION_BYTES = 256, /* per chunk, from the first ';', unless told otherwise */
    TC_CHUNKED_EXTENSIONS_BYTES = 4096, /* per message */
    TC_CHUNKED_TRAILER_BYTES = 4096, /* per message */
};

enum tc_chunked_event {
    TC_CHUNKED_MORE, /* all bytes are used and the body goes on */
    TC_CHUNKED_DATA, /* a piece of data; call again */
    TC_CHUNKED_END, /* the body has ended */
};

struct tc_chunked_data {
    const char *at;
    size_t len; /* > 0 */
};

/* All zero at the start of a body, but for the limit. */
struct tc_chunked {
    uint64_t left; /* of the size being read, then bytes of the chunk still to come */
    uint32_t extension_bytes; /* in this chunk */
    uint32_t extensions_bytes; /* in this message */
    uint32_t trailer_bytes;
    uint8_t digits; /* of the size being read */
    uint8_t state; /* in chunked.c */
    uint16_t extension_limit; /* bytes a chunk; 0: TC_CHUNKED_EXTENSION_BYTES */
};

/* Go on with `len` bytes at `buf`. *used: how many of them are done with, data included.
 * Returns an enum tc_chunked_event, or a TC_HTTP_E_ error, after which there is no going on. */
TC_NODISCARD int tc_chunked_next(struct tc_chunked *chunked, const char *buf, size_t len,
                                 size_t *used, struct tc_chunked_data *data);

#endif
