/* http/date.h — dates as HTTP writes them (RFC 9110 5.6.7), without locale and time zone tables.
 *
 * WHO MAY CALL: any thread; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_DATE_H
#define TC_HTTP_DATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"

enum { TC_HTTP_DATE_BYTES = 29 }; /* "Sun, 06 Nov 1994 08:49:37 GMT" */

/* Write `seconds` since 1970 as an IMF-fixdate, 29 bytes without a terminator. Years 1 to 9999;
 * what lies beyond is written as the nearest of these. */
void tc_http_date_format(int64_t seconds, char out[TC_HTTP_DATE_BYTES]);

/* Read a date in any of the three forms: IMF-fixdate, RFC 850, asctime. `now` decides the century
 * of RFC 850's two digits: the date is at most 50 years ahead of it.
 * Returns 0, or -EINVAL with *seconds untouched. */
TC_NODISCARD int tc_http_date_parse(const char *text, size_t len, int64_t now, int64_t *seconds);

#endif
