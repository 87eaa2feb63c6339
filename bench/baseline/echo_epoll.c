// TCP echo server: epoll, level-triggered, one thread. One read per wake: what is left is reported
// again, so nothing is ever read "until EAGAIN". The answer is written at once; EPOLLOUT is armed
// only when the socket does not take it.
#include "baseline.h"

struct connection {
    int fd;
    char* unsent;  // NULL, or what the socket refused; nothing is read meanwhile.
    size_t offset, length;
};

static int poller;
static char* buffer;  // Shared: between its read and its write no other connection runs.
static long buffer_size = 16384;

static void watch(int operation, int fd, uint32_t events, void* tag) {
    struct epoll_event event = {.events = events, .data.ptr = tag};
    syscalls++;
    check(epoll_ctl(poller, operation, fd, &event), "epoll_ctl");
}

static void drop(struct connection* c) {
    syscalls++;
    close(c->fd);  // Also leaves the epoll set.
    free(c->unsent);
    free(c);
}

// Sends what the socket takes. Returns the number of bytes sent, or -1 when the connection is
// broken.
static ssize_t send_some(int fd, const char* data, size_t length) {
    syscalls++;
    ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    if (errno == EAGAIN || errno == EINTR) return 0;
    if (errno == EPIPE || errno == ECONNRESET) return -1;
    die_error("send", errno);
}

static void on_readable(struct connection* c) {
    syscalls++;
    ssize_t length = recv(c->fd, buffer, (size_t)buffer_size, 0);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (length < 0 && errno != ECONNRESET) die_error("recv", errno);
    if (length <= 0) return drop(c);
    ssize_t sent = send_some(c->fd, buffer, (size_t)length);
    if (sent == length) {
        messages++;
    } else if (sent < 0) {
        drop(c);
    } else {
        c->length = (size_t)(length - sent);
        c->offset = 0;
        c->unsent = check_memory(malloc(c->length));
        memcpy(c->unsent, buffer + sent, c->length);
        watch(EPOLL_CTL_MOD, c->fd, EPOLLOUT, c);
    }
}

static void on_writable(struct connection* c) {
    ssize_t sent = send_some(c->fd, c->unsent + c->offset, c->length - c->offset);
    if (sent < 0) return drop(c);
    c->offset += (size_t)sent;
    if (c->offset < c->length) return;
    messages++;
    free(c->unsent);
    c->unsent = NULL;
    watch(EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
}

static void on_connections(int listener) {
    for (;;) {
        syscalls++;
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && errno == EAGAIN) return;
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
        check(fd, "accept4");
        struct connection* c = check_memory(calloc(1, sizeof *c));
        c->fd = fd;
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, c);
    }
}

int main(int argc, char** argv) {
    long port = 0;
    const struct option options[] = {{"--port", NUMBER, &port}, {"--size", NUMBER, &buffer_size}};
    parse_options(argc, argv, options, 2);
    require_option(buffer_size > 0, "--size > 0");

    buffer = check_memory(calloc(1, (size_t)buffer_size));
    int listener = listen_on(&port, SOCK_NONBLOCK);
    char stop_tag, listener_tag;
    poller = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    watch(EPOLL_CTL_ADD, stop_descriptor(), EPOLLIN, &stop_tag);
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, &listener_tag);
    report_listening(port);

    for (;;) {
        struct epoll_event events[256];
        syscalls++;
        int ready = epoll_wait(poller, events, 256, -1);
        if (ready < 0 && errno == EINTR) continue;
        check(ready, "epoll_wait");
        for (int i = 0; i < ready; i++) {
            void* tag = events[i].data.ptr;
            if (tag == &stop_tag) {
                report_server();
                return 0;
            }
            if (tag == &listener_tag)
                on_connections(listener);
            else if (((struct connection*)tag)->unsent != NULL)
                on_writable(tag);
            else
                on_readable(tag);
        }
    }
}
