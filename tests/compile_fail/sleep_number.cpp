// expect: weft: a duration has a unit
// SPDX-License-Identifier: MIT
// Seconds in asyncio; here they say so.
#include <weft/task/coro.hpp>
#include <weft/task/sleep.hpp>

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    co_await weft::sleep(1s);
#else
    co_await weft::sleep(1);
#endif
}
