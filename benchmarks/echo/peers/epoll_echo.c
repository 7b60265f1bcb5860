/* epoll_echo.c — level-triggered epoll echo without any library: the floor for a C program.
 *
 * One thread, or THREADS threads, each with its own listener (SO_REUSEPORT) and its own epoll.
 *
 * usage: epoll_echo PORT [THREADS]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static int port;

static void accept_all(int epoll, int listener)
{
    int one = 1;
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static void echo(int fd)
{
    static __thread char buffer[262144];
    ssize_t received = recv(fd, buffer, sizeof(buffer), 0);

    if (received <= 0) {
        if (received < 0 && errno == EAGAIN) {
            return;
        }
        close(fd);
        return;
    }
    ssize_t sent = 0;
    while (sent < received) {
        ssize_t n = send(fd, buffer + sent, (size_t)(received - sent), MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN) {
                continue;
            }
            break;
        }
        sent += n;
    }
}

static void *run(void *arg)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
    /* The cheapest congestion control, as tinycoro's on loopback; losing it is no failure. */
    (void)setsockopt(listener, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0) {
        exit(1);
    }
    listen(listener, 4096);

    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    struct epoll_event events[512];
    for (;;) {
        int n = epoll_wait(epoll, events, 512, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener) {
                accept_all(epoll, listener);
            } else {
                echo(events[i].data.fd);
            }
        }
    }
    return arg;
}

int main(int argc, char **argv)
{
    int threads = argc > 2 ? atoi(argv[2]) : 1;
    pthread_t thread;

    if (argc < 2) {
        return 2;
    }
    port = atoi(argv[1]);
    for (int i = 1; i < threads; i++) {
        pthread_create(&thread, NULL, run, NULL);
    }
    run(NULL);
}
