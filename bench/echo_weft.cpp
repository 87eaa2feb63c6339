// SPDX-License-Identifier: MIT
// The echo server on weft, with the options and the report of bench/baseline/echo_*.c.
// The backend is WEFT_BACKEND's. --reads plain|chunks. --busy-poll MICROSECONDS spins before it
// sleeps.
#include <weft/weft.hpp>

#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <cstdio>
#include <utility>
#include <vector>

#include "measure.hpp"

namespace {

long buffer_size = 4096;
long messages = 0;
bool chunks = true;  // --reads plain: into the task's own buffer

weft::Coro<void> echo_chunks(weft::Stream stream) {
    for (;;) {
        const weft::Chunk chunk = co_await stream.read_chunk();
        if (chunk.empty()) co_return;
        co_await stream.write(chunk);
        ++messages;
    }
}

weft::Coro<void> echo_plain(weft::Stream stream) {
    std::vector<char> buffer(static_cast<std::size_t>(buffer_size));
    while (const std::size_t count = co_await stream.read(buffer)) {
        co_await stream.write(weft::ConstBuffer(buffer.data(), count));
        ++messages;
    }
}

weft::Coro<void> echo(weft::Stream stream) {
    try {
        weft::Coro<void> echoing =
            chunks ? echo_chunks(std::move(stream)) : echo_plain(std::move(stream));
        co_await std::move(echoing);
    } catch (const std::system_error&) {
        // The client has gone, perhaps with a reset: the next one matters.
    }
}

int check(int result, const char* call) {
    if (result < 0) throw std::system_error(errno, std::system_category(), call);
    return result;
}

/// Becomes readable on SIGTERM, SIGINT, or when stdin's other end goes away: an epoll set of the
/// two, as in the raw servers. A stdin that cannot be polled (/dev/null, a file) is left out.
struct StopDescriptor {
    StopDescriptor() {
        sigset_t stop;
        ::sigemptyset(&stop);
        ::sigaddset(&stop, SIGTERM);
        ::sigaddset(&stop, SIGINT);
        check(::sigprocmask(SIG_BLOCK, &stop, nullptr), "sigprocmask");
        signals = weft::Fd(check(::signalfd(-1, &stop, SFD_CLOEXEC), "signalfd"));
        set = weft::Fd(check(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
        epoll_event on_signal{.events = EPOLLIN, .data = {}};
        epoll_event on_hangup{.events = EPOLLRDHUP, .data = {}};
        check(::epoll_ctl(set.get(), EPOLL_CTL_ADD, signals.get(), &on_signal), "epoll_ctl");
        if (::epoll_ctl(set.get(), EPOLL_CTL_ADD, STDIN_FILENO, &on_hangup) < 0 && errno != EPERM &&
            errno != EBADF) {
            throw std::system_error(errno, std::system_category(), "epoll_ctl");
        }
    }
    weft::Fd signals, set;
};

weft::Coro<int> serve(int argc, char** argv) {
    chunks = bench::option(argc, argv, "--reads", "chunks") == "chunks";
    buffer_size = bench::number_option(argc, argv, "--size", 4096);
    const auto port = static_cast<std::uint16_t>(bench::number_option(argc, argv, "--port", 0));

    const StopDescriptor stop;
    weft::Server server = co_await weft::start_server(echo, "127.0.0.1", port);
    std::printf("listening %u\n", unsigned{server.port()});
    std::fflush(stdout);
    weft::EventLoop& loop = weft::get_running_loop();
    const std::int64_t began_us = bench::cpu_us();
    const std::uint64_t began_entries = loop.kernel_entries();

    co_await weft::wait_readable(stop.set.get());
    std::printf("cpu_us=%lld messages=%ld syscalls=%llu\n",
                static_cast<long long>(bench::cpu_us() - began_us), messages,
                static_cast<unsigned long long>(loop.kernel_entries() - began_entries));
    co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
    weft::RunOptions options;
    options.busy_poll =
        std::chrono::microseconds(bench::number_option(argc, argv, "--busy-poll", 0));
    try {
        return weft::run([&] { return serve(argc, argv); }, std::move(options));
    } catch (const std::system_error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 3;
    }
}
