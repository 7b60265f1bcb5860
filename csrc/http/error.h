/* http/error.h — every way in which a message is refused, with its status and the clause it breaks.
 *
 * A parser answers with a positive number (done), TC_HTTP_INCOMPLETE, or one of these. After any of
 * them the connection must be closed once the answer is sent: where the next message begins is not
 * known, or not to be trusted.
 *
 * WHO MAY CALL: any thread; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_ERROR_H
#define TC_HTTP_ERROR_H

/* name, status, clause */
#define TC_HTTP_ERRORS(X) \
    X(METHOD_INVALID, 400, "RFC 9112 3.1: method = token") \
    X(METHOD_UNKNOWN, 501, "RFC 9110 9.1: an unrecognized method is not implemented") \
    X(TARGET_INVALID, 400, "RFC 9112 3.2: no whitespace, control or fragment in a request-target") \
    X(TARGET_FORM, 400, "RFC 9112 3.2: the form of the request-target must suit the method") \
    X(AUTHORITY_INVALID, 400, "RFC 9110 4.2: uri-host [ \":\" port ], not empty, no userinfo") \
    X(LINE_TOO_LONG, 414, "RFC 9112 3: a request-target longer than the limit") \
    X(VERSION_INVALID, 400, "RFC 9112 2.3: HTTP-version = \"HTTP/\" DIGIT \".\" DIGIT") \
    X(VERSION_UNSUPPORTED, 505, "RFC 9110 15.6.6: only HTTP/1.0 and HTTP/1.1") \
    X(BARE_CR, 400, "RFC 9112 2.2: a CR that is not part of CRLF") \
    X(BARE_LF, 400, "RFC 9112 2.2: a line must end with CRLF") \
    X(NAME_INVALID, 400, "RFC 9110 5.1: field-name = token") \
    X(SPACE_BEFORE_COLON, 400, "RFC 9112 5.1: no whitespace between field name and colon") \
    X(SPACE_BEFORE_FIELD, 400, "RFC 9112 2.2: whitespace between start-line and first field") \
    X(LINE_FOLDED, 400, "RFC 9112 5.2: obs-fold is refused") \
    X(VALUE_INVALID, 400, "RFC 9110 5.5: no control characters in a field value") \
    X(TOO_MANY_FIELDS, 431, "RFC 6585 5: more fields than the limit") \
    X(HEAD_TOO_LARGE, 431, "RFC 6585 5: a header section larger than the limit") \
    X(HOST_MISSING, 400, "RFC 9112 3.2: HTTP/1.1 needs a Host field") \
    X(HOST_REPEATED, 400, "RFC 9112 3.2: more than one Host field") \
    X(HOST_INVALID, 400, "RFC 9112 3.2: Host = uri-host [ \":\" port ]") \
    X(LENGTH_INVALID, 400, "RFC 9112 6.3: Content-Length = 1*DIGIT, at most 2^63-1") \
    X(LENGTH_REPEATED, 400, "RFC 9110 8.6: more than one Content-Length") \
    X(LENGTH_AND_CODING, 400, "RFC 9112 6.1: both Transfer-Encoding and Content-Length") \
    X(CODING_INVALID, 400, "RFC 9112 6.3: chunked must be the final transfer coding, once") \
    X(CODING_UNSUPPORTED, 501, "RFC 9112 6.1: a transfer coding other than chunked") \
    X(CODING_REPEATED, 400, "RFC 9112 6.1: one Transfer-Encoding field only") \
    X(CODING_IN_1_0, 400, "RFC 9112 6.1: Transfer-Encoding in an HTTP/1.0 message") \
    X(EXPECTATION, 417, "RFC 9110 10.1.1: an expectation other than 100-continue") \
    X(CHUNK_SIZE, 400, "RFC 9112 7.1: chunk-size = 1*HEXDIG, at most 16 digits and 2^63-1") \
    X(CHUNK_EXTENSION, 400, "RFC 9112 7.1.1: *( \";\" chunk-ext-name [ \"=\" chunk-ext-val ] )") \
    X(CHUNK_OVERHEAD, 400, "RFC 9112 7.1.1: chunk extensions longer than the limit") \
    X(CHUNK_END, 400, "RFC 9112 7.1: chunk-data is followed by CRLF") \
    X(TRAILER_INVALID, 400, "RFC 9112 7.1.2: trailer-section = *( field-line CRLF )") \
    X(TRAILER_TOO_LARGE, 431, "RFC 6585 5: a trailer section larger than the limit") \
    X(BOUNDARY_INVALID, 400, "RFC 2046 5.1.1: boundary = 1*70bchars, the last one not a space") \
    X(PART_INVALID, 400, "RFC 7578 4.2: a part has Content-Disposition: form-data with a name") \
    X(PART_HEAD_TOO_LARGE, 431, "RFC 6585 5: the fields of a part are larger than the limit") \
    X(DELIMITER_INVALID, 400, "RFC 2046 5.1.1: a delimiter is followed by CRLF or by --")

enum {
    TC_HTTP_INCOMPLETE = 0,
#define TC_HTTP_ERROR_INDEX(name, status, clause) TC_HTTP_INDEX_##name,
    TC_HTTP_ERROR_NONE = 0, /* indices of the table begin at 1 */
    TC_HTTP_ERRORS(TC_HTTP_ERROR_INDEX) TC_HTTP_ERROR_COUNT,
#undef TC_HTTP_ERROR_INDEX
#define TC_HTTP_ERROR_VALUE(name, status, clause) TC_HTTP_E_##name = -TC_HTTP_INDEX_##name,
    TC_HTTP_ERRORS(TC_HTTP_ERROR_VALUE)
#undef TC_HTTP_ERROR_VALUE
};

/* The status to answer with: 400, 414, ...
 * `error` is a TC_HTTP_E_ value; so too below. */
int tc_http_error_status(int error);

/* Its name without the prefix: "BARE_LF". */
const char *tc_http_error_name(int error);

/* The rule that was broken: "RFC 9112 2.2: a line must end with CRLF". */
const char *tc_http_error_clause(int error);

#endif
