// expect: weft: not awaitable
// SPDX-License-Identifier: MIT
// A function is called without arguments.
#include <weft/deadline/wait_for.hpp>
#include <weft/task/coro.hpp>

weft::Coro<int> load(int which) { co_return which; }

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    co_await weft::wait_for([] { return load(1); }, 1s);
#else
    co_await weft::wait_for(&load, 1s);
#endif
}
