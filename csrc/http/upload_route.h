/* http/upload_route.h — uploads as a route of a server.
 *
 * What a request does and how it is answered: http/upload.h. A request that a page of another
 * origin has sent ends its connection, so that the body is not waited for. A body that is too slow,
 * malformed or cut off is answered, if at all, as the server does it everywhere, and stores
 * nothing.
 *
 * WHO MAY CALL: see the function; the directory's statistics and progress, any thread until the
 * server is freed.
 */
#ifndef TC_HTTP_UPLOAD_ROUTE_H
#define TC_HTTP_UPLOAD_ROUTE_H

#include "http/server.h"
#include "http/upload_dir.h"

/* Take uploads into `directory` under `prefix`, which is decoded and normalised like the path of a
 * request; at its end a slash more or less does not matter. `options` is copied.
 * Parks: never, but blocks the thread   Threads: any, before start
 * Owns: *out (may be NULL) is the server's, until it is freed
 * Returns what tc_upload_dir_open returns, -EINVAL (a path that no request can have), or
 * tc_http_server_route. */
TC_NODISCARD int tc_http_server_upload(struct tc_http_server *server, const char *prefix,
                                       const char *directory,
                                       const struct tc_upload_options *options,
                                       struct tc_upload_dir **out);

/* The same with a directory that is open already. Parks: never   Threads: any, before start
 * Owns: `dir` is the server's on 0 only   Returns 0, -EINVAL, -ENOMEM, or tc_http_server_route. */
TC_NODISCARD int tc_http_server_upload_dir(struct tc_http_server *server, const char *prefix,
                                           struct tc_upload_dir *dir);

/* As tc_upload_dir_progress, of all directories of a server, one after the other: `max` files in
 * all.
 * Parks: never   Threads: any, until the server is freed */
size_t tc_http_server_upload_progress(const struct tc_http_server *server,
                                      struct tc_upload_progress *out, size_t max);

/* The sum over all directories of a server.
 * Parks: never   Threads: any, until the server is freed */
void tc_http_server_upload_statistics(const struct tc_http_server *server,
                                      struct tc_upload_statistics *out);

#endif
