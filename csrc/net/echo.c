#include "net/echo.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "io/io.h"
#include "sched/worker.h"

/* What the peer did not take at once, copied: the scratch buffer does not survive a park. */
struct echo_state {
    unsigned char *data; /* owned; NULL: nothing is unsent                                       */
    size_t len;
    size_t sent;
};

static void drop_unsent(struct echo_state *state)
{
    if (state->data != NULL) {
        tc_mem_free(state->data, state->len);
        state->data = NULL;
    }
}

static void echo_release(struct tc_conn *conn)
{
    drop_unsent(tc_conn_state(conn));
}

static enum tc_verdict keep_unsent(struct tc_conn *conn, const unsigned char *data, size_t len)
{
    struct echo_state *state = tc_conn_state(conn);

    state->data = tc_mem_alloc(len);
    if (state->data == NULL) {
        return tc_conn_fail(conn, -ENOMEM);
    }
    memcpy(state->data, data, len);
    state->len = len;
    state->sent = 0;
    return TC_CONN_SERVE;
}

static enum tc_verdict answer(struct tc_conn *conn, const unsigned char *data, size_t len)
{
    enum tc_direction want;
    ssize_t sent = tc_stream_try_send(tc_conn_stream(conn), data, len, &want);

    if (tc_unlikely(sent < 0)) {
        if (sent != -EAGAIN) {
            return tc_conn_fail(conn, (int)sent);
        }
        sent = 0;
    }
    tc_conn_count_out(conn, (uint64_t)sent);
    if (tc_likely((size_t)sent == len)) {
        return TC_CONN_REST;
    }
    return keep_unsent(conn, data + sent, len - (size_t)sent);
}

static void answer_later(void *arg, struct tc_worker *worker, unsigned char *kept, size_t bytes)
{
    tc_conn_go_on(arg, worker, answer(arg, kept, bytes));
}

/* One recv, one send. */
static enum tc_verdict echo_react(struct tc_conn *conn, struct tc_worker *worker)
{
    struct tc_stream *stream = tc_conn_stream(conn);
    unsigned char *scratch = tc_io_scratch(worker);
    enum tc_direction want;

    if (tc_unlikely(scratch == NULL)) {
        return tc_conn_fail(conn, -ENOMEM);
    }
    ssize_t got = tc_stream_try_recv(stream, scratch, TC_IO_SCRATCH_BYTES, &want);
    if (tc_unlikely(got <= 0)) {
        if (got == -EAGAIN) {
            return TC_CONN_REST;
        }
        return got == 0 ? TC_CONN_CLOSE : tc_conn_fail(conn, (int)got);
    }
    tc_conn_count_in(conn, (uint64_t)got);
    if (tc_io_put_off(worker, answer_later, conn, (size_t)got)) {
        return TC_CONN_LATER;
    }
    return answer(conn, scratch, (size_t)got);
}

/* Each time the peer takes something it has the whole send timeout again. */
static int send_unsent(struct tc_conn *conn, struct echo_state *state)
{
    while (state->sent != state->len) {
        ssize_t n = tc_stream_send(tc_conn_stream(conn), state->data + state->sent,
                                   state->len - state->sent, tc_conn_send_deadline(conn));
        if (n < 0) {
            return (int)n;
        }
        tc_conn_count_out(conn, (uint64_t)n);
        state->sent += (size_t)n;
    }
    drop_unsent(state);
    return 0;
}

static enum tc_verdict echo_serve(struct tc_conn *conn)
{
    struct echo_state *state = tc_conn_state(conn);
    enum tc_verdict verdict;

    do {
        if (state->data != NULL) {
            int rc = send_unsent(conn, state);
            if (rc != 0) {
                return tc_conn_fail(conn, rc);
            }
        }
        verdict = echo_react(conn, tc_worker_current());
    } while (verdict == TC_CONN_SERVE);
    return verdict;
}

const struct tc_protocol tc_echo_protocol = {
    .name = "echo",
    .stack_class = TC_STACK_SMALL,
    .conn_bytes = sizeof(struct echo_state),
    .react = echo_react,
    .serve = echo_serve,
    .release = echo_release,
};
