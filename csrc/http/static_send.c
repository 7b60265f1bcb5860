#include "http/static_send.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"
#include "http/range.h"
#include "sched/blocking.h"
#include "sched/worker.h"

enum {
    SLICE_BYTES = 1024 * 1024, /* of a file, sent at a time */
    LOOK_BYTES = 256 * 1024, /* between two looks at whether it is in memory */
    WARM_BYTES = 64 * 1024,
    BOUNDARY_BYTES = 32,
    PART_BYTES = 512, /* the head of one part of several */
    CONTENT_RANGE_BYTES = 80,
};

/* For how long a file that was wholly in memory is sent without another look. */
#define KNOWN_NS (10 * TC_NS_PER_MS)

_Static_assert((int)PART_BYTES >=
                   (int)TC_STATIC_TYPE_BYTES + (int)BOUNDARY_BYTES + (int)CONTENT_RANGE_BYTES + 64,
               "room for every type");

/* ---- refusals ----------------------------------------------------------------------------- */

void tc__static_refuse(struct tc_http_call *call, int status, const char *name, const char *value)
{
    char text[64];
    const struct tc_http_answer_field field = {name, value};
    int len = snprintf(text, sizeof text, "%d %s\n", status, tc_http_reason(status));
    struct tc_http_response response = {
        .status = status,
        .content_type = "text/plain",
        .fields = &field,
        .field_count = value == NULL ? 0 : 1,
        .body = text,
        .body_len = (size_t)len,
    };

    TC_IGNORE(tc_http_reply(call, &response)); /* an error is the connection's, which ends */
}

int tc__static_status(int error)
{
    switch (error) {
    case -ENOENT:
    case -ENOTDIR:
    case -EISDIR:
    case -ENAMETOOLONG:
    case -ELOOP:
    case -EXDEV:
    case -ENXIO:
    case -ENODEV:
    case -EINVAL:
        return 404;
    case -EACCES:
    case -EPERM:
        return 403;
    case -EAGAIN:
    case -EBUSY:
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
        return 503;
    default:
        return 500;
    }
}

/* ---- looking up --------------------------------------------------------------------------- */

static int64_t look_blocking(void *arg)
{
    return tc__static_lookup(arg);
}

int tc__static_look(struct tc_static_lookup *lookup, _Atomic uint64_t *offloads)
{
    lookup->may_block = false;
    int rc = tc__static_lookup(lookup);
    if (rc == -EAGAIN) {
        tc_fetch_add_relaxed(offloads, 1); /* relaxed: a statistic */
        lookup->may_block = true;
        rc = (int)tc_blocking_run(look_blocking, lookup);
    }
    return rc;
}

/* ---- bytes of a file ---------------------------------------------------------------------- */

struct slice {
    int fd;
    int64_t offset;
    uint64_t len;
};

/* On the pool: read a slice, so that it is in memory when it is sent. What cannot be read shows
 * then. */
static int64_t warm(void *arg)
{
    const struct slice *slice = arg;
    char *buf = tc_mem_alloc(WARM_BYTES);
    ssize_t n = 1;

    for (uint64_t done = 0; buf != NULL && n > 0 && done < slice->len; done += (uint64_t)n) {
        n = tc_sys_pread(slice->fd, buf, WARM_BYTES, slice->offset + (int64_t)done);
    }
    tc_mem_free(buf, WARM_BYTES);
    return 0;
}

static bool is_in_memory(int fd, int64_t offset)
{
    char byte;

    return tc_sys_pread_nowait(fd, &byte, 1, offset) >= 0;
}

/* How many bytes from the slice's first on can be sent without waiting for the disk; 0 if nobody
 * can tell. The kernel reads ahead, and gives memory back, in runs of pages, so those that are
 * looked at speak for those between. */
static uint64_t count_in_memory(const struct slice *slice)
{
    uint64_t done = 0;

    if (!is_in_memory(slice->fd, slice->offset)) {
        return 0;
    }
    while (done < slice->len) {
        uint64_t next = slice->len - done < LOOK_BYTES ? slice->len : done + LOOK_BYTES;
        if (!is_in_memory(slice->fd, slice->offset + (int64_t)next - 1)) {
            break;
        }
        done = next;
    }
    return done;
}

/* As count_in_memory, of a slice of the body. A file of one slice that was just found there whole
 * is not looked at again: a look costs a call into the kernel each LOOK_BYTES, which is 2 % of what
 * sending them costs. Pages that are taken away within those milliseconds have the worker wait for
 * the disk, once. */
static uint64_t count_ready(struct tc_static_body *body, const struct slice *slice)
{
    int64_t now_ns = tc_worker_recent_clock(tc_worker_current());

    if (now_ns < tc_load_relaxed(&body->known_until_ns)) { /* relaxed: a time, on its own */
        return slice->len;
    }
    uint64_t ready = count_in_memory(slice);
    if (ready == body->stamp.size) {
        tc_store_relaxed(&body->known_until_ns, now_ns + KNOWN_NS); /* relaxed: see above */
    }
    return ready;
}

/* Send a part of the body. Returns as tc_http_reply_write. */
static TC_MAY_PARK int send_span(struct tc_http_call *call, struct tc_static_body *body,
                                 uint64_t first, uint64_t len, _Atomic uint64_t *offloads)
{
    int rc = 0;

    if (body->fd < 0) {
        return tc_http_reply_write(call, body->whole.body + first, (size_t)len);
    }
    for (uint64_t done = 0; rc == 0 && done < len;) {
        struct slice slice = {
            .fd = body->fd,
            .offset = (int64_t)(first + done),
            .len = len - done < SLICE_BYTES ? len - done : SLICE_BYTES,
        };
        uint64_t ready = count_ready(body, &slice);
        if (ready != 0) {
            slice.len = ready;
        } else {
            slice.len = slice.len < LOOK_BYTES ? slice.len : LOOK_BYTES;
            tc_fetch_add_relaxed(offloads, 1); /* relaxed: a statistic */
            /* Without a thread the worker waits: late is better than not at all. */
            TC_IGNORE(tc_blocking_run(warm, &slice));
        }
        rc = tc_http_reply_send_file(call, slice.fd, slice.offset, slice.len);
        done += slice.len;
    }
    return rc;
}

/* ---- answers ------------------------------------------------------------------------------ */

struct job {
    const struct tc_static_root *root;
    struct tc_http_call *call;
    const struct tc_static_file *file;
    struct tc_static_body *body;
    _Atomic uint64_t *offloads;
};

/* A response with the fields of the body, in `fields`, and perhaps one more. */
static struct tc_http_response response_of(const struct job *job, int status,
                                           struct tc_http_answer_field *fields,
                                           const char *content_range)
{
    size_t count = tc__static_fields(job->root, job->file, job->body, fields);

    if (content_range != NULL) {
        fields[count++] = (struct tc_http_answer_field){"Content-Range", content_range};
    }
    return (struct tc_http_response){
        .status = status,
        .content_type = job->file->type,
        .fields = fields,
        .field_count = count,
    };
}

/* The head, `len` bytes from `first`, the end. */
static TC_MAY_PARK int send_body(const struct job *job, const struct tc_http_response *response,
                                 uint64_t first, uint64_t len)
{
    int rc = tc_http_reply_begin(job->call, response, (int64_t)len);

    if (rc == 0) {
        rc = send_span(job->call, job->body, first, len, job->offloads);
    }
    return rc != 0 ? rc : tc_http_reply_end(job->call);
}

static TC_MAY_PARK int send_whole(const struct job *job)
{
    struct tc_http_answer_field fields[TC_STATIC_OWN_FIELDS + TC_STATIC_FIELDS_MAX];

    if (job->body->fd < 0 || tc_http_call_method(job->call) == TC_HTTP_HEAD) {
        return tc_http_reply_answer(job->call, &job->body->whole);
    }
    struct tc_http_response response = response_of(job, job->root->terms.status, fields, NULL);
    return send_body(job, &response, 0, job->body->stamp.size);
}

static void write_content_range(const struct tc_http_range *range, uint64_t size, char *out)
{
    (void)snprintf(out, CONTENT_RANGE_BYTES, "bytes %llu-%llu/%llu",
                   (unsigned long long)range->first,
                   (unsigned long long)(range->first + range->len - 1), (unsigned long long)size);
}

static TC_MAY_PARK int send_range(const struct job *job, const struct tc_http_range *range)
{
    struct tc_http_answer_field fields[TC_STATIC_OWN_FIELDS + TC_STATIC_FIELDS_MAX];
    char content_range[CONTENT_RANGE_BYTES];

    write_content_range(range, job->body->stamp.size, content_range);
    struct tc_http_response response = response_of(job, 206, fields, content_range);
    return send_body(job, &response, range->first, range->len);
}

/* ---- several ranges: multipart/byteranges (RFC 9110 14.6) --------------------------------- */

/* What comes before a part; without a range: what comes behind the last one. Returns its length. */
static size_t write_part(const struct job *job, const char *boundary,
                         const struct tc_http_range *range, bool is_first, char *out)
{
    char content_range[CONTENT_RANGE_BYTES];
    const char *before = is_first ? "" : "\r\n";
    const char *type = job->file->type;

    if (range == NULL) {
        return (size_t)snprintf(out, PART_BYTES, "\r\n--%s--\r\n", boundary);
    }
    write_content_range(range, job->body->stamp.size, content_range);
    return (size_t)snprintf(out, PART_BYTES, "%s--%s\r\n%s%s%sContent-Range: %s\r\n\r\n", before,
                            boundary,
                            type == NULL ? "" : "Content-Type: ", type == NULL ? "" : type,
                            type == NULL ? "" : "\r\n", content_range);
}

static uint64_t measure_parts(const struct job *job, const char *boundary,
                              const struct tc_http_range *ranges, int count)
{
    char part[PART_BYTES];
    uint64_t length = write_part(job, boundary, NULL, false, part);

    for (int i = 0; i < count; i++) {
        length += write_part(job, boundary, &ranges[i], i == 0, part) + ranges[i].len;
    }
    return length;
}

static TC_MAY_PARK int send_parts(const struct job *job, const char *boundary,
                                  const struct tc_http_range *ranges, int count)
{
    char part[PART_BYTES];
    int rc = 0;

    for (int i = 0; rc == 0 && i < count; i++) {
        rc = tc_http_reply_hold(job->call, part,
                                write_part(job, boundary, &ranges[i], i == 0, part));
        if (rc == 0) {
            rc = send_span(job->call, job->body, ranges[i].first, ranges[i].len, job->offloads);
        }
    }
    if (rc == 0) {
        rc = tc_http_reply_hold(job->call, part, write_part(job, boundary, NULL, false, part));
    }
    return rc != 0 ? rc : tc_http_reply_end(job->call);
}

/* Nobody who can write the file may know the boundary. */
static int make_boundary(char out[BOUNDARY_BYTES + 1])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char random[BOUNDARY_BYTES / 2];
    int rc = tc_sys_getrandom(random, sizeof random);

    for (size_t i = 0; rc == 0 && i < sizeof random; i++) {
        out[2 * i] = digits[random[i] >> 4];
        out[2 * i + 1] = digits[random[i] & 15];
    }
    out[BOUNDARY_BYTES] = '\0';
    return rc;
}

static TC_MAY_PARK int send_ranges(const struct job *job, const struct tc_http_range *ranges,
                                   int count)
{
    struct tc_http_answer_field fields[TC_STATIC_OWN_FIELDS + TC_STATIC_FIELDS_MAX];
    char boundary[BOUNDARY_BYTES + 1];
    char type[BOUNDARY_BYTES + 40];
    int rc = make_boundary(boundary);

    if (rc != 0) {
        return rc; /* 500 */
    }
    (void)snprintf(type, sizeof type, "multipart/byteranges; boundary=%s", boundary);
    struct tc_http_response response = response_of(job, 206, fields, NULL);
    response.content_type = type;
    rc = tc_http_reply_begin(job->call, &response,
                             (int64_t)measure_parts(job, boundary, ranges, count));
    return rc != 0 ? rc : send_parts(job, boundary, ranges, count);
}

/* ---- which answer ------------------------------------------------------------------------- */

struct tc_static_body *tc__static_choose(struct tc_static_file *file,
                                         const struct tc_http_lines *lines)
{
    struct tc_http_codings codings = {0};
    const struct tc_http_field_line *line;
    uint32_t index = 0;

    if (file->available == TC_HTTP_CODING_BIT(TC_HTTP_IDENTITY)) {
        return &file->bodies[TC_HTTP_IDENTITY];
    }
    while ((line = tc_http_lines_next(lines, TC_HTTP_FIELD_ACCEPT_ENCODING, &index)) != NULL) {
        tc_http_codings_add(&codings, lines->base + line->value.at, line->value.len);
    }
    return &file->bodies[tc_http_codings_choose(&codings, file->available)];
}

/* The ranges that the client is to get, as tc_http_range_parse. */
static int read_ranges(const struct job *job, const struct tc_http_lines *lines, int64_t now,
                       struct tc_http_range ranges[TC_HTTP_RANGES_MAX])
{
    struct tc_http_text value;

    if (tc_http_call_method(job->call) != TC_HTTP_GET || !job->root->terms.may_range ||
        !tc_http_call_field(job->call, TC_HTTP_FIELD_RANGE, &value) ||
        tc_http_call_is_repeated(job->call, TC_HTTP_FIELD_RANGE) ||
        !tc_http_conditions_may_range(lines, &job->body->validators, now)) {
        return TC_HTTP_RANGE_IGNORED;
    }
    return tc_http_range_parse(value.at, value.len, job->body->stamp.size, ranges);
}

void tc__static_send(const struct tc_static_root *root, struct tc_http_call *call,
                     struct tc_static_file *file, _Atomic uint64_t *offloads)
{
    struct tc_http_lines lines = tc_http_call_lines(call);
    int64_t now = tc_clock_wall_seconds();
    struct tc_http_range ranges[TC_HTTP_RANGES_MAX];
    struct job job = {
        .root = root,
        .call = call,
        .file = file,
        .body = tc__static_choose(file, &lines),
        .offloads = offloads,
    };
    char content_range[CONTENT_RANGE_BYTES];

    if (root->terms.is_plain) {
        TC_IGNORE(send_whole(&job)); /* the connection's */
        return;
    }
    int status = tc_http_conditions_check(&lines, &job.body->validators, now);
    if (status == 412) {
        tc__static_refuse(call, 412, NULL, NULL);
        return;
    }
    if (status == 304) {
        TC_IGNORE(tc_http_reply_answer(call, &job.body->unchanged)); /* the connection's */
        return;
    }
    int count = read_ranges(&job, &lines, now, ranges);
    if (count == TC_HTTP_RANGE_UNSATISFIABLE) {
        (void)snprintf(content_range, sizeof content_range, "bytes */%llu",
                       (unsigned long long)job.body->stamp.size);
        tc__static_refuse(call, 416, "Content-Range", content_range);
    } else if (count == 1) {
        TC_IGNORE(send_range(&job, ranges)); /* the connection's */
    } else if (count > 1) {
        TC_IGNORE(send_ranges(&job, ranges, count)); /* the connection's */
    } else {
        TC_IGNORE(send_whole(&job)); /* the connection's */
    }
}
