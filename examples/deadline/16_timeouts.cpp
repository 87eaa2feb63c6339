// SPDX-License-Identifier: MIT
// Deadlines: around one operation, around a coroutine, and around clean-up.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <utility>

using namespace std::chrono_literals;

// A server that answers "hello" at once, and anything else never.
weft::Coro<void> answer(weft::Stream client) {
    for (;;) {
        const std::string line = co_await client.read_line();
        if (line.empty()) co_return;
        if (line == "hello\n") co_await client.write("hello to you\n");
    }
}

weft::Coro<std::string> ask(weft::Stream& server, std::string question) {
    co_await server.write(question);
    co_return co_await server.read_line();
}

// Three questions share the time, however it is divided between them; each one that is answered
// gives the others ten milliseconds more.
weft::Coro<int> interview(weft::Timeout& timeout, weft::Stream& server) {
    int answers = 0;
    for (int question = 0; question < 3; ++question) {
        co_await ask(server, "hello\n");
        ++answers;
        timeout.reschedule(*timeout.when() + 10ms);
    }
    co_return answers;
}

weft::Coro<void> transaction() {
    std::exception_ptr failure;
    try {
        co_await weft::sleep(1h);
    } catch (...) {
        failure = std::current_exception();
    }
    // The deadline has passed. This runs all the same, for 100 ms at most.
    auto roll_back = []() -> weft::Coro<void> {
        co_await weft::sleep(5ms);
        fmt::print("rolled back\n");
    };
    const bool in_time = co_await weft::clean_up(100ms, roll_back);
    if (!in_time) fmt::print("the roll-back took too long\n");
    if (failure) std::rethrow_exception(failure);
}

weft::Coro<void> try_deadlines() {
    weft::Server listener = co_await weft::start_server(&answer, "127.0.0.1", 0);
    weft::Stream server = co_await weft::open_connection("127.0.0.1", listener.port());

    // What takes too long is cancelled, and then TimeoutError is thrown.
    const std::string text = co_await weft::wait_for(ask(server, "hello\n"), 1s);
    fmt::print("answer: {}", text);
    try {
        co_await weft::wait_for(ask(server, "what is the time?\n"), 10ms);
    } catch (const weft::TimeoutError&) {
        fmt::print("no answer\n");
    }

    // The same without an exception: an empty optional.
    char buffer[64];
    const std::optional<std::size_t> got = co_await weft::move_on_after(10ms, server.read(buffer));
    fmt::print("{}\n", got ? "something more" : "nothing more");

    const int answers = co_await weft::timeout(1s, &interview, std::ref(server));
    fmt::print("{} answers\n", answers);

    try {
        co_await weft::timeout(10ms, &transaction);
    } catch (const weft::TimeoutError&) {
        fmt::print("the transaction failed\n");
    }

    co_await server.close();
    listener.close();
    co_await listener.wait_closed();
}

int main() { weft::run(try_deadlines()); }
