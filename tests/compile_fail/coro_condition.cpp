// expect: weft: a coroutine is not its result
// SPDX-License-Identifier: MIT
// Without an await it is true, and runs nothing.
#include <weft/task/coro.hpp>
#include <weft/task/sleep.hpp>

weft::Coro<bool> is_ready() { co_return true; }

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    auto asked = is_ready();
    if (asked && co_await std::move(asked)) co_return;
#else
    if (is_ready()) co_return;
#endif
}
