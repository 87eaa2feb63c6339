// SPDX-License-Identifier: MIT
// A TCP server that sends back what it gets, and two clients of it, in one program on one thread.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <cstddef>
#include <string>

// The server runs this as a task for each connection. The connection is closed when it returns.
weft::Coro<void> echo(weft::Stream client) {
    char buffer[4096];
    for (;;) {
        const std::size_t count = co_await client.read(buffer);
        if (count == 0) co_return;  // the client has closed its end
        co_await client.write(weft::ConstBuffer(buffer, count));
    }
}

weft::Coro<void> talk(weft::Address server, std::string words) {
    weft::Stream stream = co_await weft::open_connection(server);
    co_await stream.write(words);
    const std::string answer = co_await stream.read_exactly(words.size());
    fmt::print("'{}' came back as '{}'\n", words, answer);
}

weft::Coro<void> serve_and_talk() {
    // Port 0: the kernel finds a free one.
    weft::Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    const auto first = weft::create_task(talk(server.address(), "hello"));
    const auto second = weft::create_task(talk(server.address(), "is anybody there?"));
    co_await first;
    co_await second;

    server.close();                 // takes no more connections,
    co_await server.wait_closed();  // and those that are there have ended
}

int main() { weft::run(serve_and_talk()); }
