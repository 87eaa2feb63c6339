// expect: weft: give the coroutine away: std::move(coro)
// SPDX-License-Identifier: MIT
// A coroutine that has a name must be moved into the call.
#include <weft/task/coro.hpp>
#include <weft/together/settle.hpp>

#include <utility>

weft::Coro<int> load() { co_return 1; }

weft::Coro<void> user() {
    auto coro = load();
#ifdef WEFT_EXPECT_OK
    (void)co_await weft::settle(std::move(coro));
#else
    (void)co_await weft::settle(coro);
#endif
}
