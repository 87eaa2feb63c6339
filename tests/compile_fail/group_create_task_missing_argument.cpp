// expect: weft: what create_task is given first is neither a coroutine nor a function that can be
// called SPDX-License-Identifier: MIT A group's create_task takes what weft::create_task takes.
#include <weft/task/coro.hpp>
#include <weft/together/task_group.hpp>

weft::Coro<int> load(int which) { co_return which; }

weft::Coro<void> body(weft::TaskGroup& group) {
#ifdef WEFT_EXPECT_OK
    group.create_task(load, 1);
#else
    group.create_task(load);
#endif
    co_return;
}
