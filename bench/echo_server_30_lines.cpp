// SPDX-License-Identifier: MIT
// The thirty-line echo server whose compile time and size stand in docs/performance.md.
#include <weft/weft.hpp>

#include <array>
#include <cstdio>

weft::Coro<void> echo(weft::Stream stream) {
    std::array<char, 4096> buffer;
    while (const std::size_t count = co_await stream.read(buffer)) {
        co_await stream.write(weft::ConstBuffer(buffer.data(), count));
    }
    co_await stream.close();
}

weft::Coro<int> serve(std::uint16_t port) {
    weft::Server server = co_await weft::start_server(echo, "127.0.0.1", port);
    std::printf("listening on port %u\n", unsigned{server.port()});
    co_await server.serve_forever();
    co_return 0;
}

int main(int argc, char** argv) {
    const int port = argc > 1 ? std::atoi(argv[1]) : 0;
    try {
        return weft::run(serve(static_cast<std::uint16_t>(port)));
    } catch (const std::system_error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
