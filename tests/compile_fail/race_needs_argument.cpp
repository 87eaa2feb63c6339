// expect: weft: not awaitable
// SPDX-License-Identifier: MIT
// A child that is a function is called without arguments.
#include <weft/task/coro.hpp>
#include <weft/together/race.hpp>

weft::Coro<int> load(int which) { co_return which; }

weft::Coro<void> user() {
#ifdef WEFT_EXPECT_OK
    co_await weft::race([] { return load(1); }, load(2));
#else
    co_await weft::race(load, load(2));
#endif
}
