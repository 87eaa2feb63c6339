// SPDX-License-Identifier: MIT
// A TCP proxy: what a client says goes to a server, and back, until both have said all they have.
// `56_tcp_proxy PORT HOST PORT` stands between; without arguments it shows itself at work.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

using Target = std::pair<std::string, std::uint16_t>;

weft::Coro<void> forward(const Target& target, weft::Stream client) {
    weft::Stream server = co_await weft::open_connection(target.first, target.second);
    try {
        // The end of one direction is handed on, and the other goes on; an error stops both.
        const weft::CopiedBytes copied = co_await weft::copy_bidirectional(client, server);
        fmt::print("{} bytes there, {} back\n", copied.there, copied.back);
    } catch (...) {
        // Streams that just go would tell an end: the other side must not take a part for the
        // whole.
        client.abort();
        server.abort();
        throw;
    }
}

/// Answers when it has heard the whole question.
weft::Coro<void> shout(weft::Stream client) {
    std::string text = co_await client.read_all(1000);
    for (char& each : text) each = static_cast<char>(std::toupper(each));
    co_await client.write(text);
}

weft::Coro<void> show() {
    weft::Server server = co_await weft::start_server(&shout, "127.0.0.1", 0);
    const Target target("127.0.0.1", server.port());
    weft::Server proxy = co_await weft::start_server(
        [&target](weft::Stream client) { return forward(target, std::move(client)); }, "127.0.0.1",
        0);

    weft::Stream client = co_await weft::open_connection("127.0.0.1", proxy.port());
    co_await client.write("is anybody there?");
    co_await client.write_eof();
    const std::string answer = co_await client.read_all(1000);
    fmt::print("{}\n", answer);

    proxy.close();
    co_await proxy.wait_closed();
    server.close();
    co_await server.wait_closed();
}

weft::Coro<void> serve(std::uint16_t port, Target target) {
    weft::Server proxy = co_await weft::start_server(
        [&target](weft::Stream client) { return forward(target, std::move(client)); }, "127.0.0.1",
        port);
    co_await proxy.serve_forever();
}

int main(int count, char** arguments) {
    if (count < 4) {
        weft::run(show());
        return 0;
    }
    const auto port = [&](int index) {
        return static_cast<std::uint16_t>(std::atoi(arguments[index]));
    };
    weft::run(serve(port(1), Target(arguments[2], port(3))));
}
