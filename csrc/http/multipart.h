/* http/multipart.h — take a multipart/form-data body apart as it arrives (RFC 7578, RFC 2046 5.1).
 *
 * Memory is constant: data comes out as pointers into the caller's buffer, or, where the beginning
 * of a delimiter at the end of one buffer turns out to be data in the next, into the decoder's copy
 * of the delimiter. A delimiter begins with CR and holds no other, so a byte is looked at twice at
 * most.
 *
 *   event    what has happened                         then
 *   PART     the fields of a part are complete         name, filename, content_type are valid
 *   DATA     a piece of the part's content             any number of times
 *   PART_END the part is complete
 *   END      the closing delimiter                     whatever follows is dropped
 *   MORE     all bytes are used
 *
 * INVARIANTS
 *  MP1  The same bytes give the same parts and the same end or error, however they are split.
 *
 * WHO MAY CALL: any thread, on its own decoder; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_MULTIPART_H
#define TC_HTTP_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "http/error.h"

enum {
    TC_MULTIPART_BOUNDARY_BYTES = 70, /* RFC 2046 5.1.1 */
    TC_MULTIPART_HEAD_BYTES = 1024, /* the fields of one part */
};

enum tc_multipart_event {
    TC_MULTIPART_MORE,
    TC_MULTIPART_PART,
    TC_MULTIPART_DATA,
    TC_MULTIPART_PART_END,
    TC_MULTIPART_END,
};

struct tc_multipart_text {
    const char *at; /* NULL: absent */
    size_t len;
};

struct tc_multipart {
    struct tc_multipart_text name; /* of the form's field; valid from PART to PART_END, in `head` */
    struct tc_multipart_text filename; /* as the client says: not to be used as a path */
    struct tc_multipart_text content_type;
    uint16_t head_len;
    uint8_t state; /* in multipart.c */
    uint8_t matched; /* bytes of the delimiter that the last buffer ended with */
    uint8_t delimiter_len;
    char delimiter[TC_MULTIPART_BOUNDARY_BYTES + 4]; /* CRLF "--" boundary */
    char head[TC_MULTIPART_HEAD_BYTES];
};

/* Begin with the value of the Content-Type field.
 * Returns 0; TC_HTTP_E_BOUNDARY_INVALID also if it is not multipart/form-data. */
TC_NODISCARD int tc_multipart_init(struct tc_multipart *multipart, const char *content_type,
                                   size_t len);

/* Go on with `len` bytes at `buf`. *used: how many are done with; *data is set for DATA only.
 * Returns an enum tc_multipart_event, or a TC_HTTP_E_ error, after which there is no going on. */
TC_NODISCARD int tc_multipart_next(struct tc_multipart *multipart, const char *buf, size_t len,
                                   size_t *used, struct tc_multipart_text *data);

#endif
