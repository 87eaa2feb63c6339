// expect: weft: the function given to create_task does not return a Coro
// SPDX-License-Identifier: MIT
// Only a coroutine can be a task.
#include <weft/task/coro.hpp>
#include <weft/task/task.hpp>

weft::Coro<void> user() {
#ifdef WEFT_EXPECT_OK
    co_await weft::create_task([]() -> weft::Coro<void> { co_return; });
#else
    co_await weft::create_task([] {});
#endif
}
