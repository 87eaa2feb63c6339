// expect: weft: give the coroutine away: std::move(coro)
// SPDX-License-Identifier: MIT
// A coroutine that has a name must be moved into the call.
#include <weft/deadline/wait_for.hpp>
#include <weft/task/coro.hpp>

#include <utility>

weft::Coro<int> load(int which) { co_return which; }

weft::Coro<void> user() {
    using namespace std::chrono_literals;
    auto coro = load(1);
#ifdef WEFT_EXPECT_OK
    co_await weft::wait_for(std::move(coro), 1s);
#else
    co_await weft::wait_for(coro, 1s);
#endif
}
