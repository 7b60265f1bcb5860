/* http/log.h — the access log: a line for each request, written by a thread of its own.
 *
 * Workers never wait for it. Each has a ring of bytes per log, into which it puts whole lines; the
 * log's thread takes them out and writes them to a descriptor, in the order of each worker. A line
 * that finds no room is dropped, and counted. The thread is woken by the first line after a rest,
 * then gathers for a few milliseconds, so that a busy server pays for a system call a batch and not
 * a line.
 *
 *   127.0.0.1 - - [25/Nov/2026:21:20:01 +0000] "GET /a HTTP/1.1" 200 5 "-" "curl/8.5.0" 0.000021
 *   client        when it was answered (UTC)   request line      status, bytes of the body,
 *                                              Referer, User-Agent, seconds (http/latency.h says
 *                                              from when to when); "-": the client did not take all
 *                                              of the answer
 *
 * What clients send is escaped: '"', '\', and all bytes but 0x20 to 0x7e as \xHH; and it is cut, at
 * 4096 bytes of a target, 1024 of a Referer, 512 of a User-Agent, with "..." in the place of the
 * rest. So a line is a line, and its fields are where they should be. What cannot be read as a
 * request is "-".
 *
 *   ASLEEP ──first line──► AWAKE ──all written──► GATHERING ──a few ms, a ring half full──► AWAKE
 *      └────────────────── nothing came ──────────────┘         ──nothing came──► ASLEEP
 *
 * INVARIANTS
 *  HL1  What lies in a ring between tail and head is whole lines, but for a first one begun to be
 *       written.
 *  HL2  A line that is in a ring is written, or counted as dropped, before tc_http_log_end returns;
 *       unless a write to the descriptor blocks for good.
 *
 *               push   counts   end   free     -  safe together
 *   push         W       -       X     X       W  by different workers only; X  caller must exclude
 *   end          X       -       -     X
 *   free         X       X       X     X
 */
#ifndef TC_HTTP_LOG_H
#define TC_HTTP_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/defs.h"

enum {
    TC_HTTP_LOG_RING_BYTES = 256 * 1024, /* per worker */
    TC_HTTP_LOG_LINE_BYTES = 8 * 1024, /* the longest line is shorter */
    TC_HTTP_LOG_DATE_BYTES = 26, /* "25/Nov/2026:21:20:01 +0000" */
};

struct tc_http_log;

/* A log for `path`, which is created if it is not there and appended to; for a descriptor if path
 * is NULL. Of the descriptor a copy is used; whoever shares it is not made non-blocking. Nothing is
 * started yet.
 * Parks: never   Threads: any; opens a file   Owns: *out until tc_http_log_free
 * Returns 0, -ENOMEM, or what open or dup says; -ENXIO: a FIFO that nobody reads. */
TC_NODISCARD int tc_http_log_open(const char *path, int fd, struct tc_http_log **out);

/* Make rings for so many workers, and start the thread; nothing, if it has started.
 * Parks: never   Threads: any   Returns 0, -ENOMEM, -EAGAIN (no thread). */
TC_NODISCARD int tc__http_log_start(struct tc_http_log *log, uint32_t workers);

/* Add a line, which ends with '\n' and lies in `count` parts. Returns false: it has been dropped.
 * Parks: never, nor does it block   Threads: the worker of this index */
bool tc_http_log_push(struct tc_http_log *log, uint32_t worker, const struct iovec *parts,
                      int count);

/* Lines that were taken, and those dropped. Threads: any */
void tc_http_log_counts(const struct tc_http_log *log, uint64_t *lines, uint64_t *dropped);

/* Write what is left, and end the thread: for a second at most, and no longer than 0.2 s in which
 * nothing can be written, because nobody reads the pipe. What is lost then is counted as dropped.
 * Blocks: for as long; never longer than two seconds, then a thread that is stuck in a write is
 * left
 * Threads: any; each that calls it returns when it is over */
void tc_http_log_end(struct tc_http_log *log);

/* End it, unless it has ended, and free it. NULL is ignored. Blocks: as tc_http_log_end */
void tc_http_log_free(struct tc_http_log *log);

/* In the child of a fork: close the descriptors of all logs. Async-signal-safe. */
void tc_http_log_after_fork_child(void);

/* The process exits: write what the logs still hold, for a quarter of a second each at most. Their
 * memory is leaked. No request may be answered any more. */
void tc_http_log_at_exit(void);

/* ---- lines -------------------------------------------------------------------------------- */

/* Write `len` bytes at `text`, escaped and cut, to `out`, which has room for `max`, 3 at least.
 * Returns the bytes written. */
size_t tc_http_log_escape(const char *text, size_t len, char *out, size_t max);

#endif
