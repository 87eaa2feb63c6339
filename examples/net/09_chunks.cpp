// SPDX-License-Identifier: MIT
// An echo server that reads in chunks: it needs no buffers of its own, and a thousand connections
// that say nothing hold no memory to receive into.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <cstddef>
#include <string>

weft::Coro<void> echo(weft::Stream client) {
    for (;;) {
        // The bytes are in a buffer of the loop's, which has it back when the chunk goes.
        const weft::Chunk chunk = co_await client.read_chunk();
        if (chunk.empty()) co_return;  // the client has closed its end
        co_await client.write(chunk);
    }
}

weft::Coro<void> serve_and_talk() {
    weft::Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    weft::Stream stream = co_await weft::open_connection(server.address());
    const std::string sent(100'000, 'x');
    auto sending = weft::create_task([&]() -> weft::Coro<void> {
        co_await stream.write(sent);
        co_await stream.write_eof();
    });
    std::size_t bytes = 0;
    std::size_t chunks = 0;
    for (;;) {
        const weft::Chunk chunk = co_await stream.read_chunk();
        if (chunk.empty()) break;
        // Other reads work beside it: read_line, read_exactly, read.
        bytes += chunk.size();
        ++chunks;
    }
    co_await sending;
    fmt::print("{} bytes came back, {}\n", bytes,
               chunks > 1 ? "in several chunks" : "in one chunk");
    server.close();
    co_await server.wait_closed();
}

int main() { weft::run(serve_and_talk()); }
