// expect: weft: the limit is a std::chrono::duration
// SPDX-License-Identifier: MIT
// The awaitable comes first, then the limit.
#include <weft/deadline/wait_for.hpp>
#include <weft/task/coro.hpp>

weft::Coro<int> load(int which) { co_return which; }

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    co_await weft::wait_for(load(1), 1s);
#else
    co_await weft::wait_for(1s, load(1));
#endif
}
