// expect: weft: an operation lives as long as the co_await it is written in
// SPDX-License-Identifier: MIT
// A group takes what create_task takes.
#include <weft/sync/lock.hpp>
#include <weft/together/task_group.hpp>

weft::Coro<void> body(weft::TaskGroup& group, weft::Lock& lock) {
#ifdef WEFT_EXPECT_OK
    group.create_task([&] { return lock.acquire(); });
#else
    group.create_task(lock.acquire());
#endif
    co_return;
}
