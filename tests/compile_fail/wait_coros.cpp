// expect: weft: wait takes a range of tasks or futures
// SPDX-License-Identifier: MIT
// What is pending goes on, and needs somebody who has it.
#include <weft/task/coro.hpp>
#include <weft/task/task.hpp>
#include <weft/together/wait.hpp>

weft::Coro<int> load() { co_return 1; }

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    std::vector<weft::Task<int>> all;
    all.push_back(weft::create_task(load()));
    auto found = co_await weft::wait(all);
    (void)found.done.size();
#else
    std::vector<weft::Coro<int>> all;
    all.push_back(load());
    co_await weft::wait(std::move(all));
#endif
}
