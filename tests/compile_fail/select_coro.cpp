// expect: weft: a branch of a select goes on when it loses
// SPDX-License-Identifier: MIT
// What goes on must have a name.
#include <weft/task/task.hpp>
#include <weft/together/select.hpp>

weft::Coro<int> load() { co_return 1; }

weft::Coro<void> user() {
#ifdef WEFT_EXPECT_OK
    auto loading = weft::create_task(load());
    (void)co_await weft::select(loading);
#else
    (void)co_await weft::select(load());
#endif
}
