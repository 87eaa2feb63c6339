// expect: weft: the function given to create_task does not return a Coro
// SPDX-License-Identifier: MIT
// A group's create_task takes what weft::create_task takes.
#include <weft/task/coro.hpp>
#include <weft/together/task_group.hpp>

weft::Coro<void> body(weft::TaskGroup& group) {
#ifdef WEFT_EXPECT_OK
    group.create_task([]() -> weft::Coro<void> { co_return; });
#else
    group.create_task([] {});
#endif
    co_return;
}
