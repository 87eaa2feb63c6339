// SPDX-License-Identifier: MIT
// as_completed and wait: results as they come, and tasks that are done so far.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <vector>

using namespace std::chrono_literals;

weft::Coro<int> page(int number) {
    co_await weft::sleep((4 - number) * 50ms);
    co_return number;
}

weft::Coro<void> read_pages() {
    std::vector<weft::Task<int>> tasks;
    for (int number = 1; number <= 3; ++number) tasks.push_back(weft::create_task(page(number)));

    auto completed = weft::as_completed(tasks, 10s);
    while (auto task = co_await completed.next()) fmt::print("page {}\n", task.result());

    tasks.clear();
    for (int number = 1; number <= 3; ++number) tasks.push_back(weft::create_task(page(number)));
    auto found = co_await weft::wait(tasks, weft::first_completed);
    fmt::print("{} done, {} pending\n", found.done.size(), found.pending.size());
    found = co_await weft::wait(found.pending, 1s);
    fmt::print("{} done, {} pending\n", found.done.size(), found.pending.size());
}

int main() { weft::run(read_pages()); }
