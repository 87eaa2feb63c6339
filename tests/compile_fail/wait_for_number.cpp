// expect: weft: not awaitable
// SPDX-License-Identifier: MIT
// A deadline is put around what can be awaited.
#include <weft/deadline/wait_for.hpp>
#include <weft/task/coro.hpp>

weft::Coro<int> load(int which) { co_return which; }

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    co_await weft::wait_for(load(5), 1s);
#else
    co_await weft::wait_for(5, 1s);
#endif
}
