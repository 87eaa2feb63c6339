// UDP in the quiet form: one server socket and N connected clients in one thread and one epoll
// loop, a datagram outstanding for each client. The server takes what there is, up to 64 in a row.
#include "pairs.h"

enum { IN_A_ROW = 64, MOST = 65536 };

static char buffer[MOST];

static int udp_socket(void) {
    return check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket");
}
static void watch(int poller, int fd, long tag) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)tag};
    check(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}
static void serve(int server) {
    for (int i = 0; i < IN_A_ROW; i++) {
        struct sockaddr_in from;
        socklen_t length = sizeof from;
        syscalls++;
        ssize_t got = recvfrom(server, buffer, sizeof buffer, 0, (struct sockaddr*)&from, &length);
        if (got < 0 && errno == EAGAIN) return;
        check((int)got, "recvfrom");
        syscalls++;
        check((int)sendto(server, buffer, (size_t)got, 0, (struct sockaddr*)&from, length),
              "sendto");
    }
}
static void ask(int client, char* message, long* number) {
    if (!may_start()) return;
    *number = started;
    stamp(message, started);
    syscalls++;
    check((int)send(client, message, (size_t)size, 0), "send");
}

int main(int argc, char** argv) {
    const struct option options[] = {
        {"--pairs", NUMBER, &pairs}, {"--size", NUMBER, &size}, {"--echoes", NUMBER, &echoes}};
    parse_options(argc, argv, options, 3);
    require_option(pairs > 0 && size >= 8 && size <= MOST && echoes > 0,
                   "--pairs, --echoes > 0, --size 8..65536");
    int server = udp_socket();
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    check(bind(server, (struct sockaddr*)&address, length), "bind");
    check(getsockname(server, (struct sockaddr*)&address, &length), "getsockname");
    int poller = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    watch(poller, server, 0);
    int* clients = check_memory(calloc((size_t)pairs, sizeof *clients));
    long* numbers = check_memory(calloc((size_t)pairs, sizeof *numbers));
    char* messages_ = check_memory(calloc((size_t)pairs, (size_t)size));
    for (long i = 0; i < pairs; i++) {
        clients[i] = udp_socket();
        check(connect(clients[i], (struct sockaddr*)&address, length), "connect");
        watch(poller, clients[i], i + 1);
    }
    for (long i = 0; i < pairs; i++) ask(clients[i], messages_ + i * size, &numbers[i]);
    for (;;) {
        struct epoll_event events[256];
        syscalls++;
        int ready = check(epoll_wait(poller, events, 256, -1), "epoll_wait");
        for (int e = 0; e < ready; e++) {
            if (events[e].data.u64 == 0) {
                serve(server);
                continue;
            }
            long i = (long)events[e].data.u64 - 1;
            char* message = messages_ + i * size;
            syscalls++;
            ssize_t got = check((int)recv(clients[i], message, (size_t)size, 0), "recv");
            check_stamp(message, (size_t)got, numbers[i]);
            if (finish_echo()) return 0;
            ask(clients[i], message, &numbers[i]);
        }
    }
}
