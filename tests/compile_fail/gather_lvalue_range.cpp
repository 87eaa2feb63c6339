// expect: weft: give the coroutines away: std::move(coroutines)
// SPDX-License-Identifier: MIT
// A container of coroutines cannot be copied into the call.
#include <weft/task/coro.hpp>
#include <weft/together/gather.hpp>

#include <utility>
#include <vector>

weft::Coro<int> load(int which) { co_return which; }

weft::Coro<void> user() {
    std::vector<weft::Coro<int>> loads;
    loads.push_back(load(1));
#ifdef WEFT_EXPECT_OK
    co_await weft::gather(std::move(loads));
#else
    co_await weft::gather(loads);
#endif
}
