// The quiet form on epoll, level-triggered: both ends of every pair in one thread and one event
// loop. The client end sends a message, the server end echoes what it reads, the client reads it
// whole and sends the next. Each end has a buffer of its own, as the coroutine that it stands for
// would.
#include "pairs.h"

struct end {
    int fd;
    bool is_client;
    bool writable_armed;
    size_t sent,
        to_send;      // Of what `buffer` holds; an end does not read while something is unsent.
    size_t received;  // Client: of the answer.
    long number;      // Client: of the message.
    char* buffer;
};

static int poller;

static void watch(int operation, struct end* e, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = e};
    syscalls++;
    check(epoll_ctl(poller, operation, e->fd, &event), "epoll_ctl");
    e->writable_armed = (events & EPOLLOUT) != 0;
}

static void send_rest(struct end* e) {
    syscalls++;
    ssize_t sent = send(e->fd, e->buffer + e->sent, e->to_send - e->sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) die_error("send", errno);
    if (sent > 0) e->sent += (size_t)sent;
    bool rest = e->sent < e->to_send;
    if (rest != e->writable_armed) watch(EPOLL_CTL_MOD, e, rest ? EPOLLOUT : EPOLLIN);
}

static void send_message(struct end* e) {
    if (!may_start()) return;
    e->number = started;
    stamp(e->buffer, e->number);
    e->sent = e->received = 0;
    e->to_send = (size_t)size;
    send_rest(e);
}

// Returns true when the last echo is home.
static bool on_readable(struct end* e) {
    syscalls++;
    ssize_t length = recv(e->fd, e->buffer + e->received, (size_t)size - e->received, 0);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    check((int)length, "recv");
    if (length == 0) die_error("recv", ECONNRESET);
    if (!e->is_client) {
        e->sent = 0;
        e->to_send = (size_t)length;
        send_rest(e);
        return false;
    }
    e->received += (size_t)length;
    if (e->received < (size_t)size) return false;
    check_stamp(e->buffer, (size_t)size, e->number);
    if (finish_echo()) return true;
    send_message(e);
    return false;
}

int main(int argc, char** argv) {
    const struct option options[] = {{"--pairs", NUMBER, &pairs},
                                     {"--size", NUMBER, &size},
                                     {"--echoes", NUMBER, &echoes},
                                     {"--transport", TEXT, &transport}};
    parse_options(argc, argv, options, 4);
    require_option(pairs > 0 && size >= 8 && echoes > 0 && is_transport_known(),
                   "--pairs, --echoes > 0, --size >= 8, --transport tcp|unix");

    poller = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    struct end* ends = check_memory(calloc((size_t)(2 * pairs), sizeof *ends));
    for (long i = 0; i < pairs; i++) {
        int fds[2];
        open_pair(fds, O_NONBLOCK);
        for (int k = 0; k < 2; k++) {
            struct end* e = &ends[2 * i + k];
            e->fd = fds[k];
            e->is_client = k == 0;
            e->buffer = check_memory(calloc(1, (size_t)size));
            watch(EPOLL_CTL_ADD, e, EPOLLIN);
        }
    }
    for (long i = 0; i < pairs; i++) send_message(&ends[2 * i]);
    for (;;) {
        struct epoll_event events[256];
        syscalls++;
        int ready = epoll_wait(poller, events, 256, -1);
        if (ready < 0 && errno == EINTR) continue;
        check(ready, "epoll_wait");
        for (int i = 0; i < ready; i++) {
            struct end* e = events[i].data.ptr;
            if (e->writable_armed)
                send_rest(e);
            else if (on_readable(e))
                return 0;
        }
    }
}
