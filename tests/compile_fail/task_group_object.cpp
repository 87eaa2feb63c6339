// expect: weft: task_group(body) makes the group, and waits for its tasks
// SPDX-License-Identifier: MIT
// A group that is a variable would end without its tasks.
#include <weft/task/coro.hpp>
#include <weft/together/task_group.hpp>

weft::Coro<void> child() { co_return; }

weft::Coro<void> user() {
#ifdef WEFT_EXPECT_OK
    co_await weft::task_group([](weft::TaskGroup& group) -> weft::Coro<void> {
        group.create_task(child());
        co_return;
    });
#else
    weft::TaskGroup group;
    group.create_task(child());
    co_return;
#endif
}
