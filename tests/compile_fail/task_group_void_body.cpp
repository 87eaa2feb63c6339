// expect: weft: the body of a task_group returns a Coro
// SPDX-License-Identifier: MIT
// A body is a coroutine, also when it awaits nothing.
#include <weft/task/coro.hpp>
#include <weft/together/task_group.hpp>

weft::Coro<int> load(int which) { co_return which; }

weft::Coro<void> user() {
#ifdef WEFT_EXPECT_OK
    co_await weft::task_group([](weft::TaskGroup& group) -> weft::Coro<void> {
        group.create_task(load(1));
        co_return;
    });
#else
    co_await weft::task_group([](weft::TaskGroup& group) { group.create_task(load(1)); });
#endif
}
