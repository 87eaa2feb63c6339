// expect: weft: a callback is an ordinary function
// SPDX-License-Identifier: MIT
// Nobody would run what it returns.
#include <weft/task/coro.hpp>
#include <weft/task/task.hpp>

weft::Coro<int> load() { co_return 1; }

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    auto task = weft::create_task(load());
    auto told = task.add_done_callback([](weft::Future<int>) { return 1; });
    co_await task.wait();
#else
    auto task = weft::create_task(load());
    auto told = task.add_done_callback([](weft::Future<int>) -> weft::Coro<void> { co_return; });
    co_await task.wait();
#endif
}
