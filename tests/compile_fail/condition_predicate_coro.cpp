// expect: weft: the predicate of a wait_for is an ordinary function
// SPDX-License-Identifier: MIT
// Its answer would be that it has not run.
#include <weft/sync/condition.hpp>
#include <weft/task/coro.hpp>

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    weft::Condition changed;
    co_await changed.wait_for([] { return true; });
#else
    weft::Condition changed;
    (void)co_await changed.wait_for([]() -> weft::Coro<bool> { co_return true; });
#endif
}
