// expect: weft: not awaitable
// SPDX-License-Identifier: MIT
// Nor are the elements of a range, when they cannot be awaited.
#include <weft/task/coro.hpp>
#include <weft/task/task.hpp>
#include <weft/together/gather.hpp>

#include <vector>

weft::Coro<void> user() {
#ifdef WEFT_EXPECT_OK
    std::vector<weft::Task<int>> children;
#else
    std::vector<int> children;
#endif
    co_await weft::gather(children);
}
