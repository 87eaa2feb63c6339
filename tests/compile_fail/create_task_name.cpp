// expect: weft: after a coroutine, create_task takes TaskOptions alone
// SPDX-License-Identifier: MIT
// A task's name is given in TaskOptions.
#include <weft/task/coro.hpp>
#include <weft/task/task.hpp>

weft::Coro<int> load(int which) { co_return which; }

weft::Coro<void> user() {
#ifdef WEFT_EXPECT_OK
    co_await weft::create_task(load(1), weft::TaskOptions("load"));
#else
    co_await weft::create_task(load(1), "load");
#endif
}
