// SPDX-License-Identifier: MIT
// Cancelling a task: it ends where it waits, by an exception, and cleans up on the way out.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <exception>

using namespace std::chrono_literals;

struct Workshop {
    Workshop() { fmt::print("the lights go on\n"); }
    ~Workshop() { fmt::print("the lights go off\n"); }
};

weft::Coro<int> work_for_hours() {
    const Workshop workshop;  // destructors clean up what needs no waiting
    std::exception_ptr stopped;
    try {
        co_await weft::sleep(3h);
    } catch (const weft::CancelledError& error) {
        // Not a std::exception, so a handler of ordinary errors does not catch it by accident.
        fmt::print("asked to stop: {}\n", error.what());
        stopped = std::current_exception();
    }
    if (stopped) {
        // Clean-up that has to wait. It stands here because C++ allows no co_await in a handler.
        co_await weft::sleep(50ms);
        fmt::print("the tools are put away\n");
        std::rethrow_exception(stopped);
    }
    co_return 42;
}

weft::Coro<void> supervise() {
    weft::Task<int> work = weft::create_task(work_for_hours());
    co_await weft::sleep(50ms);
    work.cancel("it is late");  // only asks: the task may need a while
    co_await work.wait();       // until it has ended, however it did
    fmt::print("cancelled: {}\n", work.cancelled());

    // Awaiting a cancelled task throws.
    try {
        co_await work;
    } catch (const weft::CancelledError&) {
        fmt::print("no result\n");
    }
}

int main() { weft::run(supervise()); }
