// UDP in the quiet form on io_uring: one server socket and N connected clients in one thread and on
// one ring, a datagram outstanding for each client; a receive and a send at a time on each socket,
// one kernel entry a turn.
#include "pairs.h"
#include "ring.h"

enum { MOST = 65536 };
enum { SEND_BIT = 1 };

struct end {
    int fd;
    long number;
    char* buffer;
    struct iovec part;
    struct sockaddr_in from;
    struct msghdr message;
};

static void receive(struct end* e, bool is_server) {
    struct io_uring_sqe* sqe = new_operation();
    if (is_server) {
        e->part = (struct iovec){e->buffer, MOST};
        e->message = (struct msghdr){.msg_name = &e->from,
                                     .msg_namelen = sizeof e->from,
                                     .msg_iov = &e->part,
                                     .msg_iovlen = 1};
        io_uring_prep_recvmsg(sqe, e->fd, &e->message, 0);
    } else {
        io_uring_prep_recv(sqe, e->fd, e->buffer, (size_t)size, 0);
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    }
    io_uring_sqe_set_data(sqe, e);
}
static void answer(struct end* e, int length) {
    struct io_uring_sqe* sqe = new_operation();
    e->part.iov_len = (size_t)length;
    io_uring_prep_sendmsg(sqe, e->fd, &e->message, 0);
    io_uring_sqe_set_data64(sqe, (uintptr_t)e | SEND_BIT);
}
static void ask(struct end* e) {
    if (!may_start()) return;
    e->number = started;
    stamp(e->buffer, started);
    struct io_uring_sqe* sqe = new_operation();
    io_uring_prep_send(sqe, e->fd, e->buffer, (size_t)size, 0);
    io_uring_sqe_set_data64(sqe, (uintptr_t)e | SEND_BIT);
}

int main(int argc, char** argv) {
    const struct option options[] = {
        {"--pairs", NUMBER, &pairs}, {"--size", NUMBER, &size}, {"--echoes", NUMBER, &echoes}};
    parse_options(argc, argv, options, 3);
    require_option(pairs > 0 && size >= 8 && size <= MOST && echoes > 0,
                   "--pairs, --echoes > 0, --size 8..65536");
    open_ring();
    struct end* ends = check_memory(calloc((size_t)pairs + 1, sizeof *ends));
    struct end* server = &ends[pairs];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    for (long i = pairs; i >= 0; i--) {
        ends[i].fd = check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
        ends[i].buffer = check_memory(calloc(1, i == pairs ? MOST : (size_t)size));
        if (i == pairs) {
            check(bind(server->fd, (struct sockaddr*)&address, length), "bind");
            check(getsockname(server->fd, (struct sockaddr*)&address, &length), "getsockname");
        } else {
            check(connect(ends[i].fd, (struct sockaddr*)&address, length), "connect");
        }
    }
    receive(server, true);
    for (long i = 0; i < pairs; i++) ask(&ends[i]);
    for (;;) {
        submit_and_wait();
        struct io_uring_cqe* cqe;
        unsigned head, seen = 0;
        io_uring_for_each_cqe(&ring, head, cqe) {
            struct end* e = (struct end*)(uintptr_t)(cqe->user_data & ~(uint64_t)SEND_BIT);
            int got = check_result(cqe->res, "recv or send");
            seen++;
            if (cqe->user_data & SEND_BIT) {
                receive(e, e == server);
            } else if (e == server) {
                answer(e, got);
            } else {
                check_stamp(e->buffer, (size_t)got, e->number);
                if (finish_echo()) return 0;
                ask(e);
            }
        }
        io_uring_cq_advance(&ring, seen);
    }
}
