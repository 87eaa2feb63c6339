// SPDX-License-Identifier: MIT
// What a proxy costs: bytes that come on one socket and go out on another, the other ends in
// processes of their own. The backend is WEFT_BACKEND's.
//   copies --transport tcp|unix --how copy|chunks --mib N       in bulk: seconds of the processor
//   for a GiB copies --transport tcp|unix --how copy|chunks --messages N  one of 64 bytes at a
//   time: CPU us each
// `copy` is weft::copy, `chunks` a loop of read_chunk and write.
#include <weft/weft.hpp>

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "measure.hpp"

namespace {

struct Pair {
    int near = -1;
    int far = -1;
};

int check(int result, const char* call) {
    if (result >= 0) return result;
    std::perror(call);
    std::exit(1);
}

Pair make_pair(bool is_unix) {
    int ends[2];
    if (is_unix) {
        check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
        return {ends[0], ends[1]};
    }
    const weft::Fd listener(check(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
    const weft::Address any = weft::Address::ip("127.0.0.1", 0);
    check(::bind(listener.get(), any.data(), any.size()), "bind");
    check(::listen(listener.get(), 1), "listen");
    const weft::Address address = weft::Address::of_socket(listener.get());
    ends[0] = check(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    check(::connect(ends[0], address.data(), address.size()), "connect");
    ends[1] = check(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC), "accept4");
    const int on = 1;
    for (const int end : ends) ::setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return {ends[0], ends[1]};
}

[[noreturn]] void send_bulk(int to, long bytes) {
    std::vector<char> buffer(65536, 'x');
    while (bytes > 0) {
        const ssize_t sent = ::send(to, buffer.data(), buffer.size(), MSG_NOSIGNAL);
        if (sent <= 0) ::_exit(1);
        bytes -= sent;
    }
    ::_exit(0);
}
[[noreturn]] void take_bulk(int from) {
    std::vector<char> buffer(262144);
    while (::recv(from, buffer.data(), buffer.size(), 0) > 0) {
    }
    ::_exit(0);
}
[[noreturn]] void exchange(int to, int from, long messages) {
    char message[64] = "message";
    for (; messages > 0; --messages) {
        if (::send(to, message, sizeof message, MSG_NOSIGNAL) != sizeof message) ::_exit(1);
        if (::recv(from, message, sizeof message, MSG_WAITALL) != sizeof message) ::_exit(1);
    }
    ::_exit(0);
}

weft::Coro<void> proxy(int in, int out, bool by_copy, long messages) {
    weft::Stream from{weft::Fd(in)};
    weft::Stream to{weft::Fd(out)};
    const std::int64_t began = bench::cpu_us();
    std::uint64_t bytes = 0;
    if (by_copy) {
        bytes = co_await weft::copy(from, to);
    } else {
        for (;;) {
            const weft::Chunk chunk = co_await from.read_chunk();
            if (chunk.empty()) break;
            co_await to.write(chunk);
            bytes += chunk.size();
        }
    }
    const auto cpu = static_cast<double>(bench::cpu_us() - began);
    if (messages > 0) {
        std::printf("cpu_us_each=%.3f\n", cpu / static_cast<double>(messages));
    } else {
        std::printf("cpu_s_per_gib=%.4f\n", cpu / 1e6 / (static_cast<double>(bytes) / (1 << 30)));
    }
}

}  // namespace

int main(int argc, char** argv) {
    const bool is_unix = bench::option(argc, argv, "--transport", "tcp") == "unix";
    const bool by_copy = bench::option(argc, argv, "--how", "copy") == "copy";
    const long messages = bench::number_option(argc, argv, "--messages", 0);
    const long bytes = bench::number_option(argc, argv, "--mib", 1024) << 20;
    const Pair in = make_pair(is_unix);
    const Pair out = make_pair(is_unix);
    if (::fork() == 0) {
        ::close(in.far);
        ::close(out.near);
        if (messages > 0) exchange(in.near, out.far, messages);
        ::close(out.far);
        send_bulk(in.near, bytes);
    }
    if (messages == 0 && ::fork() == 0) {
        for (const int end : {in.near, in.far, out.near}) ::close(end);
        take_bulk(out.far);
    }
    ::close(in.near);
    ::close(out.far);
    weft::run(proxy(in.far, out.near, by_copy, messages));
    while (::wait(nullptr) > 0) {
    }
}
