// expect: weft: give the coroutine away: std::move(coro)
// SPDX-License-Identifier: MIT
// A coroutine that has a name must be moved into the call.
#include <weft/deadline/move_on_after.hpp>
#include <weft/task/coro.hpp>

#include <utility>

weft::Coro<int> load(int which) { co_return which; }

weft::Coro<void> user() {
    using namespace std::chrono_literals;
    auto coro = load(1);
#ifdef WEFT_EXPECT_OK
    co_await weft::move_on_after(1s, std::move(coro));
#else
    co_await weft::move_on_after(1s, coro);
#endif
}
