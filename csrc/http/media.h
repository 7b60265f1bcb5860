/* http/media.h — the media type of a file, by the end of its name.
 *
 * WHO MAY CALL: any thread; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_MEDIA_H
#define TC_HTTP_MEDIA_H

#include <stddef.h>

/* The value of Content-Type for a path: of its last segment, what follows the last dot, in any
 * case. Text is said to be UTF-8. "application/octet-stream" if nothing is known. */
const char *tc_http_media_type(const char *path, size_t len);

#endif
