// SPDX-License-Identifier: MIT
// A generator that awaits: the lines of a connection, numbered, one at a time.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <string>
#include <utility>

using namespace std::chrono_literals;

weft::Coro<void> send_poem(weft::Stream client) {
    for (const char* line : {"a thread\n", "goes over\n", "\n", "and under\n", "the end\n"}) {
        co_await client.write(line);
        co_await weft::sleep(2ms);
    }
}

// The lines that are not empty. Each is read when it is asked for, and none before.
weft::AsyncGenerator<std::string> lines_of(weft::Stream& stream) {
    for (;;) {
        std::string line = co_await stream.read_line();
        if (line.empty()) co_return;
        line.pop_back();
        if (!line.empty()) co_yield std::move(line);
    }
}

// Generators may be made of generators. A reference costs no copy: `next` gives a pointer.
weft::AsyncGenerator<const std::string&> numbered(weft::AsyncGenerator<std::string> lines) {
    int number = 0;
    std::string text;
    while (auto line = co_await lines.next()) {
        text = fmt::format("{} {}", ++number, *line);
        co_yield text;
    }
}

// Its end awaits: whoever stops early says so with `aclose`, or uses `async_with`.
weft::AsyncGenerator<int> subscription() {
    bool closed = false;
    try {
        for (int message = 1;; ++message) {
            co_await weft::sleep(1ms);
            co_yield message;
        }
    } catch (const weft::GeneratorExit&) {
        closed = true;
    }
    co_await weft::sleep(1ms);
    if (closed) fmt::print("unsubscribed\n");
}

weft::Coro<weft::AsyncGenerator<int>> subscribe() {
    co_await weft::sleep(1ms);
    co_return subscription();
}

weft::Coro<int> wait_for_number_three(weft::AsyncGenerator<int>& messages) {
    while (auto message = co_await messages.next()) {
        if (*message == 3) co_return *message;
    }
    co_return 0;
}

weft::Coro<void> generate() {
    weft::Server server = co_await weft::start_server(&send_poem, "127.0.0.1", 0);
    weft::Stream stream = co_await weft::open_connection("127.0.0.1", server.port());

    weft::AsyncGenerator<const std::string&> poem = numbered(lines_of(stream));
    while (const std::string* line = co_await poem.next()) fmt::print("{}\n", *line);

    const int found = co_await weft::async_with(subscribe(), &wait_for_number_three);
    fmt::print("found {}\n", found);

    server.close();
    co_await server.wait_closed();
}

int main() { weft::run(generate()); }
