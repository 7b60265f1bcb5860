#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "harness.h"
#include "http/log.h"

static bool push_line(struct tc_http_log *log, uint32_t worker, unsigned number, size_t padding)
{
    char line[64];
    int len = snprintf(line, sizeof line, "%u %u ", worker, number);
    char fill[400];

    memset(fill, '.', sizeof fill);
    struct iovec parts[3] = {{line, (size_t)len}, {fill, padding}, {(void *)(uintptr_t)"\n", 1}};
    return tc_http_log_push(log, worker, parts, 3);
}

/* All that a descriptor has, terminated. The caller frees it. */
static char *read_all(int fd)
{
    size_t size = 1 << 16;
    size_t len = 0;
    char *text = malloc(size + 1);
    ssize_t n;

    while ((n = read(fd, text + len, size - len)) > 0) {
        len += (size_t)n;
        if (len == size) {
            size *= 2;
            text = realloc(text, size + 1);
        }
    }
    text[len] = '\0';
    return text;
}

/* Every line is whole, and those of a worker are in order. Returns how many there are. */
static unsigned check_lines(char *text)
{
    long last[2] = {-1, -1};
    unsigned count = 0;

    for (char *line = text; *line != '\0'; count++) {
        char *end = strchr(line, '\n');
        TC_CHECK(end != NULL);
        char *at; /* not by sscanf, which looks for the end of all of it */
        unsigned long worker = strtoul(line, &at, 10);
        unsigned long number = strtoul(at, &at, 10);
        TC_CHECK(worker < 2 && (long)number > last[worker]);
        last[worker] = (long)number;
        at++; /* the space */
        TC_CHECK_EQ(strspn(at, "."), (size_t)(end - at));
        line = end + 1;
    }
    return count;
}

static const char *temporary(void)
{
    static char path[] = "/tmp/tc-log-XXXXXX";
    int fd = mkstemp(path);

    TC_CHECK(fd >= 0);
    close(fd);
    return path;
}

TC_TEST(test_log_escape_leaves_nothing_that_ends_a_field_or_a_line)
{
    char out[64];
    size_t len = tc_http_log_escape("a b\"\\\n\x80\x7f~", 9, out, sizeof out);

    TC_CHECK_EQ(len, strlen("a b\\x22\\x5c\\x0a\\x80\\x7f~"));
    TC_CHECK(memcmp(out, "a b\\x22\\x5c\\x0a\\x80\\x7f~", len) == 0);
    for (size_t max = 3; max < 40; max++) {
        len = tc_http_log_escape("ab\ncd\nef\ngh\nij\nkl", 17, out, max);
        TC_CHECK(len <= max);
        if (max < 32) {
            TC_CHECK(memcmp(out + len - 3, "...", 3) == 0);
        }
    }
    TC_CHECK_EQ(tc_http_log_escape("abc", 3, out, 3), 3);
    TC_CHECK(memcmp(out, "abc", 3) == 0);
    TC_CHECK_EQ(tc_http_log_escape("", 0, out, 3), 0);
}

/* HL2 */
TC_TEST(test_log_end_writes_what_is_left)
{
    const char *path = temporary();

    for (unsigned round = 1; round <= 20; round++) { /* also appends */
        struct tc_http_log *log = NULL;
        TC_CHECK_EQ(tc_http_log_open(path, -1, &log), 0);
        TC_CHECK_EQ(tc__http_log_start(log, 2), 0);
        TC_CHECK(push_line(log, 0, 0, 10));
        TC_CHECK(push_line(log, 1, 0, 10));
        tc_http_log_free(log);
        int fd = open(path, O_RDONLY);
        char *text = read_all(fd);
        unsigned lines = 0;
        for (char *at = text; (at = strchr(at, '\n')) != NULL; at++) {
            lines++;
        }
        TC_CHECK_EQ(lines, 2 * round);
        free(text);
        close(fd);
    }
    unlink(path);
}

enum { PUSHED = 4000 };

struct pusher {
    struct tc_http_log *log;
    uint32_t worker;
};

static void *push_all(void *arg)
{
    struct pusher *pusher = arg;

    for (unsigned i = 0; i < PUSHED; i++) {
        while (!push_line(pusher->log, pusher->worker, i, i % 400)) {
            usleep(1000); /* the ring is full */
        }
    }
    return NULL;
}

/* HL1: three times what a ring holds through each of two. */
TC_TEST(test_log_lines_of_each_worker_arrive_whole_and_in_order)
{
    const char *path = temporary();
    struct tc_http_log *log = NULL;
    struct pusher pushers[2];
    pthread_t threads[2];
    uint64_t lines;
    uint64_t dropped;

    TC_CHECK_EQ(tc_http_log_open(path, -1, &log), 0);
    TC_CHECK_EQ(tc__http_log_start(log, 2), 0);
    for (uint32_t i = 0; i < 2; i++) {
        pushers[i] = (struct pusher){log, i};
        TC_CHECK_EQ(pthread_create(&threads[i], NULL, push_all, &pushers[i]), 0);
    }
    for (uint32_t i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    tc_http_log_counts(log, &lines, &dropped);
    TC_CHECK_EQ(lines, 2 * PUSHED);
    tc_http_log_free(log);
    int fd = open(path, O_RDONLY);
    char *text = read_all(fd);
    TC_CHECK_EQ(check_lines(text), 2 * PUSHED);
    free(text);
    close(fd);
    unlink(path);
}

TC_TEST(test_log_pipe_that_nobody_reads_drops_lines_and_never_blocks)
{
    struct tc_http_log *log = NULL;
    int fds[2];
    uint64_t lines;
    uint64_t dropped;
    unsigned taken = 0;

    TC_CHECK_EQ(pipe(fds), 0);
    TC_CHECK_EQ(tc_http_log_open(NULL, fds[1], &log), 0);
    TC_CHECK_EQ(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0); /* others share it */
    TC_CHECK_EQ(tc__http_log_start(log, 1), 0);
    for (unsigned i = 0; i < PUSHED; i++) {
        taken += push_line(log, 0, i, 300) ? 1 : 0;
    }
    tc_http_log_counts(log, &lines, &dropped);
    TC_CHECK_EQ(lines, taken);
    TC_CHECK_EQ(dropped, PUSHED - taken);
    TC_CHECK(dropped > 0);
    tc_http_log_end(log); /* gives the rest up, and counts it */
    tc_http_log_counts(log, &lines, &dropped);
    TC_CHECK_EQ(lines, taken);
    tc_http_log_end(log); /* it is over */
    tc_http_log_free(log);
    close(fds[1]);
    char *text = read_all(fds[0]);
    char *end = strrchr(text, '\n'); /* the last line may be torn */
    TC_CHECK(end != NULL);
    end[1] = '\0';
    unsigned written = check_lines(text);
    TC_CHECK(written > 100 && written < taken);
    TC_CHECK_EQ(written + dropped, PUSHED);
    free(text);
    close(fds[0]);
}

/* A log that waits for a reader, with more lines than a pipe holds. */
static struct tc_http_log *fill_pipe(int fds[2])
{
    struct tc_http_log *log = NULL;

    TC_CHECK_EQ(pipe(fds), 0);
    TC_CHECK_EQ(tc_http_log_open(NULL, fds[1], &log), 0);
    TC_CHECK_EQ(tc__http_log_start(log, 1), 0);
    for (unsigned i = 0; push_line(log, 0, i, 300); i++) {
    }
    return log;
}

static int64_t measure_end(void *arg)
{
    int fds[2];
    struct tc_http_log *log = fill_pipe(fds);
    int64_t began_ns = tc_clock_now_ns();

    (void)arg;
    tc_http_log_end(log);
    int64_t took_ns = tc_clock_now_ns() - began_ns;
    tc_http_log_free(log);
    close(fds[0]);
    close(fds[1]);
    return took_ns;
}

TC_TEST(test_log_end_does_not_wait_long_for_a_pipe_that_nobody_reads)
{
    tc_test_timely(measure_end, NULL, TC_NS_PER_SEC / 2);
}

static void *read_slowly(void *arg)
{
    static char buf[16 * 1024];

    while (read(*(int *)arg, buf, sizeof buf) > 0) {
        usleep(15000);
    }
    return NULL;
}

/* Returns how many lines are lost. */
static int64_t end_before_a_slow_reader(void *arg)
{
    int fds[2];
    struct tc_http_log *log = fill_pipe(fds);
    pthread_t reader;
    uint64_t before;
    uint64_t after;
    uint64_t lines;

    (void)arg;
    tc_http_log_counts(log, &lines, &before);
    TC_CHECK_EQ(pthread_create(&reader, NULL, read_slowly, &fds[0]), 0);
    tc_http_log_end(log);
    tc_http_log_counts(log, &lines, &after);
    tc_http_log_free(log);
    close(fds[1]);
    pthread_join(reader, NULL);
    close(fds[0]);
    return (int64_t)(after - before);
}

/* Longer than without a reader: 300 KiB, of which 16 KiB go in 15 ms. On a busy machine it may take
 * longer than the end waits. */
TC_TEST(test_log_end_waits_for_a_slow_reader)
{
    tc_test_timely(end_before_a_slow_reader, NULL, 0);
}

static void *end_too(void *arg)
{
    tc_http_log_end(arg);
    return NULL;
}

TC_TEST(test_log_end_by_several_threads_returns_when_all_is_written)
{
    const char *path = temporary();
    struct tc_http_log *log = NULL;
    pthread_t thread;
    struct stat status;
    off_t size = 0;

    TC_CHECK_EQ(tc_http_log_open(path, -1, &log), 0);
    TC_CHECK_EQ(tc__http_log_start(log, 1), 0);
    for (unsigned i = 0; i < 100; i++) {
        char line[64];
        size += snprintf(line, sizeof line, "0 %u ", i) + 100 + 1;
        TC_CHECK(push_line(log, 0, i, 100));
    }
    TC_CHECK_EQ(pthread_create(&thread, NULL, end_too, log), 0);
    tc_http_log_end(log);
    TC_CHECK_EQ(stat(path, &status), 0);
    TC_CHECK_EQ(status.st_size, size);
    pthread_join(thread, NULL);
    tc_http_log_free(log);
    unlink(path);
}

static void wait_for_size(int fd, off_t size)
{
    struct stat status;

    do {
        usleep(1000);
        TC_CHECK_EQ(fstat(fd, &status), 0);
        TC_CHECK(status.st_size <= size);
    } while (status.st_size != size);
}

/* A line that lies across the end of the ring is written in two parts, either of which may fail. */
static void lose_a_part(uint64_t failing_part)
{
    const char *path = temporary();
    struct tc_http_log *log = NULL;
    size_t total = 0;
    unsigned number = 0;
    uint64_t refused = 0;
    uint64_t lines;
    uint64_t dropped;

    TC_CHECK_EQ(tc_http_log_open(path, -1, &log), 0);
    TC_CHECK_EQ(tc__http_log_start(log, 1), 0);
    int fd = open(path, O_RDONLY);
    while (TC_HTTP_LOG_RING_BYTES - total > 350) {
        char line[64];
        size_t len = (size_t)snprintf(line, sizeof line, "0 %u ", number) + 300 + 1;
        if (push_line(log, 0, number, 300)) {
            total += len;
            number++;
        } else {
            refused++;
        }
    }
    wait_for_size(fd, (off_t)total);
    tc_fault_arm(TC_SYS_WRITE, failing_part, ENOSPC, 1);
    while (!push_line(log, 0, number, 390)) { /* lies across */
        refused++; /* what the file has already is taken out of the ring a moment later */
    }
    do {
        usleep(1000);
        tc_http_log_counts(log, &lines, &dropped);
    } while (dropped == refused);
    tc_fault_disarm_all();
    TC_CHECK(push_line(log, 0, number + 1, 10));
    tc_http_log_free(log);

    char *text = read_all(fd);
    if (failing_part == 2) { /* the first one stays, as a line of its own */
        char *next = text + total;
        char *end = strchr(next, '\n');
        TC_CHECK(end != NULL);
        memmove(next, end + 1, strlen(end + 1) + 1);
    }
    TC_CHECK_EQ(check_lines(text), number + 1);
    TC_CHECK_EQ(dropped, refused + 1);
    free(text);
    close(fd);
    unlink(path);
}

TC_TEST(test_log_line_that_loses_its_beginning_takes_no_other_with_it)
{
    lose_a_part(1);
}

TC_TEST(test_log_line_that_loses_its_end_takes_no_other_with_it)
{
    lose_a_part(2);
}

TC_TEST(test_log_pipe_without_a_reader_counts_what_is_lost)
{
    struct tc_http_log *log = NULL;
    int fds[2];
    uint64_t lines;
    uint64_t dropped;

    TC_CHECK_EQ(pipe(fds), 0);
    TC_CHECK_EQ(tc_http_log_open(NULL, fds[1], &log), 0);
    TC_CHECK_EQ(tc__http_log_start(log, 1), 0);
    close(fds[0]);
    TC_CHECK(push_line(log, 0, 0, 0));
    do {
        usleep(1000);
        tc_http_log_counts(log, &lines, &dropped);
    } while (dropped == 0);
    TC_CHECK_EQ(lines, 1);
    TC_CHECK_EQ(dropped, 1);
    tc_http_log_free(log);
    close(fds[1]);
}

TC_TEST(test_log_that_cannot_be_opened_says_why)
{
    struct tc_http_log *log = NULL;

    TC_CHECK_EQ(tc_http_log_open("/nowhere/at/all", -1, &log), -ENOENT);
    TC_CHECK_EQ(tc_http_log_open(NULL, 12345, &log), -EBADF);
    TC_CHECK(log == NULL);
    tc_http_log_free(NULL);
    TC_CHECK_EQ(tc_http_log_open("/dev/null", -1, &log), 0);
    tc_http_log_free(log); /* never started */
}
