/* The answer of a handler. The head of one that is written piece by piece waits for the first
 * piece, so that a short answer is one send. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "http/call.h"
#include "sched/fiber.h"
#include "sched/worker.h"

enum {
    TAIL_BYTES = 128, /* date, connection, coding, the empty line */
    HEAD_BYTES = TC_HTTP_ANSWER_HEAD_BYTES + TAIL_BYTES,
    CHUNK_LINE_BYTES = 24,
    FILE_SLICE_BYTES = 1024 * 1024, /* between two looks at the other fibers */
    LARGE_BYTES = 256 * 1024, /* of a file, of which a first piece goes ahead */
    AHEAD_BYTES = 4096,
};

/* ---- sending ------------------------------------------------------------------------------ */

/* Each time a slow client takes something it has the whole send timeout again. `has_more`: see
 * tc_stream_sendv_more. */
static TC_MAY_PARK int send_parts(struct tc_http_call *call, struct iovec *iov, int count,
                                  bool has_more)
{
    struct tc_conn *conn = call->conn;

    while (call->send_error == 0) {
        while (count != 0 && iov->iov_len == 0) {
            iov++;
            count--;
        }
        if (count == 0) {
            return 0;
        }
        struct tc_stream *stream = tc_conn_stream(conn);
        int64_t deadline_ns = tc_conn_send_deadline(conn);
        ssize_t n = has_more ? tc_stream_sendv_more(stream, iov, count, deadline_ns)
                             : tc_stream_sendv(stream, iov, count, deadline_ns);
        if (n < 0) {
            call->send_error = (int)n;
            break;
        }
        tc_conn_count_out(conn, (uint64_t)n);
        for (size_t left = (size_t)n; left != 0;) {
            size_t part = left < iov->iov_len ? left : iov->iov_len;
            iov->iov_base = (char *)iov->iov_base + part;
            iov->iov_len -= part;
            left -= part;
            if (iov->iov_len == 0 && left != 0) {
                tc_assert(count > 1); /* or more was sent than there was */
                iov++;
                count--;
            }
        }
    }
    return call->send_error;
}

int tc__http_send(struct tc_http_call *call, struct iovec *iov, int count)
{
    return send_parts(call, iov, count, false);
}

static struct iovec part_of(const void *bytes, size_t len)
{
    return (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
}

static void drop_pending(struct tc_http_call *call)
{
    tc_mem_free(call->pending, call->pending_len);
    call->pending = NULL;
    call->pending_len = 0;
}

/* ---- the head ----------------------------------------------------------------------------- */

/* RFC 9112 9.6: is this the connection's last answer? What of the body nobody has read decides,
 * too. */
static bool is_last(const struct tc_http_call *call)
{
    bool is_too_long =
        call->must_continue || (!call->is_chunked && call->body_left > call->server->skip_bytes);

    return !call->keep_alive || tc_conn_is_draining(call->conn) || call->body_error != 0 ||
           call->reply == TC_HTTP_REPLY_CLOSE || (!call->body_is_done && is_too_long);
}

static size_t append(char *out, const char *text)
{
    size_t len = 0;

    for (; text[len] != '\0'; len++) {
        out[len] = text[len];
    }
    return len;
}

/* What goes between the fields of an answer and its body, at most TAIL_BYTES. */
static size_t write_tail(struct tc_http_call *call, char *out)
{
    struct tc_worker *worker = tc_worker_current();
    struct tc_http_part *part = tc__http_part_of(call->server, worker);
    size_t len = TC_HTTP_DATE_LINE_BYTES;

    memcpy(out, tc__http_date_line(part, tc_worker_recent_clock(worker)), len);
    if (call->reply == TC_HTTP_REPLY_CHUNKED) {
        len += append(out + len, "Transfer-Encoding: chunked\r\n");
    }
    call->state->is_closing = is_last(call);
    if (call->state->is_closing) {
        len += append(out + len, "Connection: close\r\n");
    } else if (call->minor == 0) {
        len += append(out + len, "Connection: keep-alive\r\n");
    }
    len += append(out + len, "\r\n");
    tc_counter_add(&part->requests, 1);
    return len;
}

/* Write a whole head into HEAD_BYTES. call->reply says how the body will be delimited. */
static ssize_t write_head(struct tc_http_call *call, const struct tc_http_response *response,
                          int64_t length, char *out)
{
    ssize_t len = tc_http_head_write(response, length, out, TC_HTTP_ANSWER_HEAD_BYTES);

    return len < 0 ? len : len + (ssize_t)write_tail(call, out + len);
}

/* For the log. */
static void remember(struct tc_http_call *call, int status, size_t body_len)
{
    call->status = (uint16_t)status;
    call->reply_bytes = body_len;
}

/* ---- whole answers ------------------------------------------------------------------------ */

bool tc_http_call_is_answered(const struct tc_http_call *call)
{
    return call->reply != TC_HTTP_REPLY_NONE;
}

int tc_http_reply(struct tc_http_call *call, const struct tc_http_response *response)
{
    char head[HEAD_BYTES];

    if (call->reply != TC_HTTP_REPLY_NONE) {
        return -EALREADY;
    }
    if (!tc_http_status_has_body(response->status) && response->body_len != 0) {
        return -EINVAL;
    }
    ssize_t len = write_head(call, response, (int64_t)response->body_len, head);
    if (len < 0) {
        return (int)len;
    }
    call->reply = TC_HTTP_REPLY_ENDED;
    struct iovec iov[2] = {part_of(head, (size_t)len),
                           part_of(response->body, call->has_no_body ? 0 : response->body_len)};
    remember(call, response->status, iov[1].iov_len);
    return tc__http_send(call, iov, 2);
}

int tc_http_reply_answer(struct tc_http_call *call, const struct tc_http_answer *answer)
{
    char tail[TAIL_BYTES];

    if (call->reply != TC_HTTP_REPLY_NONE) {
        return -EALREADY;
    }
    size_t len = write_tail(call, tail);
    call->reply = TC_HTTP_REPLY_ENDED;
    struct iovec iov[3] = {part_of(answer->head, answer->head_len), part_of(tail, len),
                           part_of(answer->body, call->has_no_body ? 0 : answer->body_len)};
    remember(call, answer->status, iov[2].iov_len);
    return tc__http_send(call, iov, 3);
}

/* ---- answers in pieces -------------------------------------------------------------------- */

static enum tc_http_reply_state delimit(const struct tc_http_call *call, int status, int64_t length)
{
    if (length >= 0 || !tc_http_status_has_body(status)) {
        return TC_HTTP_REPLY_LENGTH;
    }
    return call->minor == 0 ? TC_HTTP_REPLY_CLOSE : TC_HTTP_REPLY_CHUNKED;
}

/* The head of `len` bytes waits for what follows it. */
static int begin(struct tc_http_call *call, const char *head, size_t len, int status,
                 int64_t length)
{
    remember(call, status, 0);
    call->has_no_body = call->has_no_body || !tc_http_status_has_body(status);
    call->reply_left = length >= 0 ? (uint64_t)length : 0;
    call->pending = tc_mem_alloc(len);
    if (call->pending == NULL) {
        call->send_error = -ENOMEM; /* the state of the answer has been decided */
        return -ENOMEM;
    }
    memcpy(call->pending, head, len);
    call->pending_len = len;
    return 0;
}

int tc_http_reply_begin(struct tc_http_call *call, const struct tc_http_response *response,
                        int64_t length)
{
    char head[HEAD_BYTES];

    if (call->reply != TC_HTTP_REPLY_NONE) {
        return -EALREADY;
    }
    if (length < TC_HTTP_LENGTH_UNKNOWN) {
        return -EINVAL;
    }
    call->reply = (uint8_t)delimit(call, response->status, length);
    ssize_t len = write_head(call, response, length, head);
    if (len < 0) {
        call->reply = TC_HTTP_REPLY_NONE;
        return (int)len;
    }
    return begin(call, head, (size_t)len, response->status, length);
}

int tc_http_reply_begin_answer(struct tc_http_call *call, const struct tc_http_answer *answer,
                               int64_t length)
{
    if (call->reply != TC_HTTP_REPLY_NONE) {
        return -EALREADY;
    }
    char *head = tc_mem_alloc(answer->head_len + TAIL_BYTES);
    if (head == NULL) {
        return -ENOMEM;
    }
    memcpy(head, answer->head, answer->head_len);
    call->reply = (uint8_t)delimit(call, answer->status, length);
    size_t len = answer->head_len + write_tail(call, head + answer->head_len);
    int rc = begin(call, head, len, answer->status, length);
    tc_mem_free(head, answer->head_len + TAIL_BYTES);
    return rc;
}

/* May `len` bytes follow? */
static int account(struct tc_http_call *call, uint64_t len)
{
    if (call->send_error != 0) {
        return call->send_error;
    }
    if (call->reply == TC_HTTP_REPLY_NONE || call->reply == TC_HTTP_REPLY_ENDED) {
        return -EPROTO;
    }
    if (call->reply == TC_HTTP_REPLY_LENGTH) {
        if (len > call->reply_left) {
            return -EOVERFLOW;
        }
        call->reply_left -= len;
    }
    call->reply_bytes += call->has_no_body ? 0 : len;
    return 0;
}

/* Send `bytes` behind what is pending, as a chunk where the answer is chunked. */
static TC_MAY_PARK int send_piece(struct tc_http_call *call, const void *bytes, size_t len)
{
    char line[CHUNK_LINE_BYTES];
    bool is_chunk = call->reply == TC_HTTP_REPLY_CHUNKED && len != 0;
    int line_len = is_chunk ? snprintf(line, sizeof line, "%zx\r\n", len) : 0;
    struct iovec iov[4] = {part_of(call->pending, call->pending_len),
                           part_of(line, (size_t)line_len), part_of(bytes, len),
                           part_of("\r\n", is_chunk ? 2 : 0)};
    int rc = tc__http_send(call, iov, 4);

    drop_pending(call);
    return rc;
}

int tc_http_reply_write(struct tc_http_call *call, const void *bytes, size_t len)
{
    int rc = account(call, len);

    if (rc != 0 || call->has_no_body || len == 0) {
        return rc;
    }
    return send_piece(call, bytes, len);
}

int tc_http_reply_hold(struct tc_http_call *call, const void *bytes, size_t len)
{
    int rc = account(call, len);

    if (rc != 0 || call->has_no_body || len == 0) {
        return rc;
    }
    if (call->reply == TC_HTTP_REPLY_CHUNKED) {
        return send_piece(call, bytes, len);
    }
    char *pending = tc_mem_realloc(call->pending, call->pending_len, call->pending_len + len);
    if (pending == NULL) {
        call->send_error = -ENOMEM;
        return -ENOMEM;
    }
    memcpy(pending + call->pending_len, bytes, len);
    call->pending = pending;
    call->pending_len += len;
    return 0;
}

int tc_http_reply_flush(struct tc_http_call *call)
{
    int rc = account(call, 0);

    return rc != 0 || call->pending == NULL ? rc : send_piece(call, NULL, 0);
}

/* `ahead`: so many bytes go first. */
static TC_MAY_PARK int send_file(struct tc_http_call *call, int file_fd, int64_t offset,
                                 uint64_t len, uint64_t ahead)
{
    struct tc_stream *stream = tc_conn_stream(call->conn);

    for (uint64_t done = 0; done != len;) {
        uint64_t slice = len - done < FILE_SLICE_BYTES ? len - done : FILE_SLICE_BYTES;
        slice = done < ahead ? ahead - done : slice;
        ssize_t n = tc_stream_send_file_some(stream, file_fd, offset + (int64_t)done, (size_t)slice,
                                             tc_conn_send_deadline(call->conn));
        if (n <= 0) {
            call->send_error = n == 0 ? -ENODATA : (int)n;
            return call->send_error;
        }
        tc_conn_count_out(call->conn, (uint64_t)n);
        done += (uint64_t)n;
        if (done != ahead) {
            tc_fiber_yield(); /* a peer that takes everything must not keep the others waiting */
        }
    }
    return 0;
}

int tc_http_reply_send_file(struct tc_http_call *call, int file_fd, int64_t offset, uint64_t len)
{
    char line[CHUNK_LINE_BYTES];
    bool is_chunk = call->reply == TC_HTTP_REPLY_CHUNKED;
    int rc = account(call, len);

    if (rc != 0 || call->has_no_body || len == 0) {
        return rc;
    }
    int line_len = is_chunk ? snprintf(line, sizeof line, "%llx\r\n", (unsigned long long)len) : 0;
    struct iovec iov[2] = {part_of(call->pending, call->pending_len),
                           part_of(line, (size_t)line_len)};
    /* With the head of much a first page goes ahead: it wakes a client on the same machine, which
     * then takes the rest while it is being sent, in its own time. A head alone would do so, too,
     * and cost it a call more. */
    uint64_t ahead = call->pending_len != 0 && len >= LARGE_BYTES ? AHEAD_BYTES : 0;
    rc = send_parts(call, iov, 2, true);
    drop_pending(call);
    if (rc == 0) {
        rc = send_file(call, file_fd, offset, len, ahead);
    }
    if (rc == 0 && is_chunk) {
        iov[0] = part_of("\r\n", 2);
        rc = tc__http_send(call, iov, 1);
    }
    return rc;
}

int tc_http_reply_end(struct tc_http_call *call)
{
    static const char last_chunk[] = "0\r\n\r\n";
    int rc = account(call, 0);

    if (rc != 0) {
        return rc;
    }
    if (call->reply == TC_HTTP_REPLY_LENGTH && call->reply_left != 0 && !call->has_no_body) {
        call->send_error = -EBADMSG;
        return -EBADMSG;
    }
    bool is_chunked = call->reply == TC_HTTP_REPLY_CHUNKED && !call->has_no_body;
    struct iovec iov[2] = {part_of(call->pending, call->pending_len),
                           part_of(last_chunk, is_chunked ? sizeof last_chunk - 1 : 0)};
    rc = tc__http_send(call, iov, 2);
    drop_pending(call);
    call->reply = TC_HTTP_REPLY_ENDED;
    return rc;
}

void tc_http_reply_is_last(struct tc_http_call *call)
{
    call->keep_alive = false;
}
