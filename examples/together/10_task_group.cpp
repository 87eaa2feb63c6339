// SPDX-License-Identifier: MIT
// A task group: its children have ended when the block ends, and the first failure ends the others.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <stdexcept>

using namespace std::chrono_literals;

weft::Coro<void> load(int part, weft::Duration takes) {
    try {
        co_await weft::sleep(takes);
    } catch (const weft::CancelledError&) {
        fmt::print("part {} was cancelled\n", part);
        throw;
    }
    if (part == 2) throw std::runtime_error("part 2 is damaged");
    fmt::print("part {} is there\n", part);
}

weft::Coro<int> serve(weft::TaskStatus<int> status) {
    co_await weft::sleep(1ms);  // open the socket, say
    status.started(8080);
    co_await weft::sleep(10ms);
    co_return 0;
}

weft::Coro<void> load_all() {
    try {
        co_await weft::task_group([](weft::TaskGroup& group) -> weft::Coro<void> {
            group.create_task(load(1, 10ms));
            group.create_task(load(2, 20ms));
            group.create_task(load(3, 1h));
            co_return;  // the block waits for the children
        });
    } catch (const weft::ExceptionGroup& errors) {
        fmt::print("{}\n", errors.what());
    }

    // start() waits until the child says that it is ready.
    co_await weft::task_group([](weft::TaskGroup& group) -> weft::Coro<void> {
        const int port = co_await group.start<int>(serve);
        fmt::print("serving on port {}\n", port);
    });
}

int main() { weft::run(load_all()); }
