// SPDX-License-Identifier: MIT
// The echo server on weft, with the options and the report of bench/baseline/echo_*.c.
// The backend is WEFT_BACKEND's. --busy-poll MICROSECONDS spins before it sleeps.
#include <weft/weft.hpp>

#include <signal.h>
#include <sys/signalfd.h>

#include <cstdio>
#include <vector>

#include "measure.hpp"

namespace {

long buffer_size = 4096;
long messages = 0;

weft::Coro<void> echo(weft::Stream stream) {
    std::vector<char> buffer(static_cast<std::size_t>(buffer_size));
    try {
        while (const std::size_t count = co_await stream.read(buffer)) {
            co_await stream.write(weft::ConstBuffer(buffer.data(), count));
            ++messages;
        }
    } catch (const std::system_error&) {
        // The client has gone, perhaps with a reset: the next one matters.
    }
}

/// SIGTERM, SIGINT, or the end of standard input.
weft::Coro<void> until_told_to_stop(int signals) {
    co_await weft::wait_readable(signals);
}

weft::Coro<int> serve(int argc, char** argv) {
    buffer_size = bench::number_option(argc, argv, "--size", 4096);
    const auto port = static_cast<std::uint16_t>(bench::number_option(argc, argv, "--port", 0));

    sigset_t stop;
    ::sigemptyset(&stop);
    ::sigaddset(&stop, SIGTERM);
    ::sigaddset(&stop, SIGINT);
    ::sigprocmask(SIG_BLOCK, &stop, nullptr);
    const weft::Fd signals(::signalfd(-1, &stop, SFD_CLOEXEC));

    weft::Server server = co_await weft::start_server(echo, "127.0.0.1", port);
    std::printf("listening %u\n", unsigned{server.port()});
    std::fflush(stdout);
    weft::EventLoop& loop = weft::get_running_loop();
    const std::int64_t began_us = bench::cpu_us();
    const std::uint64_t began_entries = loop.kernel_entries();

    co_await until_told_to_stop(signals.get());
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
