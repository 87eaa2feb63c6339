// expect: discards qualifiers
// expect-clang: no member named 'await_ready'
// SPDX-License-Identifier: MIT
// A coroutine is used up by its await, so a named one must be moved.
#include <weft/task/coro.hpp>

#include <utility>

weft::Coro<int> child() { co_return 1; }

weft::Coro<int> parent() {
    auto coro = child();
#ifdef WEFT_EXPECT_OK
    co_return co_await std::move(coro);
#else
    co_return co_await coro;
#endif
}
