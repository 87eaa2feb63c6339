// expect: weft: the function given to timeout does not return a Coro
// SPDX-License-Identifier: MIT
// The body of a timeout is a coroutine.
#include <weft/deadline/timeout.hpp>

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    co_await weft::timeout(2s, []() -> weft::Coro<void> { co_return; });
#else
    co_await weft::timeout(2s, [] {});
#endif
}
