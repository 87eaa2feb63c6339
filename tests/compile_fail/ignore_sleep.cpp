// expect: nodiscard
// SPDX-License-Identifier: MIT
// A sleep that is not awaited does not sleep.
#include <weft/task/coro.hpp>
#include <weft/task/sleep.hpp>

weft::Coro<void> waits_a_second() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    co_await weft::sleep(1s);
#else
    weft::sleep(1s);
    co_return;
#endif
}
