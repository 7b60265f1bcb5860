/* http/static_send.h — a file as the answer to a call: looked up, and sent whole, in part, or not
 * at all.
 *
 * WHO MAY CALL: the call's fiber, which holds the file.
 */
#ifndef TC_HTTP_STATIC_SEND_H
#define TC_HTTP_STATIC_SEND_H

#include "http/handler.h"
#include "http/static_file.h"

/* Look the path up, off the worker if that waits for the disk, which `offloads` counts.
 * Parks: may   Returns 0 with the lookup's result, or -errno: it could not be looked for. */
TC_MAY_PARK TC_NODISCARD int tc__static_look(struct tc_static_lookup *lookup,
                                             _Atomic uint64_t *offloads);

/* The status for a path that leads to no file, by its -errno: 404, 403, 503 or 500. */
int tc__static_status(int error);

/* Answer. What goes wrong is the connection's. `offloads` counts what had to be read by the
 * blocking pool first. Parks: may */
TC_MAY_PARK void tc__static_send(const struct tc_static_root *root, struct tc_http_call *call,
                                 struct tc_static_file *file, _Atomic uint64_t *offloads);

/* The body that this client gets. Parks: never */
struct tc_static_body *tc__static_choose(struct tc_static_file *file,
                                         const struct tc_http_lines *lines);

/* Answer with a status, a line of text that names it, and a field if its value is not NULL.
 * Parks: may */
TC_MAY_PARK void tc__static_refuse(struct tc_http_call *call, int status, const char *name,
                                   const char *value);

#endif
