// SPDX-License-Identifier: MIT
// A coroutine, run from main: it says hello, sleeps, and says goodbye.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <string>

using namespace std::chrono_literals;

// A function that returns a Coro is a coroutine. Calling it runs nothing yet: what it returns is
// awaited, or given to `run` or `create_task`.
weft::Coro<std::string> ask_for_a_name() {
    co_await weft::sleep(100ms);  // the thread is free for others meanwhile
    co_return "world";
}

weft::Coro<int> hello() {
    const std::string name = co_await ask_for_a_name();
    fmt::print("Hello, {}!\n", name);
    co_await weft::sleep(100ms);
    fmt::print("Goodbye, {}!\n", name);
    co_return 0;
}

int main() { return weft::run(hello()); }
