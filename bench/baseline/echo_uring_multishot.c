// TCP echo server: io_uring, one thread, one multishot receive per connection into a small pool of
// buffers that all connections share (a small pool stays in the cache). One kernel entry per turn.
// --direct: connections live in the ring's own descriptor table and have no descriptor number. A
// peer that sends without reading would take the whole pool: past MAX_QUEUED its receive is
// cancelled until it has read. (The kernel may have handed it up to 32 by then, so a few such peers
// can still make the others wait; more buffers, more peers.)
#include "ring.h"

#include <poll.h>

enum { DIRECT_SLOTS = 4096, MAX_QUEUED = 4, NONE = -1 };

// A completion carries the connection's address; the lowest bit says whether it was the send.
enum { SEND_BIT = 1 };

struct connection {
    struct starved starved;  // First, so that its address is the connection's.
    bool armed;              // The multishot receive is in flight, or waits for a buffer.
    bool ended;  // The peer closed, or the connection broke: goes once nothing is in flight.
    int fd;
    int first, last;  // Buffers still to be sent, in order; the first is in flight. Two sends at
                      // once could overtake each other.
    int queued;
    size_t sent;  // Of the first.
};

static struct pool pool;
static struct {
    size_t length;
    int next;
} filled[MAX_BUFFERS];
static bool direct;
static int listener;
static struct connection stop_tag, listener_tag, close_tag, cancel_tag;

static void accept_next(void) {
    struct io_uring_sqe* sqe = new_operation();
    // Not SOCK_NONBLOCK: the ring would then hand EAGAIN to us instead of waiting for readiness
    // itself.
    io_uring_prep_accept(sqe, listener, NULL, NULL, direct ? 0 : SOCK_CLOEXEC);
    // Set by hand: liburing 2.3's io_uring_prep_accept_direct turns ALLOC into "no slot".
    if (direct) sqe->file_index = IORING_FILE_INDEX_ALLOC;
    io_uring_sqe_set_data(sqe, &listener_tag);
}

static void receive(struct connection* c) {
    struct io_uring_sqe* sqe = new_operation();
    io_uring_prep_recv_multishot(sqe, c->fd, NULL, 0, 0);
    sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    sqe->flags |= (unsigned char)(IOSQE_BUFFER_SELECT | (direct ? IOSQE_FIXED_FILE : 0));
    sqe->buf_group = POOL_GROUP;
    io_uring_sqe_set_data(sqe, c);
    c->armed = true;
}

static void cancel_receive(struct connection* c) {
    struct io_uring_sqe* sqe = new_operation();
    io_uring_prep_cancel(sqe, c, 0);
    io_uring_sqe_set_data(
        sqe,
        &cancel_tag);  // Its result says nothing that the receive's last completion does not say.
}

static void send_first(struct connection* c) {
    struct io_uring_sqe* sqe = new_operation();
    io_uring_prep_send(sqe, c->fd, pool_buffer(&pool, c->first) + c->sent,
                       filled[c->first].length - c->sent, MSG_NOSIGNAL);
    sqe->flags |= (unsigned char)(direct ? IOSQE_FIXED_FILE : 0);
    io_uring_sqe_set_data64(sqe, (uintptr_t)c | SEND_BIT);
}

// Once a connection has nothing in flight it either starts a new receive (the last one ended by
// itself or was cancelled) or goes.
static void settle(struct connection* c) {
    if (c->armed || c->first != NONE) return;
    if (!c->ended) return receive(c);
    if (direct) {
        struct io_uring_sqe* sqe = new_operation();
        io_uring_prep_close_direct(sqe, (unsigned)c->fd);
        io_uring_sqe_set_data(sqe, &close_tag);
    } else {
        syscalls++;
        close(c->fd);
    }
    free(c);
}

// Gives the first buffer back to the pool.
static void release_first(struct connection* c) {
    int id = c->first;
    c->first = filled[id].next;
    c->queued--;
    c->sent = 0;
    pool_return(&pool, id);
}

static void on_received(struct connection* c, int result, unsigned flags) {
    c->armed = (flags & IORING_CQE_F_MORE) != 0;
    if (result > 0) {
        int id = pool_take(&pool, flags);
        filled[id].length = (size_t)result;
        filled[id].next = NONE;
        if (c->first != NONE) {
            filled[c->last].next = id;
            c->last = id;
        } else {
            c->first = c->last = id;
            c->sent = 0;
            send_first(c);
        }
        if (++c->queued > MAX_QUEUED && c->armed) cancel_receive(c);
    } else if (result == -ENOBUFS) {
        c->armed = true;
        starve(&c->starved);
    } else {
        if (result == 0 || result == -ECONNRESET || result == -EPIPE)
            c->ended = true;
        else if (result != -ECANCELED && result != -EINTR && result != -EAGAIN)
            die_error("recv", -result);
        settle(c);
    }
}

static void on_sent(struct connection* c, int result) {
    if (result == -EINTR || result == -EAGAIN) return send_first(c);
    if (result < 0) {
        if (result != -ECONNRESET && result != -EPIPE) die_error("send", -result);
        c->ended = true;
        while (c->first != NONE) release_first(c);
        // A receive that took its data after the reset came does not report it: seen on 6.18. So it
        // is told.
        if (c->armed) cancel_receive(c);
        return settle(c);
    }
    c->sent += (size_t)result;
    if (c->sent < filled[c->first].length) return send_first(c);
    messages++;
    release_first(c);
    if (c->first != NONE) return send_first(c);
    settle(c);
}

static void feed(struct connection* c) {
    c->armed = false;
    settle(c);
}

static void on_accepted(int fd) {
    if (fd == -ECONNABORTED || fd == -EINTR) return accept_next();
    if (fd < 0) die_error("accept", -fd);
    struct connection* c = check_memory(calloc(1, sizeof *c));
    c->fd = fd;
    c->first = NONE;
    receive(c);
    accept_next();
}

int main(int argc, char** argv) {
    long port = 0, buffer_size = 16384, buffers = DEFAULT_BUFFERS;
    const struct option options[] = {{"--port", NUMBER, &port},
                                     {"--size", NUMBER, &buffer_size},
                                     {"--buffers", NUMBER, &buffers},
                                     {"--direct", SWITCH, &direct}};
    parse_options(argc, argv, options, 4);
    require_option(
        buffer_size > 0 && buffers > 0 && buffers <= MAX_BUFFERS && (buffers & (buffers - 1)) == 0,
        "--size > 0, --buffers a power of two up to 32768");

    open_ring();
    open_pool(&pool, (int)buffers, (size_t)buffer_size);
    if (direct)
        check_result(io_uring_register_files_sparse(&ring, DIRECT_SLOTS),
                     "io_uring_register_files_sparse");
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
            else if (tag == &close_tag)
                check_result(cqe->res, "close");
            else if (tag == &cancel_tag)
                continue;
            else if (cqe->user_data & SEND_BIT)
                on_sent((struct connection*)(uintptr_t)(cqe->user_data - SEND_BIT), cqe->res);
            else
                on_received(tag, cqe->res, cqe->flags);
        }
        io_uring_cq_advance(&ring, seen);
        for (int free = pool.count - pool.out; free > 0 && oldest_starved != NULL; free--)
            feed((struct connection*)next_fed());
    }
}
