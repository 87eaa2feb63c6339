// expect: weft: give the coroutine away: std::move(coro)
// SPDX-License-Identifier: MIT
// A coroutine that has a name must be moved into the call.
#include <weft/deadline/timeout.hpp>

#include <utility>

weft::Coro<int> load() { co_return 1; }

weft::Coro<void> user() {
    using namespace std::chrono_literals;
    auto coro = load();
#ifdef WEFT_EXPECT_OK
    co_await weft::timeout(1s, std::move(coro));
#else
    co_await weft::timeout(1s, coro);
#endif
}
