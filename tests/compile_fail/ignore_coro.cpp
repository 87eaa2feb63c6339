// expect: nodiscard
// SPDX-License-Identifier: MIT
// A coroutine that is called and not awaited does nothing: that is never meant.
#include <weft/task/coro.hpp>

weft::Coro<int> child() { co_return 1; }

weft::Coro<void> parent() {
#ifdef WEFT_EXPECT_OK
    co_await child();
#else
    child();
    co_return;
#endif
}
