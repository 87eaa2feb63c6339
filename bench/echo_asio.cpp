// SPDX-License-Identifier: MIT
// The echo server on Asio (without Boost), coroutines on one thread, with the options and the
// report of bench/baseline/echo_*.c; it stops on SIGTERM.
#include <asio.hpp>

#include <cstdio>
#include <vector>

#include "measure.hpp"

namespace {

using asio::ip::tcp;

long buffer_size = 4096;
long messages = 0;

asio::awaitable<void> echo(tcp::socket socket) {
    std::vector<char> buffer(static_cast<std::size_t>(buffer_size));
    try {
        for (;;) {
            const std::size_t count =
                co_await socket.async_read_some(asio::buffer(buffer), asio::use_awaitable);
            co_await asio::async_write(socket, asio::buffer(buffer.data(), count),
                                       asio::use_awaitable);
            ++messages;
        }
    } catch (const std::system_error&) {
        // The client has gone.
    }
}

asio::awaitable<void> serve(tcp::acceptor& acceptor) {
    for (;;) {
        tcp::socket socket = co_await acceptor.async_accept(asio::use_awaitable);
        socket.set_option(tcp::no_delay(true));
        asio::co_spawn(acceptor.get_executor(), echo(std::move(socket)), asio::detached);
    }
}

}  // namespace

int main(int argc, char** argv) {
    buffer_size = bench::number_option(argc, argv, "--size", 4096);
    const auto port = static_cast<unsigned short>(bench::number_option(argc, argv, "--port", 0));
    asio::io_context context(1);
    tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), port});
    asio::co_spawn(context, serve(acceptor), asio::detached);
    asio::signal_set signals(context, SIGTERM, SIGINT);
    signals.async_wait([&](const std::error_code&, int) { context.stop(); });
    std::printf("listening %u\n", unsigned{acceptor.local_endpoint().port()});
    std::fflush(stdout);
    const std::int64_t began_us = bench::cpu_us();
    context.run();
    std::printf("cpu_us=%lld messages=%ld syscalls=0\n",
                static_cast<long long>(bench::cpu_us() - began_us), messages);
}
