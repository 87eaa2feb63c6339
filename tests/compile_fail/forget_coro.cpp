// expect: unused variable
// SPDX-License-Identifier: MIT
// A coroutine that has a name and is never awaited runs as little as one that is dropped.
#include <weft/task/coro.hpp>

#include <utility>

weft::Coro<int> child() { co_return 1; }

weft::Coro<int> parent() {
    auto coro = child();
#ifdef WEFT_EXPECT_OK
    co_return co_await std::move(coro);
#else
    co_return 2;
#endif
}
