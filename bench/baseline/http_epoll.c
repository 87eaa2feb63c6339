// SPDX-License-Identifier: MIT
// An HTTP hello by hand: epoll, llhttp, one recv and one send a request. What bench/http_weft.cpp
// is compared with; the answer is the same, byte for byte. It has no limits, no time limits and one
// route. --port N. On SIGTERM it says what it took.
#define _GNU_SOURCE
#include <errno.h>
#include <llhttp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct connection {
    llhttp_t parser;
    int fd;
    int pending;  // requests whose answer was not sent
    int is_root;
};

static volatile sig_atomic_t stopped;
static long requests;
static void stop(int signal) { stopped = signal; }

static int on_url(llhttp_t* parser, const char* at, size_t size) {
    struct connection* c = parser->data;
    c->is_root = size == 1 && at[0] == '/';
    return 0;
}
static int on_end(llhttp_t* parser) {
    struct connection* c = parser->data;
    ++c->pending;
    return 0;
}

static const char* date_now(void) {
    static time_t second;
    static char text[40];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != second) {
        second = now.tv_sec;
        struct tm parts;
        gmtime_r(&second, &parts);
        strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    }
    return text;
}

static int answer(struct connection* c) {
    char out[4096];
    size_t size = 0;
    for (; c->pending > 0 && size < sizeof out - 256; --c->pending, ++requests) {
        size +=
            (size_t)sprintf(out + size,
                            "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nDate: %s\r\n"
                            "Content-Length: 13\r\n\r\nHello, World!",
                            c->is_root ? "200 OK" : "404 Not Found", date_now());
    }
    return send(c->fd, out, size, MSG_NOSIGNAL) == (ssize_t)size ? 0 : -1;
}

int main(int argc, char** argv) {
    const int port = argc == 3 && strcmp(argv[1], "--port") == 0 ? atoi(argv[2]) : 8098;
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    llhttp_settings_t settings;
    llhttp_settings_init(&settings);
    settings.on_url = on_url;
    settings.on_message_complete = on_end;

    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    const int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr*)&address, sizeof address) != 0 ||
        listen(listener, 1024) != 0) {
        perror("listen");
        return 1;
    }
    const int set = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(set, EPOLL_CTL_ADD, listener, &event);
    static struct epoll_event events[64];
    static char buffer[16384];
    while (!stopped) {
        const int count = epoll_wait(set, events, 64, -1);
        for (int index = 0; index < count; ++index) {
            struct connection* c = events[index].data.ptr;
            if (!c) {
                const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                if (fd < 0) continue;
                c = calloc(1, sizeof *c);
                c->fd = fd;
                llhttp_init(&c->parser, HTTP_REQUEST, &settings);
                c->parser.data = c;
                event.data.ptr = c;
                epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
                continue;
            }
            const ssize_t got = recv(c->fd, buffer, sizeof buffer, 0);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0 || llhttp_execute(&c->parser, buffer, (size_t)got) != HPE_OK ||
                (c->pending && answer(c) != 0)) {
                close(c->fd);
                free(c);
            }
        }
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    const double us = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
                      (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    printf("requests %ld cpu_us_per_request %.3f\n", requests,
           us / (double)(requests ? requests : 1));
    return 0;
}
