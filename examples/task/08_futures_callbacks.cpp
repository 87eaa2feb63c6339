// SPDX-License-Identifier: MIT
// The layer below coroutines: callbacks on the loop, and futures that somebody else completes.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <exception>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;

// How an API with callbacks becomes one with `co_await`.
weft::Coro<std::string> wait_for_the_post() {
    weft::EventLoop& loop = weft::get_running_loop();
    weft::Future<std::string> letter = loop.create_future<std::string>();
    loop.call_later(50ms, [letter]() mutable {
        if (!letter.done()) letter.set_result("a letter");
    });
    co_return co_await letter;
}

weft::Coro<void> use_callbacks() {
    weft::EventLoop& loop = weft::get_running_loop();

    // In the next turn, in this order; one that is cancelled never runs.
    loop.call_soon([] { fmt::print("first\n"); });
    weft::Handle never = loop.call_soon([] { fmt::print("never\n"); });
    loop.call_soon([] { fmt::print("second\n"); });
    never.cancel();
    co_await weft::yield();

    const std::string letter = co_await wait_for_the_post();
    fmt::print("the post brought {}\n", letter);

    // Any number of tasks may await a future, and callbacks are told through the loop.
    weft::Future<int> answer = loop.create_future<int>();
    answer.add_done_callback(
        [](const weft::Future<int>& done) { fmt::print("the callback sees {}\n", done.result()); });
    answer.set_result(42);
    const int seen = co_await answer;
    fmt::print("the task sees {}\n", seen);
    co_await weft::yield();  // the turn in which the callback runs

    weft::Future<int> broken = loop.create_future<int>();
    broken.set_exception(std::make_exception_ptr(std::runtime_error("no answer")));
    try {
        co_await broken;
    } catch (const std::runtime_error& error) {
        fmt::print("failed: {}\n", error.what());
    }
}

int main() { weft::run(use_callbacks()); }
