/* http/upload.h — what a request does to a directory that takes uploads: PUT, POST and forms.
 *
 *   PUT prefix/NAME          the body becomes NAME: 201, or 200 if it replaced a file (overwrite)
 *   POST prefix              the body becomes a file whose name the server makes: 201, Location
 *   POST prefix, multipart/  so does each part that has a filename, which is not looked at; other
 *     form-data              parts are passed over. All of them are stored, or none.
 *
 * The answer is JSON, {"files": [{"name": …, "size": …}]}, in the order of the parts; Location
 * leads to the first. What can be refused by the head alone is refused before the body is read, and
 * so before a client that expects 100 (Continue) has sent it.
 *
 *   status
 *   400   a name that no file may have; a broken form
 *   403   sent by a page of another origin (http/origin.h)
 *   405   another method, PUT without a name or POST with one
 *   409   the name exists, or is a directory's
 *   411   neither Content-Length nor chunked
 *   413   longer than max_size, more than TC_HTTP_UPLOAD_FILES_MAX files, or more than
 *         TC_HTTP_UPLOAD_SKIP_BYTES of a form in no file
 *   503   no memory, descriptor or thread
 *   507   over the quota, or no room on the disk
 *   500   the disk failed otherwise
 *
 * INVARIANTS
 *  UR1  A request that is not answered by 200 or 201 has stored nothing; of a form a crash may
 *       leave whole files.
 *
 * WHO MAY CALL: a fiber, for a request of its own; memory per request is constant.
 */
#ifndef TC_HTTP_UPLOAD_H
#define TC_HTTP_UPLOAD_H

#include <sys/types.h>

#include "http/upload_dir.h"

enum {
    TC_HTTP_UPLOAD_FILES_MAX = 64, /* of one form */
    TC_HTTP_UPLOAD_SKIP_BYTES = 1024 * 1024, /* of a form, in no file */
    TC_HTTP_UPLOAD_JSON_BYTES = 8 * 1024,
};

/* A request, as far as an upload looks at it. Text is borrowed. */
struct tc_http_upload_request {
    int method; /* enum tc_http_method */
    bool is_foreign; /* tc_http_source_is_foreign */
    const char *name; /* decoded, what follows prefix and slash; NULL: nothing does */
    size_t name_len;
    const char *content_type; /* NULL: none */
    size_t content_type_len;
    bool has_body; /* Content-Length, also of 0, or chunked */
    int64_t content_length; /* -1: not known */
    /* Read some of the body; parks. Returns the bytes, 0 at its end, negative: there is no more. */
    TC_MAY_PARK ssize_t (*read)(void *arg, void *buf, size_t len);
    void *arg;
};

/* What to answer. */
struct tc_http_upload_result {
    int status;
    ssize_t read_error; /* what `read` said: nothing is stored, status is 0 */
    char id[TC_UPLOAD_ID_BYTES + 1]; /* Location is the prefix, a slash and this; empty: none */
    size_t json_len;
    char json[TC_HTTP_UPLOAD_JSON_BYTES]; /* empty unless 200 or 201 */
};

/* Do what the request says.
 * Parks: may   Threads: a fiber   Owns: nothing passes */
TC_MAY_PARK void tc_http_upload(struct tc_upload_dir *dir,
                                const struct tc_http_upload_request *request,
                                struct tc_http_upload_result *result);

#endif
