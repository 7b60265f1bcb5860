/* http/coding.h — which content coding a client would like best (RFC 9110 12.5.3).
 *
 * Of what is available the coding of the highest weight is taken, of several br before gzip before
 * identity. A coding that is not named has the weight of `*`, and without that: identity less than
 * anything named, others none. What is forbidden altogether is answered by identity all the same.
 *
 * WHO MAY CALL: any thread, on its own codings; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_CODING_H
#define TC_HTTP_CODING_H

#include <stddef.h>
#include <stdint.h>

enum tc_http_coding { TC_HTTP_IDENTITY, TC_HTTP_GZIP, TC_HTTP_BR, TC_HTTP_CODING_COUNT };

#define TC_HTTP_CODING_BIT(coding) (1U << (coding))

/* What a client accepts. All zero: it says nothing. */
struct tc_http_codings {
    int16_t weights[TC_HTTP_CODING_COUNT]; /* 1 + thousandths; 0: not named */
    int16_t any; /* of `*`; 0: not named */
};

/* Take the value of one line of Accept-Encoding into account. Elements that cannot be read are
 * passed over. */
void tc_http_codings_add(struct tc_http_codings *codings, const char *value, size_t len);

/* `available`: TC_HTTP_CODING_BITs, with that of identity. */
enum tc_http_coding tc_http_codings_choose(const struct tc_http_codings *codings,
                                           unsigned available);

#endif
