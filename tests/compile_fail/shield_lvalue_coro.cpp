// expect: weft: give the coroutine away: std::move(coro)
// SPDX-License-Identifier: MIT
// A coroutine that has a name must be moved into the call.
#include <weft/task/coro.hpp>
#include <weft/together/shield.hpp>

#include <utility>

weft::Coro<int> load(int which) { co_return which; }

weft::Coro<void> user() {
    auto coro = load(1);
#ifdef WEFT_EXPECT_OK
    co_await weft::shield(std::move(coro));
#else
    co_await weft::shield(coro);
#endif
}
