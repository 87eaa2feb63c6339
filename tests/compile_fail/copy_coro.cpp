// expect: use of deleted function
// expect-clang: call to implicitly-deleted copy constructor
// SPDX-License-Identifier: MIT
// A coroutine runs once, so it cannot be copied.
#include <weft/task/coro.hpp>

#include <utility>

weft::Coro<int> child() { co_return 1; }

weft::Coro<int> parent() {
    auto coro = child();
#ifdef WEFT_EXPECT_OK
    auto other = std::move(coro);
#else
    auto other = coro;
#endif
    co_return co_await std::move(other);
}
