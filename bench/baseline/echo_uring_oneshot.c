// TCP echo server: io_uring, one thread, one-shot operations: receive, send, receive... One kernel
// entry per turn.
#include "ring.h"

#include <poll.h>

// Exactly one operation per connection is in flight, so its address is all that a completion needs
// to carry.
struct connection {
    int fd;
    bool sending;
    size_t sent, length;
    char buffer[];
};

static long buffer_size = 16384;
static int listener;
static char stop_tag, listener_tag;

static void accept_next(void) {
    struct io_uring_sqe* sqe = new_operation();
    // Not SOCK_NONBLOCK: the ring would then hand EAGAIN to us instead of waiting for readiness
    // itself.
    io_uring_prep_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data(sqe, &listener_tag);
}

// After a send the peer has yet to see the answer, so a receive tried at once would fail:
// POLL_FIRST saves the attempt.
static void receive(struct connection* c) {
    struct io_uring_sqe* sqe = new_operation();
    io_uring_prep_recv(sqe, c->fd, c->buffer, (size_t)buffer_size, 0);
    sqe->ioprio = IORING_RECVSEND_POLL_FIRST;
    io_uring_sqe_set_data(sqe, c);
    c->sending = false;
}

static void send_rest(struct connection* c) {
    struct io_uring_sqe* sqe = new_operation();
    io_uring_prep_send(sqe, c->fd, c->buffer + c->sent, c->length - c->sent, MSG_NOSIGNAL);
    io_uring_sqe_set_data(sqe, c);
    c->sending = true;
}

static void drop(struct connection* c) {
    syscalls++;
    close(c->fd);  // Nothing is in flight on it.
    free(c);
}

static void on_accepted(int fd) {
    if (fd == -ECONNABORTED || fd == -EINTR) return accept_next();
    if (fd < 0) die_error("accept", -fd);
    struct connection* c = check_memory(malloc(sizeof *c + (size_t)buffer_size));
    c->fd = fd;
    receive(c);
    accept_next();
}

static void on_complete(struct connection* c, int result) {
    if (result == -EINTR || result == -EAGAIN) return c->sending ? send_rest(c) : receive(c);
    if (result == -ECONNRESET || result == -EPIPE || (result == 0 && !c->sending)) return drop(c);
    if (result < 0) die_error(c->sending ? "send" : "recv", -result);
    if (!c->sending) {
        c->length = (size_t)result;
        c->sent = 0;
        return send_rest(c);
    }
    c->sent += (size_t)result;
    if (c->sent < c->length) return send_rest(c);
    messages++;
    receive(c);
}

int main(int argc, char** argv) {
    long port = 0;
    const struct option options[] = {{"--port", NUMBER, &port}, {"--size", NUMBER, &buffer_size}};
    parse_options(argc, argv, options, 2);
    require_option(buffer_size > 0, "--size > 0");

    open_ring();
    listener = listen_on(&port, 0);
    struct io_uring_sqe* sqe = new_operation();
    io_uring_prep_poll_add(sqe, stop_descriptor(), POLLIN);
    io_uring_sqe_set_data(sqe, &stop_tag);
    accept_next();
    report_listening(port);

    for (;;) {
        submit_and_wait();
        struct io_uring_cqe* cqe;
        unsigned head, seen = 0;
        io_uring_for_each_cqe(&ring, head, cqe) {
            void* tag = io_uring_cqe_get_data(cqe);
            seen++;
            if (tag == &stop_tag) {
                report_server();
                return 0;
            }
            if (tag == &listener_tag)
                on_accepted(cqe->res);
            else
                on_complete(tag, cqe->res);
        }
        io_uring_cq_advance(&ring, seen);
    }
}
