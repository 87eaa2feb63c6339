// expect: weft: the limit, a std::chrono::duration, comes first
// SPDX-License-Identifier: MIT
// The limit comes first.
#include <weft/deadline/timeout.hpp>

weft::Coro<int> load() { co_return 1; }

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    co_await weft::timeout(1s, load());
#else
    co_await weft::timeout(load(), 1s);
#endif
}
