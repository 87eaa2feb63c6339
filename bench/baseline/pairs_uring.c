// The quiet form on io_uring: both ends of every pair in one thread and on one ring. The client end
// sends a message, the server end echoes what it receives, the client receives it whole and sends
// the next. One kernel entry per turn.
//   --mode oneshot    one operation at a time on each end, a buffer of its own, as the coroutine
//   that it stands for would have
//   --mode multishot  one standing receive per end, into a small pool of buffers
//   --direct          sockets in the ring's own descriptor table
#include "pairs.h"
#include "ring.h"

// A completion carries the end's address; the lowest bit says "send".
enum { NONE = -1, SEND_BIT = 1 };

struct end {
    struct starved starved;  // First, so that its address is the end's.
    int fd;
    bool is_client;
    size_t sent, to_send;
    size_t received;  // Client: of the answer.
    long number;      // Client: of the message.
    char* buffer;     // Client: the message; one-shot: also where the end receives.
    int first, last;  // Multishot server: buffers to be echoed, in order; the first is in flight.
};

static bool multishot, direct;
static struct pool pool;
static struct {
    size_t length;
    int next;
} filled[MAX_BUFFERS];

static void receive(struct end* e) {
    struct io_uring_sqe* sqe = new_operation();
    if (multishot) {
        io_uring_prep_recv_multishot(sqe, e->fd, NULL, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = POOL_GROUP;
    } else {
        io_uring_prep_recv(sqe, e->fd, e->buffer + e->received, (size_t)size - e->received, 0);
    }
    // What is waited for has yet to be sent: an attempt now would fail.
    sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    sqe->flags |= (unsigned char)(direct ? IOSQE_FIXED_FILE : 0);
    io_uring_sqe_set_data(sqe, e);
}

static void send_rest(struct end* e) {
    const char* data = e->is_client || !multishot ? e->buffer : pool_buffer(&pool, e->first);
    struct io_uring_sqe* sqe = new_operation();
    io_uring_prep_send(sqe, e->fd, data + e->sent, e->to_send - e->sent, MSG_NOSIGNAL);
    sqe->flags |= (unsigned char)(direct ? IOSQE_FIXED_FILE : 0);
    io_uring_sqe_set_data64(sqe, (uintptr_t)e | SEND_BIT);
}

static void start_send(struct end* e, size_t length) {
    e->sent = 0;
    e->to_send = length;
    send_rest(e);
}

static void send_message(struct end* e) {
    if (!may_start()) return;
    e->number = started;
    stamp(e->buffer, e->number);
    e->received = 0;
    start_send(e, (size_t)size);
}

static void on_sent(struct end* e, int result) {
    if (result == -EINTR || result == -EAGAIN) return send_rest(e);
    e->sent += (size_t)check_result(result, "send");
    if (e->sent < e->to_send) return send_rest(e);
    if (!multishot) return receive(e);
    if (e->is_client) return;
    int id = e->first;
    e->first = filled[id].next;
    pool_return(&pool, id);
    if (e->first != NONE) start_send(e, filled[e->first].length);
}

// Returns true when the last echo is home.
static bool client_got(struct end* e, const char* data, size_t length) {
    if (e->received == 0) check_stamp(data, length, e->number);
    e->received += length;
    if (e->received < (size_t)size) {
        if (!multishot) receive(e);
        return false;
    }
    if (finish_echo()) return true;
    send_message(e);
    return false;
}

static void server_got(struct end* e, int id, size_t length) {
    if (!multishot) return start_send(e, length);
    filled[id].length = length;
    filled[id].next = NONE;
    if (e->first != NONE) {
        filled[e->last].next = id;
    } else {
        e->first = id;
        start_send(e, length);
    }
    e->last = id;
}

static bool on_received(struct end* e, int result, unsigned flags) {
    if (result == -EINTR || result == -EAGAIN) return receive(e), false;
    if (multishot && result == -ENOBUFS) return starve(&e->starved), false;
    if (result == 0) die_error("recv", ECONNRESET);
    size_t length = (size_t)check_result(result, "recv");
    int id = multishot ? pool_take(&pool, flags) : NONE;
    bool last = false;
    if (e->is_client) {
        last = client_got(e, multishot ? pool_buffer(&pool, id) : e->buffer + e->received, length);
        if (multishot) pool_return(&pool, id);
    } else {
        server_got(e, id, length);
    }
    if (multishot && !(flags & IORING_CQE_F_MORE)) receive(e);
    return last;
}

int main(int argc, char** argv) {
    const char* mode = "oneshot";
    long buffers = 0;
    const struct option options[] = {
        {"--pairs", NUMBER, &pairs},       {"--size", NUMBER, &size}, {"--echoes", NUMBER, &echoes},
        {"--transport", TEXT, &transport}, {"--mode", TEXT, &mode},   {"--direct", SWITCH, &direct},
        {"--buffers", NUMBER, &buffers}};
    parse_options(argc, argv, options, 7);
    multishot = strcmp(mode, "multishot") == 0;
    require_option(
        pairs > 0 && size >= 8 && echoes > 0 && is_transport_known() &&
            (multishot || strcmp(mode, "oneshot") == 0),
        "--pairs, --echoes > 0, --size >= 8, --transport tcp|unix, --mode oneshot|multishot");

    open_ring();
    if (buffers == 0)  // The default: at most 256 KiB in all: at 16 KiB a pool of 128 costs 20 %.
        for (buffers = DEFAULT_BUFFERS; buffers > 8 && buffers * size > 256 * 1024;) buffers /= 2;
    require_option(buffers > 0 && buffers <= MAX_BUFFERS && (buffers & (buffers - 1)) == 0,
                   "--buffers a power of two up to 32768");
    // Server ends that wait for room in a socket keep their buffers; if clients then found the pool
    // empty, all would wait for ever.
    require_option(!multishot || size <= 65536,
                   "--size <= 65536 with --mode multishot: a message fits the socket's buffer");
    if (multishot) open_pool(&pool, (int)buffers, (size_t)size);
    struct end* ends = check_memory(calloc((size_t)(2 * pairs), sizeof *ends));
    int* fds = check_memory(calloc((size_t)(2 * pairs), sizeof *fds));
    for (long i = 0; i < pairs; i++)
        open_pair(&fds[2 * i], 0);  // Blocking: see echo_uring_oneshot.c.
    if (direct)
        check_result(io_uring_register_files(&ring, fds, (unsigned)(2 * pairs)),
                     "io_uring_register_files");
    for (int i = 0; i < 2 * pairs; i++) {
        ends[i] = (struct end){.fd = direct ? i : fds[i], .is_client = i % 2 == 0, .first = NONE};
        ends[i].buffer = check_memory(calloc(1, (size_t)size));
        if (multishot || !ends[i].is_client) receive(&ends[i]);
    }
    for (long i = 0; i < pairs; i++) send_message(&ends[2 * i]);
    for (;;) {
        submit_and_wait();
        struct io_uring_cqe* cqe;
        unsigned head, seen = 0;
        io_uring_for_each_cqe(&ring, head, cqe) {
            struct end* e = (struct end*)(uintptr_t)(cqe->user_data & ~(uint64_t)SEND_BIT);
            seen++;
            if (cqe->user_data & SEND_BIT)
                on_sent(e, cqe->res);
            else if (on_received(e, cqe->res, cqe->flags))
                return 0;
        }
        io_uring_cq_advance(&ring, seen);
        for (int free = pool.count - pool.out; free > 0 && oldest_starved != NULL; free--)
            receive((struct end*)next_fed());
    }
}
