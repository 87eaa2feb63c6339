// expect: weft: not awaitable
// SPDX-License-Identifier: MIT
// What cannot be awaited is no child.
#include <weft/task/coro.hpp>
#include <weft/together/gather.hpp>

weft::Coro<int> load(int which) { co_return which; }

weft::Coro<void> user() {
#ifdef WEFT_EXPECT_OK
    co_await weft::gather(load(1), load(2));
#else
    co_await weft::gather(1, 2);
#endif
}
