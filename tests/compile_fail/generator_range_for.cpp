// expect: weft: a generator is asked
// SPDX-License-Identifier: MIT
// A range-based for cannot await.
#include <weft/task/async_generator.hpp>
#include <weft/task/coro.hpp>

weft::AsyncGenerator<int> count() { co_yield 1; }

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    auto all = count();
    while (auto item = co_await all.next()) (void)*item;
#else
    auto all = count();
    for (const int item : all) (void)item;
    co_return;
#endif
}
