// SPDX-License-Identifier: MIT
// What connections cost: memory of those that are idle, and what is left of those that are gone.
// The backend is WEFT_BACKEND's.
//   connections --idle N [--read HOW]
//       Clients in a process of their own connect, say a line each, and fall silent. Prints what
//       each costs the server's process. HOW its handler waits: read_chunk, read or read_line.
//   connections --gone N
//       Connects, accepts and closes, 50 at a time. Prints what each takes, and how much the
//       process has grown between the first tenth and the end.
#include <weft/weft.hpp>

#include <malloc.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "measure.hpp"

namespace {

using namespace std::chrono_literals;
using weft::Coro;
using weft::Server;
using weft::Stream;

/// What this process alone keeps in memory.
long private_bytes() {
    std::FILE* const file = std::fopen("/proc/self/smaps_rollup", "r");
    if (!file) return 0;
    char line[256];
    long bytes = 0;
    while (std::fgets(line, sizeof line, file)) {
        long kib = 0;
        if (std::sscanf(line, "Private_Dirty: %ld kB", &kib) == 1) bytes = kib * 1024;
    }
    std::fclose(file);
    return bytes;
}

// --- idle ---

Coro<void> echo_chunks(Stream client) {
    for (;;) {
        const weft::Chunk chunk = co_await client.read_chunk();
        if (chunk.empty()) co_return;
        co_await client.write(chunk);
    }
}
Coro<void> echo_bytes(Stream client) {
    for (;;) {
        char buffer[64];
        const std::size_t count = co_await client.read(buffer);
        if (count == 0) co_return;
        co_await client.write(weft::ConstBuffer(buffer, count));
    }
}
Coro<void> echo_lines(Stream client) {
    for (;;) {
        const std::string line = co_await client.read_line();
        if (line.empty()) co_return;
        co_await client.write(line);
    }
}

void require(bool holds, const char* what) {
    if (holds) return;
    std::perror(what);
    std::exit(1);
}

/// In a process of its own: connects, has a line come back, and reports it; again for each number
/// that it is told.
[[noreturn]] void be_clients(int orders, int reports) {
    std::vector<int> clients;
    sockaddr_storage address{};
    socklen_t size = 0;
    require(::read(orders, &address, sizeof address) == sizeof address, "read");
    size = address.ss_family == AF_INET ? sizeof(sockaddr_in) : sizeof address;
    long wanted = 0;
    while (::read(orders, &wanted, sizeof wanted) == sizeof wanted) {
        while (static_cast<long>(clients.size()) < wanted) {
            const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            require(client >= 0, "socket");
            require(::connect(client, reinterpret_cast<sockaddr*>(&address), size) == 0, "connect");
            char answer[8];
            require(::send(client, "hello\n", 6, 0) == 6, "send");
            require(::recv(client, answer, 6, MSG_WAITALL) == 6, "recv");
            clients.push_back(client);
        }
        require(::write(reports, "x", 1) == 1, "write");
    }
    std::_Exit(0);
}

using Handler = Coro<void> (*)(Stream);

Coro<void> idle(Handler handler, long count, int orders, int reports) {
    Server server = co_await weft::start_server(handler, "127.0.0.1", 0);
    sockaddr_storage address{};
    std::memcpy(&address, server.address().data(), server.address().size());
    require(::write(orders, &address, sizeof address) == sizeof address, "write");
    const auto have = [&](long wanted) -> Coro<long> {
        require(::write(orders, &wanted, sizeof wanted) == sizeof wanted, "write");
        char done;
        co_await weft::io::read(reports, weft::MutableBuffer(&done, 1));
        co_await weft::sleep(50ms);
        co_return private_bytes();
    };
    // The first hundred bring what is there once, and sizes that grow by doubling are past their
    // small beginnings.
    const long few = count / 10;
    const long before = co_await have(few);
    const long after = co_await have(count);
    std::printf("idle=%ld bytes_each=%.0f\n", count,
                static_cast<double>(after - before) / static_cast<double>(count - few));
    server.close();
    server.abort_clients();
}

void measure_idle(Handler handler, long count) {
    int orders[2];
    int reports[2];
    require(::pipe2(orders, O_CLOEXEC) == 0 && ::pipe2(reports, O_CLOEXEC) == 0, "pipe2");
    const pid_t child = ::fork();
    if (child == 0) {
        ::close(orders[1]);
        be_clients(orders[0], reports[1]);
    }
    weft::RunOptions options;
    options.exception_handler = [](const weft::ExceptionContext&) {};
    weft::run(idle(handler, count, orders[1], reports[0]), options);
    ::close(orders[1]);
    ::waitpid(child, nullptr, 0);
    for (const int end : {orders[0], reports[0], reports[1]}) ::close(end);
}

// --- gone ---

Coro<void> until_closed(Stream client) {
    char byte;
    co_await client.read(weft::MutableBuffer(&byte, 1));
}

Coro<void> come_and_go(weft::Address to, long count) {
    for (; count > 0; --count) {
        Stream stream = co_await weft::open_connection(to);
        // Both ends are here: without it every port of the machine would soon be in TIME_WAIT.
        const linger at_once{1, 0};
        ::setsockopt(stream.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
}

Coro<void> come_and_go_together(weft::Address to, long count) {
    constexpr long together = 50;
    auto body = [&](weft::TaskGroup& group) -> Coro<void> {
        for (long one = 0; one < together; ++one) {
            group.create_task(come_and_go(to, count / together));
        }
        co_return;
    };
    co_await weft::task_group(body);
}

Coro<void> gone(long count) {
    Server server = co_await weft::start_server(&until_closed, "127.0.0.1", 0);
    co_await come_and_go_together(server.address(), count / 10);
    while (server.connections() > 0) co_await weft::sleep(1ms);
    const long before = private_bytes();
    const std::size_t heap = ::mallinfo2().uordblks;
    const auto began = std::chrono::steady_clock::now();
    const std::int64_t cpu = bench::cpu_us();
    co_await come_and_go_together(server.address(), count - count / 10);
    while (server.connections() > 0) co_await weft::sleep(1ms);
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - began;
    const auto each = static_cast<double>(count - count / 10);
    std::printf("gone=%ld us_each=%.1f cpu_us_each=%.1f growth_bytes=%ld heap_bytes=%ld\n", count,
                took.count() / each, static_cast<double>(bench::cpu_us() - cpu) / each,
                private_bytes() - before,
                static_cast<long>(::mallinfo2().uordblks) - static_cast<long>(heap));
    co_await server.shutdown(1s);
}

}  // namespace

int main(int argc, char** argv) {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    if (long count = bench::number_option(argc, argv, "--idle", 0); count > 0) {
        const long most = static_cast<long>(limit.rlim_cur) - 100;
        if (count > most) count = most;
        const std::string how{bench::option(argc, argv, "--read", "read_chunk")};
        if (how == "read_chunk") measure_idle(&echo_chunks, count);
        if (how == "read") measure_idle(&echo_bytes, count);
        if (how == "read_line") measure_idle(&echo_lines, count);
    }
    if (const long count = bench::number_option(argc, argv, "--gone", 0); count > 0) {
        weft::RunOptions options;
        options.exception_handler = [](const weft::ExceptionContext&) {};
        weft::run(gone(count), options);
    }
}
