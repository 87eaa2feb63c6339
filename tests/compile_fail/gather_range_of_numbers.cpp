// expect: weft: not awaitable
// SPDX-License-Identifier: MIT
// Nor are the elements of a range, when they cannot be awaited.
#include <weft/coro.hpp>
#include <weft/gather.hpp>
#include <weft/task.hpp>

#include <vector>

weft::Coro<void> user() {
#ifdef WEFT_EXPECT_OK
    std::vector<weft::Task<int>> children;
#else
    std::vector<int> children;
#endif
    co_await weft::gather(children);
}
