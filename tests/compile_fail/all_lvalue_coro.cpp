// expect: weft: give the coroutine away: std::move(coro)
// SPDX-License-Identifier: MIT
// A coroutine that has a name must be moved into the call.
#include <weft/task/coro.hpp>
#include <weft/together/gather.hpp>

#include <utility>

weft::Coro<int> load(int which) { co_return which; }

weft::Coro<void> user() {
    auto first = load(1);
    auto second = load(2);
#ifdef WEFT_EXPECT_OK
    co_await weft::all(std::move(first), std::move(second));
#else
    co_await weft::all(first, second);
#endif
}
