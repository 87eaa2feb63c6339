// expect: weft: a callback is an ordinary function
// SPDX-License-Identifier: MIT
// Nobody would run what it returns.
#include <weft/runtime/loop.hpp>
#include <weft/task/coro.hpp>

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    weft::get_running_loop().call_soon([] { return 1; });
    co_return;
#else
    weft::get_running_loop().call_soon([]() -> weft::Coro<void> { co_return; });
    co_return;
#endif
}
