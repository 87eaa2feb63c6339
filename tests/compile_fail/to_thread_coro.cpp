// expect: weft: a thread calls an ordinary function
// SPDX-License-Identifier: MIT
// A coroutine does not block, and would not run there.
#include <weft/task/coro.hpp>
#include <weft/thread/thread_pool.hpp>

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    co_await weft::to_thread([] {});
#else
    (void)co_await weft::to_thread([]() -> weft::Coro<void> { co_return; });
#endif
}
