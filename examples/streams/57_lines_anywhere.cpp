// SPDX-License-Identifier: MIT
// One handler for every kind of stream: it adds up numbers, a line each. `57_lines_anywhere tty`
// talks to whoever has started it; without arguments to itself, over TCP and in memory.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

weft::Coro<void> add_up(weft::Stream client) {
    long total = 0;
    auto lines = client.lines();
    while (const std::optional<std::string> line = co_await lines.next()) {
        total += std::strtol(line->c_str(), nullptr, 10);
        const std::string text = std::to_string(total);
        co_await client.write("= ", text, "\n");
    }
}

weft::Coro<void> ask(std::string_view where, weft::Stream server) {
    for (const char* const number : {"12\n", "30\n"}) {
        co_await server.write(number);
        const std::string answer = co_await server.read_line();
        fmt::print("{}: {}", where, answer);
    }
}

weft::Coro<void> show() {
    weft::Server server = co_await weft::start_server(&add_up, "127.0.0.1", 0);
    weft::Stream over_tcp = co_await weft::open_connection("127.0.0.1", server.port());
    co_await ask("TCP", std::move(over_tcp));
    server.close();
    co_await server.wait_closed();

    weft::StreamPair pair = weft::memory_stream();
    weft::Task<void> serving = weft::create_task(add_up(std::move(pair.far)));
    co_await ask("memory", std::move(pair.near));
    co_await serving;
}

int main(int count, char**) {
    if (count > 1) {
        weft::run([] { return add_up(weft::standard_streams()); });
    } else {
        weft::run(show());
    }
}
