/* http/static.h — files of a directory as a route of a server.
 *
 * GET and HEAD of prefix/PATH answer with the file PATH below the directory: whole, or the ranges
 * that are asked for (http/range.h), if the client's conditions say so (http/conditions.h). What is
 * small is kept in memory with its head, and a request for it costs neither a fiber nor a system
 * call but recv and send; what is larger is kept open, and sent by sendfile in slices. A file is
 * looked up anew when `recheck_ns` has passed: until then its old state is sent, and while one
 * request looks, others may get it for as long again. Nothing waits for a disk on a worker: what is
 * not in the kernel's memory is read on the blocking pool.
 *
 *   the path leads to            answer
 *   a regular file               200, 206, 304, 412 or 416
 *   a directory, no slash        301 to the same with a slash
 *   a directory, slash           its index file; else the listing, or 403
 *   nothing, a symbolic link, a  404
 *     device, a name with a dot
 *     in front, what is outside
 *   what may not be read         403
 *   no descriptor, memory left   503
 *
 * Links and names with a dot are served if the options say so; a path never leads outside the
 * directory, not by a link either, and not by one that is changed meanwhile (openat2; where the
 * kernel has no such call, a walk that follows no link at all).
 *
 * The entity tag is made of the time of modification, size and inode. It is weak while the file is
 * younger than a second, when its content can still change without a trace in the time.
 *
 * A file that shrinks while it is sent ends the connection: the client sees too short a body, never
 * a wrong one that looks whole.
 *
 * With `precompressed`, PATH.br and PATH.gz, if they are not older than PATH, are what a client
 * gets that likes them better (http/coding.h).
 *
 * WHO MAY CALL: see the functions.
 */
#ifndef TC_HTTP_STATIC_H
#define TC_HTTP_STATIC_H

#include "http/server.h"
#include "http/static_terms.h"

struct tc_static;

enum {
    TC_STATIC_CONTENT_BYTES = 64 * 1024, /* a file of at most so many is kept in memory */
    TC_STATIC_PATH_BYTES = 4096, /* of a path below the directory, less than */
};

#define TC_STATIC_RECHECK_NS TC_NS_PER_SEC

struct tc_static_options {
    const char *index; /* a file's name, for directories; NULL: none */
    const struct tc_http_answer_field *fields; /* sent with 200, 206 and 304 */
    size_t field_count;
    int64_t recheck_ns; /* see above; 0: every request looks */
    uint64_t cache_bytes; /* of files in memory; 0: none is kept */
    bool follow_links; /* that stay within the directory */
    bool dotfiles;
    bool listing;
    bool precompressed;
};

struct tc_static_statistics {
    uint64_t lookups; /* of a path in the file system */
    uint64_t offloads; /* on the blocking pool, of lookups and of slices of files */
    uint64_t files; /* remembered now */
    uint64_t bytes; /* of memory for them */
    uint64_t descriptors; /* open for them */
};

/* Serve `directory` under `prefix`, which is decoded and normalised like the path of a request; at
 * its end a slash more or less does not matter. `options` is copied, and so is its text.
 * Parks: never, but blocks the thread   Threads: any
 * Owns: *out (may be NULL) is the server's, until it is freed
 * Returns 0, -EINVAL (a path that no request can have, an index with a slash, a field that
 * tc_http_answer_init refuses or that is written here already), -E2BIG (too many fields), -ENOTDIR
 * and what open says, or what tc_http_server_route returns. */
TC_NODISCARD int tc_http_server_static(struct tc_http_server *server, const char *prefix,
                                       const char *directory,
                                       const struct tc_static_options *options,
                                       struct tc_static **out);

/* Parks: never   Threads: any, until the server is freed */
void tc_static_statistics(struct tc_static *route, struct tc_static_statistics *out);

#endif
