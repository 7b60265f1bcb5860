#include "http/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"

enum {
    LOGS_MAX = 64, /* that fork and exit know of */
    FILE_MODE = 0644,
};

#define GATHER_NS (5 * TC_NS_PER_MS)
#define RETRY_NS (10 * TC_NS_PER_MS) /* of a pipe that is full */
#define LAST_WRITE_NS (1 * TC_NS_PER_SEC) /* how long the end waits for such a pipe, in all */
#define LAST_STALL_NS (TC_NS_PER_SEC / 5) /* and without a byte that went: nobody reads */
#define EXIT_WRITE_NS (TC_NS_PER_SEC / 4) /* in all, at the exit of the process */
#define LAST_WAIT_NS (1 * TC_NS_PER_SEC) /* and, behind that, for a write that blocks */

enum { AWAKE, ASLEEP, GATHERING };

/* One worker's lines. Positions count all bytes ever; the ring is a power of two. */
struct ring {
    TC_ALIGNED(TC_CACHELINE) _Atomic uint64_t head; /* behind the last line; the worker's */
    _Atomic uint64_t lines; /* taken; the worker's, like the next one */
    _Atomic uint64_t dropped;
    TC_ALIGNED(TC_CACHELINE) _Atomic uint64_t tail; /* written up to here; the thread's */
    char *bytes; /* owned; constant */
};

struct tc_http_log {
    int fd; /* owned */
    int place; /* in the table of logs; -1: none */
    bool is_socket;
    pthread_t thread;
    struct ring *rings; /* owned; NULL before start */
    uint32_t ring_count;
    _Atomic uint32_t state; /* of the thread; futex word */
    _Atomic uint32_t is_ending; /* futex word */
    _Atomic uint32_t has_ended; /* futex word */
    _Atomic int64_t end_at_ns; /* what is not written then is dropped; 0: nobody has ended it */
    int64_t stalled_at_ns; /* since when the end finds no room; 0: it does; the thread's */
    _Atomic uint64_t lost; /* lines that could not be written; the thread's */
    bool is_open; /* the last byte written does not end a line; the thread's, like the next two */
    bool is_torn; /* and the rest of that line is lost */
    bool is_headless; /* what comes next is the rest of a line that is lost */
};

/* ---- the logs of the process -------------------------------------------------------------- */

/* Who takes a log out of the table ends it. One that finds no place is ended by its owner alone. */
static _Atomic(struct tc_http_log *) logs[LOGS_MAX];

static int remember(struct tc_http_log *log)
{
    for (int i = 0; i < LOGS_MAX; i++) {
        struct tc_http_log *expected = NULL;
        if (tc_cas_seq_cst(&logs[i], &expected, log)) {
            return i;
        }
    }
    return -1;
}

void tc_http_log_after_fork_child(void)
{
    for (int i = 0; i < LOGS_MAX; i++) {
        struct tc_http_log *log = tc_exchange_seq_cst(&logs[i], NULL);
        if (log != NULL) {
            tc_sys_close(log->fd);
        }
    }
}

/* ---- opening ------------------------------------------------------------------------------ */

/* A descriptor like `fd` that can be written without blocking, if that can be had without changing
 * it for whoever shares it: a pipe or a terminal is opened once more. */
static int copy_descriptor(int fd, bool *is_socket)
{
    struct stat status;
    char path[40];
    int rc = tc_sys_fstat(fd, &status);

    if (rc != 0) {
        return rc;
    }
    *is_socket = S_ISSOCK(status.st_mode);
    if (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)) {
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        rc = tc_sys_open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
        if (rc >= 0) {
            return rc;
        }
    }
    return tc_sys_fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

int tc_http_log_open(const char *path, int fd, struct tc_http_log **out)
{
    struct tc_http_log *log = tc_mem_zalloc(sizeof *log);

    if (log == NULL) {
        return -ENOMEM;
    }
    log->fd =
        path == NULL
            ? copy_descriptor(fd, &log->is_socket)
            : tc_sys_open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                          FILE_MODE);
    if (log->fd < 0) {
        int rc = log->fd;
        tc_mem_free(log, sizeof *log);
        return rc;
    }
    log->place = remember(log);
    *out = log;
    return 0;
}

/* ---- the workers' side -------------------------------------------------------------------- */

static void copy_in(struct ring *ring, uint64_t at, const char *bytes, size_t len)
{
    size_t from = at % TC_HTTP_LOG_RING_BYTES;
    size_t first = TC_HTTP_LOG_RING_BYTES - from < len ? TC_HTTP_LOG_RING_BYTES - from : len;

    memcpy(ring->bytes + from, bytes, first);
    memcpy(ring->bytes, bytes + first, len - first);
}

static void wake(struct tc_http_log *log, uint32_t state)
{
    if (tc_cas_seq_cst(&log->state, &state, AWAKE)) {
        (void)tc_sys_futex_wake(&log->state, 1);
    }
}

bool tc_http_log_push(struct tc_http_log *log, uint32_t worker, const struct iovec *parts,
                      int count)
{
    struct ring *ring = &log->rings[worker];
    uint64_t head = tc_load_relaxed(&ring->head); /* relaxed: our own */
    /* acquire [http-log-tail]: what was there has been read before we write over it */
    uint64_t used = head - tc_load_acquire(&ring->tail);
    size_t len = 0;

    for (int i = 0; i < count; i++) {
        len += parts[i].iov_len;
    }
    if (len > TC_HTTP_LOG_RING_BYTES - used) {
        tc_counter_add(&ring->dropped, 1);
        return false;
    }
    for (int i = 0; i < count; i++) {
        copy_in(ring, head, parts[i].iov_base, parts[i].iov_len);
        head += parts[i].iov_len;
    }
    tc_counter_add(&ring->lines, 1);
    /* seq_cst [http-log-sleep]: the line, before we look whether the thread sleeps; it says so,
     * then looks at the rings. Also the release of [http-log-head]. */
    tc_store_seq_cst(&ring->head, head);
    uint32_t state = tc_load_seq_cst(&log->state);
    if (state == ASLEEP || (state == GATHERING && used + len > TC_HTTP_LOG_RING_BYTES / 2)) {
        wake(log, state);
    }
    return true;
}

void tc_http_log_counts(const struct tc_http_log *log, uint64_t *lines, uint64_t *dropped)
{
    *lines = 0;
    *dropped = tc_load_relaxed(&log->lost); /* relaxed: numbers of their own, summed at leisure */
    for (uint32_t i = 0; i < log->ring_count; i++) {
        *lines += tc_load_relaxed(&log->rings[i].lines); /* relaxed: see above */
        *dropped += tc_load_relaxed(&log->rings[i].dropped); /* relaxed: see above */
    }
}

/* ---- the thread's side -------------------------------------------------------------------- */

static bool is_ending(const struct tc_http_log *log)
{
    return tc_load_seq_cst(&log->is_ending) != 0;
}

/* There is no room just now. Should what is left be given up? */
static bool is_too_late(struct tc_http_log *log)
{
    int64_t now = tc_clock_now_ns();

    if (!is_ending(log)) {
        return false;
    }
    log->stalled_at_ns = log->stalled_at_ns == 0 ? now : log->stalled_at_ns;
    /* relaxed: written before is_ending */
    return now >= tc_load_relaxed(&log->end_at_ns) || now - log->stalled_at_ns >= LAST_STALL_NS;
}

/* Write all of it, for as long as it takes; the end sets a limit. Returns the bytes written: fewer
 * if there is an error, or no more time. */
static size_t write_out(struct tc_http_log *log, const char *bytes, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = log->is_socket ? tc_sys_send(log->fd, bytes + done, len - done, MSG_DONTWAIT)
                                   : tc_sys_write(log->fd, bytes + done, len - done);
        if (n > 0) {
            done += (size_t)n;
            log->stalled_at_ns = 0;
        } else if (n == -EAGAIN && !is_too_late(log)) {
            /* The end wakes us, to look at the clock. */
            TC_IGNORE(tc_sys_futex_wait(&log->is_ending, 0, tc_deadline_after_ns(RETRY_NS)));
            if (is_ending(log)) {
                TC_IGNORE(tc_sys_futex_wait(&log->has_ended, 0, tc_deadline_after_ns(RETRY_NS)));
            }
        } else if (n != -EINTR) {
            break;
        }
    }
    return done;
}

static uint64_t count_lines(const char *bytes, size_t len)
{
    uint64_t lines = 0;
    const char *end = bytes + len;

    for (const char *at = bytes; (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++) {
        lines++;
    }
    return lines;
}

/* The bytes of the line that `bytes` is in, its end included. */
static size_t skip_rest(const char *bytes, size_t len)
{
    const char *end = memchr(bytes, '\n', len);

    return end == NULL ? len : (size_t)(end - bytes) + 1;
}

/* Write what lies between two positions, which does not wrap. */
static void write_part(struct tc_http_log *log, struct ring *ring, uint64_t from, size_t len)
{
    const char *bytes = ring->bytes + from % TC_HTTP_LOG_RING_BYTES;
    size_t done = 0;

    if (log->is_headless) {
        size_t rest = skip_rest(bytes, len);
        log->is_headless = bytes[rest - 1] != '\n';
        tc_counter_add(&log->lost, log->is_headless ? 0 : 1);
        bytes += rest;
        len -= rest;
    }
    if (len != 0 && log->is_torn && write_out(log, "\n", 1) == 1) {
        log->is_torn = log->is_open = false;
    }
    if (!log->is_torn) {
        done = write_out(log, bytes, len);
        log->is_open = done == 0 ? log->is_open : bytes[done - 1] != '\n';
    }
    if (done != len) {
        tc_counter_add(&log->lost, count_lines(bytes + done, len - done));
        log->is_headless = bytes[len - 1] != '\n';
        log->is_torn = log->is_open;
    }
}

/* Write what lies in a ring now. Returns whether there was something. */
static bool empty_ring(struct tc_http_log *log, struct ring *ring)
{
    /* acquire [http-log-head]: the lines */
    uint64_t head = tc_load_acquire(&ring->head);
    uint64_t tail = tc_load_relaxed(&ring->tail); /* relaxed: our own */
    bool is_any = head != tail;

    while (tail != head) {
        size_t to_end = TC_HTTP_LOG_RING_BYTES - tail % TC_HTTP_LOG_RING_BYTES;
        size_t len = head - tail < to_end ? (size_t)(head - tail) : to_end;
        write_part(log, ring, tail, len);
        tail += len;
        /* release [http-log-tail]: read, before the worker writes over it */
        tc_store_release(&ring->tail, tail);
    }
    return is_any;
}

static bool empty_all(struct tc_http_log *log)
{
    bool is_any = false;

    for (uint32_t i = 0; i < log->ring_count; i++) {
        is_any |= empty_ring(log, &log->rings[i]);
    }
    return is_any;
}

/* Wait in a state until somebody ends it. */
static void rest(struct tc_http_log *log, uint32_t state, int64_t deadline_ns)
{
    while (tc_load_seq_cst(&log->state) == state) {
        int rc = tc_sys_futex_wait(&log->state, state, deadline_ns);
        if (rc == -ETIMEDOUT) {
            break;
        }
    }
    tc_store_seq_cst(&log->state, AWAKE);
}

static void *run(void *arg)
{
    struct tc_http_log *log = arg;

    tc_sys_thread_set_name("tc-log");
    while (!is_ending(log)) {
        if (empty_all(log)) {
            tc_store_seq_cst(&log->state, GATHERING);
            if (!is_ending(log)) {
                rest(log, GATHERING, tc_deadline_after_ns(GATHER_NS));
            }
            continue;
        }
        /* seq_cst [http-log-sleep]: see tc_http_log_push */
        tc_store_seq_cst(&log->state, ASLEEP);
        if (!empty_all(log) && !is_ending(log)) {
            rest(log, ASLEEP, TC_NEVER);
        }
        tc_store_seq_cst(&log->state, AWAKE);
    }
    (void)empty_all(log);
    tc_store_seq_cst(&log->has_ended, 1);
    (void)tc_sys_futex_wake(&log->has_ended, INT_MAX);
    return NULL;
}

/* ---- life --------------------------------------------------------------------------------- */

static void free_rings(struct tc_http_log *log)
{
    for (uint32_t i = 0; log->rings != NULL && i < log->ring_count; i++) {
        tc_mem_free(log->rings[i].bytes, TC_HTTP_LOG_RING_BYTES);
    }
    tc_mem_free(log->rings, log->ring_count * sizeof(struct ring));
    log->rings = NULL;
    log->ring_count = 0;
}

int tc__http_log_start(struct tc_http_log *log, uint32_t workers)
{
    size_t bytes = workers * sizeof(struct ring);
    int rc = 0;

    if (log->rings != NULL) {
        return 0;
    }
    log->rings = tc_mem_alloc_aligned(TC_CACHELINE, bytes);
    if (log->rings == NULL) {
        return -ENOMEM;
    }
    memset(log->rings, 0, bytes);
    log->ring_count = workers;
    for (uint32_t i = 0; i < workers && rc == 0; i++) {
        log->rings[i].bytes = tc_mem_alloc(TC_HTTP_LOG_RING_BYTES);
        rc = log->rings[i].bytes == NULL ? -ENOMEM : 0;
    }
    if (rc == 0) {
        rc = tc_sys_thread_create(&log->thread, 0, run, log);
    }
    if (rc != 0) {
        free_rings(log);
    }
    return rc;
}

/* Have the thread write what is left; the first one says for how long. Returns false if it is
 * stuck. */
static bool end_thread(struct tc_http_log *log, int64_t write_ns)
{
    int64_t limit_ns = tc_clock_now_ns() + write_ns;
    int64_t end_at_ns = 0;
    int rc = 0;

    if (tc_cas_seq_cst(&log->end_at_ns, &end_at_ns, limit_ns)) {
        tc_store_seq_cst(&log->is_ending, 1);
        (void)tc_sys_futex_wake(&log->is_ending, 1);
        tc_store_seq_cst(&log->state, AWAKE);
        (void)tc_sys_futex_wake(&log->state, 1);
    } else if (end_at_ns < limit_ns) {
        limit_ns = end_at_ns;
    }
    while (rc != -ETIMEDOUT && tc_load_seq_cst(&log->has_ended) == 0) {
        rc = tc_sys_futex_wait(&log->has_ended, 0, limit_ns + LAST_WAIT_NS);
    }
    return tc_load_seq_cst(&log->has_ended) != 0;
}

static bool join_thread(struct tc_http_log *log, int64_t write_ns)
{
    if (!end_thread(log, write_ns)) {
        return false;
    }
    (void)tc_sys_thread_join(log->thread, NULL);
    return true;
}

void tc_http_log_end(struct tc_http_log *log)
{
    if (log->rings != NULL) {
        (void)end_thread(log, LAST_WRITE_NS); /* free sees to one that is stuck */
    }
}

void tc_http_log_free(struct tc_http_log *log)
{
    if (log == NULL || (log->place >= 0 && tc_exchange_seq_cst(&logs[log->place], NULL) != log) ||
        (log->rings != NULL && !join_thread(log, LAST_WRITE_NS))) {
        return; /* the process exits; or a thread that is stuck may still touch it: it stays */
    }
    free_rings(log);
    tc_sys_close(log->fd);
    tc_mem_free(log, sizeof *log);
}

void tc_http_log_at_exit(void)
{
    for (int i = 0; i < LOGS_MAX; i++) {
        struct tc_http_log *log = tc_exchange_seq_cst(&logs[i], NULL);
        if (log != NULL && log->rings != NULL) {
            (void)join_thread(log, EXIT_WRITE_NS);
        }
    }
}

/* ---- lines -------------------------------------------------------------------------------- */

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

size_t tc_http_log_escape(const char *text, size_t len, char *out, size_t max)
{
    static const char digits[] = "0123456789abcdef";
    static const char dots[3] = {'.', '.', '.'};
    size_t room = max;
    size_t total = 0;
    size_t at = 0;

    for (size_t i = 0; i < len && total <= max; i++) {
        total += is_plain((unsigned char)text[i]) ? 1 : 4;
    }
    if (total > max) {
        room = max - 3; /* for the dots */
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        size_t need = is_plain(c) ? 1 : 4;
        if (at + need > room) {
            memcpy(out + at, dots, sizeof dots);
            return at + sizeof dots;
        }
        if (need == 1) {
            out[at] = (char)c;
        } else {
            const char escaped[4] = {'\\', 'x', digits[c >> 4], digits[c & 15]};
            memcpy(out + at, escaped, 4);
        }
        at += need;
    }
    return at;
}
