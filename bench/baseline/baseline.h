// What all the yardsticks share: failing loudly, options, clocks, sockets. Include it first: it
// defines _GNU_SOURCE.
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_REFUSED = 3 };  // io_uring_setup was refused: the driver tells this apart from a bug.

static inline _Noreturn void die_error(const char* call, int error) {
    fprintf(stderr, "%s: %s\n", call, strerror(error));
    exit(1);
}
static inline int check(int result, const char* call) {
    if (result < 0) die_error(call, errno);
    return result;
}
static inline void* check_memory(void* memory) {
    if (memory == NULL) die_error("malloc", ENOMEM);
    return memory;
}

static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}
// User and system time; their sum comes from the scheduler's clock, only the split between them is
// an estimate.
static inline int64_t cpu_us(void) {
    struct rusage use;
    check(getrusage(RUSAGE_SELF, &use), "getrusage");
    return (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000LL + use.ru_utime.tv_usec +
           use.ru_stime.tv_usec;
}

struct option {
    const char* name;
    enum { NUMBER, TEXT, SWITCH } kind;
    void* value;  // long *, const char **, bool *
};

static inline void parse_options(int argc, char** argv, const struct option* options, int count) {
    for (int i = 1; i < argc; i++) {
        const struct option* found = NULL;
        for (int k = 0; k < count; k++)
            if (strcmp(argv[i], options[k].name) == 0) found = &options[k];
        if (found == NULL || (found->kind != SWITCH && i + 1 == argc)) {
            fprintf(stderr, "%s: bad option %s; known:", argv[0], argv[i]);
            for (int k = 0; k < count; k++)
                fprintf(stderr, " %s%s", options[k].name, options[k].kind == SWITCH ? "" : " X");
            fprintf(stderr, "\n");
            exit(2);
        }
        if (found->kind == SWITCH) {
            *(bool*)found->value = true;
        } else if (found->kind == TEXT) {
            *(const char**)found->value = argv[++i];
        } else {
            char* end;
            *(long*)found->value = strtol(argv[++i], &end, 10);
            if (*end != 0 || end == argv[i]) {
                fprintf(stderr, "%s: %s wants a number, not %s\n", argv[0], found->name, argv[i]);
                exit(2);
            }
        }
    }
}
static inline void require_option(bool ok, const char* rule) {
    if (ok) return;
    fprintf(stderr, "bad options: %s\n", rule);
    exit(2);
}

// Listens on loopback; *port 0 lets the kernel pick. Accepted sockets inherit TCP_NODELAY from the
// listener on Linux, which saves one call per connection and is the only way for a socket that
// never gets a descriptor number.
static inline int listen_on(long* port, int socket_flags) {
    int fd = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | socket_flags, 0), "socket");
    int on = 1;
    check(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "setsockopt(SO_REUSEADDR)");
    check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "setsockopt(TCP_NODELAY)");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    check(bind(fd, (struct sockaddr*)&address, length), "bind");
    check(listen(fd, 4096), "listen");
    check(getsockname(fd, (struct sockaddr*)&address, &length), "getsockname");
    *port = ntohs(address.sin_port);
    return fd;
}

// Blocking; the caller decides what the descriptor is afterwards.
static inline int connect_to(long port) {
    int fd = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    int on = 1;
    check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "setsockopt(TCP_NODELAY)");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check(connect(fd, (struct sockaddr*)&address, sizeof address), "connect");
    return fd;
}

static inline int connect_nonblocking(long port) {
    int fd = connect_to(port);
    check(fcntl(fd, F_SETFL, O_NONBLOCK), "fcntl(O_NONBLOCK)");
    return fd;
}

// One descriptor that becomes readable on SIGTERM, SIGINT, or when stdin's other end goes away: a
// signalfd and stdin in an epoll set of their own. A stdin that cannot be polled (/dev/null, a
// file) is left out, so that it does not stop the server.
static inline int stop_descriptor(void) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    check(sigprocmask(SIG_BLOCK, &signals, NULL), "sigprocmask");
    int signal_fd = check(signalfd(-1, &signals, SFD_CLOEXEC), "signalfd");
    int set = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    struct epoll_event on_signal = {.events = EPOLLIN}, on_hangup = {.events = EPOLLRDHUP};
    check(epoll_ctl(set, EPOLL_CTL_ADD, signal_fd, &on_signal), "epoll_ctl(signalfd)");
    if (epoll_ctl(set, EPOLL_CTL_ADD, STDIN_FILENO, &on_hangup) < 0 && errno != EPERM &&
        errno != EBADF)
        die_error("epoll_ctl(stdin)", errno);
    return set;
}

// A server's account of itself. Work before "listening" (process start, allocation) is not counted.
static long syscalls, messages;
static int64_t cpu_us_at_start;

static inline void report_listening(long port) {
    printf("listening %ld\n", port);
    fflush(stdout);
    cpu_us_at_start = cpu_us();
}
static inline void report_server(void) {
    printf("cpu_us=%lld messages=%ld syscalls=%ld\n", (long long)(cpu_us() - cpu_us_at_start),
           messages, syscalls);
}
