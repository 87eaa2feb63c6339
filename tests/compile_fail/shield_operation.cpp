// expect: weft: an operation lives as long as the co_await it is written in
// SPDX-License-Identifier: MIT
// An operation stays in its expression, and cannot become a task.
#include <weft/task/coro.hpp>
#include <weft/task/sleep.hpp>
#include <weft/together/shield.hpp>

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    co_await weft::shield([]() -> weft::Coro<void> { co_await weft::sleep(1s); });
#else
    co_await weft::shield(weft::sleep(1s));
#endif
}
