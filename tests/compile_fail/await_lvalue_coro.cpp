// expect: weft: give the coroutine away: std::move(coro)
// SPDX-License-Identifier: MIT
// A coroutine is used up by its await, so a named one must be moved.
#include <weft/task/coro.hpp>

#include <utility>

weft::Coro<int> child() { co_return 1; }

weft::Coro<void> parent() {
    auto coro = child();
#ifdef WEFT_EXPECT_OK
    co_await std::move(coro);
#else
    co_await coro;
#endif
}
