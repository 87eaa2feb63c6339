// expect: weft: the body of a task_group takes a TaskGroup&
// SPDX-License-Identifier: MIT
// The group is handed to the body.
#include <weft/task/coro.hpp>
#include <weft/together/task_group.hpp>

weft::Coro<void> user() {
#ifdef WEFT_EXPECT_OK
    co_await weft::task_group([](weft::TaskGroup&) -> weft::Coro<void> { co_return; });
#else
    co_await weft::task_group([]() -> weft::Coro<void> { co_return; });
#endif
}
