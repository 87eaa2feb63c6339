// expect: weft: what create_task is given first is neither a coroutine nor a function that can be
// called SPDX-License-Identifier: MIT The arguments of the function are those that follow it.
#include <weft/task/coro.hpp>
#include <weft/task/task.hpp>

weft::Coro<int> load(int which) { co_return which; }

weft::Coro<void> user() {
#ifdef WEFT_EXPECT_OK
    co_await weft::create_task(load, 1);
#else
    co_await weft::create_task(load);
#endif
}
