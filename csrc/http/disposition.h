/* http/disposition.h — the Content-Disposition of a file that is to be saved (RFC 6266).
 *
 * A name of plain characters is a quoted string. Of any other the quoted string has '_' in the
 * place of what old clients get wrong, and filename* the name itself, as UTF-8 (RFC 8187).
 *
 * WHO MAY CALL: any thread; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_DISPOSITION_H
#define TC_HTTP_DISPOSITION_H

#include <stddef.h>
#include <sys/types.h>

#include "base/defs.h"

/* What a name of `len` bytes takes at most, with the NUL. */
#define TC_HTTP_DISPOSITION_BYTES(len) (4 * (len) + 64)

/* Write the value of the field for `name`, which is UTF-8, into TC_HTTP_DISPOSITION_BYTES(len), and
 * a NUL.
 * Returns its length, or -EINVAL for what is no name of a file: nothing, or with '/' or a control
 * character in it. */
TC_NODISCARD ssize_t tc_http_disposition_write(const char *name, size_t len, char *out);

#endif
