/* echoload.c — closed-loop load on a TCP echo server: one thread, one edge-triggered epoll.
 *
 * Every connection sends one message, waits until the same bytes came back, and sends the next.
 * After the warm-up the counters start from zero, so connecting and first touches are not counted.
 * The server's processor time is read from its process clock at the same two instants between
 * which replies are counted.
 *
 * The program must cost less per request than any server it measures: events are edge-triggered, a
 * reply is tried once per event, and large replies are compared only every --verify-every time; the
 * others are dropped in the kernel without being copied, which still counts their bytes.
 *
 * Where two processors are free, both sides are nearly always busy, and the slower one is the one
 * whose queue is long: batch, the replies found by one epoll_wait, says how many wait for us.
 *
 * A closed loop does not see the queueing that an independent arrival rate would cause
 * (coordinated omission): its latencies compare servers under the same client, nothing more. But a
 * server that leaves some connections waiting while it serves others must not gain by it: messages
 * that nobody has answered at the end, and that have waited longer than 99 of 100 answers took, are
 * counted with the time they have waited (overdue).
 *
 * usage: echoload --port P [--conns N] [--size BYTES] [--secs S] [--warmup S] [--verify-every N]
 *                 [--pid PID]...
 * prints one line of key=value pairs; exits 1 if anything went wrong with a connection.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 512,
    PIDS_MAX = 64,
    /* Below this size every reply is compared: the copy costs less than a second way of reading. */
    DISCARD_MIN_BYTES = 4096,
    /* The histogram is linear in each power of two: 64 buckets, so 1.6 % at worst. */
    BUCKET_BITS = 6,
    BUCKETS = (64 - BUCKET_BITS) << BUCKET_BITS,
};

struct options {
    uint16_t port;
    int conns;
    size_t size;
    double secs;
    double warmup;
    uint64_t verify_every;
    pid_t pids[PIDS_MAX]; /* whose processor time is the server's                                */
    int pid_count;
};

struct conn {
    int fd;
    size_t sent; /* of the message on its way                                              */
    size_t received; /* of its reply                                                           */
    uint64_t messages; /* number of the reply that is awaited: says whether it is compared       */
    uint64_t start_ns; /* when the first byte of the message was handed over                     */
};

struct load {
    const struct options *options;
    int epoll;
    struct conn *conns;
    int alive;
    unsigned char *message;
    unsigned char *reply;
    uint64_t finished;
    uint64_t recorded; /* in the histogram: those that are finished, and those overdue            */
    uint64_t polls;
    uint64_t errors;
    uint64_t latency_sum_ns;
    uint64_t latency_max_ns;
    uint64_t histogram[BUCKETS];
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    if (clock_gettime(clock, &now) != 0) {
        return 0;
    }
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* Processor time of the server's processes, threads that have ended included. */
static uint64_t server_cpu_ns(const struct options *options)
{
    uint64_t sum = 0;

    for (int i = 0; i < options->pid_count; i++) {
        clockid_t clock;
        if (clock_getcpuclockid(options->pids[i], &clock) == 0) {
            sum += clock_ns(clock);
        }
    }
    return sum;
}

/* ---- histogram ---------------------------------------------------------------------------- */

static unsigned bucket_of(uint64_t ns)
{
    if (ns < (1U << BUCKET_BITS)) {
        return (unsigned)ns;
    }
    unsigned shift = 63U - (unsigned)__builtin_clzll(ns) - BUCKET_BITS;
    return ((shift + 1) << BUCKET_BITS) + (unsigned)((ns >> shift) & ((1U << BUCKET_BITS) - 1));
}

static uint64_t bucket_low_ns(unsigned bucket)
{
    unsigned shift = bucket >> BUCKET_BITS;
    uint64_t part = bucket & ((1U << BUCKET_BITS) - 1);

    return shift == 0 ? part : (part + (1U << BUCKET_BITS)) << (shift - 1);
}

static void record_latency(struct load *load, uint64_t ns)
{
    load->histogram[bucket_of(ns)]++;
    load->recorded++;
    load->latency_sum_ns += ns;
    if (ns > load->latency_max_ns) {
        load->latency_max_ns = ns;
    }
}

static double percentile_us(const struct load *load, double fraction)
{
    uint64_t wanted = (uint64_t)(fraction * (double)load->recorded);
    uint64_t seen = 0;

    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += load->histogram[i];
        if (seen > wanted) {
            return (double)bucket_low_ns(i) / 1e3;
        }
    }
    return (double)load->latency_max_ns / 1e3;
}

/* ---- connections -------------------------------------------------------------------------- */

static void drop_conn(struct load *load, struct conn *conn, const char *reason)
{
    if (load->errors++ == 0) {
        fprintf(stderr, "echoload: a connection failed: %s\n", reason);
    }
    load->alive--;
    close(conn->fd);
    conn->fd = -1;
}

/* Send what the socket takes. The rest follows at its next writable edge. */
static void send_message(struct load *load, struct conn *conn)
{
    size_t size = load->options->size;

    while (conn->sent < size) {
        ssize_t n = send(conn->fd, load->message + conn->sent, size - conn->sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) {
                drop_conn(load, conn, strerror(errno));
            }
            return;
        }
        conn->sent += (size_t)n;
    }
}

static void begin_message(struct load *load, struct conn *conn, uint64_t now_ns)
{
    conn->sent = 0;
    conn->received = 0;
    conn->start_ns = now_ns;
    send_message(load, conn);
}

/* Read what has come of the reply. One call is enough: a short read has emptied the socket and the
 * next bytes bring a new edge, and a server cannot answer more than it was sent. */
static void receive_reply(struct load *load, struct conn *conn)
{
    const struct options *options = load->options;
    bool verify = conn->messages % options->verify_every == 0 || options->size < DISCARD_MIN_BYTES;
    /* TCP's MSG_TRUNC drops the bytes instead of copying them. */
    ssize_t n = recv(conn->fd, load->reply, options->size - conn->received, verify ? 0 : MSG_TRUNC);

    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0) {
        drop_conn(load, conn, n == 0 ? "closed by the server" : strerror(errno));
        return;
    }
    if (verify && memcmp(load->reply, load->message + conn->received, (size_t)n) != 0) {
        drop_conn(load, conn, "the reply differs from the message");
        return;
    }
    conn->received += (size_t)n;
    if (conn->received == options->size) {
        uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
        record_latency(load, now_ns - conn->start_ns);
        load->finished++;
        conn->messages++;
        begin_message(load, conn, now_ns);
    }
}

static int open_conn(struct load *load, struct conn *conn)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(load->options->port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int one = 1;

    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (conn->fd < 0) {
        return -errno;
    }
    /* The cheapest congestion control, to stay ahead of the server; losing it is no failure. Before
     * connecting: a socket that has once been paced (bbr) remains so. */
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    if (connect(conn->fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0) {
        return -errno;
    }
    /* A silent server must not hang the program: connecting was the last call that blocks. */
    if (fcntl(conn->fd, F_SETFL, O_NONBLOCK) != 0) {
        return -errno;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = conn};
    return epoll_ctl(load->epoll, EPOLL_CTL_ADD, conn->fd, &event) == 0 ? 0 : -errno;
}

/* ---- phases ------------------------------------------------------------------------------- */

/* Drive all connections until `end_ns`, or until none is left. */
static void run_until(struct load *load, uint64_t end_ns)
{
    struct epoll_event events[EVENTS_MAX];

    while (load->alive > 0 && clock_ns(CLOCK_MONOTONIC) < end_ns) {
        int n = epoll_wait(load->epoll, events, EVENTS_MAX, 50);
        load->polls++;
        for (int i = 0; i < n; i++) {
            struct conn *conn = events[i].data.ptr;
            if (conn->sent < load->options->size) {
                send_message(load, conn);
            }
            if (conn->fd >= 0 && (events[i].events & ~(uint32_t)EPOLLOUT) != 0) {
                receive_reply(load, conn);
            }
        }
    }
}

static void reset_counters(struct load *load)
{
    load->finished = 0;
    load->recorded = 0;
    load->polls = 0;
    load->latency_sum_ns = 0;
    load->latency_max_ns = 0;
    memset(load->histogram, 0, sizeof(load->histogram));
}

/* See the head of this file. */
static uint64_t count_overdue(struct load *load)
{
    uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    uint64_t limit_ns = (uint64_t)(percentile_us(load, 0.99) * 1e3);
    uint64_t count = 0;

    for (int i = 0; i < load->options->conns; i++) {
        const struct conn *conn = &load->conns[i];
        if (conn->fd >= 0 && now_ns - conn->start_ns > limit_ns) {
            record_latency(load, now_ns - conn->start_ns);
            count++;
        }
    }
    return count;
}

static int run_load(struct load *load)
{
    const struct options *options = load->options;

    for (int i = 0; i < options->conns; i++) {
        int error = open_conn(load, &load->conns[i]);
        if (error != 0) {
            fprintf(stderr, "echoload: connection %d of %d: %s\n", i + 1, options->conns,
                    strerror(-error));
            return 1;
        }
        load->alive++;
    }
    uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < options->conns; i++) {
        /* Connections keep in step: if all counted from zero, one round in --verify-every would
         * have all the comparisons, and the highest latencies would be our own. */
        load->conns[i].messages = (uint64_t)i;
        begin_message(load, &load->conns[i], now_ns);
    }
    run_until(load, now_ns + (uint64_t)(options->warmup * 1e9));

    reset_counters(load);
    uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
    uint64_t client_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    uint64_t server_ns = server_cpu_ns(options);
    run_until(load, start_ns + (uint64_t)(options->secs * 1e9));
    server_ns = server_cpu_ns(options) - server_ns;
    client_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - client_ns;
    double elapsed_s = (double)(clock_ns(CLOCK_MONOTONIC) - start_ns) / 1e9;
    uint64_t overdue = count_overdue(load);

    double requests = load->finished > 0 ? (double)load->finished : 1;
    printf(
        "requests=%llu seconds=%.4f rps=%.1f server_us=%.4f client_us=%.4f server_busy=%.4f "
        "client_busy=%.4f batch=%.1f mean_us=%.1f p50_us=%.1f p99_us=%.1f p999_us=%.1f max_us=%.1f "
        "overdue=%llu errors=%llu\n",
        (unsigned long long)load->finished, elapsed_s, (double)load->finished / elapsed_s,
        (double)server_ns / 1e3 / requests, (double)client_ns / 1e3 / requests,
        (double)server_ns / 1e9 / elapsed_s, (double)client_ns / 1e9 / elapsed_s,
        requests / (double)(load->polls > 0 ? load->polls : 1),
        (double)load->latency_sum_ns / 1e3 / (double)(load->recorded > 0 ? load->recorded : 1),
        percentile_us(load, 0.5), percentile_us(load, 0.99), percentile_us(load, 0.999),
        (double)load->latency_max_ns / 1e3, (unsigned long long)overdue,
        (unsigned long long)load->errors);
    return load->errors == 0 && load->finished > 0 ? 0 : 1;
}

/* ---- command line ------------------------------------------------------------------------- */

static bool parse_options(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {
        {"port", required_argument, NULL, 'p'},   {"conns", required_argument, NULL, 'c'},
        {"size", required_argument, NULL, 'b'},   {"secs", required_argument, NULL, 's'},
        {"warmup", required_argument, NULL, 'w'}, {"verify-every", required_argument, NULL, 'v'},
        {"pid", required_argument, NULL, 'i'},    {NULL, 0, NULL, 0},
    };
    int name;

    while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (name) {
        case 'p':
            options->port = (uint16_t)atoi(optarg);
            break;
        case 'c':
            options->conns = atoi(optarg);
            break;
        case 'b':
            options->size = strtoul(optarg, NULL, 10);
            break;
        case 's':
            options->secs = atof(optarg);
            break;
        case 'w':
            options->warmup = atof(optarg);
            break;
        case 'v':
            options->verify_every = strtoull(optarg, NULL, 10);
            break;
        case 'i':
            if (options->pid_count == PIDS_MAX) {
                return false;
            }
            options->pids[options->pid_count++] = (pid_t)atoi(optarg);
            break;
        default:
            return false;
        }
    }
    return optind == argc && options->port != 0 && options->conns > 0 && options->size > 0 &&
           options->secs > 0 && options->verify_every > 0;
}

int main(int argc, char **argv)
{
    static struct load load;
    struct options options = {
        .conns = 50,
        .size = 106,
        .secs = 3,
        .warmup = 0.5,
        .verify_every = 1,
    };

    if (!parse_options(argc, argv, &options)) {
        fprintf(stderr, "usage: echoload --port P [--conns N] [--size BYTES] [--secs S] "
                        "[--warmup S] [--verify-every N] [--pid PID]...\n");
        return 2;
    }
    load.options = &options;
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.conns = calloc((size_t)options.conns, sizeof(*load.conns));
    load.message = malloc(options.size);
    load.reply = malloc(options.size);
    if (load.epoll < 0 || load.conns == NULL || load.message == NULL || load.reply == NULL) {
        perror("echoload");
        return 1;
    }
    for (size_t i = 0; i < options.size; i++) {
        /* The period of 251 shares no factor with buffer sizes: a shifted reply differs. */
        load.message[i] = (unsigned char)(i % 251);
    }
    return run_load(&load);
}
