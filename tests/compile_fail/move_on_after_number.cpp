// expect: weft: not awaitable
// SPDX-License-Identifier: MIT
// A deadline is put around what can be awaited.
#include <weft/deadline/move_on_after.hpp>
#include <weft/task/coro.hpp>

weft::Coro<int> load(int which) { co_return which; }

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    co_await weft::move_on_after(1s, load(5));
#else
    co_await weft::move_on_after(1s, 5);
#endif
}
