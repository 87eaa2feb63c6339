// expect: weft: the limit is a std::chrono::duration
// SPDX-License-Identifier: MIT
// The limit comes first, then the awaitable.
#include <weft/deadline/move_on_after.hpp>
#include <weft/task/coro.hpp>

weft::Coro<int> load(int which) { co_return which; }

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    co_await weft::move_on_after(1s, load(1));
#else
    co_await weft::move_on_after(load(1), 1s);
#endif
}
