// expect: weft: timeout_at takes a point in time
// SPDX-License-Identifier: MIT
// A point in time, and not a duration.
#include <weft/deadline/timeout.hpp>

weft::Coro<int> load() { co_return 1; }

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    co_await weft::timeout_at(weft::get_running_loop().time() + 1s, load());
#else
    co_await weft::timeout_at(1s, load());
#endif
}
