/* storm.c — clients that misbehave, a thousand at once; a program of its own, without the library.
 *
 *   storm --port P [--host H] [--mode M] [--clients N] [--gangs G] [--seconds S] [--interval S]
 *         [--seed N] [--pace PRIORITY]
 *
 * The clients are spread over gangs, which are processes. All connect; when the last one has, all
 * send at once, and then, by mode, each of them
 *
 *   reset    closes with a RST: at once, with its echo unread, or in the middle of reading it
 *   half     ends its side after the message, must get all of it back, and then the end
 *   vanish   has sent the beginning of a message, and closes without reading
 *   kill     waits, in the middle of a transfer that it does not read, for SIGKILL
 *   mixed    gangs take these modes in turn
 *   steady   goes on with checked request after request until the time is over or SIGTERM comes:
 *            all clients of a gang send, all their answers are read, and, after the interval, again
 *
 * It prints one line of name=value pairs; worst_ms is the longest time from a request to the end of
 * its answer, own_ms the same without the time in which the machine stood still. That is measured
 * in mode steady with --pace, a real-time priority above that of the clients (pace.h). Exit status:
 * 0, 1 if an answer was wrong or missing, 2 for a usage error. Every blocking call has a limit of
 * 30 s.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pace.h"

enum {
    PATIENCE_SECONDS = 30,
    MESSAGE_MAX = 32768, /* fits the socket buffers: it can be sent before the echo is read */
    REQUEST_BYTES = 106,
    GANGS_MAX = 64,
    SLOW_NS = 1000000, /* a request that takes longer is looked at again, see look_again()      */
    SLOW_MAX = 65536, /* so many of a gang; later ones count as measured                       */
};

enum mode { MODE_RESET, MODE_HALF, MODE_VANISH, MODE_KILL, MODE_MIXED, MODE_STEADY, MODE_COUNT };

static const char *const mode_names[] = {"reset", "half", "vanish", "kill", "mixed", "steady"};

struct options {
    const char *host;
    uint16_t port;
    enum mode mode;
    unsigned clients;
    unsigned gangs;
    double seconds;
    double interval;
    uint64_t seed;
    int pace; /* priority of the control, 0: none                                               */
};

/* What a gang reports through its pipe, once before the barrier (only `connected`) and, unless it
 * is killed, once at the end. */
struct report {
    uint64_t connected;
    uint64_t requests; /* complete, checked answers                                            */
    uint64_t errors;
    uint64_t worst_ns; /* longest time from a request to the end of its answer                 */
    uint64_t own_ns; /* the same, less what the machine was late                              */
};

/* Requests that took long enough to be looked at again when all gaps are known. */
struct slow {
    struct pace_gap times[SLOW_MAX];
    unsigned count;
};

struct gang {
    pid_t pid;
    int from; /* reports                                                                        */
    int to; /* closed by the master when all gangs have connected                             */
    enum mode mode;
    struct report report;
};

static volatile sig_atomic_t is_over; /* SIGTERM came */

static unsigned char pattern[MESSAGE_MAX];

/* ---- small things ------------------------------------------------------------------------- */

static void on_term(int number)
{
    (void)number;
    is_over = 1;
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void nap(double seconds)
{
    struct timespec time = {.tv_sec = (time_t)seconds};

    time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
    if (seconds > 0) {
        (void)nanosleep(&time, NULL);
    }
}

/* xorshift64*: the same seed makes the same storm. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

static size_t below(uint64_t *state, size_t limit)
{
    return (size_t)(next_random(state) >> 11) % limit;
}

/* A connected socket, or -1. */
static int connect_one(const struct options *options)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(options->port)};
    struct timeval limit = {.tv_sec = PATIENCE_SECONDS};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return -1;
    }
    inet_pton(AF_INET, options->host, &addr.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool send_all(int fd, const unsigned char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        data += n;
        len -= (size_t)n;
    }
    return true;
}

/* Receive exactly `len` bytes and compare them with the pattern. */
static bool expect(int fd, size_t len)
{
    unsigned char buffer[MESSAGE_MAX];
    size_t have = 0;

    while (have < len) {
        ssize_t n = recv(fd, buffer, len - have, 0);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0 || memcmp(buffer, pattern + have, (size_t)n) != 0) {
            return false;
        }
        have += (size_t)n;
    }
    return true;
}

static void close_with_reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
}

/* ---- one client each ---------------------------------------------------------------------- */

/* What is sent before anybody misbehaves; returns its length. */
static size_t begin(int fd, enum mode mode, uint64_t *random)
{
    size_t len = 1 + below(random, MESSAGE_MAX);

    if (mode == MODE_RESET && below(random, 3) == 0) {
        return 0; /* connects and resets */
    }
    if (mode == MODE_VANISH && below(random, 3) == 0) {
        len = 1 + len % 8;
    }
    if (mode == MODE_KILL && below(random, 16) == 0) {
        /* Fill the way there and back, so that the server waits to send. */
        while (send(fd, pattern, sizeof pattern, MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
        }
        return sizeof pattern;
    }
    return send_all(fd, pattern, len) ? len : 0;
}

static void finish(int fd, enum mode mode, size_t sent, uint64_t *random, struct report *report)
{
    switch (mode) {
    case MODE_RESET:
        if (sent > 1 && below(random, 2) == 0) {
            (void)!expect(fd, sent / 2);
        }
        close_with_reset(fd);
        break;
    case MODE_HALF:
        if (sent == 0 || !expect(fd, sent) || recv(fd, &(char){0}, 1, 0) != 0) {
            report->errors++;
        } else {
            report->requests++;
        }
        close(fd);
        break;
    default:
        close(fd);
        break;
    }
}

/* ---- a gang ------------------------------------------------------------------------------- */

/* Take out of the slow requests what the machine was late. Not earlier than at the end: who has
 * just been held up may be here before the control has written its gap. */
static void look_again(const struct pace *pace, const struct slow *slow, struct report *report)
{
    for (unsigned i = 0; i < slow->count; i++) {
        uint64_t took = slow->times[i].to_ns - slow->times[i].from_ns;
        if (took <= report->own_ns) {
            continue;
        }
        took -= pace_late_ns(pace, slow->times[i].from_ns, slow->times[i].to_ns);
        report->own_ns = took > report->own_ns ? took : report->own_ns;
    }
}

static void count_request(struct report *report, struct slow *slow, uint64_t since)
{
    uint64_t now = now_ns();
    uint64_t took = now - since;

    report->requests++;
    report->worst_ns = took > report->worst_ns ? took : report->worst_ns;
    if (took > SLOW_NS && slow->count < SLOW_MAX) {
        slow->times[slow->count++] = (struct pace_gap){.from_ns = since, .to_ns = now};
    } else {
        report->own_ns = took > report->own_ns ? took : report->own_ns;
    }
}

static void run_steady(const struct options *options, const int *fds, unsigned count,
                       struct report *report)
{
    uint64_t end = now_ns() + (uint64_t)(options->seconds * 1e9);
    uint64_t *since = calloc(count, sizeof *since);
    struct slow *slow = calloc(1, sizeof *slow);
    struct pace pace = {0};

    if (options->pace != 0 && !pace_start(&pace, options->pace)) {
        report->errors++;
    }
    while (!is_over && now_ns() < end && report->errors == 0) {
        for (unsigned i = 0; i < count; i++) {
            since[i] = now_ns();
            if (!send_all(fds[i], pattern, REQUEST_BYTES)) {
                report->errors++;
            }
        }
        for (unsigned i = 0; i < count; i++) {
            if (!expect(fds[i], REQUEST_BYTES)) {
                report->errors++;
                continue;
            }
            count_request(report, slow, since[i]);
        }
        nap(options->interval);
    }
    pace_stop(&pace);
    look_again(&pace, slow, report);
    free(pace.logs);
    free(slow);
    free(since);
}

static void run_gang(const struct options *options, struct gang *gang, unsigned count,
                     int report_fd, int go_fd, uint64_t seed)
{
    uint64_t random = seed | 1;
    struct report report = {0};
    int *fds = calloc(count, sizeof *fds);
    size_t *sent = calloc(count, sizeof *sent);

    for (unsigned i = 0; i < count; i++) {
        fds[i] = connect_one(options);
        report.connected += fds[i] >= 0;
    }
    report.errors = count - report.connected;
    if (write(report_fd, &report, sizeof report) != sizeof report ||
        read(go_fd, &(char){0}, 1) != 0) { /* the end of the pipe is the start signal */
        _exit(1);
    }
    if (gang->mode == MODE_STEADY) {
        run_steady(options, fds, count, &report);
        count = 0;
    }
    for (unsigned i = 0; i < count; i++) {
        sent[i] = begin(fds[i], gang->mode, &random);
        if (gang->mode == MODE_HALF) {
            shutdown(fds[i], SHUT_WR);
        }
    }
    if (gang->mode == MODE_KILL) {
        if (write(report_fd, &report, sizeof report) != sizeof report) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    for (unsigned i = count; i > 0; i--) {
        size_t k = below(&random, i); /* in random order */
        int fd = fds[k];
        size_t len = sent[k];

        fds[k] = fds[i - 1];
        sent[k] = sent[i - 1];
        finish(fd, gang->mode, len, &random, &report);
    }
    if (write(report_fd, &report, sizeof report) != sizeof report) {
        _exit(1);
    }
    free(fds);
    free(sent);
    _exit(report.errors != 0);
}

/* ---- the master --------------------------------------------------------------------------- */

static void start_gang(const struct options *options, struct gang *gangs, unsigned index)
{
    struct gang *gang = &gangs[index];
    unsigned share =
        options->clients / options->gangs + (index < options->clients % options->gangs);
    int up[2];
    int down[2];

    gang->mode = options->mode == MODE_MIXED ? (enum mode)(index % MODE_MIXED) : options->mode;
    if (pipe(up) != 0 || pipe(down) != 0) {
        perror("storm: pipe");
        exit(1);
    }
    gang->pid = fork();
    if (gang->pid < 0) {
        perror("storm: fork");
        exit(1);
    }
    if (gang->pid == 0) {
        for (unsigned i = 0; i < index; i++) {
            close(gangs[i].from);
            close(gangs[i].to);
        }
        close(up[0]);
        close(down[1]);
        run_gang(options, gang, share, up[1], down[0],
                 options->seed * UINT64_C(0x9E3779B97F4A7C15) + index);
    }
    close(up[1]);
    close(down[0]);
    gang->from = up[0];
    gang->to = down[1];
}

/* Read the next report of a gang; a gang that died counts as an error. */
static void take_report(struct gang *gang)
{
    struct report report;
    ssize_t n;

    do {
        n = read(gang->from, &report, sizeof report);
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof report) {
        gang->report = report;
    } else {
        gang->report.errors++;
    }
}

static struct report run_storm(const struct options *options)
{
    static struct gang gangs[GANGS_MAX];
    struct report sum = {0};

    for (unsigned i = 0; i < options->gangs; i++) {
        start_gang(options, gangs, i);
    }
    for (unsigned i = 0; i < options->gangs; i++) {
        take_report(&gangs[i]);
    }
    for (unsigned i = 0; i < options->gangs; i++) {
        close(gangs[i].to);
    }
    for (unsigned i = 0; i < options->gangs; i++) {
        /* SIGTERM may reach the master alone; the gangs are told when it comes. The limit of the
         * wait covers a signal between the look and the call. */
        struct pollfd report = {.fd = gangs[i].from, .events = POLLIN};
        while (!is_over && poll(&report, 1, 50) <= 0) {
        }
        if (is_over) {
            kill(gangs[i].pid, SIGTERM);
        }
        take_report(&gangs[i]);
        if (gangs[i].mode == MODE_KILL) {
            kill(gangs[i].pid, SIGKILL);
        }
        (void)waitpid(gangs[i].pid, NULL, 0);
        close(gangs[i].from);
        sum.connected += gangs[i].report.connected;
        sum.requests += gangs[i].report.requests;
        sum.errors += gangs[i].report.errors;
        if (gangs[i].report.worst_ns > sum.worst_ns) {
            sum.worst_ns = gangs[i].report.worst_ns;
        }
        if (gangs[i].report.own_ns > sum.own_ns) {
            sum.own_ns = gangs[i].report.own_ns;
        }
    }
    return sum;
}

/* ---- command line ------------------------------------------------------------------------- */

static _Noreturn void usage(void)
{
    fputs("usage: storm --port P [--host H] [--mode reset|half|vanish|kill|mixed|steady]\n"
          "             [--clients N] [--gangs G] [--seconds S] [--interval S] [--seed N]\n"
          "             [--pace PRIORITY]\n",
          stderr);
    exit(2);
}

static enum mode find_mode(const char *name)
{
    for (int i = 0; i < MODE_COUNT; i++) {
        if (strcmp(name, mode_names[i]) == 0) {
            return (enum mode)i;
        }
    }
    usage();
}

static struct options parse(int argc, char **argv)
{
    struct options options = {
        .host = "127.0.0.1",
        .mode = MODE_MIXED,
        .clients = 1000,
        .gangs = 4,
        .seconds = 1e6,
        .seed = 1,
    };

    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i];
        const char *value = argv[i + 1];

        if (strcmp(name, "--host") == 0) {
            options.host = value;
        } else if (strcmp(name, "--port") == 0) {
            options.port = (uint16_t)atoi(value);
        } else if (strcmp(name, "--mode") == 0) {
            options.mode = find_mode(value);
        } else if (strcmp(name, "--clients") == 0) {
            options.clients = (unsigned)atoi(value);
        } else if (strcmp(name, "--gangs") == 0) {
            options.gangs = (unsigned)atoi(value);
        } else if (strcmp(name, "--seconds") == 0) {
            options.seconds = atof(value);
        } else if (strcmp(name, "--interval") == 0) {
            options.interval = atof(value);
        } else if (strcmp(name, "--pace") == 0) {
            options.pace = atoi(value);
        } else if (strcmp(name, "--seed") == 0) {
            options.seed = strtoull(value, NULL, 0);
        } else {
            usage();
        }
    }
    if (argc % 2 == 0 || options.port == 0 || options.gangs == 0 || options.gangs > GANGS_MAX) {
        usage();
    }
    return options;
}

int main(int argc, char **argv)
{
    struct options options = parse(argc, argv);
    struct sigaction action = {.sa_handler = on_term}; /* no SA_RESTART: reads look at is_over */
    struct rlimit limit;

    sigaction(SIGTERM, &action, NULL);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    for (size_t i = 0; i < sizeof pattern; i++) {
        pattern[i] = (unsigned char)(i * 131 + i / 251);
    }
    uint64_t begun = now_ns();
    struct report sum = run_storm(&options);
    printf("mode=%s clients=%u connected=%llu requests=%llu errors=%llu worst_ms=%.2f own_ms=%.2f "
           "seconds=%.3f\n",
           mode_names[options.mode], options.clients, (unsigned long long)sum.connected,
           (unsigned long long)sum.requests, (unsigned long long)sum.errors,
           (double)sum.worst_ns / 1e6, (double)sum.own_ns / 1e6, (double)(now_ns() - begun) / 1e9);
    return sum.errors != 0;
}
