/* http/desk_file.h — calls of a desk that are answered with a file.
 *
 * The clerk names the file, and what else is to be said (http/static_terms.h); it neither opens nor
 * reads it. The call is served by the connection's fiber then (http/desk_stream.h), which looks the
 * path up and sends the file as the static route does its own: conditions, ranges, small ones by
 * one call, large ones by sendfile in slices, and whatever waits for a disk on the blocking pool.
 *
 *   the path leads to            answer
 *   a regular file               200, 206, 304, 412 or 416; the whole file, and no word on
 *                                conditions, where the clerk's status is not 200, or the request
 *                                neither GET nor HEAD
 *   nothing, a directory, a      404
 *     FIFO, a device, a socket
 *   what may not be read         403, and the clerk is told
 *   no descriptor, memory left   503, and the clerk is told
 *   what else fails              500, and the clerk is told
 *
 * The path is the program's own, so it is not looked at, and symbolic links are followed; one that
 * is relative begins in the directory where the process is when it is opened. A refusal has none of
 * the clerk's fields. A file that shrinks while it is sent ends the connection, of which the clerk
 * is told, too.
 *
 * WHO MAY CALL: as each says.
 */
#ifndef TC_HTTP_DESK_FILE_H
#define TC_HTTP_DESK_FILE_H

#include "http/desk.h"
#include "http/handler.h"

struct tc_desk_file {
    const char *path; /* terminated */
    int status; /* of the whole file; one that has a body */
    const char *content_type; /* NULL: none */
    const struct tc_http_answer_field *fields;
    size_t field_count;
};

/* Whether a file may be answered with in this way. Each field must be one that
 * tc_http_answer_may_have, and so must the type. Threads: any
 * Returns 0, or -EINVAL, -E2BIG as tc__static_terms_read. */
TC_NODISCARD int tc_desk_file_check(const struct tc_desk_file *file);

/* A reply that names a file which tc_desk_file_check has let pass, with copies of all text.
 * Threads: any   Returns NULL without memory. */
struct tc_desk_reply *tc_desk_file_reply(const struct tc_desk_file *file);

/* Why the file that a call has been answered with could not be sent, told once: 0 or -errno. The
 * call's reply is still there then. Threads: the clerk, once it is told */
int tc_desk_file_take_error(struct tc_desk_call *call);

/* desk_serve.c: send it. Threads: the fiber */
TC_MAY_PARK void tc__desk_file_send(struct tc_http_call *call, struct tc_desk_call *errand);

#endif
