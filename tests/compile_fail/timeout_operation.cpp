// expect: weft: timeout takes a coroutine, or a function
// SPDX-License-Identifier: MIT
// A single operation has wait_for.
#include <weft/deadline/timeout.hpp>
#include <weft/deadline/wait_for.hpp>
#include <weft/task/sleep.hpp>

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    co_await weft::wait_for(weft::sleep(1s), 2s);
#else
    co_await weft::timeout(2s, weft::sleep(1s));
#endif
}
