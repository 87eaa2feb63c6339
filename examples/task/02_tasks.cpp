// SPDX-License-Identifier: MIT
// Tasks run at the same time: five of them wait for 100 ms each, and all is over after 100 ms.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <stdexcept>
#include <vector>

using namespace std::chrono_literals;

weft::Coro<int> square(int number) {
    if (number < 0) throw std::invalid_argument("negative");
    co_await weft::sleep(100ms);
    co_return number* number;
}

weft::Coro<void> run_tasks() {
    weft::EventLoop& loop = weft::get_running_loop();

    // One after another: each call is over before the next one begins.
    weft::TimePoint began = loop.time();
    int sum = 0;
    for (int number = 1; number <= 5; ++number) sum += co_await square(number);
    fmt::print("in turn:  {} after {} ms\n", sum, (loop.time() - began) / 1ms);

    // As tasks: all five have begun before the first result is asked for.
    began = loop.time();
    std::vector<weft::Task<int>> tasks;
    for (int number = 1; number <= 5; ++number) tasks.push_back(weft::create_task(square(number)));
    sum = 0;
    for (const weft::Task<int>& task : tasks) sum += co_await task;
    fmt::print("at once:  {} after {} ms\n", sum, (loop.time() - began) / 1ms);

    // What a task throws comes out where it is awaited.
    const weft::Task<int> failing = weft::create_task(square(-1));
    try {
        co_await failing;
    } catch (const std::invalid_argument& error) {
        fmt::print("failed:   {}\n", error.what());
    }
}

int main() { weft::run(run_tasks()); }
